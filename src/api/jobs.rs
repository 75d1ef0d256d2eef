//! Jobs: replays and purges under way, and the release of deliveries that could not be rendered.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use super::Api;
use super::dto::job::Job;
use super::id_cursor::IdCursors;
use super::path::{PathParams, parse_name};
use super::problem::Problem;
use super::query::Query;
use super::reply::{self, json};
use crate::outbox::Page;

const CURSORS: IdCursors = IdCursors("job");

/// `GET /v1/jobs`: in the order of their numbers.
pub async fn list(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &["limit", "cursor"])?;
    let after = query.cursor()?;
    let after = after.as_ref().map(|cursor| CURSORS.place(cursor));
    let (items, more) = api
        .app
        .bulk
        .jobs(after.transpose()?, query.limit()?)
        .await?;
    let last = items.last().filter(|_| more);
    let next = last.map(|job| CURSORS.after(&job.id.to_string()));
    reply::page(&Page { items, next }, Job::from)
}

/// `GET /v1/jobs/{id}`: 404 once it has ended.
pub async fn show(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let job = api.app.bulk.job(parse_name(&id)?).await?;
    json(StatusCode::OK, &Job::from(&job))
}

/// `DELETE /v1/jobs/{id}`: 204; deliveries that it has not processed stay as they are.
pub async fn cancel(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    Query::parse(request.uri(), &[])?;
    api.app.bulk.cancel(parse_name(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
