//! The first page: whether all is well, and where to look if not.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::state::Operator;
use crate::app::{App, EndpointFigures, Status};
use crate::clock;
use crate::domain::counts::Counts;
use crate::domain::delivery;
use crate::domain::time::Timestamp;
use crate::domain::when;
use crate::outbox::{DeliveryFilter, DeliveryView, Page as Listed, StatsOf};
use crate::ui::base::failed::Failed;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::pages::page::shell;
use crate::ui::views::badge::Badge;
use crate::ui::views::chart::{self, Chart};
use crate::ui::views::delivery::{DeliveryShown, name_endpoints};
use crate::ui::views::endpoint::name_of_id;
use crate::ui::views::sight::Sight;
use crate::ui::views::stats;

/// Entries of the short lists.
const FEW: usize = 6;
/// Over so many minutes rates are taken.
const RATE_OVER: u64 = 5;
/// A pending delivery that is older than this is worth a look.
const OLD: Duration = Duration::from_secs(300);

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    shell: Shell,
    verdict: Badge,
    tiles: Vec<Tile>,
    hour: Chart,
    troubled: Vec<Troubled>,
    dead: Vec<DeliveryShown>,
    /// There is no endpoint yet.
    is_new: bool,
    /// There is no event yet, as far as the index knows.
    is_idle: bool,
}

/// A number that matters, and what it is.
struct Tile {
    value: String,
    label: &'static str,
    path: &'static str,
    tone: &'static str,
}

struct Troubled {
    id: String,
    name: Option<String>,
    badge: Badge,
    pending: u64,
    held: u64,
    dead: u64,
    oldest: String,
}

/// `GET /ui/`
pub async fn show(State(operator): State<Arc<Operator>>, visit: Visit) -> Result<Response, Failed> {
    let (app, now) = (operator.app(), clock::now());
    let status = app.monitor.status().await?;
    let steps = stats::last_hour(now);
    let counts = app.stats.read(StatsOf::All, steps).await?;
    let recent = counts.len().saturating_sub(RATE_OVER as usize);
    let recent = stats::sum(counts.get(recent..).unwrap_or_default());
    let over = Duration::from_secs(RATE_OVER * 60).min(status.uptime.max(Duration::from_secs(60)));
    let hour = stats::sum(&counts);
    let worst = app.troubled.worst(FEW).await?;
    let troubled = worst.iter().filter_map(|one| troubled(one, app));
    let troubled: Vec<Troubled> = troubled.collect();
    let filter = DeliveryFilter {
        status: Some(delivery::Status::Dead),
        ..DeliveryFilter::default()
    };
    let sight = visit.view.sight.clone();
    let shown = move |page: &Listed<DeliveryView>| dead(page, now, &sight);
    let mut dead = app.deliveries.list(filter, None, FEW, shown).await?;
    name_endpoints(&mut dead, app);
    let page = Page {
        shell: shell(&visit, "/", "Overview"),
        verdict: verdict(&status, troubled.len(), &recent),
        tiles: tiles(
            &status,
            [
                stats::rate(recent.accepted(), over),
                stats::rate(recent.delivered(), over),
            ],
            stats::success(&hour),
        ),
        hour: chart::volume(steps, &counts),
        troubled,
        dead,
        is_new: status.outbox.endpoints == 0,
        is_idle: hour.is_empty() && status.ingested.accepted == 0,
    };
    html(&page)
}

fn dead(page: &Listed<DeliveryView>, now: Timestamp, sight: &Sight) -> Vec<DeliveryShown> {
    let shown = |delivery| DeliveryShown::new(delivery, None, now, sight);
    page.items.iter().map(shown).collect()
}

fn troubled(endpoint: &EndpointFigures, app: &App) -> Option<Troubled> {
    let is_old = endpoint.oldest_pending.is_some_and(|age| age > OLD);
    let badge = match endpoint {
        one if one.standing.breaker_open => Badge::bad("breaker open"),
        one if one.is_disabled && one.pending + one.held > 0 => Badge::warn("stands still"),
        _ if is_old => Badge::warn("behind"),
        one if one.held > 0 => Badge::warn("holds deliveries"),
        one if one.dead > 0 => Badge::warn("has dead letters"),
        _ => return None,
    };
    Some(Troubled {
        id: endpoint.id.to_string(),
        name: name_of_id(app, &endpoint.id),
        badge,
        pending: endpoint.pending,
        held: endpoint.held,
        dead: endpoint.dead,
        oldest: endpoint.oldest_pending.map_or("–".to_owned(), when::span),
    })
}

/// The state of all in a sentence. `recent`: of the last [`RATE_OVER`] minutes.
fn verdict(status: &Status, troubled: usize, recent: &Counts) -> Badge {
    let damaged = status.outbox.damaged_records;
    let shipping = status
        .shipping
        .as_ref()
        .and_then(|shipping| shipping.error.as_deref());
    match (damaged, shipping, status.dispatched.breakers_open, troubled) {
        (1.., _, _, _) => Badge::bad(format!(
            "{damaged} stored records are damaged: run `outboxd verify-store` on a copy"
        )),
        (0, Some(error), _, _) => Badge::bad(format!("the backup fails: {error}")),
        (0, None, 1, _) => Badge::warn("1 endpoint does not answer; its circuit breaker is open"),
        (0, None, open @ 2.., _) => Badge::warn(format!(
            "{open} endpoints do not answer; their circuit breakers are open"
        )),
        (0, None, 0, 0) => going_out(status.outbox.deliveries.pending, recent),
        (0, None, 0, _) => Badge::warn("some endpoints need a look"),
    }
}

/// The state of what is pending, where no endpoint is in trouble.
fn going_out(pending: u64, recent: &Counts) -> Badge {
    match (pending, stats::failed(recent), recent.delivered()) {
        (0, _, _) | (_, 0, _) => Badge::good("every accepted event is being delivered"),
        (_, _, 0) => Badge::warn(format!(
            "no attempt of the last {RATE_OVER} minutes delivered; outboxd tries again"
        )),
        (_, failed, _) => Badge::plain(format!(
            "deliveries are going out; attempts that failed in the last {RATE_OVER} minutes: {failed}"
        )),
    }
}

fn tiles(status: &Status, [into, out]: [String; 2], success: String) -> Vec<Tile> {
    let outbox = &status.outbox;
    let tile = |value: String, label, path| Tile {
        value,
        label,
        path,
        tone: "",
    };
    let warn = |is_bad: bool| if is_bad { "warn" } else { "" };
    let deliveries = &outbox.deliveries;
    vec![
        tile(
            deliveries.pending.to_string(),
            "pending deliveries",
            "/deliveries?status=pending",
        ),
        Tile {
            tone: warn(status.oldest_pending.is_some_and(|age| age > OLD)),
            ..tile(
                status.oldest_pending.map_or("–".to_owned(), when::span),
                "oldest pending",
                "/deliveries?status=pending",
            )
        },
        Tile {
            tone: warn(deliveries.held > 0),
            ..tile(
                deliveries.held.to_string(),
                "held",
                "/deliveries?status=held",
            )
        },
        Tile {
            tone: warn(deliveries.dead > 0),
            ..tile(deliveries.dead.to_string(), "dead letters", "/dead")
        },
        tile(into, "accepted, last 5 min", "/events"),
        tile(out, "delivered, last 5 min", "/deliveries?status=delivered"),
        tile(success, "attempts that delivered, last hour", "/endpoints"),
        tile(
            when::bytes(outbox.free_bytes),
            "free on the disk",
            "/status",
        ),
    ]
}
