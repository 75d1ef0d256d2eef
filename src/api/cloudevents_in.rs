//! CloudEvents that are posted: structured, in a batch, or in binary mode
//! (<https://github.com/cloudevents/spec>, HTTP protocol binding 1.0.2).
//!
//! `source` and `id` are the idempotency key, in a space of their own. What else an event may have
//! here (`tenant`, `key`, `deliver_at`, `channels`) stands in the query, as for opaque bodies; without
//! `key` the extension `partitionkey` is the ordering key.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::HeaderMap;

use super::parse::{BatchLimits, RESERVED};
use super::problem::{Kind, Problem};
use super::query::Query;
use crate::domain::cloudevents::{
    CloudEvent, Data, Mode, Value, parse_batch, parse_binary, parse_structured,
};
use crate::domain::event::{CLOUDEVENT_KEY, EventType, Key, NewEvent, Payload, Tenant};
use crate::domain::extras::{Channel, Extras};
use crate::domain::time::Timestamp;

/// How the request carries CloudEvents, if it does.
///
/// # Errors
/// It is a CloudEvent in a format that is not understood.
pub fn mode(headers: &HeaderMap) -> Result<Option<Mode>, Problem> {
    Mode::of(headers)
        .map_err(|unknown| Problem::new(Kind::UnsupportedMediaType, unknown.to_string()))
}

/// What the query says of the events.
pub struct Fields {
    tenant: Tenant,
    key: Option<Key>,
    deliver_at: Option<Timestamp>,
    channels: Vec<Channel>,
}

impl Fields {
    pub fn of(parts: &http::request::Parts) -> Result<Fields, Problem> {
        let known = ["tenant", "key", "deliver_at", "channels"];
        let query = Query::parse(&parts.uri, &known)?;
        Ok(Fields {
            tenant: query.read("tenant")?.unwrap_or_default(),
            key: query.read("key")?,
            deliver_at: query.time("deliver_at")?,
            channels: query.channels()?.unwrap_or_default(),
        })
    }
}

/// Reads the events of a request.
///
/// # Errors
/// 400 that names the attribute and its place, 413 for too many or too large ones.
pub fn read(
    mode: Mode,
    headers: &HeaderMap,
    body: &Bytes,
    limits: BatchLimits,
    fields: &Fields,
) -> Result<Vec<NewEvent>, Problem> {
    let bad = |fault: &dyn std::fmt::Display| Problem::bad_request(fault.to_string());
    let found = match mode {
        Mode::Structured => vec![parse_structured(body).map_err(|fault| bad(&fault))?],
        Mode::Batch => parse_batch(body, limits.events).map_err(|fault| bad(&fault))?,
        Mode::Binary => vec![parse_binary(headers, body).map_err(|fault| bad(&fault))?],
    };
    if found.is_empty() {
        return Err(Problem::bad_request("the body holds no event"));
    }
    let mut events = Vec::with_capacity(found.len());
    for (index, event) in found.into_iter().enumerate() {
        let at = match mode {
            Mode::Batch => format!("event [{index}]: "),
            Mode::Structured | Mode::Binary => String::new(),
        };
        if event.data.bytes().len() as u64 > limits.event_size {
            let limit = limits.event_size;
            let detail = format!("{at}the data is over ingest.max_event_size ({limit} bytes)");
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        let read = new_event(event, fields);
        events.push(read.map_err(|why| Problem::bad_request(format!("{at}{why}")))?);
    }
    Ok(events)
}

fn new_event(event: CloudEvent, fields: &Fields) -> Result<NewEvent, String> {
    let event_type = EventType::new(&event.event_type);
    let event_type = event_type.map_err(|bad| format!("attribute `type`: {bad}"))?;
    if event_type.is_reserved() {
        return Err(format!("attribute `type`: {RESERVED}"));
    }
    let identity = URL_SAFE_NO_PAD.encode(event.identity());
    let idempotency_key = Key::new(&format!("{CLOUDEVENT_KEY}{identity}"));
    let partition = match event.extension("partitionkey") {
        Some(Value::String(key)) => Key::new(key).ok(),
        _ => None,
    };
    let payload = match &event.data {
        Data::Json(data) => Payload::Json(data.clone()),
        Data::None => Payload::Json(Bytes::from_static(b"null")),
        Data::Opaque(body) => Payload::Opaque {
            content_type: event
                .content_type()
                .unwrap_or("application/octet-stream")
                .into(),
            body: body.clone(),
        },
    };
    let attributes = CloudEvent {
        data: Data::None,
        ..event
    };
    Ok(NewEvent {
        tenant: fields.tenant.clone(),
        event_type,
        payload,
        key: fields.key.clone().or(partition),
        // Far shorter than a key may be.
        idempotency_key: idempotency_key.ok(),
        deliver_at: fields.deliver_at,
        extras: Some(Arc::new(Extras {
            channels: fields.channels.clone(),
            cloudevent: Some(attributes),
            ..Extras::default()
        })),
    })
}
