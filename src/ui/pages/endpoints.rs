//! The list of endpoints, with how each of them does.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::filters::{Filters, ROWS};
use super::page::{go, shell};
use crate::api::Api;
use crate::app::ListedEndpoint;
use crate::clock;
use crate::domain::endpoint::EndpointId;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Asked;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::badge::Badge;
use crate::ui::views::chart::{Chart, sparkline};
use crate::ui::views::endpoint::url_of;
use crate::ui::views::sight::Sight;
use crate::ui::views::stats;

const PATH: &str = "/endpoints";
/// Minutes of a bar of the small charts.
const STEP: u32 = 60;

#[derive(Template)]
#[template(path = "endpoints.html")]
struct Page {
    shell: Shell,
    faults: Vec<String>,
    tenant: String,
    id: String,
    rows: Vec<Row>,
    next: Option<String>,
    is_first: bool,
}

struct Row {
    id: String,
    tenant: String,
    url: String,
    description: String,
    badge: Badge,
    day: Chart,
    success: String,
    p50: String,
    p95: String,
    pending: u64,
    held: u64,
    dead: u64,
}

/// `GET …/endpoints`
pub async fn list(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let now = clock::now();
    let mut filters = Filters::new(&asked, now, visit.view.tenant.as_ref());
    let tenant = filters.tenant();
    // One is looked up by its id among those from that place on.
    let id: Option<EndpointId> = filters.read("id");
    let after = filters.read::<EndpointId>("cursor");
    let steps = stats::last_day(now, STEP);
    let mut rows = Vec::new();
    let mut next = None;
    if let Some(id) = &id {
        // A direct hit needs no list.
        let found = api.app().endpoints.find(id.clone()).await;
        if found.is_ok_and(|(endpoint, _)| visit.sees(&endpoint.tenant)) {
            return go(&visit.path(format_args!("{PATH}/{id}")), "");
        }
        filters
            .faults
            .push(format!("id: there is no endpoint {id}"));
    } else if filters.faults.is_empty() {
        let page = api.app().health.list(tenant, after, ROWS, steps).await?;
        let sight = &visit.view.sight;
        rows = page.items.iter().map(|one| row(one, sight)).collect();
        next = page.next;
    }
    let page = Page {
        shell: shell(&visit, "/endpoints", "Endpoints"),
        tenant: filters.typed("tenant"),
        id: filters.typed("id"),
        next: filters.next(&visit.path(PATH), &["tenant"], next.as_ref()),
        is_first: filters.typed("cursor").is_empty(),
        faults: filters.faults,
        rows,
    };
    let mut response = html(&page)?;
    if !page.faults.is_empty() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

fn row(listed: &ListedEndpoint, sight: &Sight) -> Row {
    let (endpoint, state) = &listed.known;
    let all = stats::sum(&listed.counts);
    Row {
        id: endpoint.id.to_string(),
        tenant: endpoint.tenant.to_string(),
        url: url_of(endpoint, sight),
        description: endpoint.description.clone(),
        badge: Badge::of_listed(listed),
        day: sparkline(&listed.counts),
        success: stats::success(&all),
        p50: stats::took(&all, 50),
        p95: stats::took(&all, 95),
        pending: state.pending,
        held: state.held,
        dead: state.dead,
    }
}
