//! A receiver of webhooks on loopback, used by `listen` and `demo`.
//!
//! HTTP/1.1 only. It limits connections, headers, bodies and the time they may take.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock;
use crate::domain::signature::{self, DEFAULT_TOLERANCE, Headers, NotVerified, Secret};
use crate::domain::time::Timestamp;

/// Connections at once; more wait.
const CONNECTIONS: usize = 1024;
/// For the headers, and for the body, of one request.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of one request's body; more is answered 413.
pub const MAX_BODY: usize = 64 << 20;
/// After `accept` failed, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One request, whole.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: Timestamp,
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What it is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl From<StatusCode> for Reply {
    fn from(status: StatusCode) -> Self {
        Reply {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }
}

/// The result of checking a request's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Verified,
    Wrong(NotVerified),
    /// It carries no signature.
    Unsigned,
    /// It carries one, but there is no secret to check it with.
    Unchecked,
}

impl Received {
    /// A header that is text, else nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Checks the signature with the standard's tolerance, by the clock at its arrival.
    pub fn verdict(&self, secrets: &[Secret]) -> Verdict {
        let Some(signature) = self.header("webhook-signature") else {
            return Verdict::Unsigned;
        };
        if secrets.is_empty() {
            return Verdict::Unchecked;
        }
        let headers = Headers {
            id: self.header("webhook-id").unwrap_or_default(),
            timestamp: self.header("webhook-timestamp").unwrap_or_default(),
            signature,
        };
        match signature::verify(
            secrets,
            &[],
            headers,
            &self.body,
            self.at,
            DEFAULT_TOLERANCE,
        ) {
            Ok(()) => Verdict::Verified,
            Err(reason) => Verdict::Wrong(reason),
        }
    }
}

/// A receiver that listens but does not answer yet.
pub struct Receiver {
    listener: TcpListener,
    address: SocketAddr,
}

impl Receiver {
    /// Listens on `address`; port 0 is a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Receiver> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Receiver { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop`; what is being answered then is broken off.
    pub async fn serve<F, Answering>(self, answer: F, stop: impl Future<Output = ()>)
    where
        F: Fn(Received) -> Answering + Clone + Send + Sync + 'static,
        Answering: Future<Output = Reply> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let accepting = async {
                // Never closed, so there is always a place to come.
                let place = places.clone().acquire_owned().await.ok();
                (place, self.listener.accept().await)
            };
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                (place, accepted) = accepting => match accepted {
                    Ok((stream, _)) => {
                        let answer = answer.clone();
                        connections.spawn(async move {
                            let _place = place;
                            converse(stream, answer).await;
                        });
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
            }
        }
        connections.shutdown().await;
    }
}

async fn converse<F, Answering>(stream: TcpStream, answer: F)
where
    F: Fn(Received) -> Answering + Clone + Send + Sync + 'static,
    Answering: Future<Output = Reply> + Send + 'static,
{
    let answering = service_fn(move |request| {
        let answer = answer.clone();
        async move {
            let reply = match receive(request).await {
                Ok(received) => answer(received).await,
                Err(refusal) => refusal.into(),
            };
            let mut response = Response::new(Full::new(reply.body));
            *response.status_mut() = reply.status;
            *response.headers_mut() = reply.headers;
            Ok::<_, Infallible>(response)
        }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT);
    // A connection that breaks is the other side's matter.
    let _ = server
        .serve_connection(TokioIo::new(stream), answering)
        .await;
}

async fn receive(request: Request<Incoming>) -> Result<Received, StatusCode> {
    let (head, body) = request.into_parts();
    let reading = Limited::new(body, MAX_BODY).collect();
    let body = match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(Err(_)) => return Err(StatusCode::BAD_REQUEST),
        Err(_) => return Err(StatusCode::REQUEST_TIMEOUT),
    };
    Ok(Received {
        at: clock::now(),
        method: head.method,
        path: head
            .uri
            .path_and_query()
            .map_or("/".to_owned(), |path| path.to_string()),
        headers: head.headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{mpsc, oneshot};

    fn received(secret: Option<&Secret>, age: Duration) -> Received {
        let at = clock::now();
        let sent = at.saturating_sub(age).as_secs();
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "evt_1".parse().unwrap());
        headers.insert("webhook-timestamp", sent.into());
        if let Some(secret) = secret {
            let signature = secret.sign("evt_1", sent, b"{}").to_string();
            headers.insert("webhook-signature", signature.parse().unwrap());
        }
        Received {
            at,
            method: Method::POST,
            path: "/".to_owned(),
            headers,
            body: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn the_verdict_names_what_it_is() {
        let (ours, other) = ([Secret::generate([1; 32])], Secret::generate([2; 32]));
        let now = Duration::ZERO;
        assert_eq!(
            received(Some(&ours[0]), now).verdict(&ours),
            Verdict::Verified
        );
        assert_eq!(
            received(Some(&other), now).verdict(&ours),
            Verdict::Wrong(NotVerified::Mismatch)
        );
        assert!(matches!(
            received(Some(&ours[0]), Duration::from_secs(301)).verdict(&ours),
            Verdict::Wrong(NotVerified::TooOld { .. })
        ));
        assert_eq!(received(None, now).verdict(&ours), Verdict::Unsigned);
        assert_eq!(received(Some(&other), now).verdict(&[]), Verdict::Unchecked);
    }

    #[tokio::test]
    async fn requests_arrive_whole_and_are_answered_until_it_stops() {
        let receiver = Receiver::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let url = format!("http://{}/a?b=c", receiver.address());
        let ((stop, stopped), (tell, mut told)) = (oneshot::channel::<()>(), mpsc::channel(9));
        let answer = move |received: Received| {
            let tell = tell.clone();
            async move {
                tell.send(received).await.unwrap();
                Reply {
                    body: Bytes::from_static(b"made"),
                    ..Reply::from(StatusCode::CREATED)
                }
            }
        };
        let serving = tokio::spawn(receiver.serve(answer, async {
            let _ = stopped.await;
        }));
        let tls = crate::transport::tls::client_config(None).unwrap();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy();
        let client = client.build().unwrap();
        let request = || client.post(&url).header("x-a", "b").body("hello").send();
        let response = request().await.unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.bytes().await.unwrap(), "made");
        let received = told.recv().await.unwrap();
        assert_eq!(
            (received.method.as_str(), received.path.as_str()),
            ("POST", "/a?b=c")
        );
        assert_eq!(
            (received.header("x-a"), &received.body[..]),
            (Some("b"), &b"hello"[..])
        );
        drop(stop);
        serving.await.unwrap();
        assert!(request().await.is_err());
    }
}
