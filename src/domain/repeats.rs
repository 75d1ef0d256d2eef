//! Limits how often the same message is logged: the first time at once, then at intervals, with
//! the number of times it happened meanwhile.

use std::time::Duration;

/// Between two lines about the same.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// One thing that may repeat. Times are on the monotonic clock.
#[derive(Debug, Default)]
pub struct Repeats {
    told: Option<Duration>,
    since: u64,
}

impl Repeats {
    /// It happened once more: how often since it was last told, if it is to be told now.
    pub fn happened(&mut self, mono: Duration) -> Option<u64> {
        self.since = self.since.saturating_add(1);
        let waits = self
            .told
            .is_some_and(|at| mono < at.saturating_add(INTERVAL));
        if waits {
            return None;
        }
        self.told = Some(mono);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_rest_are_counted() {
        let mut repeats = Repeats::default();
        let mut told = |seconds| repeats.happened(Duration::from_secs(seconds));
        assert_eq!(told(5), Some(1));
        assert_eq!((told(5), told(14)), (None, None));
        assert_eq!(told(15), Some(3));
        assert_eq!(told(100), Some(1));
    }
}
