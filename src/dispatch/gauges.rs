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

/// The gauges at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Dispatched {
    pub in_flight: u64,
    pub breakers_open: u64,
    pub attempts_delivered: u64,
    /// In the order of [`ErrorKind::ALL`].
    pub attempts_failed: [u64; ErrorKind::ALL.len()],
}

impl DispatchGauges {
    pub fn snapshot(&self) -> Dispatched {
        Dispatched {
            in_flight: self.in_flight.load(Relaxed),
            breakers_open: self.breakers_open.load(Relaxed),
            attempts_delivered: self.attempts_delivered.load(Relaxed),
            attempts_failed: std::array::from_fn(|kind| {
                let counter = self.attempts_failed.get(kind);
                counter.map_or(0, |counter| counter.load(Relaxed))
            }),
        }
    }

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
