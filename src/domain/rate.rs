//! A rate limit: a bucket of tokens, one for each attempt of an endpoint or each event
//! that is posted.
//!
//! Over any span of T seconds at most `rate * T + burst` are taken one by one, where the
//! burst is `max(1, rate * 100 ms)`. An endpoint with enough work reaches the rate: tokens
//! delayed by a late timer are caught up on within the burst.

use std::time::Duration;

/// Attempts (or events) in a span of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// More than 0.
    pub per_second: f64,
}

/// The burst is what comes together in so long.
const BURST_SPAN: Duration = Duration::from_millis(100);

/// Instead of a count of tokens, which would be rounded at every step, it is known when
/// the bucket will be full again.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// In which one token comes. Rounded up to a nanosecond: never over the rate.
    step: Duration,
    /// How long before it is full it holds a token.
    slack: Duration,
    full_at: Duration,
}

impl Bucket {
    /// Full at `full_at`, and at least empty now.
    pub fn new(rate: Rate, full_at: Duration, mono: Duration) -> Bucket {
        let step = step(rate);
        let empty = mono.saturating_add(step.max(BURST_SPAN));
        Bucket {
            step,
            slack: BURST_SPAN.saturating_sub(step),
            full_at: full_at.min(empty),
        }
    }

    /// When there is a token for the next attempt.
    pub fn ready_at(&self) -> Duration {
        self.full_at.saturating_sub(self.slack)
    }

    pub fn full_at(&self) -> Duration {
        self.full_at
    }

    /// Takes a token, which [is there](Self::ready_at).
    pub fn take(&mut self, mono: Duration) {
        self.take_many(1, mono);
    }

    /// Takes so many at once where there [is one](Self::ready_at): what there is not is a
    /// debt, and those after wait until it is made up for.
    pub fn take_many(&mut self, tokens: u32, mono: Duration) {
        let taken = self.step.saturating_mul(tokens);
        self.full_at = self.full_at.max(mono).saturating_add(taken);
    }
}

/// The time between two attempts at this rate. For a rate that is none: for ever.
pub fn step(rate: Rate) -> Duration {
    let nanos = (1e9 / rate.per_second).ceil();
    if nanos >= 0.0 && nanos < u64::MAX as f64 {
        Duration::from_nanos((nanos as u64).max(1))
    } else {
        Duration::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn starts(rate: f64, late: &[u64], span: Duration) -> Vec<Duration> {
        let mut bucket = Bucket::new(Rate { per_second: rate }, Duration::ZERO, Duration::ZERO);
        let mut starts = Vec::new();
        let mut mono = Duration::ZERO;
        for late in late.iter().cycle() {
            // A timer fires, a little late, and then as many start as may.
            mono = mono.max(bucket.ready_at()) + Duration::from_micros(*late);
            if mono > span {
                return starts;
            }
            while bucket.ready_at() <= mono {
                bucket.take(mono);
                starts.push(mono);
            }
        }
        starts
    }

    proptest! {
        #[test]
        fn no_span_holds_more_than_the_rate_and_the_burst(
            rate in 0.5f64..3000.0,
            late in prop::collection::vec(0u64..40_000, 1..20),
        ) {
            let starts = starts(rate, &late, Duration::from_secs(4));
            let burst = (rate * 0.1).max(1.0);
            // Of all spans that end with an attempt, the fullest.
            let mut fullest = f64::MAX;
            for (n, at) in starts.iter().enumerate() {
                let free = n as f64 - rate * at.as_secs_f64();
                fullest = fullest.min(free);
                prop_assert!(free + 1.0 - fullest <= burst + 1e-6, "{n} at {at:?}");
            }
        }

        #[test]
        fn late_timers_within_the_burst_lose_nothing(
            rate in 50.0f64..3000.0,
            late in prop::collection::vec(0u64..20_000, 1..20),
        ) {
            let span = Duration::from_secs(10);
            let most = rate * span.as_secs_f64() + rate * 0.1;
            let started = starts(rate, &late, span).len() as f64;
            // The last timer may fire after the end.
            let least = rate * (span.as_secs_f64() - 0.04);
            prop_assert!((least..=most).contains(&started), "{started} of {most}");
        }

        #[test]
        fn no_rate_at_all_panics(rate in any::<f64>(), at in any::<u64>()) {
            let mono = Duration::from_nanos(at);
            let mut bucket = Bucket::new(Rate { per_second: rate }, Duration::MAX, mono);
            bucket.take(mono);
            prop_assert!(bucket.ready_at() <= bucket.full_at());
        }
    }

    #[test]
    fn below_ten_a_second_there_is_no_burst() {
        let starts = starts(4.0, &[0], Duration::from_secs(1));
        let quarters = (0..=4).map(|n| n * Duration::from_millis(250));
        assert_eq!(starts, quarters.collect::<Vec<_>>());
    }
}
