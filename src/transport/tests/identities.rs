//! Mutual TLS and private authorities: who a receiver sees, and whom an endpoint trusts.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;

use super::encrypted::{Authority, BOTH, https, serving};
use super::*;
use crate::domain::identity::{Authorities, Identity};
use crate::domain::shaping::Shaping;
use crate::transport::exchange::Duplex;
use crate::transport::secured::Secured;

const HTTP1: &[&str] = &["http/1.1"];

/// An endpoint of the server with this certificate.
fn as_client(server: &Server, identity: Option<Identity>) -> Endpoint {
    Endpoint {
        shaping: Some(Arc::new(Shaping {
            identity: identity.map(Arc::new),
            ..Shaping::default()
        })),
        ..https(server, "localhost")
    }
}

/// A server's side that lets in only the clients of `clients`.
fn acceptor(servers: &Authority, clients: &Authority, alpn: &[&str], tls12: bool) -> TlsAcceptor {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(clients.file.path()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let versions: &[&rustls::SupportedProtocolVersion] = match tls12 {
        true => &[&rustls::version::TLS12],
        false => &[&rustls::version::TLS13],
    };
    let (chain, key) = servers.signed("localhost", 2100);
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// The client's certificate of each connection, and whether it resumed.
type Seen = Arc<std::sync::Mutex<Vec<(Vec<u8>, bool)>>>;

/// A server that lets in only the clients of `clients`, and answers with their certificates.
async fn demanding(
    servers: &Authority,
    clients: &Authority,
    alpn: &[&str],
    tls12: bool,
) -> (Server, Seen) {
    let acceptor = acceptor(servers, clients, alpn, tls12);
    let seen = Seen::default();
    let noted = seen.clone();
    let server = Server::start(move |stream| {
        let (acceptor, noted) = (acceptor.clone(), noted.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let connection = stream.get_ref().1;
            let who = connection.peer_certificates().unwrap()[0].to_vec();
            let resumed = connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            noted.lock().unwrap().push((who.clone(), resumed));
            let answer = service_fn(move |_: hyper::Request<hyper::body::Incoming>| {
                let who = Bytes::from(who.clone());
                async move {
                    let body = http_body_util::Full::new(who);
                    Ok::<_, Infallible>(hyper::Response::new(body))
                }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        }
    })
    .await;
    (server, seen)
}

/// A token server for the clients of `clients` alone, which grants `T`.
pub(super) async fn tokens_for(servers: &Authority, clients: &Authority) -> Server {
    let acceptor = acceptor(servers, clients, HTTP1, false);
    Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let body = r#"{"access_token": "T", "token_type": "bearer"}"#;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            while request(&mut stream).await.is_some() {
                stream
                    .write_all((head.clone() + body).as_bytes())
                    .await
                    .unwrap();
            }
        }
    })
    .await
}

/// The certificate that the server has seen.
#[track_caller]
fn seen(attempt: &Attempt) -> &[u8] {
    assert_eq!((attempt.status, &attempt.error), (Some(200), &None));
    &attempt.response_body
}

fn leaf(identity: &Identity) -> Vec<u8> {
    identity.certified_key().cert[0].to_vec()
}

#[tokio::test]
async fn a_receiver_sees_each_endpoints_own_certificate() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    for (alpn, tls12) in [(BOTH, false), (HTTP1, false), (BOTH, true), (HTTP1, true)] {
        let (server, connections) = demanding(&servers, &clients, alpn, tls12).await;
        let transport = servers.transport();
        let (one, two) = (clients.client("one"), clients.client("two"));
        // The same certificates as parts of another definition.
        let again = as_client(&server, Some(one.clone()));
        let endpoints = [&one, &two].map(|id| (as_client(&server, Some(id.clone())), leaf(id)));
        for _ in 0..3 {
            for (endpoint, leaf) in &endpoints {
                let attempt = transport.attempt(endpoint, &event()).await;
                assert_eq!(seen(&attempt), leaf);
            }
            let attempt = transport.attempt(&again, &event()).await;
            assert_eq!(seen(&attempt), leaf(&one));
        }
        assert_eq!(server.connections(), 2, "{alpn:?}");

        // New connections resume, and keep their identity.
        let mut inner = Arc::into_inner(transport.0).unwrap();
        let connector = inner.caller.connector.clone();
        inner.caller.pool = super::super::pool::Pool::new(connector, &limits(), 0);
        let transport = Transport(Arc::new(inner));
        for (endpoint, leaf) in endpoints.iter().chain(&endpoints) {
            let attempt = transport.attempt(endpoint, &event()).await;
            assert_eq!(seen(&attempt), leaf);
        }
        let connections = connections.lock().unwrap();
        assert!(connections[2..].iter().all(|(_, resumed)| *resumed));
        let fresh: Vec<_> = connections[..2]
            .iter()
            .map(|(who, _)| who.clone())
            .collect();
        assert_eq!(fresh, [leaf(&one), leaf(&two)]);
    }
}

#[tokio::test]
async fn a_refused_certificate_is_a_tls_fault() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let strangers = Authority::new("strangers");
    for (alpn, tls12) in [(BOTH, false), (HTTP1, false), (BOTH, true), (HTTP1, true)] {
        let (server, seen) = demanding(&servers, &clients, alpn, tls12).await;
        let transport = servers.transport();
        for identity in [None, Some(strangers.client("stranger"))] {
            let is_none = identity.is_none();
            let endpoint = as_client(&server, identity);
            // Whichever of the alert and the end of the connection comes first.
            for size in [0, 100, 300_000, 3_000_000] {
                let event = Outgoing {
                    body: vec![b' '; size].into(),
                    ..event()
                };
                let attempt = transport.attempt(&endpoint, &event).await;
                let (kind, detail) = fault(&attempt);
                assert_eq!(kind, ErrorKind::Tls, "{alpn:?} {tls12} {size} {detail}");
                let expected = match is_none {
                    true => "the server wants a client certificate",
                    false => "the server refused the client certificate",
                };
                assert!(detail.contains(expected), "{detail}");
            }
        }
        assert!(seen.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_private_authority_is_one_endpoints_own_and_adds_to_the_others() {
    let (public, private) = (Authority::new("public"), Authority::new("private"));
    let pem = std::fs::read(private.file.path()).unwrap();
    let authorities = Arc::new(Authorities::parse(&pem).unwrap());
    let trusting = |server: &Server| Endpoint {
        shaping: Some(Arc::new(Shaping {
            authorities: Some(authorities.clone()),
            ..Shaping::default()
        })),
        ..https(server, "localhost")
    };
    for alpn in [BOTH, HTTP1] {
        let transport = public.transport();
        let theirs = serving(private.acceptor("localhost", 2100, alpn)).await;
        let known = serving(public.acceptor("localhost", 2100, alpn)).await;
        for _ in 0..2 {
            for server in [&theirs, &known] {
                let attempt = transport.attempt(&trusting(server), &event()).await;
                assert_eq!((attempt.status, attempt.error), (Some(200), None));
            }
            // A kept connection serves nobody who would not have opened it.
            let attempt = transport
                .attempt(&https(&theirs, "localhost"), &event())
                .await;
            let (kind, detail) = fault(&attempt);
            assert_eq!(kind, ErrorKind::Tls, "{detail}");
            assert!(detail.contains("UnknownIssuer"), "{detail}");
        }
        assert_eq!((theirs.connections(), known.connections()), (3, 1));
    }
}

/// A stream whose writes fail from some moment on, and which can still be read.
struct HalfBroken {
    stream: tokio::io::DuplexStream,
    is_broken: Arc<AtomicBool>,
}

impl AsyncRead for HalfBroken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(poller, buffer)
    }
}

impl AsyncWrite for HalfBroken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.is_broken.load(Atomic::Relaxed) {
            true => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            false => Pin::new(&mut self.stream).poll_write(poller, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(poller)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(poller)
    }
}

/// A client's stream whose writes fail, after the server has sent what it had to say.
async fn half_broken(servers: &Authority, acceptor: TlsAcceptor) -> Secured {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let is_broken = Arc::new(AtomicBool::new(false));
    let stream: Box<dyn Duplex> = Box::new(HalfBroken {
        stream: ours,
        is_broken: is_broken.clone(),
    });
    let config = super::super::tls::client_config(Some(servers.file.path())).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let connecting = connector.connect("localhost".try_into().unwrap(), stream);
    let serving = async {
        // The refused one has got its alert by the end of this.
        if let Ok(mut stream) = acceptor.accept(theirs).await {
            stream.write_all(b"early").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    };
    let (stream, ()) = tokio::join!(connecting, serving);
    is_broken.store(true, Atomic::Relaxed);
    Secured::new(stream.unwrap())
}

#[tokio::test]
async fn what_the_server_said_before_it_closed_is_read_though_a_write_failed() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let demanding = acceptor(&servers, &clients, HTTP1, false);
    let mut refused = half_broken(&servers, demanding).await;
    let ended = refused.ended();
    assert!(refused.write_all(b"request").await.is_err());
    let alert = rustls::AlertDescription::CertificateRequired;
    assert_eq!(ended.fault(), Some(&rustls::Error::AlertReceived(alert)));

    let indifferent = servers.acceptor("localhost", 2100, HTTP1);
    let mut answered = half_broken(&servers, indifferent).await;
    assert!(answered.write_all(b"request").await.is_err());
    let mut text = String::new();
    answered.read_to_string(&mut text).await.unwrap();
    assert_eq!((&*text, answered.ended().fault()), ("early", None));
}
