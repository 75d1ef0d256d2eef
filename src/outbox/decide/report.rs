//! The daemon's own events: an endpoint was disabled or enabled, a delivery is dead.
//!
//! Each is in the batch of the change that it reports, belongs to the endpoint's tenant, and is
//! delivered like any other. No limit refuses them, and they never cause further ones:
//! neither the death of their own deliveries nor what an endpoint answers to them is
//! reported. Deaths on request (cancel, purge, a deleted endpoint) and to make room are
//! reported only if an endpoint of the tenant subscribes to them: there may be a million.

use crate::domain::delivery::Reason;
use crate::domain::endpoint::{DisabledReason, EndpointId, EndpointNo};
use crate::domain::event::{EventId, EventType, NewEvent, Payload, Tenant};
use crate::outbox::decide::{Basis, DecideError, Draft, accept};
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::{PagesError, StoredEndpoint, keys};

const ENDPOINT_DISABLED: &str = "outboxd.endpoint.disabled";
const ENDPOINT_ENABLED: &str = "outboxd.endpoint.enabled";
const DELIVERY_DEAD: &str = "outboxd.delivery.dead";

#[derive(serde::Serialize)]
struct Switched<'a> {
    endpoint: &'a EndpointId,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(serde::Serialize)]
struct Died<'a> {
    event: EventId,
    r#type: &'a str,
    endpoint: &'a EndpointId,
    reason: &'static str,
    attempt_count: u32,
}

/// A dead delivery, as it is reported.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub event: EventId,
    pub no: EndpointNo,
    pub reason: Reason,
    pub attempt_count: u32,
}

/// The endpoint takes no more deliveries. `cause`: the event whose attempt led to it, if
/// one did.
pub fn disabled(
    basis: &Basis<'_>,
    stored: &StoredEndpoint,
    reason: DisabledReason,
    cause: Option<EventId>,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    if let Some(event) = cause
        && type_of(basis, event)?.is_none_or(|name| is_report(&name))
    {
        return Ok(());
    }
    let data = Switched {
        endpoint: &stored.id,
        reason: Some(reason.as_str()),
    };
    report(basis, ENDPOINT_DISABLED, &stored.tenant, &data, draft)
}

/// The endpoint takes deliveries again.
pub fn enabled(
    basis: &Basis<'_>,
    stored: &StoredEndpoint,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let data = Switched {
        endpoint: &stored.id,
        reason: None,
    };
    report(basis, ENDPOINT_ENABLED, &stored.tenant, &data, draft)
}

/// A delivery is dead.
pub fn dead(basis: &Basis<'_>, death: Death, draft: &mut Draft) -> Result<(), DecideError> {
    let Some(event_type) = type_of(basis, death.event)?.filter(|name| !is_report(name)) else {
        return Ok(());
    };
    let Some(stored) = basis.state.endpoints.get(&death.no) else {
        return Ok(());
    };
    let only_if_wanted = matches!(
        death.reason,
        Reason::Space | Reason::Cancelled | Reason::EndpointDeleted
    );
    if only_if_wanted && !is_wanted(basis, DELIVERY_DEAD, &stored.tenant) {
        return Ok(());
    }
    let data = Died {
        event: death.event,
        r#type: &event_type,
        endpoint: &stored.id,
        reason: death.reason.as_str(),
        attempt_count: death.attempt_count,
    };
    report(basis, DELIVERY_DEAD, &stored.tenant, &data, draft)
}

fn report(
    basis: &Basis<'_>,
    name: &str,
    tenant: &Tenant,
    data: &impl serde::Serialize,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    // Ids, names and numbers: both always succeed.
    let (Ok(event_type), Ok(data)) = (EventType::new(name), serde_json::to_vec(data)) else {
        return Ok(());
    };
    let event = own_event(tenant, event_type, data);
    let endpoints = |id| accept::wanting(basis, &event, None, id);
    accept::store_own(basis, &event, endpoints, draft).map(drop)
}

fn own_event(tenant: &Tenant, event_type: EventType, data: Vec<u8>) -> NewEvent {
    NewEvent {
        tenant: tenant.clone(),
        event_type,
        payload: Payload::Json(data.into()),
        key: None,
        idempotency_key: None,
        deliver_at: None,
        extras: None,
    }
}

fn is_wanted(basis: &Basis<'_>, name: &str, tenant: &Tenant) -> bool {
    let event_type = EventType::new(name);
    event_type.is_ok_and(|event_type| {
        let event = own_event(tenant, event_type, Vec::new());
        !basis.endpoints.matching(&event).is_empty()
    })
}

fn type_of(basis: &Basis<'_>, event: EventId) -> Result<Option<String>, DecideError> {
    let Some(bytes) = basis.state.entries.get(&keys::event(event))? else {
        return Ok(None);
    };
    let row: EventRow<'_> = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
    Ok(Some(row.event_type.to_owned()))
}

fn is_report(name: &str) -> bool {
    [ENDPOINT_DISABLED, ENDPOINT_ENABLED, DELIVERY_DEAD].contains(&name)
}
