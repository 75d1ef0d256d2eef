//! The events of `GET /v1/tail`.

use serde::Serialize;

use crate::app;
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

/// An event that was accepted, in one line of JSON.
pub fn accepted(event: &app::tail::Accepted) -> String {
    let shown = Accepted {
        id: event.id,
        r#type: &event.event_type,
        tenant: &event.tenant,
        key: event.key.as_ref(),
        source: event.source.as_deref(),
        accepted_at: event.accepted_at,
        deliveries: event.deliveries,
    };
    // Strings and numbers always serialise.
    serde_json::to_string(&shown).unwrap_or_default()
}
