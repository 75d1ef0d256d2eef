//! Opens a connection: resolves the name, dials, speaks TLS and picks the version of HTTP.
//!
//! hyper-util's connector dials all addresses that the resolver allows, IPv6 and IPv4 in turns
//! (RFC 8305). A proxy resolves names and dials itself, so outboxd can check only literal addresses,
//! and the proxy's configuration decides what it may reach. The operator chose its address; outboxd
//! does not check it.

use std::error::Error;
use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use rustls_pki_types::ServerName;
use tokio::sync::Notify;
use tokio_rustls::client::TlsStream;
use tower_service::Service;
use url::Host;

use super::connection::Connection;
use super::destination::{Destination, Target};
use super::error::TransportError;
use super::exchange::{Duplex, Stream, boxed};
use super::fault::{self, Fault, Stage};
use super::figures::{Connecting, Phase, TransportFigures};
use super::http1::Http1;
use super::http2::Http2;
use super::observed::Seen;
use super::progress::Progress;
use super::resolve::{Lookups, ResolveFault, Resolver};
use super::secured::{Ended, Secured};
use super::tls_clients::TlsClients;
use crate::config::DeliveryLimits;
use crate::domain::address::DialRule;
use crate::domain::attempt::ErrorKind;

/// TCP finds within a minute that a peer is gone.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Opens the connections of the whole process. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    tls: TlsClients,
    lookups: Arc<Lookups>,
    figures: Arc<TransportFigures>,
    connect_timeout: Duration,
    proxy: Option<Uri>,
}

impl Connector {
    /// Reads the root certificates. TLS sessions of up to `sessions` hosts are kept, so that a new
    /// connection to a known host resumes.
    pub(super) fn new(
        limits: &DeliveryLimits,
        sessions: usize,
        figures: Arc<TransportFigures>,
    ) -> Result<Self, TransportError> {
        let proxy = limits.proxy.as_ref().map(|url| url.as_str().parse());
        Ok(Connector(Arc::new(Inner {
            tls: TlsClients::new(limits.ca_file.as_deref(), sessions)?,
            lookups: Arc::new(Lookups::new()),
            figures,
            connect_timeout: limits.connect_timeout,
            proxy: proxy.transpose().map_err(TransportError::Proxy)?,
        })))
    }

    /// The figures of all connections and requests.
    pub(super) fn figures(&self) -> &Arc<TransportFigures> {
        &self.0.figures
    }

    /// Whether a proxy does the dialling.
    pub(super) fn is_proxied(&self) -> bool {
        self.0.proxy.is_some()
    }

    /// How long a connection may take to open.
    pub(super) fn timeout(&self) -> Duration {
        self.0.connect_timeout
    }

    /// The addresses of a name, not judged. Their ports are 0.
    pub(super) async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveFault> {
        self.0.lookups.addresses(name).await
    }

    /// Opens a TCP connection to an address that was judged.
    pub(super) async fn dial(&self, address: SocketAddr) -> Result<Stream, Fault> {
        let target = Target {
            host: match address.ip() {
                IpAddr::V4(ip) => Host::Ipv4(ip),
                IpAddr::V6(ip) => Host::Ipv6(ip),
            },
            port: address.port(),
        };
        let uri = format!("http://{target}/").parse().map_err(|error| {
            let detail = format!("{target} cannot be dialled: {error}");
            Fault::new(ErrorKind::Local, &detail)
        })?;
        let dialled = self.0.dial(&uri, None, &target, &Arc::default()).await;
        dialled.map(|(stream, _)| stream)
    }

    /// Connects to the proxy, and has it open a tunnel for an HTTPS destination; `None` without a
    /// proxy.
    pub(super) async fn dial_proxy(
        &self,
        destination: &Destination,
    ) -> Option<Result<(Stream, Option<SocketAddr>), Fault>> {
        let proxy = self.0.proxy.as_ref()?;
        Some(self.0.dial_proxy(proxy, destination, &Arc::default()).await)
    }

    /// Speaks TLS for one handshake, which `seen` keeps. The outer error is the daemon's own.
    pub(super) async fn handshake(
        &self,
        destination: &Destination,
        stream: Stream,
        seen: &Arc<Seen>,
    ) -> Result<io::Result<TlsStream<Box<dyn Duplex>>>, Fault> {
        let name = server_name(&destination.target)?;
        let client = self.0.tls.observed(destination.policy(), seen);
        let client = client.map_err(|error| no_tls(&error))?;
        Ok(client.connect(name, stream.into_inner()).await)
    }

    /// Opens a connection within `connect_timeout`. One of HTTP/2 notifies `changed` as
    /// [`Http2::open`] says.
    pub(super) async fn open(
        &self,
        destination: &Destination,
        progress: &Arc<Progress>,
        changed: &Arc<Notify>,
    ) -> Result<Connection, Fault> {
        let opening = self.0.open(destination, progress, changed);
        let timeout = tokio::time::timeout(self.0.connect_timeout, opening);
        let timed_out = |_| Err(self.0.timed_out(&destination.target, progress));
        timeout.await.unwrap_or_else(timed_out)
    }

    /// The address that is dialled, if there is a single one.
    pub(super) fn dialled(&self, target: &Target, progress: &Progress) -> Option<SocketAddr> {
        self.0.dialled(target, progress)
    }
}

impl Inner {
    fn dialled(&self, target: &Target, progress: &Progress) -> Option<SocketAddr> {
        if self.proxy.is_some() {
            return None;
        }
        let ip = target.literal().or_else(|| progress.dialled())?;
        Some(SocketAddr::new(ip, target.port))
    }

    fn timed_out(&self, target: &Target, progress: &Progress) -> Fault {
        let address = self.dialled(target, progress);
        let doing = progress.phase().describe(&target.describe(address));
        let detail = format!("no connection within {:?} ({doing})", self.connect_timeout);
        Fault {
            address,
            ..Fault::new(ErrorKind::Timeout, &detail)
        }
    }

    async fn open(
        &self,
        destination: &Destination,
        progress: &Arc<Progress>,
        changed: &Arc<Notify>,
    ) -> Result<Connection, Fault> {
        let target = &destination.target;
        let name = match destination.is_https {
            // Before the name is resolved.
            true => Some(server_name(target)?),
            false => None,
        };
        let (stream, address) = match &self.proxy {
            None => {
                let rule = Some(destination.rule.clone());
                self.dial(&destination.root, rule, target, progress).await?
            }
            Some(proxy) => self.dial_proxy(proxy, destination, progress).await?,
        };
        let fault = |stage| {
            move |error: &(dyn Error + 'static)| {
                fault::read(error, stage, &target.describe(address), address)
            }
        };
        let Some(name) = name else {
            let opened = Http1::open(stream, address, Ended::default()).await;
            let opened = opened.map_err(|error| fault(Stage::Exchange)(&error))?;
            return Ok(Connection::Http1(opened));
        };
        let client = self.tls.of(destination.policy());
        let client = client.map_err(|error| no_tls(&error))?;
        let connector = match destination.http1 {
            true => client.http1,
            false => client.both,
        };
        let handshake = Phase::begin(&self.figures.tls);
        let stream = connector.connect(name, stream.into_inner()).await;
        drop(handshake);
        let stream = stream.map_err(|error| fault(Stage::Handshake)(&error))?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = Secured::new(stream);
        let ended = stream.ended();
        let opened = match is_http2 {
            true => {
                let opened = Http2::open(boxed(stream), address, ended, changed.clone()).await;
                opened.map(|http2| Connection::Http2(Arc::new(http2)))
            }
            false => {
                let opened = Http1::open(boxed(stream), address, ended).await;
                opened.map(Connection::Http1)
            }
        };
        opened.map_err(|error| fault(Stage::Exchange)(&error))
    }

    /// Opens a TCP connection to one of the addresses that `rule` lets through.
    async fn dial(
        &self,
        uri: &Uri,
        rule: Option<Arc<DialRule>>,
        target: &Target,
        progress: &Arc<Progress>,
    ) -> Result<(Stream, Option<SocketAddr>), Fault> {
        let resolver = Resolver {
            lookups: self.lookups.clone(),
            rule,
            progress: progress.clone(),
            figures: self.figures.clone(),
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
        // The resolver, which sets this, never sees a literal address.
        progress.set_connecting(None);
        let connecting = Connecting {
            histogram: &self.figures.connect,
            progress,
        };
        let dialled = dialler.call(uri.clone()).await;
        drop(connecting);
        let stream = dialled.map_err(|error| {
            let address = self.dialled(target, progress);
            let fault = fault::read(&error, Stage::Connect, &target.describe(address), address);
            match fault.kind {
                ErrorKind::Timeout => self.timed_out(target, progress),
                _ => fault,
            }
        })?;
        let stream = stream.into_inner();
        let address = stream.peer_addr().ok();
        Ok((boxed(stream), address))
    }

    /// Connects to the proxy, and has it open a tunnel for an HTTPS destination.
    async fn dial_proxy(
        &self,
        proxy: &Uri,
        destination: &Destination,
        progress: &Arc<Progress>,
    ) -> Result<(Stream, Option<SocketAddr>), Fault> {
        let target = &destination.target;
        let (mut stream, address) = self.dial(proxy, None, target, progress).await?;
        if proxy.scheme_str() == Some("https") {
            let host = proxy.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|_| {
                Fault::new(
                    ErrorKind::Local,
                    "the host of delivery.proxy is not a DNS name",
                )
            })?;
            let secured = self
                .tls
                .plain()
                .http1
                .connect(name, stream.into_inner())
                .await;
            stream =
                boxed(secured.map_err(|error| {
                    fault::read(&error, Stage::Handshake, "the proxy", address)
                })?);
        }
        if destination.is_https {
            let mut tunnel = Tunnel::new(proxy.clone(), Connected(Some(stream)));
            let opened = tunnel.call(destination.root.clone()).await;
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

/// A connector that hands out a stream that is open already.
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

fn no_tls(error: &rustls::Error) -> Fault {
    let detail = format!("outboxd cannot set up TLS for this endpoint: {error}");
    Fault::new(ErrorKind::Local, &detail)
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
