//! `POST /v1/logins`: a link that logs a person in at the pages, once.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::Api;
use super::access::Caller;
use super::fields::nothing_more;
use super::problem::{Kind, Problem};
use super::reply::{json, no_store};
use crate::app::random_bytes;
use crate::clock;
use crate::domain::time::Timestamp;

/// The path of the call.
pub const PATH: &str = "/v1/logins";

#[derive(Serialize)]
struct Login {
    /// Of the link, below the address at which a browser reaches the daemon.
    path: String,
    /// The link for a browser on the daemon's machine; `null` if no listener is on its loopback.
    url: Option<String>,
    expires_at: Timestamp,
}

/// `POST /v1/logins`: 201 with the link.
pub async fn create(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let caller = request.extensions().get::<Caller>().cloned();
    nothing_more(&api, request).await?;
    if !api.logins.is_on() {
        let detail = "there are no pages to log in at: `listen.ui` is false";
        return Err(Problem::new(Kind::Conflict, detail));
    }
    let caller = caller.ok_or_else(|| Problem::new(Kind::Internal, "the caller is not known"))?;
    let made = api.logins.make(caller, random_bytes()?, clock::now());
    let path = format!("/ui/login?code={}", made.code);
    let login = Login {
        url: api.logins.base().map(|base| format!("{base}{path}")),
        path,
        expires_at: made.expires_at,
    };
    json(StatusCode::CREATED, &login).map(no_store)
}
