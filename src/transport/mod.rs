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
mod destination;
mod error;
mod exchange;
mod fault;
mod host;
mod http1;
mod http2;
mod local;
mod lock;
mod pool;
mod progress;
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
use self::destination::Target;
pub use self::error::TransportError;
use self::exchange::{OutboundRequest, SendFault};
use self::fault::{Fault, Stage};
use self::host::Host;
use self::pool::{Lease, Pool};
use self::request::Form;
pub use self::request::Outgoing;
use crate::clock;
use crate::config::DeliveryLimits;
use crate::domain::attempt::{Attempt, AttemptError, ErrorKind};
use crate::domain::endpoint::Endpoint;
use crate::domain::time::Timestamp;

/// How often an attempt sends a request again that the peer has not processed.
const MAX_RESENDS: usize = 3;

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

/// What came of a request.
enum Sent {
    Outcome(Outcome),
    /// The peer has not processed it, and the attempt may send it again.
    Unprocessed(Fault),
}

impl Transport {
    #[cfg(test)]
    pub fn new(limits: &DeliveryLimits) -> Result<Transport, TransportError> {
        Ok(Self::several(limits, 0)?.0)
    }

    /// A transport for this thread, and one for each of `others` threads. They share TLS sessions
    /// and look-ups of names, and no connections. Reads the root certificates. A quarter of the file
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
        let kept_each = kept.div_ceil(others.saturating_add(1));
        let make = || {
            Transport(Arc::new(Inner {
                pool: Pool::new(connector.clone(), limits, kept_each),
                connector: connector.clone(),
                user_agent: user_agent.clone(),
                response_body_limit: usize::try_from(limits.response_body_limit)
                    .unwrap_or(usize::MAX),
            }))
        };
        Ok((make(), (0..others).map(|_| make()).collect()))
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
        let mut resends = 0;
        loop {
            let grants = &endpoint.allow_networks;
            let host = match self.pool.host(&endpoint.url, grants, endpoint.http2) {
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
                false if self.connector.is_proxied() && !host.destination.is_https => {
                    Form::Absolute
                }
                false => Form::Origin,
            };
            let request = request::build(endpoint, outgoing, at, form, &self.user_agent);
            let Some(request) = request else {
                let detail = "the URL cannot be written into a request";
                return Fault::new(ErrorKind::Local, detail).into();
            };
            let target = &host.destination.target;
            match self.send(lease, request, target, endpoint, deadline).await {
                Sent::Outcome(outcome) => return outcome,
                Sent::Unprocessed(fault) if resends == MAX_RESENDS => return fault.into(),
                Sent::Unprocessed(_) => resends += 1,
            }
        }
    }

    async fn send(
        &self,
        mut lease: Lease,
        request: OutboundRequest,
        target: &Target,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Sent {
        let address = lease.address();
        let shown = || target.describe(address);
        let sent = tokio::time::timeout_at(deadline, lease.send(request)).await;
        match sent {
            Ok(Ok(response)) => {
                let answered = self.answered(response, lease, target, endpoint, deadline);
                Sent::Outcome(answered.await)
            }
            Ok(Err(SendFault { error, is_unsent })) => {
                lease.distrust();
                let wants_http1 = fault::wants_http1(&error) && self.pool.use_http1(&endpoint.url);
                let fault = fault::read(&error, Stage::Exchange, &shown(), address);
                match wants_http1 || is_unsent || fault::is_unprocessed(&error) {
                    true => Sent::Unprocessed(fault),
                    false => Sent::Outcome(fault.into()),
                }
            }
            Err(_) => {
                lease.distrust();
                let (shown, within) = (shown(), endpoint.timeout);
                let detail = format!(
                    "no answer from {shown} within {within:?} (waiting for response headers)"
                );
                let fault = Fault::new(ErrorKind::Timeout, &detail);
                Sent::Outcome(Fault { address, ..fault }.into())
            }
        }
    }

    async fn answered(
        &self,
        response: Response<Incoming>,
        lease: Lease,
        target: &Target,
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
            body_fault(end, endpoint.timeout, target, address)
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

    /// The time was up before there was a connection.
    fn no_connection(&self, host: &Host, endpoint: &Endpoint) -> Outcome {
        let (target, progress) = (&host.destination.target, host.progress());
        let address = self.connector.dialled(target, &progress);
        let doing = progress.phase().describe(&target.describe(address));
        let detail = format!("no answer within {:?} ({doing})", endpoint.timeout);
        let fault = Fault::new(ErrorKind::Timeout, &detail);
        Fault { address, ..fault }.into()
    }
}

/// Why the body of a 2xx makes the attempt fail.
fn body_fault(
    end: End,
    timeout: Duration,
    target: &Target,
    address: Option<SocketAddr>,
) -> Option<AttemptError> {
    let fault = match end {
        End::Read | End::Cut => return None,
        End::TimedOut => {
            let detail = format!("the response body did not end within {timeout:?}");
            Fault::new(ErrorKind::Timeout, &detail)
        }
        End::Short { declared, came } => {
            let shown = target.describe(address);
            let detail = format!("{shown} ended its answer after {came} of {declared} bytes");
            Fault::new(ErrorKind::Protocol, &detail)
        }
        End::Broken(error) => {
            fault::read(&error, Stage::Exchange, &target.describe(address), address)
        }
    };
    Some(fault::attempt_error(fault.kind, &fault.detail))
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
