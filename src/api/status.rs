//! How the daemon is doing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use super::Api;
use super::problem::{Kind, Problem};
use super::query::Query;
use super::router::json;
use crate::clock;
use crate::domain::time::Timestamp;
use crate::outbox::{OutboxStatus, ReadError};

/// `GET /v1/status`
pub async fn status(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let outbox = api
        .read(|outbox| Ok::<_, ReadError>(outbox.status()))
        .await?;
    json(StatusCode::OK, &Shown::new(&api, &outbox, clock::now()))
}

/// `GET /healthz`: the process answers.
pub async fn healthz() -> Response {
    (StatusCode::OK, "ok\n").into_response()
}

/// `GET /readyz`: the outbox is recovered and takes events.
pub async fn readyz(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    if api.is_ready() {
        Ok((StatusCode::OK, "ready\n").into_response())
    } else {
        Err(Problem::new(
            Kind::NotReady,
            "outboxd is starting or shutting down",
        ))
    }
}

#[derive(Serialize)]
struct Shown {
    version: &'static str,
    uptime_s: u64,
    backlog: Backlog,
    oldest_pending_s: Option<u64>,
    disk: Disk,
    endpoints: Endpoints,
    damaged_records: u64,
    recovery: Recovery,
    totals: Totals,
}

#[derive(Serialize)]
struct Backlog {
    pending: u64,
    held: u64,
    dead: u64,
    in_flight: u64,
}

#[derive(Serialize)]
struct Disk {
    log_bytes: u64,
    index_bytes: u64,
    free_bytes: u64,
}

#[derive(Serialize)]
struct Endpoints {
    total: u64,
    disabled: u64,
    breaker_open: u64,
}

#[derive(Serialize)]
struct Recovery {
    kind: &'static str,
    seconds: f64,
}

/// Since the start.
#[derive(Serialize)]
struct Totals {
    events_accepted: u64,
    attempts_delivered: u64,
    attempts_failed: u64,
}

impl Shown {
    fn new(api: &Api, outbox: &OutboxStatus, now: Timestamp) -> Self {
        let gauges = &api.gauges;
        let failed = gauges.attempts_failed.iter();
        Shown {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: api.started.elapsed().as_secs(),
            backlog: Backlog {
                pending: outbox.deliveries.pending,
                held: outbox.deliveries.held,
                dead: outbox.deliveries.dead,
                in_flight: gauges.in_flight.load(Ordering::Relaxed),
            },
            oldest_pending_s: outbox
                .oldest_pending
                .map(|oldest| now.since(oldest).as_secs()),
            disk: Disk {
                log_bytes: outbox.log_bytes,
                index_bytes: outbox.index_bytes,
                free_bytes: outbox.free_bytes,
            },
            endpoints: Endpoints {
                total: outbox.endpoints,
                disabled: outbox.endpoints_disabled,
                breaker_open: gauges.breakers_open.load(Ordering::Relaxed),
            },
            damaged_records: outbox.damaged_records,
            recovery: Recovery {
                kind: outbox.recovery.as_str(),
                seconds: outbox.recovery_took.as_secs_f64(),
            },
            totals: Totals {
                events_accepted: api.counters.accepted.load(Ordering::Relaxed),
                attempts_delivered: gauges.attempts_delivered.load(Ordering::Relaxed),
                attempts_failed: failed.map(|count| count.load(Ordering::Relaxed)).sum(),
            },
        }
    }
}
