//! The state of the daemon.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Api;
use super::dto::status::Status;
use super::problem::{Kind, Problem};
use super::query::Query;
use super::reply::json;

/// `GET /v1/status`
pub async fn status(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let status = api.app.monitor.status().await?;
    json(StatusCode::OK, &Status::from(&status))
}

/// `GET /healthz`: the process answers.
pub async fn healthz() -> Response {
    (StatusCode::OK, "ok\n").into_response()
}

/// `GET /readyz`: the outbox is recovered and takes events.
pub async fn readyz(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    if api.app.monitor.is_ready() {
        Ok((StatusCode::OK, "ready\n").into_response())
    } else {
        Err(Problem::new(
            Kind::NotReady,
            "outboxd is starting or shutting down",
        ))
    }
}
