//! Calls as providers make them, and as others do: kept-alive connections from addresses of one's own,
//! one request at a time on each.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;

/// A connection.
pub struct Caller(http1::SendRequest<Full<Bytes>>);

impl Caller {
    pub async fn open(from: IpAddr, to: SocketAddr) -> Caller {
        let socket = TcpSocket::new_v4().expect("there are files");
        socket
            .bind(SocketAddr::new(from, 0))
            .expect("it is an address of loopback");
        let stream = socket.connect(to).await.expect("it listens");
        stream.set_nodelay(true).expect("it is a TCP socket");
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.expect("nothing is sent yet");
        tokio::spawn(connection);
        Caller(sender)
    }

    /// The status of the answer.
    pub async fn call(&mut self, request: Request<Full<Bytes>>) -> u16 {
        self.0.ready().await.expect("the connection is kept alive");
        let answer = self.0.send_request(request).await.expect("an answer");
        let status = answer.status();
        answer.into_body().collect().await.expect("a whole answer");
        status.as_u16()
    }
}

/// How much is called.
#[derive(Clone, Copy)]
pub struct Load {
    pub calls: u64,
    pub span: Duration,
    /// Between two calls of a connection, at least.
    pub pace: Duration,
}

/// Calls until one of the limits is reached, on a connection from each address; `request` makes
/// the n-th request. All have to be answered with `wanted`. Returns how many were, and how long
/// that took.
pub async fn load(
    to: SocketAddr,
    from: &[IpAddr],
    limit: Load,
    wanted: u16,
    request: impl Fn(u64) -> Request<Full<Bytes>> + Send + Sync + 'static,
) -> (u64, Duration) {
    let (next, request) = (Arc::new(AtomicU64::new(0)), Arc::new(request));
    let mut callers = Vec::with_capacity(from.len());
    for address in from {
        callers.push(Caller::open(*address, to).await);
    }
    let start = Instant::now();
    let calling = callers.into_iter().map(|mut caller| {
        let (next, request) = (next.clone(), request.clone());
        tokio::spawn(async move {
            let mut called = 0_u32;
            while start.elapsed() < limit.span {
                let number = next.fetch_add(1, Relaxed);
                if number >= limit.calls {
                    break;
                }
                let due = start + limit.pace * called;
                if due > Instant::now() {
                    tokio::time::sleep_until(due.into()).await;
                }
                assert_eq!(caller.call(request(number)).await, wanted);
                called += 1;
            }
            u64::from(called)
        })
    });
    let mut called = 0;
    for calling in calling.collect::<Vec<_>>() {
        called += calling.await.expect("no call failed");
    }
    (called, start.elapsed())
}
