//! Reading deliveries, and trying them again or giving them up.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::events::event_filter;
use super::fields::nothing_more;
use super::problem::Problem;
use super::query::{Query, malformed};
use super::router::{Named, json, named};
use super::{Api, list};
use crate::domain::attempt::Attempt;
use crate::domain::delivery::Status;
use crate::domain::endpoint::EndpointId;
use crate::domain::event::{EventId, EventType, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::{Action, DeliveryFilter, DeliveryView};

const LIST: [&str; 8] = [
    "status", "endpoint", "tenant", "type", "since", "until", "limit", "cursor",
];

/// `GET /v1/deliveries`
pub async fn list(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &LIST)?;
    let (limit, cursor) = (query.limit()?, query.cursor()?);
    let filter = DeliveryFilter {
        events: event_filter(&query)?,
        status: query.text("status").map(status).transpose()?,
        endpoint: query.read("endpoint")?,
    };
    api.read(move |outbox| {
        let page = outbox.deliveries(&filter, cursor.as_ref(), limit)?;
        list::page(&page, Shown::from)
    })
    .await
}

fn status(text: &str) -> Result<Status, Problem> {
    Status::ALL
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| malformed("status", "not one of pending, held, delivered, dead"))
}

/// The delivery that a path names.
pub fn from_path((event, endpoint): (String, String)) -> Result<(EventId, EndpointId), Problem> {
    Ok((named(&event)?, named(&endpoint)?))
}

/// `GET /v1/events/{id}/deliveries/{endpoint}`
pub async fn show(
    State(api): State<Arc<Api>>,
    Named(path): Named<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let (event, endpoint) = from_path(path)?;
    answer(&api, StatusCode::OK, event, endpoint).await
}

/// `POST /v1/events/{id}/deliveries/{endpoint}/retry`: 202 with the delivery.
pub async fn retry(
    State(api): State<Arc<Api>>,
    Named(path): Named<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let action = |event, endpoint| Action::Retry { event, endpoint };
    act(&api, path, request, action, StatusCode::ACCEPTED).await
}

/// `POST /v1/events/{id}/deliveries/{endpoint}/cancel`: 200 with the delivery.
pub async fn cancel(
    State(api): State<Arc<Api>>,
    Named(path): Named<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let action = |event, endpoint| Action::Cancel { event, endpoint };
    act(&api, path, request, action, StatusCode::OK).await
}

/// An action that the path says all about; answered with the delivery.
async fn act(
    api: &Api,
    path: (String, String),
    request: Request,
    action: impl FnOnce(EventId, EndpointId) -> Action,
    status: StatusCode,
) -> Result<Response, Problem> {
    nothing_more(api, request).await?;
    let (event, endpoint) = from_path(path)?;
    api.outbox.act(action(event, endpoint.clone())).await?;
    answer(api, status, event, endpoint).await
}

async fn answer(
    api: &Api,
    status: StatusCode,
    event: EventId,
    endpoint: EndpointId,
) -> Result<Response, Problem> {
    let delivery = api
        .read(move |outbox| outbox.delivery(event, &endpoint))
        .await?;
    json(status, &Shown::from(&delivery))
}

/// A delivery.
#[derive(Serialize)]
pub struct Shown<'a> {
    event: EventId,
    endpoint: &'a EndpointId,
    tenant: &'a Tenant,
    r#type: &'a EventType,
    status: &'static str,
    reason: Option<&'static str>,
    attempts: Vec<ShownAttempt<'a>>,
    attempt_count: u32,
    next_attempt_at: Option<Timestamp>,
    accepted_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl<'a> From<&'a DeliveryView> for Shown<'a> {
    fn from(delivery: &'a DeliveryView) -> Self {
        Shown {
            event: delivery.event,
            endpoint: &delivery.endpoint,
            tenant: &delivery.tenant,
            r#type: &delivery.event_type,
            status: delivery.status.as_str(),
            reason: delivery.reason.map(|reason| reason.as_str()),
            attempts: delivery.attempts.iter().map(ShownAttempt::from).collect(),
            attempt_count: delivery.attempt_count,
            next_attempt_at: delivery.next_attempt_at,
            accepted_at: delivery.accepted_at,
            finished_at: delivery.finished_at,
        }
    }
}

#[derive(Serialize)]
struct ShownAttempt<'a> {
    at: Timestamp,
    duration_ms: u64,
    status: Option<u16>,
    error: Option<ShownError<'a>>,
    response_body: Cow<'a, str>,
    address: Option<String>,
}

#[derive(Serialize)]
struct ShownError<'a> {
    kind: &'static str,
    detail: &'a str,
}

impl<'a> From<&'a Attempt> for ShownAttempt<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        ShownAttempt {
            at: attempt.at,
            duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            status: attempt.status,
            error: attempt.error.as_ref().map(|error| ShownError {
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
    use crate::domain::delivery::Reason;
    use bytes::Bytes;
    use std::time::Duration;

    #[test]
    fn a_delivery_is_shown_as_the_contract_has_it() {
        let at = Timestamp::from_millis(1_767_225_600_000);
        let delivery = DeliveryView {
            event: "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            endpoint: EndpointId::new("orders").unwrap(),
            tenant: Tenant::default(),
            event_type: EventType::new("order.created").unwrap(),
            status: Status::Dead,
            reason: Some(Reason::Exhausted),
            attempts: vec![Attempt {
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
            }],
            attempt_count: 51,
            next_attempt_at: None,
            accepted_at: at,
            finished_at: Some(at),
        };
        assert_eq!(
            serde_json::to_value(Shown::from(&delivery)).unwrap(),
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
