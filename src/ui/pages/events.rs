//! The list of events, newest first, filtered by the address.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::filters::{Filters, ROWS};
use super::page::{go, shell};
use crate::api::Api;
use crate::clock;
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::{EventSummary, StatusCounts};
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Asked;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::moment::Moment;

const PATH: &str = "/events";
const NAMES: [&str; 6] = ["type", "tenant", "key", "idempotency_key", "since", "until"];

#[derive(Template)]
#[template(path = "events.html")]
struct Page {
    shell: Shell,
    faults: Vec<String>,
    /// Name, label and value of each filter.
    filters: Vec<(&'static str, &'static str, String)>,
    is_filtered: bool,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    id: String,
    event_type: String,
    tenant: String,
    key: String,
    accepted: Moment,
    counts: StatusCounts,
}

/// `GET …/events`
pub async fn list(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let now = clock::now();
    let mut filters = Filters::new(&asked, now, visit.view.tenant.as_ref());
    if let Some(id) = filters.read::<EventId>("id") {
        return go(&visit.path(format_args!("{PATH}/{id}")), "");
    }
    let (filter, cursor) = (filters.events(), filters.cursor());
    let mut rows = Vec::new();
    let mut next = None;
    if filters.faults.is_empty() {
        let page = api.app().events.list(filter, cursor, ROWS).await?;
        rows = page.items.iter().map(|event| row(event, now)).collect();
        next = page.next;
    }
    let labels = ["Type", "Tenant", "Key", "Idempotency key", "Since", "Until"];
    let named = NAMES.into_iter().zip(labels);
    let is_shown = |name: &str| match name {
        "tenant" => visit.view.sight.tenants,
        "idempotency_key" => visit.view.sight.setup,
        _ => true,
    };
    let shown: Vec<_> = named
        .filter(|(name, _)| is_shown(name))
        .map(|(name, label)| (name, label, filters.typed(name)))
        .collect();
    let page = Page {
        shell: shell(&visit, "/events", "Events"),
        is_filtered: shown.iter().any(|(_, _, value)| !value.is_empty()),
        filters: shown,
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

fn row(event: &EventSummary, now: Timestamp) -> Row {
    Row {
        id: event.id.to_string(),
        event_type: event.event_type.to_string(),
        tenant: event.tenant.to_string(),
        key: event
            .key
            .as_ref()
            .map(|key| key.as_str().to_owned())
            .unwrap_or_default(),
        accepted: Moment::new(event.accepted_at, now),
        counts: event.counts,
    }
}
