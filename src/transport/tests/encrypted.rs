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
use crate::domain::identity::Identity;

pub(super) const BOTH: &[&str] = &["h2", "http/1.1"];

/// A certificate authority that lives as long as the test.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) file: tempfile::NamedTempFile,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
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
    pub(super) fn acceptor(&self, name: &str, until: i32, alpn: &[&str]) -> TlsAcceptor {
        let (certificate, key) = self.issue(name, until);
        server_side(&certificate, &key, alpn)
    }

    /// A chain of one certificate for `name`, and its key.
    pub(super) fn signed(
        &self,
        name: &str,
        until: i32,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let (certificate, key) = self.issue(name, until);
        (
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
    }

    /// A client's certificate.
    pub(super) fn client(&self, name: &str) -> Identity {
        let (certificate, key) = self.issue(name, 2100);
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        Identity::parse(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    fn issue(&self, name: &str, until: i32) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }

    pub(super) fn transport(&self) -> Transport {
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
pub(super) async fn serving(acceptor: TlsAcceptor) -> Server {
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

pub(super) fn https(server: &Server, host: &str) -> Endpoint {
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
    // Three connections to a name, one to an address, and seven requests over them.
    let phases = transport.figures().view().phases;
    let counts = phases.map(|(phase, view)| (phase, view.count));
    let expected = [("dns", 3), ("connect", 4), ("tls", 4), ("first_byte", 7)];
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn a_phase_that_runs_out_of_time_is_counted_with_the_time_it_took() {
    // The server accepts and sends nothing, so the handshake does not end.
    let server = Server::start(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let transport = transport();
    // Of the attempt's time the phases before take some, and more of it on a busy machine.
    let endpoint = Endpoint {
        timeout: Duration::from_secs(2),
        ..https(&server, "127.0.0.1")
    };
    let attempt = transport.attempt(&endpoint, &event()).await;
    assert_eq!(attempt.error.unwrap().kind, ErrorKind::Timeout);
    let [dns, connect, tls, first_byte] = transport.figures().view().phases;
    assert_eq!((dns.1.count, connect.1.count), (0, 1));
    assert_eq!((tls.1.count, first_byte.1.count), (1, 0));
    assert!(tls.1.sum >= 1.5, "{}", tls.1.sum);
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
