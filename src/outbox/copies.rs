//! What copies of the log elsewhere still need of it.
//!
//! A backup reads all of the log once, shipping reads what is new and what was overwritten. Cleaning
//! keeps the segments that they need, unless the disk is short: the daemon goes on delivering,
//! whatever becomes of copies.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::outbox::log::Lsn;

/// What copies still need of the log.
#[derive(Debug, Default)]
pub struct Copies {
    shipped: Mutex<Shipped>,
    /// Backups that are being made.
    pub(in crate::outbox) backups: AtomicUsize,
    /// A segment went that was needed: once for each time that it begins to happen.
    is_cut: AtomicBool,
    /// Below it segments went of which another form may be elsewhere.
    cut_below: AtomicU64,
}

#[derive(Debug, Default)]
struct Shipped {
    /// Below it everything was shipped as it is now; `None`: nothing is shipped at all.
    below: Option<u64>,
    /// How often bodies of the log were overwritten.
    overwritings: u64,
}

impl Copies {
    /// What is below is needed by no copy.
    pub fn needed_from(&self) -> Lsn {
        match self.backups.load(Ordering::Acquire) {
            0 => Lsn(self.with(|shipped| shipped.below.unwrap_or(u64::MAX))),
            _ => Lsn(0),
        }
    }

    /// Whether a backup is being made.
    pub fn is_backed_up(&self) -> bool {
        self.backups.load(Ordering::Acquire) > 0
    }

    /// The segments below `start` go although they are needed.
    pub fn cut_below(&self, start: Lsn) {
        self.unsure_below(start);
        if !self.is_cut.swap(true, Ordering::AcqRel) {
            tracing::error!(
                %start,
                "the disk is short: segments of the log go that were not shipped yet, or that a backup needs"
            );
        }
    }

    /// The segments below `start` go, and copies may have definitions in them that were replaced.
    pub fn unsure_below(&self, start: Lsn) {
        self.cut_below.fetch_max(start.0, Ordering::AcqRel);
    }

    /// Below it segments went since the start of which another form may be elsewhere.
    pub fn was_cut_below(&self) -> u64 {
        self.cut_below.load(Ordering::Acquire)
    }

    /// Bodies were overwritten; the first of them at `first`. They have to be shipped again.
    pub fn overwritten(&self, first: Lsn) {
        self.with(|shipped| {
            shipped.overwritings += 1;
            shipped.below = shipped.below.map(|below| below.min(first.0));
        });
    }

    /// Whether the log is shipped.
    pub fn are_shipped(&self) -> bool {
        self.with(|shipped| shipped.below.is_some())
    }

    /// How often bodies were overwritten: to be asked for before the log is looked at.
    pub fn overwritings(&self) -> u64 {
        self.with(|shipped| shipped.overwritings)
    }

    /// Below `below` everything was shipped as it was after so many overwritings. If there were
    /// more since, the log has to be looked at again, and this says nothing.
    pub fn set_shipped(&self, below: u64, overwritings: u64) {
        let is_new = self.with(|shipped| {
            let is_new = shipped.overwritings == overwritings && shipped.below != Some(below);
            if is_new {
                shipped.below = Some(below);
            }
            is_new
        });
        if is_new {
            self.is_cut.store(false, Ordering::Release);
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Shipped) -> T) -> T {
        f(&mut self.shipped.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_needed_until_it_is_shipped_as_it_is() {
        let copies = Copies::default();
        copies.overwritten(Lsn(7));
        assert_eq!(copies.needed_from(), Lsn(u64::MAX), "nothing is shipped");
        let looked = copies.overwritings();
        copies.set_shipped(100, looked);
        assert_eq!(copies.needed_from(), Lsn(100));
        copies.overwritten(Lsn(40));
        assert_eq!(copies.needed_from(), Lsn(40));
        // This look was before the overwriting.
        copies.set_shipped(100, looked);
        assert_eq!(copies.needed_from(), Lsn(40));
        copies.set_shipped(100, copies.overwritings());
        assert_eq!(copies.needed_from(), Lsn(100));
    }
}
