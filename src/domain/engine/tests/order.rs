//! Order within an endpoint, by key and for the whole of it.

use proptest::prelude::*;

use super::*;

fn ordered(ordering: Ordering) -> LanePolicy {
    LanePolicy {
        ordering,
        ..policy("t", 16)
    }
}

impl Harness {
    /// A new event with a key for endpoint 0, due now.
    fn queue_keyed(&mut self, key: u64) -> EventId {
        let entry = Entry {
            chain: key,
            ..self.entry()
        };
        self.put(EndpointNo(0), entry);
        let no = EndpointNo(0);
        self.tell(Input::Queued { no, entry });
        entry.event
    }

    /// Puts deliveries into the index, of which the engine is told only that there are some.
    fn stock(&mut self, keys: impl Iterator<Item = u64>) {
        for chain in keys {
            let entry = Entry {
                chain,
                ..self.entry()
            };
            self.put(EndpointNo(0), entry);
        }
        self.tell(Input::Backlog { no: EndpointNo(0) });
    }

    /// Whether events start only when the attempt before has ended, in the order of their ids.
    fn starts_in_order(&self) -> bool {
        let events: Vec<EventId> = self.starts.iter().map(|start| start.2).collect();
        events.is_sorted()
    }
}

#[test]
fn a_failing_head_holds_the_whole_strict_endpoint() {
    let mut harness = Harness::new(64);
    harness.configure(0..1, &ordered(Ordering::Strict));
    harness.answer(0..1, MS, status(500));
    let first = harness.queue(0);
    for _ in 0..300 {
        harness.queue(0);
    }
    harness.run(Duration::from_secs(30));
    assert_eq!(harness.starts.len(), 3);
    assert!(harness.starts.iter().all(|start| start.2 == first));
    harness.answer(0..1, MS, status(200));
    harness.run(Duration::from_secs(60));
    assert_eq!(harness.starts.len(), 3 + 301);
    assert!(harness.starts_in_order());
    assert_eq!(harness.engine.stats(), Stats::default());
}

#[test]
fn a_failing_head_holds_its_key_only() {
    let mut harness = Harness::new(64);
    harness.configure(0..1, &ordered(Ordering::Key));
    harness.answer(0..1, MS, status(500));
    let stuck = harness.queue_keyed(7);
    harness.run(2 * MS);
    harness.answer(0..1, MS, status(200));
    let behind = harness.queue_keyed(7);
    let other = harness.queue_keyed(8);
    let unkeyed = harness.queue_keyed(0);
    harness.run(Duration::from_secs(1));
    assert!(harness.started(other).is_some() && harness.started(unkeyed).is_some());
    assert_eq!(harness.started(behind), None);
    harness.run(Duration::from_secs(10));
    let again = harness
        .starts
        .iter()
        .rfind(|start| start.2 == stuck)
        .unwrap()
        .0;
    assert_eq!(harness.started(behind), Some(again + MS));
}

#[test]
fn a_dead_head_lets_the_next_one_go() {
    for ordering in [Ordering::Strict, Ordering::Key] {
        let mut harness = Harness::new(64);
        let mut once = ordered(ordering);
        once.retry = Arc::new(RetryPolicy {
            schedule: vec![Duration::from_secs(1)],
            ..(*once.retry).clone()
        });
        harness.configure(0..1, &once);
        harness.answer(0..1, MS, status(500));
        let first = harness.queue_keyed(7);
        let second = harness.queue_keyed(7);
        harness.run(Duration::from_secs(2));
        let reason = Reason::Exhausted;
        assert!(
            harness
                .stores
                .contains(&(first, Next::Dead { reason }, None))
        );
        assert!(harness.started(second).is_some(), "{ordering:?}");
    }
}

#[test]
fn a_cancelled_head_lets_the_next_one_go() {
    for (ordering, chain) in [
        (Ordering::Strict, None),
        (Ordering::Key, Some(7)),
        (Ordering::Key, None),
    ] {
        let mut harness = Harness::new(64);
        harness.configure(0..1, &ordered(ordering));
        harness.answer(0..1, MS, status(500));
        let event = harness.queue_keyed(7);
        harness.run(2 * MS);
        harness.answer(0..1, MS, status(200));
        let second = harness.queue_keyed(7);
        let no = EndpointNo(0);
        let key = harness.keys.remove(&(no, event)).unwrap();
        harness.index.remove(&(no, key));
        harness.tell(Input::Withdrawn { no, event, chain });
        assert!(harness.started(second).is_some(), "{ordering:?} {chain:?}");
    }
}

#[test]
fn a_retried_older_event_goes_before_those_that_wait() {
    for ordering in [Ordering::Strict, Ordering::Key] {
        let mut harness = Harness::new(64);
        harness.configure(0..1, &ordered(ordering));
        let oldest = harness.queue_keyed(7);
        harness.run(Duration::from_secs(1));
        let running = harness.queue_keyed(7);
        let behind = harness.queue_keyed(7);
        let entry = Entry {
            event: oldest,
            chain: 7,
            ..harness.entry()
        };
        let no = EndpointNo(0);
        harness.put(no, entry);
        harness.tell(Input::Queued { no, entry });
        harness.run(Duration::from_secs(1));
        let order: Vec<EventId> = harness.starts.iter().map(|start| start.2).collect();
        assert_eq!(order, [oldest, running, oldest, behind], "{ordering:?}");
    }
}

#[test]
fn a_delivery_that_is_due_later_holds_its_chain() {
    let mut harness = Harness::new(64);
    harness.configure(0..1, &ordered(Ordering::Key));
    let entry = harness.entry();
    let later = Entry {
        due: entry.due + Duration::from_secs(3600),
        exact: true,
        chain: 7,
        ..entry
    };
    let no = EndpointNo(0);
    harness.put(no, later);
    harness.tell(Input::Queued { no, entry: later });
    let behind = harness.queue_keyed(7);
    let other = harness.queue_keyed(8);
    harness.run(Duration::from_secs(3599));
    assert!(harness.started(behind).is_none() && harness.started(other).is_some());
    harness.run(Duration::from_secs(2));
    assert!(harness.started(behind).is_some());
}

/// Thousands of stuck chains, and thousands behind one of them, take nothing from others.
#[test]
fn stuck_chains_hide_no_other() {
    let mut harness = Harness::new(64);
    let mut patient = ordered(Ordering::Key);
    patient.retry = Arc::new(RetryPolicy {
        first: Duration::from_secs(3600),
        ..(*patient.retry).clone()
    });
    harness.configure(0..1, &patient);
    harness.answer(0..1, MS, status(500));
    // So that no breaker opens, every fourth is delivered.
    for key in 1..=2000u64 {
        let outcome = status(if key % 4 == 0 { 200 } else { 500 });
        harness.answer(0..1, MS, outcome);
        harness.queue_keyed(key);
        harness.run(2 * MS);
    }
    assert_eq!(harness.starts.len(), 2000);
    harness.answer(0..1, MS, status(200));
    harness.stock((0..3000).map(|_| 1).chain([5000, 0, 5001]));
    harness.run(Duration::from_secs(1));
    assert_eq!(harness.starts.len(), 2003);
    assert!(harness.engine.stats().waiting <= LANE_WINDOW);
    harness.run(Duration::from_secs(4000));
    assert_eq!(harness.starts.len(), 2000 + 1500 + 3003, "all of them");
}

#[test]
fn the_ordering_may_change_at_any_time() {
    let all = [Ordering::None, Ordering::Key, Ordering::Strict];
    for (from, to) in all.into_iter().flat_map(|from| all.map(|to| (from, to))) {
        let mut harness = Harness::new(64);
        harness.configure(0..1, &ordered(from));
        harness.stock((0..1000).map(|n| n % 5));
        harness.run(15 * MS);
        harness.configure(0..1, &ordered(to));
        let before = harness.starts.len();
        harness.run(Duration::from_secs(60));
        assert_eq!(harness.starts.len(), 1000, "{from:?} {to:?}");
        for key in 0..5 {
            let of_key = harness.starts[before..]
                .iter()
                .filter(|start| to == Ordering::Strict || key > 0 && (start.2.0 - 1) % 5 == key);
            let in_order = of_key.map(|start| start.2).is_sorted();
            assert!(in_order || to == Ordering::None, "{from:?} {to:?}");
        }
    }
}

#[test]
fn an_open_breaker_probes_with_a_head() {
    for ordering in [Ordering::Strict, Ordering::Key] {
        let mut harness = Harness::new(64);
        harness.configure(0..1, &ordered(ordering));
        harness.answer(0..1, MS, status(500));
        for key in 1..=7 {
            harness.queue_keyed(key);
            harness.queue_keyed(key);
        }
        harness.run(Duration::from_secs(3600));
        assert!(
            harness
                .engine
                .lane(EndpointNo(0), harness.now)
                .unwrap()
                .breaker_open
        );
        let heads = harness.starts.iter().all(|start| start.2.0 % 2 == 1);
        assert!(heads, "{ordering:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Failures, new events, old ones again, and restarts, as they come: of a chain no two
    /// overlap, first starts are in order, and in the end all are delivered.
    #[test]
    fn order_holds_whatever_happens(
        strict in any::<bool>(),
        steps in prop::collection::vec((0u8..10, 0u64..4, 0u64..4000), 1..60),
    ) {
        let ordering = if strict { Ordering::Strict } else { Ordering::Key };
        let mut harness = Harness::new(16);
        harness.configure(0..1, &ordered(ordering));
        let no = EndpointNo(0);
        let mut chains: HashMap<EventId, u64> = HashMap::new();
        for (kind, key, millis) in steps {
            match kind {
                0..5 => {
                    chains.insert(harness.queue_keyed(key), key);
                }
                5 => harness.answer(0..1, 7 * MS, status(500)),
                6 => harness.answer(0..1, 11 * MS, status(200)),
                7 => {
                    // The process dies: what was in flight is due again.
                    harness.engine = Engine::new(16);
                    harness.ends.clear();
                    harness.outcomes.clear();
                    harness.configure(0..1, &ordered(ordering));
                    harness.tell(Input::Backlog { no });
                }
                _ => {
                    let old = EventId(u128::from(millis) % harness.last_event.max(1) + 1);
                    let busy = harness.engine.busy.contains(no, old);
                    if let (Some(&chain), false) = (chains.get(&old), busy) {
                        if let Some(key) = harness.keys.remove(&(no, old)) {
                            harness.index.remove(&(no, key));
                        }
                        let entry = Entry { event: old, chain, ..harness.entry() };
                        harness.put(no, entry);
                        harness.tell(Input::Queued { no, entry });
                    }
                }
            }
            harness.run(Duration::from_millis(millis));
        }
        harness.answer(0..1, 11 * MS, status(200));
        harness.tell(Input::Release { no, at: harness.now.wall });
        harness.run(Duration::from_secs(100_000));
        prop_assert!(harness.index.is_empty());
        let mut newest: HashMap<u64, EventId> = HashMap::new();
        let mut seen = std::collections::HashSet::new();
        for &(_, _, event) in &harness.starts {
            let chain = if strict { 99 } else { chains[&event] };
            if seen.insert(event) && (strict || chain != 0) {
                let last = newest.insert(chain, event);
                prop_assert!(last < Some(event), "{last:?} {event:?}");
            }
        }
        prop_assert_eq!(seen.len(), chains.len());
    }
}

/// A reading says that a delivery is a head. Before it is told of, an older one of its
/// chain comes, which the window then sheds: nothing but the doubt is left of it.
#[test]
fn a_reading_older_than_what_was_told_is_not_believed() {
    let mut engine = Engine::new(8);
    let mut rng = SmallRng::seed_from_u64(1);
    let now = Harness::new(1).now;
    let no = EndpointNo(0);
    let entry = |event: u32, due: Timestamp, chain: u64| Entry {
        event: EventId(event.into()),
        lsn: 0,
        due,
        exact: true,
        tries: 0,
        budget_from: due,
        chain,
    };
    let mut tell = |input| {
        let mut out = Vec::new();
        engine.handle(input, now, &mut rng, &mut out);
        out
    };
    let policy = ordered(Ordering::Key);
    tell(Input::Configure { no, policy });
    let asked = tell(Input::Backlog { no });
    assert!(matches!(asked[..], [Command::Refill { heads: true, .. }]));
    let read = vec![entry(10, now.wall, 7)];

    let older = entry(5, now.wall + Duration::from_secs(3600), 7);
    let asked = tell(Input::Queued { no, entry: older });
    assert_eq!(asked, [Command::Head { no, chain: 7 }]);
    let head = Some(older);
    tell(Input::Headed { no, chain: 7, head });
    for event in 0..LANE_WINDOW as u32 + 16 {
        let due = now.wall + Duration::from_secs(60);
        let entry = entry(1000 + event, due, 0);
        tell(Input::Queued { no, entry });
    }
    let (entries, next) = (read, None);
    let asked = tell(Input::Refilled { no, entries, next });
    assert_eq!(asked, [Command::Head { no, chain: 7 }]);
}

#[test]
fn a_release_keeps_its_pace_when_the_window_is_forgotten() {
    let per_second = 10.0;
    let policy = LanePolicy {
        rate_limit: Some(Rate { per_second }),
        ..ordered(Ordering::Key)
    };
    let mut harness = Harness::new(64);
    harness.configure(0..1, &policy);
    let no = EndpointNo(0);
    harness.tell(Input::Hold { no });
    for n in 0..400 {
        harness.queue_keyed(1000 + n);
    }
    harness.run(Duration::from_secs(1));
    let at = harness.now.wall;
    harness.tell(Input::Release { no, at });
    harness.run(Duration::from_secs(1));
    for n in 0..50 {
        // Erased events of this endpoint: their chain is not known any more.
        let event = EventId(1_000_000 + n);
        let chain = None;
        harness.tell(Input::Withdrawn { no, event, chain });
        harness.run(Duration::from_millis(10));
    }
    let before = harness.starts.len();
    harness.run(Duration::from_secs(20));
    let started = harness.starts.len() - before;
    assert!((190..=201).contains(&started), "{started} in 20 s at 10/s");
}
