//! The connections that a thread keeps, by destination.
//!
//! An attempt leases a connection: an idle one, a stream of a shared one, or one that it opens
//! itself. While the version of HTTP that a host speaks is unknown, other attempts wait for the
//! first connection, since one of HTTP/2 serves them all. If it cannot be opened, they fail with
//! the same fault.
//!
//! No connection is used beyond its age, so outboxd follows a name that moves however busy its
//! connections are. The number of kept connections is bounded over all hosts: ten thousand
//! endpoints with an event a minute would hold ten thousand sockets, and a daemon without file
//! descriptors can neither accept events nor open its log. Beyond the bound outboxd closes a
//! connection after its attempt.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use tokio::time::Instant;
use url::Url;

use super::connect::Connector;
use super::connection::Connection;
use super::destination::{Destination, DialPolicy, origin};
use super::exchange::{OutboundRequest, SendFault};
use super::fault::Fault;
use super::host::{Host, Kept, Opening, Speaks, Waiting};
use super::http1::Http1;
use super::http2::{Http2, QUIET};
use super::lock::lock;
use super::secured::Ended;
use crate::config::DeliveryLimits;
use crate::domain::endpoint::Endpoint;

/// How often the pool looks for connections that were idle for too long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long an HTTP/1.1 connection may take to end its exchange before it is kept.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// Origins that asked for HTTP/1.1; one more, and all are forgotten.
const MAX_HTTP1_ORIGINS: usize = 4096;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    connector: Connector,
    limits: DeliveryLimits,
    /// How many connections are kept, and how many may be.
    kept: Arc<AtomicUsize>,
    most_kept: usize,
    hosts: Mutex<HashMap<Box<str>, Vec<Arc<Host>>>>,
    /// Origins that asked for HTTP/1.1 (RFC 9113, 7: HTTP_1_1_REQUIRED).
    http1_origins: Mutex<HashSet<Box<str>>>,
    is_sweeping: AtomicBool,
}

/// What an attempt without a connection does next.
enum Step {
    Use(Connection),
    Open(Opening),
    Wait(Waiting),
}

impl Pool {
    pub(super) fn new(connector: Connector, limits: &DeliveryLimits, most_kept: usize) -> Pool {
        Pool(Arc::new(Inner {
            kept: connector.figures().kept_by_pool(),
            connector,
            limits: limits.clone(),
            most_kept,
            hosts: Mutex::default(),
            http1_origins: Mutex::default(),
            is_sweeping: AtomicBool::new(false),
        }))
    }

    /// The host of `url` for requests of `endpoint`. The error says why outboxd never sends anything
    /// there.
    pub(super) fn host(&self, url: &Url, endpoint: &Endpoint) -> Result<Arc<Host>, String> {
        let origin = origin(url);
        let policy = self.policy(url, endpoint);
        let mut hosts = lock(&self.0.hosts);
        let mut known = hosts.get(origin).into_iter().flatten();
        if let Some(host) = known.find(|host| host.destination.policy() == policy) {
            return Ok(host.clone());
        }
        let destination = Destination::new(url, policy, &self.0.limits)?;
        let host = Arc::new(Host::new(destination));
        hosts.entry(origin.into()).or_default().push(host.clone());
        drop(hosts);
        self.start_sweeping();
        Ok(host)
    }

    /// Where requests of `endpoint` go, not judged. The error says what is wrong with the URL.
    pub(super) fn destination(&self, endpoint: &Endpoint) -> Result<Destination, String> {
        let policy = self.policy(&endpoint.url, endpoint);
        Destination::unjudged(&endpoint.url, policy, &self.0.limits)
    }

    fn policy<'a>(&self, url: &Url, endpoint: &'a Endpoint) -> DialPolicy<'a> {
        let shaping = endpoint.shaping.as_deref();
        DialPolicy {
            grants: &endpoint.allow_networks,
            // Without TLS outboxd speaks nothing else anyway.
            http1: url.scheme() == "https"
                && (!endpoint.http2 || self.asked_for_http1(origin(url))),
            identity: shaping.and_then(|shaping| shaping.identity.as_ref()),
            authorities: shaping.and_then(|shaping| shaping.authorities.as_ref()),
        }
    }

    fn asked_for_http1(&self, origin: &str) -> bool {
        lock(&self.0.http1_origins).contains(origin)
    }

    /// Remembers that the origin asked for HTTP/1.1. Returns whether that is news.
    pub(super) fn use_http1(&self, url: &Url) -> bool {
        let mut origins = lock(&self.0.http1_origins);
        if origins.len() >= MAX_HTTP1_ORIGINS {
            origins.clear();
        }
        origins.insert(origin(url).into())
    }

    /// Leases a connection to `host`. The error says why none could be opened. May wait for ever,
    /// so give it a deadline.
    pub(super) async fn lease(&self, host: &Arc<Host>) -> Result<Lease, Fault> {
        let failures = lock(&host.connections).failures();
        loop {
            let mut changed = pin!(host.changed.notified());
            changed.as_mut().enable();
            match self.step(host, failures)? {
                Step::Use(connection) => return Ok(Lease::new(self, host, connection)),
                Step::Open(opening) => {
                    // The next notification belongs to an attempt that waits.
                    changed.set(host.changed.notified());
                    // Boxed, since it is rare and its state is large.
                    return Box::pin(self.open(opening)).await;
                }
                Step::Wait(_waiting) => {
                    // No notification says that a connection has become quiet.
                    let _ = tokio::time::timeout(QUIET, changed).await;
                }
            }
        }
    }

    fn step(&self, host: &Arc<Host>, failures: u64) -> Result<Step, Fault> {
        let now = Instant::now();
        let mut connections = lock(&host.connections);
        if let Some(found) = connections.take(now, self.0.limits.connection_max_age) {
            return Ok(Step::Use(found));
        }
        if let Some(fault) = connections.shared_fault(failures) {
            return Err(fault);
        }
        if connections.wants_another(now) {
            connections.opening += 1;
            connections.progress = Arc::default();
            return Ok(Step::Open(Opening {
                host: host.clone(),
                progress: connections.progress.clone(),
            }));
        }
        connections.waiting += 1;
        Ok(Step::Wait(Waiting(host.clone())))
    }

    async fn open(&self, opening: Opening) -> Result<Lease, Fault> {
        let host = &opening.host;
        let connector = &self.0.connector;
        let opened = connector
            .open(&host.destination, &opening.progress, &host.changed)
            .await;
        let mut connections = lock(&host.connections);
        let connection = opened.inspect_err(|fault| connections.failed(fault))?;
        match &connection {
            Connection::Http1(_) => connections.speaks = Speaks::Http1,
            Connection::Http2(http2) => {
                connections.speaks = Speaks::Http2;
                http2.reserve(Instant::now());
                connections.keep_shared(http2.clone(), Kept::new(&self.0.kept));
            }
        }
        drop(connections);
        Ok(Lease::new(self, host, connection))
    }

    fn keep_idle(&self, host: &Host, connection: Http1) {
        let is_old = connection.opened.elapsed() >= self.0.limits.connection_max_age;
        if !is_old && self.0.kept.load(Relaxed) < self.0.most_kept {
            let kept = Kept::new(&self.0.kept);
            lock(&host.connections).keep_idle(connection, kept);
        }
    }

    /// Closes a shared connection without requests if too many are kept.
    fn close_surplus(&self, host: &Host, connection: &Arc<Http2>) {
        let is_surplus = self.0.kept.load(Relaxed) > self.0.most_kept;
        if is_surplus && connection.idle_for(Instant::now()).is_some() {
            lock(&host.connections).remove_shared(connection);
        }
    }

    /// Starts the task that sweeps, unless it runs.
    fn start_sweeping(&self) {
        if self.0.is_sweeping.swap(true, Relaxed) {
            return;
        }
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                let Some(pool) = Weak::upgrade(&inner).map(Pool) else {
                    return;
                };
                if !pool.sweep(Instant::now()) {
                    return;
                }
            }
        });
    }

    /// Closes idle connections and forgets hosts without any. Returns whether there is more to
    /// sweep later.
    fn sweep(&self, now: Instant) -> bool {
        let max_age = self.0.limits.connection_max_age;
        let mut hosts = lock(&self.0.hosts);
        hosts.retain(|_, hosts| {
            hosts.retain(|host| {
                let has_any = lock(&host.connections).sweep(now, max_age);
                // An attempt that uses or awaits a connection holds the host.
                has_any || Arc::strong_count(host) > 1
            });
            !hosts.is_empty()
        });
        let is_needed = !hosts.is_empty();
        // Under the lock: a host that is added from now on starts the next task.
        self.0.is_sweeping.store(is_needed, Relaxed);
        is_needed
    }

    #[cfg(test)]
    pub(super) fn has_hosts(&self) -> bool {
        !lock(&self.0.hosts).is_empty()
    }

    #[cfg(test)]
    pub(super) fn has_idle(&self) -> bool {
        let hosts = lock(&self.0.hosts);
        let mut hosts = hosts.values().flatten();
        hosts.any(|host| lock(&host.connections).has_idle())
    }
}

/// A connection for one request.
pub(super) enum Lease {
    Own {
        pool: Pool,
        host: Arc<Host>,
        connection: Http1,
    },
    Stream(StreamLease),
}

/// A stream of a shared connection.
pub(super) struct StreamLease {
    pool: Pool,
    host: Arc<Host>,
    connection: Arc<Http2>,
    /// Whether the request's body is done, once there is a response.
    body_done: Option<Arc<AtomicBool>>,
}

impl Lease {
    fn new(pool: &Pool, host: &Arc<Host>, connection: Connection) -> Lease {
        let (pool, host) = (pool.clone(), host.clone());
        match connection {
            Connection::Http1(connection) => Lease::Own {
                pool,
                host,
                connection,
            },
            Connection::Http2(connection) => Lease::Stream(StreamLease {
                pool,
                host,
                connection,
                body_done: None,
            }),
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Lease::Stream(_))
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Lease::Own { connection, .. } => connection.address,
            Lease::Stream(stream) => stream.connection.address,
        }
    }

    /// The fault of TLS that ended the connection, once there is one.
    pub(super) fn ended(&self) -> Ended {
        match self {
            Lease::Own { connection, .. } => connection.ended.clone(),
            Lease::Stream(stream) => stream.connection.ended.clone(),
        }
    }

    /// Sends a request and waits for the head of the response.
    pub(super) async fn send(
        &mut self,
        request: OutboundRequest,
    ) -> Result<Response<Incoming>, SendFault> {
        match self {
            Lease::Own { connection, .. } => connection.send(request).await,
            Lease::Stream(stream) => {
                let (response, body_done) = stream.connection.send(request).await?;
                stream.body_done = Some(body_done);
                Ok(response)
            }
        }
    }

    /// The response has been read to its end: the connection can be used again.
    pub(super) fn give_back(self) {
        let Lease::Own {
            pool,
            host,
            mut connection,
        } = self
        else {
            return;
        };
        if connection.is_ready() {
            return pool.keep_idle(&host, connection);
        }
        tokio::spawn(async move {
            let ready = tokio::time::timeout(READY_TIMEOUT, connection.ready()).await;
            if ready == Ok(true) {
                pool.keep_idle(&host, connection);
            }
        });
    }

    /// The exchange failed: the connection takes no new request.
    pub(super) fn distrust(self) {
        if let Lease::Stream(stream) = &self {
            stream.connection.distrust();
        }
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        // What the peer has not accepted takes up room on the connection.
        if let Some(body_done) = &self.body_done
            && !body_done.load(Relaxed)
        {
            self.connection.distrust();
        }
        self.connection.release();
        self.pool.close_surplus(&self.host, &self.connection);
        self.host.changed.notify_one();
    }
}
