//! The engine: which delivery is attempted next, and what an attempt leads to.
//!
//! It is told what happened ([`Input`]) and says what to do ([`Command`]). It owns the
//! lanes, the due times, the limits and the breakers; it never reads a clock, rolls dice
//! or touches a disk or socket, so a simulation runs it through years in seconds.
//!
//! A delivery's way: it waits in its lane's window; with a slot granted it is *in flight*
//! ([`Command::Start`]); its attempt ends ([`Input::Ended`]), the slot is free, and it is
//! *settling* while its outcome is stored ([`Command::Store`]); when that is applied to
//! the index ([`Input::Stored`]) it is gone, or waits again. So it is never in flight
//! twice, and the index is never behind on what the engine reads from it.
//!
//! Memory is bounded by the lanes with work: a window each, and at most so many in
//! flight and settling. With too much unsettled no attempt starts: a crash would repeat
//! all of it. An endpoint without work costs its policy only.

mod breaker;
mod busy;
mod concurrency_limit;
mod due;
mod knee;
mod lane;
mod local;
mod message;
mod number_map;
mod ordered;
mod queue;
mod scheduler;
mod share;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use self::busy::Busy;
use self::lane::{Ended, Lane, Remembered, Ruling};
use self::number_map::NumberMap;
use self::scheduler::Scheduler;
use self::share::Pace;
use crate::domain::delivery::{Next, Reason};
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::domain::schedule::WallClock;

pub use self::message::{Command, Entry, Input, Key, LanePolicy, Lost};
pub use self::ordered::{ENDPOINT_CHAIN, chain_of};
pub use self::window::LANE_WINDOW;
pub use crate::domain::schedule::Now;
pub use crate::domain::verdict::Outcome;

/// With more outcomes on their way into the index no attempt starts.
pub const MAX_SETTLING: usize = 8192;
/// See the [module](self).
#[derive(Debug)]
pub struct Engine {
    endpoints: NumberMap<EndpointNo, Configured>,
    lanes: NumberMap<EndpointNo, Lane>,
    busy: Busy,
    scheduler: Scheduler,
    clock: WallClock,
}

/// A configured endpoint.
#[derive(Debug)]
struct Configured {
    policy: Arc<LanePolicy>,
    /// Of its last lane.
    remembered: Remembered,
}

/// The engine in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub in_flight: usize,
    /// Attempts in flight of lanes that count as slow.
    pub slow_in_flight: usize,
    /// Outcomes on their way into the index.
    pub settling: usize,
    /// Deliveries in all windows; the backlog is in the index.
    pub waiting: usize,
    pub lanes: usize,
    pub breakers_open: usize,
}

/// One lane, for `explain` and `status`. Times are on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneView {
    pub in_flight: usize,
    /// In the window; there may be more in the index.
    pub waiting: usize,
    pub held: bool,
    pub breaker_open: bool,
    /// The open breaker's next probe; `None` if it is closed or a probe is under way.
    pub probe_at: Option<Duration>,
    /// `Retry-After` keeps the whole endpoint waiting until then.
    pub paused_until: Option<Duration>,
    /// Attempts failed in a row through the daemon's own fault: the lane waits until then.
    pub local_until: Option<Duration>,
    /// The rate limit lets no attempt start before.
    pub rate_limited_until: Option<Duration>,
    /// How many attempts at once it may have now, were all slots free.
    pub concurrency_limit: usize,
    /// The next attempt may start then; past: it waits for a slot. `None`: nothing to
    /// attempt, held, or a probe is under way.
    pub next: Option<Duration>,
}

impl Engine {
    /// An engine that has at most so many attempts in flight; at least 1.
    pub fn new(max_in_flight: usize) -> Engine {
        Engine {
            endpoints: NumberMap::default(),
            lanes: NumberMap::default(),
            busy: Busy::default(),
            scheduler: Scheduler::new(max_in_flight),
            clock: WallClock::default(),
        }
    }

    /// Takes in what happened and appends what is to be done to `out`.
    pub fn handle<R: Rng>(&mut self, input: Input, now: Now, rng: &mut R, out: &mut Vec<Command>) {
        if self.clock.jumped_forward(now) {
            self.hasten(now, out);
        }
        while let Some(no) = self.busy.pop_slow(now.mono) {
            self.with(no, now, out, Lane::turned_slow);
        }
        while let Some(no) = self.scheduler.timers.pop(now.mono) {
            self.with(no, now, out, |lane| lane.scheduled.timer = None);
        }
        self.take(input, now, rng, out);
        self.fill_slots(now, out);
    }

    /// When [`Input::Wake`] is due, on the monotonic clock. Exact: earlier there is
    /// nothing to do, later something would be late.
    pub fn next_wake(&self) -> Option<Duration> {
        if self.scheduler.draining {
            return None;
        }
        // That a lane turns slow matters only to those who wait for a slot.
        let slow_at = self
            .busy
            .next_slow()
            .filter(|_| self.scheduler.shares.is_wanted());
        self.scheduler
            .timers
            .next()
            .into_iter()
            .chain(slow_at)
            .min()
    }

    pub fn stats(&self) -> Stats {
        Stats {
            in_flight: self.scheduler.shares.total(),
            slow_in_flight: self.scheduler.shares.in_flight(Pace::Slow),
            settling: self.busy.settling(),
            waiting: self.scheduler.waiting,
            lanes: self.lanes.len(),
            breakers_open: self.scheduler.breakers_open,
        }
    }

    /// An endpoint's lane, if it has work or is in trouble.
    pub fn lane(&self, no: EndpointNo, now: Now) -> Option<LaneView> {
        let lane = self.lanes.get(&no)?;
        let later = |at: Duration| (at > now.mono).then_some(at);
        Some(LaneView {
            in_flight: lane.in_flight,
            waiting: lane.queue.window.len(),
            held: lane.queue.held,
            breaker_open: lane.breaker.is_open(),
            probe_at: lane.breaker.probe_at(),
            paused_until: later(lane.paused_until),
            local_until: later(lane.local_faults.until()),
            rate_limited_until: later(lane.rate_allows_at()),
            concurrency_limit: lane.concurrency_limit(),
            next: lane.start_at(),
        })
    }

    /// The endpoints whose breaker is open.
    pub fn open_breakers(&self) -> impl Iterator<Item = EndpointNo> {
        let open = self.lanes.iter().filter(|(_, lane)| lane.breaker.is_open());
        open.map(|(no, _)| *no)
    }

    /// Whether an attempt of the delivery is under way.
    pub fn is_in_flight(&self, no: EndpointNo, event: EventId) -> bool {
        self.busy.in_flight(no, event).is_some()
    }

    fn take<R: Rng>(&mut self, input: Input, now: Now, rng: &mut R, out: &mut Vec<Command>) {
        match input {
            Input::Configure { no, policy } => self.configure(no, policy, now, out),
            Input::Queued { no, entry } => self.queued(no, entry, now, out),
            Input::Withdrawn { no, event, chain } => self.withdrawn(no, event, chain, now, out),
            Input::Refilled { no, entries, next } => self.refilled(no, entries, next, now, out),
            Input::Headed { no, chain, head } => {
                let capacity = self.scheduler.capacity();
                self.with(no, now, out, |lane| {
                    lane.queue.headed(chain, head, &lane.policy, now, capacity)
                });
            }
            Input::Unread { no, chain } => {
                self.with(no, now, out, |lane| lane.queue.unread(chain, now.mono));
            }
            Input::Ended { no, event, outcome } => self.ended(no, event, outcome, now, rng, out),
            Input::Lost { no, event, why } => self.lost(no, event, why, now, out),
            Input::Stored { no, event } => self.stored(no, event, now, out),
            Input::Restored {
                no,
                failing,
                released_at,
                backlog,
            } => self.change(no, now, out, |lane| {
                lane.restore(failing, released_at, now.mono);
                if backlog {
                    lane.queue.forget();
                }
            }),
            Input::Backlog { no } => self.change(no, now, out, |lane| lane.queue.forget()),
            Input::Hold { no } => self.change(no, now, out, |lane| lane.queue.hold()),
            Input::Release { no, at } => {
                self.change(no, now, out, |lane| lane.release(at, now.mono))
            }
            Input::Probe { no } => {
                self.change(no, now, out, |lane| lane.breaker.probe_now(now.mono));
            }
            Input::Remove { no } => {
                self.change(no, now, out, Lane::remove);
                self.endpoints.remove(&no);
            }
            Input::Limits { max_in_flight } => self.scheduler.shares.set_limit(max_in_flight),
            Input::Wake => {}
            Input::Drain => self.scheduler.draining = true,
        }
    }

    fn configure(&mut self, no: EndpointNo, policy: LanePolicy, now: Now, out: &mut Vec<Command>) {
        let policy = Arc::new(policy);
        let configured = self.endpoints.entry(no).or_insert_with(|| Configured {
            policy: Arc::clone(&policy),
            remembered: Remembered::default(),
        });
        configured.policy = Arc::clone(&policy);
        if let Some(lane) = self.lanes.get_mut(&no) {
            // It may belong to another tenant now.
            self.scheduler.dequeue(lane);
        }
        let busy = std::mem::take(&mut self.busy);
        self.with(no, now, out, |lane| {
            lane.configure(policy, now.mono, busy.of(no));
        });
        self.busy = busy;
    }

    /// Changes a configured endpoint's lane, which is made if there is none.
    fn change(
        &mut self,
        no: EndpointNo,
        now: Now,
        out: &mut Vec<Command>,
        change: impl FnOnce(&mut Lane),
    ) {
        if !self.lanes.contains_key(&no) {
            let Some(configured) = self.endpoints.get(&no) else {
                return;
            };
            let lane = Lane::new(
                Arc::clone(&configured.policy),
                configured.remembered,
                now.mono,
            );
            self.lanes.insert(no, lane);
        }
        self.with(no, now, out, change);
    }

    /// Changes a lane, if there is one.
    fn with(
        &mut self,
        no: EndpointNo,
        now: Now,
        out: &mut Vec<Command>,
        change: impl FnOnce(&mut Lane),
    ) {
        if let Some(lane) = self.lanes.get_mut(&no) {
            change(lane);
            if self.scheduler.schedule(no, lane, now.mono, out) {
                self.retire(no);
            }
        }
    }

    fn queued(&mut self, no: EndpointNo, entry: Entry, now: Now, out: &mut Vec<Command>) {
        if self.busy.queued(no, entry) {
            return;
        }
        let capacity = self.scheduler.capacity();
        self.change(no, now, out, |lane| {
            lane.queue.queued(entry, &lane.policy, now, capacity)
        });
    }

    fn withdrawn(
        &mut self,
        no: EndpointNo,
        event: EventId,
        chain: Option<u64>,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        if !self.busy.withdrawn(no, event) {
            self.with(no, now, out, |lane| lane.queue.withdrawn(event, chain));
        }
    }

    fn refilled(
        &mut self,
        no: EndpointNo,
        entries: Vec<Entry>,
        next: Option<Key>,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        let busy = std::mem::take(&mut self.busy);
        self.with(no, now, out, |lane| {
            lane.queue
                .refilled(entries, next, &lane.policy, now, |event| {
                    busy.contains(no, event)
                });
        });
        self.busy = busy;
    }

    fn ended<R: Rng>(
        &mut self,
        no: EndpointNo,
        event: EventId,
        outcome: Outcome,
        now: Now,
        rng: &mut R,
        out: &mut Vec<Command>,
    ) {
        let ended = self.under_way(no, event, outcome, now);
        if let (Some(ended), Some(lane)) = (ended, self.lanes.get_mut(&no)) {
            let ruling = lane.ended(ended, now, &self.clock, rng);
            self.settle(no, event, Some(ruling), now, out);
        }
    }

    fn lost(
        &mut self,
        no: EndpointNo,
        event: EventId,
        why: Lost,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        let ended = self.under_way(no, event, Outcome::LOCAL, now);
        if let (Some(ended), Some(lane)) = (ended, self.lanes.get_mut(&no)) {
            let next = match why {
                Lost::Erased => None,
                Lost::Damaged => Some(Next::Dead {
                    reason: Reason::Damaged,
                }),
                Lost::Unrenderable => Some(Next::Held {
                    reason: Reason::Template,
                }),
            };
            let ruling = lane.lost(&ended, next, now.mono);
            let is_stored = ruling.is_none();
            self.settle(no, event, ruling, now, out);
            if is_stored {
                // Its erasure is, and that is all there is to say.
                self.stored(no, event, now, out);
            }
        }
    }

    /// The attempt in flight that came to this end.
    fn under_way(
        &self,
        no: EndpointNo,
        event: EventId,
        outcome: Outcome,
        now: Now,
    ) -> Option<Ended> {
        let (entry, attempt) = self.busy.in_flight(no, event)?;
        Some(Ended {
            entry,
            retried: attempt.retried,
            outcome,
            took: now.mono.saturating_sub(attempt.since),
            counted_slow: attempt.is_slow,
        })
    }

    /// Gives the slot of an attempt back, and asks for its outcome to be stored if it has one.
    fn settle(
        &mut self,
        no: EndpointNo,
        event: EventId,
        ruling: Option<Ruling>,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        let Some(lane) = self.lanes.get_mut(&no) else {
            return;
        };
        lane.settling += 1;
        let again = ruling.as_ref().and_then(|ruling| ruling.again);
        self.busy.settle(no, event, again);
        self.scheduler.shares.ended(lane.scheduled.pace);
        if let Some(ruling) = ruling {
            out.push(Command::Store {
                no,
                event,
                next: ruling.next,
                disable: ruling.disable,
                awaited: lane.queue.chains.is_some(),
            });
        }
        if self.scheduler.schedule(no, lane, now.mono, out) {
            self.retire(no);
        }
    }

    fn stored(&mut self, no: EndpointNo, event: EventId, now: Now, out: &mut Vec<Command>) {
        let Some((entry, again)) = self.busy.stored(no, event) else {
            return;
        };
        let capacity = self.scheduler.capacity();
        self.with(no, now, out, |lane| {
            lane.stored(&entry, again, now, capacity)
        });
    }

    /// The wall clock jumped forward: what is due by it is due.
    fn hasten(&mut self, now: Now, out: &mut Vec<Command>) {
        let all: Vec<EndpointNo> = self.lanes.keys().copied().collect();
        for no in all {
            self.with(no, now, out, |lane| lane.queue.hasten(now));
        }
    }

    fn retire(&mut self, no: EndpointNo) {
        if let Some(lane) = self.lanes.remove(&no) {
            self.scheduler.remove(no, &lane);
            if let Some(configured) = self.endpoints.get_mut(&no) {
                configured.remembered = lane.remembered();
            }
        }
    }

    /// Starts attempts while there are slots and lanes that may have them.
    fn fill_slots(&mut self, now: Now, out: &mut Vec<Command>) {
        while !self.scheduler.draining && self.busy.settling() < MAX_SETTLING {
            let Some(no) = self.scheduler.shares.next() else {
                return;
            };
            self.start(no, now, out);
        }
    }

    fn start(&mut self, no: EndpointNo, now: Now, out: &mut Vec<Command>) {
        let Some(lane) = self.lanes.get_mut(&no) else {
            return;
        };
        self.scheduler.dequeue(lane);
        // Its share may have shrunk since it took its place.
        let shares = &mut self.scheduler.shares;
        let room = lane.has_room(shares.of_one(lane.scheduled.pace));
        if room && let Some(entry) = lane.start(now.mono) {
            shares.started(lane.scheduled.pace);
            self.busy.start(no, entry, now.mono);
            out.push(Command::Start { no, entry });
        }
        if self.scheduler.schedule(no, lane, now.mono, out) {
            self.retire(no);
        }
    }
}
