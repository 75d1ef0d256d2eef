//! The signing secrets of endpoints: shown, and replaced.
//!
//! These responses alone, and that of `POST /v1/endpoints`, hold a secret in the clear, and
//! say that no cache may keep them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::Api;
use super::fields::{Fields, body_of};
use super::path::{PathParams, parse_name};
use super::problem::Problem;
use super::query::Query;
use super::reply::{json, no_store};
use crate::app::MAX_OVERLAP;
use crate::domain::signature::Secret;

/// A secret; of a key of Ed25519 its public part alone.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ShownSecret {
    Secret(String),
    PublicKey(String),
}

/// `GET /v1/endpoints/{id}/secret`: the newest one, also of an endpoint from the file.
pub async fn show(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    respond(&api.app.endpoints.secret(parse_name(&id)?).await?)
}

/// `POST /v1/endpoints/{id}/rotate`: a new secret signs first; those before it sign too
/// while they overlap.
pub async fn rotate(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let endpoint = parse_name(&id)?;
    let body = body_of(&api, &parts.headers, body).await?;
    let fields = Fields::parse(&body, &["overlap"])?;
    let overlap = fields.duration("overlap", Duration::ZERO..=MAX_OVERLAP)?;
    respond(&api.app.endpoints.rotate(endpoint, overlap.value()).await?)
}

fn respond(secret: &Secret) -> Result<Response, Problem> {
    let shown = match secret.public_key() {
        Some(key) => ShownSecret::PublicKey(key.to_string()),
        None => ShownSecret::Secret(secret.reveal()),
    };
    json(StatusCode::OK, &shown).map(no_store)
}
