//! What dispatch is doing and has done, for `status` and `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::domain::attempt::{Attempt, ErrorKind};

/// Counted since the start.
#[derive(Debug, Default)]
pub struct DispatchGauges {
    /// Attempts under way.
    pub in_flight: AtomicU64,
    /// Endpoints whose circuit breaker is open.
    pub breakers_open: AtomicU64,
    /// Attempts that delivered.
    pub attempts_delivered: AtomicU64,
    /// Attempts that failed, in the order of [`ErrorKind::ALL`].
    pub attempts_failed: [AtomicU64; ErrorKind::ALL.len()],
}

impl DispatchGauges {
    pub(super) fn count(&self, attempt: &Attempt) {
        let Some(error) = &attempt.error else {
            self.attempts_delivered.fetch_add(1, Relaxed);
            return;
        };
        let place = ErrorKind::ALL.iter().position(|kind| *kind == error.kind);
        if let Some(counter) = place.and_then(|place| self.attempts_failed.get(place)) {
            counter.fetch_add(1, Relaxed);
        }
    }
}
