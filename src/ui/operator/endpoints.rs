//! The list of endpoints, with how each of them does.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::filters::{Filters, ROWS};
use super::page::shell;
use super::state::Operator;
use crate::app::ListedEndpoint;
use crate::clock;
use crate::domain::endpoint::EndpointId;
use crate::domain::event::Tenant;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Asked;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::badge::Badge;
use crate::ui::views::chart::{Chart, sparkline};
use crate::ui::views::stats;

const PATH: &str = "/ui/endpoints";
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

/// `GET /ui/endpoints`
pub async fn list(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let now = clock::now();
    let mut filters = Filters::new(&asked, now);
    let tenant: Option<Tenant> = filters.read("tenant");
    // One is looked up by its id among those from that place on.
    let id: Option<EndpointId> = filters.read("id");
    let after = filters.read::<EndpointId>("cursor");
    let steps = stats::last_day(now, STEP);
    let mut rows = Vec::new();
    let mut next = None;
    if let Some(id) = &id {
        // A direct hit needs no list.
        let found = operator.app().endpoints.find(id.clone()).await;
        if found.is_ok() {
            return super::page::go(&format!("{PATH}/{id}"), "");
        }
        filters
            .faults
            .push(format!("id: there is no endpoint {id}"));
    } else if filters.faults.is_empty() {
        let page = operator
            .app()
            .health
            .list(tenant, after, ROWS, steps)
            .await?;
        rows = page.items.iter().map(row).collect();
        next = page.next;
    }
    let page = Page {
        shell: shell(&visit, "/endpoints", "Endpoints"),
        tenant: filters.typed("tenant"),
        id: filters.typed("id"),
        next: filters.next(PATH, &["tenant"], next.as_ref()),
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

fn row(listed: &ListedEndpoint) -> Row {
    let (endpoint, state) = &listed.known;
    let all = stats::sum(&listed.counts);
    Row {
        id: endpoint.id.to_string(),
        tenant: endpoint.tenant.to_string(),
        url: endpoint.shown_url().into_owned(),
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
