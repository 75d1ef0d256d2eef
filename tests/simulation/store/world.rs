//! One history: users hand in events and act on them, receivers take them or not, the disk
//! fails, the machine crashes; after every step a model says what has to be true.

/// Ends with a violation unless something holds.
macro_rules! ensure {
    ($holds:expr, $($said:tt)*) => {
        if !$holds {
            return Err(format!($($said)*));
        }
    };
}

mod accidents;
mod checks;
mod crowd;
mod engine;
mod process;
mod secrets;
mod sources;
mod upkeep;
mod users;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use outboxd::domain::endpoint::{EndpointId, EndpointNo};
use outboxd::domain::engine::{Engine, Entry, Now};
use outboxd::domain::event::{EventId, NewEvent};
use outboxd::domain::time::Timestamp;
use outboxd::outbox::{ActRefused, Action, Receipt, Refused};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;

use self::checks::Looks;
use self::sources::Sources;
use super::counts::{Counts, Without};
use super::disk::SimDisk;
use super::machine::{IndexFiles, Machine, SimClock, Store};

/// The endpoints of a history.
const ENDPOINTS: usize = 4;
/// How many histories meet a crowd.
const CROWDED: f64 = 0.08;
/// What a disk has room for, in bytes.
const ROOM: u64 = 1 << 20;

/// Why a history is wrong.
pub type Violation = String;

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

/// A request of very many events that no endpoint wants.
enum Crowd {
    /// It was not handed in, or was refused.
    Absent,
    Asked(oneshot::Receiver<Result<Vec<Receipt>, Refused>>),
    /// A crash left it unanswered: all of it is there, or nothing.
    Doubtful,
    Accepted,
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
    /// The disk was nearly full before the last crash.
    was_short: bool,
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
    /// The deliveries that sources took in, by their keys.
    taken: HashMap<String, Vec<(EventId, Timestamp)>>,
    /// What has to be stored of sources.
    sources: Sources,
    /// How many secrets were given out, each once.
    secrets: u64,
    /// The secrets of which one is the newest of an endpoint: several where a crash left a change
    /// unanswered.
    newest: BTreeMap<EndpointId, Vec<u64>>,
    /// Changes of sources that a crash left unanswered: each was done, or not.
    doubtful_acts: Vec<Action>,
    /// The latest that the wall clock ever showed.
    latest: Timestamp,
    /// The step at which very many events come at once, and what became of them.
    crowd_at: Option<u64>,
    crowd: Crowd,
    /// Counts checks, so that each looks at other events.
    checks: u64,
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
            was_short: false,
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
            taken: HashMap::new(),
            sources: Sources::new(),
            secrets: 0,
            newest: BTreeMap::new(),
            doubtful_acts: Vec::new(),
            latest: Timestamp::default(),
            crowd_at: rng.random_bool(CROWDED).then(|| rng.random_range(20..200)),
            crowd: Crowd::Absent,
            checks: 0,
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
        let steps = self.counts.steps;
        if self.crowd_at.take_if(|at| *at <= steps).is_some() && !self.without.has("crowd") {
            self.meet_crowd()?;
        }
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
            95..98 => self.change_sources(a, b),
            _ => self.idle()?,
        }
        self.turn()?;
        self.latest = self.latest.max(self.now().wall);
        self.crash_if_due()?;
        if kind % 8 == 0 {
            self.check(Looks::Sample)?;
        }
        Ok(())
    }
}
