//! A TLS server on a thread of its own, and a bare client loop on another one.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::time::{ClockId, clock_gettime};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::runtime;

/// What becomes of a connection after its first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Kept,
    /// The server closes it, and lets the next one resume its session.
    Resumed,
    /// The server closes it, and knows no sessions.
    Full,
}

/// A server for `localhost`, and the authority that signed its certificate.
pub struct Server {
    pub address: SocketAddr,
    pub authority: tempfile::NamedTempFile,
}

impl Server {
    /// Each body is given to `take`.
    pub fn start(after: After, take: impl Fn(Bytes) + Clone + Send + 'static) -> Server {
        let (acceptor, authority) = acceptor(after);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        listener.set_nonblocking(true).expect("it is a socket");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            runtime::current_thread().block_on(accept(listener, acceptor, after, take));
        });
        Server { address, authority }
    }
}

fn acceptor(after: After) -> (TlsAcceptor, tempfile::NamedTempFile) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let signed = params.self_signed(&key).expect("a certificate");
    let mut authority = tempfile::NamedTempFile::new().expect("a file");
    authority
        .write_all(signed.pem().as_bytes())
        .expect("it can be written");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("they are known")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().to_vec().into()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("they belong together");
    match after {
        After::Full => config.send_tls13_tickets = 0,
        After::Kept | After::Resumed => {
            config.ticketer = rustls::crypto::ring::Ticketer::new().expect("there is entropy");
        }
    }
    (TlsAcceptor::from(Arc::new(config)), authority)
}

async fn accept(
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    after: After,
    take: impl Fn(Bytes) + Clone + Send + 'static,
) {
    let listener = TcpListener::from_std(listener).expect("it is a socket");
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("it is a TCP socket");
        let (acceptor, take) = (acceptor.clone(), take.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                let take = take.clone();
                async move {
                    if let Ok(body) = request.into_body().collect().await {
                        take(body.to_bytes());
                    }
                    Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
                }
            });
            // A connection that ends is the other side's matter.
            let _ = hyper::server::conn::http1::Builder::new()
                .keep_alive(after == After::Kept)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// Posts `count` bodies with that concurrency on one thread, as bare as it can be: rustls, and
/// hyper's connection. How long it took, and the CPU time of it.
pub fn bare(
    server: &Server,
    after: After,
    (count, concurrency): (u64, usize),
    body: impl Fn(u64) -> Bytes + Send + Sync + 'static,
) -> (Duration, Duration) {
    let config = outboxd::transport::tls::client_config(Some(server.authority.path()));
    let mut config = config.expect("there are roots");
    config.alpn_protocols.clear();
    let (connector, address) = (TlsConnector::from(Arc::new(config)), server.address);
    let (next, body) = (Arc::new(AtomicU64::new(0)), Arc::new(body));
    let posting = move || {
        let (start, cpu) = (Instant::now(), cpu_time());
        runtime::current_thread().block_on(async {
            let posting = (0..concurrency).map(|_| {
                let (connector, next, body) = (connector.clone(), next.clone(), body.clone());
                tokio::spawn(async move {
                    let mut kept = None;
                    loop {
                        let number = next.fetch_add(1, Relaxed);
                        if number >= count {
                            break;
                        }
                        let mut sender = match kept.take() {
                            Some(sender) => sender,
                            None => connect(&connector, address).await,
                        };
                        let request = Request::post("/")
                            .header("host", "localhost")
                            .body(Full::new(body(number)))
                            .expect("the request is well-formed");
                        let answer = sender.send_request(request).await.expect("an answer");
                        assert_eq!(answer.status(), 200);
                        answer.into_body().collect().await.expect("a whole answer");
                        if after == After::Kept {
                            sender.ready().await.expect("it is kept");
                            kept = Some(sender);
                        }
                    }
                })
            });
            for posting in posting.collect::<Vec<_>>() {
                posting.await.expect("no request failed");
            }
        });
        (start.elapsed(), cpu_time() - cpu)
    };
    std::thread::spawn(posting).join().expect("it ends")
}

async fn connect(
    connector: &TlsConnector,
    address: SocketAddr,
) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("it is a TCP socket");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = connector.connect(name, stream).await.expect("it is good");
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.expect("nothing is sent yet");
    tokio::spawn(connection);
    sender
}

/// Of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
