//! How the calls of all sources ended since the start, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::call::CallRefused;
use crate::domain::inbound::Rejection;

/// What is counted beside the reasons of rejections.
const OTHERS: [&str; 7] = [
    "received",
    "handshake",
    "no_such_source",
    "rate_limited",
    "too_large",
    "too_slow",
    "unavailable",
];

/// See the module.
#[derive(Debug, Default)]
pub struct Outcomes {
    others: [AtomicU64; OTHERS.len()],
    rejections: [AtomicU64; Rejection::REASONS.len()],
}

impl Outcomes {
    pub fn received(&self) {
        self.count("received");
    }

    pub fn handshake(&self) {
        self.count("handshake");
    }

    pub fn refused(&self, refused: &CallRefused) {
        self.count(refused.reason());
    }

    fn count(&self, name: &'static str) {
        let counters = self.names().zip(self.counters());
        for (_, counter) in counters.filter(|(own, _)| *own == name) {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        OTHERS.into_iter().chain(Rejection::REASONS)
    }

    fn counters(&self) -> impl Iterator<Item = &AtomicU64> {
        self.others.iter().chain(&self.rejections)
    }

    /// Each with its name.
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let counts = self.counters().map(|counter| counter.load(Relaxed));
        self.names().zip(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_end_of_a_call_has_a_counter() {
        let outcomes = Outcomes::default();
        outcomes.received();
        outcomes.handshake();
        let wait = Duration::ZERO;
        let refused = [
            CallRefused::NoSuchSource,
            CallRefused::Rejected(Rejection::BadToken),
            CallRefused::RateLimited { wait },
            CallRefused::TooLarge,
            CallRefused::TooMuch,
            CallRefused::TooSlow,
            CallRefused::NoRoom,
        ];
        refused.iter().for_each(|one| outcomes.refused(one));
        let counted: u64 = outcomes.snapshot().iter().map(|(_, count)| count).sum();
        assert_eq!(counted, 2 + refused.len() as u64);
    }
}
