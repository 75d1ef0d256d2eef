//! `ingest.rate_limit`: how many events the whole daemon takes in a span of time.
//!
//! A token bucket that may be overdrawn: a request goes in whole or not at all, so a batch
//! that is larger than the burst takes what is there and leaves a debt, which those after
//! it wait out. What goes in over time is never more than the rate. Reads no clock.

use std::time::{Duration, Instant};

use crate::domain::endpoint::Rate;
use crate::domain::rate::Bucket;

/// What is left to take.
#[derive(Debug)]
pub struct EventRateLimit {
    bucket: Bucket,
    began: Instant,
}

impl EventRateLimit {
    /// Full, at `now`.
    pub fn new(rate: Rate, now: Instant) -> Self {
        EventRateLimit {
            bucket: Bucket::new(rate, Duration::ZERO, Duration::ZERO),
            began: now,
        }
    }

    /// Takes `events` out.
    ///
    /// # Errors
    /// How long until something can be taken again; nothing was taken.
    pub fn take(&mut self, events: usize, now: Instant) -> Result<(), Duration> {
        let mono = now.saturating_duration_since(self.began);
        let wait = self.bucket.ready_at().saturating_sub(mono);
        if !wait.is_zero() {
            return Err(wait);
        }
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.bucket.take_many(events, mono);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(per_second: f64) -> (EventRateLimit, Instant) {
        let start = Instant::now();
        (EventRateLimit::new(Rate { per_second }, start), start)
    }

    #[test]
    fn the_burst_is_100_ms_of_the_rate_and_at_least_one() {
        let (mut fast, start) = limit(50.0);
        let taken = (0..20).filter(|_| fast.take(1, start).is_ok()).count();
        assert_eq!(taken, 5);
        let (mut slow, start) = limit(1.0 / 60.0);
        assert_eq!(slow.take(1, start), Ok(()));
        let wait = slow.take(1, start).unwrap_err();
        assert_eq!(wait.as_secs_f64().round(), 60.0);
        assert!(slow.take(1, start + Duration::from_secs(59)).is_err());
        assert_eq!(slow.take(1, start + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn a_batch_over_the_burst_goes_in_and_leaves_a_debt() {
        let (mut limit, start) = limit(100.0);
        assert_eq!(limit.take(1000, start), Ok(()));
        let wait = limit.take(1, start).unwrap_err();
        assert_eq!((wait.as_secs_f64() * 100.0).round(), 991.0);
        assert!(
            limit
                .take(1, start + wait - Duration::from_millis(5))
                .is_err()
        );
        assert_eq!(limit.take(1, start + wait), Ok(()));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let (mut limit, start) = limit(1.0);
        let later = start + Duration::from_secs(10);
        assert_eq!(limit.take(1, later), Ok(()));
        assert!(limit.take(1, start).is_err());
        assert!(limit.take(1, later).is_err());
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_the_burst(
            rate in 1.0_f64..10_000.0,
            steps in proptest::collection::vec((0_u64..500_000, 1_usize..50), 1..200),
        ) {
            let (mut limit, start) = limit(rate);
            let (mut now, mut taken, mut last) = (start, 0.0, 0.0);
            for (micros, events) in steps {
                now += Duration::from_micros(micros);
                if limit.take(events, now).is_ok() {
                    // All but the last request was within what had come by then.
                    let earned = (rate * 0.1).max(1.0) + (now - start).as_secs_f64() * rate;
                    prop_assert!(taken - earned <= 1e-6);
                    taken += events as f64;
                    last = events as f64;
                }
            }
            prop_assert!(taken >= last);
        }
    }
}
