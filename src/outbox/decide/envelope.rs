//! From an event that was posted to the record and the body that are kept.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::domain::cloudevents;
use crate::domain::content::Content;
use crate::domain::event::{EventId, NewEvent, Payload};
use crate::domain::time::Timestamp;
use crate::outbox::record::{EventHead, Idempotency};

/// The content type of the envelope.
pub const JSON: &str = "application/json";

/// The fingerprint of every event that a source took in: a provider may sign other bytes each time
/// it repeats a delivery.
const OF_A_SOURCE: [u8; 32] = [0; 32];

/// Reads the type's own name back: `Arc<str>` for each content would be an allocation.
pub fn json_type() -> Arc<str> {
    static JSON_TYPE: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
    JSON_TYPE.get_or_init(|| JSON.into()).clone()
}

/// What every attempt of the event is made from.
pub fn content(event: &NewEvent, accepted_at: Timestamp) -> Content {
    let (content_type, opaque, body, data_at) = match &event.payload {
        Payload::Json(data) => {
            let (body, data_at) = envelope(event.event_type.as_str(), accepted_at, data);
            (json_type(), false, body, data_at)
        }
        Payload::Opaque { content_type, body } => (content_type.clone(), true, body.clone(), 0),
    };
    Content {
        tenant: event.tenant.clone(),
        event_type: event.event_type.clone(),
        key: event.key.clone(),
        accepted_at,
        content_type,
        opaque,
        body,
        data_at,
        extras: event.extras.clone(),
    }
}

/// `{"type":…,"timestamp":…,"data":…}`. A type name has no character that JSON escapes.
fn envelope(event_type: &str, accepted_at: Timestamp, data: &[u8]) -> (Bytes, u32) {
    let head = format!(r#"{{"type":"{event_type}","timestamp":"{accepted_at}","data":"#);
    let mut body = Vec::with_capacity(head.len() + data.len() + 1);
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(data);
    body.push(b'}');
    (body.into(), head.len() as u32)
}

/// SHA-256 over all that makes content "the same" for an idempotency key: type, `data`
/// byte for byte or the opaque body and its content type, ordering key, `deliver_at`, channels,
/// headers. Of an event that a source took in the key alone counts.
pub fn fingerprint(event: &NewEvent) -> [u8; 32] {
    let extras = event.extras.as_deref();
    if extras.is_some_and(|extras| extras.source.is_some()) {
        return OF_A_SOURCE;
    }
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(event.event_type.as_str().as_bytes());
    match &event.payload {
        Payload::Json(data) => {
            part(b"json");
            part(data);
        }
        Payload::Opaque { content_type, body } => {
            part(b"opaque");
            part(content_type.as_bytes());
            part(body);
        }
    }
    part(
        event
            .key
            .as_ref()
            .map_or(&[][..], |key| key.as_str().as_bytes()),
    );
    let deliver_at = event.deliver_at.map_or(u64::MAX, Timestamp::as_millis);
    part(&deliver_at.to_le_bytes());
    if let Some(extras) = extras {
        let mut channels: Vec<_> = extras.channels.iter().collect();
        channels.sort_unstable();
        for channel in channels {
            part(b"channel");
            part(channel.as_str().as_bytes());
        }
        let mut headers: Vec<_> = extras.headers.iter().collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in headers {
            part(b"header");
            part(name.as_str().as_bytes());
            part(value.as_bytes());
        }
        if let Some(event) = &extras.cloudevent {
            part(b"cloudevent");
            part(&cloudevents::structured(event));
        }
    }
    hash.finalize().into()
}

/// The head of the event's record.
pub fn head<'a>(
    id: EventId,
    accepted_at: Timestamp,
    event: &'a NewEvent,
    content: &'a Content,
    extras_len: u32,
    fingerprint: Option<[u8; 32]>,
) -> EventHead<'a> {
    let key = event.idempotency_key.as_ref();
    EventHead {
        id: id.0,
        accepted_at: accepted_at.as_millis(),
        tenant: event.tenant.as_str(),
        event_type: event.event_type.as_str(),
        key: event.key.as_ref().map(|key| key.as_str()),
        idempotency: key.zip(fingerprint).map(|(key, content)| Idempotency {
            key: key.as_str(),
            content,
        }),
        deliver_at: event.deliver_at.map(Timestamp::as_millis),
        content_type: content.opaque.then_some(&*content.content_type),
        data_at: content.data_at,
        body_len: (content.body.len() as u32).saturating_add(extras_len),
        body_lost: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{EventType, Tenant};
    use crate::domain::extras::Extras;

    fn event(data: &'static [u8]) -> NewEvent {
        NewEvent {
            tenant: Tenant::default(),
            event_type: EventType::new("order.created").unwrap(),
            payload: Payload::Json(Bytes::from_static(data)),
            key: None,
            idempotency_key: None,
            deliver_at: None,
            extras: None,
        }
    }

    #[test]
    fn the_envelope_is_that_of_the_docs_and_data_comes_back_byte_for_byte() {
        let at = Timestamp::from_millis(1_767_225_600_000);
        let content = content(&event(br#"{"id": 7}"#), at);
        let expected =
            r#"{"type":"order.created","timestamp":"2026-01-01T00:00:00.000Z","data":{"id": 7}}"#;
        assert_eq!(content.body, expected);
        assert_eq!(content.data().unwrap(), r#"{"id": 7}"#);
    }

    #[test]
    fn the_content_of_a_source_makes_no_difference() {
        let of_source = |data| NewEvent {
            extras: Some(Arc::new(Extras {
                source: Some("stripe".into()),
                ..Extras::default()
            })),
            ..event(data)
        };
        assert_eq!(fingerprint(&of_source(b"1")), fingerprint(&of_source(b"2")));
        assert_ne!(fingerprint(&of_source(b"1")), fingerprint(&event(b"1")));
    }

    #[test]
    fn each_part_of_the_content_makes_a_difference() {
        let base = event(b"1");
        let mut keyed = base.clone();
        keyed.key = Some(crate::domain::event::Key::new("k").unwrap());
        let mut later = base.clone();
        later.deliver_at = Some(Timestamp::from_millis(0));
        let mut opaque = base.clone();
        opaque.payload = Payload::Opaque {
            content_type: "text/plain".into(),
            body: Bytes::from_static(b"1"),
        };
        let all = [&base, &event(b"1 "), &keyed, &later, &opaque].map(fingerprint);
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(fingerprint(&base), fingerprint(&base.clone()));
    }
}
