//! How shipping goes, for `status` and `/metrics`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::time::Timestamp;
use crate::outbox::Outbox;

/// Written by the shipper, read by everybody.
pub struct Figures {
    outbox: Outbox,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// Below it all of the log is there.
    shipped: u64,
    /// Since when something after that waits, as far as the shipper knows.
    since: Instant,
    last_shipped_at: Option<Timestamp>,
    error: Option<String>,
    generation: String,
    parts: u64,
    bytes: u64,
    failures: u64,
}

/// How shipping goes, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Shipping {
    /// How old the oldest byte is that was not shipped; 0: there is none.
    pub behind: Duration,
    /// When something was last shipped, or everything was seen to be there.
    pub last_shipped_at: Option<Timestamp>,
    /// What went wrong, since the last success.
    pub error: Option<String>,
    /// The generation that is written; empty until one is.
    pub generation: String,
    /// Parts of segments that were shipped since the start, and their bytes.
    pub parts: u64,
    pub bytes: u64,
    /// Rounds that failed since the start.
    pub failures: u64,
}

impl Figures {
    pub fn new(outbox: Outbox) -> Figures {
        Figures {
            outbox,
            known: Mutex::new(Known {
                shipped: 0,
                since: Instant::now(),
                last_shipped_at: None,
                error: None,
                generation: String::new(),
                parts: 0,
                bytes: 0,
                failures: 0,
            }),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn shipping(&self) -> Shipping {
        let end = self.outbox.log_end().0;
        let known = self.known();
        Shipping {
            behind: match end > known.shipped {
                // Shown in milliseconds, of which 0 says that nothing waits.
                true => known.since.elapsed().max(Duration::from_millis(1)),
                false => Duration::ZERO,
            },
            last_shipped_at: known.last_shipped_at,
            error: known.error.clone(),
            generation: known.generation.clone(),
            parts: known.parts,
            bytes: known.bytes,
            failures: known.failures,
        }
    }

    pub fn begun(&self, generation: &str) {
        generation.clone_into(&mut self.known().generation);
    }

    pub fn shipped(&self, bytes: u64, now: Timestamp) {
        let mut known = self.known();
        known.parts += 1;
        known.bytes += bytes;
        known.last_shipped_at = Some(now);
    }

    /// Below `shipped` all of the log is there, and since then something after that waits, or may.
    pub fn looked(&self, shipped: u64, since: Instant) {
        let mut known = self.known();
        (known.shipped, known.since) = (shipped, since);
    }

    /// A round ended well.
    pub fn succeeded(&self) {
        self.known().error = None;
    }

    pub fn failed(&self, error: String) {
        let mut known = self.known();
        known.failures += 1;
        known.error = Some(error);
    }
}
