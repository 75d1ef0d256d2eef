//! The bounds of an endpoint's delivery policy, the same in the file and through the API.

use std::time::Duration;

use crate::domain::retry::RetryPolicy;

/// The most attempts at once, of the daemon and of one endpoint.
pub const MAX_IN_FLIGHT: usize = 65_536;
/// The default of an endpoint's `max_in_flight`.
pub const ENDPOINT_MAX_IN_FLIGHT: usize = 16;
/// The longest a whole attempt may take.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// The most patterns in `types`.
pub const MAX_TYPES: usize = 1000;
/// The most entries in `retry.schedule`.
pub const MAX_SCHEDULE: usize = 100;
/// The longest description of an endpoint, in bytes.
pub const MAX_DESCRIPTION: usize = 1024;
/// The largest `retry.factor`.
pub const MAX_FACTOR: f64 = 1000.0;

/// Why a retry policy was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRetry {
    #[error("a first delay of 0 would retry without pause")]
    First,
    #[error("the factor is not from 1 to {MAX_FACTOR}")]
    Factor,
    #[error("the longest delay is shorter than the first")]
    Max,
    #[error("the jitter is not from 0 to 1")]
    Jitter,
    #[error("the schedule has a delay of 0, which would retry without pause")]
    ScheduleZero,
    #[error("the schedule has more than {MAX_SCHEDULE} delays")]
    ScheduleLength,
}

impl BadRetry {
    /// The key of `[retry]` that is at fault.
    pub fn key(self) -> &'static str {
        match self {
            BadRetry::First => "first",
            BadRetry::Factor => "factor",
            BadRetry::Max => "max",
            BadRetry::Jitter => "jitter",
            BadRetry::ScheduleZero | BadRetry::ScheduleLength => "schedule",
        }
    }

    /// What to write instead.
    pub fn fix(self) -> &'static str {
        match self {
            BadRetry::First | BadRetry::ScheduleZero => "write at least \"1ms\"",
            BadRetry::Factor => "write a number from 1 to 1000, such as 3.0",
            BadRetry::Max => "raise \"max\" or lower \"first\"",
            BadRetry::Jitter => "write a number from 0 to 1, such as 0.5",
            BadRetry::ScheduleLength => "leave some out",
        }
    }
}

/// All that is wrong with a retry policy.
pub fn check_retry(policy: &RetryPolicy) -> Vec<BadRetry> {
    let schedule = &policy.schedule;
    [
        (policy.first.is_zero(), BadRetry::First),
        (
            !(1.0..=MAX_FACTOR).contains(&policy.factor),
            BadRetry::Factor,
        ),
        (policy.max < policy.first, BadRetry::Max),
        (!(0.0..=1.0).contains(&policy.jitter), BadRetry::Jitter),
        (
            schedule.iter().any(Duration::is_zero),
            BadRetry::ScheduleZero,
        ),
        (schedule.len() > MAX_SCHEDULE, BadRetry::ScheduleLength),
    ]
    .into_iter()
    .filter_map(|(wrong, bad)| wrong.then_some(bad))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_held() {
        let changed = |change: fn(&mut RetryPolicy)| {
            let mut policy = RetryPolicy::default();
            change(&mut policy);
            check_retry(&policy)
        };
        assert_eq!(changed(|_| ()), []);
        assert_eq!(changed(|p| p.first = Duration::ZERO), [BadRetry::First]);
        assert_eq!(changed(|p| p.factor = 0.99), [BadRetry::Factor]);
        assert_eq!(changed(|p| p.factor = f64::NAN), [BadRetry::Factor]);
        assert_eq!(changed(|p| p.factor = 1.0), []);
        assert_eq!(changed(|p| p.max = Duration::from_secs(4)), [BadRetry::Max]);
        assert_eq!(changed(|p| p.max = p.first), []);
        assert_eq!(changed(|p| p.jitter = -0.1), [BadRetry::Jitter]);
        assert_eq!(changed(|p| p.jitter = 1.1), [BadRetry::Jitter]);
        assert_eq!(
            changed(|p| p.schedule = vec![Duration::ZERO]),
            [BadRetry::ScheduleZero]
        );
        let long = changed(|p| p.schedule = vec![Duration::from_secs(1); MAX_SCHEDULE + 1]);
        assert_eq!(long, [BadRetry::ScheduleLength]);
        assert_eq!(
            changed(|p| (p.first, p.jitter) = (Duration::ZERO, 2.0)).len(),
            2
        );
    }
}
