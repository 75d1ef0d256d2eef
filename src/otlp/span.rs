//! The spans of what happened, with the names of OpenTelemetry's semantic conventions for messaging
//! and HTTP clients. No URL but its host, no body and no header is in them.

use std::time::{Duration, SystemTime};

use http::header::{HeaderName, HeaderValue};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::dispatch::tail::{Accepted, Attempted, Happened};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;

/// Makes spans of what the tail says.
pub struct Spans {
    scope: InstrumentationScope,
    /// Of the events that came without a trace, the part that is exported: 0 to 1.
    ratio: f64,
}

/// The trace that an event's spans belong to.
struct Trace {
    id: TraceId,
    /// The span that the request came with.
    parent: SpanId,
    state: TraceState,
}

impl Spans {
    pub fn new(ratio: f64) -> Spans {
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"));
        Spans {
            scope: scope.with_version(env!("CARGO_PKG_VERSION")).build(),
            ratio,
        }
    }

    /// `None`: not one that is exported.
    pub fn of(&self, happened: &Happened) -> Option<SpanData> {
        match happened {
            Happened::Accepted(event) => self.accepted(event),
            Happened::Attempt(attempted) => self.attempted(attempted),
            Happened::Endpoint(_) => None,
        }
    }

    /// The trace of the request that handed the event in; else one of the event's own, whose id is
    /// the event's. So the attempts after a restart belong to it, too. `None`: not sampled.
    fn trace(&self, event: EventId, headers: &[(HeaderName, HeaderValue)]) -> Option<Trace> {
        let value = |wanted: &str| {
            let mut all = headers.iter();
            let (_, value) = all.find(|(name, _)| name.as_str() == wanted)?;
            value.to_str().ok()
        };
        if let Some((id, parent, flags)) = value("traceparent").and_then(parse_parent) {
            let state = value("tracestate").and_then(|state| state.parse().ok());
            return flags.is_sampled().then(|| Trace {
                id,
                parent,
                state: state.unwrap_or_default(),
            });
        }
        // The ids of a batch follow each other: multiplied by 2^64 over the golden ratio they spread.
        let spread = (event.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let drawn = (spread >> 11) as f64 / (1u64 << 53) as f64;
        (drawn < self.ratio).then(|| Trace {
            id: TraceId::from(event.0),
            parent: SpanId::INVALID,
            state: TraceState::default(),
        })
    }

    fn accepted(&self, event: &Accepted) -> Option<SpanData> {
        let trace = self.trace(event.id, &event.trace)?;
        let kind = event.event_type.as_str();
        let mut attributes = of_event(event.id);
        attributes.extend([
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", kind.to_owned()),
            KeyValue::new("outboxd.tenant", event.tenant.as_str().to_owned()),
            KeyValue::new("outboxd.deliveries", i64::from(event.deliveries)),
        ]);
        if let Some(source) = &event.source {
            attributes.push(KeyValue::new("outboxd.source", source.clone()));
        }
        let parent = trace.parent;
        let is_remote = parent != SpanId::INVALID;
        Some(SpanData {
            parent_span_is_remote: is_remote,
            span_kind: SpanKind::Producer,
            name: format!("send {kind}").into(),
            attributes,
            status: Status::Unset,
            ..self.span(
                trace,
                accept_span(event.id),
                parent,
                event.began,
                event.took,
            )
        })
    }

    fn attempted(&self, attempted: &Attempted) -> Option<SpanData> {
        let trace = self.trace(attempted.event, &attempted.trace)?;
        let attempt = &attempted.attempt;
        let mut attributes = of_event(attempted.event);
        let mut add = |key: &'static str, value: Value| attributes.push(KeyValue::new(key, value));
        add(
            "outboxd.endpoint",
            attempted.endpoint.as_str().to_owned().into(),
        );
        add(
            "outboxd.tenant",
            attempted.tenant.as_str().to_owned().into(),
        );
        add("outboxd.attempt", i64::from(attempted.number).into());
        add("http.request.method", attempted.method.into());
        if let Some(kind) = &attempted.event_type {
            add(
                "messaging.destination.name",
                kind.as_str().to_owned().into(),
            );
        }
        if let Some(host) = &attempted.host {
            add("server.address", host.clone().into());
        }
        if let Some(port) = attempted.port {
            add("server.port", i64::from(port).into());
        }
        if attempted.number > 1 {
            let again = i64::from(attempted.number - 1);
            add("http.request.resend_count", again.into());
        }
        if let Some(status) = attempt.status {
            add("http.response.status_code", i64::from(status).into());
        }
        let kind = attempt.error.as_ref().map(|error| error.kind.as_str());
        if let Some(kind) = kind {
            add("error.type", kind.into());
        }
        // Of the daemon's own events none was posted.
        let is_own = attempted
            .event_type
            .as_ref()
            .is_some_and(|kind| kind.as_str().starts_with("outboxd."));
        let parent = match is_own {
            true => SpanId::INVALID,
            false => accept_span(attempted.event),
        };
        Some(SpanData {
            span_kind: SpanKind::Client,
            name: attempted.method.into(),
            attributes,
            status: kind.map_or(Status::Unset, Status::error),
            ..self.span(trace, random_span(), parent, attempt.at, attempt.duration)
        })
    }

    fn span(
        &self,
        trace: Trace,
        id: SpanId,
        parent: SpanId,
        began: Timestamp,
        took: Duration,
    ) -> SpanData {
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(began.as_millis());
        SpanData {
            span_context: SpanContext::new(trace.id, id, TraceFlags::SAMPLED, false, trace.state),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time: start,
            end_time: start + took,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn of_event(event: EventId) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "outboxd"),
        KeyValue::new("messaging.message.id", event.to_string()),
    ]
}

/// The span in which the event was accepted: known after a restart, too.
fn accept_span(event: EventId) -> SpanId {
    not_zero(event.0 as u64)
}

fn random_span() -> SpanId {
    not_zero(rand::random())
}

/// Zero is the id of no span.
fn not_zero(id: u64) -> SpanId {
    SpanId::from(id.max(1))
}

/// The ids and flags of a `traceparent` that was checked when it came in.
fn parse_parent(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut parts = text.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let parent = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    Some((trace, parent, TraceFlags::new(flags)))
}
