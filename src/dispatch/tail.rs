//! The tail: accepted events, attempts, and changes of endpoints' states, sent to listeners as they
//! happen.
//!
//! A tail begins when it is opened: nothing earlier is kept for it. Sending never waits. A listener
//! that reads too slowly misses what comes while its queue is full, and gets the number of that. An
//! entry that no listener takes is not made.
//!
//! The tails of the API end when a stop begins ([`Tail::close`]). A listener of the daemon's own
//! ([`Tail::listen_to_the_end`]) hears of the attempts that end after that, too.

mod listeners;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use listeners::{Facts, LISTENERS, Listeners};
pub use listeners::{Listener, Wanted};

use crate::clock;
use crate::domain::attempt::{Attempt, AttemptId};
use crate::domain::content::Content;
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId, EndpointNo};
use crate::domain::event::{EventId, EventType, Key, NewEvent, Tenant};
use crate::domain::shaping::Verb;
use crate::domain::time::Timestamp;
use crate::outbox::Receipt;

/// How much of a response body is sent, in bytes.
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

/// Sends to all listeners. Cheap to clone; all clones share the listeners.
#[derive(Clone)]
pub struct Tail {
    all: Arc<Mutex<All>>,
    listeners: Arc<AtomicUsize>,
}

struct All {
    api: Listeners,
    /// Listeners of the daemon's own.
    own: Listeners,
}

impl Default for Tail {
    fn default() -> Self {
        let all = All {
            api: Listeners::of_api(),
            own: Listeners::own(),
        };
        Tail {
            all: Arc::new(Mutex::new(all)),
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
        let told = events.iter().zip(receipts);
        for (event, receipt) in told.filter(|(_, receipt)| !receipt.duplicate) {
            let facts = Facts {
                tenant: &event.tenant,
                endpoint: None,
                event_type: Some(&receipt.event_type),
                source: event.source.as_deref(),
            };
            self.send(&facts, || Happened::Accepted(event.accepted(receipt)));
        }
    }

    /// Sends an attempt that ended.
    pub(super) fn attempted(&self, made: Made<'_>, endpoint: &Endpoint) {
        let extras = made.content.and_then(|content| content.extras.as_deref());
        let facts = Facts {
            tenant: &endpoint.tenant,
            endpoint: Some(&endpoint.id),
            event_type: made.content.map(|content| &content.event_type),
            source: extras.and_then(|extras| extras.source.as_deref()),
        };
        self.send(&facts, || {
            Happened::Attempt(Box::new(Attempted::of(made, endpoint)))
        });
    }

    /// Sends that an endpoint changed its state.
    pub(super) fn switched(&self, endpoint: &Endpoint, change: EndpointChange, at: Timestamp) {
        let facts = Facts {
            tenant: &endpoint.tenant,
            endpoint: Some(&endpoint.id),
            event_type: None,
            source: None,
        };
        self.send(&facts, || {
            Happened::Endpoint(Switched {
                endpoint: endpoint.id.clone(),
                tenant: endpoint.tenant.clone(),
                change,
                at,
            })
        });
    }

    /// Sends what `make` makes, which is called only if a listener takes it.
    fn send(&self, facts: &Facts<'_>, mut make: impl FnMut() -> Happened) {
        let mut all = self.all();
        let mut happened = None;
        all.own.send(facts, &mut happened, &mut make);
        all.api.send(facts, &mut happened, &mut make);
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new listener; `None` if there are too many, or the daemon stops.
    pub fn listen(&self, wanted: Wanted) -> Option<Listener> {
        let mut all = self.all();
        if all.api.is_closed() || self.listeners.load(Relaxed) >= LISTENERS {
            return None;
        }
        // Under the lock: two listeners do not both take the last place.
        Some(self.counted(all.api.add(wanted)))
    }

    /// A listener of the daemon's own, which hears of everything until [`Tail::end`].
    pub fn listen_to_the_end(&self) -> Listener {
        self.counted(self.all().own.add(Wanted::default()))
    }

    fn counted(&self, mut listener: Listener) -> Listener {
        self.listeners.fetch_add(1, Relaxed);
        listener.counted = Some(self.listeners.clone());
        listener
    }

    /// Ends the tails of the API.
    pub fn close(&self) {
        self.all().api.close();
    }

    /// Ends all tails. Called after the last attempt.
    pub fn end(&self) {
        let mut all = self.all();
        all.api.close();
        all.own.close();
    }
}

impl Attempted {
    fn of(made: Made<'_>, endpoint: &Endpoint) -> Attempted {
        let Made { event, content, .. } = made;
        let mut attempt = made.attempt.clone();
        if let Some(beginning) = attempt.response_body.get(..RESPONSE) {
            attempt.response_body = Bytes::copy_from_slice(beginning);
        }
        let extras = content.and_then(|content| content.extras.as_deref());
        let shaping = endpoint.shaping.as_deref();
        Attempted {
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
        }
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

    fn accepted(&self, receipt: &Receipt) -> Accepted {
        Accepted {
            id: receipt.id,
            event_type: receipt.event_type.clone(),
            tenant: self.tenant.clone(),
            key: self.key.clone(),
            source: self.source.clone(),
            accepted_at: receipt.accepted_at,
            deliveries: receipt.deliveries,
            trace: self.trace.clone(),
            began: self.began,
            took: self.since.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::listeners::BEHIND;
    use super::*;
    use crate::domain::endpoint::TypePattern;

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
        for _ in 0..BEHIND {
            assert_eq!(name(&mut slow).await, "a");
        }
        assert_eq!(name(&mut slow).await, "missed 7");
        // What is missed stands before what comes after it.
        for number in 0..BEHIND + 2 {
            told(&tail, &format!("e{number}"), None, false);
        }
        assert_eq!(name(&mut slow).await, "e0");
        told(&tail, "later", None, false);
        for number in 1..BEHIND {
            assert_eq!(name(&mut slow).await, format!("e{number}"));
        }
        assert_eq!(name(&mut slow).await, "missed 2");
        assert_eq!(name(&mut slow).await, "later");
    }

    #[tokio::test]
    async fn a_paced_listener_gets_so_many_a_second_of_what_it_wants() {
        let tail = Tail::default();
        let mut paced = tail
            .listen(Wanted {
                event_type: Some(TypePattern::parse("rare").unwrap()),
                most_per_second: Some(3),
                ..Wanted::default()
            })
            .unwrap();
        for _ in 0..100 {
            told(&tail, "frequent", None, false);
            told(&tail, "rare", None, false);
        }
        for _ in 0..3 {
            assert_eq!(name(&mut paced).await, "rare");
        }
        let missed = name(&mut paced).await;
        let missed: u64 = missed.strip_prefix("missed ").unwrap().parse().unwrap();
        // A machine that stood still for a second lets another three pass.
        assert!((91..=97).contains(&missed), "{missed}");
    }

    #[tokio::test]
    async fn what_waits_for_all_listeners_is_bounded_and_freed_with_them() {
        let tail = Tail::default();
        let all: Vec<_> = (0..LISTENERS)
            .map(|_| tail.listen(Wanted::default()).unwrap())
            .collect();
        for _ in 0..BEHIND {
            told(&tail, "a", None, false);
        }
        drop(all);
        let mut late = tail.listen(Wanted::default()).unwrap();
        told(&tail, "b", None, false);
        assert_eq!(name(&mut late).await, "b");
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
