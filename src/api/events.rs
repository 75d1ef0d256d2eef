//! Handing events in, and reading them back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::body::{self, Limit, Received};
use super::deliveries;
use super::media::{content_type, is_media_type};
use super::parse::{self, Batch, BatchLimits, Fault};
use super::problem::{Kind, Problem};
use super::query::{Query, malformed};
use super::router::{Named, json, named};
use super::{Api, list};
use crate::domain::event::{EventId, EventType, Key, NewEvent, Payload, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::{EventFilter, EventSummary, EventView, Receipt, StatusCounts};

/// From here on a batch is parsed beside the runtime's thread, in bytes.
const LARGE: usize = 256 * 1024;
/// The parameters of [`event_filter`], and those that every list takes.
const LIST: [&str; 6] = ["type", "tenant", "since", "until", "limit", "cursor"];

/// `POST /v1/events`: one JSON event, or one on each line.
pub async fn post(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let content_type = content_type(&parts.headers)?;
    let header_key = header_key(&parts.headers)?;
    if is_media_type(content_type, "application/json") {
        let received = body::collect(body, event_limit(&api), &api.bodies).await?;
        let event = parse::event(&received.bytes, header_key)?;
        accept_one(&api, event).await
    } else if is_media_type(content_type, "application/x-ndjson") {
        if header_key.is_some() {
            return Err(Problem::bad_request(
                "the header `Idempotency-Key` cannot stand for a batch; \
                 give each line its `idempotency_key`",
            ));
        }
        let limit = Limit {
            bytes: api.ingest.max_batch_size,
            key: "ingest.max_batch_size",
        };
        let received = body::collect(body, limit, &api.bodies).await?;
        accept_batch(&api, received).await
    } else {
        Err(Problem::new(
            Kind::UnsupportedMediaType,
            "events are application/json or application/x-ndjson here; \
             any other body goes to POST /v1/events/{type}",
        ))
    }
}

/// `POST /v1/events/{type}`: an opaque body, delivered as it is.
pub async fn post_opaque(
    State(api): State<Arc<Api>>,
    Named(name): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let mut event = opaque_event(&name, &parts)?;
    let received = body::collect(body, event_limit(&api), &api.bodies).await?;
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
    let known = ["tenant", "key", "idempotency_key", "deliver_at"];
    let query = Query::parse(&parts.uri, &known)?;
    let content_type = content_type(&parts.headers)?;
    for own in ["application/json", "application/x-ndjson"] {
        if is_media_type(content_type, own) {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                format!("{own} goes to POST /v1/events, with the type in the event object"),
            ));
        }
    }
    let from_query: Option<Key> = query.read("idempotency_key")?;
    let idempotency_key = match (header_key(&parts.headers)?, from_query) {
        (Some(header), Some(parameter)) if header != parameter => {
            return Err(malformed(
                "idempotency_key",
                "differs from the header `Idempotency-Key`",
            ));
        }
        (header, parameter) => header.or(parameter),
    };
    Ok(NewEvent {
        tenant: query.read("tenant")?.unwrap_or_default(),
        event_type,
        payload: Payload::Opaque {
            content_type: content_type.into(),
            body: Bytes::new(),
        },
        key: query.read("key")?,
        idempotency_key,
        deliver_at: query.time("deliver_at")?,
    })
}

async fn accept_one(api: &Api, event: NewEvent) -> Result<Response, Problem> {
    let receipts = accept(api, vec![event], |_| None).await?;
    match receipts.first() {
        Some(receipt) => json(StatusCode::ACCEPTED, &Accepted::from(receipt)),
        None => Err(no_receipt()),
    }
}

async fn accept_batch(api: &Api, received: Received) -> Result<Response, Problem> {
    let limits = BatchLimits {
        events: api.ingest.max_batch_events,
        event_size: api.ingest.max_event_size,
    };
    let bytes = received.bytes.clone();
    let Batch { events, lines } = if bytes.len() >= LARGE {
        let parse = tokio::task::spawn_blocking(move || parse::batch(&bytes, limits));
        parse.await.map_err(|error| {
            tracing::error!(%error, "parsing a batch broke down");
            Problem::new(Kind::Internal, "parsing the batch broke down; see the log")
        })??
    } else {
        parse::batch(&bytes, limits)?
    };
    let receipts = accept(api, events, |index| lines.get(index).copied()).await?;
    let events: Vec<Accepted> = receipts.iter().map(Accepted::from).collect();
    json(
        StatusCode::ACCEPTED,
        &AcceptedBatch {
            accepted: events.len(),
            events,
        },
    )
}

async fn accept(
    api: &Api,
    events: Vec<NewEvent>,
    line_of: impl Fn(usize) -> Option<usize>,
) -> Result<Vec<Receipt>, Problem> {
    let expected = events.len();
    api.let_in(expected)?;
    let receipts = api.outbox.accept(events).await.map_err(|refused| {
        api.counters
            .refused(&refused)
            .fetch_add(1, Ordering::Relaxed);
        Problem::refused(refused, line_of)
    })?;
    if receipts.len() != expected {
        return Err(no_receipt());
    }
    let duplicates = receipts.iter().filter(|receipt| receipt.duplicate).count() as u64;
    let counters = &api.counters;
    counters.duplicates.fetch_add(duplicates, Ordering::Relaxed);
    let accepted = (expected as u64).saturating_sub(duplicates);
    counters.accepted.fetch_add(accepted, Ordering::Relaxed);
    Ok(receipts)
}

/// The outbox gives a receipt for each event; anything else is a fault of ours.
fn no_receipt() -> Problem {
    tracing::error!("the outbox gave another number of receipts than of events");
    Problem::new(Kind::Internal, "the outbox gave no receipt")
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
        bytes: api.ingest.max_event_size,
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
    let query = Query::parse(request.uri(), &LIST)?;
    let (limit, cursor) = (query.limit()?, query.cursor()?);
    let filter = event_filter(&query)?;
    let page = api
        .read(move |outbox| outbox.events(&filter, cursor.as_ref(), limit))
        .await?;
    list::page(&page, Summary::from)
}

/// The filter that `type`, `tenant`, `since` and `until` make.
pub fn event_filter(query: &Query) -> Result<EventFilter, Problem> {
    Ok(EventFilter {
        tenant: query.read::<Tenant>("tenant")?,
        event_type: query.read::<EventType>("type")?,
        since: query.time("since")?,
        until: query.time("until")?,
    })
}

/// `GET /v1/events/{id}`
pub async fn show(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let id: EventId = named(&id)?;
    // A large body is written where it was read.
    api.read(move |outbox| {
        let event = outbox.event(id)?;
        json(StatusCode::OK, &Shown::new(&event)?)
    })
    .await
}

/// `DELETE /v1/events/{id}`: 204; nobody sees its body and attempts from then on. 204 also
/// if it was erased before.
pub async fn erase(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    Query::parse(request.uri(), &[])?;
    api.outbox.erase(named(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
struct AcceptedBatch<'a> {
    accepted: usize,
    events: Vec<Accepted<'a>>,
}

/// The answer to an event that was accepted.
#[derive(Serialize)]
struct Accepted<'a> {
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
struct Summary<'a> {
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
            idempotency_key: event.idempotency_key.as_ref(),
            accepted_at: event.accepted_at,
            deliver_at: event.deliver_at,
            delivery_counts: event.counts.into(),
        }
    }
}

/// An event with its body and its deliveries.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    #[serde(flatten)]
    payload: ShownPayload<'a>,
    deliveries: Vec<deliveries::Shown<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ShownPayload<'a> {
    Json {
        data: &'a RawValue,
    },
    Opaque {
        content_type: &'a str,
        body_base64: String,
    },
}

impl<'a> Shown<'a> {
    fn new(event: &'a EventView) -> Result<Self, Problem> {
        let payload = match &event.payload {
            Payload::Json(data) => ShownPayload::Json {
                data: serde_json::from_slice(data).map_err(|error| {
                    tracing::error!(event = %event.summary.id, %error, "stored data is no JSON");
                    Problem::new(Kind::Damaged, "the stored data is no JSON")
                })?,
            },
            Payload::Opaque { content_type, body } => ShownPayload::Opaque {
                content_type,
                body_base64: STANDARD.encode(body),
            },
        };
        Ok(Shown {
            summary: Summary::from(&event.summary),
            payload,
            deliveries: event
                .deliveries
                .iter()
                .map(deliveries::Shown::from)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn shown(payload: Payload) -> String {
        let event = EventView {
            summary: summary(),
            payload,
            deliveries: Vec::new(),
        };
        serde_json::to_string(&Shown::new(&event).ok().unwrap()).unwrap()
    }

    const HEAD: &str = r#"{"id":"evt_01ARZ3NDEKTSV4RRFFQ69G5FAV","type":"order.created","tenant":"default","key":null,"idempotency_key":"a1","accepted_at":"2026-01-01T00:00:00.007Z","deliver_at":null,"delivery_counts":{"pending":1,"held":0,"delivered":0,"dead":0},"#;

    #[test]
    fn data_is_shown_byte_for_byte() {
        let text = shown(Payload::Json(Bytes::from_static(
            br#"{"a" : 1.0e0, "a":[ ]}"#,
        )));
        assert_eq!(
            text,
            format!(r#"{HEAD}"data":{{"a" : 1.0e0, "a":[ ]}},"deliveries":[]}}"#)
        );
    }

    #[test]
    fn an_opaque_body_is_shown_in_base64() {
        let text = shown(Payload::Opaque {
            content_type: "text/plain".into(),
            body: Bytes::from_static(b"hi\xff"),
        });
        assert_eq!(
            text,
            format!(r#"{HEAD}"content_type":"text/plain","body_base64":"aGn/","deliveries":[]}}"#)
        );
    }

    #[test]
    fn receipts_are_shown_as_the_contract_has_them() {
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
