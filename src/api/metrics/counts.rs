//! Counters, and gauges of the store.

use std::fmt;

use super::exposition::Exposition;
use crate::app::{Figures, Status};
use crate::domain::attempt::ErrorKind;
use crate::domain::time::Timestamp;
use crate::stderr;

pub(super) fn write(
    out: &mut Exposition<'_>,
    status: &Status,
    figures: &Figures,
    calls: &[(&str, u64)],
) -> fmt::Result {
    out.gauges(
        "outboxd_build_info",
        "The version of outboxd; always 1.",
        "version",
        [(status.version, 1_u64)],
    )?;
    out.gauge(
        "outboxd_uptime_seconds",
        "Seconds since the start.",
        status.uptime.as_secs(),
    )?;
    out.counter(
        "outboxd_log_lines_lost_total",
        "Log lines that could not be written to stderr.",
        stderr::lines_lost(),
    )?;
    ingest(out, status, calls)?;
    dispatch(out, status)?;
    endpoints(out, status)?;
    deliveries(out, status)?;
    store_counters(out, status)?;
    store_gauges(out, status, figures)?;
    shipping(out, status)?;
    holds(out, status)
}

/// Only where the log is shipped.
fn shipping(out: &mut Exposition<'_>, status: &Status) -> fmt::Result {
    let Some(shipping) = &status.shipping else {
        return Ok(());
    };
    out.gauge(
        "outboxd_backup_behind_seconds",
        "Age of the oldest part of the log that was not shipped; 0 if all of it was.",
        shipping.behind.as_secs_f64(),
    )?;
    let last = shipping.last_shipped_at.map_or(0, Timestamp::as_secs);
    out.gauge(
        "outboxd_backup_last_shipped_seconds",
        "When something was last shipped, in seconds since 1970; 0 if nothing was since the start.",
        last,
    )?;
    out.counter(
        "outboxd_backup_shipped_parts_total",
        "Parts of the log that were shipped.",
        shipping.parts,
    )?;
    out.counter(
        "outboxd_backup_shipped_bytes_total",
        "Bytes of the log that were shipped, before sealing.",
        shipping.bytes,
    )?;
    out.counter(
        "outboxd_backup_failures_total",
        "Rounds of shipping that failed and were tried again.",
        shipping.failures,
    )
}

fn ingest(out: &mut Exposition<'_>, status: &Status, calls: &[(&str, u64)]) -> fmt::Result {
    let ingested = &status.ingested;
    out.counter(
        "outboxd_events_accepted_total",
        "Events made durable, duplicates not counted.",
        ingested.accepted,
    )?;
    out.counter(
        "outboxd_events_duplicate_total",
        "Events that repeated an idempotency key and content.",
        ingested.duplicates,
    )?;
    out.counters(
        "outboxd_requests_refused_total",
        "Ingest requests that were refused although well-formed, by reason.",
        "reason",
        ingested.refused,
    )?;
    out.counters(
        "outboxd_source_calls_total",
        "Calls of sources, by result.",
        "result",
        calls.iter().copied(),
    )
}

fn dispatch(out: &mut Exposition<'_>, status: &Status) -> fmt::Result {
    let dispatched = &status.dispatched;
    let kinds = ErrorKind::ALL.iter().map(|kind| kind.as_str());
    let failed = kinds.zip(dispatched.attempts_failed);
    let delivered = ("delivered", dispatched.attempts_delivered);
    out.counters(
        "outboxd_attempts_total",
        "Attempts that ended, by result.",
        "result",
        [delivered].into_iter().chain(failed),
    )?;
    out.gauge(
        "outboxd_attempts_in_flight",
        "Attempts under way.",
        dispatched.in_flight,
    )?;
    out.gauge(
        "outboxd_breakers_open",
        "Endpoints whose circuit breaker is open.",
        dispatched.breakers_open,
    )
}

fn endpoints(out: &mut Exposition<'_>, status: &Status) -> fmt::Result {
    let outbox = &status.outbox;
    let gauges = [
        ("outboxd_endpoints", "All endpoints.", outbox.endpoints),
        (
            "outboxd_endpoints_disabled",
            "Endpoints disabled.",
            outbox.endpoints_disabled,
        ),
        (
            "outboxd_endpoints_unrendered",
            "Endpoints with deliveries that cannot be rendered.",
            outbox.endpoints_unrendered,
        ),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help, value)?;
    }
    let certificates = outbox.certificates.iter();
    out.gauges(
        "outboxd_endpoint_client_cert_not_after_seconds",
        "When the client certificate of an endpoint expires, in seconds since 1970.",
        "endpoint",
        certificates.map(|(endpoint, not_after)| (endpoint.as_str(), not_after.as_secs())),
    )
}

fn deliveries(out: &mut Exposition<'_>, status: &Status) -> fmt::Result {
    let deliveries = &status.outbox.deliveries;
    out.gauges(
        "outboxd_deliveries",
        "Deliveries in the outbox, by status.",
        "status",
        [
            ("pending", deliveries.pending),
            ("held", deliveries.held),
            ("delivered", deliveries.delivered),
            ("dead", deliveries.dead),
        ],
    )?;
    out.gauge(
        "outboxd_oldest_pending_seconds",
        "Age of the oldest pending delivery; 0 without any.",
        status.oldest_pending.unwrap_or_default().as_secs_f64(),
    )
}

fn store_counters(out: &mut Exposition<'_>, status: &Status) -> fmt::Result {
    let outbox = &status.outbox;
    let counters = [
        (
            "outboxd_held_dropped_total",
            "Held deliveries that died to make room (reason space).",
            outbox.held_dropped,
        ),
        (
            "outboxd_dead_dropped_total",
            "Events with dead letters that were removed before retention.dead, to make room.",
            outbox.dead_dropped,
        ),
        (
            "outboxd_cleaning_passes_total",
            "Passes of the cleaner, finished or given up.",
            outbox.cleaning_passes,
        ),
        (
            "outboxd_cleaning_cut_short_total",
            "Passes of the cleaner given up for lack of room or after an I/O error.",
            outbox.cleaning_cut_short,
        ),
        (
            "outboxd_refused_batches_total",
            "Batches of the log that found no room.",
            outbox.refused_batches,
        ),
        (
            "outboxd_unknown_records_total",
            "Records about something unknown: forgotten since, or lost to damage.",
            outbox.unknown_records,
        ),
        (
            "outboxd_accounting_faults_total",
            "Times a total went below zero. Anything but 0 is a bug: please report it.",
            outbox.accounting_faults,
        ),
    ];
    for (name, help, value) in counters {
        out.counter(name, help, value)?;
    }
    Ok(())
}

fn store_gauges(out: &mut Exposition<'_>, status: &Status, figures: &Figures) -> fmt::Result {
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
            "Free space on the data directory's disk.",
            outbox.free_bytes,
        ),
        (
            "outboxd_disk_min_free_bytes",
            "outbox.min_free_disk: with less free, new events are refused.",
            figures.min_free_disk,
        ),
        (
            "outboxd_damaged_records",
            "Stored records found damaged.",
            outbox.damaged_records,
        ),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help, value)?;
    }
    Ok(())
}

fn holds(out: &mut Exposition<'_>, status: &Status) -> fmt::Result {
    let holds = &status.outbox.holds;
    out.counter(
        "outboxd_index_read_holds_total",
        "Times that a read has held the index; commits wait for it meanwhile.",
        holds.count,
    )?;
    out.counter(
        "outboxd_index_read_holds_long_total",
        "Times that a read has held the index for more than 2 ms.",
        holds.long,
    )?;
    out.gauge(
        "outboxd_index_read_hold_seconds_max",
        "The longest that a read has held the index since the start.",
        holds.longest.as_secs_f64(),
    )?;
    out.gauge(
        "outboxd_index_read_hold_cpu_seconds_max",
        "The most CPU time that one such hold has taken since the start.",
        holds.longest_cpu.as_secs_f64(),
    )?;
    out.gauge(
        "outboxd_index_read_hold_rows_max",
        "The most rows that were read in one such hold since the start.",
        holds.most_rows,
    )
}
