//! Why an event did or did not reach an endpoint, and what comes next.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use super::Api;
use super::dto::explanation::Explanation;
use super::path::{self, PathParams};
use super::problem::Problem;
use super::query::Query;
use super::reply::json;

/// `GET /v1/events/{id}/deliveries/{endpoint}/explain`
pub async fn explain(
    State(api): State<Arc<Api>>,
    PathParams(path): PathParams<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let (event, endpoint) = path::delivery(path)?;
    let explained = api.app.explainer.explain(event, endpoint.clone()).await?;
    json(StatusCode::OK, &Explanation::new(&explained, &endpoint))
}
