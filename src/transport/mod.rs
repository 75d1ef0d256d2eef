//! One attempt: resolve, judge the address, connect, send, read what comes back.
//!
//! Everything of an attempt happens under one deadline, the endpoint's timeout, and
//! whatever happens ends up in the [`Attempt`]: nothing here fails, retries, follows a
//! redirect, or decides what an answer means for the delivery. No environment variable
//! changes where a request goes.
//!
//! A response counts only when its body has been read to the end: a 2xx whose body breaks off is
//! `protocol`, one whose body takes until the deadline is `timeout`, both with the status
//! recorded, and the delivery is tried again (at least once is the promise). A body that
//! is longer than what is kept is not a fault. Any other status is kind `status` whatever
//! its body does.

mod answer;
mod connect;
mod connection;
mod error;
mod fault;
mod host;
mod local;
mod notes;
mod place;
mod pool;
mod request;
mod resolve;
pub mod tls;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use rustix::process::{Resource, getrlimit};
use tokio::time::Instant;
use url::Url;

use self::answer::End;
use self::connect::Connector;
pub use self::error::TransportError;
use self::fault::{Fault, Stage};
use self::host::Host;
use self::notes::Notes;
use self::pool::{Lease, Pool};
use self::request::Form;
pub use self::request::Outgoing;
use crate::clock;
use crate::config::DeliveryLimits;
use crate::domain::attempt::{Attempt, AttemptError, ErrorKind};
use crate::domain::endpoint::Endpoint;
use crate::domain::time::Timestamp;

/// How often a request that the other side has not looked at is sent again within an attempt.
const MAX_UNPROCESSED: usize = 3;

/// Makes attempts. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    connector: Connector,
    pool: Pool,
    user_agent: HeaderValue,
    response_body_limit: usize,
}

/// What an attempt came to, without its times.
#[derive(Default)]
struct Outcome {
    status: Option<u16>,
    error: Option<AttemptError>,
    response_body: Bytes,
    address: Option<SocketAddr>,
    retry_after: Option<Duration>,
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Self {
        Outcome {
            error: Some(fault::attempt_error(fault.kind, &fault.detail)),
            address: fault.address,
            ..Outcome::default()
        }
    }
}

/// What to do after a request.
enum Sent {
    Outcome(Outcome),
    /// It is sent again, in the same attempt.
    Again,
}

impl Transport {
    #[cfg(test)]
    pub fn new(limits: &DeliveryLimits) -> Result<Transport, TransportError> {
        Ok(Self::several(limits, 0)?.0)
    }

    /// A transport, and one for each of so many threads beside it. Each has connections of its own; they share
    /// look-ups of names and TLS sessions. Reads the root certificates. A quarter of the file
    /// descriptors that the process may open now is what idle connections may hold, so raise that
    /// limit before.
    pub fn several(
        limits: &DeliveryLimits,
        others: usize,
    ) -> Result<(Transport, Vec<Transport>), TransportError> {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let kept = (descriptors / 4).clamp(16, 16_384);
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let connector = Connector::new(limits, kept.saturating_add(limits.max_in_flight))?;
        let user_agent = HeaderValue::from_str(&limits.user_agent);
        let user_agent = user_agent.map_err(TransportError::UserAgent)?;
        let kept = kept.div_ceil(others.saturating_add(1));
        let of_thread = || {
            Transport(Arc::new(Inner {
                pool: Pool::new(connector.clone(), limits, kept),
                connector: connector.clone(),
                user_agent: user_agent.clone(),
                response_body_limit: usize::try_from(limits.response_body_limit)
                    .unwrap_or(usize::MAX),
            }))
        };
        Ok((of_thread(), (0..others).map(|_| of_thread()).collect()))
    }

    /// Makes one attempt within the endpoint's timeout. Never fails: whatever happens is
    /// in the [`Attempt`]. Dropping the future abandons it and closes its connection.
    pub async fn attempt(&self, endpoint: &Endpoint, request: &Outgoing) -> Attempt {
        let (at, began) = (clock::now(), Instant::now());
        let deadline = began.checked_add(endpoint.timeout).unwrap_or(began);
        let outcome = self.0.exchange(endpoint, request, at, deadline).await;
        Attempt {
            at,
            duration: began.elapsed(),
            status: outcome.status,
            error: outcome.error,
            response_body: outcome.response_body,
            address: outcome.address,
            retry_after: outcome.retry_after,
        }
    }
}

impl Inner {
    async fn exchange(
        &self,
        endpoint: &Endpoint,
        outgoing: &Outgoing,
        at: Timestamp,
        deadline: Instant,
    ) -> Outcome {
        let mut again = 0;
        loop {
            let host = self
                .pool
                .host(&endpoint.url, &endpoint.allow_networks, endpoint.http2);
            let host = match host {
                Ok(host) => host,
                Err(reason) => return Fault::new(ErrorKind::Blocked, &reason).into(),
            };
            let mut leasing = pin!(self.pool.lease(&host));
            let lease = match tokio::time::timeout_at(deadline, &mut leasing).await {
                Ok(Ok(lease)) => lease,
                Ok(Err(fault)) => return fault.into(),
                Err(_) => return self.no_connection(&host, endpoint),
            };
            let form = match lease.is_http2() {
                true => Form::Http2,
                false if self.connector.is_proxied() && !host.place.is_https => Form::Absolute,
                false => Form::Origin,
            };
            let request = request::build(endpoint, outgoing, at, form, &self.user_agent);
            let Some(request) = request else {
                let detail = "the URL cannot be written into a request";
                return Fault::new(ErrorKind::Local, detail).into();
            };
            again += 1;
            let may_repeat = again <= MAX_UNPROCESSED;
            match self
                .send(lease, request, endpoint, deadline, may_repeat)
                .await
            {
                Sent::Outcome(outcome) => return outcome,
                Sent::Again => {}
            }
        }
    }

    async fn send(
        &self,
        mut lease: Lease,
        request: connection::Outbound,
        endpoint: &Endpoint,
        deadline: Instant,
        may_repeat: bool,
    ) -> Sent {
        let address = lease.address();
        let sent = tokio::time::timeout_at(deadline, lease.send(request)).await;
        let failed = match sent {
            Ok(Ok(response)) => {
                return Sent::Outcome(self.answered(response, lease, endpoint, deadline).await);
            }
            Ok(Err(failed)) => failed,
            Err(_) => {
                lease.distrust();
                let (target, within) = (target(&endpoint.url, address), endpoint.timeout);
                let detail = format!(
                    "no answer from {target} within {within:?} (waiting for response headers)"
                );
                return Sent::Outcome(Outcome {
                    address,
                    ..Fault::new(ErrorKind::Timeout, &detail).into()
                });
            }
        };
        let error = &failed.error;
        lease.distrust();
        // The other side did nothing with the request.
        if fault::wants_http1(error) && self.pool.use_http1(&endpoint.url) {
            return Sent::Again;
        }
        if may_repeat && (failed.is_unsent || fault::is_unprocessed(error)) {
            return Sent::Again;
        }
        let target = target(&endpoint.url, address);
        Sent::Outcome(fault::read(error, Stage::Exchange, &target, address).into())
    }

    async fn answered(
        &self,
        response: Response<Incoming>,
        lease: Lease,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Outcome {
        let (status, address) = (response.status(), lease.address());
        let asks_to_wait =
            status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
        let retry_after = match asks_to_wait {
            true => answer::retry_after(response.headers()),
            false => None,
        };
        let (head, body) = response.into_parts();
        let headers = head.headers;
        let (limit, declared) = (self.response_body_limit, answer::declared(status, &headers));
        let (response_body, end) = answer::read(body, declared, limit, deadline).await;
        match &end {
            End::Read => lease.give_back(),
            End::Cut => drop(lease),
            End::TimedOut | End::Short { .. } | End::Broken(_) => lease.distrust(),
        }
        let error = if status.is_success() {
            body_fault(end, endpoint, address)
        } else {
            let detail = no_success(status, &headers, &endpoint.url);
            Some(fault::attempt_error(ErrorKind::Status, &detail))
        };
        Outcome {
            status: Some(status.as_u16()),
            error,
            response_body,
            address,
            retry_after,
        }
    }

    /// Time ran out before there was a connection.
    fn no_connection(&self, host: &Host, endpoint: &Endpoint) -> Outcome {
        let notes: Arc<Notes> = host.notes();
        let target = self.connector.name(&host.place, &notes);
        let doing = notes.phase().doing(&target);
        let detail = format!("no answer within {:?} ({doing})", endpoint.timeout);
        Outcome {
            address: self.connector.dialled(&host.place, &notes),
            ..Fault::new(ErrorKind::Timeout, &detail).into()
        }
    }
}

fn body_fault(end: End, endpoint: &Endpoint, address: Option<SocketAddr>) -> Option<AttemptError> {
    match end {
        End::Read | End::Cut => None,
        End::TimedOut => Some(fault::attempt_error(
            ErrorKind::Timeout,
            &format!(
                "the response body did not end within {:?}",
                endpoint.timeout
            ),
        )),
        End::Short { declared, came } => {
            let target = target(&endpoint.url, address);
            let detail = format!("{target} ended its answer after {came} of {declared} bytes");
            Some(fault::attempt_error(ErrorKind::Protocol, &detail))
        }
        End::Broken(error) => {
            let target = target(&endpoint.url, address);
            let found = fault::read(&error, Stage::Exchange, &target, address);
            Some(fault::attempt_error(found.kind, &found.detail))
        }
    }
}

/// The other side, for a person: its address, else host and port. Never path or query.
fn target(url: &Url, address: Option<SocketAddr>) -> String {
    match address {
        Some(address) => address.to_string(),
        None => {
            let host = url.host_str().unwrap_or("no host");
            let port = url.port_or_known_default().unwrap_or(0);
            format!("{host}:{port}")
        }
    }
}

fn no_success(status: StatusCode, headers: &HeaderMap, url: &Url) -> String {
    let reason = status.canonical_reason().unwrap_or("no standard status");
    let answered = format!("answered {} {reason}", status.as_u16());
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return answered;
    }
    match answer::location(headers, url) {
        Some(place) => format!("{answered}, to {place}; redirects are not followed"),
        None => format!("{answered}; redirects are not followed"),
    }
}
