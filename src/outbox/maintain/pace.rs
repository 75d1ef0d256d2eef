//! How often all of the log, or all rows of a kind, are gone through: the longer it takes, the
//! more seldom.

use std::time::Duration;

/// Between two times: so many times as long as the last one took, within these bounds.
const REST: u32 = 20;
const REST_MIN: Duration = Duration::from_secs(2);
const REST_MAX: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the last time ended, and how long it took.
    last: Option<(Duration, Duration)>,
}

impl Pace {
    pub fn is_due(&self, now: Duration) -> bool {
        self.last.is_none_or(|(at, took)| {
            now.saturating_sub(at) >= took.saturating_mul(REST).clamp(REST_MIN, REST_MAX)
        })
    }

    /// It ended now, and began then.
    pub fn ended(&mut self, began: Duration, now: Duration) {
        self.last = Some((now, now.saturating_sub(began)));
    }
}
