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
mod call;
mod connect;
mod connection;
mod destination;
mod diagnosis;
mod diagnosis_tls;
mod error;
mod exchange;
mod fault;
mod figures;
mod handshake;
mod host;
mod http1;
mod http2;
mod local;
mod lock;
mod observed;
mod pool;
mod progress;
mod request;
mod resolve;
mod secured;
pub mod tls;
mod tls_clients;
mod token;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use rustix::process::{Resource, getrlimit};
use tokio::time::Instant;

use self::answer::End;
use self::call::{Answer, Call, Caller};
use self::connect::Connector;
pub use self::error::TransportError;
use self::fault::{Fault, Stage};
pub use self::figures::{TransportFigures, TransportFiguresView};
use self::pool::Pool;
pub use self::request::{Outgoing, Unsigned, described};
use self::token::{Asking, Tokens};
use crate::clock;
use crate::config::DeliveryLimits;
use crate::domain::answer_rule::{self, AnswerRule};
use crate::domain::attempt::{Attempt, AttemptError, ErrorKind};
use crate::domain::auth::{Auth, OAuth2};
use crate::domain::cloudevents::{self, RequestOrigin};
use crate::domain::diagnosis::Step;
use crate::domain::endpoint::Endpoint;
use crate::domain::time::Timestamp;

/// Makes attempts. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    caller: Caller,
    tokens: Arc<Tokens>,
    user_agent: HeaderValue,
    /// The name of this sender, for receivers of CloudEvents that are asked for consent.
    origin: RequestOrigin,
    response_body_limit: usize,
    longest_body: usize,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

/// What an attempt came to, without its times.
#[derive(Default)]
struct Outcome {
    status: Option<u16>,
    error: Option<AttemptError>,
    response_body: Bytes,
    address: Option<SocketAddr>,
    retry_after: Option<Duration>,
    permanent: bool,
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

/// What an attempt sends, and until when.
struct Order<'a> {
    endpoint: &'a Endpoint,
    outgoing: &'a Outgoing,
    at: Timestamp,
    deadline: Instant,
}

impl Transport {
    #[cfg(test)]
    pub fn new(limits: &DeliveryLimits) -> Result<Transport, TransportError> {
        Ok(Self::several(limits, 0, Arc::default())?.0)
    }

    /// A transport for this thread, and one for each of `others` threads. They share TLS sessions,
    /// look-ups of names and tokens, and no connections. Reads the root certificates. A quarter of the file
    /// descriptors that the process may open now is what idle connections may hold, so raise that
    /// limit before. All count in `figures`.
    pub fn several(
        limits: &DeliveryLimits,
        others: usize,
        figures: Arc<TransportFigures>,
    ) -> Result<(Transport, Vec<Transport>), TransportError> {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let kept = (descriptors / 4).clamp(16, 16_384);
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let sessions = kept.saturating_add(limits.max_in_flight);
        let connector = Connector::new(limits, sessions, figures)?;
        let user_agent = HeaderValue::from_str(&limits.user_agent);
        let user_agent = user_agent.map_err(TransportError::UserAgent)?;
        let kept_each = kept.div_ceil(others.saturating_add(1));
        let tokens = Arc::<Tokens>::default();
        let origin = handshake::origin();
        let make = || {
            Transport(Arc::new(Inner {
                caller: Caller {
                    pool: Pool::new(connector.clone(), limits, kept_each),
                    connector: connector.clone(),
                },
                tokens: tokens.clone(),
                user_agent: user_agent.clone(),
                origin: origin.clone(),
                response_body_limit: usize::try_from(limits.response_body_limit)
                    .unwrap_or(usize::MAX),
                longest_body: usize::try_from(limits.longest_body).unwrap_or(usize::MAX),
            }))
        };
        Ok((make(), (0..others).map(|_| make()).collect()))
    }

    /// The longest body that a template may make, in bytes.
    pub fn longest_body(&self) -> usize {
        self.0.longest_body
    }

    /// The figures of this transport and of those made together with it.
    pub fn figures(&self) -> &Arc<TransportFigures> {
        self.0.caller.connector.figures()
    }

    /// Resolves, judges, connects and speaks TLS as an attempt would, and sends nothing. Each step is
    /// bounded by the endpoint's timeout and by `delivery.connect_timeout`. Dropping the future
    /// abandons it.
    pub async fn diagnose(&self, endpoint: &Endpoint) -> Vec<Step> {
        diagnosis::diagnose(&self.0.caller, endpoint).await
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
            permanent: outcome.permanent,
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
        let order = Order {
            endpoint,
            outgoing,
            at,
            deadline,
        };
        if let Err(refused) = self.consented(&order).await {
            return refused;
        }
        let auth = endpoint.shaping.as_ref().and_then(|it| it.auth.as_ref());
        match auth.map(|auth| &**auth) {
            None => self.send(&order, None).await,
            // Boxed, since it is rare and its state is large.
            Some(Auth::OAuth2(oauth2)) => Box::pin(self.send_with_token(&order, oauth2)).await,
            Some(auth) => self.send(&order, auth.header().as_ref()).await,
        }
    }

    /// Has the receiver consent first, if it is to be asked and has not.
    async fn consented(&self, order: &Order<'_>) -> Result<(), Outcome> {
        let endpoint = order.endpoint;
        let shaping = endpoint.shaping.as_ref();
        let consents = shaping.and_then(|shaping| shaping.consents.as_ref());
        let Some(consents) = consents.filter(|consents| !consents.is_given(&endpoint.url)) else {
            return Ok(());
        };
        let (caller, deadline) = (&self.caller, order.deadline);
        let asking = handshake::ask(
            caller,
            endpoint,
            consents,
            &self.origin,
            &self.user_agent,
            deadline,
        );
        // Boxed, since it is rare and its state is large.
        let asked = Box::pin(asking).await;
        asked.map_err(|(fault, status)| Outcome {
            status,
            ..fault.into()
        })
    }

    /// Sends with a token, and once more with a new one if the receiver refuses a token that was
    /// there before this attempt.
    async fn send_with_token(&self, order: &Order<'_>, oauth2: &OAuth2) -> Outcome {
        let began = Instant::now();
        let slot = self.tokens.slot(order.endpoint);
        let asking = Asking {
            caller: &self.caller,
            oauth2,
            endpoint: order.endpoint,
            user_agent: &self.user_agent,
            deadline: order.deadline,
        };
        let token = match token::get(&slot, asking).await {
            Ok(token) => token,
            Err(fault) => return fault.into(),
        };
        let outcome = self.send(order, Some(&token.header)).await;
        if outcome.status != Some(StatusCode::UNAUTHORIZED.as_u16()) {
            return outcome;
        }
        slot.drop_token(&token);
        if token.fetched >= began {
            return outcome;
        }
        match token::get(&slot, asking).await {
            Ok(token) => {
                let outcome = self.send(order, Some(&token.header)).await;
                if outcome.status == Some(StatusCode::UNAUTHORIZED.as_u16()) {
                    slot.drop_token(&token);
                }
                outcome
            }
            Err(fault) => {
                let detail = format!("answered 401 Unauthorized; {}", fault.detail);
                Outcome {
                    error: Some(fault::attempt_error(fault.kind, &detail)),
                    ..outcome
                }
            }
        }
    }

    async fn send(&self, order: &Order<'_>, authorization: Option<&HeaderValue>) -> Outcome {
        let Order {
            endpoint, deadline, ..
        } = *order;
        let call = Call {
            url: &endpoint.url,
            endpoint,
            deadline,
        };
        // Signed once there is a connection: many attempts fail before that.
        let mut signed = None;
        let build = |form| {
            let outgoing = order.outgoing;
            let signatures = match signed.take() {
                Some(signatures) => signatures,
                None => request::sign(endpoint, outgoing, order.at)
                    .map_err(|unsigned| Fault::new(ErrorKind::Local, &unsigned.to_string()))?,
            };
            let signatures = signed.insert(signatures);
            let mut request = request::build(
                endpoint,
                outgoing,
                (order.at, signatures),
                form,
                &self.user_agent,
                authorization,
            )?;
            let shaping = endpoint.shaping.as_ref();
            if shaping.is_some_and(|shaping| shaping.consents.is_some()) {
                let headers = request.headers_mut();
                headers.insert(cloudevents::REQUEST_ORIGIN, self.origin.header());
            }
            Ok(request)
        };
        match self.caller.call(call, build).await {
            Ok(called) => {
                let kept = self.response_body_limit;
                let read = match rule_of(endpoint).is_some_and(AnswerRule::reads_body) {
                    true => kept.max(answer_rule::BODY_LIMIT),
                    false => kept,
                };
                let answer = called.read(read, deadline).await;
                outcome(answer, endpoint, kept)
            }
            Err(fault) => fault.into(),
        }
    }
}

/// What a response says about its attempt. At most `kept` bytes of its body are kept.
fn outcome(answer: Answer, endpoint: &Endpoint, kept: usize) -> Outcome {
    let (status, headers) = (answer.status, &answer.headers);
    let judged = match rule_of(endpoint) {
        Some(rule) => rule.judge(status.as_u16(), headers, &answer.body, clock::now()),
        None => answer::judge(status, headers),
    };
    let error = if judged.success {
        body_fault(&answer, endpoint.timeout)
    } else {
        let shown = || no_success(status, headers, endpoint);
        let detail = judged.why.unwrap_or_else(shown);
        Some(fault::attempt_error(ErrorKind::Status, &detail))
    };
    let response_body = match answer.body.get(..kept) {
        // A copy: the rest is not worth keeping.
        Some(first) if first.len() < answer.body.len() => Bytes::copy_from_slice(first),
        _ => answer.body,
    };
    Outcome {
        status: Some(status.as_u16()),
        error,
        response_body,
        address: answer.address,
        retry_after: judged.retry_after,
        permanent: judged.permanent,
    }
}

fn rule_of(endpoint: &Endpoint) -> Option<&AnswerRule> {
    endpoint.shaping.as_ref()?.answer.as_ref()
}

/// Why the body of a 2xx makes the attempt fail.
fn body_fault(answer: &Answer, timeout: Duration) -> Option<AttemptError> {
    let (target, address) = (answer.target(), answer.address);
    let fault = match &answer.end {
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
            fault::read(error, Stage::Exchange, &target.describe(address), address)
        }
    };
    Some(fault::attempt_error(fault.kind, &fault.detail))
}

fn no_success(status: StatusCode, headers: &HeaderMap, endpoint: &Endpoint) -> String {
    let reason = status.canonical_reason().unwrap_or("no standard status");
    let answered = format!("answered {} {reason}", status.as_u16());
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return answered;
    }
    match answer::location(headers, &endpoint.url) {
        Some(place) => format!("{answered}, to {place}; redirects are not followed"),
        None => format!("{answered}; redirects are not followed"),
    }
}
