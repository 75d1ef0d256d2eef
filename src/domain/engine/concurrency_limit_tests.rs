//! The limit at simulated receivers, and beside Vegas.

use super::super::tests::{status, timeout};
use super::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const MOST: usize = 64;
const MS: Duration = Duration::from_millis(1);

/// What a receiver does beyond what it can take at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beyond {
    Refuses,
    /// After so long, in milliseconds.
    RefusesSlowly(u32),
    Queues,
}

/// What decides how many are sent at once.
trait Limiter {
    fn now(&self) -> usize;
    fn ended(
        &mut self,
        outcome: &Outcome,
        since: Duration,
        mono: Duration,
        in_flight: usize,
        most: usize,
    );
}

impl Limiter for ConcurrencyLimit {
    fn now(&self) -> usize {
        self.now()
    }

    fn ended(
        &mut self,
        outcome: &Outcome,
        since: Duration,
        mono: Duration,
        in_flight: usize,
        most: usize,
    ) {
        self.ended(outcome, since, mono, in_flight, most);
    }
}

/// TCP Vegas as Netflix's concurrency-limits has it: the queue is estimated from the lowest
/// latency, which is measured anew now and then.
struct Vegas {
    limit: f64,
    lowest: Duration,
    samples: u32,
}

impl Limiter for Vegas {
    fn now(&self) -> usize {
        self.limit as usize
    }

    fn ended(
        &mut self,
        outcome: &Outcome,
        since: Duration,
        mono: Duration,
        in_flight: usize,
        most: usize,
    ) {
        let step = self.limit.log10().max(1.0);
        let took = (mono - since).max(Duration::from_micros(1));
        self.samples += 1;
        if f64::from(self.samples) > 30.0 * self.limit {
            (self.samples, self.lowest) = (0, took);
        }
        self.lowest = self.lowest.min(took);
        let queue = self.limit * (1.0 - self.lowest.as_secs_f64() / took.as_secs_f64());
        let used = in_flight as f64 * 2.0 >= self.limit;
        self.limit = match outcome.is_success() {
            false => self.limit - step,
            true if !used => self.limit,
            true if queue <= step => self.limit + 6.0 * step,
            true if queue < 3.0 * step => self.limit + step,
            true if queue > 6.0 * step => self.limit - step,
            true => self.limit,
        }
        .clamp(1.0, most as f64);
    }
}

struct Line<L = ConcurrencyLimit> {
    concurrency_limit: L,
    most: usize,
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
        Line::of(ConcurrencyLimit::new(FIRST))
    }
}

impl<L: Limiter> Line<L> {
    fn of(concurrency_limit: L) -> Line<L> {
        Line {
            concurrency_limit,
            most: MOST,
            mono: Duration::ZERO,
            ends: BinaryHeap::new(),
        }
    }

    /// Always as many as are allowed, at a receiver that takes `capacity` at once.
    fn run(&mut self, span: Duration, capacity: usize, service: Duration, beyond: Beyond) -> Tally {
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
                .ended(&status(code), since, self.mono, in_flight, self.most);
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
fn it_settles_near_the_knee_of_a_receiver_that_queues() {
    for capacity in [1, 2, 3, 4, 5, 7, 12, 16, 30] {
        for service in [15, 50, 200, 700] {
            let mut line = Line::new();
            let first = Duration::from_secs(30);
            line.run(first, capacity, MS * service, Beyond::Queues);
            let span = Duration::from_secs(120);
            let tally = line.run(span, capacity, MS * service, Beyond::Queues);
            let case = format!("{capacity} in {service} ms: {tally:?}");
            assert!(tally.usual * 4 <= capacity * 7 + 3, "{case}");
            let full = capacity as f64 * 120_000.0 / f64::from(service);
            assert!(tally.served as f64 / full > 0.78, "{case} of {full}");
        }
    }
}

/// Six kinds of receivers, each for two minutes after half a minute: the part of what it could
/// serve, the part of attempts that it refused, and how many were under way beside its capacity.
fn judged<L: Limiter>(make: impl Fn() -> L) -> Vec<(f64, f64, f64)> {
    let kinds = [
        (4, 50, Beyond::Refuses),
        (4, 50, Beyond::RefusesSlowly(400)),
        (4, 50, Beyond::Queues),
        (12, 200, Beyond::Queues),
        (1, 700, Beyond::Queues),
        (1000, 100, Beyond::Queues),
    ];
    let judge = |(capacity, service, beyond): (usize, u32, Beyond)| {
        let mut line = Line::of(make());
        line.run(Duration::from_secs(30), capacity, MS * service, beyond);
        let tally = line.run(Duration::from_secs(120), capacity, MS * service, beyond);
        let takes = capacity.min(MOST) as f64;
        let all = (tally.served + tally.refused).max(1) as f64;
        (
            tally.served as f64 * f64::from(service) / (takes * 120_000.0),
            tally.refused as f64 / all,
            tally.usual as f64 / takes,
        )
    };
    kinds.into_iter().map(judge).collect()
}

#[test]
fn it_is_as_good_as_what_others_do_everywhere_and_better_where_receivers_refuse() {
    let ours = judged(|| ConcurrencyLimit::new(FIRST));
    let theirs = judged(|| Vegas {
        limit: FIRST as f64,
        lowest: Duration::MAX,
        samples: 0,
    });
    for (n, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let ((served, refused, wide), case) = (*ours, format!("{n}: {ours:?}, Vegas {theirs:?}"));
        assert!(served > 0.8 && served > theirs.0 - 0.1, "{case}");
        assert!(refused <= 0.05 && refused <= theirs.1 + 0.001, "{case}");
        assert!(wide <= 2.0 && wide <= theirs.2 + 0.1, "{case}");
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

/// Latencies that scatter although nothing queues.
#[test]
fn a_receiver_whose_latency_scatters_is_not_throttled() {
    // A xorshift: the same each time.
    let mut dice: u64 = 88_172_645_463_325_252;
    let mut uniform = move || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        ((dice >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    };
    type Kind = (&'static str, fn(f64, f64) -> f64);
    let kinds: [Kind; 5] = [
        ("lognormal, 150 ms", |a, b| {
            150.0 * (0.5 * normal(a, b)).exp()
        }),
        ("lognormal, 400 ms", |a, b| {
            400.0 * (0.5 * normal(a, b)).exp()
        }),
        ("from 100 to 900 ms", |a, _| 100.0 + 800.0 * a),
        ("from 0.5 to 1.5 s", |a, _| 500.0 + 1000.0 * a),
        ("exponential, 100 ms", |a, _| -100.0 * a.ln()),
    ];
    for (name, latency) in kinds {
        let mut limit = ConcurrencyLimit::new(FIRST);
        let mut ends: BinaryHeap<Reverse<(Duration, Duration)>> = BinaryHeap::new();
        let (mut mono, mut sum, mut ended) = (Duration::ZERO, 0, 0);
        while mono < Duration::from_secs(360) {
            while ends.len() < limit.now() {
                let took = latency(uniform(), uniform()) / 1e3;
                ends.push(Reverse((mono + Duration::from_secs_f64(took), mono)));
            }
            let in_flight = ends.len();
            let Some(Reverse((at, since))) = ends.pop() else {
                break;
            };
            mono = mono.max(at);
            limit.ended(&status(200), since, mono, in_flight, MOST);
            if mono > Duration::from_secs(60) {
                sum += limit.now();
                ended += 1;
            }
        }
        let mean = sum / ended;
        assert!(mean >= 44, "{name}: {mean} of {MOST} at once");
    }
}

/// Of two evenly distributed numbers (Box and Muller).
fn normal(a: f64, b: f64) -> f64 {
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[test]
fn a_receiver_that_queues_is_found_out_at_the_most_that_its_endpoint_may() {
    let mut line = Line::new();
    line.most = 4;
    let span = Duration::from_secs(60);
    line.run(span, 1, MS * 50, Beyond::Queues);
    let tally = line.run(span, 1, MS * 50, Beyond::Queues);
    assert!(tally.usual <= 2, "{tally:?}");
}
