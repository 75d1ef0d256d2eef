//! The tail: accepted events, attempts, and changes of endpoints' states, sent to listeners as they
//! happen.
//!
//! A tail begins when it is opened: nothing earlier is kept for it. Sending never waits. A listener
//! that reads too slowly loses the oldest entries that it has not read, and gets their number.
//! Without a listener no entry is made.
//!
//! The tails of the API end when a stop begins ([`Tail::close`]). A listener of the daemon's own
//! ([`Tail::listen_to_the_end`]) hears of the attempts that end after that, too.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::clock;
use crate::domain::attempt::{Attempt, AttemptId};
use crate::domain::content::Content;
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId, EndpointNo, TypePattern};
use crate::domain::event::{EventId, EventType, Key, NewEvent, Tenant};
use crate::domain::shaping::Verb;
use crate::domain::time::Timestamp;
use crate::outbox::Receipt;

/// How many entries are kept for a slow listener.
const BEHIND: usize = 1024;
/// The same for listeners of the daemon's own.
const OWN_BEHIND: usize = 4096;
/// The most listeners at once.
const LISTENERS: usize = 64;
/// How much of a response body is sent, in bytes. With [`BEHIND`] this bounds the memory.
const RESPONSE: usize = 4096;

/// An event that was accepted and is durable.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub id: EventId,
    pub event_type: EventType,
    pub tenant: Tenant,
    pub key: Option<Key>,
    pub source: Option<String>,
    pub accepted_at: Timestamp,
    /// How many endpoints the event is for.
    pub deliveries: u32,
    /// The trace context that it came with.
    pub trace: Vec<(HeaderName, HeaderValue)>,
    /// When it was handed in, and how long it took until it was durable.
    pub began: Timestamp,
    pub took: Duration,
}

/// An attempt that ended. Its outcome is stored within the commit interval.
#[derive(Clone, Debug)]
pub struct Attempted {
    pub id: AttemptId,
    pub event: EventId,
    pub endpoint: EndpointId,
    pub tenant: Tenant,
    /// `None`: the event could not be read.
    pub event_type: Option<EventType>,
    pub source: Option<String>,
    pub attempt: Attempt,
    /// The number of the attempt in its retry budget, from 1.
    pub number: u32,
    pub method: &'static str,
    /// Of the endpoint's URL.
    pub host: Option<String>,
    pub port: Option<u16>,
    /// The trace context that the event came with.
    pub trace: Vec<(HeaderName, HeaderValue)>,
}

/// An attempt that was made.
#[derive(Clone, Copy)]
pub(super) struct Made<'a> {
    pub no: EndpointNo,
    pub event: EventId,
    pub attempt: &'a Attempt,
    /// The event and its body, if they could be read.
    pub content: Option<&'a Content>,
    /// The number of the attempt in its retry budget, from 1.
    pub number: u32,
}

/// The new state of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointChange {
    Disabled(DisabledReason),
    Enabled,
    BreakerOpened,
    BreakerClosed,
}

/// An endpoint that changed its state.
#[derive(Clone, Debug)]
pub struct Switched {
    pub endpoint: EndpointId,
    pub tenant: Tenant,
    pub change: EndpointChange,
    pub at: Timestamp,
}

/// One entry of the tail.
#[derive(Debug)]
pub enum Happened {
    Accepted(Accepted),
    Attempt(Box<Attempted>),
    Endpoint(Switched),
}

/// What a listener receives.
#[derive(Debug)]
pub enum Heard {
    Happened(Arc<Happened>),
    /// How many entries were lost because the listener read too slowly.
    Missed(u64),
}

/// The filters of a listener; an entry must match all of them. An entry that has no endpoint, type
/// or source does not match a filter on that field.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub tenant: Option<Tenant>,
    pub endpoint: Option<EndpointId>,
    pub event_type: Option<TypePattern>,
    pub source: Option<String>,
}

impl Wanted {
    fn fits(&self, happened: &Happened) -> bool {
        let (tenant, endpoint, event_type, source) = match happened {
            Happened::Accepted(event) => {
                (&event.tenant, None, Some(&event.event_type), &event.source)
            }
            Happened::Attempt(attempt) => (
                &attempt.tenant,
                Some(&attempt.endpoint),
                attempt.event_type.as_ref(),
                &attempt.source,
            ),
            Happened::Endpoint(switched) => {
                (&switched.tenant, Some(&switched.endpoint), None, &None)
            }
        };
        let pattern = self.event_type.as_ref();
        self.tenant.as_ref().is_none_or(|wanted| wanted == tenant)
            && (self.endpoint.is_none() || self.endpoint.as_ref() == endpoint)
            && (self.source.is_none() || self.source == *source)
            && pattern.is_none_or(|pattern| event_type.is_some_and(|found| pattern.matches(found)))
    }
}

type Sender = broadcast::Sender<Arc<Happened>>;

/// Sends to all listeners. Cheap to clone; all clones share the listeners.
#[derive(Clone)]
pub struct Tail {
    senders: Arc<Mutex<Senders>>,
    listeners: Arc<AtomicUsize>,
}

struct Senders {
    /// `None` once the daemon stops.
    api: Option<Sender>,
    /// To listeners of the daemon's own, once there was one.
    own: Option<Sender>,
}

impl Default for Tail {
    fn default() -> Self {
        let senders = Senders {
            api: Some(broadcast::Sender::new(BEHIND)),
            own: None,
        };
        Tail {
            senders: Arc::new(Mutex::new(senders)),
            listeners: Arc::default(),
        }
    }
}

impl Tail {
    /// Whether there is a listener. Without one no entry needs to be made.
    pub fn is_heard(&self) -> bool {
        self.listeners.load(Relaxed) > 0
    }

    /// Sends these events to all listeners, duplicates left out.
    pub fn accepted(&self, events: Vec<Unaccepted>, receipts: &[Receipt]) {
        let told = events.into_iter().zip(receipts);
        let told = told.filter(|(_, receipt)| !receipt.duplicate);
        self.send(told.map(|(event, receipt)| Happened::Accepted(event.accepted(receipt))));
    }

    /// Sends an attempt that ended.
    pub(super) fn attempted(&self, made: Made<'_>, endpoint: &Endpoint) {
        let Made { event, content, .. } = made;
        let mut attempt = made.attempt.clone();
        if let Some(beginning) = attempt.response_body.get(..RESPONSE) {
            attempt.response_body = Bytes::copy_from_slice(beginning);
        }
        let extras = content.and_then(|content| content.extras.as_deref());
        let shaping = endpoint.shaping.as_deref();
        let attempted = Attempted {
            id: AttemptId::new(attempt.at, event, &endpoint.id),
            event,
            endpoint: endpoint.id.clone(),
            tenant: endpoint.tenant.clone(),
            event_type: content.map(|content| content.event_type.clone()),
            source: extras.and_then(|extras| extras.source.clone()),
            attempt,
            number: made.number,
            method: shaping
                .map_or(Verb::Post, |shaping| shaping.method)
                .as_str(),
            host: endpoint.url.host_str().map(str::to_owned),
            port: endpoint.url.port_or_known_default(),
            trace: extras.map_or_else(Vec::new, |extras| extras.trace.clone()),
        };
        self.send([Happened::Attempt(Box::new(attempted))]);
    }

    /// Sends that an endpoint changed its state.
    pub(super) fn switched(&self, endpoint: &Endpoint, change: EndpointChange, at: Timestamp) {
        self.send([Happened::Endpoint(Switched {
            endpoint: endpoint.id.clone(),
            tenant: endpoint.tenant.clone(),
            change,
            at,
        })]);
    }

    fn send(&self, all: impl IntoIterator<Item = Happened>) {
        let senders = self.senders();
        for happened in all.into_iter().map(Arc::new) {
            // Sending fails only when no listener is left.
            if let Some(own) = &senders.own {
                let _ = own.send(happened.clone());
            }
            if let Some(api) = &senders.api {
                let _ = api.send(happened);
            }
        }
    }

    fn senders(&self) -> MutexGuard<'_, Senders> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new listener; `None` if there are too many, or the daemon stops.
    pub fn listen(&self, wanted: Wanted) -> Option<Listener> {
        let senders = self.senders();
        let sender = senders.api.as_ref()?;
        if self.listeners.load(Relaxed) >= LISTENERS {
            return None;
        }
        // Under the lock: two listeners do not both take the last place.
        Some(self.listener(sender, wanted))
    }

    /// A listener of the daemon's own, which hears of everything until [`Tail::end`].
    pub fn listen_to_the_end(&self) -> Listener {
        let mut senders = self.senders();
        let new = || broadcast::Sender::new(OWN_BEHIND);
        let sender = senders.own.get_or_insert_with(new);
        self.listener(sender, Wanted::default())
    }

    fn listener(&self, sender: &Sender, wanted: Wanted) -> Listener {
        self.listeners.fetch_add(1, Relaxed);
        Listener {
            receiver: sender.subscribe(),
            wanted,
            listeners: self.listeners.clone(),
        }
    }

    /// Ends the tails of the API.
    pub fn close(&self) {
        self.senders().api = None;
    }

    /// Ends all tails. Called after the last attempt.
    pub fn end(&self) {
        let mut senders = self.senders();
        (senders.api, senders.own) = (None, None);
    }
}

/// The fields of an event that listeners get once it is accepted.
#[derive(Debug)]
pub struct Unaccepted {
    tenant: Tenant,
    key: Option<Key>,
    source: Option<String>,
    trace: Vec<(HeaderName, HeaderValue)>,
    began: Timestamp,
    since: Instant,
}

impl Unaccepted {
    pub fn of(event: &NewEvent) -> Unaccepted {
        let extras = event.extras.as_deref();
        Unaccepted {
            tenant: event.tenant.clone(),
            key: event.key.clone(),
            source: extras.and_then(|extras| extras.source.clone()),
            trace: extras.map_or_else(Vec::new, |extras| extras.trace.clone()),
            began: clock::now(),
            since: Instant::now(),
        }
    }

    fn accepted(self, receipt: &Receipt) -> Accepted {
        Accepted {
            id: receipt.id,
            event_type: receipt.event_type.clone(),
            tenant: self.tenant,
            key: self.key,
            source: self.source,
            accepted_at: receipt.accepted_at,
            deliveries: receipt.deliveries,
            trace: self.trace,
            began: self.began,
            took: self.since.elapsed(),
        }
    }
}

/// One listener.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<Arc<Happened>>,
    wanted: Wanted,
    listeners: Arc<AtomicUsize>,
}

impl Listener {
    /// The next entry that matches the filters; `None` once the daemon stops. The future may be
    /// dropped while it waits.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            match self.receiver.recv().await {
                Ok(happened) if self.wanted.fits(&happened) => {
                    return Some(Heard::Happened(happened));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Some(Heard::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tail: &Tail, name: &str, source: Option<&str>, duplicate: bool) {
        let event = Unaccepted {
            tenant: Tenant::default(),
            key: None,
            source: source.map(str::to_owned),
            trace: Vec::new(),
            began: Timestamp::from_millis(0),
            since: Instant::now(),
        };
        let receipt = Receipt {
            id: EventId(1),
            event_type: EventType::new(name).unwrap(),
            accepted_at: Timestamp::from_millis(0),
            deliveries: 0,
            duplicate,
        };
        tail.accepted(vec![event], &[receipt]);
    }

    async fn name(listener: &mut Listener) -> String {
        match listener.next().await.unwrap() {
            Heard::Happened(happened) => match &*happened {
                Happened::Accepted(event) => event.event_type.to_string(),
                other => panic!("{other:?}"),
            },
            Heard::Missed(missed) => format!("missed {missed}"),
        }
    }

    #[tokio::test]
    async fn a_listener_gets_matching_entries_from_its_start() {
        let tail = Tail::default();
        assert!(!tail.is_heard());
        told(&tail, "before", Some("s"), false);
        let of_source = Wanted {
            source: Some("s".into()),
            ..Wanted::default()
        };
        let of_type = Wanted {
            event_type: Some(TypePattern::parse("order.*").unwrap()),
            ..Wanted::default()
        };
        let mut sources = tail.listen(of_source).unwrap();
        let mut types = tail.listen(of_type).unwrap();
        assert!(tail.is_heard());
        told(&tail, "order.a", None, false);
        told(&tail, "order.b", Some("s"), true);
        told(&tail, "c", Some("s"), false);
        assert_eq!(name(&mut sources).await, "c");
        assert_eq!(name(&mut types).await, "order.a");
        tail.close();
        assert!(types.next().await.is_none());
        assert!(tail.listen(Wanted::default()).is_none());
    }

    #[tokio::test]
    async fn a_slow_listener_gets_the_number_of_lost_entries() {
        let tail = Tail::default();
        let mut slow = tail.listen(Wanted::default()).unwrap();
        for _ in 0..BEHIND + 7 {
            told(&tail, "a", None, false);
        }
        assert_eq!(name(&mut slow).await, "missed 7");
        assert_eq!(name(&mut slow).await, "a");
    }

    #[tokio::test]
    async fn a_listener_of_the_daemons_own_hears_of_what_happens_after_the_close() {
        let tail = Tail::default();
        let mut api = tail.listen(Wanted::default()).unwrap();
        let mut own = tail.listen_to_the_end();
        told(&tail, "a", None, false);
        tail.close();
        assert!(tail.is_heard());
        told(&tail, "b", None, false);
        tail.end();
        told(&tail, "c", None, false);
        assert_eq!(name(&mut api).await, "a");
        assert!(api.next().await.is_none());
        assert_eq!(
            (name(&mut own).await, name(&mut own).await),
            ("a".into(), "b".into())
        );
        assert!(own.next().await.is_none());
    }

    #[test]
    fn listeners_are_bounded() {
        let tail = Tail::default();
        let all: Vec<_> = (0..LISTENERS)
            .map(|_| tail.listen(Wanted::default()).unwrap())
            .collect();
        assert!(tail.listen(Wanted::default()).is_none());
        drop(all);
        assert!(tail.listen(Wanted::default()).is_some());
    }
}
