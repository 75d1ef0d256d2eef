//! A loader: kept-alive HTTP/1.1 connections, one request at a time on each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What is posted to where, and the status that is wanted for it.
#[derive(Clone, Copy)]
pub struct Target {
    pub path: &'static str,
    pub content_type: &'static str,
    pub wanted: u16,
}

/// One JSON event.
pub const EVENT: Target = Target {
    path: "/v1/events",
    content_type: "application/json",
    wanted: 202,
};

/// Posts until `count` requests have been made or `span` is over. `body` makes the body of
/// the n-th one. Returns how many were answered as wanted, all of them, and how long that
/// took.
pub async fn post(
    address: SocketAddr,
    target: Target,
    concurrency: usize,
    (count, span): (u64, Duration),
    body: impl Fn(u64) -> Bytes + Send + Sync + 'static,
) -> (u64, Duration) {
    let (next, body) = (Arc::new(AtomicU64::new(0)), Arc::new(body));
    let mut connections = Vec::with_capacity(concurrency);
    for _ in 0..concurrency {
        connections.push(Connection::open(address).await);
    }
    let start = Instant::now();
    let posting = connections.into_iter().map(|mut connection| {
        let (next, body) = (next.clone(), body.clone());
        tokio::spawn(async move {
            let mut posted = 0;
            while start.elapsed() < span {
                let number = next.fetch_add(1, Relaxed);
                if number >= count {
                    break;
                }
                connection.post(target, body(number)).await;
                posted += 1;
            }
            posted
        })
    });
    let mut posted = 0;
    for posting in posting.collect::<Vec<_>>() {
        posted += posting.await.expect("no request failed");
    }
    (posted, start.elapsed())
}

/// One connection.
pub struct Connection(http1::SendRequest<Full<Bytes>>);

impl Connection {
    pub async fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("it is a TCP socket");
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.expect("nothing is sent yet");
        tokio::spawn(connection);
        Connection(sender)
    }

    /// Posts one body and waits for its answer.
    pub async fn post(&mut self, target: Target, body: Bytes) {
        let request = Request::post(target.path)
            .header("host", "localhost")
            .header("content-type", target.content_type)
            .body(Full::new(body))
            .expect("the request is well-formed");
        self.0.ready().await.expect("the connection is kept alive");
        let answer = self.0.send_request(request).await.expect("an answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a whole answer");
        assert_eq!(status, target.wanted, "{:?}", body.to_bytes());
    }
}
