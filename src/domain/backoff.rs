//! How long to wait before the next attempt or probe.
//!
//! Nothing here panics or overflows, even for a policy that the check of
//! [`RetryPolicy`] would refuse: the answer then is a delay within its `max`.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::retry::RetryPolicy;

const LOCAL_FIRST: Duration = Duration::from_secs(1);
const LOCAL_MAX: Duration = Duration::from_secs(60);
/// Many such attempts fail together; they are not to come again together.
const LOCAL_JITTER: f64 = 0.5;

/// The delay before attempt `tries + 1`, when `tries` (at least 1) have failed; `None`
/// when a `schedule` has no more entries.
pub fn retry_delay(policy: &RetryPolicy, tries: u32) -> Option<Duration> {
    if policy.schedule.is_empty() {
        Some(grown(policy, tries))
    } else {
        policy.schedule.get(index(tries)).copied()
    }
}

/// The delay before the `k`-th probe (from 1) of an open breaker: that of the retry
/// rule; a `schedule` repeats its last entry.
pub fn probe_delay(policy: &RetryPolicy, k: u32) -> Duration {
    match policy.schedule.last() {
        None => grown(policy, k),
        Some(&last) => policy.schedule.get(index(k)).copied().unwrap_or(last),
    }
}

/// The delay after an attempt that failed for a reason of the daemon's own, of a delivery
/// whose budget began so long ago: it grows with that from a second to a minute.
pub fn local_delay(age: Duration, rng: &mut impl Rng) -> Duration {
    jittered((age / 4).clamp(LOCAL_FIRST, LOCAL_MAX), LOCAL_JITTER, rng)
}

/// Drawn evenly from `[delay * (1 - jitter), delay]`.
pub fn jittered(delay: Duration, jitter: f64, rng: &mut impl Rng) -> Duration {
    let jitter = if jitter.is_nan() { 0.0 } else { jitter };
    let share = 1.0 - jitter.clamp(0.0, 1.0) * rng.random::<f64>();
    Duration::try_from_secs_f64(delay.as_secs_f64() * share)
        .unwrap_or(delay)
        .min(delay)
}

/// `min(max, first * factor^(n-1))`
fn grown(policy: &RetryPolicy, n: u32) -> Duration {
    let exponent = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = policy.first.as_secs_f64() * policy.factor.powi(exponent);
    // What is infinite or no number at all is past every `max`.
    if seconds < policy.max.as_secs_f64() {
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(policy.max)
            .min(policy.max)
    } else {
        policy.max
    }
}

fn index(n: u32) -> usize {
    usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn seconds(all: &[u64]) -> Vec<Duration> {
        all.iter().map(|&s| Duration::from_secs(s)).collect()
    }

    #[test]
    fn the_default_rule_grows_by_three_up_to_six_hours() {
        let policy = RetryPolicy::default();
        let delays: Vec<u64> = (1..=10)
            .filter_map(|n| retry_delay(&policy, n))
            .map(|d| d.as_secs())
            .collect();
        assert_eq!(
            delays,
            [5, 15, 45, 135, 405, 1215, 3645, 10935, 21600, 21600]
        );
    }

    #[test]
    fn a_schedule_ends_for_deliveries_and_repeats_its_last_entry_for_probes() {
        let policy = RetryPolicy {
            schedule: seconds(&[5, 300]),
            ..RetryPolicy::default()
        };
        let delays: Vec<_> = (1..=3).map(|n| retry_delay(&policy, n)).collect();
        assert_eq!(
            delays,
            [
                Some(Duration::from_secs(5)),
                Some(Duration::from_secs(300)),
                None
            ]
        );
        let probes: Vec<_> = [1, 2, 3, u32::MAX]
            .map(|k| probe_delay(&policy, k))
            .to_vec();
        assert_eq!(probes, seconds(&[5, 300, 300, 300]));
    }

    proptest! {
        #[test]
        fn sound_policies_grow_within_their_bounds(
            first in 1u64..100_000_000,
            factor in 1.0f64..1e6,
            extra in 0u64..1_000_000_000_000,
            n in 1u32..200,
        ) {
            let policy = RetryPolicy {
                first: Duration::from_millis(first),
                factor,
                max: Duration::from_millis(first + extra),
                ..RetryPolicy::default()
            };
            let (this, next) = (probe_delay(&policy, n), probe_delay(&policy, n + 1));
            prop_assert!(policy.first <= this && this <= next && next <= policy.max);
            prop_assert_eq!(retry_delay(&policy, n), Some(this));
        }

        #[test]
        fn jitter_stays_within_its_bounds(
            nanos in 0u64.., jitter in 0.0f64..=1.0, seed in 0u64..,
        ) {
            let delay = Duration::from_nanos(nanos);
            let drawn = jittered(delay, jitter, &mut SmallRng::seed_from_u64(seed));
            // A microsecond and a part in a billion for what floats round away.
            let least = delay.as_secs_f64() * (1.0 - jitter) * (1.0 - 1e-9) - 1e-6;
            prop_assert!(drawn <= delay && drawn.as_secs_f64() >= least);
        }

        #[test]
        fn no_policy_at_all_panics(
            first in any::<u64>(), nanos in 0u32..1_000_000_000, factor in any::<f64>(),
            max in any::<u64>(), jitter in any::<f64>(), n in any::<u32>(), seed in any::<u64>(),
        ) {
            let policy = RetryPolicy {
                first: Duration::new(first, nanos),
                factor,
                max: Duration::new(max, nanos),
                jitter,
                ..RetryPolicy::default()
            };
            let delay = probe_delay(&policy, n);
            prop_assert!(delay <= policy.max);
            let mut rng = SmallRng::seed_from_u64(seed);
            prop_assert!(jittered(delay, jitter, &mut rng) <= delay);
        }
    }

    #[test]
    fn jitter_spreads_evenly() {
        let mut rng = SmallRng::seed_from_u64(7);
        let delay = Duration::from_secs(10);
        let mut tenths = [0u32; 10];
        for _ in 0..10_000 {
            let drawn = jittered(delay, 0.5, &mut rng).as_secs_f64();
            tenths[(((drawn - 5.0) * 2.0) as usize).min(9)] += 1;
        }
        assert!(
            tenths.iter().all(|&n| (850..1150).contains(&n)),
            "{tenths:?}"
        );
    }
}
