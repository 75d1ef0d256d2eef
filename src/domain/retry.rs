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

/// Why a retry policy was refused. `Display` names the key and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRetry {
    #[error("retry.first is at least 1ms")]
    First,
    #[error("retry.factor is a number from 1 on")]
    Factor,
    #[error("retry.max is at least retry.first")]
    Max,
    #[error("retry.jitter is a number from 0 to 1")]
    Jitter,
    #[error("retry.give_up_after is at least 1ms")]
    GiveUpAfter,
    #[error("each delay of retry.schedule is at least 1ms")]
    Schedule,
}

/// Shorter delays would make a failing endpoint a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

impl RetryPolicy {
    /// The policy, if it makes sense; else the first fault.
    pub fn new(
        first: Duration,
        factor: f64,
        max: Duration,
        jitter: f64,
        give_up_after: Duration,
        schedule: Vec<Duration>,
    ) -> Result<RetryPolicy, BadRetry> {
        let policy = RetryPolicy {
            first,
            factor,
            max,
            jitter,
            give_up_after,
            schedule,
        };
        policy.faults().next().map_or(Ok(policy.clone()), Err)
    }

    /// All that is wrong with it; nothing if it may be used.
    pub fn faults(&self) -> impl Iterator<Item = BadRetry> + use<> {
        let short = |delay: Duration| delay < SHORTEST;
        [
            (BadRetry::First, short(self.first)),
            (
                BadRetry::Factor,
                !self.factor.is_finite() || self.factor < 1.0,
            ),
            (BadRetry::Max, self.max < self.first),
            (BadRetry::Jitter, !(0.0..=1.0).contains(&self.jitter)),
            (BadRetry::GiveUpAfter, short(self.give_up_after)),
            (
                BadRetry::Schedule,
                self.schedule.iter().any(|&delay| short(delay)),
            ),
        ]
        .into_iter()
        .filter_map(|(fault, holds)| holds.then_some(fault))
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_key_by_key() {
        assert_eq!(RetryPolicy::default().faults().count(), 0);
        let with = |change: fn(&mut RetryPolicy)| {
            let mut policy = RetryPolicy::default();
            change(&mut policy);
            let p = policy.clone();
            assert_eq!(
                RetryPolicy::new(
                    p.first,
                    p.factor,
                    p.max,
                    p.jitter,
                    p.give_up_after,
                    p.schedule
                )
                .err(),
                policy.faults().next()
            );
            policy.faults().collect::<Vec<_>>()
        };
        assert_eq!(with(|p| p.first = Duration::ZERO), [BadRetry::First]);
        assert_eq!(with(|p| p.factor = 0.9), [BadRetry::Factor]);
        assert_eq!(with(|p| p.factor = f64::NAN), [BadRetry::Factor]);
        assert_eq!(with(|p| p.factor = f64::INFINITY), [BadRetry::Factor]);
        assert_eq!(with(|p| p.max = Duration::from_secs(1)), [BadRetry::Max]);
        assert_eq!(with(|p| p.jitter = 1.1), [BadRetry::Jitter]);
        assert_eq!(with(|p| p.jitter = f64::NAN), [BadRetry::Jitter]);
        assert_eq!(
            with(|p| p.give_up_after = Duration::ZERO),
            [BadRetry::GiveUpAfter]
        );
        assert_eq!(
            with(|p| p.schedule = vec![Duration::from_secs(1), Duration::ZERO]),
            [BadRetry::Schedule]
        );
        assert_eq!(with(|p| p.factor = 1.0), []);
    }
}
