//! The events of `GET /v1/tail`.

use serde::Serialize;

use super::attempt;
use crate::dispatch::tail::{self, EndpointChange};
use crate::domain::endpoint::EndpointId;
use crate::domain::event::{EventId, EventType, Key, Tenant};
use crate::domain::time::Timestamp;

#[derive(Serialize)]
struct Accepted<'a> {
    id: EventId,
    r#type: &'a EventType,
    tenant: &'a Tenant,
    key: Option<&'a Key>,
    source: Option<&'a str>,
    accepted_at: Timestamp,
    deliveries: u32,
}

#[derive(Serialize)]
struct Switched<'a> {
    endpoint: &'a EndpointId,
    tenant: &'a Tenant,
    state: &'static str,
    /// Why it is disabled.
    reason: Option<&'static str>,
    at: Timestamp,
}

#[derive(Serialize)]
struct AttemptedForTenant<'a> {
    event: EventId,
    endpoint: &'a EndpointId,
    r#type: Option<&'a EventType>,
    at: Timestamp,
    duration_ms: u128,
    status: Option<u16>,
    error: Option<ErrorForTenant>,
}

#[derive(Serialize)]
struct ErrorForTenant {
    kind: &'static str,
    detail: &'static str,
}

/// An event that was accepted, in one line of JSON.
pub fn accepted(event: &tail::Accepted) -> String {
    line(&Accepted {
        id: event.id,
        r#type: &event.event_type,
        tenant: &event.tenant,
        key: event.key.as_ref(),
        source: event.source.as_deref(),
        accepted_at: event.accepted_at,
        deliveries: event.deliveries,
    })
}

/// An attempt that ended, in one line of JSON.
pub fn attempted(attempted: &tail::Attempted) -> String {
    line(&attempt::Attempt {
        id: attempted.id,
        event: attempted.event,
        endpoint: &attempted.endpoint,
        tenant: &attempted.tenant,
        r#type: attempted.event_type.as_ref(),
        attempt: (&attempted.attempt).into(),
    })
}

/// An event that was accepted, without where it came from.
pub fn accepted_for_tenant(event: &tail::Accepted) -> String {
    line(&Accepted {
        id: event.id,
        r#type: &event.event_type,
        tenant: &event.tenant,
        key: event.key.as_ref(),
        source: None,
        accepted_at: event.accepted_at,
        deliveries: event.deliveries,
    })
}

/// An attempt that ended, without addresses, the response and the details of its fault.
pub fn attempted_for_tenant(attempted: &tail::Attempted) -> String {
    let attempt = &attempted.attempt;
    line(&AttemptedForTenant {
        event: attempted.event,
        endpoint: &attempted.endpoint,
        r#type: attempted.event_type.as_ref(),
        at: attempt.at,
        duration_ms: attempt.duration.as_millis(),
        status: attempt.status,
        error: attempt.error.as_ref().map(|error| ErrorForTenant {
            kind: error.kind.as_str(),
            detail: error.kind.sentence(),
        }),
    })
}

/// An endpoint that changed its state, in one line of JSON.
pub fn switched(switched: &tail::Switched) -> String {
    let (state, reason) = match switched.change {
        EndpointChange::Disabled(reason) => ("disabled", Some(reason.as_str())),
        EndpointChange::Enabled => ("enabled", None),
        EndpointChange::BreakerOpened => ("breaker_opened", None),
        EndpointChange::BreakerClosed => ("breaker_closed", None),
    };
    line(&Switched {
        endpoint: &switched.endpoint,
        tenant: &switched.tenant,
        state,
        reason,
        at: switched.at,
    })
}

fn line(shown: &impl Serialize) -> String {
    // Strings and numbers always serialise.
    serde_json::to_string(shown).unwrap_or_default()
}
