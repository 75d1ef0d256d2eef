//! One history: users hand in events and act on them, receivers take them or not, the disk
//! fails, the machine crashes; after every step a model says what has to be true.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use outboxd::domain::attempt::{Attempt, AttemptError, ErrorKind};
use outboxd::domain::delivery::{Next, Status};
use outboxd::domain::endpoint::{
    DisabledReason, Endpoint, EndpointId, EndpointNo, EndpointSpec, Ordering, TypePattern,
};
use outboxd::domain::engine::{Command, Engine, Entry, Input, LanePolicy, Now};
use outboxd::domain::event::{EventId, EventType, Key, NewEvent, Payload, Tenant};
use outboxd::domain::retry::RetryOverrides;
use outboxd::domain::time::Timestamp;
use outboxd::outbox::index::HOLD_ROWS;
use outboxd::outbox::maintain::Cut;
use outboxd::outbox::open::{endpoint_starts, supervise};
use outboxd::outbox::record::JobWork;
use outboxd::outbox::request::{Notice, Outcome, Request};
use outboxd::outbox::waiting::Turn;
use outboxd::outbox::{
    ActRefused, Action, EventFilter, EventView, ReadError, Receipt, Refused, Selection,
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

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.steps += other.steps;
        self.accepted += other.accepted;
        self.attempts += other.attempts;
        self.delivered += other.delivered;
        self.lives += other.lives;
        self.jumps += other.jumps;
        self.index_lost += other.index_lost;
        self.index_broken += other.index_broken;
        self.stops += other.stops;
        self.threads_died += other.threads_died;
        self.refused_steps += other.refused_steps;
        self.met.no_room += other.met.no_room;
        self.met.read_errors += other.met.read_errors;
        self.met.write_errors += other.met.write_errors;
        self.met.sync_errors += other.met.sync_errors;
        self.met.short_writes += other.met.short_writes;
        self.met.process_crashes += other.met.process_crashes;
        self.met.power_cuts += other.met.power_cuts;
    }
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
    erase_asked: bool,
}

#[derive(Clone, Debug, Default)]
struct Expected {
    /// Attempts that the receiver took.
    successes: u32,
    /// Attempts that ended, and of these the ones whose outcome was said to be stored.
    attempts: u32,
    stored: u32,
    /// Somebody or something may have ended it as dead.
    may_be_dead: bool,
    /// A purge may have removed it.
    may_be_gone: bool,
}

/// A request on its way.
struct Asked {
    events: Vec<(u64, NewEvent, Bytes)>,
    reply: oneshot::Receiver<Result<Vec<Receipt>, Refused>>,
}

/// An action on its way.
struct Acting {
    action: Action,
    reply: oneshot::Receiver<Result<(), ActRefused>>,
}

/// The process, with its engine and what is under way in it.
struct Process {
    store: Store,
    engine: Engine,
    in_flight: Vec<(EndpointNo, Entry)>,
    asked: Vec<Asked>,
    acting: Vec<Acting>,
    /// Records that spoke of something unknown when the log was replayed: of events that
    /// were forgotten, and whose own record is gone with its segment.
    unknown: u64,
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
    /// Accepted, and the machine was gone before the model could look at them.
    owed: Vec<(EventId, u64, NewEvent, Bytes, Timestamp)>,
    next_number: u64,
    endpoints: Vec<EndpointId>,
    up: BTreeMap<EndpointId, bool>,
    /// The endpoints by their numbers, which are never given twice.
    names: HashMap<EndpointNo, EndpointId>,
    pub counts: Counts,
    calm: bool,
    /// Numbers of events that were refused: nothing of them may be there.
    refused: HashSet<u64>,
    keys: HashMap<String, Vec<Timestamp>>,
    /// The latest that the wall clock ever showed.
    latest: Timestamp,
    /// What was found wrong where nothing can be returned.
    wrong: Option<Violation>,
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
            owed: Vec::new(),
            next_number: 1,
            endpoints: (0..ENDPOINTS)
                .map(|n| EndpointId::new(&format!("ep-{n}")).unwrap())
                .collect(),
            up: BTreeMap::new(),
            names: HashMap::new(),
            counts: Counts::default(),
            calm: false,
            refused: HashSet::new(),
            keys: HashMap::new(),
            latest: Timestamp::default(),
            wrong: None,
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
        self.latest = self.latest.max(self.now().wall);
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
        let store = match started {
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
        for (no, lane) in &store.shared.index.read().endpoints {
            self.names.insert(*no, lane.id.clone());
        }
        for lane in endpoint_starts(&store.shared) {
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
        let unknown = store.shared.index.read().unknown;
        self.process = Some(Process {
            store,
            engine,
            in_flight: Vec::new(),
            asked: Vec::new(),
            acting: Vec::new(),
            unknown,
        });
        self.carry_out(commands);
        self.resolve_doubts()?;
        self.check()
    }

    /// What a crash left unanswered is there whole, or not at all.
    fn resolve_doubts(&mut self) -> Result<(), Violation> {
        for (id, number, event, body, accepted_at) in std::mem::take(&mut self.owed) {
            self.remember(id, number, &event, body, accepted_at)?;
        }
        if self.doubtful.is_empty() {
            return Ok(());
        }
        let Some(present) = self.all_events()? else {
            return Ok(());
        };
        for asked in std::mem::take(&mut self.doubtful) {
            let id_of = |number: &u64| present.get(number).copied();
            let there = asked.events.iter().map(|(number, ..)| id_of(number));
            let there: Vec<Option<EventId>> = there.collect();
            let count = there.iter().flatten().count();
            ensure!(
                count == 0 || count == asked.events.len(),
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
                    let number = number.parse().unwrap();
                    ensure!(
                        !self.refused.contains(&number),
                        "{number} was refused and is there"
                    );
                    found.insert(number, event.id);
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
        // An injected fault is there once.
        let view = process.store.outbox.event(id);
        let view = view.or_else(|_| process.store.outbox.event(id));
        let deliveries = match view {
            Ok(view) => view.deliveries,
            Err(_) if self.machine.disk.is_crashed() => {
                let event = event.clone();
                self.owed.push((id, number, event, body, accepted_at));
                return Ok(());
            }
            Err(error) => return Err(format!("{id} was accepted and cannot be read: {error}")),
        };
        let expected = |endpoint| (endpoint, Expected::default());
        let deliveries = deliveries.into_iter().map(|found| expected(found.endpoint));
        let known = Known {
            number,
            body,
            key: event
                .idempotency_key
                .as_ref()
                .map(|key| key.as_str().to_owned()),
            accepted_at,
            deliveries: deliveries.collect(),
            erased: false,
            erase_asked: false,
        };
        if let Some(key) = &known.key {
            self.keys.entry(key.clone()).or_default().push(accepted_at);
        }
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
            process.in_flight.clear();
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
            let key = b
                .is_multiple_of(3)
                .then(|| format!("key-{}", (a as usize + n) % 12));
            let event = NewEvent {
                tenant: Tenant::default(),
                event_type: EventType::new(&format!("n.{number}")).unwrap(),
                payload: Payload::Json(body.clone()),
                key: b
                    .is_multiple_of(2)
                    .then(|| Key::new(&format!("order-{}", b % 5)).unwrap()),
                idempotency_key: key.map(|key| Key::new(&key).unwrap()),
                deliver_at: None,
            };
            self.submitted.insert(number, body.clone());
            events.push((number, event, body));
        }
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
            (9, Some(event)) => {
                if let Some(known) = self.known.get_mut(&event) {
                    known.erase_asked = true;
                }
                Action::Erase { event }
            }
            (10, _) => {
                self.begin_job(endpoint, b);
                return;
            }
            (11, _) if b.is_multiple_of(4) => {
                self.mark_all(&endpoint, |expected| expected.may_be_dead = true);
                Action::Delete { endpoint }
            }
            _ => return,
        };
        let Some(process) = &mut self.process else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        process.acting.push(Acting {
            action: action.clone(),
            reply: answer,
        });
        process.store.writer.enqueue(Request::Act { action, reply });
    }

    /// A replay or a purge, begun as the daemon does; its counting is done at once.
    fn begin_job(&mut self, endpoint: EndpointId, b: u32) {
        let purges = b.is_multiple_of(3);
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
        let work = match purges {
            true => JobWork::Purge,
            false => JobWork::Replay,
        };
        if let Ok(job) = process
            .store
            .outbox
            .job(work, &endpoint, &selection, 1000.0)
        {
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
        let Some(endpoint) = self.names.get(&no).cloned() else {
            return;
        };
        let up = *self.up.get(&endpoint).unwrap_or(&true);
        let ok = up && (!(a / 64).is_multiple_of(8) || self.calm);
        let content = process.store.outbox.content(event, entry.lsn);
        let status = match &content {
            // What cannot be read now is nobody's failure; here it is tried again.
            Err(_) => None,
            Ok(_) if ok => Some(200),
            Ok(_) => Some(503),
        };
        if let Ok(content) = &content {
            let sent = content.body.clone();
            if !self
                .submitted
                .values()
                .any(|body| is_envelope_of(&sent, body))
            {
                self.wrong = Some(format!("{event}: {sent:?} was sent and never handed in"));
            }
        }
        if let Some(known) = self.known.get_mut(&event)
            && let Some(expected) = known.deliveries.get_mut(&endpoint)
        {
            expected.attempts += 1;
            expected.successes += u32::from(status == Some(200));
        }
        self.counts.attempts += 1;
        self.counts.delivered += u64::from(status == Some(200));
        self.ended(no, event, attempt(now.wall, status));
    }

    /// An attempt ended: the engine decides.
    fn ended(&mut self, no: EndpointNo, event: EventId, attempt: Attempt) {
        let outcome = (&attempt).into();
        let commands = self.tell(Input::Ended { no, event, outcome });
        let mut left = Vec::new();
        for command in commands {
            match command {
                Command::Store {
                    no,
                    event,
                    next,
                    disable,
                    awaited,
                } => self.store(no, event, &attempt, next, disable, awaited),
                other => left.push(other),
            }
        }
        self.carry_out(left);
    }

    fn store(
        &mut self,
        no: EndpointNo,
        event: EventId,
        attempt: &Attempt,
        next: Next,
        disable: Option<DisabledReason>,
        awaited: bool,
    ) {
        let Some(process) = &mut self.process else {
            return;
        };
        let outcome = Outcome {
            event,
            no,
            attempt: attempt.clone(),
            ended_at: attempt.at,
            next,
            exact: false,
            disable,
            awaited,
        };
        let request = Request::Outcome(Box::new(outcome));
        process.store.writer.enqueue(request);
        if let (Next::Dead { .. }, Some(id)) = (next, self.names.get(&no).cloned()) {
            self.mark(event, &id, |expected| expected.may_be_dead = true);
        }
    }

    // ---- The engine

    fn tell(&mut self, input: Input) -> Vec<Command> {
        let now = self.now();
        let mut commands = Vec::new();
        if let Some(process) = &mut self.process {
            let engine = &mut process.engine;
            engine.handle(input, now, &mut self.dice, &mut commands);
        }
        commands
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        let mut waiting: std::collections::VecDeque<Command> = commands.into();
        while let Some(command) = waiting.pop_front() {
            let Some(process) = &mut self.process else {
                return;
            };
            let outbox = &process.store.outbox;
            let input = match command {
                Command::Start { no, entry } => {
                    process.in_flight.push((no, entry));
                    continue;
                }
                Command::Refill {
                    no,
                    from,
                    limit,
                    heads,
                } => {
                    let read = match heads {
                        true => outbox.heads(no, from, limit),
                        false => outbox.pending(no, from, limit),
                    };
                    let (entries, next) = read.unwrap_or((Vec::new(), Some(from)));
                    Input::Refilled { no, entries, next }
                }
                Command::Head { no, chain } => match outbox.head(no, chain) {
                    Ok(head) => Input::Headed { no, chain, head },
                    Err(_) => Input::Unread { no, chain },
                },
                Command::Store { .. } | Command::BreakerChanged { .. } => continue,
            };
            waiting.extend(self.tell(input));
        }
    }

    fn noticed(&mut self, notice: Notice) {
        let input = match notice {
            Notice::Queued { no, entry, .. } => Input::Queued { no, entry },
            Notice::Withdrawn { no, event, chain } => Input::Withdrawn {
                no,
                event,
                chain: Some(chain),
            },
            Notice::Stored { no, event } => {
                if let Some(id) = self.names.get(&no).cloned() {
                    self.mark(event, &id, |expected| expected.stored += 1);
                }
                Input::Stored { no, event }
            }
            Notice::Configured { no } => {
                let process = self.process.as_ref();
                let endpoint = process.and_then(|process| process.store.outbox.in_force(no));
                let Some(endpoint) = endpoint else { return };
                self.names.insert(no, endpoint.id.clone());
                let policy = policy(&endpoint);
                Input::Configure { no, policy }
            }
            Notice::Removed { no } => Input::Remove { no },
            Notice::Held { no } => Input::Hold { no },
            Notice::Released { no, at } => Input::Release { no, at },
            Notice::Wanted { no } => Input::Probe { no },
        };
        let commands = self.tell(input);
        self.carry_out(commands);
    }

    /// What the writer told: answers and notices.
    fn told(&mut self) -> Result<(), Violation> {
        loop {
            let Some(process) = &mut self.process else {
                return Ok(());
            };
            let Ok(mut commit) = process.store.commits.try_recv() else {
                break;
            };
            commit.answer();
            self.answered()?;
            for notice in commit.notices {
                self.noticed(notice);
            }
        }
        self.answered()?;
        let due = self
            .process
            .as_ref()
            .and_then(|process| process.engine.next_wake());
        if due.is_some_and(|due| due <= self.now().mono) {
            let commands = self.tell(Input::Wake);
            self.carry_out(commands);
        }
        match self.wrong.take() {
            Some(wrong) => Err(wrong),
            None => Ok(()),
        }
    }

    fn answered(&mut self) -> Result<(), Violation> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let (mut given, mut acted) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < process.asked.len() {
            match process.asked[at].reply.try_recv() {
                Ok(answer) => given.push((process.asked.remove(at), answer)),
                Err(_) => at += 1,
            }
        }
        at = 0;
        while at < process.acting.len() {
            match process.acting[at].reply.try_recv() {
                Ok(answer) => acted.push((process.acting.remove(at).action, answer)),
                Err(_) => at += 1,
            }
        }
        for (asked, answer) in given {
            self.accept_answered(asked, answer)?;
        }
        for (action, answer) in acted {
            match (action, answer) {
                (Action::Erase { event }, Ok(())) => {
                    if let Some(known) = self.known.get_mut(&event) {
                        known.erased = true;
                    }
                }
                (Action::Delete { endpoint }, _) => {
                    self.mark_all(&endpoint, |expected| expected.may_be_dead = true);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn accept_answered(
        &mut self,
        asked: Asked,
        answer: Result<Vec<Receipt>, Refused>,
    ) -> Result<(), Violation> {
        let now = Timestamp::from_millis(self.now_ms());
        self.latest = self.latest.max(now);
        let in_window = |at: &Timestamp| *at + 2 * HOUR >= now;
        let receipts = match answer {
            Ok(receipts) => receipts,
            Err(refused) => {
                if let Refused::KeyReused { index } = refused {
                    let key = asked.events[index].1.idempotency_key.as_ref();
                    let key = key.map(|key| key.as_str().to_owned()).unwrap_or_default();
                    let earlier = asked.events[..index].iter().any(|(_, event, _)| {
                        let other = event.idempotency_key.as_ref();
                        other.is_some_and(|other| other.as_str() == key)
                    });
                    let known = self
                        .keys
                        .get(&key)
                        .is_some_and(|at| at.iter().any(in_window));
                    ensure!(earlier || known, "{key} is called used and was not");
                }
                self.refused
                    .extend(asked.events.iter().map(|(number, ..)| *number));
                return Ok(());
            }
        };
        ensure!(receipts.len() == asked.events.len(), "a receipt is missing");
        for ((number, event, body), receipt) in asked.events.into_iter().zip(receipts) {
            ensure!(!receipt.duplicate, "{number} is called a duplicate");
            ensure!(
                receipt.accepted_at == now,
                "{number} was accepted at {now} and its receipt says {}",
                receipt.accepted_at
            );
            if let Some(key) = &event.idempotency_key {
                let at = self.keys.get(key.as_str());
                // It may have been forgotten while the clock was ahead.
                let latest = self.latest;
                let used = at.is_some_and(|at| at.iter().any(|at| *at + 2 * HOUR >= latest));
                ensure!(!used, "{} was used within its window", key.as_str());
            }
            let id = receipt.id;
            if receipt.deliveries == 0 && self.is_gone(id) {
                if let Some(key) = &event.idempotency_key {
                    let at = self.keys.entry(key.as_str().to_owned());
                    at.or_default().push(receipt.accepted_at);
                }
                // Wanted nowhere, it was history at once, and short of room that goes.
                continue;
            }
            self.remember(id, number, &event, body, receipt.accepted_at)?;
        }
        Ok(())
    }

    fn is_gone(&self, id: EventId) -> bool {
        let found = self.process.as_ref();
        let found = found.map(|process| process.store.outbox.event(id));
        matches!(found, Some(Err(ReadError::NoSuchEvent)))
    }

    // ---- The daemon's own work

    fn look_after(&mut self, a: u32) -> Result<(), Violation> {
        // What comes between the look and the step.
        for n in 0..a % 3 {
            self.end_attempt(a / 8 + n);
        }
        if a.is_multiple_of(5) {
            self.accept(a / 5, a);
        }
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let store = &mut process.store;
        let mut direct = Direct {
            writer: &mut store.writer,
            failed: None,
            refused: 0,
        };
        let looked = match a.is_multiple_of(3) {
            true => store.bulk.round(&mut direct).map(drop),
            false => store.cleaner.look(&mut direct),
        };
        let (failed, refused) = (direct.failed, direct.refused);
        self.counts.refused_steps += refused;
        if let Some(error) = failed {
            return self.process_ends(&error.to_string());
        }
        match looked {
            Ok(()) | Err(Cut::Stopped | Cut::Log(_) | Cut::Refused(_)) => self.told(),
            Err(cut) => Err(format!("maintenance cannot go on: {cut}")),
        }
    }

    fn flush(&mut self) -> Result<(), Violation> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let flushed = process.store.writer.flush_index();
        flushed.map_err(|error| format!("the index cannot be moved: {error}"))
    }

    fn idle(&mut self) -> Result<(), Violation> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        match process.store.writer.idle() {
            Ok(()) => Ok(()),
            Err(error) => self.process_ends(&error.to_string()),
        }
    }

    /// A stop ends, whatever there is room for.
    fn stop(&mut self, must_be_clean: bool) -> Result<(), Violation> {
        if self.without.has("stops") && !must_be_clean {
            return Ok(());
        }
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        process.store.writer.enqueue(Request::Stop);
        for _ in 0..STOP_TURNS {
            let Some(process) = &mut self.process else {
                return Ok(());
            };
            match process.store.writer.turn() {
                Ok(Turn::Stop) => {
                    self.told()?;
                    self.counts.stops += 1;
                    self.leave_doubts();
                    if let Some(process) = self.process.take() {
                        process.store.writer.finish();
                    }
                    return Ok(());
                }
                Ok(Turn::Go) => self.told()?,
                Err(error) => return self.process_ends(&error.to_string()),
            }
        }
        Err(format!("a stop does not end within {STOP_TURNS} turns"))
    }

    /// A thread that dies does not do so in silence.
    fn thread_dies(&mut self) -> Result<(), Violation> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let shared = process.store.shared.clone();
        // Unlike a panic this prints nothing.
        let dies = || std::panic::resume_unwind(Box::new("it died"));
        let thread = supervise("cleaner", shared.clone(), dies).unwrap();
        thread.join().unwrap();
        let told = shared.failed.borrow().is_some();
        ensure!(told, "a thread died in silence");
        self.counts.threads_died += 1;
        self.leave_doubts();
        self.process = None;
        self.machine.disk.kill();
        Ok(())
    }

    // ---- Accidents

    fn harm(&mut self, a: u32, b: u32) -> Result<(), Violation> {
        let disk = self.machine.disk.clone();
        let soon = b % 24;
        let plan = |kind: &str, fault| {
            if !self.without.has(kind) {
                disk.plan(fault, soon);
            }
        };
        match a % 16 {
            0 | 1 if !self.without.has("room") => disk.set_room(u64::from(b % 40_000)),
            2 => disk.set_room(ROOM),
            3 => plan("read", Fault::Read),
            4 => plan("write", Fault::Write),
            5 => plan("sync", Fault::Sync),
            6 | 7 if !self.without.has("kill") => disk.plan(Fault::Crash, soon),
            8 if !self.without.has("short") => disk.set_short_writes(true),
            9 => disk.heal(),
            10 if !self.without.has("kill") => self.die(false),
            11 | 12 if !self.without.has("power") => self.die(true),
            13 if !self.without.has("index") => {
                if b.is_multiple_of(2) {
                    self.die(false);
                    self.machine.index.lose();
                    self.counts.index_lost += 1;
                } else {
                    self.machine.index.set_broken(b % 4 == 1);
                    self.counts.index_broken += 1;
                }
            }
            14 | 15 if !self.without.has("jumps") => {
                let by = [3_600_000, 86_400_000, 315_360_000_000][b as usize % 3];
                let wall = &self.machine.clock.wall;
                let now = wall.load(Relaxed);
                let after = match b / 3 % 2 {
                    0 => now.saturating_add(by).min(4_000_000_000_000),
                    _ => now.saturating_sub(by).max(1_700_000_000_000),
                };
                wall.store(after, Relaxed);
                self.counts.jumps += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn die(&mut self, power: bool) {
        self.leave_doubts();
        self.process = None;
        match power {
            true => self.cut_power(),
            false => self.machine.disk.kill(),
        }
    }

    // ---- What has to be true

    /// Holds the model against the store, unless the disk is about to fail a read.
    fn check(&mut self) -> Result<(), Violation> {
        if self.machine.disk.is_harmed() {
            return Ok(());
        }
        let Some(process) = &self.process else {
            return Ok(());
        };
        let outbox = &process.store.outbox;
        {
            let state = process.store.shared.index.read();
            state.check().map_err(|error| error.to_string())?;
            let unknown = state.unknown - process.unknown;
            ensure!(unknown == 0, "{unknown} records are unknown");
        }
        let status = outbox.status();
        ensure!(
            status.damaged_records == 0,
            "{} records count as damaged",
            status.damaged_records
        );
        ensure!(
            status.holds.most_rows <= 2 * HOLD_ROWS,
            "a read held the index for {} rows",
            status.holds.most_rows
        );
        for (id, known) in &self.known {
            check_event(*id, known, outbox.event(*id))?;
        }
        Ok(())
    }

    /// Everything is healed: all that can finish does, within bounded work.
    fn settle(&mut self) -> Result<(), Violation> {
        self.calm = true;
        self.up.clear();
        self.machine.disk.heal();
        self.machine.disk.set_room(64 * ROOM);
        self.machine.index.set_broken(false);
        for round in 0.. {
            ensure!(round < 4000, "not all comes to its end: {}", self.stuck());
            if self.process.is_none() {
                self.start()?;
                continue;
            }
            if round % 50 == 0 {
                self.enable_all();
            }
            self.turn()?;
            self.crash_if_due()?;
            while self
                .process
                .as_ref()
                .is_some_and(|process| !process.in_flight.is_empty())
            {
                self.end_attempt(1);
            }
            self.turn()?;
            self.look_after(if round % 2 == 0 { 3 } else { 1 })?;
            if self.is_done() {
                break;
            }
            let wake = self
                .process
                .as_ref()
                .and_then(|process| process.engine.next_wake());
            let mono = self.now().mono;
            let wait = wake.map_or(1000, |at| at.saturating_sub(mono).as_millis() as u64 + 1);
            self.pass(wait.clamp(1, 3_600_000));
        }
        self.check()?;
        self.stop(true)?;
        self.start()?;
        ensure!(self.process.is_some(), "a healed machine does not start");
        self.check()
    }

    fn enable_all(&mut self) {
        for endpoint in self.endpoints.clone() {
            let Some(process) = &mut self.process else {
                return;
            };
            let (reply, _) = oneshot::channel();
            let action = Action::Enable { endpoint };
            process.store.writer.enqueue(Request::Act { action, reply });
        }
    }

    fn is_done(&self) -> bool {
        let Some(process) = &self.process else {
            return false;
        };
        let open = process.store.outbox.status().deliveries;
        let busy = !process.in_flight.is_empty() || !process.asked.is_empty();
        let state = process.store.shared.index.read();
        let open_still = state
            .endpoints
            .values()
            .filter(|lane| lane.deleted.is_some());
        let mut open_still = open_still.map(|lane| lane.totals.pending + lane.totals.held);
        let working = open_still.any(|open| open > 0) || state.has_jobs();
        open.pending + open.held == 0 && !busy && !working
    }

    fn stuck(&self) -> String {
        let Some(process) = &self.process else {
            return "there is no process".into();
        };
        let stats = process.engine.stats();
        format!("{:?}, {stats:?}", process.store.outbox.status().deliveries)
    }
}

fn check_event(
    id: EventId,
    known: &Known,
    found: Result<EventView, ReadError>,
) -> Result<(), Violation> {
    let number = known.number;
    let over = |expected: &Expected| {
        expected.successes > 0 || expected.may_be_dead || expected.may_be_gone
    };
    let view = match found {
        Ok(view) => view,
        Err(ReadError::Erased) => {
            ensure!(
                known.erase_asked,
                "{number} counts as erased and nobody asked for it"
            );
            return Ok(());
        }
        Err(ReadError::NoSuchEvent) => {
            let finished = known.deliveries.values().all(over) || known.erase_asked;
            ensure!(
                finished,
                "{number} ({id}) was accepted, is not finished, and is gone"
            );
            return Ok(());
        }
        Err(error) => return Err(format!("{number} ({id}) cannot be read: {error}")),
    };
    ensure!(!known.erased, "{number} was erased and is shown");
    let Payload::Json(data) = &view.payload else {
        return Err(format!("{number} is no JSON any more"));
    };
    ensure!(*data == known.body, "{number} has another body");
    ensure!(
        view.summary.accepted_at == known.accepted_at,
        "{number} was accepted at {} and says {}",
        known.accepted_at,
        view.summary.accepted_at
    );
    for delivery in &view.deliveries {
        let at = &delivery.endpoint;
        let Some(expected) = known.deliveries.get(at) else {
            return Err(format!("{number} goes to {at} and did not at first"));
        };
        let status = delivery.status;
        ensure!(
            status != Status::Delivered || expected.successes > 0,
            "{number} counts as delivered at {at}, which never took it"
        );
        ensure!(
            status != Status::Dead || expected.may_be_dead,
            "{number} is dead at {at} ({:?}) without a reason",
            delivery.reason
        );
        ensure!(
            (expected.stored..=expected.attempts).contains(&delivery.attempt_count),
            "{number} at {at} counts {} attempts; {} ended and {} were said to be stored",
            delivery.attempt_count,
            expected.attempts,
            expected.stored
        );
    }
    for (endpoint, expected) in &known.deliveries {
        let there = view
            .deliveries
            .iter()
            .any(|found| found.endpoint == *endpoint);
        ensure!(
            there || expected.may_be_gone,
            "{number} had a delivery to {endpoint} that is gone"
        );
    }
    Ok(())
}

/// Whether `sent` is the envelope around `data`.
fn is_envelope_of(sent: &[u8], data: &[u8]) -> bool {
    let tail = sent.len().checked_sub(data.len() + 1);
    tail.is_some_and(|at| sent[at..sent.len() - 1] == *data)
}

fn attempt(at: Timestamp, status: Option<u16>) -> Attempt {
    let error = match status {
        Some(200) => None,
        Some(_) => Some(ErrorKind::Status),
        None => Some(ErrorKind::Local),
    };
    Attempt {
        at,
        duration: Duration::ZERO,
        status,
        error: error.map(|kind| AttemptError {
            kind,
            detail: "simulated".into(),
        }),
        response_body: Bytes::from_static(b"answer"),
        address: None,
        retry_after: None,
    }
}

fn policy(endpoint: &Endpoint) -> LanePolicy {
    LanePolicy {
        tenant: endpoint.tenant.clone(),
        max_in_flight: endpoint.max_in_flight,
        retry: endpoint.retry.clone(),
        ordering: endpoint.ordering,
        rate_limit: endpoint.rate_limit,
    }
}

fn spec(b: u32) -> EndpointSpec {
    EndpointSpec {
        tenant: Tenant::default(),
        url: "https://example.com/".parse().unwrap(),
        types: vec![TypePattern::Any],
        secrets: Vec::new(),
        headers: http::HeaderMap::new(),
        max_in_flight: 1 + b as usize % 4,
        rate_limit: None,
        ordering: [Ordering::None, Ordering::Key, Ordering::Strict][b as usize % 3],
        timeout: None,
        retry: RetryOverrides {
            schedule: b
                .is_multiple_of(4)
                .then(|| vec![Duration::from_secs(1), Duration::from_secs(5)]),
            ..RetryOverrides::default()
        },
        description: String::new(),
    }
}
