//! Bodies of new events, kept in memory until they are delivered, within a budget: the
//! usual delivery never reads the disk. What does not fit is read from the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::content::Content;
use crate::domain::event::EventId;
use crate::domain::extras::Extras;

/// What a kept body costs besides itself, in bytes.
const COST: usize = 256;

/// A body that has been kept for this long will most likely wait longer.
const STUCK: Duration = Duration::from_secs(60);

/// Bodies by event. Over the budget the bodies that have waited long are dropped. If there are
/// none, a new body is not kept: deliveries mostly go out in the order in which they came, so
/// it would be needed last.
#[derive(Debug)]
pub struct Bodies {
    kept: BTreeMap<EventId, Kept>,
    bytes: usize,
    budget: usize,
}

#[derive(Debug)]
struct Kept {
    content: Arc<Content>,
    /// What it costs, in bytes.
    size: usize,
    /// On the monotonic clock.
    since: Duration,
    /// Deliveries that may still want it.
    wanted: u32,
}

impl Bodies {
    pub fn new(budget: usize) -> Self {
        Bodies {
            kept: BTreeMap::new(),
            bytes: 0,
            budget,
        }
    }

    /// Keeps the body for one more delivery. `now` is of the monotonic clock.
    pub fn keep(&mut self, id: EventId, content: Arc<Content>, now: Duration) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.wanted += 1;
            return;
        }
        let extras = content.extras.as_deref().map_or(0, Extras::size);
        let size = COST + content.body.len() + extras;
        while self.bytes + size > self.budget {
            let oldest = self.kept.first_entry();
            let Some(oldest) =
                oldest.filter(|oldest| now.saturating_sub(oldest.get().since) >= STUCK)
            else {
                return;
            };
            self.bytes -= oldest.remove().size;
        }
        self.bytes += size;
        let kept = Kept {
            content,
            size,
            since: now,
            wanted: 1,
        };
        self.kept.insert(id, kept);
    }

    pub fn get(&self, id: EventId) -> Option<Arc<Content>> {
        self.kept.get(&id).map(|kept| kept.content.clone())
    }

    /// One delivery less wants the body.
    pub fn release(&mut self, id: EventId) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.wanted -= 1;
            if kept.wanted == 0 {
                self.bytes -= kept.size;
                self.kept.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{EventType, Tenant};
    use crate::domain::time::Timestamp;

    fn content(size: usize) -> Arc<Content> {
        Arc::new(Content {
            tenant: Tenant::default(),
            event_type: EventType::new("a").unwrap(),
            key: None,
            accepted_at: Timestamp::default(),
            data_at: 0,
            extras: None,
            content_type: "text/plain".into(),
            opaque: true,
            body: vec![0; size].into(),
        })
    }

    #[test]
    fn bodies_stay_while_wanted_and_within_the_budget() {
        let mut bodies = Bodies::new(3 * (COST + 1000));
        for id in 1..=3 {
            bodies.keep(EventId(id), content(1000), Duration::ZERO);
        }
        bodies.keep(EventId(3), content(1000), Duration::ZERO);
        assert!(bodies.get(EventId(1)).is_some());
        // An id tells what a clock said that may have been wrong.
        let jumped = EventId((60_000 << 80) + 4);
        bodies.keep(jumped, content(1000), Duration::ZERO);
        assert!(bodies.get(jumped).is_none(), "it comes last");
        let later = EventId(5);
        bodies.keep(later, content(1000), STUCK);
        assert!(bodies.get(EventId(1)).is_none(), "it is stuck");
        assert!(bodies.get(later).is_some());
        bodies.release(EventId(3));
        assert!(
            bodies.get(EventId(3)).is_some(),
            "another delivery wants it"
        );
        for id in [EventId(1), EventId(2), EventId(3), jumped, later] {
            bodies.release(id);
        }
        assert_eq!((bodies.bytes, bodies.kept.len()), (0, 0));
    }

    #[test]
    fn headers_of_an_event_count() {
        let header = |n: usize| {
            let name = format!("x-{n}").parse().unwrap();
            (name, "v".repeat(250).parse().unwrap())
        };
        let extras = Extras {
            headers: (0..16).map(header).collect(),
            ..Extras::default()
        };
        let large = Arc::new(Content {
            extras: Some(Arc::new(extras)),
            ..Content::clone(&content(10))
        });
        let mut bodies = Bodies::new(2 * (COST + 1000));
        bodies.keep(EventId(1), large, Duration::ZERO);
        assert!(bodies.get(EventId(1)).is_none());
    }
}
