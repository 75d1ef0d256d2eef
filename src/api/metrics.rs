//! `GET /metrics`: the Prometheus text format, version 0.0.4.

use std::fmt::{Display, Write};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use super::Api;
use super::problem::Problem;
use crate::app::Status;
use crate::domain::attempt::ErrorKind;
use crate::stderr;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let status = api.app.monitor.status().await?;
    let text = written(&status, &api.app.sources.outcomes());
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

fn written(status: &Status, calls: &[(&str, u64)]) -> String {
    let mut out = Exposition(String::with_capacity(4096));
    out.family("outboxd_build_info", "gauge", "The version that runs.");
    let version = format!("{{version=\"{}\"}}", status.version);
    out.sample("outboxd_build_info", &version, 1);
    out.single(
        "outboxd_uptime_seconds",
        "gauge",
        "Seconds since the start.",
        status.uptime.as_secs(),
    );
    out.single(
        "outboxd_log_lines_lost_total",
        "counter",
        "Log lines that stderr did not take.",
        stderr::lines_lost(),
    );
    ingest(&mut out, status);
    inbound(&mut out, calls);
    dispatch(&mut out, status);
    endpoints(&mut out, status);
    stored(&mut out, status);
    holds(&mut out, status);
    out.0
}

fn ingest(out: &mut Exposition, status: &Status) {
    let ingested = &status.ingested;
    out.single(
        "outboxd_events_accepted_total",
        "counter",
        "Events made durable, duplicates not counted.",
        ingested.accepted,
    );
    out.single(
        "outboxd_events_duplicate_total",
        "counter",
        "Events that repeated an idempotency key and content.",
        ingested.duplicates,
    );
    let name = "outboxd_requests_refused_total";
    out.family(
        name,
        "counter",
        "Ingest requests that were refused although well-formed, by reason.",
    );
    for (reason, count) in ingested.refused {
        out.sample(name, &format!("{{reason=\"{reason}\"}}"), count);
    }
}

fn inbound(out: &mut Exposition, calls: &[(&str, u64)]) {
    let name = "outboxd_source_calls_total";
    out.family(name, "counter", "Calls of sources that ended, by result.");
    for (result, count) in calls {
        out.sample(name, &format!("{{result=\"{result}\"}}"), count);
    }
}

fn dispatch(out: &mut Exposition, status: &Status) {
    let dispatched = &status.dispatched;
    let name = "outboxd_attempts_total";
    out.family(name, "counter", "Attempts that ended, by result.");
    out.sample(
        name,
        "{result=\"delivered\"}",
        dispatched.attempts_delivered,
    );
    for (kind, counter) in ErrorKind::ALL.iter().zip(dispatched.attempts_failed) {
        let result = kind.as_str();
        out.sample(name, &format!("{{result=\"{result}\"}}"), counter);
    }
    out.single(
        "outboxd_attempts_in_flight",
        "gauge",
        "Attempts under way.",
        dispatched.in_flight,
    );
    out.single(
        "outboxd_breakers_open",
        "gauge",
        "Endpoints whose circuit breaker is open.",
        dispatched.breakers_open,
    );
}

fn endpoints(out: &mut Exposition, status: &Status) {
    let outbox = &status.outbox;
    out.single(
        "outboxd_endpoints_unrendered",
        "gauge",
        "Endpoints with deliveries that cannot be rendered.",
        outbox.endpoints_unrendered,
    );
    let name = "outboxd_endpoint_client_cert_not_after_seconds";
    out.family(
        name,
        "gauge",
        "When the client certificate of an endpoint expires, in seconds since 1970.",
    );
    for (endpoint, not_after) in &outbox.certificates {
        let labels = format!("{{endpoint=\"{endpoint}\"}}");
        out.sample(name, &labels, not_after.as_secs());
    }
}

fn stored(out: &mut Exposition, status: &Status) {
    let outbox = &status.outbox;
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
    let oldest = status.oldest_pending.unwrap_or_default().as_secs_f64();
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
    let counters = [
        (
            "outboxd_cleaning_passes_total",
            "Looks of the cleaner, finished or given up.",
            outbox.cleaning_passes,
        ),
        (
            "outboxd_cleaning_cut_short_total",
            "Of these the ones given up: no room, or an I/O error.",
            outbox.cleaning_cut_short,
        ),
        (
            "outboxd_refused_batches_total",
            "Batches of the log that found no room.",
            outbox.refused_batches,
        ),
        (
            "outboxd_unknown_records_total",
            "Records that spoke of something unknown: forgotten since, or lost to damage.",
            outbox.unknown_records,
        ),
        (
            "outboxd_accounting_faults_total",
            "Times a total went below zero. Anything but 0 is a bug: please report it.",
            outbox.accounting_faults,
        ),
    ];
    for (name, help, value) in counters {
        out.single(name, "counter", help, value);
    }
    stored_gauges(out, status);
}

fn stored_gauges(out: &mut Exposition, status: &Status) {
    let outbox = &status.outbox;
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

fn holds(out: &mut Exposition, status: &Status) {
    let holds = &status.outbox.holds;
    out.single(
        "outboxd_index_read_holds_total",
        "counter",
        "Times that a read has held the index; commits wait for it meanwhile.",
        holds.count,
    );
    out.single(
        "outboxd_index_read_holds_long_total",
        "counter",
        "Of these the ones longer than 2 ms.",
        holds.long,
    );
    out.single(
        "outboxd_index_read_hold_seconds_max",
        "gauge",
        "The longest that a read has held the index since the start.",
        holds.longest.as_secs_f64(),
    );
    out.single(
        "outboxd_index_read_hold_cpu_seconds_max",
        "gauge",
        "The most CPU time that one such hold has taken since the start.",
        holds.longest_cpu.as_secs_f64(),
    );
    out.single(
        "outboxd_index_read_hold_rows_max",
        "gauge",
        "The most rows that were read in one such hold since the start.",
        holds.most_rows,
    );
}
