//! The public listener: anybody may call it, so it has slots, limits and TLS of its own, and
//! what it serves is not the API.

use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tokio::net::{TcpListener, TcpStream};

use super::accept::{OpenConnections, Serving, Slots, Stop};
use super::connection::{MAX_HEAD, head_size, http1};
use super::crowd::Crowd;
use super::remote::{Remote, TrustedProxies};
use super::stall::WriteTimeout;
use super::tls::Tls;
use crate::domain::repeats::Repeats;

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
    refused: Arc<Refused>,
}

/// Connections over what an address may have.
#[derive(Debug)]
struct Refused {
    began: Instant,
    repeats: Mutex<Repeats>,
}

impl Limits {
    /// 1,024 connections and 64 an address; those of `proxies` are many callers and not counted
    /// by address.
    pub fn new(proxies: TrustedProxies, open: OpenConnections) -> Limits {
        Limits {
            slots: Slots::new(MAX_CONNECTIONS, SHARE, open),
            crowd: Crowd::new(MAX_PER_ADDRESS),
            proxies,
            refused: Arc::new(Refused {
                began: Instant::now(),
                repeats: Mutex::default(),
            }),
        }
    }
}

impl Refused {
    /// Says so now and then: the address may be that of a proxy that is not known as one.
    fn tell(&self, address: IpAddr) {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = repeats.happened(self.began.elapsed()) {
            tracing::warn!(
                %address,
                times,
                "an address has all connections that it may have at the public listener, and one more \
                 was closed; if it is a proxy, name it in listen.trusted_proxies"
            );
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
    let Limits {
        crowd,
        proxies,
        refused,
        ..
    } = limits;
    let _place = match proxies.contain(peer) {
        true => None,
        false => match crowd.enter(peer) {
            Some(place) => Some(place),
            None => return refused.tell(peer),
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
        () = stop.last_call() => return,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tls::tests::{Certified, connect};
    use crate::server::tls::{LOOK, Tls};
    use std::net::SocketAddr;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    const DRAIN: Duration = Duration::from_secs(30);
    const PATIENCE: Duration = Duration::from_secs(30);

    struct Running {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        served: JoinHandle<()>,
    }

    /// A server that answers with whom it takes the caller for; 2 connections an address.
    async fn run(trusted: &[&str], tls: Option<Tls>) -> Running {
        let trusted = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let limits = Limits {
            crowd: Crowd::new(2),
            ..Limits::new(TrustedProxies::new(trusted), OpenConnections::default())
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let answer = |_: Request<Body>, remote: Remote| async move {
            Response::new(Body::from(format!("{} {}", remote.ip, remote.https)))
        };
        let shutdown = async { drop(stopped.await) };
        let served = tokio::spawn(serve(vec![listener], tls, limits, answer, shutdown, DRAIN));
        Running {
            address,
            stop,
            served,
        }
    }

    impl Running {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// What the server says on a connection of its own.
        async fn ask(&self, headers: &str) -> String {
            ask(&mut self.connect().await, headers).await
        }
    }

    /// Sends a request, and reads until its answer is there, or the end.
    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, headers: &str) -> String {
        let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        // A server that has closed already is seen below.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut said = Vec::new();
        let whole = |said: &[u8]| {
            let text = String::from_utf8_lossy(said).into_owned();
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))?;
            (body.len() >= length.parse().ok()?).then_some(text)
        };
        let reading = async {
            loop {
                if let Some(text) = whole(&said) {
                    return text;
                }
                if !stream.read_buf(&mut said).await.is_ok_and(|read| read > 0) {
                    return String::new();
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap()
    }

    #[tokio::test]
    async fn an_address_has_so_many_connections_and_one_more_is_closed() {
        let server = run(&[], None).await;
        let (mut first, mut second) = (server.connect().await, server.connect().await);
        let said = ask(&mut first, "").await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        assert!(!ask(&mut second, "").await.is_empty());
        assert_eq!(server.ask("").await, "");
        assert!(!ask(&mut second, "").await.is_empty(), "it goes on");
        drop(first);
        // The server sees at its own time that it is gone.
        let admitted = async { while server.ask("").await.is_empty() {} };
        tokio::time::timeout(PATIENCE, admitted).await.unwrap();
    }

    #[tokio::test]
    async fn a_trusted_proxy_s_connections_are_many_callers() {
        let server = run(&["127.0.0.0/8"], None).await;
        let headers = "x-forwarded-for: 10.0.0.1, 203.0.113.9\r\nx-forwarded-proto: https\r\n";
        let mut open = Vec::new();
        for _ in 0..4 {
            let mut stream = server.connect().await;
            let said = ask(&mut stream, headers).await;
            assert!(said.ends_with("\r\n\r\n203.0.113.9 true"), "{said}");
            open.push(stream);
        }
        let said = server.ask("").await;
        assert!(said.ends_with("\r\n\r\n127.0.0.1 false"), "{said}");
    }

    #[tokio::test]
    async fn whoever_is_not_trusted_is_not_believed() {
        let server = run(&["10.0.0.0/8"], None).await;
        let headers = "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n";
        let said = server.ask(headers).await;
        assert!(said.ends_with("\r\n\r\n127.0.0.1 false"), "{said}");
    }

    #[tokio::test]
    async fn a_large_head_is_refused_without_a_word() {
        let server = run(&[], None).await;
        let said = server
            .ask(&format!("x: {}\r\n", "x".repeat(MAX_HEAD)))
            .await;
        assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
        assert!(said.ends_with("\r\n\r\n"), "{said}");
    }

    #[tokio::test]
    async fn over_tls_the_caller_came_by_https_and_nobody_waits_for_a_handshake() {
        let certified = Certified::new();
        let certificate = certified.renew();
        let tls = Tls::open(certified.files.clone(), LOOK).unwrap();
        let server = run(&[], Some(tls)).await;
        let mut stalled = server.connect().await;
        stalled.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
        let mut stream = connect(server.connect().await, &certificate).await.unwrap();
        let said = ask(&mut stream, "").await;
        assert!(said.ends_with("\r\n\r\n127.0.0.1 true"), "{said}");
        // A stop waits for a handshake or an idle connection no longer than the last call.
        server.stop.send(()).unwrap();
        let stopped = tokio::time::timeout(Duration::from_secs(5), server.served);
        stopped.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn plain_http_is_not_answered_where_tls_is() {
        let certified = Certified::new();
        let tls = Tls::open(certified.files.clone(), LOOK).unwrap();
        let server = run(&[], Some(tls)).await;
        assert_eq!(server.ask("").await, "");
    }
}
