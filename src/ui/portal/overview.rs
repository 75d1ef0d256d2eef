//! The first page of a customer: how their webhooks do, and where to look.

use askama::Template;
use axum::response::Response;

use crate::api::Api;
use crate::clock;
use crate::domain::delivery;
use crate::domain::event::Tenant;
use crate::outbox::{DeliveryFilter, DeliveryView, EventFilter, Page as Listed, StatsOf};
use crate::ui::base::failed::Failed;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::pages::page::shell;
use crate::ui::views::badge::Badge;
use crate::ui::views::chart::{self, Chart, Row};
use crate::ui::views::delivery::{DeliveryShown, name_endpoints};
use crate::ui::views::endpoint::url_of;
use crate::ui::views::stats;

/// Entries of the short lists.
const FEW: usize = 8;
/// Minutes of a step of the charts.
const STEP: u32 = 30;

#[derive(Template)]
#[template(path = "portal.html")]
struct Page {
    shell: Shell,
    accepted: u64,
    success: String,
    p50: String,
    p95: String,
    volume: Chart,
    latency: Chart,
    rows: Vec<Row>,
    endpoints: Vec<Named>,
    more: bool,
    dead: Vec<DeliveryShown>,
}

/// An endpoint in the short list.
struct Named {
    id: String,
    url: String,
    badge: Badge,
    pending: u64,
    held: u64,
    dead: u64,
}

/// The overview of a tenant.
pub async fn show(api: &Api, visit: &Visit, tenant: Tenant) -> Result<Response, Failed> {
    let (app, now) = (api.app(), clock::now());
    let steps = stats::last_day(now, STEP);
    let counts = app
        .stats
        .read(StatsOf::Tenant(tenant.clone()), steps)
        .await?;
    let listed = app
        .health
        .list(Some(tenant.clone()), None, FEW, steps)
        .await?;
    let filter = DeliveryFilter {
        status: Some(delivery::Status::Dead),
        events: EventFilter {
            tenant: Some(tenant),
            ..EventFilter::default()
        },
        ..DeliveryFilter::default()
    };
    let sight = visit.view.sight.clone();
    let shown = move |page: &Listed<DeliveryView>| {
        let items = page.items.iter();
        let shown = items.map(|one| DeliveryShown::new(one, None, now, &sight));
        shown.collect::<Vec<_>>()
    };
    let mut dead = app.deliveries.list(filter, None, FEW, shown).await?;
    name_endpoints(&mut dead, app);
    let all = stats::sum(&counts);
    let endpoints = listed.items.iter().map(|one| {
        let (endpoint, state) = &one.known;
        Named {
            id: endpoint.id.to_string(),
            url: url_of(endpoint, &visit.view.sight),
            badge: Badge::of_listed(one),
            pending: state.pending,
            held: state.held,
            dead: state.dead,
        }
    });
    let page = Page {
        shell: shell(visit, "/", "Overview"),
        accepted: all.accepted(),
        success: stats::success(&all),
        p50: stats::took(&all, 50),
        p95: stats::took(&all, 95),
        volume: chart::volume(steps, &counts),
        latency: chart::latency(steps, &counts),
        rows: chart::rows(steps, &counts),
        endpoints: endpoints.collect(),
        more: listed.next.is_some(),
        dead,
    };
    html(&page)
}
