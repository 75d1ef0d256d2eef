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
mod clients;
mod error;
mod fault;
mod hosts;
mod idle_budget;
mod local;
mod progress;
mod request;
mod resolve;
pub mod tls;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use rustix::process::{Resource, getrlimit};
use tokio::time::Instant;
use url::{Host, Url};

use self::answer::End;
use self::clients::{ClientPair, Clients};
pub use self::error::TransportError;
use self::idle_budget::IdleBudget;
use self::progress::Phase;
pub use self::request::Outgoing;
use crate::clock;
use crate::config::DeliveryLimits;
use crate::domain::attempt::{Attempt, AttemptError, ErrorKind};
use crate::domain::endpoint::Endpoint;

/// Makes attempts. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    clients: Clients,
    idle_budget: IdleBudget,
    connect_timeout: Duration,
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

impl Outcome {
    fn fault(kind: ErrorKind, detail: &str) -> Self {
        Outcome {
            error: Some(fault::attempt_error(kind, detail)),
            ..Outcome::default()
        }
    }
}

impl Transport {
    /// Reads the root certificates. A quarter of the file descriptors that the process
    /// may open now is what idle connections may hold, so raise that limit before.
    pub fn new(limits: &DeliveryLimits) -> Result<Transport, TransportError> {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let budget = (descriptors / 4).clamp(16, 16_384);
        Ok(Transport(Arc::new(Inner {
            clients: Clients::new(limits)?,
            idle_budget: IdleBudget::new(usize::try_from(budget).unwrap_or(usize::MAX)),
            connect_timeout: limits.connect_timeout,
            response_body_limit: usize::try_from(limits.response_body_limit).unwrap_or(usize::MAX),
        })))
    }

    /// Makes one attempt within the endpoint's timeout. Never fails: whatever happens is
    /// in the [`Attempt`]. Dropping the future abandons it and closes its connection.
    pub async fn attempt(&self, endpoint: &Endpoint, request: &Outgoing) -> Attempt {
        let (at, began) = (clock::now(), Instant::now());
        let deadline = began.checked_add(endpoint.timeout).unwrap_or(began);
        let exchange = self.0.exchange(endpoint, request, at, deadline);
        let outcome = progress::track(exchange).await;
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
        at: crate::domain::time::Timestamp,
        deadline: Instant,
    ) -> Outcome {
        loop {
            let pair = match self.clients.of(endpoint) {
                Ok(pair) => pair,
                Err(error) => return Outcome::fault(ErrorKind::Local, &error.to_string()),
            };
            if let Err(reason) = self.may_send(&endpoint.url, &pair) {
                return Outcome::fault(ErrorKind::Blocked, &reason);
            }
            let reserved = self
                .idle_budget
                .reserve(&endpoint.url, pair.id, Instant::now());
            let client = match reserved {
                Some(_) => &pair.keeping,
                None => &pair.closing,
            };
            let sending = client.execute(request::build(endpoint, outgoing, at));
            let sent = tokio::time::timeout_at(deadline, sending).await;
            let outcome = match sent {
                Ok(Ok(response)) => self.answered(response, endpoint, deadline).await,
                // The host did nothing with the request: this stays the same attempt.
                Ok(Err(error))
                    if fault::wants_http1(&error)
                        && self.clients.hosts.use_http1(&endpoint.url) =>
                {
                    continue;
                }
                Ok(Err(error)) => self.failed(&error, endpoint),
                Err(_) => self.timed_out(endpoint),
            };
            let kind = outcome.error.as_ref().map(|error| error.kind);
            let faulty = matches!(kind, Some(ErrorKind::Timeout | ErrorKind::Protocol));
            if faulty
                && endpoint.url.scheme() == "https"
                && let Err(error) = self.clients.distrust(&pair, &endpoint.url)
            {
                tracing::warn!(%error, "the connections to a host could not be replaced");
            }
            return outcome;
        }
    }

    /// What can be judged before a name is resolved: the URL itself, and IP literals,
    /// which never meet the resolver. (`url` has read `0x7f.1` and the like as what they
    /// are by now.)
    fn may_send(&self, url: &Url, pair: &ClientPair) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("only http and https URLs are dialled".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("URLs with user info are refused".to_owned());
        }
        match literal(url) {
            Some(ip) => pair.rule.judge(ip).map_err(|refusal| refusal.to_string()),
            None if self.clients.proxied() && !pair.rule.public => {
                Err("plain http through the proxy needs delivery.allow_http".to_owned())
            }
            None => Ok(()),
        }
    }

    async fn answered(
        &self,
        response: Response,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Outcome {
        let (status, address) = (response.status(), response.remote_addr());
        if endpoint.url.scheme() == "https" {
            self.clients
                .hosts
                .answered(&endpoint.url, response.version());
        }
        let asks_to_wait =
            status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
        let retry_after = match asks_to_wait {
            true => answer::retry_after(response.headers()),
            false => None,
        };
        let (head, body) = http::Response::from(response).into_parts();
        let headers = head.headers;
        let (limit, declared) = (self.response_body_limit, answer::declared(status, &headers));
        let (response_body, end) = answer::read(body, declared, limit, deadline).await;
        let error = if status.is_success() {
            self.body_fault(end, endpoint, address)
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

    fn body_fault(
        &self,
        end: End,
        endpoint: &Endpoint,
        address: Option<SocketAddr>,
    ) -> Option<AttemptError> {
        match end {
            End::Read => None,
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
                let found = fault::read(&error, &target, || self.waited(endpoint, &target));
                Some(fault::attempt_error(found.kind, &found.detail))
            }
        }
    }

    fn failed(&self, error: &reqwest::Error, endpoint: &Endpoint) -> Outcome {
        let guess = self.dialled(&endpoint.url);
        let target = target(&endpoint.url, guess);
        let found = fault::read(error, &target, || self.waited(endpoint, &target));
        let dialled = !matches!(
            found.kind,
            ErrorKind::Dns | ErrorKind::Blocked | ErrorKind::Local
        );
        Outcome {
            address: found.address.or(guess.filter(|_| dialled)),
            ..Outcome::fault(found.kind, &found.detail)
        }
    }

    fn timed_out(&self, endpoint: &Endpoint) -> Outcome {
        let address = self.dialled(&endpoint.url);
        let target = target(&endpoint.url, address);
        let (mut phase, since) = progress::phase();
        // Connecting never takes longer, so the attempt got a connection that another
        // one left, and this is the one it asked for in vain.
        if phase != Phase::Waiting && since.elapsed() > self.connect_timeout {
            phase = Phase::Waiting;
        }
        let within = endpoint.timeout;
        let detail = match phase {
            Phase::Waiting => {
                format!("no answer from {target} within {within:?} (waiting for response headers)")
            }
            phase => format!("no answer within {within:?} ({})", doing(phase, &target)),
        };
        Outcome {
            address,
            ..Outcome::fault(ErrorKind::Timeout, &detail)
        }
    }

    /// What `connect_timeout`, or the system's own patience, cut short.
    fn waited(&self, endpoint: &Endpoint, target: &str) -> String {
        let (phase, _) = progress::phase();
        match phase {
            Phase::Waiting => format!("{target} went silent (within {:?})", endpoint.timeout),
            phase => format!(
                "no connection within {:?} ({})",
                self.connect_timeout,
                doing(phase, target)
            ),
        }
    }

    /// The address that this attempt dials or dialled, if there is only one it can be.
    fn dialled(&self, url: &Url) -> Option<SocketAddr> {
        if self.clients.proxied() {
            return None;
        }
        let ip = literal(url).or_else(progress::dialled)?;
        Some(SocketAddr::new(ip, url.port_or_known_default()?))
    }
}

fn doing(phase: Phase, target: &str) -> String {
    match phase {
        Phase::Resolving => format!("resolving {target}"),
        Phase::Connecting => format!("connecting to {target}"),
        Phase::Waiting => format!("waiting for {target}"),
    }
}

/// The IP address that the URL spells out.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
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
