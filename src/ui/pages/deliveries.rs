//! Deliveries: the list, and one of them with the timeline of its attempts and why it is as it is.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::filters::{Filters, ROWS};
use super::page::shell;
use super::why::{Why, why};
use crate::api::Api;
use crate::api::path;
use crate::app;
use crate::clock;
use crate::domain::delivery::Status;
use crate::domain::endpoint::EndpointId;
use crate::outbox::{DeliveryFilter, DeliveryView, Page as Listed, ReadError};
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Asked;
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::delivery::{DeliveryShown, name_endpoints};
use crate::ui::views::endpoint::{is_seen, url_of};

const PATH: &str = "/deliveries";
const NAMES: [&str; 6] = ["status", "endpoint", "type", "tenant", "since", "until"];

#[derive(Template)]
#[template(path = "deliveries.html")]
struct ListPage {
    shell: Shell,
    faults: Vec<String>,
    filters: Vec<(&'static str, &'static str, String)>,
    /// The choices of the status, the chosen one marked.
    statuses: Vec<(&'static str, bool)>,
    rows: Vec<DeliveryShown>,
    next: Option<String>,
}

/// `GET …/deliveries`
pub async fn list(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let now = clock::now();
    let mut filters = Filters::new(&asked, now, visit.view.tenant.as_ref());
    let filter = DeliveryFilter {
        events: filters.events(),
        status: filters.one_of("status", &Status::ALL, Status::as_str),
        endpoint: filters.read("endpoint"),
    };
    let cursor = filters.cursor();
    let wanted = filter.status;
    let (mut rows, mut next) = (Vec::new(), None);
    let is_own = is_own(&api, &visit, filter.endpoint.as_ref()).await;
    if filters.faults.is_empty() && is_own {
        let sight = visit.view.sight.clone();
        let shown = move |page: &Listed<DeliveryView>| {
            let items = page.items.iter();
            let shown = items.map(|one| DeliveryShown::new(one, None, now, &sight));
            (shown.collect(), page.next.clone())
        };
        (rows, next) = api
            .app()
            .deliveries
            .list(filter, cursor, ROWS, shown)
            .await?;
        name_endpoints(&mut rows, api.app());
    }
    let labels = ["Endpoint", "Type", "Tenant", "Since", "Until"];
    let named = NAMES.into_iter().skip(1).zip(labels);
    let named = named.filter(|(name, _)| visit.view.sight.tenants || *name != "tenant");
    let page = ListPage {
        shell: shell(&visit, "/deliveries", "Deliveries"),
        filters: named
            .map(|(name, label)| (name, label, filters.typed(name)))
            .collect(),
        statuses: Status::ALL
            .map(|one| (one.as_str(), wanted == Some(one)))
            .to_vec(),
        next: filters.next(&visit.path(PATH), &NAMES, next.as_ref()),
        faults: filters.faults,
        rows,
    };
    let mut response = html(&page)?;
    if !page.faults.is_empty() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

/// Whether an endpoint is not one of somebody else. How many deliveries are looked at for one that is
/// would tell that it exists.
async fn is_own(api: &Api, visit: &Visit, endpoint: Option<&EndpointId>) -> bool {
    match (endpoint, &visit.view.tenant) {
        (Some(id), Some(tenant)) => {
            let found = api.app().endpoints.find(id.clone()).await;
            found.map_or(true, |(endpoint, _)| endpoint.tenant == *tenant)
        }
        _ => true,
    }
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct Page {
    shell: Shell,
    event: String,
    event_type: String,
    endpoint: String,
    /// `None`: it is not in force.
    url: Option<String>,
    why: Why,
    delivery: Option<DeliveryShown>,
    /// The event that goes first.
    behind: Option<String>,
}

/// `GET …/events/{id}/deliveries/{endpoint}`: also where the event does not go there.
pub async fn show(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(names): Names<(String, String)>,
) -> Result<Response, Failed> {
    let (event, endpoint) = path::delivery(names)?;
    let explained = api.app().explainer.explain(event, endpoint.clone()).await?;
    let now = clock::now();
    let stored = &explained.stored;
    if let Some((known, _)) = &stored.endpoint
        && !visit.sees(&known.tenant)
    {
        return Err(app::Error::from(ReadError::NoSuchEndpoint).into());
    }
    let known = stored.endpoint.as_ref().map(|(endpoint, _)| endpoint);
    let sight = &visit.view.sight;
    let seen = known.filter(|known| is_seen(known, sight));
    let url = seen.map(|endpoint| &endpoint.url);
    let shown = |delivery| DeliveryShown::new(delivery, url, now, sight);
    let ahead = stored.ahead.as_ref().filter(|_| sight.setup);
    let page = Page {
        shell: shell(&visit, "/deliveries", format!("{event} to {endpoint}")),
        event: event.to_string(),
        event_type: stored.event.event_type.to_string(),
        endpoint: endpoint.to_string(),
        url: known.map(|endpoint| url_of(endpoint, sight)),
        why: why(&explained, now, sight),
        delivery: stored.delivery.as_ref().map(shown),
        behind: ahead.map(|ahead| ahead.event.to_string()),
    };
    html(&page)
}
