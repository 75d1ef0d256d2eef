//! TLS: whom we believe, and how it fails.

use std::convert::Infallible;
use std::io::Write;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A certificate authority that lives as long as the test.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        file.write_all(pem.as_bytes()).unwrap();
        Authority {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// A server's side for `name`, valid until that year.
    fn acceptor(&self, name: &str, until: i32, alpn: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server_side(&certificate, &key, alpn)
    }

    fn transport(&self) -> Transport {
        let limits = DeliveryLimits {
            ca_file: Some(self.file.path().to_owned()),
            ..limits()
        };
        Transport::new(&limits).unwrap()
    }
}

fn server_side(certificate: &rcgen::Certificate, key: &KeyPair, alpn: &[&str]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Serves HTTP/1.1 or HTTP/2, as ALPN had it, and answers with the version.
async fn serving(acceptor: TlsAcceptor) -> Server {
    Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let answer = service_fn(
                |request: hyper::Request<hyper::body::Incoming>| async move {
                    let version = format!("{:?}", request.version());
                    Ok::<_, Infallible>(hyper::Response::new(version))
                },
            );
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        }
    })
    .await
}

fn https(server: &Server, host: &str) -> Endpoint {
    endpoint(format!(
        "https://{host}:{}/?token=HUSH",
        server.address.port()
    ))
}

#[tokio::test]
async fn a_certificate_from_ca_file_is_good_for_its_name_over_both_versions() {
    let authority = Authority::new("ours");
    let transport = authority.transport();
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0"),
        (&["http/1.1"][..], "HTTP/1.1"),
        (&[][..], "HTTP/1.1"),
    ] {
        let server = serving(authority.acceptor("localhost", 2100, alpn)).await;
        for _ in 0..2 {
            let attempt = transport
                .attempt(&https(&server, "localhost"), &event())
                .await;
            assert_eq!((attempt.status, attempt.error), (Some(200), None));
            assert_eq!(attempt.response_body, version);
            assert_eq!(attempt.address, Some(server.address));
        }
        assert_eq!(server.connections(), 1, "{version}");
    }
    let literal = serving(authority.acceptor("127.0.0.1", 2100, &[])).await;
    let attempt = transport
        .attempt(&https(&literal, "127.0.0.1"), &event())
        .await;
    assert_eq!(attempt.error, None);
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_a_tls_fault() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    #[rustfmt::skip]
    let cases = [
        (ours.acceptor("elsewhere.example", 2100, &[]), "not valid for"),
        (theirs.acceptor("localhost", 2100, &[]), "UnknownIssuer"),
        (ours.acceptor("localhost", 2020, &[]), "expired"),
    ];
    for (acceptor, expected) in cases {
        let server = serving(acceptor).await;
        let attempt = ours
            .transport()
            .attempt(&https(&server, "localhost"), &event())
            .await;
        let (kind, detail) = fault(&attempt);
        assert_eq!((kind, attempt.status), (ErrorKind::Tls, None), "{detail}");
        assert!(detail.contains(expected), "{detail}");
        assert_eq!(attempt.address, Some(server.address));
    }
}

/// A server that uses a certificate of its own, which is in `ca_file` too.
async fn self_signed(is_ca: bool) -> (Transport, Server) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = match is_ca {
        true => IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
        false => IsCa::ExplicitNoCa,
    };
    let certificate = params.self_signed(&key).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(certificate.pem().as_bytes()).unwrap();
    let limits = DeliveryLimits {
        ca_file: Some(file.path().to_owned()),
        ..limits()
    };
    let transport = Transport::new(&limits).unwrap();
    (
        transport,
        serving(server_side(&certificate, &key, &[])).await,
    )
}

#[tokio::test]
async fn a_servers_self_signed_certificate_in_ca_file_works_or_is_explained() {
    let (transport, server) = self_signed(false).await;
    let attempt = transport
        .attempt(&https(&server, "localhost"), &event())
        .await;
    assert_eq!((attempt.status, attempt.error), (Some(200), None));
    let (transport, server) = self_signed(true).await;
    let attempt = transport
        .attempt(&https(&server, "localhost"), &event())
        .await;
    let (kind, detail) = fault(&attempt);
    assert_eq!(kind, ErrorKind::Tls);
    assert!(detail.contains("make one with CA:FALSE"), "{detail}");
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

const BOTH: &[&str] = &["h2", "http/1.1"];

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

/// Speaks HTTP/2, takes so many requests at once on a connection, and answers the path `/slow`
/// after `slow`.
async fn serving_few(acceptor: TlsAcceptor, streams: u32, slow: Duration) -> Server {
    Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let mut settings = h2::server::Builder::new();
            settings.max_concurrent_streams(streams);
            let shaking = settings.handshake::<_, bytes::Bytes>(stream);
            let mut connection = shaking.await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                tokio::spawn(async move {
                    if request.uri().path() == "/slow" {
                        tokio::time::sleep(slow).await;
                    }
                    let _ = respond.send_response(http::Response::new(()), true);
                });
            }
        }
    })
    .await
}

fn slow(server: &Server) -> Endpoint {
    let mut endpoint = https(server, "localhost");
    endpoint.url.set_path("/slow");
    endpoint
}

#[tokio::test]
async fn a_slow_endpoint_costs_its_neighbours_nothing_with_one_stream_at_a_time() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let server = serving_few(acceptor, 1, Duration::from_secs(3)).await;
    let transport = authority.transport();
    let (quick, slow, event) = (https(&server, "localhost"), slow(&server), event());
    let hanging = transport.attempt(&slow, &event);
    let neighbours = async {
        // Those that come while the first connection is made, and those that come after.
        for _ in 0..3 {
            let (one, two) = tokio::join!(
                transport.attempt(&quick, &event),
                transport.attempt(&quick, &event)
            );
            for attempt in [one, two] {
                assert_eq!((attempt.status, attempt.error), (Some(200), None));
                assert!(attempt.duration < Duration::from_secs(2), "it waited");
            }
        }
    };
    let (attempt, ()) = tokio::join!(hanging, neighbours);
    assert_eq!((attempt.status, attempt.error), (Some(200), None));
    assert!((2..=3).contains(&server.connections()));
}

#[tokio::test]
async fn no_more_is_sent_on_a_connection_than_its_peer_takes() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let server = serving_few(acceptor, 10, Duration::from_millis(300)).await;
    let transport = authority.transport();
    let (slow, event) = (slow(&server), event());
    for _ in 0..2 {
        let attempts: Vec<_> = (0..30)
            .map(|_| {
                let (transport, slow, event) = (transport.clone(), slow.clone(), event.clone());
                tokio::spawn(async move { transport.attempt(&slow, &event).await })
            })
            .collect();
        for attempt in attempts {
            let attempt = attempt.await.unwrap();
            assert_eq!((attempt.status, attempt.error), (Some(200), None));
        }
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_answered_gets_no_more() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let server = serving_few(acceptor, 100, Duration::from_secs(600)).await;
    let transport = authority.transport();
    let (quick, slow) = (https(&server, "localhost"), slow(&server));
    let hanging = {
        let (transport, event) = (transport.clone(), event());
        tokio::spawn(async move { transport.attempt(&slow, &event).await })
    };
    let begin = std::time::Instant::now();
    while server.connections() < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(begin.elapsed() < Duration::from_secs(20), "none is opened");
    }
    tokio::time::sleep(super::super::connection::QUIET + Duration::from_millis(200)).await;
    for _ in 0..2 {
        let attempt = transport.attempt(&quick, &event()).await;
        assert_eq!((attempt.status, attempt.error), (Some(200), None));
    }
    assert_eq!(server.connections(), 2);
    hanging.abort();
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
async fn attempts_share_the_first_connection_and_its_fault() {
    let silent = Server::start(|mut stream| async move {
        let _ = stream.read_u8().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    })
    .await;
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let server = serving(acceptor).await;
    for (server, is_good) in [(silent, false), (server, true)] {
        let transport = authority.transport();
        let attempts: Vec<_> = (0..20)
            .map(|_| {
                let (transport, event) = (transport.clone(), event());
                let endpoint = https(&server, "localhost");
                tokio::spawn(async move { transport.attempt(&endpoint, &event).await })
            })
            .collect();
        for attempt in attempts {
            let attempt = attempt.await.unwrap();
            match is_good {
                true => assert_eq!(attempt.error, None),
                false => assert_eq!(fault(&attempt).0, ErrorKind::Tls),
            }
        }
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn http2_can_be_switched_off() {
    let authority = Authority::new("ours");
    let server = serving(authority.acceptor("localhost", 2100, BOTH)).await;
    let transport = authority.transport();
    for (http2, version) in [(true, "HTTP/2.0"), (false, "HTTP/1.1")] {
        let endpoint = Endpoint {
            http2,
            ..https(&server, "localhost")
        };
        for _ in 0..2 {
            let attempt = transport.attempt(&endpoint, &event()).await;
            assert_eq!(attempt.error, None);
            assert_eq!(attempt.response_body, version);
        }
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_kept_connection_is_not_used_beyond_its_age() {
    let authority = Authority::new("ours");
    for alpn in [BOTH, &[]] {
        let server = serving(authority.acceptor("localhost", 2100, alpn)).await;
        let limits = DeliveryLimits {
            ca_file: Some(authority.file.path().to_owned()),
            connection_max_age: Duration::from_secs(1),
            ..limits()
        };
        let transport = Transport::new(&limits).unwrap();
        let begin = std::time::Instant::now();
        let mut connections = 1;
        while connections < 2 {
            let attempt = transport
                .attempt(&https(&server, "localhost"), &event())
                .await;
            assert_eq!(attempt.error, None);
            connections = server.connections();
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "always the same one"
            );
        }
        assert!(begin.elapsed() >= Duration::from_secs(1), "it is kept");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_a_tls_fault() {
    let plain = Server::start(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        closed(&mut stream).await;
    })
    .await;
    let closing = Server::start(|mut stream| async move {
        let _ = stream.read_u8().await;
    })
    .await;
    for server in [plain, closing] {
        let attempt = transport()
            .attempt(&https(&server, "127.0.0.1"), &event())
            .await;
        let (kind, detail) = fault(&attempt);
        assert_eq!(kind, ErrorKind::Tls, "{detail}");
        assert!(!detail.contains("https:"), "{detail}");
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_at_the_first_of_both_timeouts() {
    let hung = Server::start(|mut stream| async move { closed(&mut stream).await }).await;
    let attempt = Transport::new(&DeliveryLimits {
        connect_timeout: Duration::from_millis(100),
        ..limits()
    })
    .unwrap()
    .attempt(&https(&hung, "127.0.0.1"), &event())
    .await;
    let expected = format!(
        "no connection within 100ms (connecting to {})",
        hung.address
    );
    assert_eq!(fault(&attempt), (ErrorKind::Timeout, expected.as_str()));

    let endpoint = Endpoint {
        timeout: Duration::from_millis(100),
        ..https(&hung, "127.0.0.1")
    };
    let attempt = transport().attempt(&endpoint, &event()).await;
    let expected = format!("no answer within 100ms (connecting to {})", hung.address);
    assert_eq!(fault(&attempt), (ErrorKind::Timeout, expected.as_str()));
    assert_eq!(attempt.address, Some(hung.address));
}

#[test]
fn a_ca_file_that_is_no_good_is_named() {
    let made = |content: &[u8]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let error = super::super::tls::client_config(Some(file.path())).unwrap_err();
        (error.to_string(), file.path().display().to_string())
    };
    for content in [
        &b""[..],
        b"no pem",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n",
    ] {
        let (error, path) = made(content);
        assert!(error.contains(&path), "{error}");
    }
    let missing = std::path::Path::new("/nonexistent/ca.pem");
    let error = super::super::tls::client_config(Some(missing)).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ca.pem"));
}

#[tokio::test]
async fn a_failed_extra_connection_fails_nobody_who_can_wait_for_one_there_is() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100, BOTH);
    let taken = Arc::new(AtomicUsize::new(0));
    // The first connection is served, and any other one is closed at once.
    let server = Server::start(move |stream| {
        let (acceptor, number) = (acceptor.clone(), taken.fetch_add(1, Atomic::SeqCst));
        async move {
            if number > 0 {
                return;
            }
            let stream = acceptor.accept(stream).await.unwrap();
            let mut settings = h2::server::Builder::new();
            settings.max_concurrent_streams(2);
            let shaking = settings.handshake::<_, bytes::Bytes>(stream);
            let mut connection = shaking.await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let _ = respond.send_response(http::Response::new(()), true);
                });
            }
        }
    })
    .await;
    let transport = authority.transport();
    let first = transport
        .attempt(&https(&server, "localhost"), &event())
        .await;
    assert_eq!(first.error, None);
    let attempts: Vec<_> = (0..12)
        .map(|_| {
            let (transport, event) = (transport.clone(), event());
            let endpoint = https(&server, "localhost");
            tokio::spawn(async move { transport.attempt(&endpoint, &event).await })
        })
        .collect();
    let (mut good, mut failed) = (0, 0);
    for attempt in attempts {
        match attempt.await.unwrap().error {
            None => good += 1,
            Some(_) => failed += 1,
        }
    }
    // Those that tried to make one themselves have failed, and no others.
    assert!(
        failed < server.connections() && good >= 2,
        "{good} good, {failed} failed"
    );
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
    inner.pool = super::super::pool::Pool::new(inner.connector.clone(), &limits, 0);
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
