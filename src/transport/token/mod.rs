//! Tokens of OAuth 2.0 for endpoints that want one (RFC 6749, 4.4).
//!
//! An attempt that needs a token and finds none fetches it itself, within its own deadline and by
//! the endpoint's own rules: the same address guard, grants, proxy, client certificate and
//! authorities, without redirects. Other attempts of the endpoint wait for it. If the attempt ends
//! before the fetch does, one of those that wait fetches instead.
//!
//! A token that is nearly over is fetched anew by one attempt while the others go on using it. A
//! failure serves all attempts of the endpoint for a moment, so that a token server that is down is
//! not asked by each of them. Tokens are shared by no two endpoints and are never stored.
//!
//! What the token server says is never shown, but for its status and the code of an error.

mod assertion;
mod grant;
mod request;
mod store;

use std::pin::pin;
use std::sync::Arc;

use http::HeaderValue;
use tokio::time::Instant;

use self::grant::Grant;
use self::request::TokenRequest;
use self::store::{Fetching, Step};
pub(super) use self::store::{Slot, Token, Tokens};
use super::call::{Call, Caller};
use super::fault::Fault;
use crate::clock;
use crate::domain::attempt::ErrorKind;
use crate::domain::auth::OAuth2;
use crate::domain::endpoint::Endpoint;

/// Bytes of a token server's answer that are read. A longer one is a fault.
const MAX_ANSWER: usize = 64 * 1024;

/// How an attempt asks for a token.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) caller: &'a Caller,
    pub(super) oauth2: &'a OAuth2,
    pub(super) endpoint: &'a Endpoint,
    pub(super) user_agent: &'a HeaderValue,
    pub(super) deadline: Instant,
}

/// The token in `slot`, or a new one. The fault is of kind `auth`, or `local`.
pub(super) async fn get(slot: &Arc<Slot>, asking: Asking<'_>) -> Result<Arc<Token>, Fault> {
    loop {
        let mut changed = pin!(slot.changed());
        changed.as_mut().enable();
        match slot.step(Instant::now()) {
            Step::Use(token) => return Ok(token),
            Step::Fail(fault) => return Err(fault),
            Step::Fetch(fetching) => return fetch(fetching, asking).await,
            Step::Wait => {
                let waited = tokio::time::timeout_at(asking.deadline, changed).await;
                if waited.is_err() {
                    let within = asking.endpoint.timeout;
                    let detail = format!("no token within {within:?} (another attempt fetches it)");
                    return Err(Fault::new(ErrorKind::Auth, &detail));
                }
            }
        }
    }
}

async fn fetch(fetching: Fetching, asking: Asking<'_>) -> Result<Arc<Token>, Fault> {
    let now = Instant::now();
    let left = asking.deadline.saturating_duration_since(now);
    let deadline = match fetching.has_old() {
        // The attempt can still be made with the old token.
        true => now + left / 2,
        false => asking.deadline,
    };
    match ask(Asking { deadline, ..asking }).await {
        Ok(grant) => Ok(fetching.succeed(&grant, now, rand::random())),
        Err(fault) => {
            let is_over = Instant::now() >= deadline;
            fetching.fail(fault, is_over)
        }
    }
}

/// Asks the token server.
async fn ask(asking: Asking<'_>) -> Result<Grant, Fault> {
    let Asking {
        oauth2, deadline, ..
    } = asking;
    let url = &oauth2.token_url;
    let Some(request) = TokenRequest::new(oauth2, clock::now(), rand::random()) else {
        let detail = "outboxd cannot sign the request for a token";
        return Err(Fault::new(ErrorKind::Local, detail));
    };
    let call = Call {
        url,
        endpoint: asking.endpoint,
        deadline,
    };
    let build = |form| request.build(url, form, asking.user_agent);
    let called = asking.caller.call(call, build).await;
    let called = called.map_err(|fault| match fault.kind {
        ErrorKind::Local => fault,
        _ => Fault::new(ErrorKind::Auth, &format!("no token: {}", fault.detail)),
    })?;
    let answer = called.read(MAX_ANSWER, deadline).await;
    Grant::read(answer.status, &answer.body, &answer.end, oauth2)
        .map_err(|problem| Fault::new(ErrorKind::Auth, &problem))
}
