//! The only wall clock. Deadlines never come from here: they run on monotonic time
//! (`tokio::time::Instant`), so that a jump of this clock neither kills nor freezes them.

use std::time::{SystemTime, UNIX_EPOCH};

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
