//! What is known of one place, and its connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::{Http1, Http2, lock};
use super::fault::Fault;
use super::notes::Notes;
use super::place::Place;

/// How long an idle connection is kept. Below the 60 s after which many proxies and load
/// balancers drop theirs, so that we close first and do not send into a closing one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// Requests that a connection of HTTP/2 is thought to take before one has said.
const USUAL_STREAMS: usize = 100;

/// What is known of a place, and its connections.
pub(super) struct Host {
    pub(super) place: Place,
    pub(super) connections: Mutex<Connections>,
    /// A connection may be had, or one was tried in vain.
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
    pub(super) idle: Vec<Idle>,
    pub(super) shared: Vec<Arc<Http2>>,
    /// Attempts that wait for a connection which another one makes.
    pub(super) waiting: usize,
    /// Connections being made.
    pub(super) dials: usize,
    /// Of the last one that was begun.
    pub(super) notes: Arc<Notes>,
    /// How many failed, and how the last one did.
    pub(super) failures: u64,
    pub(super) fault: Option<Fault>,
    /// Requests that a connection of HTTP/2 takes, as the last one said.
    streams: Option<usize>,
}

pub(super) struct Idle {
    pub(super) connection: Http1,
    pub(super) since: Instant,
}

/// A connection that takes a request.
pub(super) enum Kind {
    /// `None` once it was given back.
    Own(Option<Http1>),
    Stream(Arc<Http2>),
}

impl Host {
    /// Whether a host speaks HTTP/2 shows when there is a connection.
    pub(super) fn new(place: Place) -> Host {
        let speaks = match place.is_https && !place.http1 {
            true => Speaks::Unknown,
            false => Speaks::Http1,
        };
        Host {
            place,
            connections: Mutex::new(Connections {
                speaks,
                ..Connections::default()
            }),
            changed: Arc::default(),
        }
    }

    /// Of the connection that was last begun.
    pub(super) fn notes(&self) -> Arc<Notes> {
        let connections = lock(&self.connections);
        match connections.dials {
            0 => Arc::default(),
            _ => connections.notes.clone(),
        }
    }
}

impl Connections {
    /// Those that are kept.
    pub(super) fn count(&self) -> usize {
        self.idle.len() + self.shared.len()
    }

    /// A connection that takes a request now.
    pub(super) fn take(&mut self, now: Instant, max_age: Duration) -> Option<Kind> {
        while let Some(idle) = self.idle.pop() {
            if idle.is_of_use(now, max_age) {
                return Some(Kind::Own(Some(idle.connection)));
            }
        }
        self.shared.retain(|shared| shared.is_of_use(now, max_age));
        if let Some(streams) = self
            .shared
            .iter()
            .filter_map(|shared| shared.streams())
            .next_back()
        {
            self.streams = Some(streams);
        }
        let found = self.shared.iter().find(|shared| shared.enter(now))?;
        Some(Kind::Stream(found.clone()))
    }

    /// Whether one more connection is wanted for one more attempt, beside those being made.
    pub(super) fn may_dial(&self, now: Instant) -> bool {
        match self.speaks {
            Speaks::Http1 => true,
            Speaks::Unknown => self.dials == 0,
            Speaks::Http2 => {
                let promising = self.shared.iter().filter(|shared| shared.is_promising(now));
                let coming = self.dials + promising.count();
                // Of each of these the first request is that of who makes it.
                let places = self.streams.unwrap_or(USUAL_STREAMS).saturating_sub(1);
                self.waiting >= coming.saturating_mul(places)
            }
        }
    }

    pub(super) fn sweep(&mut self, now: Instant, max_age: Duration) {
        self.idle.retain(|idle| idle.is_of_use(now, max_age));
        self.shared.retain(|shared| {
            let idle = shared.idle_for(now);
            shared.is_of_use(now, max_age) && idle.is_none_or(|idle| idle < IDLE_TIMEOUT)
        });
    }
}

impl Idle {
    fn is_of_use(&self, now: Instant, max_age: Duration) -> bool {
        self.connection.is_ready()
            && now.saturating_duration_since(self.since) < IDLE_TIMEOUT
            && now.saturating_duration_since(self.connection.opened) < max_age
    }
}

/// A connection is being made.
pub(super) struct Dial {
    pub(super) host: Arc<Host>,
    pub(super) notes: Arc<Notes>,
}

impl Drop for Dial {
    /// Whether it came about or not, and also when its attempt is dropped.
    fn drop(&mut self) {
        lock(&self.host.connections).dials -= 1;
        self.host.changed.notify_waiters();
    }
}

/// An attempt waits.
pub(super) struct Waiting(pub(super) Arc<Host>);

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.0.connections).waiting -= 1;
    }
}
