//! One request of an attempt: leases a connection, sends, and waits for the response.
//!
//! A request is sent again only if no byte of it was sent or the peer says that it has not processed
//! it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;
use url::Url;

use super::answer::{self, End};
use super::connect::Connector;
use super::destination::Target;
use super::exchange::{OutboundRequest, SendFault};
use super::fault::{self, Fault, Stage};
use super::figures::Phase;
use super::host::Host;
use super::pool::{Lease, Pool};
use super::request::Form;
use crate::domain::attempt::ErrorKind;
use crate::domain::endpoint::Endpoint;

/// How often an attempt sends a request again that the peer has not processed.
const MAX_RESENDS: usize = 3;

/// Sends requests over the connections of one thread.
pub(super) struct Caller {
    pub(super) connector: Connector,
    pub(super) pool: Pool,
}

/// Where a request goes, for which endpoint, and until when it is waited for.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) url: &'a Url,
    pub(super) endpoint: &'a Endpoint,
    pub(super) deadline: Instant,
}

/// A response of which the head has come.
pub(super) struct Called {
    response: Response<Incoming>,
    lease: Lease,
    host: Arc<Host>,
}

/// A response, read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// At most as many bytes as were asked for.
    pub(super) body: Bytes,
    pub(super) end: End,
    pub(super) address: Option<SocketAddr>,
    host: Arc<Host>,
}

impl Caller {
    /// Sends what `build` makes for the form of request that the connection takes. The error is
    /// never the answer's: there was none.
    pub(super) async fn call(
        &self,
        call: Call<'_>,
        mut build: impl FnMut(Form) -> Result<OutboundRequest, Fault>,
    ) -> Result<Called, Fault> {
        let mut resends = 0;
        loop {
            let host = self.pool.host(call.url, call.endpoint);
            let host = host.map_err(|reason| Fault::new(ErrorKind::Blocked, &reason))?;
            let lease = self.lease(&host, call).await?;
            let form = match lease.is_http2() {
                true => Form::Http2,
                false if self.connector.is_proxied() && !host.destination.is_https => {
                    Form::Absolute
                }
                false => Form::Origin,
            };
            let request = build(form)?;
            let target = &host.destination.target;
            match self.send(lease, request, target, call).await {
                Ok((response, lease)) => {
                    return Ok(Called {
                        response,
                        lease,
                        host,
                    });
                }
                Err(unsent) if unsent.is_unprocessed && resends < MAX_RESENDS => resends += 1,
                Err(unsent) => return Err(unsent.fault),
            }
        }
    }

    async fn lease(&self, host: &Arc<Host>, call: Call<'_>) -> Result<Lease, Fault> {
        // It lives on after the deadline, so that its progress can be told.
        let mut leasing = pin!(self.pool.lease(host));
        match tokio::time::timeout_at(call.deadline, &mut leasing).await {
            Ok(lease) => lease,
            Err(_) => Err(self.no_connection(host, call.endpoint)),
        }
    }

    async fn send(
        &self,
        mut lease: Lease,
        request: OutboundRequest,
        target: &Target,
        call: Call<'_>,
    ) -> Result<(Response<Incoming>, Lease), Unanswered> {
        let address = lease.address();
        let shown = || target.describe(address);
        let waiting = Phase::begin(&self.connector.figures().first_byte);
        let sent = tokio::time::timeout_at(call.deadline, lease.send(request)).await;
        drop(waiting);
        match sent {
            Ok(Ok(response)) => Ok((response, lease)),
            Ok(Err(SendFault { error, is_unsent })) => {
                let ended = lease.ended();
                lease.distrust();
                if let Some(refused) = ended.fault() {
                    return Err(Unanswered {
                        fault: fault::read(refused, Stage::Exchange, &shown(), address),
                        is_unprocessed: is_unsent && !fault::refuses_client(refused),
                    });
                }
                let wants_http1 = fault::wants_http1(&error) && self.pool.use_http1(call.url);
                Err(Unanswered {
                    fault: fault::read(&error, Stage::Exchange, &shown(), address),
                    is_unprocessed: wants_http1 || is_unsent || fault::is_unprocessed(&error),
                })
            }
            Err(_) => {
                lease.distrust();
                let (shown, within) = (shown(), call.endpoint.timeout);
                let detail = format!(
                    "no answer from {shown} within {within:?} (waiting for response headers)"
                );
                let fault = Fault::new(ErrorKind::Timeout, &detail);
                Err(Unanswered {
                    fault: Fault { address, ..fault },
                    is_unprocessed: false,
                })
            }
        }
    }

    /// The time was up before there was a connection.
    fn no_connection(&self, host: &Host, endpoint: &Endpoint) -> Fault {
        let (target, progress) = (&host.destination.target, host.progress());
        let address = self.connector.dialled(target, &progress);
        let doing = progress.phase().describe(&target.describe(address));
        let detail = format!("no answer within {:?} ({doing})", endpoint.timeout);
        let fault = Fault::new(ErrorKind::Timeout, &detail);
        Fault { address, ..fault }
    }
}

/// Why a request got no response.
struct Unanswered {
    fault: Fault,
    /// The peer has not processed it, and the attempt may send it again.
    is_unprocessed: bool,
}

impl Called {
    /// Reads up to `limit` bytes of the body, until `deadline`.
    pub(super) async fn read(self, limit: usize, deadline: Instant) -> Answer {
        let (lease, host) = (self.lease, self.host);
        let (head, body) = self.response.into_parts();
        let (status, headers, address) = (head.status, head.headers, lease.address());
        let declared = answer::declared(status, &headers);
        let (body, end) = answer::read(body, declared, limit, deadline).await;
        match &end {
            End::Read => lease.give_back(),
            End::Cut => drop(lease),
            End::TimedOut | End::Short { .. } | End::Broken(_) => lease.distrust(),
        }
        Answer {
            status,
            headers,
            body,
            end,
            address,
            host,
        }
    }
}

impl Answer {
    pub(super) fn target(&self) -> &Target {
        &self.host.destination.target
    }
}
