//! Makes a connection: resolves, dials, speaks TLS and picks the version of HTTP.
//!
//! hyper-util's connector dials: all addresses that the resolver lets through, IPv6 and IPv4 in
//! turns (RFC 8305). A proxy resolves names and dials itself, so only literal addresses can be
//! checked here, and its own configuration decides what it may reach. The operator chose its
//! address; it is not checked.

use std::future::{Future, Ready, poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::connection::{Http1, Http2, Limit, Running, UNSETTLED};
use super::error::TransportError;
use super::fault::{self, Fault, Stage};
use super::notes::Notes;
use super::place::{Place, Target};
use super::resolve::{Lookups, Resolver};
use super::tls;
use crate::config::DeliveryLimits;
use crate::domain::attempt::ErrorKind;

/// Bytes of the headers of an HTTP/2 answer.
const HTTP2_HEADER_BYTES: u32 = 64 * 1024;
/// Windows of HTTP/2 for what comes in: of a stream, and of a connection.
const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Headers of an HTTP/1 answer, within hyper's buffer of about 400 KiB.
const HTTP1_HEADERS: usize = 256;
/// A peer that is gone without a word is noticed after a minute.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// A byte stream to the other side.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What hyper reads from and writes to.
pub(super) type Stream = TokioIo<Box<dyn Duplex>>;

/// A new connection, ready for a request.
pub(super) enum Connection {
    Http1(Http1),
    Http2(Arc<Http2>),
}

/// Makes the connections of the whole process. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    /// Offers HTTP/2 and HTTP/1.1.
    both: TlsConnector,
    http1: TlsConnector,
    lookups: Arc<Lookups>,
    connect_timeout: Duration,
    proxy: Option<Uri>,
}

impl Connector {
    /// Reads the root certificates. TLS sessions of up to `sessions` hosts are kept, so that a new
    /// connection to a known host resumes.
    pub(super) fn new(limits: &DeliveryLimits, sessions: usize) -> Result<Self, TransportError> {
        let mut both = tls::client_config(limits.ca_file.as_deref())?;
        both.resumption = rustls::client::Resumption::in_memory_sessions(sessions);
        let mut http1 = both.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = |config: ClientConfig| TlsConnector::from(Arc::new(config));
        let proxy = limits.proxy.as_ref().map(|url| url.as_str().parse());
        Ok(Connector(Arc::new(Inner {
            both: connector(both),
            http1: connector(http1),
            lookups: Arc::new(Lookups::new()),
            connect_timeout: limits.connect_timeout,
            proxy: proxy.transpose().map_err(TransportError::Proxy)?,
        })))
    }

    /// Whether a proxy does the dialling.
    pub(super) fn is_proxied(&self) -> bool {
        self.0.proxy.is_some()
    }

    /// Connects within `connect_timeout`. `notes` says how far that has come.
    pub(super) async fn connect(
        &self,
        place: &Place,
        notes: &Arc<Notes>,
    ) -> Result<Connection, Fault> {
        let connecting = self.0.connect(place, notes);
        match tokio::time::timeout(self.0.connect_timeout, connecting).await {
            Ok(made) => made,
            Err(_) => {
                let name = self.name(place, notes);
                let fault = self.0.timed_out(&name, notes);
                Err(Fault {
                    address: self.dialled(place, notes),
                    ..fault
                })
            }
        }
    }

    /// The address that is dialled, if there is only one it can be.
    pub(super) fn dialled(&self, place: &Place, notes: &Notes) -> Option<SocketAddr> {
        if self.is_proxied() {
            return None;
        }
        let ip = place.target.literal().or_else(|| notes.dialled())?;
        Some(SocketAddr::new(ip, place.target.port))
    }

    /// The other side, for a person: its address, else host and port.
    pub(super) fn name(&self, place: &Place, notes: &Notes) -> String {
        match self.dialled(place, notes) {
            Some(address) => address.to_string(),
            None => place.target.to_string(),
        }
    }
}

impl Inner {
    fn timed_out(&self, target: &str, notes: &Notes) -> Fault {
        let (within, doing) = (self.connect_timeout, notes.phase().doing(target));
        let detail = format!("no connection within {within:?} ({doing})");
        Fault::new(ErrorKind::Timeout, &detail)
    }

    async fn connect(&self, place: &Place, notes: &Arc<Notes>) -> Result<Connection, Fault> {
        let target = &place.target;
        let name = match place.is_https {
            // Asked before the resolver is.
            true => Some(server_name(target)?),
            false => None,
        };
        let (stream, address) = match &self.proxy {
            None => {
                let rule = Some(place.rule.clone());
                self.dial(place.dialled_uri(), rule, target, notes).await?
            }
            Some(proxy) => self.through(proxy, place, notes).await?,
        };
        let Some(name) = name else {
            return http1(stream, address, target).await;
        };
        let connector = if place.http1 { &self.http1 } else { &self.both };
        let stream = connector.connect(name, stream.into_inner()).await;
        let stream = stream.map_err(|error| {
            fault::read(&error, Stage::Handshake, &shown(address, target), address)
        })?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => http2(boxed(stream), address, target).await,
            _ => http1(boxed(stream), address, target).await,
        }
    }

    /// Opens a TCP connection to one of the addresses that `rule` lets through.
    async fn dial(
        &self,
        uri: &Uri,
        rule: Option<Arc<crate::domain::address::DialRule>>,
        target: &Target,
        notes: &Arc<Notes>,
    ) -> Result<(Stream, Option<SocketAddr>), Fault> {
        let resolver = Resolver {
            lookups: self.lookups.clone(),
            rule,
            notes: notes.clone(),
        };
        let mut dialler = HttpConnector::new_with_resolver(resolver);
        dialler.enforce_http(false);
        dialler.set_nodelay(true);
        // Divided over the addresses of a name, so that the last one is tried too.
        dialler.set_connect_timeout(Some(self.connect_timeout));
        dialler.set_keepalive(Some(KEEPALIVE));
        dialler.set_keepalive_interval(Some(KEEPALIVE));
        dialler.set_keepalive_retries(Some(KEEPALIVE_PROBES));
        dialler.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        // A literal address is dialled without the resolver's note.
        notes.dialling(None);
        let stream = match dialler.call(uri.clone()).await {
            Ok(stream) => stream.into_inner(),
            Err(error) => {
                let ip = target.literal().or_else(|| notes.dialled());
                let address = ip.map(|ip| SocketAddr::new(ip, target.port));
                let address = address.filter(|_| self.proxy.is_none());
                let shown = shown(address, target);
                let fault = fault::read(&error, Stage::Connect, &shown, address);
                return Err(match fault.kind {
                    ErrorKind::Timeout => Fault {
                        address,
                        ..self.timed_out(&shown, notes)
                    },
                    _ => fault,
                });
            }
        };
        let address = stream.peer_addr().ok();
        Ok((boxed(stream), address))
    }

    /// Connects to the proxy, and has it open a tunnel for TLS.
    async fn through(
        &self,
        proxy: &Uri,
        place: &Place,
        notes: &Arc<Notes>,
    ) -> Result<(Stream, Option<SocketAddr>), Fault> {
        let target = &place.target;
        let (mut stream, address) = self.dial(proxy, None, target, notes).await?;
        if proxy.scheme_str() == Some("https") {
            let host = proxy.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|_| {
                Fault::new(ErrorKind::Local, "the name of the proxy is no name of DNS")
            })?;
            let secured = self.http1.connect(name, stream.into_inner()).await;
            stream =
                boxed(secured.map_err(|error| {
                    fault::read(&error, Stage::Handshake, "the proxy", address)
                })?);
        }
        if place.is_https {
            let mut tunnel = Tunnel::new(proxy.clone(), Connected(Some(stream)));
            let opened = tunnel.call(place.dialled_uri().clone()).await;
            stream = opened.map_err(|error| {
                let detail = format!("the proxy opened no tunnel to {target}: {error}");
                Fault {
                    address,
                    ..Fault::new(ErrorKind::Connect, &detail)
                }
            })?;
        }
        Ok((stream, address))
    }
}

/// A connector whose connection is there.
struct Connected(Option<Stream>);

impl Service<Uri> for Connected {
    type Response = Stream;
    type Error = io::Error;
    type Future = Ready<io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or(io::ErrorKind::NotConnected.into()))
    }
}

fn boxed(stream: impl Duplex + 'static) -> Stream {
    TokioIo::new(Box::new(stream))
}

fn shown(address: Option<SocketAddr>, target: &Target) -> String {
    match address {
        Some(address) => address.to_string(),
        None => target.to_string(),
    }
}

fn server_name(target: &Target) -> Result<ServerName<'static>, Fault> {
    if let Some(ip) = target.literal() {
        return Ok(ServerName::IpAddress(ip.into()));
    }
    ServerName::try_from(target.host.to_string()).map_err(|_| {
        let detail = format!("{target} has no valid DNS name");
        Fault::new(ErrorKind::Dns, &detail)
    })
}

async fn http1(
    stream: Stream,
    address: Option<SocketAddr>,
    target: &Target,
) -> Result<Connection, Fault> {
    // An answer that cannot be read repeats the delivery, and its headers hardly matter. So what
    // RFC 9112 lets a client accept is accepted.
    let shaking = http1::Builder::new()
        .max_headers(HTTP1_HEADERS)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .handshake(stream)
        .await;
    let (sender, running) = shaking
        .map_err(|error| fault::read(&error, Stage::Exchange, &shown(address, target), address))?;
    tokio::spawn(async move {
        // The request under way hears of a fault.
        let _ = running.await;
    });
    Ok(Connection::Http1(Http1::new(sender, address)))
}

async fn http2(
    stream: Stream,
    address: Option<SocketAddr>,
    target: &Target,
) -> Result<Connection, Fault> {
    let limit = Arc::new(Limit::default());
    let tasks = Tasks {
        limit: limit.clone(),
        running: Running::default(),
    };
    let shaking = http2::Builder::new(tasks.clone())
        .max_header_list_size(HTTP2_HEADER_BYTES)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        // Until the server's SETTINGS are there.
        .initial_max_send_streams(UNSETTLED)
        .handshake(stream)
        .await;
    let (sender, mut dispatching) = shaking
        .map_err(|error| fault::read(&error, Stage::Exchange, &shown(address, target), address))?;
    let connection = Http2::new(sender, address, limit.clone(), tasks.running);
    tokio::spawn(async move {
        // The requests under way hear of a fault.
        let _ = poll_fn(|poller| {
            let ended = Pin::new(&mut dispatching).poll(poller);
            limit.read_by(poller.waker());
            limit.set(dispatching.current_max_send_streams());
            ended
        })
        .await;
        limit.ended();
    });
    Ok(Connection::Http2(Arc::new(connection)))
}

/// Runs the tasks of a connection of HTTP/2. What its peer allows arrives in one of them, and only
/// another one can read it.
#[derive(Clone)]
struct Tasks {
    limit: Arc<Limit>,
    running: Running,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let limit = self.limit.clone();
        let mut task = Box::pin(task);
        let running = tokio::spawn(poll_fn(move |poller| {
            let ended = task.as_mut().poll(poller);
            limit.has_moved();
            ended
        }));
        self.running.add(running.abort_handle());
    }
}
