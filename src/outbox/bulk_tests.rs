//! Bulk work on a store of its own, with nobody who delivers: what is attempted is said
//! here.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::clock::{Clock, SystemClock};
use crate::domain::attempt::{Attempt, AttemptError, ErrorKind};
use crate::domain::delivery::{Next, Reason, Status};
use crate::domain::endpoint::{
    DisabledReason, Endpoint, EndpointChange, EndpointId, EndpointNo, EndpointSpec, Rate,
    TypePattern,
};
use crate::domain::event::{EventId, EventType, Key, NewEvent, Payload, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::index::choice::Choice;
use crate::outbox::index::shown::status_shown;
use crate::outbox::index::{Index, Readers, State, keys};
use crate::outbox::maintain::{Asked, Cleaner, Cut, moving};
use crate::outbox::read::PURGE_WAIT;
use crate::outbox::request::{Placed, Request, Step};
use crate::outbox::{
    ActRefused, Action, DeliveryFilter, Keep, Options, Outbox, ReadError, Receipt, Refused,
    Selection,
};
use crate::outbox::{Notice, Outcome};

const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(20);

struct Store {
    outbox: Outbox,
    notices: Arc<Mutex<Vec<Notice>>>,
    writer: std::thread::JoinHandle<()>,
    listener: std::thread::JoinHandle<()>,
    runtime: tokio::runtime::Runtime,
}

fn options(dir: &Path) -> Options {
    Options {
        data_dir: dir.to_owned(),
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
    }
}

impl Store {
    fn open(options: Options) -> Store {
        Store::open_at(options, Arc::new(SystemClock::default()))
    }

    fn open_at(options: Options, clock: Arc<dyn Clock>) -> Store {
        let opened = Outbox::open_at(options, clock).unwrap();
        let notices = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut commits) = (notices.clone(), opened.commits);
        let listener = std::thread::spawn(move || {
            while let Some(mut commit) = commits.blocking_recv() {
                // Noted before it is answered: a test that has its answer finds the notices.
                seen.lock().unwrap().append(&mut commit.notices);
                commit.answer();
            }
        });
        Store {
            outbox: opened.outbox,
            notices,
            writer: opened.writer,
            listener,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// Gives how many were queued in its time.
    fn stop(self) -> usize {
        self.outbox.stop();
        self.writer.join().unwrap();
        self.listener.join().unwrap();
        queued(&self.notices).len()
    }

    fn act(&self, action: Action) -> Result<(), ActRefused> {
        self.runtime.block_on(self.outbox.act(action))
    }

    /// An endpoint that wants the types that begin with its own name.
    fn create(&self, name: &str) -> EndpointId {
        self.create_for(name, &format!("{name}.*"))
    }

    fn create_for(&self, name: &str, types: &str) -> EndpointId {
        let endpoint = EndpointId::new(name).unwrap();
        let spec = Box::new(EndpointSpec {
            types: vec![TypePattern::parse(types).unwrap()],
            ..EndpointSpec::plain()
        });
        let create = Action::Create {
            endpoint: endpoint.clone(),
            spec,
            enabled: true,
        };
        self.act(create).unwrap();
        endpoint
    }

    fn try_accept(&self, event: NewEvent) -> Result<Receipt, Refused> {
        let answer = self.runtime.block_on(self.outbox.accept(vec![event]));
        answer.map(|mut receipts| receipts.remove(0))
    }

    fn accept(&self, name: &str, body: &str) -> EventId {
        self.try_accept(event(name, body)).unwrap().id
    }

    fn fill(&self, name: &str, count: usize) -> Vec<EventId> {
        let events = (0..count).map(|n| event(name, &format!("{{\"n\":{n}}}")));
        let accepted = self.outbox.accept(events.collect());
        let receipts = self.runtime.block_on(accepted).unwrap();
        receipts.iter().map(|receipt| receipt.id).collect()
    }

    fn no(&self, endpoint: &EndpointId) -> EndpointNo {
        self.outbox.shared.index.read().by_id[endpoint]
    }

    fn settle(&self, event: EventId, endpoint: &EndpointId, next: Next, answer: &str) {
        self.settle_by(event, endpoint, next, answer, None);
    }

    /// An attempt found that the event cannot be rendered by that definition.
    fn hold(&self, event: EventId, endpoint: &EndpointId, definition: &Arc<Endpoint>) {
        let reason = Reason::Template;
        let definition = Some(definition.clone());
        self.settle_by(event, endpoint, Next::Held { reason }, "", definition);
    }

    fn change(&self, endpoint: &EndpointId, description: &str) {
        let change = EndpointChange {
            description: Some(description.into()),
            ..EndpointChange::default()
        };
        let over = self.outbox.in_force(self.no(endpoint)).unwrap();
        let action = Action::Change {
            endpoint: endpoint.clone(),
            change: Box::new(change),
            over,
        };
        self.act(action).unwrap();
    }

    fn settle_by(
        &self,
        event: EventId,
        endpoint: &EndpointId,
        next: Next,
        answer: &str,
        unrendered_by: Option<Arc<Endpoint>>,
    ) {
        let now = crate::clock::now();
        self.outbox.settle(Outcome {
            event,
            no: self.no(endpoint),
            attempt: Attempt {
                at: now,
                duration: Duration::from_millis(1),
                status: Some(500),
                error: Some(AttemptError {
                    kind: ErrorKind::Status,
                    detail: "500".into(),
                }),
                response_body: answer.as_bytes().to_vec().into(),
                address: None,
                retry_after: None,
                permanent: false,
            },
            ended_at: now,
            next,
            exact: false,
            disable: None,
            awaited: false,
            unrendered_by,
        });
    }

    fn kill(&self, event: EventId, endpoint: &EndpointId) {
        let reason = Reason::Exhausted;
        self.settle(event, endpoint, Next::Dead { reason }, "no");
    }

    fn status(&self, event: EventId, endpoint: &EndpointId) -> (Status, Option<Reason>) {
        let view = self.outbox.delivery(event, endpoint).unwrap();
        (view.status, view.reason)
    }

    fn count(&self, endpoint: &EndpointId, statuses: &[Status]) -> u64 {
        let selection = Selection {
            statuses: statuses.to_vec(),
            ..Selection::default()
        };
        self.outbox.count(endpoint, &selection).unwrap()
    }

    fn disable(&self, endpoint: &EndpointId) {
        let endpoint = endpoint.clone();
        let reason = DisabledReason::Manual;
        self.act(Action::Disable { endpoint, reason }).unwrap();
    }

    fn wait(&self, what: &str, mut is_so: impl FnMut(&Store) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the dispatcher was told is pending, in order.
    fn queued(&self) -> Vec<EventId> {
        queued(&self.notices)
    }

    fn withdrawn(&self) -> usize {
        let notices = self.notices.lock().unwrap();
        let gone = |notice: &&Notice| matches!(notice, Notice::Withdrawn { .. });
        notices.iter().filter(gone).count()
    }

    fn replay(&self, endpoint: &EndpointId, selection: Selection, rate: f64) -> u64 {
        let rate = Some(Rate { per_second: rate });
        let asked = self.outbox.replay(endpoint, selection, rate);
        self.runtime.block_on(asked).unwrap().matched
    }

    /// As cleaning does before a segment goes.
    fn rewrite(&self, id: EventId) {
        let (done, wait) = mpsc::sync_channel(1);
        let Some(moving) = moving::read(&self.outbox.shared, id).unwrap() else {
            return;
        };
        let step = Step::Rewrite(vec![moving]);
        let request = Request::Maintain { step, done };
        self.outbox.requests.send(request).unwrap();
        assert!(wait.recv().unwrap().is_durable());
    }

    fn purge(&self, endpoint: &EndpointId, selection: Selection) -> u64 {
        let asked = self.outbox.purge(endpoint, selection);
        let asked_at = Instant::now();
        let begun = self.runtime.block_on(asked).unwrap();
        if let Some(job) = begun.job {
            let has_ended =
                |store: &Store| matches!(store.outbox.job_named(job), Err(ReadError::NoSuchJob));
            // It waits for the end, but not for ever.
            assert!(has_ended(self) || asked_at.elapsed() >= PURGE_WAIT);
            self.wait("the purge ends", has_ended);
        }
        begun.matched
    }
}

fn queued(notices: &Mutex<Vec<Notice>>) -> Vec<EventId> {
    let notices = notices.lock().unwrap();
    let queued = notices.iter().filter_map(|notice| match notice {
        Notice::Queued { entry, .. } => Some(entry.event),
        _ => None,
    });
    queued.collect()
}

fn event(name: &str, body: &str) -> NewEvent {
    NewEvent {
        tenant: Tenant::default(),
        event_type: EventType::new(name).unwrap(),
        payload: Payload::Json(body.as_bytes().to_vec().into()),
        key: None,
        idempotency_key: None,
        deliver_at: None,
        extras: None,
    }
}

fn only(statuses: &[Status]) -> Selection {
    Selection {
        statuses: statuses.to_vec(),
        ..Selection::default()
    }
}

#[test]
fn a_replay_makes_the_chosen_pending_paced_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let a = store.create("a");
    let (dead, kept) = (store.fill("a.x", 40), store.fill("a.y", 5));
    for id in dead.iter().chain(&kept) {
        store.kill(*id, &a);
    }
    store.wait("all are dead", |store| {
        store.count(&a, &[Status::Dead]) == 45
    });
    let types = vec![TypePattern::parse("a.x").unwrap()];
    let selection = Selection {
        types: types.clone(),
        ..Selection::default()
    };
    let before = store.queued().len();
    let began = Instant::now();
    assert_eq!(store.replay(&a, selection, 50.0), 40);
    store.wait("some are pending", |store| {
        store.count(&a, &[Status::Pending]) >= 5
    });
    store.stop();
    let store = Store::open(options(dir.path()));
    store.wait("all are pending", |store| {
        store.count(&a, &[Status::Pending]) == 40
    });
    assert!(began.elapsed() > Duration::from_millis(600), "it is paced");
    assert_eq!(store.count(&a, &[Status::Dead]), 5);
    assert!(before >= 45 && store.queued().len() < 40);
    let view = store.outbox.delivery(dead[0], &a).unwrap();
    assert_eq!((view.attempt_count, view.attempts.len()), (1, 1));
    store.wait("the job ends", |store| {
        let state = store.outbox.shared.index.read();
        let end = keys::end_of(keys::JOBS);
        state.entries.scan(keys::JOBS, &end, false).count() == 0
    });
    store.stop();
}

#[test]
fn a_replay_of_what_was_delivered_sends_each_once_more_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let a = store.create("a");
    let ids = store.fill("a.x", 60);
    for id in &ids {
        store.settle(*id, &a, Next::Delivered, "");
    }
    store.wait("all are delivered", |store| {
        store.count(&a, &[Status::Delivered]) == 60
    });
    assert_eq!(store.replay(&a, only(&[Status::Delivered]), 60.0), 60);
    // Each is delivered again as it comes, and not taken up a second time for that.
    let deliver = |store: &Store, from: usize, until: usize| {
        let mut done = from;
        while done < until {
            store.wait("more come", |store| store.queued().len() > done);
            for id in &store.queued()[done..] {
                store.settle(*id, &a, Next::Delivered, "");
                done += 1;
            }
        }
    };
    deliver(&store, 60, 80);
    let before = store.stop() - 60;
    let store = Store::open(options(dir.path()));
    deliver(&store, 0, 60 - before);
    store.wait("the job ends", |store| {
        let state = store.outbox.shared.index.read();
        let end = keys::end_of(keys::JOBS);
        state.entries.scan(keys::JOBS, &end, false).count() == 0
    });
    assert_eq!(before + store.stop(), 60);
}

#[test]
fn a_purge_cancels_what_is_open_and_lets_go_of_what_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let a = store.create("a");
    let ids = store.fill("a.x", 600);
    for id in &ids[..300] {
        store.kill(*id, &a);
    }
    store.wait("half is dead", |store| {
        store.count(&a, &[Status::Dead]) == 300
    });
    assert_eq!(store.purge(&a, Selection::default()), 600);
    assert!(matches!(
        store.outbox.delivery(ids[0], &a),
        Err(ReadError::NoSuchDelivery)
    ));
    assert_eq!(store.outbox.event(ids[0]).unwrap().deliveries.len(), 0);
    let cancelled = (Status::Dead, Some(Reason::Cancelled));
    assert_eq!(store.status(ids[599], &a), cancelled);
    store.wait("the dispatcher knows", |store| store.withdrawn() == 300);
    assert_eq!(store.purge(&a, only(&[Status::Pending])), 0);
    assert_eq!(store.purge(&a, only(&[Status::Dead])), 300);
    assert_eq!(store.count(&a, &[]), 0);
    store.stop();
}

#[test]
fn what_is_beyond_the_share_is_held_and_released_in_order_and_others_are_not_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    (options.max_size, options.endpoint_share) = (20_000, 0.5);
    let store = Store::open(options);
    let (a, b) = (store.create("a"), store.create("b"));
    let body = format!("{:?}", "x".repeat(1000));
    let ids: Vec<EventId> = (0..40).map(|_| store.accept("a.x", &body)).collect();
    let pending = store.queued();
    assert!((5..10).contains(&pending.len()), "{}", pending.len());
    assert_eq!(ids[..pending.len()], pending);
    let held = (Status::Held, Some(Reason::Backlog));
    assert_eq!(store.status(ids[39], &a), held);
    // It would fit, and would overtake those that wait.
    let small = store.accept("a.x", "1");
    assert_eq!(store.status(small, &a), held);
    let ids: Vec<EventId> = ids.into_iter().chain([small]).collect();
    let other = store.accept("b.x", &body);
    assert_eq!(store.status(other, &b), (Status::Pending, None));
    // As they are delivered those that wait follow, in order, and never past the share.
    let mut done = 0;
    while done < ids.len() {
        store.wait("the next is released", |store| {
            store.queued().iter().filter(|id| ids.contains(id)).count() > done
        });
        let queued = store.queued();
        let queued: Vec<EventId> = queued.into_iter().filter(|id| ids.contains(id)).collect();
        assert_eq!(queued, ids[..queued.len()]);
        assert!((queued.len() - done) * 1000 < 10_000);
        for id in &queued[done..] {
            store.settle(*id, &a, Next::Delivered, "");
        }
        done = queued.len();
    }
    // Two drowning endpoints fill the outbox; what would be held only is taken even then.
    for _ in 0..20 {
        store.accept("a.x", &body);
        let _ = store.try_accept(event("b.x", &body));
    }
    assert!(store.count(&a, &[Status::Held]) > 5);
    store.stop();
}

#[test]
fn a_deleted_endpoint_leaves_dead_deliveries_and_then_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let (a, b) = (store.create("a"), store.create("b"));
    let ids = store.fill("a.x", 700);
    store.fill("b.x", 3);
    let no = store.no(&a);
    store
        .act(Action::Delete {
            endpoint: a.clone(),
        })
        .unwrap();
    let dead = || DeliveryFilter {
        status: Some(Status::Dead),
        ..DeliveryFilter::default()
    };
    let shown = store.outbox.deliveries(&dead(), None, 1000).unwrap();
    assert!(
        shown
            .items
            .iter()
            .all(|view| view.reason == Some(Reason::EndpointDeleted))
    );
    store.wait("all are dead", |store| {
        store.outbox.shared.index.read().endpoints[&no].totals.dead == 700
    });
    assert_eq!(store.outbox.status().deliveries.pending, 3);
    assert!(matches!(
        store.outbox.count(&a, &Selection::default()),
        Err(ReadError::NoSuchEndpoint)
    ));
    drop(store.outbox.event(ids[0]).unwrap());
    // When nothing is left of its deliveries the endpoint is forgotten.
    for id in &ids {
        store.runtime.block_on(store.outbox.erase(*id)).unwrap();
    }
    store.wait("it is forgotten", |store| {
        !store.outbox.shared.index.read().endpoints.contains_key(&no)
    });
    assert_eq!(store.count(&b, &[]), 3);
    store.stop();
}

#[test]
fn what_is_held_for_too_long_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.keep.held = Duration::from_secs(2);
    let store = Store::open(options);
    let a = store.create("a");
    let early = store.accept("a.x", "1");
    let later = NewEvent {
        deliver_at: Some(crate::clock::now() + HOUR),
        extras: None,
        ..event("a.x", "2")
    };
    let later = store.try_accept(later).unwrap().id;
    store.disable(&a);
    let began = Instant::now();
    assert_eq!(store.status(early, &a).0, Status::Held);
    store.wait("it is dead", |store| {
        store.status(early, &a) == (Status::Dead, Some(Reason::HeldTooLong))
    });
    assert!(began.elapsed() > Duration::from_millis(1900));
    assert_eq!(store.status(later, &a).0, Status::Held, "it is not due yet");
    store.stop();
}

/// The machine's clocks, and so many milliseconds added to what the wall clock says.
#[derive(Debug, Default)]
struct ClockAhead {
    clock: SystemClock,
    by: AtomicU64,
}

impl Clock for ClockAhead {
    fn wall(&self) -> Timestamp {
        self.clock.wall() + Duration::from_millis(self.by.load(SeqCst))
    }

    fn mono(&self) -> Duration {
        self.clock.mono()
    }
}

#[test]
fn what_is_held_for_too_long_is_dead_also_after_the_clock_was_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.keep.held = Duration::from_secs(2);
    let clock = Arc::new(ClockAhead::default());
    let store = Store::open_at(options, clock.clone());
    let a = store.create("a");
    clock.by.store(20 * HOUR.as_millis() as u64, SeqCst);
    store.accept("b.x", "0");
    // Set right again: the ids go on from where they were.
    clock.by.store(0, SeqCst);
    let id = store.accept("a.x", "1");
    assert!(id.timestamp() > crate::clock::now() + HOUR);
    store.disable(&a);
    assert_eq!(store.status(id, &a).0, Status::Held);
    store.wait("it is dead", |store| {
        store.status(id, &a) == (Status::Dead, Some(Reason::HeldTooLong))
    });
    store.stop();
}

#[test]
fn what_was_finished_first_makes_room_first_and_dead_letters_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.keep.max_size = 50_000;
    let store = Store::open(options);
    let a = store.create("a");
    let body = format!("{:?}", "x".repeat(1000));
    let deliver = |count: usize, left: u64| -> EventId {
        let ids: Vec<EventId> = (0..count).map(|_| store.accept("a.x", &body)).collect();
        for id in &ids {
            store.settle(*id, &a, Next::Delivered, "");
        }
        store.wait("all are delivered", |store| {
            store.count(&a, &[Status::Pending]) == left
        });
        ids[0]
    };
    let tick = || {
        let before = crate::clock::now().as_millis();
        store.wait("a millisecond", |_| {
            crate::clock::now().as_millis() > before
        });
    };
    // Accepted first, and dead last.
    let dead = store.accept("a.x", &body);
    let first = deliver(20, 1);
    tick();
    store.kill(dead, &a);
    store.wait("it is dead", |store| {
        store.status(dead, &a).0 == Status::Dead
    });
    tick();
    deliver(25, 0);
    store.wait("the first has made room", |store| {
        store.outbox.delivery(first, &a).is_err()
    });
    assert_eq!(store.status(dead, &a).0, Status::Dead);
    assert_eq!(store.outbox.status().dead_dropped, 0);
    store.wait("the dead letter has made room", |store| {
        deliver(1, 0);
        store.outbox.delivery(dead, &a).is_err()
    });
    store.wait("it is counted", |store| {
        store.outbox.status().dead_dropped == 1
    });
    store.stop();
}

/// Says that so many steps are durable, without doing them, and that there is no room for more.
struct Refusing(usize);

impl Asked for Refusing {
    fn ask(&mut self, _: Step) -> Result<Placed, Cut> {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        Ok(left.map_or(Placed::NoRoom, |_| Placed::Durable))
    }
}

#[test]
fn what_made_room_is_counted_even_if_the_pass_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let a = store.create("a");
    for id in store.fill("a.x", 300) {
        store.kill(id, &a);
    }
    store.wait("all are dead", |store| {
        store.count(&a, &[Status::Dead]) == 300
    });
    let mut cleaner = Cleaner::new(store.outbox.shared.clone());
    let shrunk = cleaner.shrink_to(0, &mut Refusing(1));
    assert!(matches!(shrunk, Err(Cut::Refused(Placed::NoRoom))));
    assert_eq!(store.outbox.status().dead_dropped, 256);
    store.stop();
}

#[test]
fn held_ones_make_room_oldest_first_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    (options.max_size, options.keep.max_size) = (100_000, 50_000);
    let store = Store::open(options);
    let (a, b) = (store.create("a"), store.create("b"));
    store.disable(&a);
    let body = format!("{:?}", "x".repeat(1000));
    let mut ids = Vec::new();
    while store.outbox.shared.index.read().history_bytes() <= 50_000 {
        ids.push(store.accept("a.x", &body));
    }
    // What just made room can be seen for a while.
    store.wait("one has made room", |store| {
        store.outbox.status().held_dropped > 0
    });
    let space = (Status::Dead, Some(Reason::Space));
    assert_eq!(store.status(ids[0], &a), space);
    assert_eq!(store.status(ids[5], &a).0, Status::Held);
    while ids.len() < 300 {
        ids.push(store.accept("a.x", &body));
    }
    store.wait("history is within its limit", |store| {
        store.outbox.shared.index.read().history_bytes() < 55_000
    });
    let dropped = store.outbox.status().held_dropped;
    assert!((200..270).contains(&dropped), "{dropped}");
    // They are not counted once more when they go.
    assert_eq!(store.outbox.status().dead_dropped, 0);
    let held = store.count(&a, &[Status::Held]);
    assert_eq!(held + dropped, 300);
    assert_eq!(store.status(ids[299], &a).0, Status::Held);
    store.wait("the dispatcher knows", |store| {
        store.withdrawn() as u64 == dropped
    });
    assert!(
        store.outbox.delivery(ids[0], &a).is_err(),
        "the oldest are gone"
    );
    store.accept("b.x", &body);
    assert_eq!(store.count(&b, &[Status::Pending]), 1);
    store.stop();
}

#[test]
fn of_many_endpoints_the_oldest_held_make_room_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    (options.max_size, options.keep.max_size) = (10_000_000, 100_000);
    let store = Store::open(options);
    let reason = DisabledReason::Manual;
    let endpoints: Vec<EndpointId> = (0..150).map(|n| store.create(&format!("e{n}"))).collect();
    for endpoint in &endpoints {
        let endpoint = endpoint.clone();
        store.act(Action::Disable { endpoint, reason }).unwrap();
    }
    let body = format!("{:?}", "x".repeat(1000));
    // One each, in turns: no endpoint's are older than the others'.
    let mut ids = Vec::new();
    for round in 0..2 {
        for (n, endpoint) in endpoints.iter().enumerate() {
            let id = store.accept(&format!("e{n}.x"), &body);
            ids.push((round, id, endpoint.clone()));
        }
    }
    store.wait("history is within its limit", |store| {
        store.outbox.shared.index.read().history_bytes() < 107_000
    });
    let is_held = |(_, id, endpoint): &(i32, EventId, EndpointId)| {
        let found = store.outbox.delivery(*id, endpoint);
        found.is_ok_and(|delivery| delivery.status == Status::Held)
    };
    let first_held = ids.iter().position(is_held).unwrap();
    assert!(
        first_held > 150,
        "the first of each endpoint went: {first_held}"
    );
    assert!(
        ids[first_held..].iter().all(is_held),
        "none that is newer went"
    );
    store.stop();
}

#[test]
fn jobs_and_what_was_erased_outlive_the_segments_that_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut brief = options(dir.path());
    brief.keep.delivered = Duration::from_millis(1);
    let store = Store::open(brief.clone());
    let a = store.create("a");
    let keyed = NewEvent {
        idempotency_key: Some(Key::new("once").unwrap()),
        ..event("a.x", "1")
    };
    let secret = NewEvent {
        idempotency_key: Some(Key::new("other").unwrap()),
        ..event("a.x", "2")
    };
    let [first, erased] = [keyed.clone(), secret.clone()].map(|e| store.try_accept(e).unwrap());
    let dead = store.fill("a.y", 3);
    for id in [first.id].iter().chain(&dead) {
        store.kill(*id, &a);
    }
    store.wait("they are dead", |store| {
        store.count(&a, &[Status::Dead]) == 4
    });
    // The event stays without the delivery, and what its key stands for stays as it was.
    let one = Selection {
        types: vec![TypePattern::parse("a.x").unwrap()],
        ..only(&[Status::Dead])
    };
    assert_eq!(store.purge(&a, one), 1);
    store
        .runtime
        .block_on(store.outbox.erase(erased.id))
        .unwrap();
    assert_eq!(store.replay(&a, only(&[Status::Dead]), 0.001), 3);
    store.wait("one is replayed", |store| {
        store.count(&a, &[Status::Dead]) == 2
    });
    let body = format!("{:?}", "x".repeat(1 << 20));
    // Twice around, so that what was written again is written again.
    for _ in 0..2 {
        let end = store.outbox.shared.log.end();
        store.wait("the segments go", |store| {
            store.accept("c.x", &body);
            store.outbox.shared.log.start() > end
        });
        for id in [first.id, dead[0]] {
            store.rewrite(id);
        }
    }
    store.stop();
    brief.boot_id = Some("later".into());
    let store = Store::open(brief);
    assert!(matches!(
        store.outbox.event(erased.id),
        Err(ReadError::Erased)
    ));
    let again = store.try_accept(secret).unwrap();
    assert_eq!((again.id, again.duplicate), (erased.id, true));
    let again = store.try_accept(keyed);
    // Forgotten as finished by now, the key is known all the same.
    let again = again.unwrap();
    assert_eq!(
        (again.id, again.deliveries, again.duplicate),
        (first.id, 1, true)
    );
    store.wait("the job goes on", |store| {
        store.count(&a, &[Status::Dead]) == 1
    });
    store.stop();
}

#[test]
fn a_key_keeps_its_answer_when_deliveries_are_gone_and_the_event_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let a = store.create("a");
    let keyed = NewEvent {
        idempotency_key: Some(Key::new("once").unwrap()),
        ..event("a.x", "1")
    };
    let id = store.try_accept(keyed.clone()).unwrap().id;
    store.kill(id, &a);
    store.wait("it is dead", |store| store.count(&a, &[Status::Dead]) == 1);
    assert_eq!(store.purge(&a, Selection::default()), 1);
    for _ in 0..2 {
        store.rewrite(id);
        let again = store.try_accept(keyed.clone()).unwrap();
        assert_eq!((again.id, again.deliveries), (id, 1));
    }
    store.stop();
    let mut later = options(dir.path());
    later.boot_id = Some("later".into());
    let store = Store::open(later);
    assert_eq!(store.try_accept(keyed).unwrap().deliveries, 1);
    store.stop();
}

/// Whether any file below holds these bytes.
fn holds(dir: &Path, needle: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        // A file of sled's may go between the look and the reading.
        let bytes = std::fs::read(&path).unwrap_or_default();
        memchr::memmem::find(&bytes, needle.as_bytes()).is_some()
    })
}

#[test]
fn nothing_is_left_of_what_was_erased_but_that_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let a = store.create("a");
    let secret = NewEvent {
        idempotency_key: Some(Key::new("once").unwrap()),
        ..event("a.x", "\"SESAME-BODY\"")
    };
    let receipt = store.try_accept(secret.clone()).unwrap();
    let id = receipt.id;
    for n in 1..4 {
        let now = crate::clock::now();
        let next = Next::Retry {
            due: now + HOUR,
            budget_from: now,
            tries: n,
        };
        store.settle(id, &a, next, &format!("SESAME-ANSWER {n}"));
    }
    store.wait("the attempts are stored", |store| {
        store.outbox.delivery(id, &a).unwrap().attempt_count == 3
    });
    // Written again by cleaning, so that there are copies of everything; then once more.
    let rewrite = || store.rewrite(id);
    rewrite();
    store.settle(id, &a, Next::Delivered, "SESAME-LAST");
    store.wait("it is delivered", |store| {
        store.status(id, &a).0 == Status::Delivered
    });
    let bodies = |view: crate::outbox::DeliveryView| {
        let attempts = view.attempts.into_iter();
        attempts
            .map(|attempt| String::from_utf8(attempt.response_body.to_vec()).unwrap())
            .collect::<Vec<_>>()
    };
    let all = [
        "SESAME-ANSWER 1",
        "SESAME-ANSWER 2",
        "SESAME-ANSWER 3",
        "SESAME-LAST",
    ];
    assert_eq!(bodies(store.outbox.delivery(id, &a).unwrap()), all);
    rewrite();
    assert_eq!(bodies(store.outbox.delivery(id, &a).unwrap()), all);
    assert!(holds(dir.path(), "SESAME"));

    store.runtime.block_on(store.outbox.erase(id)).unwrap();
    assert!(matches!(store.outbox.event(id), Err(ReadError::Erased)));
    assert!(matches!(
        store.outbox.delivery(id, &a),
        Err(ReadError::Erased)
    ));
    assert_eq!(store.runtime.block_on(store.outbox.erase(id)), Ok(()));
    let (event, endpoint) = (id, a.clone());
    assert_eq!(
        store.act(Action::Retry { event, endpoint }),
        Err(ActRefused::Erased)
    );
    assert_eq!(store.count(&a, &[]), 0);
    let again = store.try_accept(secret.clone()).unwrap();
    assert_eq!((again.id, again.deliveries, again.duplicate), (id, 1, true));
    let walked = |store: &Store| store.outbox.shared.index.read().sums.erasing.is_empty();
    store.wait("every copy is overwritten", walked);
    assert!(!holds(dir.path(), "SESAME"));
    store.stop();

    // Another boot: the index is built anew from the log, and erased is no damage.
    let mut later = options(dir.path());
    later.boot_id = Some("later".into());
    let store = Store::open(later);
    assert!(matches!(store.outbox.event(id), Err(ReadError::Erased)));
    assert_eq!(store.outbox.status().damaged_records, 0);
    assert!(store.try_accept(secret).unwrap().duplicate);
    assert!(!holds(dir.path(), "SESAME"));
    store.stop();
}

#[test]
fn an_erased_event_is_forgotten_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.keep.erased = Duration::from_secs(1);
    options.keep.dead = Duration::from_secs(1);
    let store = Store::open(options);
    let id = store.accept("a.x", "1");
    store.runtime.block_on(store.outbox.erase(id)).unwrap();
    store.wait("nothing knows it any more", |store| {
        matches!(store.outbox.event(id), Err(ReadError::NoSuchEvent))
    });
    assert_eq!(store.outbox.shared.index.read().meta.erased, 0);
    store.stop();
}

#[test]
fn no_more_jobs_than_a_hundred_and_none_outlives_its_endpoint() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let a = store.create("a");
    for id in store.fill("a.x", 300) {
        store.kill(id, &a);
    }
    store.wait("all are dead", |store| {
        store.count(&a, &[Status::Dead]) == 300
    });
    // Each takes one at once, and the next in a quarter of an hour.
    let begin = || {
        let slow = Some(Rate { per_second: 0.001 });
        let asked = store.outbox.replay(&a, only(&[Status::Dead]), slow);
        store.runtime.block_on(asked)
    };
    for n in 0..100 {
        assert!(begin().is_ok(), "{n}");
    }
    assert_eq!(begin(), Err(ActRefused::TooManyJobs));
    store.act(Action::Delete { endpoint: a }).unwrap();
    store.wait("the jobs are gone", |store| {
        let state = store.outbox.shared.index.read();
        let end = keys::end_of(keys::JOBS);
        state.entries.scan(keys::JOBS, &end, false).count() == 0
    });
    store.stop();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// However small its pieces, a walk finds what is chosen, each once and in order.
    #[test]
    fn a_walk_in_pieces_finds_what_one_look_finds(
        statuses in proptest::collection::vec(0..4usize, 1..4),
        steps in proptest::collection::vec(0..5u8, 0..40),
        holding in any::<bool>(),
        wanted in 1..5usize,
        from in 0..20u128,
    ) {
        use crate::outbox::record::{Accepted, Acted, EndpointRow, EndpointStateRow, EventHead, Record, StepRow};
        let mut state = State::new(None, [0; 16]);
        let disabled = holding.then_some((1, 5));
        let row = EndpointRow {
            no: 1,
            id: "a",
            tenant: "t",
            state: EndpointStateRow { disabled, ..EndpointStateRow::default() },
        };
        state.apply(1, &Record::Endpoint(row)).unwrap();
        for (n, step) in steps.iter().enumerate() {
            let id = n as u128 + 1;
            let event = EventHead {
                id, accepted_at: 5, body_lost: false, tenant: "t", event_type: "x", key: None, idempotency: None,
                deliver_at: None, content_type: None, data_at: 0, body_len: 1,
            };
            let endpoints = vec![1, 2];
            state.apply(9, &Record::Accepted(Accepted { event, due: 1, endpoints, extras_len: 0 })).unwrap();
            let step = match step {
                0 => StepRow::Hold { reason: 3 },
                1 => StepRow::Die { at: 5, reason: 6 },
                _ => continue,
            };
            state.apply(10, &Record::Acted(Acted { id, endpoint: 1, step })).unwrap();
        }
        let choice = Choice {
            no: EndpointNo(1),
            statuses: statuses.iter().map(|at| Status::ALL[*at]).collect(),
            types: Vec::new(),
            since: None,
            until: None,
            last: u128::MAX,
        };
        let readers = Readers::new(Index::new(state));
        let state = readers.read();
        let stored = &state.endpoints[&EndpointNo(1)];
        let expected: Vec<EventId> = (from.max(1)..=steps.len() as u128).map(EventId).filter(|id| {
            let row = state.delivery_row(*id, EndpointNo(1)).unwrap().unwrap();
            choice.statuses.contains(&status_shown(&row, stored).unwrap())
        }).collect();
        let (mut found, mut next) = (Vec::new(), Some(from));
        while let Some(position) = next {
            let mut some = Vec::new();
            next = choice.walk(&readers.read(), stored, position, wanted, &mut some).unwrap();
            prop_assert!(some.len() <= wanted);
            prop_assert!(next.is_none_or(|next| next > position || some.is_empty()));
            found.append(&mut some);
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_walk_past_the_deliveries_of_a_wide_fan_out_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let mut last = None;
    for n in 0..2100 {
        last = Some(store.create_for(&format!("w{n}"), "wide.*"));
    }
    let last = last.unwrap();
    let id = store.accept("wide.x", "{}");
    store.settle(id, &last, Next::Delivered, "ok");
    store.wait("delivered", |s| s.status(id, &last).0 == Status::Delivered);
    let (outbox, sel, l) = (
        store.outbox.clone(),
        only(&[Status::Delivered]),
        last.clone(),
    );
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || tx.send(outbox.count(&l, &sel).unwrap()));
    assert_eq!(rx.recv_timeout(Duration::from_secs(10)), Ok(1));
    store.stop();
}

#[test]
fn a_410_to_an_event_that_was_erased_meanwhile_disables_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let a = store.create("a");
    let id = store.accept("a.x", "{}");
    store.act(Action::Erase { event: id }).unwrap();
    let now = crate::clock::now();
    store.outbox.settle(Outcome {
        event: id,
        no: store.no(&a),
        attempt: Attempt {
            at: now,
            duration: Duration::from_millis(1),
            status: Some(410),
            error: Some(AttemptError {
                kind: ErrorKind::Status,
                detail: "410".into(),
            }),
            response_body: Default::default(),
            address: None,
            retry_after: None,
            permanent: false,
        },
        ended_at: now,
        next: Next::Dead {
            reason: Reason::Gone,
        },
        exact: false,
        disable: Some(DisabledReason::Gone),
        awaited: false,
        unrendered_by: None,
    });
    store.wait("disabled", |store| {
        let (_, state) = store.outbox.endpoint(&a).unwrap();
        state.disabled.is_some()
    });
    // An outcome has no answer: the dispatcher learns of it in its own time.
    store.wait("the dispatcher knows", |store| {
        let notices = store.notices.lock().unwrap();
        let is_held = |notice: &Notice| matches!(notice, Notice::Held { .. });
        notices.iter().any(is_held)
    });
    store.stop();
}

#[test]
fn what_is_held_and_a_wide_fan_out_make_no_others_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options {
        max_size: 1 << 20,
        endpoint_share: 0.5,
        ..options(dir.path())
    });
    let a = store.create("a");
    store
        .act(Action::Disable {
            endpoint: a.clone(),
            reason: DisabledReason::Manual,
        })
        .unwrap();
    let body = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..30 {
        store.try_accept(event("a.x", &body)).unwrap();
    }
    for n in 0..20 {
        store.create_for(&format!("w{n}"), "wide.*");
    }
    // 60 kB each, to twenty endpoints: 300 kB of bodies pending in all.
    for _ in 0..5 {
        store.try_accept(event("wide.x", &body)).unwrap();
    }
    store.stop();
}

#[test]
fn a_key_used_again_outlives_the_erasing_of_its_first_event() {
    let dir = tempfile::tempdir().unwrap();
    let window = Duration::from_millis(400);
    let store = Store::open(Options {
        idempotency_window: window,
        ..options(dir.path())
    });
    let keyed = |name: &str, key: &str| NewEvent {
        idempotency_key: Some(Key::new(key).unwrap()),
        ..event(name, "1")
    };
    let olds: Vec<EventId> = (0..20)
        .map(|n| store.try_accept(keyed("a.x", &format!("k{n}"))).unwrap().id)
        .collect();
    let over = olds[19].timestamp() + window;
    store.wait("the window is over", |_| crate::clock::now() > over);
    let mut lost = 0;
    for (n, old) in olds.into_iter().enumerate() {
        let key = format!("k{n}");
        let (first, again) = store.runtime.block_on(async {
            let warm = store.outbox.accept(vec![event("b.x", "2")]);
            let accepted = store.outbox.accept(vec![keyed("a.x", &key)]);
            let erased = store.outbox.act(Action::Erase { event: old });
            let (_, a, e) = tokio::join!(warm, accepted, erased);
            e.unwrap();
            let first = a.unwrap().remove(0);
            let again = store
                .outbox
                .accept(vec![keyed("a.x", &key)])
                .await
                .unwrap()
                .remove(0);
            (first, again)
        });
        // On a busy machine the window may be over before the key is used again.
        let is_within = again.accepted_at <= first.accepted_at + window;
        lost += usize::from(is_within && again.id != first.id);
    }
    assert_eq!(lost, 0, "of 20 keys stored twice within the window");
    store.stop();
}

#[test]
fn what_cannot_be_rendered_is_held_until_the_endpoint_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let a = store.create("a");
    let definition = store.outbox.in_force(store.no(&a)).unwrap();
    let held: Vec<EventId> = (0..3)
        .map(|n| store.accept("a.x", &n.to_string()))
        .collect();
    for id in &held {
        store.hold(*id, &a, &definition);
    }
    let template = (Status::Held, Some(Reason::Template));
    store.wait("they are held", |store| {
        held.iter().all(|id| store.status(*id, &a) == template)
    });
    // It is not its backlog: what comes later is not held behind them, and nothing releases them.
    let later = store.accept("a.x", "3");
    assert_eq!(store.status(later, &a), (Status::Pending, None));
    store.settle(later, &a, Next::Delivered, "");
    store.wait("it is delivered", |store| {
        store.status(later, &a).0 == Status::Delivered
    });
    assert_eq!(store.status(held[0], &a), template);
    let before = store.queued().len();
    store.change(&a, "another");
    store.wait("they are released", |store| {
        store.queued().len() == before + held.len()
    });
    assert_eq!(store.queued()[before..], held);
    // An attempt that began before the change says nothing of the definition of now.
    store.hold(held[0], &a, &definition);
    store.wait("it is pending again", |store| {
        store.queued().len() == before + held.len() + 1
    });
    assert_eq!(store.status(held[0], &a), (Status::Pending, None));
    let index = store.outbox.shared.index.read();
    index.check().unwrap();
    drop(index);
    store.stop();
}

#[test]
fn a_change_during_a_release_releases_what_was_held_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()));
    let a = store.create("a");
    let first = store.outbox.in_force(store.no(&a)).unwrap();
    // At 100 a second their release takes a second.
    let held: Vec<EventId> = (0..100)
        .map(|n| store.accept("a.x", &n.to_string()))
        .collect();
    for id in &held {
        store.hold(*id, &a, &first);
    }
    let template = (Status::Held, Some(Reason::Template));
    store.wait("they are held", |store| {
        held.iter().all(|id| store.status(*id, &a) == template)
    });
    store.change(&a, "second");
    store.wait("the first is released", |store| {
        store.status(held[0], &a).0 == Status::Pending
    });
    let second = store.outbox.in_force(store.no(&a)).unwrap();
    store.hold(held[0], &a, &second);
    store.wait("it is held again", |store| {
        store.status(held[0], &a) == template
    });
    store.change(&a, "third");
    store.wait("all are released", |store| {
        held.iter()
            .all(|id| store.status(*id, &a).0 == Status::Pending)
    });
    store.outbox.shared.index.read().check().unwrap();
    store.stop();
}
