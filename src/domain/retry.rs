//! The retry policy of an endpoint, checked.

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
    /// Counted from the first due time.
    pub give_up_after: Duration,
    /// Explicit delays; not empty: dead when the attempt after the last one fails.
    pub schedule: Vec<Duration>,
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
