//! The tail: accepted events, attempts, and changes of endpoints' states, sent to listeners as they
//! happen.
//!
//! A tail begins when it is opened: nothing earlier is kept for it. Sending never waits. A listener
//! that reads too slowly loses the oldest entries that it has not read, and gets their number.
//! Without a listener no entry is made.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::domain::attempt::{Attempt, AttemptId};
use crate::domain::content::Content;
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId, TypePattern};
use crate::domain::event::{EventId, EventType, Key, NewEvent, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::Receipt;

/// How many entries are kept for a slow listener.
const BEHIND: usize = 1024;
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

/// Sends to all listeners. Cheap to clone; all clones share the listeners.
#[derive(Clone)]
pub struct Tail {
    /// `None` once the daemon stops.
    sender: Arc<Mutex<Option<broadcast::Sender<Arc<Happened>>>>>,
    listeners: Arc<AtomicUsize>,
}

impl Default for Tail {
    fn default() -> Self {
        let sender = broadcast::Sender::new(BEHIND);
        Tail {
            sender: Arc::new(Mutex::new(Some(sender))),
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

    /// Sends an attempt that ended. `content`: of its event, if it could be read.
    pub(super) fn attempted(
        &self,
        event: EventId,
        endpoint: &Endpoint,
        content: Option<&Content>,
        attempt: &Attempt,
    ) {
        let mut attempt = attempt.clone();
        if let Some(beginning) = attempt.response_body.get(..RESPONSE) {
            attempt.response_body = Bytes::copy_from_slice(beginning);
        }
        let extras = content.and_then(|content| content.extras.as_deref());
        let attempted = Attempted {
            id: AttemptId::new(attempt.at, event, &endpoint.id),
            event,
            endpoint: endpoint.id.clone(),
            tenant: endpoint.tenant.clone(),
            event_type: content.map(|content| content.event_type.clone()),
            source: extras.and_then(|extras| extras.source.clone()),
            attempt,
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
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = sender.as_ref() else {
            return;
        };
        for happened in all {
            // Sending fails only when no listener is left.
            let _ = sender.send(Arc::new(happened));
        }
    }

    /// A new listener; `None` if there are too many, or the daemon stops.
    pub fn listen(&self, wanted: Wanted) -> Option<Listener> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.as_ref()?;
        if self.listeners.load(Relaxed) >= LISTENERS {
            return None;
        }
        // Under the lock: two listeners do not both take the last place.
        self.listeners.fetch_add(1, Relaxed);
        Some(Listener {
            receiver: sender.subscribe(),
            wanted,
            listeners: self.listeners.clone(),
        })
    }

    /// Ends all tails.
    pub fn close(&self) {
        drop(
            self.sender
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

/// The fields of an event that listeners get once it is accepted.
#[derive(Debug)]
pub struct Unaccepted {
    tenant: Tenant,
    key: Option<Key>,
    source: Option<String>,
}

impl Unaccepted {
    pub fn of(event: &NewEvent) -> Unaccepted {
        let extras = event.extras.as_deref();
        Unaccepted {
            tenant: event.tenant.clone(),
            key: event.key.clone(),
            source: extras.and_then(|extras| extras.source.clone()),
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
