//! Counts of values by size, for metrics.
//!
//! Any thread may add a value at any time: that costs a search in the bounds and two additions,
//! without a lock or an allocation. The number of values is the sum of the buckets, so a view is
//! consistent with itself; its sum may be ahead or behind by the values that are being added.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The most bounds that a histogram has.
const MAX_BOUNDS: usize = 20;

const MILLI: u64 = 1000;
const SECOND: u64 = 1000 * MILLI;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Bounds for durations of up to seconds, in microseconds.
const SHORT: [u64; 17] = [
    100,
    250,
    500,
    MILLI,
    2500,
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    2500 * MILLI,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
];

/// Bounds for durations of up to a day, in microseconds.
const LONG: [u64; 18] = [
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    2500 * MILLI,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    HOUR,
    6 * HOUR,
    24 * HOUR,
];

const COUNTS: [u64; 15] = [
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384,
];

/// See the [module](self).
#[derive(Debug)]
pub struct Histogram {
    /// The largest value of each bucket. Values above the last bound have a bucket of their own.
    bounds: &'static [u64],
    /// Values and bounds are shown divided by this.
    per_unit: f64,
    buckets: [AtomicU64; MAX_BOUNDS + 1],
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramView {
    /// Upper bound, and the values that belong to no smaller one. The last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
    pub count: u64,
}

impl Histogram {
    /// Durations of up to 30 s, shown in seconds.
    pub fn of_short_durations() -> Histogram {
        Histogram::new(&SHORT, SECOND as f64)
    }

    /// Durations of up to a day, shown in seconds.
    pub fn of_long_durations() -> Histogram {
        Histogram::new(&LONG, SECOND as f64)
    }

    /// Numbers of things, up to 16,384.
    pub fn of_counts() -> Histogram {
        Histogram::new(&COUNTS, 1.0)
    }

    fn new(bounds: &'static [u64], per_unit: f64) -> Histogram {
        Histogram {
            bounds,
            per_unit,
            buckets: Default::default(),
            sum: AtomicU64::new(0),
        }
    }

    /// Adds a duration, in a histogram of durations.
    pub fn took(&self, duration: Duration) {
        self.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds a number of things, in a histogram of counts.
    pub fn counted(&self, count: usize) {
        self.add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn add(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Relaxed);
        }
        // The counter begins again after 584,000 years of durations.
        self.sum.fetch_add(value, Relaxed);
    }

    /// The values added until now.
    pub fn view(&self) -> HistogramView {
        let bounds = self.bounds.iter();
        let bounds = bounds.map(|bound| *bound as f64 / self.per_unit);
        let bounds = bounds.chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        HistogramView {
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
            sum: self.sum.load(Relaxed) as f64 / self.per_unit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The count of each bucket that has any, by its bound.
    fn filled(view: &HistogramView) -> Vec<(f64, u64)> {
        let buckets = view.buckets.iter().copied();
        buckets.filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn a_value_counts_in_the_first_bucket_that_it_fits_into() {
        let histogram = Histogram::of_short_durations();
        for micros in [0, 100, 101, 1000, 30_000_000, 30_000_001] {
            histogram.took(Duration::from_micros(micros));
        }
        let view = histogram.view();
        let expected = [
            (0.0001, 2),
            (0.00025, 1),
            (0.001, 1),
            (30.0, 1),
            (f64::INFINITY, 1),
        ];
        assert_eq!(filled(&view), expected);
        assert_eq!((view.count, view.sum), (6, 60.001_202));
    }

    #[test]
    fn every_bound_has_a_bucket_and_the_bounds_rise() {
        for bounds in [&SHORT[..], &LONG, &COUNTS] {
            assert!(bounds.len() <= MAX_BOUNDS);
            assert!(bounds.is_sorted_by(|a, b| a < b));
        }
        let histogram = Histogram::of_counts();
        histogram.counted(usize::MAX);
        assert_eq!(filled(&histogram.view()), [(f64::INFINITY, 1)]);
        assert_eq!(histogram.view().buckets.len(), COUNTS.len() + 1);
    }

    #[test]
    fn values_of_several_threads_are_all_counted() {
        let histogram = Histogram::of_counts();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|n| histogram.counted(n % 50)));
            }
        });
        let view = histogram.view();
        assert_eq!((view.count, view.sum), (4000, 4.0 * 20.0 * 1225.0));
    }
}
