//! The daemon's own events: an endpoint was disabled or enabled, a delivery is dead.
//!
//! Each stands in the frame of what it tells of, in the tenant's own stream, and is
//! delivered like any other. No limit refuses them, and they never cause further ones:
//! neither the death of their own deliveries nor what an endpoint answers to them is
//! reported. Of deaths that somebody asked for (cancel, purge, a deleted endpoint), and
//! of those that make room, only tenants hear that want to: there may be a million.

use crate::domain::delivery::Reason;
use crate::domain::endpoint::{DisabledReason, EndpointId, EndpointNo};
use crate::domain::event::{EventId, EventType, NewEvent, Payload, Tenant};
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::{Lane, PagesError, keys};
use crate::outbox::writer::{Draft, Writer, WriterError};

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
pub(super) struct Death {
    pub event: EventId,
    pub no: EndpointNo,
    pub reason: Reason,
    pub attempt_count: u32,
}

impl Writer {
    /// The endpoint takes no deliveries any more. `cause`: the event whose attempt led to
    /// it, if one did.
    pub(super) fn report_disabled(
        &mut self,
        lane: &Lane,
        reason: DisabledReason,
        cause: Option<EventId>,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        if let Some(event) = cause
            && self.type_of(event)?.is_none_or(|name| is_report(&name))
        {
            return Ok(());
        }
        let data = Switched {
            endpoint: &lane.id,
            reason: Some(reason.as_str()),
        };
        self.report(ENDPOINT_DISABLED, &lane.tenant, &data, draft)
    }

    /// The endpoint takes deliveries again.
    pub(super) fn report_enabled(
        &mut self,
        lane: &Lane,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        let data = Switched {
            endpoint: &lane.id,
            reason: None,
        };
        self.report(ENDPOINT_ENABLED, &lane.tenant, &data, draft)
    }

    /// A delivery is dead.
    pub(super) fn report_dead(
        &mut self,
        death: Death,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        let Some(event_type) = self.type_of(death.event)?.filter(|name| !is_report(name)) else {
            return Ok(());
        };
        let lane = self.index.read().lanes.get(&death.no).cloned();
        let Some(lane) = lane else { return Ok(()) };
        let only_if_wanted = matches!(
            death.reason,
            Reason::Space | Reason::Cancelled | Reason::EndpointDeleted
        );
        if only_if_wanted && !self.is_wanted(DELIVERY_DEAD, &lane.tenant) {
            return Ok(());
        }
        let data = Died {
            event: death.event,
            r#type: &event_type,
            endpoint: &lane.id,
            reason: death.reason.as_str(),
            attempt_count: death.attempt_count,
        };
        self.report(DELIVERY_DEAD, &lane.tenant, &data, draft)
    }

    fn report(
        &mut self,
        name: &str,
        tenant: &Tenant,
        data: &impl serde::Serialize,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        // Ids, names and numbers: both always succeed.
        let (Ok(event_type), Ok(data)) = (EventType::new(name), serde_json::to_vec(data)) else {
            return Ok(());
        };
        let event = NewEvent {
            tenant: tenant.clone(),
            event_type,
            payload: Payload::Json(data.into()),
            key: None,
            idempotency_key: None,
            deliver_at: None,
        };
        let now = self.now();
        self.match_and_store(&event, None, now, draft)?;
        Ok(())
    }

    fn is_wanted(&self, name: &str, tenant: &Tenant) -> bool {
        let endpoints = self.shared.endpoints();
        EventType::new(name).is_ok_and(|name| !endpoints.matching(tenant, &name).is_empty())
    }

    fn type_of(&self, event: EventId) -> Result<Option<String>, WriterError> {
        let state = self.index.read();
        let Some(bytes) = state.entries.get(&keys::event(event))? else {
            return Ok(None);
        };
        let row: EventRow<'_> = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
        Ok(Some(row.event_type.to_owned()))
    }
}

fn is_report(name: &str) -> bool {
    [ENDPOINT_DISABLED, ENDPOINT_ENABLED, DELIVERY_DEAD].contains(&name)
}
