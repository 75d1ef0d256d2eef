//! The scheduler: each lane has its place in the turns or its timer; the totals over all lanes.

use std::time::Duration;

use super::lane::Lane;
use super::message::Command;
use super::share::Shares;
use super::window::LANE_WINDOW;
use crate::domain::account::Total as _;
use crate::domain::endpoint::EndpointNo;
use crate::domain::schedule::Timers;

/// With more deliveries in all windows together, windows are filled up to the below only.
const MANY_WAITING: usize = 256 * 1024;
/// What is worth a reading of the index.
const SHORT_WINDOW: usize = 16;

#[derive(Debug)]
pub struct Scheduler {
    pub shares: Shares,
    pub timers: Timers,
    /// Deliveries in all windows.
    pub waiting: usize,
    pub breakers_open: usize,
    /// No more starts.
    pub draining: bool,
}

impl Scheduler {
    pub fn new(max_in_flight: usize) -> Scheduler {
        Scheduler {
            shares: Shares::new(max_in_flight),
            timers: Timers::default(),
            waiting: 0,
            breakers_open: 0,
            draining: false,
        }
    }

    /// How many deliveries a window is filled with.
    pub fn capacity(&self) -> usize {
        if self.waiting < MANY_WAITING {
            LANE_WINDOW
        } else {
            SHORT_WINDOW
        }
    }

    /// Schedules a lane that has changed. Returns whether it is idle and can be removed.
    pub fn schedule(
        &mut self,
        no: EndpointNo,
        lane: &mut Lane,
        mono: Duration,
        out: &mut Vec<Command>,
    ) -> bool {
        self.refill(no, lane, mono, out);
        self.count(no, lane, out);
        let pace = lane.pace();
        let was = lane.scheduled.pace;
        if pace != was {
            self.shares.moved(was, pace, lane.in_flight);
        }
        let room = lane.has_room(self.shares.of_one(pace));
        let start_at = lane.start_at().filter(|_| room && !self.draining);
        let ready = start_at.is_some_and(|at| at <= mono);
        self.queue(no, lane, ready);
        let active = ready || lane.in_flight > 0;
        if (active, pace) != (lane.scheduled.active, was) {
            self.shares.set_active(was, lane.scheduled.active, false);
            self.shares.set_active(pace, false, active);
        }
        lane.scheduled.pace = pace;
        lane.scheduled.active = active;
        let refill_at = lane.queue.read_again_at();
        let timer = start_at.filter(|_| !ready).or(refill_at);
        self.timers.set(no, lane.scheduled.timer, timer);
        lane.scheduled.timer = timer;
        lane.is_idle()
    }

    /// Takes a lane out of the turns.
    pub fn dequeue(&mut self, lane: &mut Lane) {
        if let Some(turn) = lane.scheduled.turn.take() {
            self.shares.dequeue(turn, &lane.policy.tenant);
        }
    }

    /// Forgets a lane that is idle.
    pub fn remove(&mut self, no: EndpointNo, lane: &Lane) {
        self.timers.set(no, lane.scheduled.timer, None);
        self.waiting.take_off(lane.scheduled.waiting);
    }

    fn refill(&self, no: EndpointNo, lane: &mut Lane, mono: Duration, out: &mut Vec<Command>) {
        if lane.queue.held || self.draining {
            return;
        }
        if lane.queue.chains.is_some() {
            while let Some(chain) = lane.queue.question(mono) {
                out.push(Command::Head { no, chain });
            }
        }
        if let Some(heads) = lane.queue.reads_heads()
            && let Some((from, limit)) = lane.queue.window.wants_refill(self.capacity(), mono)
        {
            out.push(Command::Refill {
                no,
                from,
                limit,
                heads,
            });
        }
    }

    fn count(&mut self, no: EndpointNo, lane: &mut Lane, out: &mut Vec<Command>) {
        let waiting = lane.queue.window.len();
        self.waiting.take_off(lane.scheduled.waiting);
        self.waiting += waiting;
        lane.scheduled.waiting = waiting;
        let open = lane.breaker.is_open();
        if open != lane.scheduled.open {
            lane.scheduled.open = open;
            if open {
                self.breakers_open += 1;
            } else {
                self.breakers_open.take_off(1);
            }
            out.push(Command::BreakerChanged { no, open });
        }
    }

    fn queue(&mut self, no: EndpointNo, lane: &mut Lane, ready: bool) {
        if ready {
            let (turn, pace) = (lane.scheduled.turn, lane.pace());
            let tenant = &lane.policy.tenant;
            let turn = self.shares.enqueue(turn, no, tenant, pace, lane.in_flight);
            lane.scheduled.turn = Some(turn);
        } else {
            self.dequeue(lane);
        }
    }
}
