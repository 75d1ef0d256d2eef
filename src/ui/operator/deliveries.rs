//! Deliveries: the list, and one of them with the timeline of its attempts and why it is as it is.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::filters::{Filters, ROWS};
use super::page::{SIGHT, shell};
use super::state::Operator;
use crate::api::path;
use crate::app::Explanation;
use crate::app::verdict::Answer;
use crate::clock;
use crate::domain::delivery::Status;
use crate::domain::time::Timestamp;
use crate::outbox::{DeliveryFilter, DeliveryView, Page as Listed};
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Asked;
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::badge::Badge;
use crate::ui::views::delivery::DeliveryShown;
use crate::ui::views::moment::Moment;

const PATH: &str = "/ui/deliveries";
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

/// `GET /ui/deliveries`
pub async fn list(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let now = clock::now();
    let mut filters = Filters::new(&asked, now);
    let filter = DeliveryFilter {
        events: filters.events(),
        status: filters.one_of("status", &Status::ALL, Status::as_str),
        endpoint: filters.read("endpoint"),
    };
    let cursor = filters.cursor();
    let wanted = filter.status;
    let (mut rows, mut next) = (Vec::new(), None);
    if filters.faults.is_empty() {
        let shown = move |page: &Listed<DeliveryView>| {
            let items = page.items.iter();
            let shown = items.map(|one| DeliveryShown::new(one, None, now, SIGHT));
            (shown.collect(), page.next.clone())
        };
        (rows, next) = operator
            .app()
            .deliveries
            .list(filter, cursor, ROWS, shown)
            .await?;
    }
    let labels = ["Endpoint", "Type", "Tenant", "Since", "Until"];
    let named = NAMES.into_iter().skip(1).zip(labels);
    let page = ListPage {
        shell: shell(&visit, "/deliveries", "Deliveries"),
        filters: named
            .map(|(name, label)| (name, label, filters.typed(name)))
            .collect(),
        statuses: Status::ALL
            .map(|one| (one.as_str(), wanted == Some(one)))
            .to_vec(),
        next: filters.next(PATH, &NAMES, next.as_ref()),
        faults: filters.faults,
        rows,
    };
    let mut response = html(&page)?;
    if !page.faults.is_empty() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
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

/// The answer of `explain`, in words.
struct Why {
    badge: Badge,
    detail: String,
    next: Option<Moment>,
    /// What to do about it.
    advice: Option<&'static str>,
}

/// `GET /ui/events/{id}/deliveries/{endpoint}`: also where the event does not go there.
pub async fn show(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(names): Names<(String, String)>,
) -> Result<Response, Failed> {
    let (event, endpoint) = path::delivery(names)?;
    let explained = operator
        .app()
        .explainer
        .explain(event, endpoint.clone())
        .await?;
    let now = clock::now();
    let stored = &explained.stored;
    let known = stored.endpoint.as_ref().map(|(endpoint, _)| endpoint);
    let url = known.map(|endpoint| &endpoint.url);
    let shown = |delivery| DeliveryShown::new(delivery, url, now, SIGHT);
    let page = Page {
        shell: shell(&visit, "/deliveries", format!("{event} to {endpoint}")),
        event: event.to_string(),
        event_type: stored.event.event_type.to_string(),
        endpoint: endpoint.to_string(),
        url: known.map(|endpoint| endpoint.shown_url().into_owned()),
        why: why(&explained, now),
        delivery: stored.delivery.as_ref().map(shown),
        behind: stored.ahead.as_ref().map(|ahead| ahead.event.to_string()),
    };
    html(&page)
}

fn why(explained: &Explanation, now: Timestamp) -> Why {
    let verdict = &explained.verdict;
    let word = verdict.answer.as_str().replace('_', " ");
    let (badge, advice) = match verdict.answer {
        Answer::Delivered => (Badge::good(word), None),
        Answer::Dead => (
            Badge::bad(word),
            Some("Repair the cause first. Retry then sends it again, with a fresh retry budget."),
        ),
        Answer::Held => (
            Badge::warn(word),
            Some("Enable or repair the endpoint: what it holds is then released by itself."),
        ),
        Answer::BreakerOpen => (
            Badge::warn(word),
            Some("Diagnose the endpoint. Retry attempts this delivery now."),
        ),
        Answer::NotSubscribed | Answer::OtherTenant | Answer::OtherChannel | Answer::Filtered => (
            Badge::plain(word),
            Some(
                "Endpoints are matched once, when an event is accepted. Change what the endpoint wants, then hand the event in again.",
            ),
        ),
        Answer::EndpointNewer | Answer::NotMatchedThen => (
            Badge::plain(word),
            Some("Endpoints are matched once, when an event is accepted: hand the event in again."),
        ),
        Answer::Behind => (
            Badge::warn(word),
            Some(
                "The endpoint's order demands that the event before it goes first. Retry or cancel that one.",
            ),
        ),
        Answer::LocalFault => (
            Badge::bad(word),
            Some("The fault is this machine's: look at the log and at the number of open files."),
        ),
        Answer::InFlight
        | Answer::Waiting
        | Answer::Queued
        | Answer::Paused
        | Answer::RateLimited => (Badge::plain(word), None),
    };
    Why {
        badge,
        detail: verdict.detail.clone(),
        next: verdict.next_at.map(|at| Moment::new(at, now)),
        advice,
    }
}
