//! The retry policy of an endpoint, checked.

use std::sync::Arc;
use std::time::Duration;

/// When a failed delivery is tried again and when it is given up.
///
/// The delay before attempt n+1 is `min(max, first * factor^(n-1))`, or entry n of
/// `schedule` if there is one; jitter then draws it evenly from `[d*(1-jitter), d]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    pub first: Duration,
    /// At least 1.
    pub factor: f64,
    pub max: Duration,
    /// 0 to 1.
    pub jitter: f64,
    /// Counted from the first due time. A `schedule` rules alone: its end is the end.
    pub give_up_after: Duration,
    /// Explicit delays; not empty: dead when the attempt after the last one fails.
    pub schedule: Vec<Duration>,
}

/// The parts of a retry policy that an endpoint sets for itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetryOverrides {
    pub first: Option<Duration>,
    pub factor: Option<f64>,
    pub max: Option<Duration>,
    pub jitter: Option<f64>,
    pub give_up_after: Option<Duration>,
    pub schedule: Option<Vec<Duration>>,
}

impl RetryOverrides {
    /// The policy that results over `base`, which is shared if nothing is set. Should
    /// `base` have changed so that `max` is below `first`, `max` gives way.
    pub fn over(&self, base: &Arc<RetryPolicy>) -> Arc<RetryPolicy> {
        if *self == RetryOverrides::default() {
            return base.clone();
        }
        let first = self.first.unwrap_or(base.first);
        Arc::new(RetryPolicy {
            first,
            factor: self.factor.unwrap_or(base.factor),
            max: self.max.unwrap_or(base.max).max(first),
            jitter: self.jitter.unwrap_or(base.jitter),
            give_up_after: self.give_up_after.unwrap_or(base.give_up_after),
            schedule: self
                .schedule
                .clone()
                .unwrap_or_else(|| base.schedule.clone()),
        })
    }
}

impl RetryPolicy {
    /// No delay of this policy is longer.
    pub fn longest(&self) -> Duration {
        self.schedule.iter().copied().fold(self.max, Duration::max)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            first: Duration::from_secs(5),
            factor: 3.0,
            max: Duration::from_secs(6 * 3600),
            jitter: 0.5,
            give_up_after: Duration::from_secs(3 * 86_400),
            schedule: Vec::new(),
        }
    }
}
