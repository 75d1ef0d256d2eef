//! Entries of the tail: what happened, and what of it a listener receives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use crate::domain::attempt::{Attempt, AttemptId};
use crate::domain::content::Content;
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId, EndpointNo};
use crate::domain::event::{EventId, EventType, Key, Tenant};
use crate::domain::shaping::Verb;
use crate::domain::time::Timestamp;

/// How much of a response body is sent, in bytes.
const RESPONSE: usize = 4096;

/// An event that was accepted and is durable.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub id: EventId,
    pub event_type: EventType,
    pub tenant: Tenant,
    pub key: Option<Key>,
    pub source: Option<String>,
    pub accepted_at: Timestamp,
    /// How many endpoints the event is for.
    pub deliveries: u32,
    /// The trace context that it came with.
    pub trace: Vec<(HeaderName, HeaderValue)>,
    /// When it was posted, and how long it took until it was durable.
    pub began: Timestamp,
    pub took: Duration,
}

/// An attempt that ended. Its outcome is stored within the commit interval.
#[derive(Clone, Debug)]
pub struct Attempted {
    pub id: AttemptId,
    pub event: EventId,
    pub endpoint: EndpointId,
    pub tenant: Tenant,
    /// `None`: the event could not be read.
    pub event_type: Option<EventType>,
    pub source: Option<String>,
    pub attempt: Attempt,
    /// The number of the attempt in its retry budget, from 1.
    pub number: u32,
    pub method: &'static str,
    /// Of the endpoint's URL.
    pub host: Option<String>,
    pub port: Option<u16>,
    /// The trace context that the event came with.
    pub trace: Vec<(HeaderName, HeaderValue)>,
}

/// An attempt that was made.
#[derive(Clone, Copy)]
pub struct Made<'a> {
    pub no: EndpointNo,
    pub event: EventId,
    pub attempt: &'a Attempt,
    /// The event and its body, if they could be read.
    pub content: Option<&'a Content>,
    /// The number of the attempt in its retry budget, from 1.
    pub number: u32,
}

/// The new state of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointChange {
    Disabled(DisabledReason),
    Enabled,
    BreakerOpened,
    BreakerClosed,
}

/// An endpoint that changed its state.
#[derive(Clone, Debug)]
pub struct Switched {
    pub endpoint: EndpointId,
    pub tenant: Tenant,
    pub change: EndpointChange,
    pub at: Timestamp,
}

/// One entry of the tail.
#[derive(Debug)]
pub enum Happened {
    Accepted(Accepted),
    Attempt(Box<Attempted>),
    Endpoint(Switched),
}

/// What a listener receives.
#[derive(Debug)]
pub enum Heard {
    Happened(Arc<Happened>),
    /// How many entries the listener did not get: it read too slowly, or had enough for that second.
    Missed(u64),
}

impl Attempted {
    pub(super) fn of(made: Made<'_>, endpoint: &Endpoint) -> Attempted {
        let Made { event, content, .. } = made;
        let mut attempt = made.attempt.clone();
        if let Some(beginning) = attempt.response_body.get(..RESPONSE) {
            attempt.response_body = Bytes::copy_from_slice(beginning);
        }
        let extras = content.and_then(|content| content.extras.as_deref());
        let shaping = endpoint.shaping.as_deref();
        Attempted {
            id: AttemptId::new(attempt.at, event, &endpoint.id),
            event,
            endpoint: endpoint.id.clone(),
            tenant: endpoint.tenant.clone(),
            event_type: content.map(|content| content.event_type.clone()),
            source: extras.and_then(|extras| extras.source.clone()),
            attempt,
            number: made.number,
            method: shaping
                .map_or(Verb::Post, |shaping| shaping.method)
                .as_str(),
            host: endpoint.url.host_str().map(str::to_owned),
            port: endpoint.url.port_or_known_default(),
            trace: extras.map_or_else(Vec::new, |extras| extras.trace.clone()),
        }
    }
}
