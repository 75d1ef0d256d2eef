//! Finds the knee: the most attempts at once that a receiver still serves faster than fewer.
//!
//! A receiver that queues never refuses: beyond the number of requests that it works on at once,
//! twice as many attempts only take twice as long. So each level of the limit is compared with the
//! one before it. If the median latency has grown about as much as the level, the higher level does
//! not pay, and the lower one is kept. From then on half and double that level are tried in turns.
//! Half is better if it takes about half as long, double if it takes hardly longer.
//!
//! The two levels are measured one right after the other, and by medians, so that a busy machine
//! and some slow requests affect both alike. BBR (draft-ietf-ccwg-bbr) probes bandwidth in the same
//! way. Vegas compares with the lowest latency of the past, and takes a busy machine for a queue.

use std::time::Duration;

/// The most attempts, the last ones, that judge a level.
const RECENT: usize = 32;
/// The fewest.
const LEAST_SAMPLES: usize = 4;
/// The fewest that judge a half: too few would often make it look better by chance.
const HALF_SAMPLES: usize = 16;
/// Receivers with a lower median are not judged, as it would measure this machine.
const QUICK: Duration = Duration::from_millis(10);
/// How long a level is kept before others are tried.
const HOLD: Duration = Duration::from_secs(5);
/// It is kept for at least so many times the median latency, so that trying costs little.
const HOLD_ROUNDS: u32 = 40;

/// The last latencies, in milliseconds.
#[derive(Debug, Default)]
pub struct Samples {
    recent: [u32; RECENT],
    count: usize,
}

impl Samples {
    pub fn push(&mut self, took: Duration) {
        let millis = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        if let Some(place) = self.recent.get_mut(self.count % RECENT) {
            *place = millis;
        }
        self.count += 1;
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// 0 if there are none.
    pub fn median(&self) -> Duration {
        let mut recent = self.recent;
        let known = self.count.min(RECENT);
        let recent = recent.get_mut(..known).unwrap_or_default();
        if recent.is_empty() {
            return Duration::ZERO;
        }
        let (lower, middle, _) = recent.select_nth_unstable(known / 2);
        let below = lower.iter().max().filter(|_| known.is_multiple_of(2));
        let sum = u64::from(*middle) + u64::from(*below.unwrap_or(middle));
        Duration::from_millis(sum / 2)
    }
}

/// What the limit does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It grows by its own rules.
    Grow,
    /// It doubles, to try whether that pays.
    Double,
    /// It stays.
    Stay,
    /// It changes to this.
    To(usize),
}

/// What was measured at a level.
#[derive(Clone, Copy, Debug)]
struct Measured {
    level: usize,
    median: Duration,
}

impl Measured {
    fn millis(self) -> f64 {
        self.median.as_secs_f64() * 1e3
    }
}

#[derive(Debug, Default)]
pub struct Knee {
    /// Of attempts that began at the present level, without the first `to_skip` ones, which met
    /// fewer others than later ones do.
    samples: Samples,
    to_skip: usize,
    /// The last level that paid.
    good: Option<Measured>,
    /// A higher level did not pay; others are tried at this time.
    holds_until: Option<Duration>,
    /// The double is tried next, otherwise the half.
    is_upwards: bool,
    /// The level of which the half is being tried.
    halved: Option<Measured>,
}

impl Knee {
    /// An attempt that began at the present level took so long.
    pub fn sample(&mut self, took: Duration) {
        if took < QUICK {
            self.to_skip = 0;
        }
        match self.to_skip.checked_sub(1) {
            Some(left) => self.to_skip = left,
            None => self.samples.push(took),
        }
    }

    /// The level has changed to this.
    pub fn moved(&mut self, level: usize) {
        self.samples.clear();
        self.to_skip = level;
    }

    /// After another sign of congestion, what was measured says nothing.
    pub fn forget(&mut self) {
        *self = Knee::default();
    }

    /// Judges the level after a round trip.
    pub fn judge(&mut self, level: usize, mono: Duration) -> Judged {
        let median = self.samples.median();
        if self.samples.count() > 0 && median < QUICK {
            self.good = None;
            self.holds_until = None;
            // If the half was being tried, growth leads back.
            self.halved = None;
            return Judged::Grow;
        }
        let least = match self.halved {
            Some(_) => HALF_SAMPLES,
            None => LEAST_SAMPLES,
        };
        if self.samples.count() < level.clamp(least, RECENT) {
            return Judged::Stay;
        }
        let here = Measured { level, median };
        if let Some(before) = self.halved.take() {
            if is_as_fast(before, here) {
                self.good = Some(here);
                self.holds_until = Some(mono);
                return Judged::Stay;
            }
            self.hold(mono, median);
            self.is_upwards = true;
            return Judged::To(before.level);
        }
        if let Some(until) = self.holds_until {
            return match mono < until {
                true => Judged::Stay,
                false => self.try_another(here, mono),
            };
        }
        match self.good {
            Some(good) if level * 2 < good.level * 3 && level >= good.level => Judged::Grow,
            Some(good) if level > good.level && !pays(good, here) => {
                // If the receiver queues, less may do as well.
                self.holds_until = Some(mono);
                self.is_upwards = false;
                Judged::To(good.level)
            }
            _ => {
                self.good = Some(here);
                Judged::Grow
            }
        }
    }

    /// The level is the endpoint's `max_in_flight`, so only less is tried.
    pub fn capped(&mut self, level: usize, mono: Duration) {
        let median = self.samples.median();
        if self.samples.count() > 0 && median >= QUICK {
            self.good = Some(Measured { level, median });
            self.hold(mono, median);
            self.is_upwards = false;
        }
    }

    fn try_another(&mut self, here: Measured, mono: Duration) -> Judged {
        self.good = Some(here);
        if self.is_upwards {
            self.holds_until = None;
            return Judged::Double;
        }
        if here.level == 1 {
            self.hold(mono, here.median);
            self.is_upwards = true;
            return Judged::Stay;
        }
        self.halved = Some(here);
        Judged::To(here.level.div_ceil(2))
    }

    fn hold(&mut self, mono: Duration, median: Duration) {
        let hold = HOLD.max(median.saturating_mul(HOLD_ROUNDS));
        self.holds_until = Some(mono.saturating_add(hold));
    }
}

/// Whether the latency grew clearly less than the level, from `good` to `here`.
fn pays(good: Measured, here: Measured) -> bool {
    let grown = |from: f64, to: f64| (to - from) / from.max(1.0);
    let levels = grown(good.level as f64, here.level as f64);
    grown(good.millis(), here.millis()) <= levels * 0.6
}

/// Whether the lower level `here` serves about as much as `before`: the latency fell about as much
/// as the level.
fn is_as_fast(before: Measured, here: Measured) -> bool {
    let fallen = |from: f64, to: f64| (from - to) / from.max(1.0);
    let levels = fallen(before.level as f64, here.level as f64);
    fallen(before.millis(), here.millis()) >= levels * 0.8
}
