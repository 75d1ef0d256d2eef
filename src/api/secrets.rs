//! The signing secrets of endpoints: made, shown to whoever may change them, replaced.
//!
//! These answers alone hold a secret in the clear, and say that no cache may keep them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderValue};
use rand::TryRng;
use rand::rngs::SysRng;
use serde::Serialize;

use super::Api;
use super::endpoints::find;
use super::fields::{Fields, body_of};
use super::problem::{Kind, Problem};
use super::query::Query;
use super::router::{Named, json, named};
use crate::domain::signature::Secret;
use crate::outbox::Action;

/// How long the secrets before it sign too, when nothing is said, and at most.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Serialize)]
struct Shown {
    secret: String,
}

/// `GET /v1/endpoints/{id}/secret`: the newest one, also of an endpoint from the file.
pub async fn show(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let (endpoint, _) = find(&api, named(&id)?).await?;
    let Some(newest) = endpoint.secrets.first() else {
        let detail = "the endpoint has no secret; requests to it are not signed";
        return Err(Problem::new(Kind::NotFound, detail));
    };
    answer(&newest.secret)
}

/// `POST /v1/endpoints/{id}/rotate`: a new secret signs first; those before it sign too
/// while they overlap.
pub async fn rotate(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let endpoint = named(&id)?;
    let body = body_of(&api, &parts.headers, body).await?;
    let fields = Fields::parse(&body, &["overlap"])?;
    let overlap = fields.duration("overlap", Duration::ZERO..=MAX_OVERLAP)?;
    let secret = new()?;
    let action = Action::Rotate {
        endpoint,
        secret: secret.clone(),
        overlap: overlap.value().unwrap_or(OVERLAP),
    };
    api.outbox.act(action).await?;
    answer(&secret)
}

fn answer(secret: &Secret) -> Result<Response, Problem> {
    let secret = secret.reveal();
    json(StatusCode::OK, &Shown { secret }).map(not_kept)
}

/// Says that no cache may keep the answer.
pub fn not_kept(mut response: Response) -> Response {
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    response
}

/// A secret that nobody has yet.
pub fn new() -> Result<Secret, Problem> {
    random().map(Secret::generate)
}

/// Bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    match SysRng.try_fill_bytes(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => {
            tracing::error!(%error, "the operating system gives no randomness");
            let detail = "the operating system gives no randomness; see the log";
            Err(Problem::new(Kind::Internal, detail))
        }
    }
}
