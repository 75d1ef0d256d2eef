//! Deliveries: listed, shown, retried and cancelled.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use super::Api;
use super::dto::delivery::Delivery;
use super::fields::nothing_more;
use super::path::{self, PathParams};
use super::problem::Problem;
use super::query::{self, Query, malformed};
use super::reply::{self, json};
use crate::domain::delivery::Status;
use crate::outbox::DeliveryFilter;

const LIST: [&str; 8] = [
    "status", "endpoint", "tenant", "type", "since", "until", "limit", "cursor",
];

/// `GET /v1/deliveries`
pub async fn list(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &LIST)?;
    let (limit, cursor) = (query.limit()?, query.cursor()?);
    let filter = DeliveryFilter {
        events: query::event_filter(&query)?,
        status: query.text("status").map(status).transpose()?,
        endpoint: query.read("endpoint")?,
    };
    let show = |page: &_| reply::page(page, Delivery::from);
    let deliveries = &api.app.deliveries;
    deliveries.list(filter, cursor, limit, show).await?
}

fn status(text: &str) -> Result<Status, Problem> {
    Status::ALL
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| malformed("status", "not one of pending, held, delivered, dead"))
}

/// `GET /v1/events/{id}/deliveries/{endpoint}`
pub async fn show(
    State(api): State<Arc<Api>>,
    PathParams(path): PathParams<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let (event, endpoint) = path::delivery(path)?;
    let delivery = api.app.deliveries.find(event, endpoint).await?;
    json(StatusCode::OK, &Delivery::from(&delivery))
}

/// `POST /v1/events/{id}/deliveries/{endpoint}/retry`: 202 with the delivery.
pub async fn retry(
    State(api): State<Arc<Api>>,
    PathParams(path): PathParams<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    nothing_more(&api, request).await?;
    let (event, endpoint) = path::delivery(path)?;
    let delivery = api.app.deliveries.retry(event, endpoint).await?;
    json(StatusCode::ACCEPTED, &Delivery::from(&delivery))
}

/// `POST /v1/events/{id}/deliveries/{endpoint}/cancel`: 200 with the delivery.
pub async fn cancel(
    State(api): State<Arc<Api>>,
    PathParams(path): PathParams<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    nothing_more(&api, request).await?;
    let (event, endpoint) = path::delivery(path)?;
    let delivery = api.app.deliveries.cancel(event, endpoint).await?;
    json(StatusCode::OK, &Delivery::from(&delivery))
}
