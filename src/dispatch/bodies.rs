//! Bodies of new events, kept in memory until they are delivered, within a budget: the
//! usual delivery never reads the disk. What does not fit is read from the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::event::EventId;
use crate::outbox::Content;

/// What a kept body costs besides itself, in bytes.
const COST: usize = 256;

/// Bodies by event. Over the budget the oldest go: they have waited longest, and will
/// most likely wait on.
#[derive(Debug)]
pub struct Bodies {
    kept: BTreeMap<EventId, Kept>,
    bytes: usize,
    budget: usize,
}

#[derive(Debug)]
struct Kept {
    content: Arc<Content>,
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

    /// Keeps the body for one more delivery.
    pub fn keep(&mut self, id: EventId, content: Arc<Content>) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.wanted += 1;
            return;
        }
        self.bytes += COST + content.body.len();
        self.kept.insert(id, Kept { content, wanted: 1 });
        while self.bytes > self.budget
            && let Some((_, oldest)) = self.kept.pop_first()
        {
            self.bytes -= COST + oldest.content.body.len();
        }
    }

    pub fn get(&self, id: EventId) -> Option<Arc<Content>> {
        self.kept.get(&id).map(|kept| kept.content.clone())
    }

    /// One delivery less wants the body.
    pub fn release(&mut self, id: EventId) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.wanted -= 1;
            if kept.wanted == 0 {
                self.bytes -= COST + kept.content.body.len();
                self.kept.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventType;

    fn content(size: usize) -> Arc<Content> {
        Arc::new(Content {
            event_type: EventType::new("a").unwrap(),
            content_type: "text/plain".into(),
            opaque: true,
            body: vec![0; size].into(),
        })
    }

    #[test]
    fn bodies_stay_while_wanted_and_within_the_budget() {
        let mut bodies = Bodies::new(3 * (COST + 1000));
        for id in 1..=3 {
            bodies.keep(EventId(id), content(1000));
        }
        bodies.keep(EventId(3), content(1000));
        assert!(bodies.get(EventId(1)).is_some());
        bodies.keep(EventId(4), content(1000));
        assert!(bodies.get(EventId(1)).is_none(), "the oldest goes");
        bodies.release(EventId(3));
        assert!(
            bodies.get(EventId(3)).is_some(),
            "another delivery wants it"
        );
        for id in [1, 2, 3, 4] {
            bodies.release(EventId(id));
        }
        assert_eq!((bodies.bytes, bodies.kept.len()), (0, 0));
    }
}
