//! One history: users hand in events and act on them, receivers take them or not, the disk
//! fails, the machine crashes; after every step a model says what has to be true.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use outboxd::domain::attempt::{Attempt, AttemptError, ErrorKind};
use outboxd::domain::delivery::{Next, Status};
use outboxd::domain::endpoint::{
    DisabledReason, EndpointId, EndpointNo, EndpointSpec, Ordering, TypePattern,
};
use outboxd::domain::engine::{Command, Engine, Entry, Input, LanePolicy, Now};
use outboxd::domain::event::{EventId, EventType, Key, NewEvent, Payload, Tenant};
use outboxd::domain::retry::RetryOverrides;
use outboxd::domain::time::Timestamp;
use outboxd::outbox::maintain::Cut;
use outboxd::outbox::open::{lanes, supervise};
use outboxd::outbox::request::{Notice, Outcome, Request};
use outboxd::outbox::waiting::Turn;
use outboxd::outbox::{
    ActRefused, Action, EventFilter, ReadError, Receipt, Refused, Selection,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;

use super::disk::{Fault, Met, SimDisk};
use super::machine::{Direct, HOUR, IndexFiles, Machine, SimClock, Store};

/// The endpoints of a history, and the most that one request hands in.
const ENDPOINTS: usize = 4;
const BATCH: usize = 6;
/// What a disk has room for, in bytes.
const ROOM: u64 = 1 << 20;
/// Turns that a stop may take.
const STOP_TURNS: u32 = 64;

/// What a history may leave out, to find the smallest that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without(pub u32);

pub const KINDS: [&str; 10] = [
    "power", "kill", "room", "read", "write", "sync", "short", "jumps", "index", "stops",
];

impl Without {
    fn has(self, kind: &str) -> bool {
        let at = KINDS.iter().position(|name| *name == kind);
        at.is_some_and(|at| self.0 & (1 << at) != 0)
    }
}

/// What was counted over a history.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub steps: u64,
    pub accepted: u64,
    pub attempts: u64,
    pub delivered: u64,
    pub lives: u64,
    pub jumps: u64,
    pub index_lost: u64,
    pub index_broken: u64,
    pub stops: u64,
    pub threads_died: u64,
    pub refused_steps: u64,
    pub met: Met,
}

/// Why a history is wrong.
pub type Violation = String;

macro_rules! ensure {
    ($holds:expr, $($said:tt)*) => {
        if !$holds {
            return Err(format!($($said)*));
        }
    };
}

/// An event as it was handed in.
#[derive(Clone, Debug)]
struct Known {
    number: u64,
    body: Bytes,
    key: Option<String>,
    accepted_at: Timestamp,
    deliveries: BTreeMap<EndpointId, Expected>,
    erased: bool,
}

#[derive(Clone, Debug, Default)]
struct Expected {
    /// Attempts that the receiver took.
    successes: u32,
    /// Attempts that ended.
    attempts: u32,
    /// Somebody or something may have ended it as dead.
    may_be_dead: bool,
    /// A purge may have removed it.
    may_be_gone: bool,
}

/// A request on its way.
struct Asked {
    events: Vec<(u64, NewEvent, Bytes)>,
    reply: oneshot::Receiver<Result<Vec<Receipt>, Refused>>,
    /// The clock when it was asked, and what it may have been since.
    asked_at: u64,
}

enum Acting {
    Create(EndpointId, oneshot::Receiver<Result<(), ActRefused>>),
    Erase(EventId, oneshot::Receiver<Result<(), ActRefused>>),
    Other(oneshot::Receiver<Result<(), ActRefused>>),
}

/// The process, with its engine and what is under way in it.
struct Process {
    store: Store,
    engine: Engine,
    in_flight: Vec<(EndpointNo, Entry)>,
    asked: Vec<Asked>,
    acting: Vec<Acting>,
    stopping: bool,
}

pub struct World {
    rng: SmallRng,
    dice: SmallRng,
    machine: Machine,
    process: Option<Process>,
    without: Without,
    known: HashMap<EventId, Known>,
    /// By their numbers: what was handed in, answered or not.
    submitted: HashMap<u64, Bytes>,
    /// Requests that a crash left unanswered: all of it is there, or none.
    doubtful: Vec<Asked>,
    next_number: u64,
    endpoints: Vec<EndpointId>,
    up: BTreeMap<EndpointId, bool>,
    /// The lowest and the highest the wall clock was.
    pub counts: Counts,
    calm: bool,
}

impl World {
    pub fn new(seed: u64, without: Without) -> World {
        let mut rng = SmallRng::seed_from_u64(seed);
        let clock = SimClock {
            wall: (1_767_225_600_000 + rng.random_range(0..1000)).into(),
            mono: 0.into(),
        };
        World {
            dice: SmallRng::seed_from_u64(!seed),
            machine: Machine {
                disk: SimDisk::new(seed ^ 0x5eed, ROOM),
                clock: Arc::new(clock),
                index: Arc::new(IndexFiles::default()),
                lives: 0,
            },
            process: None,
            without,
            known: HashMap::new(),
            submitted: HashMap::new(),
            doubtful: Vec::new(),
            next_number: 1,
            endpoints: (0..ENDPOINTS)
                .map(|n| EndpointId::new(&format!("ep-{n}")).unwrap())
                .collect(),
            up: BTreeMap::new(),
            counts: Counts::default(),
            calm: false,
            rng,
        }
    }

    /// Lives through `steps` steps, then heals everything and sees that all comes to its end.
    pub fn live(&mut self, steps: u64) -> Result<(), Violation> {
        for step in 0..steps {
            self.counts.steps = step + 1;
            self.step()?;
        }
        self.settle()?;
        self.counts.lives = self.machine.lives;
        self.counts.met = self.machine.disk.met();
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.machine.clock.wall.load(Relaxed)
    }

    fn now(&self) -> Now {
        Now {
            wall: Timestamp::from_millis(self.now_ms()),
            mono: Duration::from_millis(self.machine.clock.mono.load(Relaxed)),
        }
    }

    fn pass(&mut self, millis: u64) {
        self.machine.clock.wall.fetch_add(millis, Relaxed);
        self.machine.clock.mono.fetch_add(millis, Relaxed);
    }

    fn step(&mut self) -> Result<(), Violation> {
        if self.process.is_none() {
            self.start()?;
            if self.process.is_none() {
                return Ok(());
            }
        }
        // Always drawn, so that leaving a kind out changes nothing else.
        let (kind, a, b) = (
            self.rng.random_range(0..100_u32),
            self.rng.random_range(0..1 << 20_u32),
            self.rng.random_range(0..1 << 20_u32),
        );
        match kind {
            0..24 => self.accept(a, b),
            24..44 => self.end_attempt(a),
            44..52 => self.act(a, b),
            52..62 => self.look_after(a)?,
            62..70 => self.pass([1, 30, 700, 5000, 60_000, 600_000][a as usize % 6]),
            70..74 => self.flush()?,
            74..78 => self.up_or_down(a),
            78..92 => self.harm(a, b)?,
            92..94 => self.stop(false)?,
            94..95 => self.thread_dies()?,
            _ => self.idle()?,
        }
        self.turn()?;
        self.crash_if_due()?;
        if kind % 8 == 0 {
            self.check()?;
        }
        Ok(())
    }

    // ---- The process

    fn start(&mut self) -> Result<(), Violation> {
        let started = self.machine.start();
        if self.machine.disk.is_crashed() {
            self.machine.disk.kill();
            return Ok(());
        }
        let mut store = match started {
            Ok(store) => store,
            Err(violation) if violation.starts_with("VIOLATION") => return Err(violation),
            Err(_) => {
                // A fault of the disk, or no room for a first segment: tried again later.
                self.machine.disk.heal();
                self.machine.disk.set_room(ROOM);
                return Ok(());
            }
        };
        let mut engine = Engine::new(8);
        let now = self.now();
        let mut commands = Vec::new();
        for lane in lanes(&store.shared) {
            let Some(endpoint) = store.outbox.in_force(lane.no) else {
                continue;
            };
            let no = lane.no;
            let policy = policy(&endpoint);
            let mut tell = |input| engine.handle(input, now, &mut self.dice, &mut commands);
            tell(Input::Configure { no, policy });
            if lane.holding {
                tell(Input::Hold { no });
            }
            tell(Input::Restored {
                no,
                failing: lane.failing,
                released_at: lane.released_at,
                backlog: lane.pending > 0,
            });
        }
        store.commits.close_later();
        self.process = Some(Process {
            store,
            engine,
            in_flight: Vec::new(),
            asked: Vec::new(),
            acting: Vec::new(),
            stopping: false,
        });
        self.carry_out(commands);
        self.resolve_doubts()?;
        self.check()
    }

    /// What a crash left unanswered is there whole, or not at all.
    fn resolve_doubts(&mut self) -> Result<(), Violation> {
        if self.doubtful.is_empty() {
            return Ok(());
        }
        let Some(present) = self.all_events()? else {
            return Ok(());
        };
        for asked in std::mem::take(&mut self.doubtful) {
            let ids = |number: &u64| present.get(number).copied();
            let there: Vec<Option<EventId>> =
                asked.events.iter().map(|(number, ..)| ids(number)).collect();
            let count = there.iter().flatten().count();
            // Of a repeated key there is one event alone.
            let wanted = distinct_keys(&asked.events);
            ensure!(
                count == 0 || count >= wanted.min(asked.events.len()),
                "a request of {} events is there with {count} of them after a crash",
                asked.events.len()
            );
            for ((number, event, body), id) in asked.events.into_iter().zip(there) {
                if let Some(id) = id {
                    let accepted_at = self.accepted_at(id)?;
                    self.remember(id, number, &event, body, accepted_at)?;
                }
            }
        }
        Ok(())
    }

    /// All events by the numbers in their types; `None` if the disk kept them from being
    /// read.
    fn all_events(&mut self) -> Result<Option<HashMap<u64, EventId>>, Violation> {
        let Some(process) = &self.process else {
            return Ok(None);
        };
        let (mut found, mut cursor) = (HashMap::new(), None);
        loop {
            let filter = EventFilter::default();
            let page = process.store.outbox.events(&filter, cursor.as_ref(), 100);
            let page = page.map_err(|error| format!("events cannot be listed: {error}"))?;
            for event in page.items {
                if let Some(number) = event.event_type.as_str().strip_prefix("n.") {
                    found.insert(number.parse().unwrap(), event.id);
                }
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(Some(found)),
            }
        }
    }

    fn accepted_at(&self, id: EventId) -> Result<Timestamp, Violation> {
        let Some(process) = &self.process else {
            return Ok(Timestamp::default());
        };
        let summary = process.store.outbox.summary(id);
        let summary = summary.map_err(|error| format!("{id} cannot be read: {error}"))?;
        Ok(summary.accepted_at)
    }

    fn remember(
        &mut self,
        id: EventId,
        number: u64,
        event: &NewEvent,
        body: Bytes,
        accepted_at: Timestamp,
    ) -> Result<(), Violation> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        if self.known.contains_key(&id) {
            return Ok(());
        }
        let view = process.store.outbox.event(id);
        let deliveries = match view {
            Ok(view) => view.deliveries,
            // It may be read later.
            Err(error) => return self.unreadable(id, &error),
        };
        let expected = |endpoint| (endpoint, Expected::default());
        let deliveries = deliveries.into_iter().map(|found| expected(found.endpoint));
        let known = Known {
            number,
            body,
            key: event.idempotency_key.as_ref().map(|key| key.as_str().to_owned()),
            accepted_at,
            deliveries: deliveries.collect(),
            erased: false,
        };
        self.known.insert(id, known);
        self.counts.accepted += 1;
        Ok(())
    }

    /// One turn of the writer, and what follows from it.
    fn turn(&mut self) -> Result<(), Violation> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        process.store.take_requests();
        let turned = process.store.writer.turn();
        match turned {
            Ok(_) => self.told(),
            Err(error) => {
                self.process_ends(&format!("{error}"))?;
                Ok(())
            }
        }
    }

    /// The process ends by itself: only a fault that was made is a reason.
    fn process_ends(&mut self, reason: &str) -> Result<(), Violation> {
        let met = self.machine.disk.met();
        let faults = met.read_errors + met.write_errors + met.sync_errors;
        let made = self.machine.disk.is_crashed() || faults > 0;
        ensure!(made, "the process ended without a reason: {reason}");
        self.leave_doubts();
        self.process = None;
        if !self.machine.disk.is_crashed() {
            self.machine.disk.kill();
        }
        Ok(())
    }

    fn leave_doubts(&mut self) {
        if let Some(process) = &mut self.process {
            self.doubtful.append(&mut process.asked);
            for (no, entry) in process.in_flight.drain(..) {
                // Its receiver may have taken it; nobody knows.
                let endpoint = process.store.outbox.in_force(no);
                if let (Some(endpoint), Some(known)) =
                    (endpoint, self.known.get_mut(&entry.event))
                    && let Some(expected) = known.deliveries.get_mut(&endpoint.id)
                {
                    expected.attempts += 1;
                }
            }
        }
    }

    fn crash_if_due(&mut self) -> Result<(), Violation> {
        if !self.machine.disk.is_crashed() {
            return Ok(());
        }
        self.leave_doubts();
        self.process = None;
        // Which of the two it was is decided now.
        let power = self.rng.random_bool(0.5);
        match power && !self.without.has("power") {
            true => self.cut_power(),
            false => self.machine.disk.kill(),
        }
        Ok(())
    }

    fn cut_power(&mut self) {
        self.machine.disk.cut_power();
        self.machine.index.lose();
    }

    // ---- Users

    fn accept(&mut self, a: u32, b: u32) {
        let count = match a % 4 {
            0 => 1 + b as usize % BATCH,
            _ => 1,
        };
        let mut events = Vec::new();
        for n in 0..count {
            let number = self.next_number;
            self.next_number += 1;
            let size = [10, 200, 900, 3000][(a as usize / 4 + n) % 4];
            let body = format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(size));
            let body = Bytes::from(body);
            let key = (b % 3 == 0).then(|| format!("key-{}", (a as usize + n) % 12));
            let event = NewEvent {
                tenant: Tenant::default(),
                event_type: EventType::new(&format!("n.{number}")).unwrap(),
                payload: Payload::Json(body.clone()),
                key: (b % 2 == 0).then(|| Key::new(&format!("order-{}", b % 5)).unwrap()),
                idempotency_key: key.map(|key| Key::new(&key).unwrap()),
                deliver_at: None,
            };
            self.submitted.insert(number, body.clone());
            events.push((number, event, body));
        }
        let asked_at = self.now_ms();
        let Some(process) = &mut self.process else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        let handed = events.iter().map(|(_, event, _)| event.clone()).collect();
        process.store.writer.enqueue(Request::Accept {
            events: handed,
            reply,
        });
        process.asked.push(Asked {
            events,
            reply: answer,
            asked_at,
        });
    }

    fn act(&mut self, a: u32, b: u32) {
        let endpoint = self.endpoints[a as usize % ENDPOINTS].clone();
        let ids: Vec<EventId> = self.sorted_ids();
        let event = ids.get(b as usize % ids.len().max(1)).copied();
        let action = match (a / 16 % 12, event) {
            (0..3, _) => Action::Create {
                endpoint: endpoint.clone(),
                spec: Box::new(spec(b)),
                enabled: true,
            },
            (3, _) => Action::Disable {
                endpoint: endpoint.clone(),
                reason: DisabledReason::Manual,
            },
            (4 | 5, _) => Action::Enable { endpoint },
            (6, Some(event)) => {
                self.mark(event, &endpoint, |expected| expected.may_be_dead = true);
                Action::Cancel { event, endpoint }
            }
            (7 | 8, Some(event)) => Action::Retry { event, endpoint },
            (9, Some(event)) => Action::Erase { event },
            (10, _) => {
                self.begin_job(endpoint, b);
                return;
            }
            (11, _) if b % 4 == 0 => {
                self.mark_all(&endpoint, |expected| expected.may_be_dead = true);
                Action::Delete { endpoint }
            }
            _ => return,
        };
        let Some(process) = &mut self.process else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        process.acting.push(match &action {
            Action::Create { endpoint, .. } => Acting::Create(endpoint.clone(), answer),
            Action::Erase { event } => Acting::Erase(*event, answer),
            _ => Acting::Other(answer),
        });
        process.store.writer.enqueue(Request::Act { action, reply });
    }

    /// A replay or a purge, begun as the daemon does; its counting is done at once.
    fn begin_job(&mut self, endpoint: EndpointId, b: u32) {
        let purges = b % 3 == 0;
        if purges {
            self.mark_all(&endpoint, |expected| {
                (expected.may_be_dead, expected.may_be_gone) = (true, true);
            });
        }
        let Some(process) = &mut self.process else {
            return;
        };
        let statuses = match (purges, b / 3 % 2) {
            (true, 0) => vec![Status::Dead],
            (true, _) => vec![Status::Pending, Status::Held, Status::Dead],
            (false, _) => vec![Status::Dead],
        };
        let selection = Selection {
            statuses,
            ..Selection::default()
        };
        let job = process.store.outbox.job(&endpoint, &selection, purges);
        if let Ok(job) = job {
            let (reply, _) = oneshot::channel();
            let request = Request::Begin { job, reply };
            process.store.writer.enqueue(request);
        }
    }

    fn mark(&mut self, id: EventId, endpoint: &EndpointId, how: impl Fn(&mut Expected)) {
        let known = self.known.get_mut(&id);
        if let Some(expected) = known.and_then(|known| known.deliveries.get_mut(endpoint)) {
            how(expected);
        }
    }

    fn mark_all(&mut self, endpoint: &EndpointId, how: impl Fn(&mut Expected)) {
        for known in self.known.values_mut() {
            if let Some(expected) = known.deliveries.get_mut(endpoint) {
                how(expected);
            }
        }
    }

    fn sorted_ids(&self) -> Vec<EventId> {
        let mut ids: Vec<EventId> = self.known.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    // ---- Receivers

    fn up_or_down(&mut self, a: u32) {
        let endpoint = self.endpoints[a as usize % ENDPOINTS].clone();
        let up = self.up.entry(endpoint).or_insert(true);
        *up = !*up || self.calm;
    }

    fn end_attempt(&mut self, a: u32) {
        let now = self.now();
        let Some(process) = &mut self.process else {
            return;
        };
        if process.in_flight.is_empty() {
            return;
        }
        let at = a as usize % process.in_flight.len();
        let (no, entry) = process.in_flight.swap_remove(at);
        let event = entry.event;
        let Some(endpoint) = process.store.outbox.in_force(no) else {
            return self.ended(no, event, attempt(now.wall, None));
        };
        let up = *self.up.get(&endpoint.id).unwrap_or(&true);
        let ok = up && (a / 64 % 8 != 0 || self.calm);
        let content = process.store.outbox.content(event, entry.lsn);
        let status = match &content {
            // What cannot be read now is nobody's failure; here it is tried again.
            Err(_) => None,
            Ok(_) if ok => Some(200),
            Ok(_) => Some(503),
        };
        if let Ok(content) = &content {
            let sent = content.body.clone();
            if !self.is_submitted(&sent) {
                self.sent_strange = Some(format!("{event}: {sent:?} was sent and never handed in"));
            }
        }
        if let Some(known) = self.known.get_mut(&event)
            && let Some(expected) = known.deliveries.get_mut(&endpoint.id)
        {
            expected.attempts += 1;
            expected.successes += u32::from(status == Some(200));
        }
        self.counts.attempts += 1;
        self.counts.delivered += u64::from(status == Some(200));
        self.ended(no, event, attempt(now.wall, status));
    }
}
