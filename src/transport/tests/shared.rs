//! Connections of HTTP/2, which attempts share.

use std::convert::Infallible;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::encrypted::{Authority, BOTH, https, serving};
use super::*;
use crate::transport::http2::QUIET;

// Frames of HTTP/2, by hand (RFC 9113, 4.1 and 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Reads the client's preface, and its frames until a request has begun.
async fn until_headers(stream: &mut (impl AsyncRead + Unpin)) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == HEADERS {
            return;
        }
    }
}

/// Speaks HTTP/2 with a client that offers it, and answers each request as `answer` does.
async fn serving_h2<F>(
    acceptor: TlsAcceptor,
    answer: impl Fn(h2::server::SendResponse<bytes::Bytes>) -> F + Clone + Send + Sync + 'static,
) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    Server::start(move |stream| {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                let ok = service_fn(
                    |request: hyper::Request<hyper::body::Incoming>| async move {
                        let version = format!("{:?}", request.version());
                        Ok::<_, Infallible>(hyper::Response::new(version))
                    },
                );
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), ok).await;
                return;
            }
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, respond))) = connection.accept().await {
                tokio::spawn(answer(respond));
            }
        }
    })
    .await
}

/// A server of HTTP/2 that takes a few requests at once on a connection, and answers those for
/// `/slow` when its gate opens.
struct Few {
    server: Server,
    /// Opens when it is closed, as semaphores have it.
    gate: Arc<Semaphore>,
    /// A request for `/slow` has come.
    slow_came: Arc<Notify>,
}

impl Few {
    async fn start(acceptor: TlsAcceptor, streams: u32) -> Few {
        let (gate, slow_came) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
        let (waiting, came) = (gate.clone(), slow_came.clone());
        let server = Server::start(move |stream| {
            let (acceptor, waiting, came) = (acceptor.clone(), waiting.clone(), came.clone());
            async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let mut settings = h2::server::Builder::new();
                settings.max_concurrent_streams(streams);
                let shaking = settings.handshake::<_, Bytes>(stream);
                let mut connection = shaking.await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (waiting, came) = (waiting.clone(), came.clone());
                    tokio::spawn(async move {
                        if request.uri().path() == "/slow" {
                            came.notify_one();
                            let _ = waiting.acquire().await;
                        }
                        let _ = respond.send_response(http::Response::new(()), true);
                    });
                }
            }
        });
        Few {
            server: server.await,
            gate,
            slow_came,
        }
    }

    fn slow(&self) -> Endpoint {
        let mut endpoint = https(&self.server, "localhost");
        endpoint.url.set_path("/slow");
        endpoint
    }
}

/// Attempts at once.
fn spawn(transport: &Transport, endpoint: &Endpoint, count: usize) -> Vec<JoinHandle<Attempt>> {
    let one = |_| {
        let (transport, endpoint, event) = (transport.clone(), endpoint.clone(), event());
        tokio::spawn(async move { transport.attempt(&endpoint, &event).await })
    };
    (0..count).map(one).collect()
}

#[track_caller]
fn assert_ok(attempt: Attempt) {
    assert_eq!((attempt.status, attempt.error), (Some(200), None));
}

#[tokio::test]
async fn an_http2_answer_that_ends_too_soon_is_a_protocol_fault() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let server = Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            until_headers(&mut stream).await;
            // `:status: 200`, and `content-length: 100` (RFC 7541, 6.1 and 6.2.2).
            let head = [&[0x88, 0x0f, 0x0d, 3][..], b"100"].concat();
            let no_error = [0; 4];
            let frames = [
                frame(SETTINGS, 0, 0, b""),
                frame(HEADERS, END_HEADERS, 1, &head),
                frame(DATA, 0, 1, b"four"),
                frame(RST_STREAM, 0, 1, &no_error),
            ];
            stream.write_all(&frames.concat()).await.unwrap();
            // It stays until the other side has gone.
            while stream.read(&mut [0; 256]).await.is_ok_and(|read| read > 0) {}
        }
    })
    .await;
    let attempt = authority
        .transport()
        .attempt(&https(&server, "localhost"), &event())
        .await;
    let (kind, detail) = fault(&attempt);
    assert_eq!(
        (kind, attempt.status),
        (ErrorKind::Protocol, Some(200)),
        "{detail}"
    );
    assert!(
        detail.ends_with("ended its answer after 4 of 100 bytes"),
        "{detail}"
    );
    assert_eq!(attempt.response_body, "four");
}

#[tokio::test]
async fn a_host_that_wants_http_1_1_gets_it() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let server = serving_h2(acceptor, |mut respond| async move {
        respond.send_reset(h2::Reason::HTTP_1_1_REQUIRED);
    })
    .await;
    let transport = authority.transport();
    for _ in 0..2 {
        let attempt = transport
            .attempt(&https(&server, "localhost"), &event())
            .await;
        assert_eq!((attempt.status, attempt.error), (Some(200), None));
        assert_eq!(attempt.response_body, "HTTP/1.1");
    }
    assert_eq!(server.connections(), 2, "it is remembered");
}

#[tokio::test]
async fn a_shared_connection_whose_peer_stopped_answering_is_left() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let seen = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    // The first connection answers one request and none after it; it goes on reading, and
    // acknowledges every PING.
    let server = serving_h2(acceptor, move |mut respond| {
        let n = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            if (1..=3).contains(&n) {
                std::future::pending::<()>().await;
            }
            let _ = respond.send_response(http::Response::new(()), true);
        }
    })
    .await;
    let transport = authority.transport();
    let patient = https(&server, "localhost");
    let impatient = Endpoint {
        timeout: Duration::from_millis(300),
        ..https(&server, "localhost")
    };
    let attempt = transport.attempt(&patient, &event()).await;
    assert_eq!((attempt.status, attempt.error), (Some(200), None));
    // Three at once are lost on it, and no more.
    let event = event();
    let lost = || transport.attempt(&impatient, &event);
    let lost = tokio::join!(lost(), lost(), lost());
    for attempt in [&lost.0, &lost.1, &lost.2] {
        assert_eq!(fault(attempt).0, ErrorKind::Timeout);
    }
    assert_eq!(server.connections(), 1);
    for _ in 0..3 {
        let attempt = transport.attempt(&patient, &event).await;
        assert_eq!((attempt.status, attempt.error), (Some(200), None));
    }
    assert_eq!(
        server.connections(),
        2,
        "one new connection, and it is kept"
    );
}

#[tokio::test]
async fn a_request_that_was_not_looked_at_is_sent_again() {
    let authority = Authority::new("ours");
    let seen = Arc::new(AtomicUsize::new(0));
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let server = serving_h2(acceptor, move |mut respond| {
        let n = seen.fetch_add(1, Atomic::Relaxed);
        async move {
            match n {
                1 => respond.send_reset(h2::Reason::REFUSED_STREAM),
                _ => drop(respond.send_response(http::Response::new(()), true)),
            }
        }
    })
    .await;
    let transport = authority.transport();
    for _ in 0..3 {
        let attempt = transport
            .attempt(&https(&server, "localhost"), &event())
            .await;
        assert_eq!((attempt.status, attempt.error), (Some(200), None));
    }
    assert_eq!(server.connections(), 2, "on another connection");
}

#[tokio::test]
async fn shared_connections_beyond_the_bound_are_closed() {
    let authority = Authority::new("ours");
    let server = serving(authority.acceptor("localhost", 2100, BOTH)).await;
    let transport = authority.transport();
    let mut inner = Arc::into_inner(transport.0).unwrap();
    let limits = DeliveryLimits {
        ca_file: Some(authority.file.path().to_owned()),
        ..limits()
    };
    let connector = inner.caller.connector.clone();
    inner.caller.pool = super::super::pool::Pool::new(connector, &limits, 0);
    let transport = Transport(Arc::new(inner));
    for n in 1..=3 {
        let attempt = transport
            .attempt(&https(&server, "localhost"), &event())
            .await;
        assert_eq!(attempt.error, None);
        assert_eq!(server.connections(), n);
    }
}

#[tokio::test]
async fn a_peer_that_answers_without_taking_the_body_loses_its_connection() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let (gone, mut ends) = tokio::sync::mpsc::unbounded_channel();
    // It answers each head, and has no room for any body (RFC 9113, 6.5.2).
    let server = Server::start(move |stream| {
        let (acceptor, gone) = (acceptor.clone(), gone.clone());
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let no_room = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
            stream.write_all(&no_room).await.unwrap();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                stream.read_exact(&mut vec![0; length]).await.unwrap();
                if head[3] == HEADERS {
                    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    let answer = frame(HEADERS, END_HEADERS | 1, id, &[0x88]);
                    stream.write_all(&answer).await.unwrap();
                }
            }
            gone.send(()).unwrap();
        }
    })
    .await;
    let transport = authority.transport();
    let endpoint = https(&server, "localhost");
    let begin = std::time::Instant::now();
    while server.connections() < 2 {
        let attempt = transport.attempt(&endpoint, &event()).await;
        assert_eq!((attempt.status, attempt.error), (Some(200), None));
        assert!(begin.elapsed() < Duration::from_secs(20), "it is used");
    }
    let end = tokio::time::timeout(Duration::from_secs(20), ends.recv());
    assert!(end.await.is_ok(), "the connection stays open");
}

#[tokio::test]
async fn a_slow_endpoint_costs_its_neighbours_nothing_with_one_stream_at_a_time() {
    let authority = Authority::new("ours");
    let few = Few::start(authority.acceptor("localhost", 2100, BOTH), 1).await;
    let transport = authority.transport();
    let (quick, slow, event) = (https(&few.server, "localhost"), few.slow(), event());
    let hanging = transport.attempt(&slow, &event);
    let neighbours = async {
        // Those that come while the first connection is opened, and those that come after.
        for _ in 0..3 {
            let (one, two) = tokio::join!(
                transport.attempt(&quick, &event),
                transport.attempt(&quick, &event)
            );
            assert_ok(one);
            assert_ok(two);
        }
        few.gate.close();
    };
    let (attempt, ()) = tokio::join!(hanging, neighbours);
    assert_ok(attempt);
    assert!((2..=3).contains(&few.server.connections()));
}

#[tokio::test]
async fn no_more_is_sent_on_a_connection_than_its_peer_takes() {
    let authority = Authority::new("ours");
    let few = Few::start(authority.acceptor("localhost", 2100, BOTH), 10).await;
    let transport = authority.transport();
    for _ in 0..2 {
        let attempts = spawn(&transport, &few.slow(), 30);
        few.server.accepts(3).await;
        few.gate.close();
        for attempt in attempts {
            assert_ok(attempt.await.unwrap());
        }
    }
    assert_eq!(few.server.connections(), 3);
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_answered_gets_no_more() {
    let authority = Authority::new("ours");
    let few = Few::start(authority.acceptor("localhost", 2100, BOTH), 100).await;
    let transport = authority.transport();
    let hanging = spawn(&transport, &few.slow(), 1);
    few.slow_came.notified().await;
    tokio::time::pause();
    tokio::time::advance(QUIET + Duration::from_millis(1)).await;
    tokio::time::resume();
    for _ in 0..2 {
        let quick = https(&few.server, "localhost");
        assert_ok(transport.attempt(&quick, &event()).await);
    }
    assert_eq!(few.server.connections(), 2);
    hanging[0].abort();
}

#[tokio::test]
async fn attempts_share_the_first_connection_and_its_fault() {
    let silent = Server::start(|mut stream| async move {
        let _ = stream.read_u8().await;
    })
    .await;
    let authority = Authority::new("ours");
    let server = serving(authority.acceptor("localhost", 2100, BOTH)).await;
    for (server, is_good) in [(silent, false), (server, true)] {
        let transport = authority.transport();
        for attempt in spawn(&transport, &https(&server, "localhost"), 20) {
            let attempt = attempt.await.unwrap();
            match is_good {
                true => assert_ok(attempt),
                false => assert_eq!(fault(&attempt).0, ErrorKind::Tls),
            }
        }
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_failed_extra_connection_fails_nobody_who_can_wait_for_one_there_is() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let (count, opened) = watch::channel(0);
    // It serves the first connection and closes any other one. After the first request it answers
    // when there is another connection.
    let server = Server::start(move |stream| {
        let (acceptor, opened) = (acceptor.clone(), opened.clone());
        count.send_modify(|count| *count += 1);
        let number = *count.borrow();
        async move {
            if number > 1 {
                return;
            }
            let stream = acceptor.accept(stream).await.unwrap();
            let mut settings = h2::server::Builder::new();
            settings.max_concurrent_streams(2);
            let shaking = settings.handshake::<_, Bytes>(stream);
            let mut connection = shaking.await.unwrap();
            let mut others = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut opened = opened.clone();
                tokio::spawn(async move {
                    let _ = opened.wait_for(|count| *count > others).await;
                    let _ = respond.send_response(http::Response::new(()), true);
                });
                others = 1;
            }
        }
    })
    .await;
    let transport = authority.transport();
    let endpoint = https(&server, "localhost");
    assert_ok(transport.attempt(&endpoint, &event()).await);
    let (mut good, mut failed) = (0, 0);
    for attempt in spawn(&transport, &endpoint, 12) {
        match attempt.await.unwrap().error {
            None => good += 1,
            Some(_) => failed += 1,
        }
    }
    // Those that opened a connection themselves have failed, and no others.
    assert!(
        failed < server.connections() && good >= 2,
        "{good} good, {failed} failed"
    );
}
