//! The connections that are kept, by place.
//!
//! An attempt leases a connection: an idle one, room on a shared one, or a new one that it makes
//! itself. While it is not known that a host speaks HTTP/1.1, attempts to it wait for the first
//! connection, since one of HTTP/2 serves them all; if it fails, all that waited for it have failed.
//!
//! No connection is used beyond its age, so that a name that moves is followed however busy its
//! connections are. How many are kept over all hosts is bounded: ten thousand endpoints with an
//! event a minute would hold ten thousand sockets, and a daemon without file descriptors can
//! neither accept events nor open its log. Beyond the bound an attempt's connection is closed
//! after it.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use tokio::time::Instant;
use url::Url;

use super::connect::{Connection, Connector};
use super::connection::{Http1, Http2, Outbound, QUIET, SendFault, lock};
use super::fault::Fault;
use super::host::{Dial, Host, Idle, Kind, Speaks, Waiting};
use super::place::{Manner, Place, origin};
use crate::config::DeliveryLimits;

/// How often connections that are idle for too long are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long the end of an exchange is waited for before its connection is kept.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Hosts that asked for HTTP/1.1 and are remembered; one more, and all are forgotten.
const MAX_HTTP1_HOSTS: usize = 4096;

/// The connections of one thread. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    connector: Connector,
    limits: DeliveryLimits,
    /// Connections that may be kept.
    most_kept: usize,
    kept: AtomicUsize,
    hosts: Mutex<HashMap<Box<str>, Vec<Arc<Host>>>>,
    /// Origins that asked for HTTP/1.1 (RFC 9113, 7: HTTP_1_1_REQUIRED).
    want_http1: Mutex<HashSet<Box<str>>>,
    is_sweeping: AtomicBool,
}

/// What an attempt that has no connection does next.
enum Step {
    Use(Lease),
    Dial(Dial),
    Wait(Waiting),
}

/// A connection for one request.
pub(super) struct Lease {
    pool: Pool,
    host: Arc<Host>,
    kind: Kind,
    /// Whether the body of a request on a shared connection was taken to its end.
    taken: Option<Arc<AtomicBool>>,
}

impl Pool {
    /// At most `most_kept` connections are kept.
    pub(super) fn new(connector: Connector, limits: &DeliveryLimits, most_kept: usize) -> Pool {
        Pool(Arc::new(Shared {
            connector,
            limits: limits.clone(),
            most_kept,
            kept: AtomicUsize::new(0),
            hosts: Mutex::default(),
            want_http1: Mutex::default(),
            is_sweeping: AtomicBool::new(false),
        }))
    }

    /// The host of `url` for an endpoint with these grants. An error says why nothing is ever
    /// sent there.
    pub(super) fn host(
        &self,
        url: &Url,
        grants: &[ipnet::IpNet],
        http2: bool,
    ) -> Result<Arc<Host>, String> {
        let origin = origin(url);
        // In plain text nothing but HTTP/1.1 is spoken anyway.
        let is_https = url.scheme() == "https";
        let manner = Manner {
            grants,
            http1: is_https && (!http2 || self.wants_http1(origin)),
        };
        let mut hosts = lock(&self.0.hosts);
        let known = hosts.get(origin).into_iter().flatten();
        if let Some(host) = known.clone().find(|host| host.place.manner() == manner) {
            return Ok(host.clone());
        }
        let host = Arc::new(Host::new(Place::new(url, manner, &self.0.limits)?));
        hosts.entry(origin.into()).or_default().push(host.clone());
        drop(hosts);
        self.sweep_from_now_on();
        Ok(host)
    }

    #[cfg(test)]
    pub(super) fn has_hosts(&self) -> bool {
        !lock(&self.0.hosts).is_empty()
    }

    #[cfg(test)]
    pub(super) fn has_idle(&self) -> bool {
        let hosts = lock(&self.0.hosts);
        let idle = |host: &Arc<Host>| {
            let connections = lock(&host.connections);
            let mut idle = connections.idle.iter();
            idle.any(|idle| idle.connection.is_ready())
        };
        hosts.values().flatten().any(idle)
    }

    fn wants_http1(&self, origin: &str) -> bool {
        lock(&self.0.want_http1).contains(origin)
    }

    /// The host asked for HTTP/1.1. Whether that is news.
    pub(super) fn use_http1(&self, url: &Url) -> bool {
        let mut wanting = lock(&self.0.want_http1);
        if wanting.len() >= MAX_HTTP1_HOSTS {
            wanting.clear();
        }
        wanting.insert(origin(url).into())
    }

    /// A connection to `host`. An error is why none came about. Never ends if no connection does,
    /// so give it a deadline.
    pub(super) async fn lease(&self, host: &Arc<Host>) -> Result<Lease, Fault> {
        let mut seen = None;
        loop {
            let mut changed = pin!(host.changed.notified());
            changed.as_mut().enable();
            match self.step(host, &mut seen)? {
                Step::Use(lease) => return Ok(lease),
                Step::Dial(dial) => {
                    // What is told meanwhile is for those who wait.
                    changed.set(host.changed.notified());
                    // It is seldom, and its state is large.
                    return Box::pin(self.dial(host, dial)).await;
                }
                Step::Wait(_waiting) => {
                    // What makes a connection quiet is told by nobody.
                    let _ = tokio::time::timeout(QUIET, changed).await;
                }
            }
        }
    }

    fn step(&self, host: &Arc<Host>, seen: &mut Option<u64>) -> Result<Step, Fault> {
        let now = Instant::now();
        let mut connections = lock(&host.connections);
        let since = *seen.get_or_insert(connections.failures);
        let max_age = self.0.limits.connection_max_age;
        let before = connections.count();
        let found = connections.take(now, max_age);
        let gone = before - connections.count();
        self.0.kept.fetch_sub(gone, Relaxed);
        if let Some(kind) = found {
            return Ok(Step::Use(Lease {
                pool: self.clone(),
                host: host.clone(),
                kind,
                taken: None,
            }));
        }
        // With another connection it is no fault of the host that one more failed.
        if since != connections.failures
            && connections.shared.is_empty()
            && let Some(fault) = &connections.fault
        {
            return Err(fault.clone());
        }
        if connections.may_dial(now) {
            connections.dials += 1;
            connections.notes = Arc::default();
            return Ok(Step::Dial(Dial {
                host: host.clone(),
                notes: connections.notes.clone(),
            }));
        }
        connections.waiting += 1;
        Ok(Step::Wait(Waiting(host.clone())))
    }

    async fn dial(&self, host: &Arc<Host>, dial: Dial) -> Result<Lease, Fault> {
        let made = self.0.connector.connect(&host.place, &dial.notes).await;
        let kind = {
            let mut connections = lock(&host.connections);
            match made {
                Err(fault) => {
                    if connections.speaks != Speaks::Http1 {
                        connections.failures += 1;
                        connections.fault = Some(fault.clone());
                    }
                    return Err(fault);
                }
                Ok(Connection::Http1(connection)) => {
                    connections.speaks = Speaks::Http1;
                    Kind::Own(Some(connection))
                }
                Ok(Connection::Http2(connection)) => {
                    connections.speaks = Speaks::Http2;
                    connection.tell(host.changed.clone());
                    connection.enter(Instant::now());
                    connections.shared.push(connection.clone());
                    self.0.kept.fetch_add(1, Relaxed);
                    Kind::Stream(connection)
                }
            }
        };
        Ok(Lease {
            pool: self.clone(),
            host: host.clone(),
            kind,
            taken: None,
        })
    }

    fn keep(&self, host: &Host, connection: Http1) {
        let age = connection.opened.elapsed();
        let is_full = self.0.kept.load(Relaxed) >= self.0.most_kept;
        if is_full || age >= self.0.limits.connection_max_age {
            return;
        }
        self.0.kept.fetch_add(1, Relaxed);
        let since = Instant::now();
        lock(&host.connections)
            .idle
            .push(Idle { connection, since });
    }

    /// Closes a shared connection on which nothing is under way if more than may be are kept.
    fn close_beyond(&self, host: &Host, connection: &Arc<Http2>) {
        let is_over = self.0.kept.load(Relaxed) > self.0.most_kept;
        if !is_over || connection.idle_for(Instant::now()).is_none() {
            return;
        }
        let mut connections = lock(&host.connections);
        let before = connections.shared.len();
        let others = |kept: &Arc<Http2>| !Arc::ptr_eq(kept, connection);
        connections.shared.retain(others);
        let gone = before - connections.shared.len();
        self.0.kept.fetch_sub(gone, Relaxed);
    }

    /// Starts the task that closes what was idle for too long and forgets hosts, unless it runs.
    fn sweep_from_now_on(&self) {
        if self.0.is_sweeping.swap(true, Relaxed) {
            return;
        }
        let shared = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                let Some(pool) = Weak::upgrade(&shared).map(Pool) else {
                    return;
                };
                if pool.sweep(Instant::now()) {
                    return;
                }
            }
        });
    }

    /// Whether nothing is left.
    fn sweep(&self, now: Instant) -> bool {
        let max_age = self.0.limits.connection_max_age;
        let mut hosts = lock(&self.0.hosts);
        hosts.retain(|_, hosts| {
            hosts.retain(|host| {
                let mut connections = lock(&host.connections);
                let before = connections.count();
                connections.sweep(now, max_age);
                let after = connections.count();
                self.0.kept.fetch_sub(before - after, Relaxed);
                // Those who use it or wait hold it.
                after > 0 || Arc::strong_count(host) > 1
            });
            !hosts.is_empty()
        });
        if hosts.is_empty() {
            self.0.is_sweeping.store(false, Relaxed);
        }
        hosts.is_empty()
    }
}

impl Lease {
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    pub(super) fn address(&self) -> Option<std::net::SocketAddr> {
        match &self.kind {
            Kind::Own(connection) => connection.as_ref()?.address,
            Kind::Stream(connection) => connection.address,
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Outbound,
    ) -> Result<Response<Incoming>, SendFault> {
        match &mut self.kind {
            Kind::Own(Some(connection)) => connection.send(request).await,
            Kind::Own(None) => std::future::pending().await,
            Kind::Stream(connection) => {
                let (answer, taken) = connection.send(request).await?;
                self.taken = Some(taken);
                Ok(answer)
            }
        }
    }

    /// The answer was read to its end: the connection may be used again.
    pub(super) fn give_back(mut self) {
        let Kind::Own(connection) = &mut self.kind else {
            return;
        };
        let Some(mut connection) = connection.take() else {
            return;
        };
        if connection.is_ready() {
            return self.pool.keep(&self.host, connection);
        }
        let (pool, host) = (self.pool.clone(), self.host.clone());
        tokio::spawn(async move {
            let ready = tokio::time::timeout(SETTLE_TIMEOUT, connection.ready()).await;
            if ready == Ok(true) {
                pool.keep(&host, connection);
            }
        });
    }

    /// There was a fault on the connection: it takes no new request.
    pub(super) fn distrust(self) {
        if let Kind::Stream(connection) = &self.kind {
            connection.distrust();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Kind::Stream(connection) = &self.kind {
            // What its peer has not taken takes up room on the connection.
            if self
                .taken
                .as_ref()
                .is_some_and(|taken| !taken.load(Relaxed))
            {
                connection.distrust();
            }
            connection.leave();
            self.pool.close_beyond(&self.host, connection);
            self.host.changed.notify_one();
        }
    }
}
