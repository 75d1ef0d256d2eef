//! Attempts against real servers on loopback that do what servers do, and worse.

mod addresses;
mod answers;
mod encrypted;
mod identities;
mod shared;
mod tokens;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Outgoing, Transport};
use crate::config::DeliveryLimits;
use crate::domain::attempt::{Attempt, ErrorKind};
use crate::domain::endpoint::{Endpoint, EndpointId, Ordering, Source, TypePattern};
use crate::domain::event::{EventId, EventType, Tenant};
use crate::domain::retry::RetryPolicy;

const LOOPBACK: &str = "127.0.0.0/8";

fn limits() -> DeliveryLimits {
    DeliveryLimits {
        max_in_flight: 512,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(20),
        response_body_limit: 4096,
        longest_body: 1 << 20,
        allow_networks: vec![LOOPBACK.parse().unwrap()],
        allow_http: false,
        proxy: None,
        ca_file: None,
        ca_digest: None,
        threads: 1,
        http2: true,
        connection_max_age: Duration::from_secs(300),
        user_agent: "outboxd/TEST".to_owned(),
    }
}

fn transport() -> Transport {
    Transport::new(&limits()).unwrap()
}

fn endpoint(url: impl AsRef<str>) -> Endpoint {
    Endpoint {
        id: EndpointId::new("orders").unwrap(),
        tenant: Tenant::default(),
        url: url.as_ref().parse().unwrap(),
        types: vec![TypePattern::Any],
        secrets: Vec::new(),
        headers: Arc::default(),
        max_in_flight: 16,
        rate_limit: None,
        ordering: Ordering::None,
        timeout: Duration::from_secs(20),
        http2: true,
        retry: RetryPolicy::default().into(),
        allow_networks: Vec::new(),
        enabled: true,
        source: Source::Toml,
        description: String::new(),
        shaping: None,
        applied_as: None,
    }
}

/// With a timeout short enough to be waited for.
fn impatient(url: impl AsRef<str>) -> Endpoint {
    Endpoint {
        timeout: Duration::from_secs(1),
        ..endpoint(url)
    }
}

fn event() -> Outgoing {
    Outgoing {
        id: EventId(1 << 80),
        event_type: None,
        content_type: Some(http::HeaderValue::from_static("application/json")),
        rendered: Vec::new(),
        event_headers: Vec::new(),
        body: Bytes::from_static(b"{\"type\":\"order.created\"}"),
    }
}

/// A server that does the same on each connection and counts them.
struct Server {
    address: SocketAddr,
    accepted: watch::Receiver<usize>,
}

impl Server {
    async fn start<F, Done>(script: F) -> Server
    where
        F: Fn(TcpStream) -> Done + Send + 'static,
        Done: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, accepted) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                tokio::spawn(script(stream));
            }
        });
        Server { address, accepted }
    }

    /// Answers every request with the same bytes, connections kept.
    async fn answering(answer: &'static str) -> Server {
        Server::start(move |mut stream| async move {
            while request(&mut stream).await.is_some() {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/hook?token=HUSH", self.address)
    }

    fn connections(&self) -> usize {
        *self.accepted.borrow()
    }

    /// Waits until so many connections have been accepted.
    fn accepts(&self, count: usize) -> impl Future<Output = ()> + Send + use<> {
        let mut accepted = self.accepted.clone();
        async move {
            let enough = accepted.wait_for(|accepted| *accepted >= count);
            let waiting = tokio::time::timeout(Duration::from_secs(20), enough);
            assert!(matches!(waiting.await, Ok(Ok(_))), "too few connections");
        }
    }
}

/// Reads one request: its head and the body that content-length promises.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// The kind and detail of a failed attempt. No detail ever shows the URL's query.
fn fault(attempt: &Attempt) -> (ErrorKind, &str) {
    let error = attempt.error.as_ref().expect("the attempt succeeded");
    assert!(!error.detail.contains("HUSH"), "{}", error.detail);
    (error.kind, &error.detail)
}

/// Waits until the other side closed the connection.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let reading = stream.read_to_end(&mut rest);
    let end = tokio::time::timeout(Duration::from_secs(10), reading).await;
    assert!(end.is_ok(), "the connection was left open");
}
