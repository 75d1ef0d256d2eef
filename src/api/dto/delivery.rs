//! A delivery with its attempts.

use std::borrow::Cow;

use serde::Serialize;

use crate::domain::attempt;
use crate::domain::endpoint::EndpointId;
use crate::domain::event::{EventId, EventType, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::DeliveryView;

#[derive(Serialize)]
pub struct Delivery<'a> {
    event: EventId,
    endpoint: &'a EndpointId,
    tenant: &'a Tenant,
    r#type: &'a EventType,
    status: &'static str,
    reason: Option<&'static str>,
    attempts: Vec<Attempt<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    attempts_omitted: bool,
    attempt_count: u32,
    next_attempt_at: Option<Timestamp>,
    accepted_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl<'a> From<&'a DeliveryView> for Delivery<'a> {
    fn from(delivery: &'a DeliveryView) -> Self {
        Delivery {
            event: delivery.event,
            endpoint: &delivery.endpoint,
            tenant: &delivery.tenant,
            r#type: &delivery.event_type,
            status: delivery.status.as_str(),
            reason: delivery.reason.map(|reason| reason.as_str()),
            attempts: delivery.attempts.iter().map(Attempt::from).collect(),
            attempts_omitted: delivery.attempts_omitted,
            attempt_count: delivery.attempt_count,
            next_attempt_at: delivery.next_attempt_at,
            accepted_at: delivery.accepted_at,
            finished_at: delivery.finished_at,
        }
    }
}

/// What one request came to.
#[derive(Serialize)]
pub struct Attempt<'a> {
    at: Timestamp,
    duration_ms: u64,
    status: Option<u16>,
    error: Option<AttemptError<'a>>,
    response_body: Cow<'a, str>,
    address: Option<String>,
}

#[derive(Serialize)]
struct AttemptError<'a> {
    kind: &'static str,
    detail: &'a str,
}

impl<'a> From<&'a attempt::Attempt> for Attempt<'a> {
    fn from(attempt: &'a attempt::Attempt) -> Self {
        Attempt {
            at: attempt.at,
            duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            status: attempt.status,
            error: attempt.error.as_ref().map(|error| AttemptError {
                kind: error.kind.as_str(),
                detail: &error.detail,
            }),
            response_body: String::from_utf8_lossy(&attempt.response_body),
            address: attempt.address.map(|address| address.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::{AttemptError, ErrorKind};
    use crate::domain::delivery::{Reason, Status};
    use bytes::Bytes;
    use std::time::Duration;

    #[test]
    fn a_delivery_is_shown_as_the_readme_has_it() {
        let at = Timestamp::from_millis(1_767_225_600_000);
        let delivery = DeliveryView {
            event: "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            endpoint: EndpointId::new("orders").unwrap(),
            tenant: Tenant::default(),
            event_type: EventType::new("order.created").unwrap(),
            status: Status::Dead,
            reason: Some(Reason::Exhausted),
            attempts: vec![attempt::Attempt {
                at,
                duration: Duration::from_micros(12_900),
                status: Some(503),
                error: Some(AttemptError {
                    kind: ErrorKind::Status,
                    detail: "answered 503".into(),
                }),
                response_body: Bytes::from_static(b"no\xff"),
                address: Some("192.0.2.1:443".parse().unwrap()),
                retry_after: None,
                permanent: false,
            }],
            attempts_omitted: false,
            attempt_count: 51,
            next_attempt_at: None,
            accepted_at: at,
            finished_at: Some(at),
        };
        assert_eq!(
            serde_json::to_value(super::Delivery::from(&delivery)).unwrap(),
            serde_json::json!({
                "event": "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV", "endpoint": "orders",
                "tenant": "default", "type": "order.created",
                "status": "dead", "reason": "exhausted",
                "attempts": [{"at": "2026-01-01T00:00:00.000Z", "duration_ms": 12, "status": 503,
                    "error": {"kind": "status", "detail": "answered 503"},
                    "response_body": "no\u{fffd}", "address": "192.0.2.1:443"}],
                "attempt_count": 51, "next_attempt_at": null,
                "accepted_at": "2026-01-01T00:00:00.000Z",
                "finished_at": "2026-01-01T00:00:00.000Z"
            })
        );
    }
}
