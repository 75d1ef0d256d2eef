//! Scenarios: the whole engine with receivers that do as they are told.

mod limits;
mod order;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::domain::attempt::ErrorKind;
use crate::domain::delivery::{Next, Reason};
use crate::domain::endpoint::{DisabledReason, Ordering, Rate};
use crate::domain::event::Tenant;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Timestamp;

const MS: Duration = Duration::from_millis(1);
const HANG: Duration = Duration::from_secs(20);

pub(super) fn status(code: u16) -> Outcome {
    Outcome {
        status: Some(code),
        error: (!(200..300).contains(&code)).then_some(ErrorKind::Status),
        retry_after: None,
        permanent: false,
    }
}

pub(super) fn timeout() -> Outcome {
    Outcome {
        status: None,
        error: Some(ErrorKind::Timeout),
        retry_after: None,
        permanent: false,
    }
}

fn policy(tenant: &str, max_in_flight: usize) -> LanePolicy {
    LanePolicy {
        tenant: Tenant::new(tenant).unwrap(),
        max_in_flight,
        retry: Arc::new(RetryPolicy {
            jitter: 0.0,
            ..RetryPolicy::default()
        }),
        ordering: Ordering::None,
        rate_limit: None,
    }
}

/// An engine, its receivers, and an index.
struct Harness {
    engine: Engine,
    rng: SmallRng,
    now: Now,
    /// What each endpoint answers, and how fast; 200 in 10 ms if not named.
    answers: HashMap<EndpointNo, (Duration, Outcome)>,
    ends: BinaryHeap<Reverse<(Duration, EndpointNo, EventId)>>,
    outcomes: HashMap<(EndpointNo, EventId), Outcome>,
    index: BTreeMap<(EndpointNo, Key), Entry>,
    keys: HashMap<(EndpointNo, EventId), Key>,
    starts: Vec<(Duration, EndpointNo, EventId)>,
    stores: Vec<(EventId, Next, Option<DisabledReason>)>,
    last_event: u128,
}

impl Harness {
    fn new(max_in_flight: usize) -> Harness {
        Harness {
            engine: Engine::new(max_in_flight),
            rng: SmallRng::seed_from_u64(1),
            now: Now {
                wall: Timestamp::from_millis(1_800_000_000_000),
                mono: Duration::ZERO,
            },
            answers: HashMap::new(),
            ends: BinaryHeap::new(),
            outcomes: HashMap::new(),
            index: BTreeMap::new(),
            keys: HashMap::new(),
            starts: Vec::new(),
            stores: Vec::new(),
            last_event: 0,
        }
    }

    fn configure(&mut self, nos: std::ops::Range<u32>, policy: &LanePolicy) {
        for no in nos {
            self.tell(Input::Configure {
                no: EndpointNo(no),
                policy: policy.clone(),
            });
        }
    }

    fn answer(&mut self, nos: std::ops::Range<u32>, took: Duration, outcome: Outcome) {
        for no in nos {
            self.answers.insert(EndpointNo(no), (took, outcome));
        }
    }

    fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.engine.handle(input, self.now, &mut self.rng, &mut out);
        for command in out {
            match command {
                Command::Start { no, entry } => {
                    let usual = (10 * MS, status(200));
                    let (took, outcome) = self.answers.get(&no).copied().unwrap_or(usual);
                    self.ends
                        .push(Reverse((self.now.mono + took, no, entry.event)));
                    self.outcomes.insert((no, entry.event), outcome);
                    self.starts.push((self.now.mono, no, entry.event));
                }
                Command::Store {
                    no,
                    event,
                    next,
                    disable,
                    ..
                } => {
                    self.stores.push((event, next, disable));
                    self.store(no, event, next);
                    self.tell(Input::Stored { no, event });
                }
                Command::Refill {
                    no,
                    from,
                    limit,
                    heads,
                } => {
                    let last = (Timestamp::MAX, EventId(u128::MAX));
                    let range = self.index.range((no, from)..=(no, last));
                    let mut entries: Vec<Entry> = range.map(|(_, &entry)| entry).collect();
                    let next = entries.get(limit).map(Entry::key);
                    entries.truncate(limit);
                    entries.retain(|entry| {
                        !heads || entry.chain == 0 || self.head(no, entry.chain) == Some(*entry)
                    });
                    self.tell(Input::Refilled { no, entries, next });
                }
                Command::Head { no, chain } => {
                    let head = self.head(no, chain);
                    self.tell(Input::Headed { no, chain, head });
                }
                Command::BreakerChanged { .. } => {}
            }
        }
    }

    /// The oldest pending delivery of a chain.
    fn head(&self, no: EndpointNo, chain: u64) -> Option<Entry> {
        let all = self.index.iter().filter(|((of, _), _)| *of == no);
        all.map(|(_, entry)| *entry)
            .filter(|entry| chain == ENDPOINT_CHAIN || entry.chain == chain)
            .min_by_key(|entry| entry.event)
    }

    fn store(&mut self, no: EndpointNo, event: EventId, next: Next) {
        let Some(entry) = self.keys.remove(&(no, event)).and_then(|key| {
            let key = (no, key);
            self.index.remove(&key)
        }) else {
            return;
        };
        if let Next::Retry {
            due,
            budget_from,
            tries,
        } = next
        {
            self.put(
                no,
                Entry {
                    due,
                    budget_from,
                    tries,
                    ..entry
                },
            );
        }
    }

    fn put(&mut self, no: EndpointNo, entry: Entry) {
        self.index.insert((no, entry.key()), entry);
        self.keys.insert((no, entry.event), entry.key());
    }

    /// A new event for an endpoint, due now.
    fn queue(&mut self, no: u32) -> EventId {
        let (no, entry) = (EndpointNo(no), self.entry());
        self.put(no, entry);
        self.tell(Input::Queued { no, entry });
        entry.event
    }

    fn entry(&mut self) -> Entry {
        self.last_event += 1;
        let due = self.now.wall;
        Entry {
            event: EventId(self.last_event),
            lsn: 0,
            due,
            exact: false,
            tries: 0,
            budget_from: due,
            chain: 0,
        }
    }

    /// Lets time pass, with all that happens in it.
    fn run(&mut self, span: Duration) {
        let end = self.now.mono + span;
        loop {
            let next_end = self.ends.peek().map(|&Reverse((at, ..))| at);
            let wake = self.engine.next_wake();
            let Some(at) = next_end
                .into_iter()
                .chain(wake)
                .min()
                .filter(|&at| at <= end)
            else {
                break;
            };
            self.pass(at);
            if next_end == Some(at) {
                let Some(Reverse((_, no, event))) = self.ends.pop() else {
                    break;
                };
                let outcome = self.outcomes[&(no, event)];
                self.tell(Input::Ended { no, event, outcome });
            } else {
                self.tell(Input::Wake);
            }
        }
        self.pass(end);
    }

    fn pass(&mut self, mono: Duration) {
        self.now.wall = Timestamp::from_millis(1_800_000_000_000) + mono;
        self.now.mono = mono;
    }

    fn started(&self, event: EventId) -> Option<Duration> {
        let start = self
            .starts
            .iter()
            .find(|&&(_, _, started)| started == event);
        start.map(|&(at, ..)| at)
    }

    fn in_flight(&self, no: u32) -> usize {
        let lane = self.engine.lane(EndpointNo(no), self.now);
        lane.map_or(0, |lane| lane.in_flight)
    }

    /// Sends the endpoint an event every `gap` for `span`: the longest wait for a slot.
    fn longest_wait(&mut self, no: u32, gap: Duration, span: Duration) -> Duration {
        let mut queued = Vec::new();
        let end = self.now.mono + span;
        while self.now.mono < end {
            let at = self.now.mono;
            queued.push((self.queue(no), at));
            self.run(gap);
        }
        let end = self.now.mono;
        let starts: HashMap<EventId, Duration> = self
            .starts
            .iter()
            .map(|&(at, _, event)| (event, at))
            .collect();
        let waits = queued
            .iter()
            .map(|(event, at)| starts.get(event).copied().unwrap_or(end) - *at);
        waits.max().unwrap_or_default()
    }
}

#[test]
fn a_healthy_endpoint_finds_a_slot_beside_a_hundred_hanging_ones() {
    let mut harness = Harness::new(512);
    harness.configure(0..101, &policy("t", 16));
    harness.answer(1..101, HANG, timeout());
    for _ in 0..16 {
        for no in 1..101 {
            harness.queue(no);
        }
    }
    // Nobody knows any of them yet, and the healthy one comes last.
    let wait = harness.longest_wait(0, 10 * MS, Duration::from_secs(120));
    assert_eq!(wait, Duration::ZERO);
    let hanging: usize = (1..101).map(|no| harness.in_flight(no)).sum();
    assert!(hanging <= 256, "{hanging}");
}

#[test]
fn a_healthy_endpoint_finds_a_slot_when_a_hundred_that_were_healthy_begin_to_hang() {
    let mut harness = Harness::new(512);
    harness.configure(0..101, &policy("t", 16));
    harness.queue(0);
    for _ in 0..200 {
        for no in 1..101 {
            harness.queue(no);
        }
    }
    harness.run(100 * MS);
    harness.answer(1..101, HANG, timeout());
    harness.run(100 * MS);
    let in_flight = harness.engine.stats().in_flight;
    assert_eq!(in_flight, 448, "they were trusted with all but the reserve");
    let wait = harness.longest_wait(0, 10 * MS, Duration::from_secs(120));
    assert_eq!(wait, Duration::ZERO);
    for _ in 0..200 {
        harness.queue(0);
    }
    harness.run(30 * MS);
    assert_eq!(harness.in_flight(0), 16, "all that it may have");
}

#[test]
fn an_endpoint_known_to_be_healthy_does_not_wait_for_new_ones_that_hang() {
    let mut harness = Harness::new(512);
    harness.configure(0..2001, &policy("t", 16));
    harness.queue(0);
    harness.run(100 * MS);
    harness.answer(1..2001, HANG, timeout());
    for no in 1..2001 {
        harness.queue(no);
    }
    let wait = harness.longest_wait(0, 10 * MS, Duration::from_secs(120));
    assert_eq!(wait, Duration::ZERO);
}

#[test]
fn nine_thousand_healthy_endpoints_do_not_wait_for_a_thousand_hanging_ones() {
    let mut harness = Harness::new(512);
    harness.configure(0..10_000, &policy("t", 16));
    let hangs = |no: u32| no % 10 == 7;
    for no in (0..10_000).filter(|&no| hangs(no)) {
        harness.answer(no..no + 1, HANG, timeout());
    }
    // Two minutes to get to know them; then events for all, over and over.
    for no in 0..10_000 {
        harness.queue(no);
    }
    harness.run(Duration::from_secs(120));
    harness.starts.clear();
    let mut queued = HashMap::new();
    for round in 0..60_000u32 {
        let no = round.wrapping_mul(7919) % 10_000;
        let event = harness.queue(no);
        if !hangs(no) {
            queued.insert(event, harness.now.mono);
        }
        harness.run(MS);
    }
    let mut waits: Vec<Duration> = harness
        .starts
        .iter()
        .filter_map(|&(at, _, event)| Some(at - queued.remove(&event)?))
        .collect();
    assert_eq!(queued.len(), 0, "all were attempted");
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    assert!(p99 <= MS, "p99 {p99:?}, most {:?}", waits.last());
    assert!(
        waits.last().is_some_and(|&most| most <= 10 * MS),
        "{waits:?}"
    );
}

#[test]
fn one_endpoint_alone_soon_has_all_that_it_may() {
    let mut harness = Harness::new(512);
    harness.configure(0..1, &policy("t", 64));
    for _ in 0..600 {
        harness.queue(0);
    }
    assert_eq!(harness.in_flight(0), 4);
    harness.run(81 * MS);
    assert_eq!(
        harness.in_flight(0),
        64,
        "doubled with every other round trip"
    );
    harness.run(Duration::from_secs(1));
    assert_eq!(harness.starts.len(), 600);
}

#[test]
fn tenants_share_evenly_whatever_their_endpoints() {
    let mut harness = Harness::new(4);
    harness.configure(0..50, &policy("many", 16));
    harness.configure(50..51, &policy("one", 16));
    for _ in 0..200 {
        for no in 0..51 {
            harness.queue(no);
        }
    }
    // Once all are known.
    harness.run(300 * MS);
    harness.starts.clear();
    harness.run(500 * MS);
    let one = harness
        .starts
        .iter()
        .filter(|&&(_, no, _)| no.0 == 50)
        .count();
    let share = one as f64 / harness.starts.len() as f64;
    assert!((0.45..0.55).contains(&share), "{share}");
    let each: Vec<usize> = (0..50)
        .map(|no| {
            harness
                .starts
                .iter()
                .filter(|&&(_, of, _)| of.0 == no)
                .count()
        })
        .collect();
    let (least, most) = (each.iter().min(), each.iter().max());
    assert!(most <= least.map(|n| n + 4).as_ref(), "{each:?}");
}

#[test]
fn a_slow_endpoint_alone_may_use_half() {
    let mut harness = Harness::new(32);
    harness.configure(0..1, &policy("t", 64));
    harness.answer(0..1, Duration::from_secs(3), status(200));
    for _ in 0..200 {
        harness.queue(0);
    }
    harness.run(Duration::from_secs(20));
    assert_eq!(harness.in_flight(0), 16);
}

#[test]
fn all_slots_are_used_when_all_are_prompt() {
    let mut harness = Harness::new(64);
    harness.configure(0..100, &policy("t", 16));
    for _ in 0..100 {
        for no in 0..100 {
            harness.queue(no);
        }
    }
    harness.run(500 * MS);
    assert_eq!(harness.engine.stats().in_flight, 64);
}

#[test]
fn retry_after_pauses_the_whole_endpoint() {
    let mut harness = Harness::new(8);
    harness.configure(0..1, &policy("t", 16));
    let busy = Outcome {
        retry_after: Some(Duration::from_secs(60)),
        permanent: false,
        ..status(429)
    };
    harness.answer(0..1, MS, busy);
    let first = harness.queue(0);
    harness.run(2 * MS);
    let other = harness.queue(0);
    harness.answer(0..1, MS, status(200));
    harness.run(Duration::from_secs(100));
    assert_eq!(harness.started(other), Some(Duration::from_millis(60_001)));
    let retried = harness
        .starts
        .iter()
        .rfind(|&&(_, _, event)| event == first);
    assert_eq!(
        retried.map(|start| start.0),
        Some(Duration::from_millis(60_001))
    );
}

#[test]
fn gone_holds_the_endpoint_at_once() {
    let mut harness = Harness::new(8);
    harness.configure(0..1, &policy("t", 1));
    harness.answer(0..1, MS, status(410));
    let first = harness.queue(0);
    let second = harness.queue(0);
    harness.run(Duration::from_secs(10));
    let reason = Reason::Gone;
    assert_eq!(
        harness.stores,
        [(first, Next::Dead { reason }, Some(DisabledReason::Gone))]
    );
    assert_eq!(harness.started(second), None);
}

#[test]
fn five_days_of_nothing_but_failures_disable_the_endpoint() {
    let mut harness = Harness::new(8);
    harness.configure(0..1, &policy("t", 1));
    harness.answer(0..1, MS, status(500));
    let day = Duration::from_secs(86_400);
    for _ in 0..6 {
        harness.queue(0);
        harness.run(day);
    }
    let disabled: Vec<_> = harness.stores.iter().filter_map(|store| store.2).collect();
    assert_eq!(disabled, [DisabledReason::Failing]);
    assert!(harness.now.mono <= 6 * day && harness.stores.len() >= 20);
}

/// A thousand deliveries that wait for hours after nine failures, on a held endpoint.
fn held_harness(policy: &LanePolicy) -> Harness {
    let mut harness = Harness::new(512);
    let no = EndpointNo(0);
    harness.configure(0..1, policy);
    harness.tell(Input::Hold { no });
    for _ in 0..1000 {
        let entry = harness.entry();
        let due = entry.due + Duration::from_secs(7200);
        let tries = 9;
        harness.put(
            no,
            Entry {
                due,
                tries,
                ..entry
            },
        );
    }
    harness.run(Duration::from_secs(60));
    assert_eq!(harness.starts.len(), 0);
    harness
}

#[test]
fn a_release_is_paced() {
    let limited = LanePolicy {
        rate_limit: Some(Rate { per_second: 20.0 }),
        ..policy("t", 64)
    };
    for (policy, rate) in [(policy("t", 64), 100), (limited, 20)] {
        let mut harness = held_harness(&policy);
        let (no, at) = (EndpointNo(0), harness.now.wall);
        harness.tell(Input::Release { no, at });
        harness.run(Duration::from_secs(5));
        let started = harness.starts.len();
        assert!((5 * rate..=5 * rate + 2).contains(&started), "{started}");
        let new = harness.queue(0);
        assert_eq!(
            harness.started(new),
            Some(harness.now.mono),
            "not behind them"
        );
        harness.run(Duration::from_secs(60));
        assert_eq!(harness.starts.len(), 1001);
    }
}

#[test]
fn a_release_starts_budgets_anew() {
    let mut harness = held_harness(&policy("t", 1));
    harness.answer(0..1, MS, status(500));
    harness.run(Duration::from_secs(4 * 86_400));
    let (no, at) = (EndpointNo(0), harness.now.wall);
    harness.tell(Input::Release { no, at });
    harness.run(10 * MS);
    let due = at + MS + Duration::from_secs(5);
    let (budget_from, tries) = (at, 1);
    let next = Next::Retry {
        due,
        budget_from,
        tries,
    };
    assert_eq!(harness.stores[0], (EventId(1), next, None));
}

/// The clock was a year ahead when deliveries were put off, and has been set right.
#[test]
fn what_is_due_in_a_far_future_is_due_after_the_longest_delay_all_of_it() {
    let mut harness = Harness::new(512);
    let (no, policy) = (EndpointNo(0), policy("t", 64));
    let longest = policy.retry.longest();
    harness.configure(0..1, &policy);
    for n in 0..1000 {
        let entry = harness.entry();
        let due = entry.due + Duration::from_secs(366 * 86_400);
        let exact = n == 7;
        harness.put(
            no,
            Entry {
                due,
                exact,
                ..entry
            },
        );
    }
    harness.tell(Input::Backlog { no });
    harness.run(longest - MS);
    assert_eq!(harness.starts.len(), 0);
    harness.run(Duration::from_secs(10));
    assert_eq!(
        harness.starts.len(),
        999,
        "but for the one that asked for it"
    );
    harness.run(Duration::from_secs(366 * 86_400));
    assert_eq!(harness.starts.len(), 1000);
}

#[test]
fn a_retry_while_in_flight_follows_a_failure_at_once() {
    let mut harness = Harness::new(8);
    harness.configure(0..1, &policy("t", 1));
    harness.answer(0..1, 10 * MS, status(500));
    let event = harness.queue(0);
    harness.run(5 * MS);
    let no = EndpointNo(0);
    let (due, budget_from) = (harness.now.wall, harness.now.wall);
    let entry = harness.index.values().next().copied().unwrap();
    let retried = Entry {
        due,
        budget_from,
        ..entry
    };
    harness.put(no, retried);
    harness.tell(Input::Queued { no, entry: retried });
    assert_eq!(harness.starts.len(), 1, "never twice in flight");
    harness.run(6 * MS);
    let starts: Vec<_> = harness.starts.iter().map(|&(at, _, of)| (at, of)).collect();
    assert_eq!(starts, [(Duration::ZERO, event), (10 * MS, event)]);
}

#[test]
fn what_is_cancelled_in_flight_is_not_tried_again() {
    let mut harness = Harness::new(8);
    harness.configure(0..1, &policy("t", 1));
    harness.answer(0..1, 10 * MS, status(500));
    let event = harness.queue(0);
    let no = EndpointNo(0);
    let chain = None;
    harness.tell(Input::Withdrawn { no, event, chain });
    harness.run(Duration::from_secs(60));
    assert_eq!((harness.starts.len(), harness.stores.len()), (1, 1));
}

#[test]
fn draining_starts_nothing_more() {
    let mut harness = Harness::new(1);
    harness.configure(0..1, &policy("t", 1));
    let first = harness.queue(0);
    let second = harness.queue(0);
    harness.tell(Input::Drain);
    assert_eq!(harness.engine.next_wake(), None);
    harness.run(Duration::from_secs(60));
    assert!(harness.started(first).is_some() && harness.started(second).is_none());
    assert_eq!(harness.stores.len(), 1);
}

#[test]
fn without_word_of_stored_outcomes_no_more_attempts_start() {
    let mut engine = Engine::new(512);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut out = Vec::new();
    let now = Harness::new(1).now;
    let mut tell = |input, out: &mut Vec<Command>| engine.handle(input, now, &mut rng, out);
    for no in 0..1000 {
        let policy = policy("t", 16);
        let no = EndpointNo(no);
        tell(Input::Configure { no, policy }, &mut out);
    }
    for event in 0..20_000u32 {
        let entry = Entry {
            event: EventId(event.into()),
            lsn: 0,
            due: now.wall,
            exact: false,
            tries: 0,
            budget_from: now.wall,
            chain: 0,
        };
        let no = EndpointNo(event % 1000);
        tell(Input::Queued { no, entry }, &mut out);
    }
    let mut stored = 0;
    while let Some(command) = out.pop() {
        match command {
            Command::Start { no, entry } => {
                let event = entry.event;
                let outcome = status(200);
                tell(Input::Ended { no, event, outcome }, &mut out);
            }
            Command::Store { .. } => stored += 1,
            _ => {}
        }
    }
    assert!(
        (MAX_SETTLING..MAX_SETTLING + 512).contains(&stored),
        "{stored}"
    );
}

#[test]
fn idle_endpoints_have_no_lane() {
    let mut harness = Harness::new(8);
    harness.configure(0..1000, &policy("t", 1));
    assert_eq!(harness.engine.stats().lanes, 0);
    for no in 0..1000 {
        harness.queue(no);
    }
    assert_eq!(harness.engine.stats().lanes, 1000);
    harness.run(Duration::from_secs(60));
    assert_eq!(harness.starts.len(), 1000);
    assert_eq!(harness.engine.stats(), Stats::default());
}
