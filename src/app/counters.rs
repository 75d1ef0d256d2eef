//! Counts of events posted since the start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::outbox::Refused;

#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    duplicates: AtomicU64,
    key_reused: AtomicU64,
    full: AtomicU64,
    too_large: AtomicU64,
    disk_low: AtomicU64,
    failed: AtomicU64,
    shutting_down: AtomicU64,
    rate_limited: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Ingested {
    /// Events made durable, duplicates not counted.
    pub accepted: u64,
    /// Events that repeated an idempotency key and its content.
    pub duplicates: u64,
    /// Requests that were refused although well-formed, by reason.
    pub refused: [(&'static str, u64); 7],
}

impl Counters {
    pub fn count_accepted(&self, accepted: u64, duplicates: u64) {
        self.accepted.fetch_add(accepted, Relaxed);
        self.duplicates.fetch_add(duplicates, Relaxed);
    }

    pub fn count_refused(&self, refused: &Refused) {
        let counter = match refused {
            Refused::KeyReused { .. } => &self.key_reused,
            Refused::Full => &self.full,
            Refused::TooLarge { .. } => &self.too_large,
            Refused::DiskLow | Refused::NoInodes | Refused::NoSpare | Refused::IndexBehind => {
                &self.disk_low
            }
            Refused::Failed => &self.failed,
            Refused::ShuttingDown => &self.shutting_down,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub fn count_rate_limited(&self) {
        self.rate_limited.fetch_add(1, Relaxed);
    }

    pub fn snapshot(&self) -> Ingested {
        let refused = [
            ("key_reused", &self.key_reused),
            ("full", &self.full),
            ("too_large", &self.too_large),
            ("disk_low", &self.disk_low),
            ("failed", &self.failed),
            ("shutting_down", &self.shutting_down),
            ("rate_limited", &self.rate_limited),
        ];
        Ingested {
            accepted: self.accepted.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            refused: refused.map(|(reason, counter)| (reason, counter.load(Relaxed))),
        }
    }
}
