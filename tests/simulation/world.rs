//! One world: an engine, its outbox, its receivers, its users and its accidents.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use outboxd::config::policy::check_retry;
use outboxd::domain::attempt::ErrorKind;
use outboxd::domain::backoff::probe_delay;
use outboxd::domain::delivery::{Next, Reason, Status};
use outboxd::domain::endpoint::{EndpointNo, Ordering, Rate};
use outboxd::domain::engine::{
    Command, ENDPOINT_CHAIN, Engine, Entry, Input, LANE_WINDOW, LanePolicy, Lost, MAX_SETTLING,
    Now, Outcome,
};
use outboxd::domain::event::{EventId, Tenant};
use outboxd::domain::retry::RetryPolicy;
use outboxd::domain::time::Timestamp;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::model::{Id, Outbox, Record};
use super::receiver::{Receiver, about};

const SLOW: Duration = Duration::from_secs(1);
/// Stored times are whole milliseconds.
const GRAIN: Duration = Duration::from_millis(2);

/// What the model knows of an endpoint while the process lives.
struct Lane {
    policy: LanePolicy,
    receiver: Receiver,
    held: bool,
    removed: bool,
    last_was_slow: bool,
    failures: u32,
    open: Option<Open>,
    paused_until: Duration,
    /// Local faults in a row, of different rounds, and when the last came.
    local: (u32, Duration),
    /// The lane may wait until then for their sake, and must for the shorter while.
    local_until: Duration,
    in_flight: usize,
    refilling: bool,
    /// Chains that the index is being asked about.
    asking: HashSet<u64>,
    excused_until: Duration,
    /// When the rate limit has all its tokens again.
    tokens_full_at: Duration,
}

impl Lane {
    /// Whether the rate limit lets an attempt start.
    fn has_token(&self, mono: Duration) -> bool {
        let Some(rate) = self.policy.rate_limit else {
            return true;
        };
        let burst = (rate.per_second * 0.1).max(1.0);
        let missing = self.tokens_full_at.saturating_sub(mono).as_secs_f64() * rate.per_second;
        burst - missing >= 1.0 - 1e-6
    }

    fn take_token(&mut self, mono: Duration) {
        if let Some(rate) = self.policy.rate_limit {
            let step = Duration::from_secs_f64(1.0 / rate.per_second);
            self.tokens_full_at = self.tokens_full_at.max(mono) + step;
        }
    }

    fn set_policy(&mut self, policy: LanePolicy, mono: Duration) {
        let unlimited = self.policy.rate_limit.is_none();
        self.policy = policy;
        self.tokens_full_at = match self.policy.rate_limit {
            Some(rate) if !unlimited => {
                let empty = Duration::from_secs_f64((1.0 / rate.per_second).max(0.1));
                self.tokens_full_at.min(mono + empty)
            }
            _ => Duration::ZERO,
        };
    }
}

/// A few events have a body that fails its checksum.
fn is_damaged(event: EventId) -> bool {
    event.0.is_multiple_of(97)
}

/// A few cannot be rendered.
fn is_unrenderable(event: EventId) -> bool {
    event.0.is_multiple_of(89)
}

struct Open {
    k: u32,
    /// The next probe may come then, and must come by then.
    earliest: Duration,
    latest: Duration,
    probe: Option<EventId>,
}

impl Open {
    fn new(k: u32, mono: Duration, retry: &RetryPolicy) -> Open {
        let delay = probe_delay(retry, k);
        Open {
            k,
            earliest: mono + delay.mul_f64((1.0 - retry.jitter) * 0.999_999),
            latest: mono + delay,
            probe: None,
        }
    }
}

struct Busy {
    entry: Entry,
    started: Duration,
    ends: Duration,
    outcome: Outcome,
    settling: bool,
    again: Option<Entry>,
    retried: Option<Entry>,
    withdrawn: bool,
}

/// An answer to a refill that takes a while.
struct Reading {
    no: EndpointNo,
    answer: Input,
    fails: bool,
}

pub struct World {
    rng: SmallRng,
    dice: SmallRng,
    engine: Engine,
    outbox: Outbox,
    lanes: BTreeMap<EndpointNo, Lane>,
    busy: HashMap<Id, Busy>,
    ends: BTreeSet<(Duration, Id)>,
    readings: BTreeMap<(Duration, u64), Reading>,
    /// What the engine can know to be pending, and not busy.
    visible: HashMap<Id, Entry>,
    visible_by_due: BTreeSet<(EndpointNo, Timestamp, EventId)>,
    /// Once by the chain of its key, once by that of the endpoint.
    visible_by_chain: BTreeSet<(EndpointNo, u64, EventId)>,
    /// What the engine was told is no longer pending.
    gone: HashSet<Id>,
    /// When the present budget truly began.
    budgets: HashMap<Id, Duration>,
    time: Duration,
    started: Duration,
    skew_ms: i64,
    next_action: Duration,
    calm: bool,
    limit: usize,
    jumps: bool,
    jumped: bool,
    late_readings: bool,
    last_event: u128,
    last_reading: u64,
    pub attempts: u64,
    pub crashes: u64,
    pub local_faults: u64,
    pub lost: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = SmallRng::seed_from_u64(seed);
        let limit = [1, 2, 3, 8, 32, 64][rng.random_range(0..6)];
        let mut world = World {
            dice: SmallRng::seed_from_u64(!seed),
            engine: Engine::new(limit),
            outbox: Outbox::default(),
            lanes: BTreeMap::new(),
            busy: HashMap::new(),
            ends: BTreeSet::new(),
            readings: BTreeMap::new(),
            visible: HashMap::new(),
            visible_by_due: BTreeSet::new(),
            visible_by_chain: BTreeSet::new(),
            gone: HashSet::new(),
            budgets: HashMap::new(),
            time: Duration::ZERO,
            started: Duration::ZERO,
            skew_ms: 0,
            next_action: Duration::ZERO,
            calm: false,
            limit,
            jumps: rng.random_bool(0.4),
            jumped: false,
            late_readings: rng.random_bool(0.6),
            last_event: 1 << 80,
            last_reading: 0,
            attempts: 0,
            crashes: 0,
            local_faults: 0,
            lost: 0,
            rng,
        };
        for no in 0..world.rng.random_range(1..12) {
            let lane = world.new_lane();
            world.lanes.insert(EndpointNo(no), lane);
            world.configure(EndpointNo(no));
        }
        world
    }

    pub fn delivered(&self) -> usize {
        self.count(Status::Delivered)
    }

    pub fn dead(&self) -> usize {
        self.count(Status::Dead)
    }

    fn count(&self, status: Status) -> usize {
        let kept = self.outbox.kept.values();
        kept.filter(|kept| kept.delivery.status == status).count()
    }

    fn new_lane(&mut self) -> Lane {
        let policy = self.any_policy();
        Lane {
            policy,
            receiver: Receiver::any(&mut self.rng),
            held: false,
            removed: false,
            last_was_slow: false,
            failures: 0,
            open: None,
            paused_until: Duration::ZERO,
            local: (0, Duration::ZERO),
            local_until: Duration::ZERO,
            in_flight: 0,
            refilling: false,
            asking: HashSet::new(),
            excused_until: Duration::ZERO,
            tokens_full_at: Duration::ZERO,
        }
    }

    fn any_policy(&mut self) -> LanePolicy {
        let rng = &mut self.rng;
        let seconds = |all: &[u64]| all.iter().map(|&s| Duration::from_secs(s)).collect();
        let retry = RetryPolicy {
            first: Duration::from_millis(rng.random_range(50..10_000)),
            factor: rng.random_range(1.0..4.0),
            max: Duration::from_secs(rng.random_range(60..7200)),
            jitter: if rng.random_bool(0.3) { 0.0 } else { 0.5 },
            give_up_after: Duration::from_secs(rng.random_range(600..86_400)),
            schedule: if rng.random_bool(0.2) {
                seconds(&[1, 60, 600])
            } else {
                Vec::new()
            },
        };
        assert_eq!(check_retry(&retry), []);
        LanePolicy {
            tenant: Tenant::new(["a", "b", "c"][rng.random_range(0..3)]).unwrap(),
            max_in_flight: rng.random_range(1..20),
            retry: Arc::new(retry),
            ordering: [
                Ordering::None,
                Ordering::None,
                Ordering::Key,
                Ordering::Strict,
            ][rng.random_range(0..4)],
            rate_limit: rng.random_bool(0.3).then(|| Rate {
                per_second: [0.2, 3.0, 20.0, 300.0][rng.random_range(0..4)],
            }),
        }
    }

    fn now(&self) -> Now {
        let base = 1_800_000_000_000i64 + self.skew_ms;
        Now {
            wall: Timestamp::from_millis((base + self.time.as_millis() as i64) as u64),
            mono: self.time - self.started,
        }
    }

    // What happens next.

    /// Lets the next thing happen, whatever it is.
    pub fn step(&mut self) {
        let wake = self.engine.next_wake().map(|at| at + self.started);
        let end = self.ends.first().map(|&(at, _)| at);
        let reading = self.readings.first_key_value().map(|(&(at, _), _)| at);
        let action = (!self.calm).then_some(self.next_action);
        let times = [
            action,
            end,
            self.outbox.next_commit(),
            self.outbox.next_notice(),
            reading,
            wake,
        ];
        let Some((which, at)) = times
            .into_iter()
            .enumerate()
            .filter_map(|(which, at)| Some((which, at?)))
            .min_by_key(|&(_, at)| at)
        else {
            return;
        };
        self.time = self.time.max(at);
        match which {
            0 => self.act(),
            1 => self.end(),
            2 => {
                let delay = self.delay(5);
                self.outbox.commit(self.time + delay);
            }
            3 => self.tell(),
            4 => self.answer(),
            _ => self.handle(Input::Wake),
        }
        self.check();
    }

    fn delay(&mut self, most_ms: u64) -> Duration {
        Duration::from_micros(self.rng.random_range(0..=most_ms * 1000))
    }

    fn end(&mut self) {
        let Some((_, id)) = self.ends.pop_first() else {
            return;
        };
        if !self.outbox.kept.contains_key(&id) && self.rng.random_bool(0.7) {
            return self.lose(id, Lost::Erased);
        }
        if is_damaged(id.1) {
            return self.lose(id, Lost::Damaged);
        }
        if is_unrenderable(id.1) {
            return self.lose(id, Lost::Unrenderable);
        }
        let outcome = self.busy[&id].outcome;
        self.note_end(id, outcome);
        self.handle(Input::Ended {
            no: id.0,
            event: id.1,
            outcome,
        });
        assert!(self.busy[&id].settling, "{id:?}: no outcome stored");
    }

    /// An attempt finds nothing to send: its slot is free, and nothing else changes.
    fn lose(&mut self, id: Id, why: Lost) {
        self.lost += 1;
        let mono = self.now().mono;
        let lane = self.lanes.get_mut(&id.0).unwrap();
        lane.in_flight -= 1;
        if let Some(open) = lane.open.as_mut().filter(|open| open.probe == Some(id.1)) {
            open.probe = None;
            (open.earliest, open.latest) = (mono, mono);
        }
        if why == Lost::Erased {
            self.busy.remove(&id);
            self.gone.insert(id);
        }
        self.handle(Input::Lost {
            no: id.0,
            event: id.1,
            why,
        });
        if why != Lost::Erased {
            assert!(self.busy[&id].settling, "{id:?}: its end is not stored");
        }
    }

    /// The model's breaker, pause and standing.
    fn note_end(&mut self, id: Id, outcome: Outcome) {
        let (mono, took) = (self.now().mono, self.time - self.busy[&id].started);
        let lane = self.lanes.get_mut(&id.0).unwrap();
        lane.in_flight -= 1;
        if outcome.is_local() {
            // Neither its standing, its failures nor its breaker change.
            if let Some(open) = lane.open.as_mut().filter(|open| open.probe == Some(id.1)) {
                open.probe = None;
                open.earliest = mono;
                open.latest = mono + Duration::from_secs(1);
            }
            let (rounds, last) = lane.local;
            if rounds == 0 || mono - took >= last {
                lane.local = (rounds + 1, mono);
                let doubled = Duration::from_secs(1 << rounds.saturating_sub(1).min(6));
                if rounds > 0 {
                    lane.local_until = mono + doubled.min(Duration::from_secs(60));
                }
            }
            return;
        }
        lane.local = (0, Duration::ZERO);
        lane.local_until = Duration::ZERO;
        lane.last_was_slow = outcome.error == Some(ErrorKind::Timeout) || took > SLOW;
        if outcome.is_success() {
            lane.failures = 0;
            lane.open = None;
            return;
        }
        lane.failures += 1;
        match &mut lane.open {
            Some(open) if open.probe == Some(id.1) => {
                *open = Open::new(open.k + 1, mono, &lane.policy.retry);
            }
            None if lane.failures >= 5 => {
                lane.open = Some(Open::new(1, mono, &lane.policy.retry));
            }
            _ => {}
        }
        if let (Some(429 | 503), Some(wait)) = (outcome.status, outcome.retry_after) {
            let until = mono + wait.min(lane.policy.retry.max);
            lane.paused_until = lane.paused_until.max(until);
        }
    }

    fn tell(&mut self) {
        let Some((_, mut input)) = self.outbox.notices.pop_front() else {
            return;
        };
        if let Input::Withdrawn { chain, .. } = &mut input
            && self.rng.random_bool(0.2)
        {
            // The event is no longer kept.
            *chain = None;
        }
        match input {
            Input::Queued { no, entry } => {
                let id = (no, entry.event);
                let from_now = entry.due.since(self.now().wall);
                self.budgets.insert(id, self.time + from_now);
                self.gone.remove(&id);
                match self.busy.get_mut(&id) {
                    None => self.show(id, entry),
                    Some(busy) => {
                        busy.withdrawn = false;
                        if !busy.settling && entry != busy.entry {
                            busy.retried = Some(entry);
                        }
                    }
                }
            }
            Input::Withdrawn { no, event, .. } => {
                let id = (no, event);
                self.gone.insert(id);
                self.hide(id);
                if let Some(busy) = self.busy.get_mut(&id) {
                    busy.withdrawn = true;
                    busy.retried = None;
                }
            }
            Input::Stored { no, event } => {
                let id = (no, event);
                let busy = self.busy.remove(&id).expect("stored what was busy");
                match busy.again.filter(|_| !busy.withdrawn) {
                    Some(entry) => self.show(id, entry),
                    None => {
                        self.gone.insert(id);
                    }
                }
            }
            Input::Hold { no } => self.lanes.get_mut(&no).unwrap().held = true,
            Input::Release { no, .. } => self.note_release(no),
            Input::Remove { no } => {
                let lane = self.lanes.get_mut(&no).unwrap();
                lane.held = true;
                lane.removed = true;
            }
            _ => {}
        }
        self.handle(input);
    }

    fn note_release(&mut self, no: EndpointNo) {
        let lane = self.lanes.get_mut(&no).unwrap();
        lane.held = false;
        lane.failures = 0;
        lane.open = None;
        lane.paused_until = Duration::ZERO;
        for ((of, _), from) in &mut self.budgets {
            if *of == no {
                *from = (*from).max(self.time);
            }
        }
    }

    fn answer(&mut self) {
        let Some((_, reading)) = self.readings.pop_first() else {
            return;
        };
        let Reading { no, answer, fails } = reading;
        let mono = self.now().mono;
        let lane = self.lanes.get_mut(&no).unwrap();
        match &answer {
            Input::Headed { chain, .. } | Input::Unread { chain, .. } => {
                lane.asking.remove(chain);
            }
            _ => lane.refilling = false,
        }
        if fails {
            lane.excused_until = mono + Duration::from_secs(1);
        }
        self.handle(answer);
    }

    // What users and accidents do.

    fn act(&mut self) {
        let mean = Duration::from_millis([20, 200, 5000, 60_000][self.rng.random_range(0..4)]);
        self.next_action = self.time + about(mean, &mut self.rng);
        let nos: Vec<EndpointNo> = self.lanes.keys().copied().collect();
        let no = nos[self.rng.random_range(0..nos.len())];
        let at = self.now().wall;
        let durable_at = self.time + self.delay(20);
        match self.rng.random_range(0..200) {
            0..120 => self.accept(no, durable_at),
            120..140 => {
                if let Some(id) = self.some_delivery(no) {
                    self.outbox.append(durable_at, Record::Retried { id, at });
                }
            }
            140..155 => {
                if let Some(id) = self.some_delivery(no) {
                    self.outbox.append(durable_at, Record::Cancelled { id, at });
                }
            }
            155 => {
                if let Some(id) = self.some_delivery(no) {
                    self.outbox.append(durable_at, Record::Erased(id));
                }
            }
            156..162 => self.outbox.append(durable_at, Record::Disabled(no)),
            162..174 => self.outbox.append(durable_at, Record::Enabled(no, at)),
            174..186 => {
                self.lanes.get_mut(&no).unwrap().receiver = Receiver::any(&mut self.rng);
            }
            186..189 => {
                let tenant = self.lanes[&no].policy.tenant.clone();
                let policy = self.any_policy();
                let mono = self.now().mono;
                let lane = self.lanes.get_mut(&no).unwrap();
                lane.set_policy(LanePolicy { tenant, ..policy }, mono);
                if !self.lanes[&no].removed {
                    self.configure(no);
                }
            }
            189..192 => {
                if let Some(open) = &mut self.lanes.get_mut(&no).unwrap().open {
                    open.earliest = Duration::ZERO;
                    open.latest = Duration::ZERO;
                }
                self.handle(Input::Probe { no });
            }
            192..194 => {
                self.limit = self.rng.random_range(1..64);
                let max_in_flight = self.limit;
                self.handle(Input::Limits { max_in_flight });
            }
            194 if nos.len() > 2 => self.outbox.append(durable_at, Record::Removed(no, at)),
            195 => {
                self.handle(Input::Backlog { no });
            }
            196..198 if self.jumps => self.jump(),
            198..200 => self.crash(),
            _ => {}
        }
    }

    fn accept(&mut self, no: EndpointNo, durable_at: Duration) {
        let many = self.rng.random_bool(0.03);
        let count = if many {
            self.rng.random_range(100..700)
        } else {
            self.rng.random_range(1..6)
        };
        let keys = [1, 2, 4, 400][self.rng.random_range(0..4)];
        for _ in 0..count {
            let chain = self.rng.random_range(0..=keys);
            self.last_event += self.rng.random_range(1..1000);
            let exact = self.rng.random_bool(0.05);
            let wait = Duration::from_secs(self.rng.random_range(1..20_000));
            let wait = if exact { wait } else { Duration::ZERO };
            let id = (no, EventId(self.last_event));
            let due = self.now().wall + wait;
            self.outbox.append(
                durable_at,
                Record::Accepted {
                    id,
                    due,
                    exact,
                    chain,
                },
            );
        }
    }

    fn some_delivery(&mut self, no: EndpointNo) -> Option<Id> {
        let range = (no, EventId(0))..=(no, EventId(u128::MAX));
        match self.rng.random_range(0..4) {
            0 => {
                let busy = self.busy.keys().filter(|id| range.contains(id));
                return busy.min().copied();
            }
            1 => {
                let waiting = self.visible_by_due.iter().find(|id| id.0 == no);
                return waiting.map(|&(no, _, event)| (no, event));
            }
            _ => {}
        }
        let all = self.outbox.kept.keys().filter(|id| id.0 == no);
        // In a fixed order: a hash map's differs from run to run.
        let first = EventId(self.rng.random_range((1 << 80)..=self.last_event));
        all.copied().filter(|id| id.1 >= first).min()
    }

    fn jump(&mut self) {
        let span = [3_000, 600_000, 40_000_000, 200_000_000_000][self.rng.random_range(0..4)];
        let span = self.rng.random_range(2_000..=span);
        let back = self.rng.random_bool(0.5);
        self.skew_ms += if back { -span } else { span };
        self.jumped = true;
        // The engine sees it with whatever comes next.
        self.handle(Input::Wake);
    }

    /// The process dies and comes back.
    fn crash(&mut self) {
        self.crashes += 1;
        self.outbox.crash();
        self.busy.clear();
        self.ends.clear();
        self.readings.clear();
        self.visible.clear();
        self.visible_by_due.clear();
        self.visible_by_chain.clear();
        self.gone.clear();
        self.time += Duration::from_millis(self.rng.random_range(10..100_000));
        self.started = self.time;
        self.engine = Engine::new(self.limit);
        for lane in self.lanes.values_mut() {
            lane.in_flight = 0;
        }
        let nos: Vec<EndpointNo> = self.lanes.keys().copied().collect();
        for no in nos {
            self.restart(no);
        }
    }

    fn restart(&mut self, no: EndpointNo) {
        let state = self.outbox.endpoints.get(&no).copied().unwrap_or_default();
        let lane = self.lanes.get_mut(&no).unwrap();
        let attempts = state.failing.map_or(0, |(_, attempts)| attempts);
        *lane = Lane {
            policy: lane.policy.clone(),
            receiver: lane.receiver,
            held: state.disabled || state.removed,
            removed: state.removed,
            last_was_slow: false,
            failures: attempts,
            open: (attempts >= 5).then_some(Open {
                k: 1,
                earliest: Duration::ZERO,
                latest: Duration::ZERO,
                probe: None,
            }),
            paused_until: Duration::ZERO,
            local: (0, Duration::ZERO),
            local_until: Duration::ZERO,
            in_flight: 0,
            refilling: false,
            asking: HashSet::new(),
            excused_until: Duration::ZERO,
            tokens_full_at: Duration::ZERO,
        };
        if state.removed {
            return;
        }
        let pending: Vec<Entry> = self.outbox.pending(no).collect();
        for &entry in &pending {
            self.show((no, entry.event), entry);
        }
        self.configure(no);
        if state.disabled {
            self.handle(Input::Hold { no });
        }
        self.handle(Input::Restored {
            no,
            failing: state.failing,
            released_at: state.released_at,
            backlog: !pending.is_empty(),
        });
    }

    fn configure(&mut self, no: EndpointNo) {
        let policy = self.lanes[&no].policy.clone();
        self.handle(Input::Configure { no, policy });
    }

    // What the engine does.

    fn handle(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut commands = Vec::new();
            let now = self.now();
            self.engine
                .handle(input, now, &mut self.dice, &mut commands);
            if let Some(wake) = self.engine.next_wake() {
                assert!(wake > now.mono, "wakes for what is done");
            }
            for (no, lane) in &mut self.lanes {
                // A lane without work is forgotten, and this with it.
                if self.engine.lane(*no, now).is_none() {
                    lane.local = (0, Duration::ZERO);
                    lane.local_until = Duration::ZERO;
                }
            }
            for command in commands {
                match command {
                    Command::Start { no, entry } => self.start(no, entry),
                    Command::Store {
                        no,
                        event,
                        next,
                        disable,
                        ..
                    } => self.store((no, event), next, disable.is_some()),
                    Command::Refill {
                        no,
                        from,
                        limit,
                        heads,
                    } => {
                        let lane = self.lanes.get_mut(&no).unwrap();
                        assert!(!lane.refilling && limit > 0 && limit <= LANE_WINDOW);
                        lane.refilling = self.late_readings;
                        let (entries, next) = if heads {
                            self.outbox.read_heads(no, from, limit)
                        } else {
                            self.outbox.read(no, from, limit)
                        };
                        let failed = Input::Refilled {
                            no,
                            entries: Vec::new(),
                            next: Some(from),
                        };
                        let read = Input::Refilled { no, entries, next };
                        inputs.extend(self.read(no, read, failed));
                    }
                    Command::Head { no, chain } => {
                        let late = self.late_readings;
                        let lane = self.lanes.get_mut(&no).unwrap();
                        assert!(!late || lane.asking.insert(chain), "asked twice at once");
                        let head = self.outbox.head(no, chain);
                        let read = Input::Headed { no, chain, head };
                        let failed = Input::Unread { no, chain };
                        inputs.extend(self.read(no, read, failed));
                    }
                    Command::BreakerChanged { no, open } => {
                        let lane = &self.lanes[&no];
                        assert!(lane.removed || lane.open.is_some() == open, "{no:?} {open}");
                    }
                }
            }
        }
    }

    /// The answer to a reading, now or, or another, later.
    fn read(&mut self, no: EndpointNo, read: Input, failed: Input) -> Option<Input> {
        if !self.late_readings {
            return Some(read);
        }
        // Read now, told later; or it fails.
        let fails = self.rng.random_bool(0.05);
        let answer = if fails { failed } else { read };
        self.last_reading += 1;
        let at = self.time + self.delay(300);
        let reading = Reading { no, answer, fails };
        self.readings.insert((at, self.last_reading), reading);
        None
    }

    /// The chain that a delivery belongs to by its endpoint's ordering.
    fn chain(&self, no: EndpointNo, chain: u64) -> Option<u64> {
        match self.lanes[&no].policy.ordering {
            Ordering::None => None,
            Ordering::Key => (chain != 0).then_some(chain),
            Ordering::Strict => Some(ENDPOINT_CHAIN),
        }
    }

    /// Whether one of the chain is in flight or settling.
    fn is_running(&self, no: EndpointNo, chain: u64) -> bool {
        let mut busy = self.busy.iter().filter(|(id, _)| id.0 == no);
        busy.any(|(_, busy)| self.chain(no, busy.entry.chain) == Some(chain))
    }

    /// Those of the chain that the engine can know of and that are older.
    fn older(&self, id: Id, chain: u64) -> impl Iterator<Item = Id> {
        let range = (id.0, chain, EventId(0))..(id.0, chain, id.1);
        let older = self.visible_by_chain.range(range);
        older.map(|&(no, _, event)| (no, event))
    }

    fn check_order(&self, id: Id, entry: &Entry) {
        let Some(chain) = self.chain(id.0, entry.chain) else {
            return;
        };
        assert!(!self.is_running(id.0, chain), "{id:?}: its chain runs");
        // What the index knows already may be known from a reading.
        let mut ahead = self
            .older(id, chain)
            .filter(|&id| self.outbox.entry(id).is_some());
        assert_eq!(ahead.next(), None, "{id:?} is not the head of its chain");
    }

    fn start(&mut self, no: EndpointNo, entry: Entry) {
        let (id, now) = ((no, entry.event), self.now());
        self.attempts += 1;
        assert!(!self.busy.contains_key(&id), "{id:?} is in flight twice");
        // Unless the news is still on its way, the index has it so.
        let known = self.visible.get(&id).copied();
        let news = self.outbox.notices.iter().any(|(_, input)| match input {
            Input::Queued { no, entry } => id == (*no, entry.event),
            Input::Withdrawn { no, event, .. } => id == (*no, *event),
            Input::Remove { no } => id.0 == *no,
            _ => false,
        });
        if !news {
            assert!(!self.gone.contains(&id), "{id:?} is no longer pending");
            let told = |e: Entry| (e.due, e.tries, e.budget_from);
            assert_eq!(
                known.map(told),
                Some(told(entry)),
                "{id:?} was told otherwise"
            );
        }
        self.check_order(id, &entry);
        let lane = &self.lanes[&no];
        let state = self.outbox.endpoints.get(&no).copied().unwrap_or_default();
        let released = state.released_at.is_some_and(|at| entry.budget_from < at);
        if !self.jumped && !released {
            assert!(entry.due <= now.wall, "{id:?} starts before it is due");
        }
        assert!(!lane.held, "{id:?} starts on a held lane");
        assert!(lane.paused_until <= now.mono, "{id:?} starts in a pause");
        let waits = lane.local_until <= now.mono;
        assert!(
            waits,
            "{id:?} starts although the last ones did not get out"
        );
        if let Some(open) = &lane.open {
            let view = self.engine.lane(no, now);
            assert_eq!(open.probe, None, "{id:?} is a second probe: {view:?}");
            assert!(now.mono >= open.earliest, "{id:?} probes too early");
        }
        assert!(lane.has_token(now.mono), "{id:?} starts over the rate");
        let (took, outcome) = self.lanes[&no].receiver.answer(&mut self.rng);
        self.hide(id);
        let ends = self.time + took;
        self.ends.insert((ends, id));
        self.busy.insert(
            id,
            Busy {
                entry,
                started: self.time,
                ends,
                outcome,
                settling: false,
                again: None,
                retried: None,
                withdrawn: false,
            },
        );
        let lane = self.lanes.get_mut(&no).unwrap();
        lane.in_flight += 1;
        lane.take_token(now.mono);
        if let Some(open) = &mut lane.open {
            open.probe = Some(entry.event);
        }
        self.check_limits(no);
    }

    fn check_limits(&self, no: EndpointNo) {
        let lane = &self.lanes[&no];
        assert!(
            lane.in_flight <= lane.policy.max_in_flight,
            "{no:?} over its limit"
        );
        let total: usize = self.lanes.values().map(|lane| lane.in_flight).sum();
        assert!(total <= self.limit, "{total} over the limit {}", self.limit);
        if self.is_slow(no) {
            let slow: usize = self.slow_in_flight();
            assert!(
                slow <= (self.limit / 2).max(1),
                "{slow} slow of {}",
                self.limit
            );
        }
    }

    fn is_slow(&self, no: EndpointNo) -> bool {
        let is_slow = self
            .busy
            .iter()
            .any(|(id, busy)| id.0 == no && !busy.settling && self.time - busy.started >= SLOW);
        self.lanes[&no].last_was_slow || is_slow
    }

    fn slow_in_flight(&self) -> usize {
        let nos = self.lanes.keys().filter(|&&no| self.is_slow(no));
        nos.map(|no| self.lanes[no].in_flight).sum()
    }

    fn store(&mut self, id: Id, next: Next, disable: bool) {
        let at = self.now().wall;
        let time = self.time;
        let busy = self.busy.get_mut(&id).expect("stored what was in flight");
        assert!(!busy.settling && busy.ends == time, "{id:?} ends once");
        busy.settling = true;
        let damaged = is_damaged(id.1);
        let unrenderable = is_unrenderable(id.1) && !damaged;
        let unsent = damaged || unrenderable;
        let success = busy.outcome.is_success() && !unsent;
        let local = busy.outcome.is_local() || unsent;
        assert_eq!(success, next == Next::Delivered);
        if local {
            self.local_faults += 1;
            assert!(!disable, "{id:?} disables for what was our own fault");
        }
        let gone = busy.outcome.status == Some(410) && !unsent;
        match next {
            Next::Delivered => {}
            Next::Retry {
                due,
                budget_from,
                tries,
            } => {
                assert!(!gone);
                if let Some(retried) = busy.retried {
                    assert_eq!((due, tries), (retried.due, retried.tries), "{id:?}");
                } else if local {
                    assert!(!unsent, "{id:?} has nothing to be sent");
                    let released = self.outbox.endpoints.get(&id.0);
                    let released = released.is_some_and(|state| state.released_at.is_some());
                    let kept = tries == busy.entry.tries || released && tries == 0;
                    assert!(kept, "{id:?}: our own fault counts as a try");
                    let wait = due.since(at);
                    let (least, most) = (Duration::from_millis(500), Duration::from_secs(61));
                    assert!(least <= wait && wait <= most, "{id:?}: {wait:?}");
                }
                busy.again = Some(Entry {
                    due,
                    budget_from,
                    tries,
                    ..busy.entry
                });
            }
            Next::Held { reason } => {
                assert!(unrenderable, "{id:?} is held");
                assert_eq!(reason, Reason::Template);
            }
            Next::Dead { reason } => {
                assert!(!unrenderable, "{id:?} dies instead of being held");
                let policy = &self.lanes[&id.0].policy.retry;
                assert_eq!(reason == Reason::Damaged, damaged);
                assert!(damaged || !local, "{id:?} dies of what was our own fault");
                assert_eq!(reason == Reason::Gone, gone);
                let lived = self.budgets.get(&id).map(|&from| time.saturating_sub(from));
                let amiss = self.jumped && self.crashes > 0;
                let judged = policy.schedule.is_empty() && !amiss && !damaged;
                if let (Some(lived), false, true) = (lived, gone, judged) {
                    assert!(
                        lived + GRAIN >= policy.give_up_after,
                        "{id:?} given up after {lived:?} of {:?}",
                        policy.give_up_after
                    );
                }
            }
        }
        // No world lasts five days, but after a restart a jump cannot be told from days.
        let amiss = self.jumped && self.crashes > 0;
        assert!(disable == gone || disable && amiss, "{id:?} disables");
        if disable {
            self.lanes.get_mut(&id.0).unwrap().held = true;
        }
        let durable_at = self.time + self.delay(100);
        self.outbox.append(
            durable_at,
            Record::Attempted {
                id,
                at,
                next,
                disable,
                success,
                local,
            },
        );
    }

    fn show(&mut self, id: Id, entry: Entry) {
        self.hide(id);
        self.visible.insert(id, entry);
        self.visible_by_due.insert((id.0, entry.due, id.1));
        for chain in [ENDPOINT_CHAIN, entry.chain] {
            self.visible_by_chain.insert((id.0, chain, id.1));
        }
    }

    fn hide(&mut self, id: Id) {
        if let Some(entry) = self.visible.remove(&id) {
            self.visible_by_due.remove(&(id.0, entry.due, id.1));
            for chain in [ENDPOINT_CHAIN, entry.chain] {
                self.visible_by_chain.remove(&(id.0, chain, id.1));
            }
        }
    }

    // What must hold after every step.

    fn check(&self) {
        let now = self.now();
        let stats = self.engine.stats();
        let in_flight = self.busy.values().filter(|busy| !busy.settling).count();
        assert_eq!(stats.in_flight, in_flight);
        assert_eq!(stats.settling, self.busy.len() - in_flight);
        assert!(stats.settling <= MAX_SETTLING);
        assert!(stats.waiting <= self.lanes.len() * LANE_WINDOW);
        let open = self
            .lanes
            .values()
            .filter(|lane| lane.open.is_some() && !lane.removed);
        assert_eq!(stats.breakers_open, open.count());
        for no in self.lanes.keys() {
            self.check_no_delay(*no, now);
        }
    }

    /// With slots for anybody, a lane with nothing in flight does not leave a due
    /// delivery waiting.
    fn check_no_delay(&self, no: EndpointNo, now: Now) {
        let lane = &self.lanes[&no];
        let blocked = lane.held
            || lane.in_flight > 0
            || lane.refilling
            || !lane.asking.is_empty()
            || lane.paused_until > now.mono
            || lane.local_until > now.mono
            || lane.excused_until > now.mono
            || !lane.has_token(now.mono.saturating_sub(GRAIN))
            || self.engine.stats().in_flight >= self.limit.div_ceil(4);
        if blocked {
            return;
        }
        let until = lane.open.as_ref();
        if until.is_some_and(|open| open.probe.is_some() || now.mono < open.latest) {
            return;
        }
        let state = self.outbox.endpoints.get(&no).copied().unwrap_or_default();
        let start = (no, Timestamp::default(), EventId(0));
        let end = (no, now.wall.saturating_sub(GRAIN), EventId(0));
        if start >= end {
            return;
        }
        let due = self.visible_by_due.range(start..end);
        let ordered = lane.policy.ordering != Ordering::None;
        for &(_, due, event) in due.take(if ordered { 5 } else { 1 }) {
            let entry = self.visible[&(no, event)];
            let behind = self.chain(no, entry.chain).is_some_and(|chain| {
                self.is_running(no, chain) || self.older((no, event), chain).next().is_some()
            });
            if behind {
                continue;
            }
            // After a jump backwards a release lets go what seems to be of the future.
            let released = |at| entry.budget_from < at || self.jumped;
            let paced = state.released_at.is_some_and(released);
            assert!(
                paced,
                "{no:?} {event} was due at {due}, now {}: {:?}",
                now.wall,
                self.engine.lane(no, now)
            );
        }
    }

    /// All receivers get well, nobody interferes: then all that is pending is delivered.
    pub fn settle(&mut self) {
        self.calm = true;
        let nos: Vec<EndpointNo> = self.lanes.keys().copied().collect();
        for &no in &nos {
            self.lanes.get_mut(&no).unwrap().receiver = Receiver::Healthy;
            self.enable(no);
        }
        let mut steps = 0;
        let begun = self.time;
        while self.outbox.pending_count() > 0 || !self.busy.is_empty() {
            self.step();
            steps += 1;
            if steps % 5000 == 0 {
                // What was in flight may have come back as 410.
                nos.iter().for_each(|&no| self.enable(no));
            }
            assert!(steps < 1_000_000, "never delivered: {}", self.leftovers());
        }
        if !self.jumped {
            let took = self.time - begun;
            assert!(took < Duration::from_secs(30_000), "took {took:?}");
        }
        while self.outbox.next_commit().is_some()
            || self.outbox.next_notice().is_some()
            || !self.readings.is_empty()
            || self.engine.next_wake().is_some()
        {
            self.step();
        }
        let stats = self.engine.stats();
        assert_eq!((stats.in_flight, stats.settling, stats.waiting), (0, 0, 0));
        let failing = |lane: &&Lane| (lane.failures > 0 || lane.held) && !lane.removed;
        let failing = self.lanes.values().filter(failing).count();
        assert_eq!(stats.lanes, failing, "idle lanes go");
    }

    fn enable(&mut self, no: EndpointNo) {
        let at = self.now().wall;
        self.outbox.append(self.time, Record::Enabled(no, at));
    }

    fn leftovers(&self) -> String {
        let now = self.now();
        let lanes = self.lanes.keys().filter_map(|&no| {
            let entry = self.outbox.pending(no).next()?;
            Some(format!(
                "\n{no:?} {entry:?} {:?}",
                self.engine.lane(no, now)
            ))
        });
        format!("at {now:?}{}", lanes.collect::<String>())
    }
}
