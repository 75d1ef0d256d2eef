//! Reads wait here for an index that has failed to be built anew.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub struct Renewals {
    standing: Mutex<Standing>,
    changed: Condvar,
}

#[derive(Default)]
struct Standing {
    count: u64,
    /// The writer's thread runs. Without it nobody builds the index, and no read waits.
    is_served: bool,
}

impl Renewals {
    /// How often the index was built anew.
    pub fn count(&self) -> u64 {
        self.standing().count
    }

    /// Says that the writer's thread has begun or has ended.
    pub fn set_served(&self, is_served: bool) {
        self.standing().is_served = is_served;
        self.changed.notify_all();
    }

    /// Says that the index was built anew.
    pub fn renewed(&self) {
        self.standing().count += 1;
        self.changed.notify_all();
    }

    /// Waits until the index was built anew since the count was `seen`, or the writer has ended, or for
    /// so long.
    pub fn wait(&self, seen: u64, most: Duration) {
        let waiting = |standing: &mut Standing| standing.is_served && standing.count == seen;
        let standing = self.standing();
        // Whoever waited looks again in any case.
        drop(self.changed.wait_timeout_while(standing, most, waiting));
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
