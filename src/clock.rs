//! The only wall clock, and the clock of the store. Deadlines run on monotonic time, so that
//! a jump of the wall clock neither kills nor freezes them.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Now, to the millisecond. 1970 if the machine's clock is before that.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
pub fn now() -> Timestamp {
    from_system(SystemTime::now())
}

/// A moment of the system's clock as a [`Timestamp`]; 1970 if it is before that.
fn from_system(moment: SystemTime) -> Timestamp {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Both clocks, so that a simulation can bring its own.
pub trait Clock: Debug + Send + Sync {
    /// The wall clock. It may jump either way.
    fn wall(&self) -> Timestamp;
    /// Time since some moment in the past. It never goes back.
    fn mono(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        now()
    }

    fn mono(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_is_read_in_milliseconds() {
        let at = |moment| from_system(moment).as_millis();
        assert_eq!(
            at(UNIX_EPOCH + Duration::from_micros(1_767_225_600_007_900)),
            1_767_225_600_007
        );
        assert_eq!(at(UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert!(now() > Timestamp::from_millis(1_767_225_600_000));
    }
}
