//! One connection of HTTP/1.1, limited in time.
//!
//! At a stop, the answer to a request says `connection: close` (RFC 9112, section 9.6), and a
//! connection without a request is kept for [`LAST_CALL`], as one may already be on its way. A
//! client that does not send a whole request head within [`HEAD_TIMEOUT`] (idle keep-alive
//! connections included) is disconnected.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(doc)]
use super::accept::LAST_CALL;
use super::accept::Stop;
use super::body::Draining;

/// The longest request line and headers that are answered, in bytes as [`head_size`] counts.
pub const MAX_HEAD: usize = 16 * 1024;
/// For a whole request head, from the end of the answer before it.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Of what was read and not yet handled, per connection, in bytes.
pub const READ_BUFFER: usize = 64 * 1024;

/// Serves the requests of `stream`, one after the other, until it ends or `stop` says so.
pub async fn http1<S, H, F>(stream: S, mut stop: Stop, answer: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Body>>,
{
    let stopping = stop.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let body = Body::new(Draining::new(body, &parts.headers));
        let answered = answer(Request::from_parts(parts, body));
        let stopping = &stopping;
        async move {
            let mut answered = answered.await;
            if stopping.is_called() {
                let close = HeaderValue::from_static("close");
                answered.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(answered)
        }
    });
    let io = TokioIo::new(stream);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(READ_BUFFER)
        // `printf … | nc -N` closes its half and waits for the answer.
        .half_close(true)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.last_call() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The size of a request's method, path, query and headers, in bytes.
pub fn head_size<B>(request: &Request<B>) -> usize {
    let (method, uri) = (request.method().as_str(), request.uri());
    let line = method.len() + uri.path().len() + uri.query().map_or(0, str::len);
    let headers = request.headers().iter();
    headers
        .map(|(name, value)| name.as_str().len().saturating_add(value.len()))
        .fold(line, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::accept::{LAST_CALL, Serving};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    /// How long a client that sends this, and then nothing, is served; and what it is told.
    async fn served(sent: &str) -> (Duration, String) {
        let serving = Serving::new();
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let start = Instant::now();
        let answer = |_: Request<Body>| async { Response::new(Body::from("served")) };
        theirs.write_all(sent.as_bytes()).await.unwrap();
        http1(ours, serving.stop(), answer).await;
        let took = start.elapsed();
        let mut said = String::new();
        theirs.read_to_string(&mut said).await.unwrap();
        (took, said)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_whole_head_is_cut_off() {
        for sent in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n"] {
            let (took, said) = served(sent).await;
            assert_eq!(took, HEAD_TIMEOUT, "{sent:?}");
            assert!(!said.contains("served"), "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_kept_as_long_and_no_longer() {
        let (took, said) = served("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(took, HEAD_TIMEOUT);
        assert!(said.ends_with("served"), "{said}");
    }

    /// What a client is told that is accepted, and sends a request only this long after the stop.
    async fn told_after_a_stop(pause: Duration) -> String {
        let serving = Serving::new();
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let answer = |_: Request<Body>| async { Response::new(Body::from("served")) };
        let served = tokio::spawn(http1(ours, serving.stop(), answer));
        let stopped = tokio::spawn(serving.until(async {}, Duration::ZERO));
        stopped.await.unwrap();
        tokio::time::sleep(pause).await;
        // Refused once the connection is closed.
        let _ = theirs.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut said = String::new();
        theirs.read_to_string(&mut said).await.unwrap();
        served.await.unwrap();
        said
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_accepted_before_a_stop_is_answered_and_then_closed() {
        let said = told_after_a_stop(LAST_CALL / 2).await;
        assert!(said.contains("connection: close\r\n"), "{said}");
        assert!(said.ends_with("served"), "{said}");
        assert_eq!(told_after_a_stop(LAST_CALL * 2).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_used_has_a_last_call_too() {
        let serving = Serving::new();
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let answer = |_: Request<Body>| async { Response::new(Body::from("served")) };
        let served = tokio::spawn(http1(ours, serving.stop(), answer));
        let ask = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        theirs.write_all(ask).await.unwrap();
        let mut first = vec![0; 1024];
        let read = theirs.read(&mut first).await.unwrap();
        assert!(first.get(..read).unwrap().ends_with(b"served"));
        serving.until(async {}, Duration::ZERO).await;
        theirs.write_all(ask).await.unwrap();
        let mut said = String::new();
        theirs.read_to_string(&mut said).await.unwrap();
        served.await.unwrap();
        assert!(said.contains("connection: close\r\n"), "{said}");
    }
}
