//! Accepted events, sent to listeners as they happen.
//!
//! Nothing is kept for a listener: a tail begins now. Sending never waits. A listener that reads too
//! slowly misses the oldest events that it has not read, and gets their number.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::domain::endpoint::TypePattern;
use crate::domain::event::{EventId, EventType, Key, NewEvent, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::Receipt;

/// How many are kept for a listener that is behind.
const BEHIND: usize = 1024;
/// The most listeners at once.
const LISTENERS: usize = 64;

/// An event that was accepted and is durable.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub id: EventId,
    pub event_type: EventType,
    pub tenant: Tenant,
    pub key: Option<Key>,
    pub source: Option<String>,
    pub accepted_at: Timestamp,
    /// How many endpoints it goes to.
    pub deliveries: u32,
}

/// What a listener hears.
#[derive(Debug)]
pub enum Heard {
    Accepted(Arc<Accepted>),
    /// So many were lost, since it read too slowly.
    Missed(u64),
}

/// What a listener wants to hear of; all of it has to fit.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub tenant: Option<Tenant>,
    pub event_type: Option<TypePattern>,
    pub source: Option<String>,
}

impl Wanted {
    fn fits(&self, event: &Accepted) -> bool {
        let tenant = self.tenant.as_ref();
        let source = self.source.as_ref();
        let pattern = self.event_type.as_ref();
        tenant.is_none_or(|wanted| *wanted == event.tenant)
            && source.is_none_or(|wanted| event.source.as_ref() == Some(wanted))
            && pattern.is_none_or(|pattern| pattern.matches(&event.event_type))
    }
}

/// Sends to all listeners. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Tail {
    /// `None` once the daemon stops.
    sender: Arc<Mutex<Option<broadcast::Sender<Arc<Accepted>>>>>,
}

impl Default for Tail {
    fn default() -> Self {
        let sender = broadcast::Sender::new(BEHIND);
        Tail {
            sender: Arc::new(Mutex::new(Some(sender))),
        }
    }
}

impl Tail {
    /// Whether there is a listener. Without one there is nothing to prepare.
    pub fn is_heard(&self) -> bool {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.as_ref();
        sender.is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Sends these events to all listeners, duplicates left out.
    pub fn accepted(&self, events: Vec<Unaccepted>, receipts: &[Receipt]) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = sender.as_ref() else {
            return;
        };
        for (event, receipt) in events.into_iter().zip(receipts) {
            if !receipt.duplicate {
                // It fails only when no listener is left.
                let _ = sender.send(Arc::new(event.accepted(receipt)));
            }
        }
    }

    /// A listener that hears from now on; `None` if there are too many, or the daemon stops.
    pub fn listen(&self, wanted: Wanted) -> Option<Listener> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.as_ref()?;
        (sender.receiver_count() < LISTENERS).then(|| Listener {
            receiver: sender.subscribe(),
            wanted,
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
    receiver: broadcast::Receiver<Arc<Accepted>>,
    wanted: Wanted,
}

impl Listener {
    /// The next that it wants to hear of; `None` once the daemon stops. Safe to be dropped while it
    /// waits.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            match self.receiver.recv().await {
                Ok(event) if self.wanted.fits(&event) => return Some(Heard::Accepted(event)),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Some(Heard::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
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
            Heard::Accepted(event) => event.event_type.to_string(),
            Heard::Missed(missed) => format!("missed {missed}"),
        }
    }

    #[tokio::test]
    async fn a_listener_hears_what_it_wants_from_now_on() {
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
    async fn a_slow_listener_hears_how_many_it_lost() {
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
