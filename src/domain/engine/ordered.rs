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
//! While a delivery of a chain is in flight or settling the chain is *running*, and no other
//! of its deliveries enters the window. As long as nothing was left in the index behind
//! another, as under light load, the index is not asked at all. While the index is asked about a chain, only its
//! answer decides; and an input about the chain that comes meanwhile makes the answer
//! *doubtful*: the index is asked again. The same holds for a refill: for chains about which
//! an input came meanwhile its answer is ignored, and the index is asked.
//!
//! [`Command::Head`]: super::Command::Head

use sha2::{Digest, Sha256};

use super::message::Entry;
use super::number_map::NumberMap;
use crate::domain::endpoint::Ordering;

/// The chain of a whole endpoint with `strict` ordering. No key has it.
pub const ENDPOINT_CHAIN: u64 = 0;
/// The most chains that the index is asked about at once; beyond that the window is read
/// again.
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
    /// Chains whose heads the index is asked for, and whether the answer will be doubtful.
    asked: NumberMap<u64, bool>,
    /// Those of `asked` that the index is still to be asked about.
    questions: Vec<u64>,
    /// Something pending may be behind another of its chain, and so in the index only.
    pub hidden: bool,
}

impl Chains {
    /// For this ordering, with these in flight or settling.
    pub fn new(ordering: Ordering, busy: impl Iterator<Item = Entry>) -> Chains {
        let mut chains = Chains {
            ordering,
            running: NumberMap::default(),
            asked: NumberMap::default(),
            questions: Vec::new(),
            hidden: false,
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

    /// Plans to ask the index for the chain's head. Returns false if too many questions are
    /// open.
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

    /// Something of the chain has changed. Returns whether the index is being asked about it;
    /// its answer is then doubtful.
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
        self.hidden = true;
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

    /// Drops the questions that the index was not asked yet.
    pub fn drop_questions(&mut self) {
        for chain in self.questions.drain(..) {
            self.asked.remove(&chain);
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
