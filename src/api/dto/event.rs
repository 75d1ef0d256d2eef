//! Events: accepted, in a list, and whole.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::delivery::Delivery;
use super::received::Received;
use crate::api::problem::{Kind, Problem};
use crate::domain::cloudevents;
use crate::domain::event::{self, CLOUDEVENT_KEY, EventId, EventType, Key, SOURCE_KEY, Tenant};
use crate::domain::extras::Channel;
use crate::domain::time::Timestamp;
use crate::outbox::{EventSummary, EventView, Receipt, StatusCounts};

#[derive(Serialize)]
pub struct AcceptedBatch<'a> {
    pub accepted: usize,
    pub events: Vec<Accepted<'a>>,
}

/// The answer to an event that was accepted.
#[derive(Serialize)]
pub struct Accepted<'a> {
    id: EventId,
    r#type: &'a EventType,
    accepted_at: Timestamp,
    deliveries: u32,
    duplicate: bool,
}

impl<'a> From<&'a Receipt> for Accepted<'a> {
    fn from(receipt: &'a Receipt) -> Self {
        Accepted {
            id: receipt.id,
            r#type: &receipt.event_type,
            accepted_at: receipt.accepted_at,
            deliveries: receipt.deliveries,
            duplicate: receipt.duplicate,
        }
    }
}

/// An event without its body.
#[derive(Serialize)]
pub struct Summary<'a> {
    id: EventId,
    r#type: &'a EventType,
    tenant: &'a Tenant,
    key: Option<&'a Key>,
    idempotency_key: Option<&'a Key>,
    accepted_at: Timestamp,
    deliver_at: Option<Timestamp>,
    delivery_counts: Counts,
}

#[derive(Serialize)]
struct Counts {
    pending: u64,
    held: u64,
    delivered: u64,
    dead: u64,
}

impl From<StatusCounts> for Counts {
    fn from(counts: StatusCounts) -> Self {
        Counts {
            pending: counts.pending,
            held: counts.held,
            delivered: counts.delivered,
            dead: counts.dead,
        }
    }
}

impl<'a> From<&'a EventSummary> for Summary<'a> {
    fn from(event: &'a EventSummary) -> Self {
        Summary {
            id: event.id,
            r#type: &event.event_type,
            tenant: &event.tenant,
            key: event.key.as_ref(),
            idempotency_key: event.idempotency_key.as_ref().filter(|key| {
                // The source and id of a CloudEvent or of a delivery are shown as such.
                let own = [CLOUDEVENT_KEY, SOURCE_KEY];
                !own.iter().any(|prefix| key.as_str().starts_with(prefix))
            }),
            accepted_at: event.accepted_at,
            deliver_at: event.deliver_at,
            delivery_counts: event.counts.into(),
        }
    }
}

/// An event with its body and its deliveries.
#[derive(Serialize)]
pub struct Event<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    channels: &'a [Channel],
    headers: BTreeMap<&'a str, Cow<'a, str>>,
    /// The attributes of the CloudEvent that it came in as.
    #[serde(skip_serializing_if = "Option::is_none")]
    cloudevent: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<Received<'a>>,
    #[serde(flatten)]
    payload: Payload<'a>,
    deliveries: Vec<Delivery<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Json {
        data: &'a RawValue,
    },
    Opaque {
        content_type: &'a str,
        body_base64: String,
    },
}

impl<'a> Event<'a> {
    pub fn new(event: &'a EventView) -> Result<Self, Problem> {
        let payload = match &event.payload {
            event::Payload::Json(data) => Payload::Json {
                data: serde_json::from_slice(data).map_err(|error| {
                    tracing::error!(event = %event.summary.id, %error, "stored data is not JSON");
                    Problem::new(Kind::Damaged, "the stored data is not JSON")
                })?,
            },
            event::Payload::Opaque { content_type, body } => Payload::Opaque {
                content_type,
                body_base64: STANDARD.encode(body),
            },
        };
        let extras = event.extras.as_deref();
        let headers = extras.map_or(&[][..], |extras| &extras.headers);
        let cloudevent = extras.and_then(|extras| extras.cloudevent.as_ref());
        let cloudevent = cloudevent.map(cloudevents::structured);
        Ok(Event {
            summary: Summary::from(&event.summary),
            channels: extras.map_or(&[], |extras| &extras.channels),
            headers: headers
                .iter()
                .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
                .collect(),
            cloudevent: cloudevent.and_then(|text| serde_json::from_slice(&text).ok()),
            received: Received::of(extras, event.summary.idempotency_key.as_ref()),
            payload,
            deliveries: event.deliveries.iter().map(Delivery::from).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::extras::{self, Extras};
    use bytes::Bytes;

    fn summary() -> EventSummary {
        EventSummary {
            id: "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            tenant: Tenant::default(),
            event_type: EventType::new("order.created").unwrap(),
            key: None,
            idempotency_key: Some(Key::new("a1").unwrap()),
            accepted_at: Timestamp::from_millis(1_767_225_600_007),
            deliver_at: None,
            counts: StatusCounts {
                pending: 1,
                ..StatusCounts::default()
            },
        }
    }

    fn shown(payload: event::Payload) -> String {
        let event = EventView {
            summary: summary(),
            payload,
            extras: None,
            deliveries: Vec::new(),
        };
        serde_json::to_string(&Event::new(&event).ok().unwrap()).unwrap()
    }

    const HEAD: &str = r#"{"id":"evt_01ARZ3NDEKTSV4RRFFQ69G5FAV","type":"order.created","tenant":"default","key":null,"idempotency_key":"a1","accepted_at":"2026-01-01T00:00:00.007Z","deliver_at":null,"delivery_counts":{"pending":1,"held":0,"delivered":0,"dead":0},"#;

    #[test]
    fn data_is_shown_byte_for_byte() {
        let text = shown(event::Payload::Json(Bytes::from_static(
            br#"{"a" : 1.0e0, "a":[ ]}"#,
        )));
        assert_eq!(
            text,
            format!(
                r#"{HEAD}"channels":[],"headers":{{}},"data":{{"a" : 1.0e0, "a":[ ]}},"deliveries":[]}}"#
            )
        );
    }

    #[test]
    fn an_opaque_body_is_shown_in_base64() {
        let text = shown(event::Payload::Opaque {
            content_type: "text/plain".into(),
            body: Bytes::from_static(b"hi\xff"),
        });
        assert_eq!(
            text,
            format!(
                r#"{HEAD}"channels":[],"headers":{{}},"content_type":"text/plain","body_base64":"aGn/","deliveries":[]}}"#
            )
        );
    }

    #[test]
    fn an_event_of_a_source_says_which_and_shows_no_key_of_the_daemons_own() {
        let mut summary = summary();
        summary.idempotency_key = Some(event::source_key("stripe-live", "evt_1"));
        let extras = Extras {
            source: Some("stripe-live".into()),
            received: Some(extras::Received {
                verified_by: "secret 1".into(),
                remote: "203.0.113.7".into(),
            }),
            ..Extras::default()
        };
        let view = EventView {
            summary,
            payload: event::Payload::Json(Bytes::from_static(b"1")),
            extras: Some(extras.into()),
            deliveries: Vec::new(),
        };
        let text = serde_json::to_string(&Event::new(&view).ok().unwrap()).unwrap();
        assert!(text.contains(r#""idempotency_key":null,"#), "{text}");
        let received = r#""received":{"source":"stripe-live","delivery_id":"evt_1","verified_by":"secret 1","remote":"203.0.113.7"}"#;
        assert!(text.contains(received), "{text}");
    }

    #[test]
    fn receipts_are_shown_as_the_readme_has_them() {
        let receipt = Receipt {
            id: summary().id,
            event_type: summary().event_type,
            accepted_at: summary().accepted_at,
            deliveries: 2,
            duplicate: false,
        };
        assert_eq!(
            serde_json::to_string(&Accepted::from(&receipt)).unwrap(),
            r#"{"id":"evt_01ARZ3NDEKTSV4RRFFQ69G5FAV","type":"order.created","accepted_at":"2026-01-01T00:00:00.007Z","deliveries":2,"duplicate":false}"#
        );
    }
}
