//! How fast a definition's templates have been, so that slow ones are kept from threads that others
//! wait for.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Slower templates are rendered apart.
const FAST: Duration = Duration::from_micros(500);

/// The slowest rendering so far, in microseconds. Not measured yet: it is not known to be fast.
#[derive(Debug)]
pub struct Pace(AtomicU32);

impl Default for Pace {
    fn default() -> Pace {
        Pace(AtomicU32::new(u32::MAX))
    }
}

impl Clone for Pace {
    fn clone(&self) -> Pace {
        Pace(AtomicU32::new(self.0.load(Relaxed)))
    }
}

impl Pace {
    pub fn is_fast(&self) -> bool {
        u128::from(self.0.load(Relaxed)) <= FAST.as_micros()
    }

    /// A rendering took so long. One that was held up by other work counts as slow only for a
    /// while.
    pub fn took(&self, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX - 1);
        let before = self.0.load(Relaxed);
        let now = match before {
            u32::MAX => micros,
            // A hundred fast ones make up for a slow one.
            before if micros < before => before - (before - micros).div_ceil(32),
            _ => micros,
        };
        self.0.store(now, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_ones_are_known_at_once_and_forgotten_slowly() {
        let pace = Pace::default();
        assert!(!pace.is_fast(), "nobody knows yet");
        pace.took(Duration::from_micros(20));
        assert!(pace.is_fast());
        pace.took(Duration::from_millis(4));
        for _ in 0..20 {
            assert!(!pace.is_fast());
            pace.took(Duration::from_micros(20));
        }
        for _ in 0..200 {
            pace.took(Duration::from_micros(20));
        }
        assert!(pace.is_fast());
    }
}
