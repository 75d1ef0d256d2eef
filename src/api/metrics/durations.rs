//! How long things take, and how large groups are.

use std::fmt;

use super::exposition::Exposition;
use crate::app::Status;

pub(super) fn write(out: &mut Exposition<'_>, status: &Status) -> fmt::Result {
    let dispatched = &status.dispatched;
    out.histogram(
        "outboxd_delivery_latency_seconds",
        "From acceptance, or the due time asked for, until delivered; from a retry or replay on, if there was one.",
        &dispatched.latency,
    )?;
    out.histogram(
        "outboxd_queue_wait_seconds",
        "From when a delivery is due until its attempt begins: commit, slots, limits, breakers, order.",
        &dispatched.waited,
    )?;
    out.histograms(
        "outboxd_attempt_duration_seconds",
        "How long attempts take, by result. Those that outboxd could not make are left out.",
        "result",
        [
            ("delivered", &dispatched.delivered_took),
            ("failed", &dispatched.failed_took),
        ],
    )?;
    let phases = dispatched.transport.phases.iter();
    out.histograms(
        "outboxd_attempt_phase_seconds",
        "How long the phases of attempts take: dns, connect and tls of new connections, first_byte of each request.",
        "phase",
        phases.map(|(phase, view)| (*phase, view)),
    )?;
    let commits = &status.outbox.commits;
    out.histogram(
        "outboxd_commit_duration_seconds",
        "How long it takes to make a batch durable: write and fdatasync.",
        &commits.duration,
    )?;
    out.histogram(
        "outboxd_commit_events",
        "Events that are accepted together in one batch, of batches with any.",
        &commits.events,
    )?;
    out.histogram(
        "outboxd_commit_records",
        "Records that are made durable together in one batch.",
        &commits.records,
    )
}
