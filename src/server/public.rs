//! The public listener: anybody may call it, so it has slots, limits and TLS of its own, and
//! what it serves is not the API.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tokio::net::{TcpListener, TcpStream};

use super::accept::{Serving, Slots, Stop};
use super::connection::{MAX_HEAD, head_size, http1};
use super::crowd::Crowd;
use super::remote::{Remote, TrustedProxies};
use super::stall::WriteTimeout;
use super::tls::Tls;

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// One connection for this many of the files that the process may open.
const SHARE: usize = 4;
/// Connections at once from one address; one more is closed as it comes.
const MAX_PER_ADDRESS: usize = 64;

/// How connections are bounded, and who may speak for others.
#[derive(Clone, Debug)]
pub struct Limits {
    slots: Slots,
    crowd: Arc<Crowd>,
    proxies: TrustedProxies,
}

impl Limits {
    /// 1,024 connections and 64 an address; those of `proxies` are many callers and not counted
    /// by address.
    pub fn new(proxies: TrustedProxies) -> Limits {
        Limits {
            slots: Slots::new(MAX_CONNECTIONS, SHARE),
            crowd: Crowd::new(MAX_PER_ADDRESS),
            proxies,
        }
    }
}

/// Serves until `shutdown` is done; then accepts no connections, finishes the requests under
/// way within `drain`, and closes the rest. `answer` is asked for each request whose head is not
/// over [`MAX_HEAD`].
pub async fn serve<H, F>(
    listeners: Vec<TcpListener>,
    tls: Option<Tls>,
    limits: Limits,
    answer: H,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) where
    H: Fn(Request<Body>, Remote) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut serving = Serving::new();
    for listener in listeners {
        let (tls, limits, answer) = (tls.clone(), limits.clone(), answer.clone());
        let slots = limits.slots.clone();
        serving.accept(listener, &slots, move |stream, stop| {
            connection(stream, stop, tls.clone(), limits.clone(), answer.clone())
        });
    }
    serving.until(shutdown, drain).await;
}

/// Serves one connection, if its address may have one more.
async fn connection<H, F>(
    stream: WriteTimeout<TcpStream>,
    mut stop: Stop,
    tls: Option<Tls>,
    limits: Limits,
    answer: H,
) where
    H: Fn(Request<Body>, Remote) -> F,
    F: Future<Output = Response<Body>>,
{
    // It fails when the caller is gone already.
    let Ok(peer) = stream.get_ref().peer_addr().map(|peer| peer.ip()) else {
        return;
    };
    let Limits { crowd, proxies, .. } = limits;
    let _place = match proxies.contain(peer) {
        true => None,
        false => match crowd.enter(peer) {
            Some(place) => Some(place),
            None => return,
        },
    };
    let requests = Requests {
        peer,
        tls: tls.is_some(),
        proxies,
        answer,
    };
    let Some(tls) = tls else {
        return http1(stream, stop, |request| requests.answer(request)).await;
    };
    let accepted = tokio::select! {
        accepted = tls.accept(stream) => accepted,
        () = stop.wait() => return,
    };
    match accepted {
        Ok(stream) => http1(stream, stop, |request| requests.answer(request)).await,
        Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
    }
}

/// The requests of one connection.
struct Requests<H> {
    peer: IpAddr,
    tls: bool,
    proxies: TrustedProxies,
    answer: H,
}

impl<H> Requests<H> {
    fn answer<F>(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + use<F, H>
    where
        H: Fn(Request<Body>, Remote) -> F,
        F: Future<Output = Response<Body>>,
    {
        let answered = (head_size(&request) <= MAX_HEAD).then(|| {
            let headers = request.headers();
            let remote = self.proxies.remote(self.peer, self.tls, headers);
            (self.answer)(request, remote)
        });
        async {
            match answered {
                Some(answered) => answered.await,
                None => {
                    let mut refused = Response::new(Body::empty());
                    *refused.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                    refused
                }
            }
        }
    }
}
