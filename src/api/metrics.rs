//! `GET /metrics`: the Prometheus text format, version 0.0.4.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use super::Api;
use super::problem::Problem;
use crate::clock;
use crate::domain::attempt::ErrorKind;
use crate::domain::time::Timestamp;
use crate::outbox::{OutboxStatus, ReadError};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let outbox = api
        .read(|outbox| Ok::<_, ReadError>(outbox.status()))
        .await?;
    let text = written(&api, &outbox, clock::now());
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// The text, family by family.
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, "", value);
    }
}

fn written(api: &Api, outbox: &OutboxStatus, now: Timestamp) -> String {
    let mut out = Exposition(String::with_capacity(4096));
    out.family("outboxd_build_info", "gauge", "The version that runs.");
    let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    out.sample("outboxd_build_info", version, 1);
    out.single(
        "outboxd_uptime_seconds",
        "gauge",
        "Seconds since the start.",
        api.started.elapsed().as_secs(),
    );
    ingest(&mut out, api);
    dispatch(&mut out, api);
    stored(&mut out, outbox, now);
    out.0
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn ingest(out: &mut Exposition, api: &Api) {
    let counters = &api.counters;
    out.single(
        "outboxd_events_accepted_total",
        "counter",
        "Events made durable, duplicates not counted.",
        load(&counters.accepted),
    );
    out.single(
        "outboxd_events_duplicate_total",
        "counter",
        "Events that repeated an idempotency key and content.",
        load(&counters.duplicates),
    );
    let name = "outboxd_requests_refused_total";
    out.family(
        name,
        "counter",
        "Ingest requests that were refused although well-formed, by reason.",
    );
    let reasons = [
        ("key_reused", &counters.refused_key_reused),
        ("full", &counters.refused_full),
        ("disk_low", &counters.refused_disk_low),
        ("failed", &counters.refused_failed),
        ("shutting_down", &counters.refused_shutting_down),
        ("rate_limited", &counters.refused_rate_limited),
    ];
    for (reason, counter) in reasons {
        out.sample(name, &format!("{{reason=\"{reason}\"}}"), load(counter));
    }
}

fn dispatch(out: &mut Exposition, api: &Api) {
    let gauges = &api.gauges;
    let name = "outboxd_attempts_total";
    out.family(name, "counter", "Attempts that ended, by result.");
    out.sample(
        name,
        "{result=\"delivered\"}",
        load(&gauges.attempts_delivered),
    );
    for (kind, counter) in ErrorKind::ALL.iter().zip(&gauges.attempts_failed) {
        let result = kind.as_str();
        out.sample(name, &format!("{{result=\"{result}\"}}"), load(counter));
    }
    out.single(
        "outboxd_attempts_in_flight",
        "gauge",
        "Attempts under way.",
        load(&gauges.in_flight),
    );
    out.single(
        "outboxd_breakers_open",
        "gauge",
        "Endpoints whose circuit breaker is open.",
        load(&gauges.breakers_open),
    );
}

fn stored(out: &mut Exposition, outbox: &OutboxStatus, now: Timestamp) {
    let name = "outboxd_deliveries";
    out.family(name, "gauge", "Deliveries in the outbox, by status.");
    let statuses = [
        ("pending", outbox.deliveries.pending),
        ("held", outbox.deliveries.held),
        ("delivered", outbox.deliveries.delivered),
        ("dead", outbox.deliveries.dead),
    ];
    for (status, count) in statuses {
        out.sample(name, &format!("{{status=\"{status}\"}}"), count);
    }
    let oldest = outbox
        .oldest_pending
        .map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
    out.single(
        "outboxd_oldest_pending_seconds",
        "gauge",
        "Age of the oldest pending delivery; 0 without any.",
        oldest,
    );
    out.single(
        "outboxd_held_dropped_total",
        "counter",
        "Held deliveries that died to make room (reason space).",
        outbox.held_dropped,
    );
    let gauges = [
        ("outboxd_log_bytes", "Size of the log.", outbox.log_bytes),
        (
            "outboxd_index_bytes",
            "Size of the index.",
            outbox.index_bytes,
        ),
        (
            "outboxd_disk_free_bytes",
            "Free on the data directory's disk.",
            outbox.free_bytes,
        ),
        ("outboxd_endpoints", "Endpoints known.", outbox.endpoints),
        (
            "outboxd_endpoints_disabled",
            "Endpoints disabled.",
            outbox.endpoints_disabled,
        ),
        (
            "outboxd_damaged_records",
            "Stored records found damaged.",
            outbox.damaged_records,
        ),
    ];
    for (name, help, value) in gauges {
        out.single(name, "gauge", help, value);
    }
}
