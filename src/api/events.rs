//! Handing events in, and reading them back.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::Api;
use super::cloudevents_in;
use super::dto::event::{Accepted, AcceptedBatch, Event, Summary};
use super::media::{content_type, is_media_type, plain_body, shown};
use super::parse::{self, Batch, BatchLimits, Fault};
use super::path::{PathParams, parse_name};
use super::problem::{Kind, Problem};
use super::query::{self, EVENT_LIST, Query, malformed};
use super::reply::{self, json};
use super::trace::{self, TraceContext};
use crate::app;
use crate::domain::cloudevents::Mode;
use crate::domain::event::{EventId, EventType, Key, NewEvent, Payload};
use crate::domain::extras::Extras;
use crate::outbox::{Receipt, Refused};
use crate::server::body::{self, Limit, Received};

/// From here on a batch is parsed beside the runtime's thread, in bytes.
const LARGE: usize = 256 * 1024;

/// `POST /v1/events`: one JSON event, or one on each line.
pub async fn post(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if let Some(mode) = cloudevents_in::mode(&parts.headers)? {
        return post_cloudevents(&api, mode, parts, body).await;
    }
    Query::parse(&parts.uri, &[])?;
    plain_body(&parts.headers)?;
    let content_type = content_type(&parts.headers)?;
    let header_key = header_key(&parts.headers)?;
    let trace = trace::context(&parts.headers);
    if is_media_type(content_type, "application/json") {
        let received = body::collect(body, event_limit(&api), &api.rules().bodies).await?;
        let mut event = parse::event(&received.bytes, header_key)?;
        trace::attach(&mut event, &trace);
        accept_one(&api, event).await
    } else if is_media_type(content_type, "application/x-ndjson") {
        if header_key.is_some() {
            return Err(Problem::bad_request(
                "the header `Idempotency-Key` cannot stand for a batch; \
                 give each line its `idempotency_key`",
            ));
        }
        let limit = Limit {
            bytes: api.rules().ingest.max_batch_size,
            key: "ingest.max_batch_size",
        };
        let received = body::collect(body, limit, &api.rules().bodies).await?;
        accept_batch(&api, received, &trace).await
    } else {
        Err(Problem::new(
            Kind::UnsupportedMediaType,
            format!(
                "events are application/json, application/x-ndjson or CloudEvents here, in UTF-8, and \
                 not `{}`; any other body goes to POST /v1/events/{{type}}",
                shown(content_type)
            ),
        ))
    }
}

/// CloudEvents: one, or a batch.
async fn post_cloudevents(
    api: &Api,
    mode: Mode,
    parts: http::request::Parts,
    body: Body,
) -> Result<Response, Problem> {
    plain_body(&parts.headers)?;
    if header_key(&parts.headers)?.is_some() {
        return Err(Problem::bad_request(
            "the header `Idempotency-Key` does not go with CloudEvents: their source and id are the key",
        ));
    }
    let limit = match mode {
        Mode::Batch => Limit {
            bytes: api.rules().ingest.max_batch_size,
            key: "ingest.max_batch_size",
        },
        Mode::Structured | Mode::Binary => event_limit(api),
    };
    let fields = cloudevents_in::Fields::of(&parts)?;
    let received = body::collect(body, limit, &api.rules().bodies).await?;
    let limits = BatchLimits {
        events: api.rules().ingest.max_batch_events,
        event_size: api.rules().ingest.max_event_size,
    };
    let trace = trace::context(&parts.headers);
    let bytes = received.bytes.clone();
    let read = move || cloudevents_in::read(mode, &parts.headers, &bytes, limits, &fields);
    let mut events = apart_if_large(received.bytes.len(), read).await?;
    for event in &mut events {
        trace::attach(event, &trace);
    }
    if mode != Mode::Batch {
        return match events.pop() {
            Some(event) => accept_one(api, event).await,
            None => Err(Problem::bad_request("the body holds no event")),
        };
    }
    let receipts = accept(api, events, |index| Some(format!("event [{index}]"))).await?;
    batch_answer(&receipts)
}

/// Parses here, or on a thread of its own if there is so much that others would wait.
async fn apart_if_large<T: Send + 'static>(
    bytes: usize,
    parse: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if bytes < LARGE {
        return parse();
    }
    tokio::task::spawn_blocking(parse).await.map_err(|error| {
        tracing::error!(%error, "parsing a batch failed");
        Problem::new(Kind::Internal, "the batch could not be parsed; see the log")
    })?
}

fn batch_answer(receipts: &[Receipt]) -> Result<Response, Problem> {
    let events: Vec<Accepted> = receipts.iter().map(Accepted::from).collect();
    json(
        StatusCode::ACCEPTED,
        &AcceptedBatch {
            accepted: events.len(),
            events,
        },
    )
}

/// `POST /v1/events/{type}`: an opaque body, delivered as it is.
pub async fn post_opaque(
    State(api): State<Arc<Api>>,
    PathParams(name): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let mut event = opaque_event(&name, &parts)?;
    let received = body::collect(body, event_limit(&api), &api.rules().bodies).await?;
    if let Payload::Opaque { body, .. } = &mut event.payload {
        // A copy: the received piece would keep the connection's whole buffer alive for
        // as long as the event is kept in memory.
        *body = Bytes::copy_from_slice(&received.bytes);
    }
    accept_one(&api, event).await
}

/// All of an opaque event but its body.
fn opaque_event(name: &str, parts: &http::request::Parts) -> Result<NewEvent, Problem> {
    let event_type = EventType::new(name).map_err(|e| Problem::bad_request(e.to_string()))?;
    if event_type.is_reserved() {
        return Err(Problem::bad_request(parse::RESERVED));
    }
    let known = ["tenant", "key", "idempotency_key", "deliver_at", "channels"];
    let query = Query::parse(&parts.uri, &known)?;
    plain_body(&parts.headers)?;
    let content_type = content_type(&parts.headers)?;
    for own in ["application/json", "application/x-ndjson"] {
        if is_media_type(content_type, own) {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                format!("{own} goes to POST /v1/events, with the type in the event object"),
            ));
        }
    }
    let from_query = query.text("idempotency_key").map(|text| {
        parse::read_idempotency_key(text).map_err(|bad| malformed("idempotency_key", bad))
    });
    let from_query = from_query.transpose()?;
    let idempotency_key = match (header_key(&parts.headers)?, from_query) {
        (Some(header), Some(parameter)) if header != parameter => {
            return Err(malformed(
                "idempotency_key",
                "differs from the header `Idempotency-Key`",
            ));
        }
        (header, parameter) => header.or(parameter),
    };
    let mut event = NewEvent {
        tenant: query.read("tenant")?.unwrap_or_default(),
        event_type,
        payload: Payload::Opaque {
            content_type: content_type.into(),
            body: Bytes::new(),
        },
        key: query.read("key")?,
        idempotency_key,
        deliver_at: query.time("deliver_at")?,
        extras: query.channels()?.map(|channels| {
            Arc::new(Extras {
                channels,
                ..Extras::default()
            })
        }),
    };
    trace::attach(&mut event, &trace::context(&parts.headers));
    Ok(event)
}

async fn accept_one(api: &Api, event: NewEvent) -> Result<Response, Problem> {
    let receipts = accept(api, vec![event], |_| None).await?;
    match receipts.first() {
        Some(receipt) => json(StatusCode::ACCEPTED, &Accepted::from(receipt)),
        // The app gives a receipt for each event.
        None => Err(Problem::new(Kind::Internal, "the outbox gave no receipt")),
    }
}

async fn accept_batch(
    api: &Api,
    received: Received,
    trace: &TraceContext,
) -> Result<Response, Problem> {
    let limits = BatchLimits {
        events: api.rules().ingest.max_batch_events,
        event_size: api.rules().ingest.max_event_size,
    };
    let bytes = received.bytes.clone();
    let read = move || Ok(parse::batch(&bytes, limits)?);
    let Batch { mut events, lines } = apart_if_large(received.bytes.len(), read).await?;
    for event in &mut events {
        trace::attach(event, trace);
    }
    let line_of = |index| lines.get(index).map(|line| format!("line {line}"));
    let receipts = accept(api, events, line_of).await?;
    batch_answer(&receipts)
}

async fn accept(
    api: &Api,
    events: Vec<NewEvent>,
    place_of: impl Fn(usize) -> Option<String>,
) -> Result<Vec<Receipt>, Problem> {
    let accepted = api.app.events.accept(events).await;
    accepted.map_err(|error| match error {
        app::Error::Refused(Refused::KeyReused { index }) => match place_of(index) {
            Some(place) => Problem::new(Kind::KeyReused, format!("{place}: {error}")),
            None => error.into(),
        },
        error => error.into(),
    })
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let kind = match fault {
            Fault::Malformed(_) => Kind::BadRequest,
            Fault::LineTooLarge { .. } | Fault::TooMany { .. } => Kind::TooLarge,
        };
        Problem::new(kind, fault.to_string())
    }
}

fn event_limit(api: &Api) -> Limit {
    Limit {
        bytes: api.rules().ingest.max_event_size,
        key: "ingest.max_event_size",
    }
}

/// The `Idempotency-Key` header, taken as it is.
fn header_key(headers: &HeaderMap) -> Result<Option<Key>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::bad_request(
            "the header `Idempotency-Key` is given twice",
        ));
    }
    let bad = |why: &dyn std::fmt::Display| {
        Problem::bad_request(format!("the header `Idempotency-Key`: {why}"))
    };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|e| bad(&e))?;
    Key::new(text).map(Some).map_err(|e| bad(&e))
}

/// `GET /v1/events`
pub async fn list(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &EVENT_LIST)?;
    let (limit, cursor) = (query.limit()?, query.cursor()?);
    let filter = query::event_filter(&query)?;
    let page = api.app.events.list(filter, cursor, limit).await?;
    reply::page(&page, Summary::from)
}

/// `GET /v1/events/{id}`
pub async fn show(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let id: EventId = parse_name(&id)?;
    let shown = api.app.events.show(id, |event| {
        let event = Event::new(event)?;
        json(StatusCode::OK, &event)
    });
    shown.await?
}

/// `DELETE /v1/events/{id}`: 204; nobody sees its body and attempts from then on. 204 also
/// if it was erased before.
pub async fn erase(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    Query::parse(request.uri(), &[])?;
    api.app.events.erase(parse_name(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str, headers: &[(&'static str, &'static str)]) -> http::request::Parts {
        let mut request = http::Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");

    #[test]
    fn opaque_events_take_their_fields_from_the_query() {
        let uri = "/v1/events/a.b?tenant=t1&key=k%201&deliver_at=2030-01-01T00:00:00Z";
        let event = opaque_event("a.b", &parts(uri, &[TEXT, ("idempotency-key", "i1")])).unwrap();
        assert_eq!(event.event_type.as_str(), "a.b");
        assert_eq!(event.tenant.as_str(), "t1");
        assert_eq!(event.key.unwrap().as_str(), "k 1");
        assert_eq!(event.idempotency_key.unwrap().as_str(), "i1");
        assert_eq!(event.deliver_at.unwrap().as_millis(), 1_893_456_000_000);
        assert!(
            matches!(event.payload, Payload::Opaque { content_type, .. } if &*content_type == TEXT.1)
        );
    }

    #[test]
    fn opaque_events_are_refused_with_the_parameter_named() {
        type Headers = &'static [(&'static str, &'static str)];
        let cases: [(&str, &str, Headers, Kind, &str); 10] = [
            ("a b", "", &[TEXT], Kind::BadRequest, "type name"),
            ("outboxd.x", "", &[TEXT], Kind::BadRequest, "outboxd."),
            ("a", "?tenant=a.b", &[TEXT], Kind::BadRequest, "`tenant`"),
            ("a", "?type=b", &[TEXT], Kind::BadRequest, "`type`"),
            (
                "a",
                "?deliver_at=x",
                &[TEXT],
                Kind::BadRequest,
                "`deliver_at`",
            ),
            ("a", "", &[], Kind::UnsupportedMediaType, "missing"),
            (
                "a",
                "",
                &[("content-type", "Application/JSON; charset=utf-8")],
                Kind::UnsupportedMediaType,
                "POST /v1/events",
            ),
            (
                "a",
                "",
                &[("content-type", "text")],
                Kind::UnsupportedMediaType,
                "subtype",
            ),
            (
                "a",
                "",
                &[TEXT, ("content-encoding", "gzip")],
                Kind::UnsupportedMediaType,
                "Content-Encoding",
            ),
            (
                "a",
                "?idempotency_key=x",
                &[TEXT, ("idempotency-key", "y")],
                Kind::BadRequest,
                "differs",
            ),
        ];
        for (name, query, headers, kind, detail) in cases {
            let uri = format!("/v1/events/a{query}");
            let problem = opaque_event(name, &parts(&uri, headers)).unwrap_err();
            assert_eq!(problem.kind, kind, "{name} {query} {headers:?}");
            assert!(problem.detail.contains(detail), "{}", problem.detail);
        }
    }
}
