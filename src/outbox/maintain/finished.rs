//! The lists of what is finished, by when it was.

use crate::domain::event::EventId;
use crate::outbox::index::keys::{self, End, Key};
use crate::outbox::index::{PagesError, Readers};
use crate::outbox::maintain::Cut;
use crate::outbox::maintain::held::weight_of;

/// How many events one step takes.
pub(super) const STEP_EVENTS: usize = 256;
/// Of how many deliveries the events of one step are, unless a single event has more: an
/// acceptance waits for it.
const STEP_DELIVERIES: u64 = 4096;

/// One list, from a key on.
pub(super) struct Finished {
    end: End,
    from: Key,
}

/// Some events, and the key to go on from.
pub(super) struct Batch {
    pub ids: Vec<EventId>,
    pub next: Key,
}

impl Finished {
    /// From the first on.
    pub fn new(end: End) -> Finished {
        let from = keys::finished(end, 0, EventId(0));
        Finished { end, from }
    }

    /// What comes before `next` is done.
    pub fn go_on(&mut self, next: Key) {
        self.from = next;
    }

    /// When the next one was finished, in milliseconds.
    pub fn first_at(&mut self, index: &Readers) -> Result<Option<u64>, Cut> {
        let to = keys::finished(self.end, u64::MAX, EventId(0));
        loop {
            let state = index.read();
            let mut scan = state.entries.scan(&self.from, &to, false);
            let mut passed: Option<Key> = None;
            while let Some(entry) = scan.step() {
                let (key, value) = entry?;
                if value.is_some() {
                    return Ok(Some(keys::finished_at(&key).ok_or(PagesError::Damaged)?));
                }
                if state.is_spent() {
                    passed = Some(key.as_ref().into());
                    break;
                }
            }
            let Some(mut next) = passed else {
                return Ok(None);
            };
            // What was removed is not looked at again.
            next.push(0);
            self.from = next;
        }
    }

    /// The next events that were finished before `until`: no more than it takes for `bytes` to
    /// come free. `None` if there are none.
    pub fn oldest(&self, index: &Readers, until: u64, bytes: u64) -> Result<Option<Batch>, Cut> {
        let (mut ids, mut next) = (Vec::with_capacity(STEP_EVENTS), self.from.clone());
        let (mut free, mut deliveries) = (0, 0);
        let to = keys::finished(self.end, until, EventId(0));
        'pieces: loop {
            let state = index.read();
            let mut scan = state.entries.scan(&next, &to, false);
            while let Some(entry) = scan.step() {
                let (key, value) = entry?;
                if value.is_some() {
                    let id = keys::event_of(&key).ok_or(PagesError::Damaged)?;
                    let weight = weight_of(&state, id)?;
                    free += weight.bytes;
                    deliveries += weight.deliveries;
                    ids.push(id);
                }
                next = key.as_ref().into();
                next.push(0);
                if free >= bytes || deliveries >= STEP_DELIVERIES || ids.len() >= STEP_EVENTS {
                    break 'pieces;
                }
                if state.is_spent() {
                    continue 'pieces;
                }
            }
            break;
        }
        Ok((!ids.is_empty()).then_some(Batch { ids, next }))
    }
}

#[cfg(test)]
mod tests {
    use crate::outbox::index::pages::{MemoryTree, Pages};
    use crate::outbox::index::{Index, State, pieces};

    use super::*;

    #[test]
    fn what_was_removed_is_passed_over_however_small_the_pieces_are() {
        let pages = Pages::in_memory(&MemoryTree::default());
        let mut state = State::new(Some(pages), [0; 16]);
        for at in 1..=9 {
            let key = keys::finished(End::Dead, at, EventId(7));
            state.entries.put(key.clone(), Vec::new());
            if at < 9 {
                state.entries.remove(key);
            }
        }
        let index = Readers::new(Index::new(state));
        for rows in [1, 2, 1000] {
            let mut dead = Finished::new(End::Dead);
            let first = pieces::of(rows, |_| (), || dead.first_at(&index));
            assert_eq!(first.unwrap(), Some(9));
            let first = pieces::of(rows, |_| (), || dead.oldest(&index, u64::MAX, 1));
            assert_eq!(first.unwrap().unwrap().ids, [EventId(7)]);
        }
        let mut delivered = Finished::new(End::Delivered);
        assert_eq!(delivered.first_at(&index).unwrap(), None);
    }
}
