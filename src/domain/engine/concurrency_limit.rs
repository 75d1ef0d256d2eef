//! The adaptive concurrency limit of an endpoint (AIMD, RFC 5681): how many attempts it may
//! have at once, within its `max_in_flight`.
//!
//! As with TCP, the capacity of the receiver is unknown and has to be probed. The limit
//! doubles with every round trip until the first sign of congestion (slow start), and then
//! grows by an eighth a round trip, by one at least. A timeout, a 429 or 503, or a latency that
//! has clearly risen halves it, at most once a round trip: an attempt that started before the
//! last halving does not count. The limit at which an endpoint refused is remembered for a while
//! and not reached again, so that a receiver with a fixed limit does not refuse all the time.
//!
//! A round trip is over when the attempts that were under way at its beginning have ended, and
//! not when as many have succeeded: a receiver may take longer to refuse than to accept.
//!
//! The limit grows only while it is used: an endpoint that gets one event a second has not
//! shown that it can take sixteen at once.

use std::time::Duration;

use crate::domain::attempt::ErrorKind;
use crate::domain::verdict::Outcome;

/// So many attempts at once are allowed at first.
pub const FIRST: usize = 4;
/// The usual latency is the median of the last so many: some slow requests among quick
/// ones are no congestion, and do not move it.
const RECENT: usize = 32;
/// So few at once are never the cause of a latency.
const FEW: usize = 2;
/// With more it is believed after a round trip, and so many at least.
const LEAST_SAMPLES: usize = 8;
/// A rise by less says nothing: it may be this machine that is busy.
const LEAST_RISE: Duration = Duration::from_millis(100);
/// The lowest latency is that of the last one to two such spans.
const SPAN: Duration = Duration::from_secs(30);
/// For so long no more are tried than were refused.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// A round trip does not wait for a few attempts that take so many times the usual latency.
const STRAGGLES: u32 = 10;
/// The usual latency counts as this at least.
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub struct ConcurrencyLimit {
    /// At least 1.
    now: usize,
    /// What it was before it was last raised, and when that was.
    before: usize,
    raised_at: Duration,
    /// No sign of congestion yet.
    doubling: bool,
    round: Option<Round>,
    /// When it was last taken back; attempts from before say nothing new.
    halved_at: Duration,
    /// So many were refused then.
    refused: Option<(usize, Duration)>,
    latency: Latency,
}

/// A round trip under way.
#[derive(Debug)]
struct Round {
    began: Duration,
    /// How many attempts were under way then, and how many of these still are.
    of: usize,
    left: usize,
}

/// The latency of late, and the lowest of the recent past.
#[derive(Debug, Default)]
struct Latency {
    /// In milliseconds, the last one behind the one before it, in a ring.
    recent: [u32; RECENT],
    samples: usize,
    lowest: Option<Duration>,
    /// Of the span before.
    lowest_before: Option<Duration>,
    span_ends: Duration,
}

impl ConcurrencyLimit {
    /// What an endpoint begins with that had this limit when it was last busy.
    pub fn new(before: usize) -> ConcurrencyLimit {
        ConcurrencyLimit {
            now: before.clamp(1, FIRST),
            before: before.clamp(1, FIRST),
            raised_at: Duration::ZERO,
            doubling: true,
            round: None,
            halved_at: Duration::ZERO,
            refused: None,
            latency: Latency::default(),
        }
    }

    pub fn now(&self) -> usize {
        self.now
    }

    /// From one on again: after the breaker opened, and when held deliveries are released.
    pub fn restart(&mut self, mono: Duration) {
        *self = ConcurrencyLimit {
            halved_at: mono,
            raised_at: mono,
            ..ConcurrencyLimit::new(1)
        };
    }

    /// An attempt ended that began at `since`, one of `in_flight`; never more than `most`.
    pub fn ended(
        &mut self,
        outcome: &Outcome,
        since: Duration,
        mono: Duration,
        in_flight: usize,
        most: usize,
    ) {
        if let Some(round) = &mut self.round
            && since <= round.began
            && round.left > 0
        {
            round.left -= 1;
        }
        let refused = matches!(outcome.status, Some(429 | 503)) && !outcome.is_success();
        if refused || outcome.error == Some(ErrorKind::Timeout) {
            if refused && since >= self.halved_at {
                let level = match since >= self.raised_at {
                    true => self.now,
                    false => self.before,
                };
                self.refused = Some((level, mono.saturating_add(REFUSED_FOR)));
            }
            self.halve(since, mono);
            return;
        }
        if outcome.status.is_some() && since >= self.halved_at {
            let took = mono.saturating_sub(since);
            let round = match self.now {
                ..=FEW => FEW,
                more => more.clamp(LEAST_SAMPLES, RECENT),
            };
            if self.latency.rises(took, round, mono) {
                if self.now <= FEW {
                    // So few at once are not the cause: the endpoint is slower now.
                    self.latency.accept();
                } else {
                    self.halve(since, mono);
                    return;
                }
            }
        }
        // A round begins with the first success of an attempt that the limit as it is now
        // allowed, if the limit is used.
        if self.round.is_none()
            && outcome.is_success()
            && since >= self.raised_at
            && in_flight * 2 >= self.now
        {
            self.round = Some(Round {
                began: mono,
                of: in_flight,
                left: in_flight.saturating_sub(1),
            });
        }
        if self.is_round_over(mono) {
            self.grow(mono, most);
        }
    }

    fn is_round_over(&self, mono: Duration) -> bool {
        self.round.as_ref().is_some_and(|round| {
            let few = (round.of / 8).max(1);
            let long = self.latency.median().max(SHORTEST) * STRAGGLES;
            let lasts = mono.saturating_sub(round.began);
            round.left == 0 || (self.latency.samples > 0 && round.left <= few && lasts > long)
        })
    }

    fn halve(&mut self, since: Duration, mono: Duration) {
        if since < self.halved_at {
            return;
        }
        self.now = (self.now / 2).max(1);
        self.doubling = false;
        self.round = None;
        self.halved_at = mono;
        self.latency.begin_anew();
    }

    fn grow(&mut self, mono: Duration, most: usize) {
        let refused = self.refused.filter(|&(_, until)| until > mono);
        let most = refused.map_or(most, |(count, _)| most.min(count.saturating_sub(1)));
        self.round = None;
        let wanted = match self.doubling {
            true => self.now.saturating_mul(2),
            false => self.now.saturating_add((self.now / 8).max(1)),
        };
        if self.now < most {
            self.before = self.now;
            self.now = wanted.min(most);
            self.raised_at = mono;
        }
    }
}

impl Latency {
    /// Takes in one more: whether the latency has clearly risen, over a round trip of so
    /// many at least.
    fn rises(&mut self, took: Duration, round: usize, mono: Duration) -> bool {
        if mono >= self.span_ends {
            self.span_ends = mono.saturating_add(SPAN);
            self.lowest_before = self.lowest.take();
        }
        self.lowest = Some(self.lowest.map_or(took, |lowest| lowest.min(took)));
        let millis = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        if let Some(place) = self.recent.get_mut(self.samples % RECENT) {
            *place = millis;
        }
        self.samples += 1;
        let lowest = self.lowest.into_iter().chain(self.lowest_before).min();
        let lowest = lowest.unwrap_or(took);
        let usual = lowest.saturating_add(lowest / 2).saturating_add(LEAST_RISE);
        // The median is looked for only if this one is above it.
        self.samples >= round && took > usual && self.median() > usual
    }

    /// Of an even number the lower one of the two in the middle.
    fn median(&self) -> Duration {
        let mut recent = self.recent;
        let known = self.samples.min(RECENT);
        let recent = recent.get_mut(..known).unwrap_or_default();
        if recent.is_empty() {
            return Duration::ZERO;
        }
        let (_, median, _) = recent.select_nth_unstable((known - 1) / 2);
        Duration::from_millis((*median).into())
    }

    /// What it is now is the lowest.
    fn accept(&mut self) {
        self.lowest = Some(self.median());
        self.lowest_before = None;
    }

    /// What was measured is of more at once than there are from now on.
    fn begin_anew(&mut self) {
        self.samples = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    const MS: Duration = Duration::from_millis(1);

    fn status(status: u16) -> Outcome {
        Outcome {
            status: Some(status),
            error: (status != 200).then_some(ErrorKind::Status),
            retry_after: None,
        }
    }

    fn timeout() -> Outcome {
        Outcome {
            status: None,
            error: Some(ErrorKind::Timeout),
            retry_after: None,
        }
    }

    /// What a receiver does beyond what it can take at once.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Beyond {
        Refuses,
        /// After so long, in milliseconds.
        RefusesSlowly(u32),
        Queues,
    }

    struct Line {
        concurrency_limit: ConcurrencyLimit,
        mono: Duration,
        /// Those under way: when they end, since when, and what with.
        ends: BinaryHeap<Reverse<(Duration, Duration, u16)>>,
    }

    /// What came of a while.
    #[derive(Debug)]
    struct Tally {
        served: usize,
        refused: usize,
        /// In flight, in the middle.
        usual: usize,
    }

    impl Line {
        fn new() -> Line {
            Line {
                concurrency_limit: ConcurrencyLimit::new(FIRST),
                mono: Duration::ZERO,
                ends: BinaryHeap::new(),
            }
        }

        /// Always as many as are allowed, at a receiver that takes `capacity` at once.
        fn run(
            &mut self,
            span: Duration,
            capacity: usize,
            service: Duration,
            beyond: Beyond,
        ) -> Tally {
            let end = self.mono + span;
            let (mut served, mut refused, mut seen) = (0, 0, Vec::new());
            while self.mono < end {
                while self.ends.len() < self.concurrency_limit.now() {
                    let working = self.ends.iter().filter(|Reverse(one)| one.2 == 200);
                    let mut working: Vec<Duration> = working.map(|Reverse(one)| one.0).collect();
                    working.sort();
                    let free_at = working
                        .len()
                        .checked_sub(capacity)
                        .map(|last| working[last]);
                    let (at, code) = match (free_at, beyond) {
                        (None, _) => (self.mono + service, 200),
                        (Some(_), Beyond::Refuses) => (self.mono + MS, 503),
                        (Some(_), Beyond::RefusesSlowly(millis)) => (self.mono + MS * millis, 503),
                        (Some(free_at), Beyond::Queues) => (free_at + service, 200),
                    };
                    self.ends.push(Reverse((at, self.mono, code)));
                }
                let in_flight = self.ends.len();
                seen.push(in_flight);
                let Some(Reverse((at, since, code))) = self.ends.pop() else {
                    break;
                };
                self.mono = self.mono.max(at);
                served += usize::from(code == 200);
                refused += usize::from(code != 200);
                self.concurrency_limit
                    .ended(&status(code), since, self.mono, in_flight, 64);
            }
            seen.sort();
            let usual = seen[seen.len() / 2];
            Tally {
                served,
                refused,
                usual,
            }
        }
    }

    #[test]
    fn it_doubles_until_the_first_sign_of_congestion_and_then_grows_by_one() {
        let mut limit = ConcurrencyLimit::new(FIRST);
        let mut mono = Duration::ZERO;
        let mut round = |limit: &mut ConcurrencyLimit, outcome: Outcome| {
            let since = mono;
            mono += MS;
            for _ in 0..limit.now() {
                let in_flight = limit.now();
                limit.ended(&outcome, since, mono, in_flight, 64);
            }
            limit.now()
        };
        assert_eq!(round(&mut limit, status(200)), 8);
        assert_eq!(round(&mut limit, status(200)), 16);
        assert_eq!(round(&mut limit, timeout()), 8, "once a round trip");
        assert_eq!(round(&mut limit, status(200)), 9);
        assert_eq!(round(&mut limit, status(429)), 4);
        assert_eq!(round(&mut limit, status(500)), 4, "says nothing");
        for _ in 0..9 {
            round(&mut limit, timeout());
        }
        assert_eq!(limit.now(), 1, "never less");
        limit.restart(Duration::from_millis(14));
        assert_eq!(round(&mut limit, status(200)), 2);
        assert_eq!(round(&mut limit, status(200)), 4);
    }

    #[test]
    fn it_grows_only_while_it_is_used_and_to_its_bound() {
        let mut limit = ConcurrencyLimit::new(FIRST);
        for n in 0..100 {
            limit.ended(&status(200), n * MS, (n + 1) * MS, 1, 64);
        }
        assert_eq!(limit.now(), FIRST);
        for n in 100..200 {
            for in_flight in (1..=limit.now()).rev() {
                limit.ended(&status(200), n * MS, (n + 1) * MS, in_flight, 7);
            }
        }
        assert_eq!(limit.now(), 7);
    }

    #[test]
    fn it_converges_to_what_the_receiver_takes_whatever_that_is() {
        for beyond in [Beyond::Refuses, Beyond::Queues] {
            for capacity in [1, 2, 5, 12, 30] {
                for service in [200 * MS, 700 * MS] {
                    let mut line = Line::new();
                    line.run(Duration::from_secs(60), capacity, service, beyond);
                    let tally = line.run(Duration::from_secs(120), capacity, service, beyond);
                    let usual = tally.usual;
                    let about = capacity.div_ceil(2)..=2 * capacity + 4;
                    assert!(about.contains(&usual), "{beyond:?} {capacity}: {tally:?}");
                    let most = capacity as f64 * 120.0 / service.as_secs_f64();
                    let part = tally.served as f64 / most;
                    assert!(
                        part > 0.7,
                        "{beyond:?} {capacity} {service:?}: {tally:?} of {most}"
                    );
                    let few = tally.served / 20 + 13;
                    assert!(tally.refused <= few, "{beyond:?} {capacity}: {tally:?}");
                }
            }
        }
    }

    #[test]
    fn a_receiver_that_takes_longer_to_refuse_than_to_accept_seldom_has_to() {
        for capacity in [1, 2, 4, 7, 20] {
            for (service, refusal) in [(50, 400), (50, 50), (20, 190), (200, 1500), (300, 5)] {
                let mut line = Line::new();
                let beyond = Beyond::RefusesSlowly(refusal);
                let first = line.run(Duration::from_secs(5), capacity, MS * service, beyond);
                let then = line.run(Duration::from_secs(120), capacity, MS * service, beyond);
                let case = format!("{capacity} in {service} ms, 503 in {refusal} ms");
                // Slow start goes at most twice as high as it may.
                let most = 2 * capacity + FIRST + first.served / 20;
                assert!(first.refused <= most, "{case}: {first:?}");
                assert!(then.refused * 20 <= then.served, "{case}: {then:?}");
                let full = capacity as f64 * 120_000.0 / f64::from(service);
                let part = then.served as f64 / full;
                assert!(part > 0.7, "{case}: {then:?} of {full}");
            }
        }
    }

    #[test]
    fn it_recovers_when_the_receiver_gets_faster() {
        for beyond in [Beyond::Refuses, Beyond::Queues] {
            let mut line = Line::new();
            line.run(Duration::from_secs(60), 3, 300 * MS, beyond);
            let slow = line.concurrency_limit.now();
            line.run(Duration::from_secs(60), 40, 200 * MS, beyond);
            let fast = line.concurrency_limit.now();
            assert!(slow <= 8 && fast >= 20, "{beyond:?}: {slow}, {fast}");
        }
    }

    #[test]
    fn a_receiver_that_is_slower_whatever_is_sent_is_not_throttled_for_good() {
        let mut line = Line::new();
        line.run(Duration::from_secs(3), 1000, 20 * MS, Beyond::Queues);
        assert_eq!(line.concurrency_limit.now(), 64);
        line.run(Duration::from_secs(60), 1000, 500 * MS, Beyond::Queues);
        assert!(
            line.concurrency_limit.now() >= 32,
            "{:?}",
            line.concurrency_limit
        );
    }

    #[test]
    fn a_busy_machine_does_not_throttle_itself() {
        let mut line = Line::new();
        for n in 0..40 {
            let service = MS * if n % 2 == 0 { 1 } else { 90 };
            line.run(service * 20, 1000, service, Beyond::Queues);
        }
        assert_eq!(line.concurrency_limit.now(), 64);
    }

    #[test]
    fn some_slow_requests_among_quick_ones_are_no_congestion() {
        for (slow_ms, one_in) in [(500, 5), (1000, 5), (1000, 10), (2000, 10), (3000, 20)] {
            let mut limit = ConcurrencyLimit::new(FIRST);
            let mut ends: BinaryHeap<Reverse<(Duration, u64, Duration)>> = BinaryHeap::new();
            let (mut mono, mut n, mut sum) = (Duration::ZERO, 0_u64, 0);
            let mut dice: u64 = 88_172_645_463_325_252;
            let mut ended = 0;
            while mono < Duration::from_secs(300) {
                while ends.len() < limit.now() {
                    // A xorshift: the same each time.
                    dice ^= dice << 13;
                    dice ^= dice >> 7;
                    dice ^= dice << 17;
                    let service = if dice.is_multiple_of(one_in) {
                        slow_ms
                    } else {
                        30
                    };
                    n += 1;
                    ends.push(Reverse((mono + Duration::from_millis(service), n, mono)));
                }
                let in_flight = ends.len();
                let Reverse((at, _, since)) = ends.pop().unwrap();
                mono = mono.max(at);
                ended += 1;
                limit.ended(&status(200), since, mono, in_flight, 64);
                sum += limit.now();
            }
            let mean = sum / ended;
            assert!(
                mean >= 48,
                "1 in {one_in} takes {slow_ms} ms: {mean} of 64 at once"
            );
        }
    }
}
