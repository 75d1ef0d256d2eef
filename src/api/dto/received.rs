//! How a source took an event in.

use serde::Serialize;

use crate::domain::event::{self, Key};
use crate::domain::extras::Extras;

/// The source, and what it knows of the call that brought the event.
#[derive(Serialize)]
pub struct Received<'a> {
    source: &'a str,
    /// The provider's id of the delivery, or its SHA-256 if it is long.
    delivery_id: Option<&'a str>,
    verified_by: Option<&'a str>,
    remote: Option<&'a str>,
}

impl<'a> Received<'a> {
    /// `None`: no source took the event in.
    pub fn of(extras: Option<&'a Extras>, idempotency_key: Option<&'a Key>) -> Option<Self> {
        let extras = extras?;
        let received = extras.received.as_ref();
        let key = idempotency_key.and_then(|key| event::source_of_key(key.as_str()));
        Some(Received {
            source: extras.source.as_deref()?,
            delivery_id: key.map(|(_, delivery)| delivery),
            verified_by: received.map(|received| &*received.verified_by),
            remote: received.map(|received| &*received.remote),
        })
    }
}
