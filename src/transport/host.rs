//! The connections to one destination, and whether one more is wanted.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Connection;
use super::destination::Destination;
use super::fault::Fault;
use super::http1::Http1;
use super::http2::Http2;
use super::lock::lock;
use super::progress::Progress;

/// How long an idle connection is kept. Below the 60 s after which many proxies and load
/// balancers drop theirs, so that outboxd closes first and does not send into a closing one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// How many requests an HTTP/2 connection is assumed to carry until one has said.
const USUAL_STREAMS: usize = 100;

pub(super) struct Host {
    pub(super) destination: Destination,
    pub(super) connections: Mutex<Connections>,
    /// Notified when a waiting attempt should look again.
    pub(super) changed: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Speaks {
    #[default]
    Unknown,
    Http1,
    Http2,
}

#[derive(Default)]
pub(super) struct Connections {
    pub(super) speaks: Speaks,
    /// Of HTTP/1.1, the last used last.
    idle: Vec<Idle>,
    /// Of HTTP/2.
    shared: Vec<Shared>,
    /// Attempts that wait for a connection.
    pub(super) waiting: usize,
    /// Connections that attempts are opening.
    pub(super) opening: usize,
    /// Of the last one that an attempt began to open.
    pub(super) progress: Arc<Progress>,
    /// How many could not be opened, and why the last one could not.
    failures: u64,
    fault: Option<Fault>,
    /// How many requests the last HTTP/2 connection carried.
    max_streams: Option<usize>,
}

struct Idle {
    connection: Http1,
    since: Instant,
    _kept: Kept,
}

struct Shared {
    connection: Arc<Http2>,
    _kept: Kept,
}

/// Counts a kept connection for as long as it lives.
pub(super) struct Kept(Arc<AtomicUsize>);

impl Kept {
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Kept {
        count.fetch_add(1, Relaxed);
        Kept(count.clone())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Host {
    pub(super) fn new(destination: Destination) -> Host {
        // Over TLS the first connection shows it.
        let speaks = match destination.is_https && !destination.http1 {
            true => Speaks::Unknown,
            false => Speaks::Http1,
        };
        Host {
            destination,
            connections: Mutex::new(Connections {
                speaks,
                ..Connections::default()
            }),
            changed: Arc::default(),
        }
    }

    /// What a waiting attempt waits for.
    pub(super) fn progress(&self) -> Arc<Progress> {
        let connections = lock(&self.connections);
        match connections.opening {
            0 => Arc::default(),
            _ => connections.progress.clone(),
        }
    }
}

impl Connections {
    /// A connection that takes a request now.
    pub(super) fn take(&mut self, now: Instant, max_age: Duration) -> Option<Connection> {
        while let Some(idle) = self.idle.pop() {
            if idle.is_usable(now, max_age) {
                return Some(Connection::Http1(idle.connection));
            }
        }
        self.shared
            .retain(|shared| shared.connection.is_usable(now, max_age));
        let shared = || self.shared.iter().map(|shared| &shared.connection);
        let max_streams = shared().rev().find_map(|http2| http2.max_streams());
        let found = shared().find(|http2| http2.reserve(now)).cloned();
        self.max_streams = max_streams.or(self.max_streams);
        found.map(Connection::Http2)
    }

    pub(super) fn keep_idle(&mut self, connection: Http1, kept: Kept) {
        self.idle.push(Idle {
            connection,
            since: Instant::now(),
            _kept: kept,
        });
    }

    pub(super) fn keep_shared(&mut self, connection: Arc<Http2>, kept: Kept) {
        self.shared.push(Shared {
            connection,
            _kept: kept,
        });
    }

    /// Requests under way on it go on.
    pub(super) fn remove_shared(&mut self, connection: &Arc<Http2>) {
        let is_another = |shared: &Shared| !Arc::ptr_eq(&shared.connection, connection);
        self.shared.retain(is_another);
    }

    pub(super) fn failed(&mut self, fault: &Fault) {
        self.failures += 1;
        self.fault = Some(fault.clone());
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// The fault that an attempt shares which has waited since there were so many failures. While
    /// there is another connection, it waits on.
    pub(super) fn shared_fault(&self, failures: u64) -> Option<Fault> {
        let is_shared =
            self.failures != failures && self.speaks != Speaks::Http1 && self.shared.is_empty();
        self.fault.clone().filter(|_| is_shared)
    }

    /// Whether an attempt that found no connection should open one.
    pub(super) fn wants_another(&self, now: Instant) -> bool {
        match self.speaks {
            Speaks::Http1 => true,
            Speaks::Unknown => self.opening == 0,
            Speaks::Http2 => {
                let shared = self.shared.iter().map(|shared| &shared.connection);
                let unsettled = shared.filter(|http2| http2.awaits_settings(now)).count();
                // The first request on each is that of the attempt that opens it.
                let streams = self.max_streams.unwrap_or(USUAL_STREAMS).saturating_sub(1);
                self.waiting >= (self.opening + unsettled).saturating_mul(streams)
            }
        }
    }

    /// Closes what has been idle for too long or is too old. Returns whether any is left.
    pub(super) fn sweep(&mut self, now: Instant, max_age: Duration) -> bool {
        self.idle.retain(|idle| idle.is_usable(now, max_age));
        self.shared.retain(|shared| {
            let idle = shared.connection.idle_for(now);
            shared.connection.is_usable(now, max_age) && idle.is_none_or(|idle| idle < IDLE_TIMEOUT)
        });
        !self.idle.is_empty() || !self.shared.is_empty()
    }

    #[cfg(test)]
    pub(super) fn has_idle(&self) -> bool {
        self.idle.iter().any(|idle| idle.connection.is_ready())
    }
}

impl Idle {
    fn is_usable(&self, now: Instant, max_age: Duration) -> bool {
        self.connection.is_ready()
            && now.saturating_duration_since(self.since) < IDLE_TIMEOUT
            && now.saturating_duration_since(self.connection.opened) < max_age
    }
}

/// An attempt is opening a connection.
pub(super) struct Opening {
    pub(super) host: Arc<Host>,
    pub(super) progress: Arc<Progress>,
}

impl Drop for Opening {
    /// Also when the attempt is dropped.
    fn drop(&mut self) {
        lock(&self.host.connections).opening -= 1;
        self.host.changed.notify_waiters();
    }
}

/// An attempt is waiting for a connection.
pub(super) struct Waiting(pub(super) Arc<Host>);

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.0.connections).waiting -= 1;
    }
}
