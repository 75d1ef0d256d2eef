//! Order within an endpoint: of a *chain* one delivery at a time, oldest event first.
//!
//! With `strict` the whole endpoint is one chain, with `key` each event key is one, and
//! events without a key stand alone. The oldest pending delivery of a chain is its *head*.
//! Only heads come into the window; those behind stay in the index, whatever their
//! number. So a chain that is stuck costs nothing: its head waits for its due time like
//! any other delivery, in the window or past its horizon, and no number of deliveries
//! behind it, and no number of stuck chains, hides another chain or takes memory.
//!
//! What comes into the window is a head because
//! - a refill read it as one (it reads heads only, and passes over the others), or
//! - the index was asked for the chain's head ([`Command::Head`]), which is done whenever
//!   one that may have been the head is gone: its outcome is stored, or it is withdrawn, or
//! - nothing is in the index only, and nothing of its chain is known here.
//!
//! While one of a chain is in flight or settling the chain is *running*, and no other of
//! it comes in. While the index is asked about a chain nothing else is believed about it;
//! and what the engine was told of a chain meanwhile makes the answer doubtful: it is
//! asked again. The same with a refill: for the chains it was told of meanwhile the
//! reading is not believed, and the index is asked.
//!
//! [`Command::Head`]: super::Command::Head

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::lane::Lane;
use super::message::Entry;
use super::number_map::NumberMap;
use crate::domain::endpoint::Ordering;
use crate::domain::event::EventId;

/// The chain of a whole endpoint with `strict` ordering. No key has it.
pub const ENDPOINT_CHAIN: u64 = 0;
/// The index is asked about so many chains at once; beyond, the window is read anew.
pub const MAX_ASKED: usize = 1024;

/// The chain of an event key: the beginning of its SHA-256, never 0. 0 without a key.
pub fn chain_of(key: Option<&str>) -> u64 {
    let Some(key) = key else { return 0 };
    let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let first = hash.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first).max(1)
}

/// What a lane knows of its chains.
#[derive(Debug)]
pub struct Chains {
    ordering: Ordering,
    /// How many are in flight or settling: more than one only if the ordering has changed.
    running: NumberMap<u64, usize>,
    /// The index is asked for their heads; whether the answer will be doubtful.
    asked: NumberMap<u64, bool>,
    /// Those of `asked` that the index is still to be asked about.
    questions: Vec<u64>,
}

impl Chains {
    /// For this ordering, with these in flight or settling.
    pub fn new(ordering: Ordering, busy: impl Iterator<Item = Entry>) -> Chains {
        let mut chains = Chains {
            ordering,
            running: NumberMap::default(),
            asked: NumberMap::default(),
            questions: Vec::new(),
        };
        busy.for_each(|entry| chains.started(&entry));
        chains
    }

    /// The ordering is another one from now on, with these in flight or settling.
    pub fn change(&mut self, ordering: Ordering, busy: impl Iterator<Item = Entry>) {
        let changed = Chains::new(ordering, busy);
        (self.ordering, self.running) = (changed.ordering, changed.running);
    }

    pub fn is_strict(&self) -> bool {
        self.ordering == Ordering::Strict
    }

    /// Whether heads are to be read by due time: they are many.
    pub fn by_key(&self) -> bool {
        self.ordering == Ordering::Key
    }

    /// The chain that a delivery with this chain of its event's key belongs to, if to any.
    pub fn chain(&self, chain: u64) -> Option<u64> {
        match self.ordering {
            Ordering::None => None,
            Ordering::Key => (chain != 0).then_some(chain),
            Ordering::Strict => Some(ENDPOINT_CHAIN),
        }
    }

    pub fn started(&mut self, entry: &Entry) {
        if let Some(chain) = self.chain(entry.chain) {
            *self.running.entry(chain).or_default() += 1;
        }
    }

    /// The outcome of one of the chain is stored.
    pub fn stored(&mut self, chain: u64) {
        if let Some(running) = self.running.get_mut(&chain) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(&chain);
            }
        }
    }

    pub fn is_running(&self, chain: u64) -> bool {
        self.running.contains_key(&chain)
    }

    pub fn is_asked(&self, chain: u64) -> bool {
        self.asked.contains_key(&chain)
    }

    /// Nothing is asked.
    pub fn is_quiet(&self) -> bool {
        self.asked.is_empty()
    }

    /// The index is to be asked for the chain's head. Whether it can be: too much is
    /// asked already.
    #[must_use]
    pub fn ask(&mut self, chain: u64) -> bool {
        if self.asked.len() >= MAX_ASKED {
            return false;
        }
        if self.asked.insert(chain, false).is_none() {
            self.questions.push(chain);
        }
        true
    }

    /// Something of the chain has changed: whether the index is asked about it, and the
    /// answer then is not believed.
    pub fn doubt(&mut self, chain: u64) -> bool {
        match self.asked.get_mut(&chain) {
            Some(doubtful) => {
                *doubtful = true;
                true
            }
            None => false,
        }
    }

    /// Anything may have changed.
    pub fn doubt_all(&mut self) {
        self.asked
            .values_mut()
            .for_each(|doubtful| *doubtful = true);
    }

    /// The index answered. `None`: it was not asked; else whether the answer is doubtful.
    pub fn answered(&mut self, chain: u64) -> Option<bool> {
        self.asked.remove(&chain)
    }

    /// The next chain to ask the index about.
    pub fn question(&mut self) -> Option<u64> {
        self.questions.pop()
    }

    /// What the index was not asked yet it is not asked any more.
    pub fn drop_questions(&mut self) {
        for chain in self.questions.drain(..) {
            self.asked.remove(&chain);
        }
    }
}

/// How a lane keeps order.
impl Lane {
    /// The chain that a delivery belongs to, if to any.
    fn chain(&self, entry: &Entry) -> Option<u64> {
        self.chains.as_ref()?.chain(entry.chain)
    }

    /// The delivery of this chain that waits here.
    fn waiting_in(&self, chain: u64) -> Option<Entry> {
        let chains = self.chains.as_ref()?;
        self.window
            .find(|entry| chains.chain(entry.chain) == Some(chain))
    }

    /// Whether another of the chain is busy, or the index is asked about it.
    fn is_taken(&self, chain: u64) -> bool {
        let chains = self.chains.as_ref();
        chains.is_some_and(|chains| chains.is_running(chain) || chains.is_asked(chain))
    }

    /// The index may have anything.
    pub fn forget(&mut self) {
        self.due.forgotten(self.window.first());
        self.window.forget();
        if let Some(chains) = &mut self.chains {
            chains.doubt_all();
        }
    }

    /// The ordering changes, with these in flight or settling.
    pub fn reorder(&mut self, ordering: Ordering, busy: impl Iterator<Item = Entry>) {
        match &mut self.chains {
            Some(chains) => chains.change(ordering, busy),
            None => self.chains = Some(Box::new(Chains::new(ordering, busy))),
        }
        self.forget();
    }

    /// A delivery is pending: whether it comes into the window, as far as order goes.
    pub fn may_enter(&mut self, entry: &Entry) -> bool {
        let Some(chain) = self.chain(entry) else {
            return true;
        };
        self.doubt(chain);
        if self.is_taken(chain) {
            return false;
        }
        if let Some(head) = self.waiting_in(chain) {
            if head.event < entry.event {
                return false;
            }
            // It is found again when its turn comes.
            self.window.remove(head.event);
            return true;
        }
        if self.window.is_complete() {
            return true;
        }
        // Past the horizon it is met later on; of a whole endpoint the head is asked for.
        if chain != ENDPOINT_CHAIN && self.window.takes(entry.key()) {
            self.look_for(chain);
        }
        false
    }

    /// The outcome of a delivery is stored: whether the chain it belongs to, if to any,
    /// says what comes next.
    pub fn next_in_chain(&mut self, stored: &Entry) -> bool {
        let Some(chain) = self.chain(stored) else {
            return false;
        };
        self.doubt(chain);
        if let Some(chains) = &mut self.chains {
            chains.stored(chain);
        }
        if !self.is_taken(chain) {
            self.look_for(chain);
        }
        true
    }

    /// A delivery that is not busy is no longer pending.
    pub fn withdrawn(&mut self, event: EventId, chain: Option<u64>) {
        let waited = self.window.remove(event);
        let Some(chains) = &self.chains else { return };
        let known = waited.map(|entry| entry.chain).or(chain);
        let chain = match known.or(chains.is_strict().then_some(ENDPOINT_CHAIN)) {
            Some(known) => chains.chain(known),
            None if chains.by_key() => return self.forget(),
            None => None,
        };
        if let Some(chain) = chain {
            self.doubt(chain);
            if !self.is_taken(chain) && self.waiting_in(chain).is_none() {
                self.look_for(chain);
            }
        }
    }

    /// Of the heads that a refill read those that are believed. The index is asked about
    /// the chains of which something was told meanwhile.
    pub fn believed(&mut self, mut heads: Vec<Entry>) -> Vec<Entry> {
        if self.chains.is_none() {
            return heads;
        }
        heads.retain(|entry| {
            let Some(chain) = self.chain(entry) else {
                return true;
            };
            if self.is_taken(chain) || self.waiting_in(chain).is_some() {
                return false;
            }
            let doubted = self.window.doubts(chain);
            if doubted {
                self.look_for(chain);
            }
            !doubted
        });
        heads
    }

    /// The index answered: whether the chain's head, if there is one, comes into the window.
    pub fn answered(&mut self, chain: u64) -> bool {
        let Some(doubtful) = self.answer_to(chain) else {
            return false;
        };
        if doubtful {
            self.look_for(chain);
            return false;
        }
        if chain == ENDPOINT_CHAIN {
            self.window.complete();
        }
        self.waiting_in(chain).is_none()
    }

    /// The index could not be read for the chain's head.
    pub fn unread(&mut self, chain: u64, mono: Duration) {
        if self.answer_to(chain).is_some() {
            self.forget();
            self.window.wait(mono);
        }
    }

    /// Whether an answer about the chain is doubtful; `None` if it is of no use any more.
    fn answer_to(&mut self, chain: u64) -> Option<bool> {
        let chains = self.chains.as_mut()?;
        let doubtful = chains.answered(chain)?;
        let current = chains.chain(chain) == Some(chain) && !chains.is_running(chain);
        (current && !self.held).then_some(doubtful)
    }

    /// Something of the chain has changed.
    fn doubt(&mut self, chain: u64) {
        self.window.doubt(chain);
        if let Some(chains) = &mut self.chains {
            chains.doubt(chain);
        }
    }

    /// The chain's head is to be looked for in the index.
    fn look_for(&mut self, chain: u64) {
        if !self.held
            && let Some(chains) = &mut self.chains
            && !chains.ask(chain)
        {
            self.forget();
        }
    }

    /// The next chain to ask the index about.
    pub fn question(&mut self, mono: Duration) -> Option<u64> {
        let strict = self
            .chains
            .as_ref()
            .is_some_and(|chains| chains.is_strict());
        if strict && self.head_wanted_at().is_some_and(|at| at <= mono) {
            self.look_for(ENDPOINT_CHAIN);
        }
        self.chains.as_mut()?.question()
    }

    /// With `strict`: when the index is to be asked for the head, if it is.
    fn head_wanted_at(&self) -> Option<Duration> {
        let wanted = !self.window.is_complete() && !self.is_taken(ENDPOINT_CHAIN);
        wanted.then_some(self.window.not_before())
    }

    /// How the index is to be read for the window: `None`: not at all, it is asked for
    /// one head; else whether for heads only.
    pub fn reads_heads(&self) -> Option<bool> {
        match &self.chains {
            Some(chains) if chains.is_strict() => None,
            Some(chains) => Some(chains.by_key()),
            None => Some(false),
        }
    }

    /// When to read the index again after a failure.
    pub fn read_again_at(&self) -> Option<Duration> {
        if self.held {
            None
        } else if self.reads_heads().is_none() {
            self.head_wanted_at()
        } else {
            self.window.refill_not_before()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_a_key_is_the_beginning_of_its_hash() {
        // printf order-7 | sha256sum
        assert_eq!(chain_of(None), 0);
        assert_ne!(chain_of(Some("order-7")), chain_of(Some("order-8")));
        assert_eq!(chain_of(Some("abc")), 0xba78_16bf_8f01_cfea);
    }
}
