//! The index kept live, flushed at any moment and reopened after a crash, is the index
//! that is built from the records alone.

use proptest::prelude::*;

use super::open::load;
use super::pages::Pages;
use super::rows::EndpointTotals;
use super::*;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::record::EndpointStateRow;
use crate::outbox::record::{
    Accepted, Acted, AttemptRow, Attempted, Defined, EndpointDeleted, EndpointRow, EndpointSpecRow,
    ErasedRow, EventHead, Idempotency, JobRow, JobWork, KeyBytes, KeyKept, Moved, MovedStep,
    NextRow, Record, RetryRow, Rewritten, RewrittenDelivery, SourceCountsRow, SourceRow, SpecRow,
    StepRow,
};

const STORE: [u8; 16] = [7; 16];

#[derive(Clone, Debug)]
enum Step {
    Accept {
        endpoints: u8,
        key: Option<u8>,
        deliver_at: bool,
    },
    Attempt {
        event: usize,
        endpoint: u8,
        next: u8,
    },
    Act {
        event: usize,
        endpoint: u8,
        step: u8,
    },
    Move {
        events: Vec<usize>,
        endpoint: u8,
        step: u8,
    },
    Job {
        no: u8,
        done: bool,
    },
    Erase {
        event: usize,
        done: bool,
    },
    Endpoint {
        no: u8,
        disabled: bool,
    },
    Delete {
        no: u8,
    },
    ForgetEndpoint {
        no: u8,
    },
    Rewrite {
        event: usize,
    },
    Forget {
        event: usize,
    },
    KeepKey {
        key: u8,
    },
    ForgetKey {
        key: u8,
    },
    Spec {
        no: u8,
        len: u8,
    },
    Source {
        no: u8,
        len: u8,
    },
    SourceCounts {
        no: u8,
        len: u8,
    },
    ForgetSource {
        no: u8,
    },
    Overwrite {
        which: u8,
    },
    Flush,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let event = 0..60usize;
    prop_oneof![
        6 => (0..16u8, proptest::option::of(0..6u8), any::<bool>())
            .prop_map(|(endpoints, key, deliver_at)| Step::Accept { endpoints, key, deliver_at }),
        10 => (event.clone(), 0..4u8, 0..6u8).prop_map(|(event, endpoint, next)| Step::Attempt { event, endpoint, next }),
        5 => (event.clone(), 0..4u8, 0..4u8).prop_map(|(event, endpoint, step)| Step::Act { event, endpoint, step }),
        5 => (proptest::collection::vec(event.clone(), 1..6), 0..4u8, 0..6u8)
            .prop_map(|(events, endpoint, step)| Step::Move { events, endpoint, step }),
        1 => (0..4u8, any::<bool>()).prop_map(|(no, done)| Step::Job { no, done }),
        1 => (event.clone(), any::<bool>()).prop_map(|(event, done)| Step::Erase { event, done }),
        2 => (0..4u8, any::<bool>()).prop_map(|(no, disabled)| Step::Endpoint { no, disabled }),
        1 => (0..4u8).prop_map(|no| Step::Delete { no }),
        2 => (0..4u8).prop_map(|no| Step::ForgetEndpoint { no }),
        2 => event.clone().prop_map(|event| Step::Rewrite { event }),
        2 => event.prop_map(|event| Step::Forget { event }),
        1 => (0..6u8).prop_map(|key| Step::KeepKey { key }),
        1 => (0..6u8).prop_map(|key| Step::ForgetKey { key }),
        2 => (0..4u8, 0..40u8).prop_map(|(no, len)| Step::Spec { no, len }),
        2 => (0..3u8, 0..40u8).prop_map(|(no, len)| Step::Source { no, len }),
        2 => (0..3u8, 0..40u8).prop_map(|(no, len)| Step::SourceCounts { no, len }),
        1 => (0..3u8).prop_map(|no| Step::ForgetSource { no }),
        2 => any::<u8>().prop_map(|which| Step::Overwrite { which }),
        3 => Just(Step::Flush),
        1 => Just(Step::Crash),
    ]
}

/// A record as the log would keep it.
struct Kept {
    lsn: u64,
    kind: u8,
    head: Vec<u8>,
    body: Option<Vec<u8>>,
}

impl Kept {
    /// `None`: a definition that was overwritten.
    fn record(&self) -> Option<Record<'_>> {
        Record::decode(self.kind, &self.head, self.body.as_deref()).unwrap()
    }
}

struct World {
    live: State,
    plain: State,
    log: Vec<Kept>,
    dir: tempfile::TempDir,
    opened: u32,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let pages = Pages::open(&dir.path().join("0"), 1 << 20).unwrap();
        let (mut live, mut plain) = (State::new(Some(pages), STORE), State::new(None, STORE));
        (0..50).for_each(|base| live.segments.begins(base * 200));
        (0..50).for_each(|base| plain.segments.begins(base * 200));
        World {
            live,
            plain,
            log: Vec::new(),
            dir,
            opened: 0,
        }
    }

    fn add(&mut self, record: &Record<'_>) {
        let mut head = Vec::new();
        record.encode(&mut head);
        let kept = Kept {
            lsn: 100 + self.log.len() as u64 * 10,
            kind: record.kind(),
            head,
            body: Some(record.own_body().unwrap_or_default().into_owned()),
        };
        for state in [&mut self.live, &mut self.plain] {
            state.apply(kept.lsn, &kept.record().unwrap()).unwrap();
            state.meta.applied = kept.lsn + 10;
        }
        self.log.push(kept);
    }

    /// Overwrites some of the definitions that were replaced.
    fn overwrite(&mut self, which: u8) {
        for (at, kept) in self.log.iter_mut().enumerate() {
            if let Some(defined) = Defined::by(kept.kind, &kept.head)
                && which & (1 << (at % 8)) != 0
                && self.plain.is_replaced(&defined, kept.lsn).unwrap()
            {
                kept.body = None;
            }
        }
    }

    /// The index that is built from the log alone.
    fn rebuilt(&self) -> State {
        let mut state = State::new(None, STORE);
        (0..50).for_each(|base| state.segments.begins(base * 200));
        for kept in &self.log {
            if let Some(record) = kept.record() {
                state.apply(kept.lsn, &record).unwrap();
            }
            state.meta.applied = kept.lsn + 10;
        }
        state
    }

    fn flush(&mut self) {
        self.live.settle();
        if let Some(layer) = self.live.entries.freeze() {
            let pages = self.live.entries.pages().unwrap();
            pages.apply(layer.merged_into(pages).unwrap()).unwrap();
            self.live.entries.thawed();
        }
    }

    /// Everything since the last flush is gone from memory; the log is not.
    fn crash(&mut self) {
        if self.live.entries.get(keys::META).unwrap().is_none() {
            return;
        }
        self.live = State::new(None, STORE);
        let dir = self.dir.path().join(self.opened.to_string());
        self.live = load(open_again(&dir), STORE).unwrap_or_else(|_| {
            // Nothing was ever flushed: the index is built anew.
            self.opened += 1;
            let dir = self.dir.path().join(self.opened.to_string());
            State::new(Some(Pages::open(&dir, 1 << 20).unwrap()), STORE)
        });
        (0..50).for_each(|base| self.live.segments.begins(base * 200));
        for kept in &self.log {
            if kept.lsn >= self.live.meta.applied {
                if let Some(record) = kept.record() {
                    self.live.apply(kept.lsn, &record).unwrap();
                }
                self.live.meta.applied = kept.lsn + 10;
            }
        }
    }
}

/// sled lets go of its lock a moment after its last handle is dropped.
fn open_again(dir: &std::path::Path) -> Pages {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match Pages::open(dir, 1 << 20) {
            Ok(pages) => return pages,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    }
}

const TENANT: &str = "default";
const SOURCES: [&str; 3] = ["stripe", "stripe-live", "shopify"];
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn head(id: u128, key: Option<u8>, deliver_at: bool) -> EventHead<'static> {
    EventHead {
        id,
        accepted_at: 900 + id as u64 % 300,
        tenant: TENANT,
        event_type: "order.created",
        key: None,
        idempotency: key.map(|key| Idempotency {
            key: KEYS[key as usize],
            content: [key; 32],
        }),
        deliver_at: deliver_at.then_some(1100),
        content_type: None,
        data_at: 0,
        body_len: 10 + id as u32,
        body_lost: false,
    }
}

fn spec(len: u8) -> SpecRow {
    SpecRow {
        url: "https://example.com/".into(),
        types: vec!["*".into()],
        secrets: vec![(KeyBytes(vec![len; len.into()]), None)],
        headers: Vec::new(),
        max_in_flight: 1,
        rate_limit: None,
        ordering: 0,
        timeout_ms: None,
        retry: RetryRow::default(),
        description: String::new(),
        http2: None,
        shaping: KeyBytes(Vec::new()),
    }
}

fn attempt(response: u32) -> AttemptRow<'static> {
    AttemptRow {
        at: 5,
        duration_ms: 1,
        status: Some(503),
        error: Some((7, "no")),
        response,
        address: None,
    }
}

fn numbered(step: u8, now: u64) -> StepRow {
    match step {
        0 => StepRow::Retry { at: now },
        1 => StepRow::Hold { reason: 3 },
        2 => StepRow::Release { at: now },
        _ => StepRow::Die { at: now, reason: 6 },
    }
}

fn take(world: &mut World, step: &Step, heads: &mut Vec<EventHead<'static>>) {
    let now = 1000 + world.log.len() as u64;
    let chosen = |event: &usize, heads: &[EventHead<'static>]| {
        heads.get(event % heads.len().max(1)).cloned()
    };
    match step {
        Step::Accept {
            endpoints,
            key,
            deliver_at,
        } => {
            let event = head(heads.len() as u128 + 1, *key, *deliver_at);
            heads.push(event.clone());
            let endpoints = (0..4).filter(|no| endpoints & (1 << no) != 0).collect();
            world.add(&Record::Accepted(Accepted {
                event,
                due: now,
                endpoints,
                extras_len: 0,
            }));
        }
        Step::Attempt {
            event,
            endpoint,
            next,
        } => {
            let Some(event) = chosen(event, heads) else {
                return;
            };
            let next = match next {
                0 | 1 => NextRow::Delivered,
                2 => NextRow::Dead { reason: 4 },
                tries => NextRow::Retry {
                    due: now + 50,
                    budget_from: 9,
                    tries: (*tries).into(),
                    exact: tries % 2 == 0,
                },
            };
            let (id, endpoint) = (event.id, (*endpoint).into());
            world.add(&Record::Attempted(Attempted {
                id,
                endpoint,
                ended_at: now,
                attempt: attempt(1),
                next,
                previous: 0,
            }));
        }
        Step::Act {
            event,
            endpoint,
            step,
        } => {
            let Some(event) = chosen(event, heads) else {
                return;
            };
            world.add(&Record::Acted(Acted {
                id: event.id,
                endpoint: (*endpoint).into(),
                step: numbered(*step, now),
            }));
        }
        Step::Move {
            events,
            endpoint,
            step,
        } => {
            let events = events.iter().filter_map(|event| chosen(event, heads));
            world.add(&Record::Moved(Moved {
                endpoint: (*endpoint).into(),
                step: match step {
                    4.. => MovedStep::Remove,
                    step => MovedStep::Take(numbered(*step, now)),
                },
                ids: events.map(|event| event.id).collect(),
            }));
        }
        Step::Job { no, done } => world.add(&Record::Job(JobRow {
            no: (*no).into(),
            endpoint: 1,
            work: JobWork::Replay,
            statuses: vec![4],
            types: Vec::new(),
            since: None,
            until: None,
            position: now.into(),
            last: u128::MAX,
            rate: 0,
            done: *done,
            created_at: now,
            matched: 3,
            taken: 1,
        })),
        Step::Erase { event, done } => {
            let Some(event) = chosen(event, heads) else {
                return;
            };
            world.add(&Record::Erased(ErasedRow {
                id: event.id,
                at: now,
                done: *done,
            }));
        }
        Step::Endpoint { no, disabled } => {
            let id = format!("endpoint-{no}");
            let state = EndpointStateRow {
                disabled: disabled.then_some((1, now)),
                ..Default::default()
            };
            world.add(&Record::Endpoint(EndpointRow {
                no: (*no).into(),
                id: &id,
                tenant: TENANT,
                state,
            }));
        }
        Step::Delete { no } => world.add(&Record::EndpointDeleted(EndpointDeleted {
            no: (*no).into(),
            at: now,
        })),
        Step::ForgetEndpoint { no } => {
            let no = EndpointNo((*no).into());
            let known = world.plain.endpoints.get(&no);
            if known.is_some_and(|stored| stored.totals == EndpointTotals::default()) {
                world.add(&Record::EndpointForgotten(no.0));
            }
        }
        Step::Rewrite { event } => {
            let Some(event) = chosen(event, heads) else {
                return;
            };
            let rows = world.plain.delivery_rows(EventId(event.id)).unwrap();
            let known = world
                .plain
                .entries
                .get(&keys::event(EventId(event.id)))
                .unwrap()
                .is_some();
            if known {
                let deliveries = rows.into_iter().map(|(no, state)| RewrittenDelivery {
                    endpoint: no.0,
                    state,
                    attempts: if state.attempt_count > 0 {
                        vec![attempt(1)]
                    } else {
                        Vec::new()
                    },
                });
                let deliveries = deliveries.collect();
                let event = EventHead {
                    idempotency: None,
                    ..event
                };
                world.add(&Record::Rewritten(Rewritten {
                    event,
                    deliveries,
                    extras_len: 0,
                }));
            }
        }
        Step::Forget { event } => {
            let Some(event) = chosen(event, heads) else {
                return;
            };
            world.add(&Record::Forgotten(vec![event.id]));
        }
        Step::KeepKey { key } => {
            let idempotency = Idempotency {
                key: KEYS[*key as usize],
                content: [9; 32],
            };
            world.add(&Record::KeyKept(KeyKept {
                accepted_at: 7,
                tenant: TENANT,
                idempotency,
                id: 3,
                event_type: "a",
                deliveries: 1,
            }));
        }
        Step::ForgetKey { key } => {
            world.add(&Record::KeysForgotten(vec![(TENANT, KEYS[*key as usize])]))
        }
        Step::Spec { no, len } => {
            let no = EndpointNo((*no).into());
            let known = world.plain.endpoints.get(&no);
            // No definition comes after the end of its endpoint.
            if known.is_some_and(|stored| stored.deleted.is_none()) {
                world.add(&Record::EndpointSpec(EndpointSpecRow {
                    no: no.0,
                    changed_at: now,
                    spec: spec(*len),
                }));
            }
        }
        Step::Overwrite { which } => world.overwrite(*which),
        Step::Source { no, len } => world.add(&Record::Source(SourceRow {
            id: SOURCES[*no as usize],
            changed_at: now,
            definition: KeyBytes(vec![*len; *len as usize]),
        })),
        Step::SourceCounts { no, len } => world.add(&Record::SourceCounts(SourceCountsRow {
            id: SOURCES[*no as usize],
            counts: &vec![*len; *len as usize],
        })),
        Step::ForgetSource { no } => {
            world.add(&Record::SourceForgotten(SOURCES[*no as usize]));
        }
        Step::Flush => world.flush(),
        Step::Crash => world.crash(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_index_kept_live_through_crashes_is_the_one_built_from_the_records(
        steps in proptest::collection::vec(step(), 1..220)
    ) {
        let mut world = World::new();
        let mut heads = Vec::new();
        for step in &steps {
            take(&mut world, step, &mut heads);
        }
        world.live.check().unwrap();
        world.plain.check().unwrap();
        prop_assert_eq!(&world.live.sums.erasing, &world.plain.sums.erasing);
        prop_assert_eq!(world.live.contents().unwrap(), world.plain.contents().unwrap());
        // What was overwritten is nowhere missing.
        world.overwrite(u8::MAX);
        let mut rebuilt = world.rebuilt();
        rebuilt.check().unwrap();
        prop_assert_eq!(rebuilt.contents().unwrap(), world.plain.contents().unwrap());
    }
}

#[test]
fn a_compacted_index_holds_the_same_in_a_file_without_holes() {
    let dir = tempfile::tempdir().unwrap();
    let place = open::Place::new(dir.path().to_owned(), STORE, Some("boot".into()), 1 << 20);
    let (mut state, number) = place.create().unwrap();
    for round in 0..20u32 {
        for id in 0..2000u32 {
            state
                .entries
                .put(format!("k{id:06}").into_bytes(), vec![round as u8; 300]);
        }
        state.settle();
        let layer = state.entries.freeze().unwrap();
        let pages = state.entries.pages().unwrap();
        pages.apply(layer.merged_into(pages).unwrap()).unwrap();
        state.entries.thawed();
    }
    place.adopt(number).unwrap();
    let before = state.contents().unwrap();
    let old = state.entries.pages().unwrap().clone();
    old.flush().unwrap();
    let (fresh, number) = place.compact(&old).unwrap();
    assert!(
        fresh.size_on_disk() * 2 < old.size_on_disk(),
        "{} of {}",
        fresh.size_on_disk(),
        old.size_on_disk()
    );
    drop((state, old, fresh));
    place.discard_older(number).unwrap();
    assert_eq!(place.open().unwrap().contents().unwrap(), before);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "CURRENT and one generation"
    );
}
