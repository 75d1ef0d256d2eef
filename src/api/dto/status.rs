//! The state of the daemon.

use serde::Serialize;

use crate::app;
use crate::backup::Shipping;
use crate::domain::endpoint::EndpointId;
use crate::domain::time::Timestamp;

#[derive(Serialize)]
pub struct Status<'a> {
    version: &'static str,
    uptime_s: u64,
    backlog: Backlog,
    oldest_pending_s: Option<u64>,
    disk: Disk,
    endpoints: Endpoints,
    expiring_certificates: Vec<Certificate<'a>>,
    damaged_records: u64,
    recovery: Recovery,
    /// `null`: nothing is shipped.
    backup: Option<Backup<'a>>,
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
    /// With deliveries that cannot be rendered.
    unrendered: u64,
}

/// A client certificate that expires within 30 days, or has.
#[derive(Serialize)]
struct Certificate<'a> {
    endpoint: &'a EndpointId,
    not_after: Timestamp,
}

#[derive(Serialize)]
struct Recovery {
    kind: &'static str,
    seconds: f64,
}

/// How shipping goes.
#[derive(Serialize)]
struct Backup<'a> {
    generation: Option<&'a str>,
    behind_s: f64,
    last_shipped_at: Option<Timestamp>,
    error: Option<&'a str>,
}

impl<'a> From<&'a Shipping> for Backup<'a> {
    fn from(shipping: &'a Shipping) -> Self {
        let generation = shipping.generation.as_str();
        Backup {
            generation: (!generation.is_empty()).then_some(generation),
            behind_s: (shipping.behind.as_secs_f64() * 1000.0).round() / 1000.0,
            last_shipped_at: shipping.last_shipped_at,
            error: shipping.error.as_deref(),
        }
    }
}

/// Since the start.
#[derive(Serialize)]
struct Totals {
    events_accepted: u64,
    attempts_delivered: u64,
    attempts_failed: u64,
}

impl<'a> From<&'a (EndpointId, Timestamp)> for Certificate<'a> {
    fn from((endpoint, not_after): &'a (EndpointId, Timestamp)) -> Self {
        Certificate {
            endpoint,
            not_after: *not_after,
        }
    }
}

impl<'a> From<&'a app::Status> for Status<'a> {
    fn from(status: &'a app::Status) -> Self {
        let (outbox, dispatched) = (&status.outbox, &status.dispatched);
        Status {
            version: status.version,
            uptime_s: status.uptime.as_secs(),
            backlog: Backlog {
                pending: outbox.deliveries.pending,
                held: outbox.deliveries.held,
                dead: outbox.deliveries.dead,
                in_flight: dispatched.in_flight,
            },
            oldest_pending_s: status.oldest_pending.map(|age| age.as_secs()),
            disk: Disk {
                log_bytes: outbox.log_bytes,
                index_bytes: outbox.index_bytes,
                free_bytes: outbox.free_bytes,
            },
            endpoints: Endpoints {
                total: outbox.endpoints,
                disabled: outbox.endpoints_disabled,
                breaker_open: dispatched.breakers_open,
                unrendered: outbox.endpoints_unrendered,
            },
            expiring_certificates: status.expiring.iter().map(Certificate::from).collect(),
            damaged_records: outbox.damaged_records,
            recovery: Recovery {
                kind: outbox.recovery.as_str(),
                seconds: outbox.recovery_took.as_secs_f64(),
            },
            backup: status.shipping.as_ref().map(Backup::from),
            totals: Totals {
                events_accepted: status.ingested.accepted,
                attempts_delivered: dispatched.attempts_delivered,
                attempts_failed: dispatched.attempts_failed.iter().sum(),
            },
        }
    }
}
