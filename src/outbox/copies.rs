//! What copies of the log elsewhere still need of it.
//!
//! A backup reads all of the log once, shipping reads what is new. Cleaning keeps the segments that
//! they need, unless the disk is short: the daemon goes on delivering, whatever becomes of copies.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::outbox::log::Lsn;

/// What copies still need of the log.
#[derive(Debug)]
pub struct Copies {
    /// Below it everything was shipped.
    pub(in crate::outbox) shipped: AtomicU64,
    /// Backups that are being made.
    pub(in crate::outbox) backups: AtomicUsize,
    /// A segment went that was needed: once for each time that it begins to happen.
    pub(in crate::outbox) is_cut: AtomicBool,
}

impl Default for Copies {
    fn default() -> Self {
        Copies {
            shipped: AtomicU64::new(u64::MAX),
            backups: AtomicUsize::new(0),
            is_cut: AtomicBool::new(false),
        }
    }
}

impl Copies {
    /// What is below is needed by no copy.
    pub fn needed_from(&self) -> Lsn {
        match self.backups.load(Ordering::Acquire) {
            0 => Lsn(self.shipped.load(Ordering::Acquire)),
            _ => Lsn(0),
        }
    }

    /// The segments below `start` go although they are needed.
    pub fn cut_below(&self, start: Lsn) {
        if !self.is_cut.swap(true, Ordering::AcqRel) {
            tracing::error!(
                %start,
                "the disk is short: segments of the log go that were not shipped yet, or that a backup needs"
            );
        }
    }
}
