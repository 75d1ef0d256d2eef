//! Reads in pieces of any size, against what the index holds, and while it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use crate::domain::delivery::Status;
use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::{EventId, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::index::{Index, State, keys, pieces};
use crate::outbox::record::{
    Accepted, Acted, EndpointRow, EndpointStateRow, ErasedRow, EventHead, Record, StepRow, samples,
};
use crate::outbox::views::{Cursor, DeliveryFilter, EventFilter, StatusCounts};
use crate::outbox::{Keep, Options, Outbox};

use crate::outbox::index::shown::shown;

const HOUR: Duration = Duration::from_secs(3600);
const ENDPOINTS: u32 = 5;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const KEYS: [Option<&str>; 3] = [None, Some("k"), Some("l")];

/// What happens to the index.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// To the endpoints of these bits.
    Accept {
        endpoints: u8,
        key: usize,
    },
    Act {
        event: u128,
        endpoint: u32,
        act: u8,
    },
    Erase {
        event: u128,
    },
    Disable {
        endpoint: u32,
        on: bool,
    },
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..32u8, 0..3usize).prop_map(|(endpoints, key)| Step::Accept { endpoints, key }),
        6 => (1..30u128, 1..=ENDPOINTS, 0..4u8)
            .prop_map(|(event, endpoint, act)| Step::Act { event, endpoint, act }),
        1 => (1..30u128).prop_map(|event| Step::Erase { event }),
        1 => (1..=ENDPOINTS, any::<bool>()).prop_map(|(endpoint, on)| Step::Disable { endpoint, on }),
    ];
    proptest::collection::vec(step, 0..most)
}

fn tenant_of(endpoint: u32) -> &'static str {
    if endpoint < 4 { "t" } else { "u" }
}

fn endpoint(no: u32, disabled: bool) -> Record<'static> {
    Record::Endpoint(EndpointRow {
        no,
        id: NAMES[no as usize - 1],
        tenant: tenant_of(no),
        state: EndpointStateRow {
            disabled: disabled.then_some((1, 5)),
            ..EndpointStateRow::default()
        },
    })
}

/// The deliveries that the step may change are added to `touched`.
fn take(state: &mut State, step: Step, touched: &mut BTreeSet<(EventId, EndpointNo)>) {
    let record = match step {
        Step::Accept { endpoints, key } => {
            let id = state.meta.last_id + 1;
            let tenant = if key == 2 { "u" } else { "t" };
            let wanted = |no: &u32| endpoints >> (no - 1) & 1 == 1 && tenant_of(*no) == tenant;
            let endpoints: Vec<u32> = (1..=ENDPOINTS).filter(wanted).collect();
            touched.extend(endpoints.iter().map(|no| (EventId(id), EndpointNo(*no))));
            let event = EventHead {
                tenant,
                key: KEYS[key],
                ..samples::event(id, id as u64)
            };
            let due = id as u64 % 7;
            Record::Accepted(Accepted {
                event,
                due,
                endpoints,
                extras_len: 0,
            })
        }
        Step::Act {
            event,
            endpoint,
            act,
        } => {
            touched.insert((EventId(event), EndpointNo(endpoint)));
            let step = match act {
                0 => StepRow::Hold { reason: 2 },
                1 => StepRow::Die { at: 5, reason: 6 },
                2 => StepRow::Release { at: 6 },
                _ => StepRow::Retry { at: 7 },
            };
            Record::Acted(Acted {
                id: event,
                endpoint,
                step,
            })
        }
        Step::Erase { event } => {
            touched.extend((1..=ENDPOINTS).map(|no| (EventId(event), EndpointNo(no))));
            Record::Erased(ErasedRow {
                id: event,
                at: 1,
                done: true,
            })
        }
        Step::Disable { endpoint: no, on } => {
            let last = state.meta.last_id;
            touched.extend((1..=last).map(|id| (EventId(id), EndpointNo(no))));
            endpoint(no, on)
        }
    };
    let lsn = state.meta.applied + 1;
    state.apply(lsn, &record).unwrap();
    state.meta.applied = lsn;
}

/// A store without its writer: its index is changed here.
struct Store {
    outbox: Outbox,
    index: Index,
    _dir: tempfile::TempDir,
}

impl Store {
    fn new(steps: &[Step]) -> Store {
        let dir = tempfile::tempdir().unwrap();
        let opened = Outbox::open(Options {
            data_dir: dir.path().to_owned(),
            segment_size: 4 << 20,
            cache_size: 1 << 20,
            max_size: 1 << 30,
            endpoint_share: 1.0,
            min_free_disk: 0,
            idempotency_window: HOUR,
            max_in_flight: 64,
            keep: Keep {
                delivered: HOUR,
                dead: HOUR,
                held: HOUR,
                erased: HOUR,
                max_size: 1 << 30,
                min_free_disk: 0,
                segment_size: 4 << 20,
            },
            boot_id: Some("boot".into()),
            defaults: Default::default(),
            endpoints: Vec::new(),
        });
        let opened = opened.unwrap();
        let outbox = opened.outbox;
        // From now on nobody else changes the index.
        outbox.stop();
        opened.writer.join().unwrap();
        let index = outbox.shared.index.of_writer();
        let mut state = index.write();
        for no in 1..=ENDPOINTS {
            state.apply(1, &endpoint(no, false)).unwrap();
        }
        for step in steps {
            take(&mut state, *step, &mut BTreeSet::new());
        }
        drop(state);
        Store {
            outbox,
            index,
            _dir: dir,
        }
    }

    /// Every delivery with the status that it is shown with, straight from the index.
    fn deliveries(&self) -> BTreeMap<(EventId, EndpointNo), Status> {
        let state = self.index.read();
        let prefix = keys::DELIVERIES;
        let rows = state.entries.scan(prefix, &keys::end_of(prefix), false);
        rows.map(|row| {
            let key = row.unwrap().0;
            let id = keys::event_of_delivery(&key).unwrap();
            let no = keys::endpoint_of(&key).unwrap();
            let row = state.delivery_row(id, no).unwrap().unwrap();
            (
                (id, no),
                shown(&row.delivery().unwrap(), &state.endpoints[&no]).0,
            )
        })
        .collect()
    }

    fn events(&self) -> Vec<EventId> {
        let state = self.index.read();
        let rows = state
            .entries
            .scan(keys::EVENTS, &keys::end_of(keys::EVENTS), true);
        rows.map(|row| keys::event_of(&row.unwrap().0).unwrap())
            .collect()
    }

    /// A walk over all pages of a list.
    fn walk_deliveries(&self, filter: &DeliveryFilter, limit: usize) -> Vec<(EventId, EndpointNo)> {
        let (mut found, mut cursor): (Vec<_>, Option<Cursor>) = Default::default();
        loop {
            let page = self
                .outbox
                .deliveries(filter, cursor.as_ref(), limit)
                .unwrap();
            assert!(page.items.len() <= limit);
            found.extend(page.items.iter().map(|item| {
                let name = NAMES
                    .iter()
                    .position(|name| *name == item.endpoint.as_str());
                (item.event, EndpointNo(name.unwrap() as u32 + 1))
            }));
            cursor = page.next;
            if cursor.is_none() {
                return found;
            }
        }
    }

    fn walk_events(&self, limit: usize) -> Vec<(EventId, StatusCounts)> {
        let (mut found, mut cursor): (Vec<_>, Option<Cursor>) = Default::default();
        loop {
            let filter = EventFilter::default();
            let page = self.outbox.events(&filter, cursor.as_ref(), limit).unwrap();
            assert!(page.items.len() <= limit);
            found.extend(page.items.iter().map(|event| (event.id, event.counts)));
            cursor = page.next;
            if cursor.is_none() {
                return found;
            }
        }
    }

    fn walk_queue(&self, no: EndpointNo, limit: usize, heads: bool) -> Vec<EventId> {
        let (mut found, mut from) = (Vec::new(), (Timestamp::default(), EventId(0)));
        loop {
            let (entries, next) = match heads {
                true => self.outbox.heads(no, from, limit).unwrap(),
                false => self.outbox.pending(no, from, limit).unwrap(),
            };
            assert!(entries.len() <= limit);
            found.extend(entries.iter().map(|entry| entry.event));
            let Some(next) = next else { return found };
            assert!(next > from, "every reading comes further");
            from = next;
        }
    }
}

fn filter(status: usize, endpoint: Option<usize>, tenant: Option<bool>) -> DeliveryFilter {
    let tenant = tenant.map(|first| Tenant::new(if first { "t" } else { "u" }).unwrap());
    DeliveryFilter {
        events: EventFilter {
            tenant,
            ..EventFilter::default()
        },
        status: Status::ALL.get(status).copied(),
        endpoint: endpoint.map(|at| EndpointId::new(NAMES[at]).unwrap()),
    }
}

fn in_pieces<T>(rows: u64, read: impl FnOnce() -> T) -> T {
    pieces::of(rows, |_| (), read)
}

fn oldest(of: &[EventId]) -> Option<EventId> {
    of.iter().min().copied()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// However small the pieces and pages, a list is what the index holds.
    #[test]
    fn lists_read_in_pieces_are_what_the_index_holds(
        steps in steps(80),
        rows in 1..6u64,
        limit in 1..5usize,
        status in 0..5usize,
        endpoint in proptest::option::of(0..5usize),
        tenant in proptest::option::of(any::<bool>()),
    ) {
        let store = Store::new(&steps);
        let filter = filter(status, endpoint, tenant);
        let all = store.deliveries();
        let wanted = |id: &(EventId, EndpointNo), status: Status| {
            filter.status.is_none_or(|wanted| wanted == status)
                && endpoint.is_none_or(|at| id.1 == EndpointNo(at as u32 + 1))
                && tenant.is_none_or(|first| first == (tenant_of(id.1.0) == "t"))
        };
        let mut expected: Vec<_> = all.iter().filter(|(id, status)| wanted(id, **status)).map(|(id, _)| *id).collect();
        expected.reverse();
        let at_once = in_pieces(u64::MAX, || store.walk_deliveries(&filter, 1000));
        prop_assert_eq!(&at_once, &expected);
        let walked = in_pieces(rows, || store.walk_deliveries(&filter, limit));
        prop_assert_eq!(&walked, &expected);

        let events = in_pieces(rows, || store.walk_events(limit));
        let ids: Vec<EventId> = events.iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(&ids, &store.events());
        prop_assert_eq!(&events, &in_pieces(u64::MAX, || store.walk_events(1000)));
        for (id, counts) in &events {
            let of = |wanted| all.iter().filter(|((event, _), status)| event == id && **status == wanted).count() as u64;
            let expected = StatusCounts {
                pending: of(Status::Pending),
                held: of(Status::Held),
                delivered: of(Status::Delivered),
                dead: of(Status::Dead),
            };
            prop_assert_eq!(*counts, expected);
            let (_, indexed_deliveries) = in_pieces(rows, || store.outbox.indexed_deliveries(*id)).unwrap();
            let found: Vec<_> = indexed_deliveries.iter().map(|delivery| ((*id, delivery.no), delivery.view.status)).collect();
            let expected: Vec<_> = all.range((*id, EndpointNo(0))..=(*id, EndpointNo(u32::MAX))).map(|(id, status)| (*id, *status)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    /// The same for what the engine reads, and for the outbox at a glance.
    #[test]
    fn queues_and_totals_read_in_pieces_are_what_the_index_holds(
        steps in steps(80),
        rows in 1..6u64,
        limit in 1..5usize,
    ) {
        let store = Store::new(&steps);
        for no in (1..=ENDPOINTS).map(EndpointNo) {
            for heads in [false, true] {
                let whole = in_pieces(u64::MAX, || store.walk_queue(no, 1000, heads));
                prop_assert_eq!(in_pieces(rows, || store.walk_queue(no, limit, heads)), whole);
            }
            let pending = in_pieces(u64::MAX, || store.walk_queue(no, 1000, false));
            let head = in_pieces(rows, || store.outbox.head(no, 0)).unwrap();
            prop_assert_eq!(head.map(|entry| entry.event), oldest(&pending));
        }
        let all = store.deliveries();
        let of = |wanted| all.values().filter(|status| **status == wanted).count() as u64;
        let status = in_pieces(rows, || store.outbox.status());
        let expected = StatusCounts {
            pending: of(Status::Pending),
            held: of(Status::Held),
            delivered: of(Status::Delivered),
            dead: of(Status::Dead),
        };
        prop_assert_eq!(status.deliveries, expected);
        prop_assert!(status.holds.most_rows > 0);
    }

    /// While things change between any two pieces a walk lists what stays, once and in order.
    #[test]
    fn a_walk_lists_what_stays_once_whatever_changes_meanwhile(
        before in steps(80),
        meanwhile in steps(40),
        rows in 1..6u64,
        limit in 1..5usize,
        status in 0..5usize,
    ) {
        let store = Store::new(&before);
        let filter = filter(status, None, None);
        let belongs = |status: &Status| filter.status.is_none_or(|wanted| wanted == *status);
        let mut staying = store.deliveries();
        let mut events: BTreeSet<EventId> = store.events().into_iter().collect();
        let changes = std::rc::Rc::new(std::cell::RefCell::new((meanwhile.into_iter(), BTreeSet::new())));
        let inside = changes.clone();
        let change = move |index: &Index| {
            let (steps, touched) = &mut *inside.borrow_mut();
            if let Some(step) = steps.next() {
                take(&mut index.write(), step, touched);
            }
        };
        let (found, listed) = pieces::of(rows, change, || {
            (store.walk_deliveries(&filter, limit), store.walk_events(limit))
        });
        let touched = changes.borrow().1.clone();
        staying.retain(|id, status| belongs(status) && !touched.contains(id));
        prop_assert!(found.is_sorted_by(|a, b| a > b), "newest first, nothing twice: {found:?}");
        let found: BTreeSet<_> = found.into_iter().collect();
        let lost: Vec<_> = staying.keys().filter(|id| !found.contains(id)).collect();
        prop_assert!(lost.is_empty(), "lost: {lost:?}");

        let listed: Vec<EventId> = listed.into_iter().map(|(id, _)| id).collect();
        prop_assert!(listed.is_sorted_by(|a, b| a > b));
        let left: BTreeSet<EventId> = store.events().into_iter().collect();
        events.retain(|id| left.contains(id));
        prop_assert!(events.iter().all(|id| listed.contains(id)));
    }
}
