//! The tail: accepted events, attempts, and changes of endpoints' states, sent to listeners as they
//! happen.
//!
//! A tail begins when it is opened: nothing earlier is kept for it. Sending never waits. A listener
//! that reads too slowly misses what comes while its queue is full, and gets the number of that. An
//! entry that no listener takes is not made.
//!
//! The tails of the API end when a stop begins ([`Tail::close`]). A listener of the daemon's own
//! ([`Tail::listen_to_the_end`]) hears of the attempts that end after that, too.

mod entries;
mod listeners;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(super) use entries::Made;
pub use entries::{Accepted, Attempted, EndpointChange, Happened, Heard, Switched};
use http::header::{HeaderName, HeaderValue};
use listeners::{Facts, LISTENERS, Listeners};
pub use listeners::{Listener, Wanted};

use crate::clock;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::{Key, NewEvent, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::Receipt;

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
        Some(all.api.add(wanted, &self.listeners))
    }

    /// A listener of the daemon's own, which hears of everything until [`Tail::end`].
    pub fn listen_to_the_end(&self) -> Listener {
        let own = &mut self.all().own;
        own.add(Wanted::default(), &self.listeners)
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
    use crate::domain::event::{EventId, EventType};

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
