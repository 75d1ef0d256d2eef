//! Attempts that came to nothing for a reason of the daemon's own: too many open files, a
//! body that cannot be read just now, a broken task.
//!
//! They say nothing about the endpoint: its breaker, its concurrency limit, its retry
//! budget and the count of its failures stay as they are. Each such delivery waits for a
//! moment ([`local_delay`](crate::domain::backoff::local_delay)). Two in a row are most
//! likely not about one delivery, so then the whole lane waits too, for longer each time, and
//! tries one at a time until a request is sent.

use std::time::Duration;

/// What the lane waits after the second in a row, and an open breaker for its next probe.
pub const FIRST_WAIT: Duration = Duration::from_secs(1);
/// It doubles up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The attempts of a lane that failed in a row for reasons of the daemon's own.
#[derive(Debug, Default)]
pub struct LocalFaults {
    in_a_row: u32,
    last: Duration,
    until: Duration,
}

impl LocalFaults {
    /// The lane starts nothing before; past if it may now.
    pub fn until(&self) -> Duration {
        self.until
    }

    /// Several failed: one attempt at a time is made, to see whether the fault is over.
    pub fn is_probing(&self) -> bool {
        self.in_a_row > 1
    }

    /// One more failed, which began at `since`.
    pub fn happened(&mut self, since: Duration, mono: Duration) {
        // Attempts that were under way at the same time count once.
        if self.in_a_row > 0 && since < self.last {
            return;
        }
        self.last = mono;
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row > 1 {
            let doubled = 2_u32.saturating_pow(self.in_a_row - 2);
            let wait = FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT);
            self.until = mono.saturating_add(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lane_waits_from_the_second_on_and_for_a_minute_at_most() {
        let mut faults = LocalFaults::default();
        let mut mono = Duration::from_secs(100);
        faults.happened(mono, mono);
        assert!(faults.until() <= mono, "one may be about one delivery");
        let mut waits = Vec::new();
        for _ in 0..8 {
            faults.happened(mono, mono);
            // Another one that was under way at the same time.
            faults.happened(mono.saturating_sub(Duration::from_millis(1)), mono);
            waits.push((faults.until() - mono).as_secs());
            mono = faults.until();
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
