//! Calls of sources: bounded, read, handed to the application, and answered.
//!
//! What is refused is answered without a body: what was wrong is for the operator to see, who finds it
//! at the source (`recent_rejected`), and not for the caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response};

use super::refusals::{Caller, Refusals};
use super::{Receive, nothing_here};
use crate::app::sources::{CallRefused, InboundCall, KnownSource, Sources};
use crate::domain::event::MAX_EVENT_SIZE;
use crate::domain::inbound::{Answer, Rejection, SourceId};
use crate::server::body::{self, BodyError, Budget, Limit};
use crate::server::connection::READ_BUFFER;
use crate::server::remote::Remote;

/// Room for the bodies of all calls under way, in bytes: the largest that any source may take fits.
const BODY_BUDGET: usize = MAX_EVENT_SIZE as usize;
/// When a call that could not be stored may be tried again, in seconds.
const TRY_AGAIN: u64 = 5;

/// See the module.
pub struct Calls {
    sources: Arc<Sources>,
    bodies: Arc<Budget>,
    refusals: Refusals,
}

impl Calls {
    pub fn new(sources: Arc<Sources>) -> Calls {
        Calls {
            sources,
            bodies: Budget::new(BODY_BUDGET),
            refusals: Refusals::new(Instant::now()),
        }
    }

    async fn take(
        &self,
        id: &SourceId,
        mut call: InboundCall,
        body: Body,
    ) -> Result<Answer, CallRefused> {
        let known = self.sources.admit(&call, id)?;
        if body::odd_coding(&call.headers).is_some() {
            let why = "a Transfer-Encoding that is not chunked is not understood";
            let refused = CallRefused::Rejected(Rejection::BadRequest(why.to_owned()));
            self.sources.note_refused(&known, &refused, &call);
            return Err(refused);
        }
        match self.collect(&known, body).await {
            Ok(received) => {
                call.body = own(&received.bytes);
                self.sources.receive(&known, call).await
            }
            Err(error) => {
                let refused = unread(error);
                self.sources.note_refused(&known, &refused, &call);
                Err(refused)
            }
        }
    }

    async fn collect(&self, known: &KnownSource, body: Body) -> Result<body::Received, BodyError> {
        let limit = Limit {
            bytes: self.sources.longest(known),
            key: "max_event_size",
        };
        body::collect(body, limit, &self.bodies).await
    }
}

impl Receive for Calls {
    async fn receive(
        &self,
        source: &str,
        parts: Parts,
        body: Body,
        remote: Remote,
    ) -> Response<Body> {
        let Ok(id) = SourceId::new(source) else {
            return nothing_here();
        };
        let found = self.sources.found_by(remote.ip, &id);
        let caller = Caller::new(remote.ip, found.as_ref().map(|known| known.id().clone()));
        if !remote.is_shared
            && let Err(wait) = self.refusals.admit(&caller, Instant::now())
        {
            let refused = CallRefused::RateLimited { wait };
            self.sources.count_refused(found.as_deref(), &refused);
            return refuse(&refused);
        }
        let call = InboundCall {
            method: parts.method,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body: Bytes::new(),
            url: None,
            remote: remote.ip,
        };
        match self.take(&id, call, body).await {
            Ok(answer) => give(answer),
            Err(refused) => {
                if refused.is_callers_fault() && !remote.is_shared {
                    self.refusals.note(caller, Instant::now());
                }
                refuse(&refused)
            }
        }
    }
}

/// Bytes that keep no connection's whole buffer alive, for as long as the event is kept in memory.
/// A long body came in pieces and has a buffer of its own.
fn own(bytes: &Bytes) -> Bytes {
    match bytes.len() > READ_BUFFER {
        true => bytes.clone(),
        false => Bytes::copy_from_slice(bytes),
    }
}

/// Why a call with such a body is refused.
fn unread(error: BodyError) -> CallRefused {
    match error {
        BodyError::TooLarge(_) => CallRefused::TooLarge,
        BodyError::TooSlow => CallRefused::TooSlow,
        BodyError::BrokeOff => CallRefused::Rejected(Rejection::BadRequest(error.to_string())),
        BodyError::NoRoom => CallRefused::NoRoom,
    }
}

fn give(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    for (name, value) in answer.headers {
        response.headers_mut().insert(name, value);
    }
    response
}

fn refuse(refused: &CallRefused) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = refused.status();
    let headers = response.headers_mut();
    match refused {
        CallRefused::Rejected(Rejection::Method(allowed)) => {
            if let Ok(allowed) = HeaderValue::from_str(allowed) {
                headers.insert(header::ALLOW, allowed);
            }
        }
        CallRefused::RateLimited { wait } => retry_after(headers, *wait),
        CallRefused::Unavailable(_) | CallRefused::NoRoom => {
            retry_after(headers, Duration::from_secs(TRY_AGAIN));
        }
        // The rest of its body was not read.
        CallRefused::TooLarge | CallRefused::TooSlow => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        CallRefused::Rejected(_) | CallRefused::NoSuchSource | CallRefused::TooMuch => {}
    }
    response
}

/// In whole seconds, rounded up.
fn retry_after(headers: &mut HeaderMap, wait: Duration) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
}
