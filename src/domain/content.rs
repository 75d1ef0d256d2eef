//! What attempts of an event are made from.

use std::sync::Arc;

use bytes::Bytes;

use super::event::{EventType, Key, Tenant};
use super::extras::Extras;
use super::time::Timestamp;

/// Fixed at acceptance, the same for every endpoint and attempt.
#[derive(Clone, Debug)]
pub struct Content {
    pub tenant: Tenant,
    pub event_type: EventType,
    pub key: Option<Key>,
    pub accepted_at: Timestamp,
    pub content_type: Arc<str>,
    /// Posted with a content type of its own, and delivered without the envelope.
    pub opaque: bool,
    /// The envelope, or the opaque body.
    pub body: Bytes,
    /// Where `data` begins in the envelope; it ends before the last byte.
    pub data_at: u32,
    pub extras: Option<Arc<Extras>>,
}

/// Whether a body of this type is JSON: `application/json`, `text/json`, or with the suffix `+json`
/// (RFC 6839, 3.1).
pub fn is_json_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    matches!(&*essence, "application/json" | "text/json") || essence.ends_with("+json")
}

/// Whether filters and templates read an opaque body as `data`: if it came as JSON, or from a
/// source, whose senders are careless about types. It may not be JSON all the same.
pub fn is_read_as_json(content_type: &str, extras: Option<&Extras>) -> bool {
    let has_source = extras.is_some_and(|extras| extras.source.is_some());
    has_source || is_json_type(content_type)
}

impl Content {
    /// What filters and templates read as `data`; of an opaque body it is all or nothing.
    pub fn document(&self) -> Option<Bytes> {
        match self.opaque {
            true => is_read_as_json(&self.content_type, self.extras.as_deref())
                .then(|| self.body.clone()),
            false => self.data(),
        }
    }

    /// `data` byte for byte, unless the body is opaque.
    pub fn data(&self) -> Option<Bytes> {
        let end = self.body.len().checked_sub(1)?;
        let start = self.data_at as usize;
        (!self.opaque && start <= end).then(|| self.body.slice(start..end))
    }
}
