//! Histograms of durations and of the sizes of batches.

use std::fmt;

use super::exposition::Exposition;
use crate::app::Status;

pub(super) fn write(out: &mut Exposition<'_>, status: &Status) -> fmt::Result {
    let dispatched = &status.dispatched;
    out.histogram(
        "outboxd_delivery_latency_seconds",
        "Time from acceptance, the requested due time, or the last retry or replay until the delivery.",
        &dispatched.latency,
    )?;
    out.histogram(
        "outboxd_queue_wait_seconds",
        "Time from when a delivery is due until its attempt begins: commit, slots, limits, breakers, order.",
        &dispatched.waited,
    )?;
    out.histograms(
        "outboxd_attempt_duration_seconds",
        "Duration of attempts, by result, without those that outboxd could not make.",
        "result",
        [
            ("delivered", &dispatched.delivered_took),
            ("failed", &dispatched.failed_took),
        ],
    )?;
    let phases = dispatched.transport.phases.iter();
    out.histograms(
        "outboxd_attempt_phase_seconds",
        "Duration of the phases of attempts: dns, connect and tls of new connections, first_byte of each request.",
        "phase",
        phases.map(|(phase, view)| (*phase, view)),
    )?;
    let commits = &status.outbox.commits;
    out.histogram(
        "outboxd_commit_duration_seconds",
        "Time to make a batch durable: write and fdatasync.",
        &commits.duration,
    )?;
    out.histogram(
        "outboxd_commit_events",
        "Events accepted in one batch, of batches that accept any.",
        &commits.events,
    )?;
    out.histogram(
        "outboxd_commit_records",
        "Records made durable in one batch.",
        &commits.records,
    )
}
