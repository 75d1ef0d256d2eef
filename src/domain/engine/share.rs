//! Which lane gets the next slot.
//!
//! `max_in_flight` slots are shared so that a lane with a fast endpoint soon finds one,
//! whatever the others do. It cannot be known beforehand that an attempt will hang, and an
//! attempt that hangs keeps its slot for the whole timeout. So a lane's share depends on its
//! pace so far:
//!
//! - *slow* lanes, whose last attempt timed out or took over a second, or which have one
//!   running for that long, together start no more than half of all slots; when many
//!   want a share of the half, each gets its part of it, down to one.
//! - *new* lanes, of which no attempt has ended yet, may hang or not. Together with the
//!   slow ones they start no more than three quarters of all slots; each gets a few, down
//!   to one when there are many. The first answer tells what they are.
//! - *prompt* lanes may take all, but for an eighth of what slow and new ones have left,
//!   which only those with nothing in flight may enter: when lanes that were prompt all
//!   begin to hang at once, the others still find a slot in the second it takes to
//!   notice, and after it the hanging ones count as slow.
//!
//! So a quarter of the slots is always left to those known to be prompt. What this cannot
//! do is to learn of a thousand new hanging endpoints in less time than three quarters of
//! the slots take to time out on each of them once; meanwhile other *new* ones wait.
//! A lane's last pace is kept for as long as the endpoint is configured, and its concurrency
//! limit (see [`concurrency_limit`](super::concurrency_limit)) doubles with every round trip,
//! so neither costs a prompt endpoint more than its first round trips.
//!
//! Lanes of one pace take turns, first between tenants, then between a tenant's lanes;
//! and the paces take turns among those that may start. Every step is O(log n).

use std::collections::BTreeMap;

use super::number_map::NumberMap;
use crate::domain::account::Total as _;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::Tenant;

/// How fast the attempts of a lane end, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    New,
    Prompt,
    Slow,
}

const PACES: [Pace; 3] = [Pace::New, Pace::Prompt, Pace::Slow];

/// A lane's place in the turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pace: Pace,
    /// Nothing was in flight.
    resting: bool,
    number: u64,
}

/// So many at once for a new lane, if there are slots enough for all of them.
const MOST_FOR_NEW: usize = 4;

#[derive(Debug)]
pub struct Shares {
    limit: usize,
    /// By pace.
    in_flight: [usize; 3],
    /// Lanes that have or want slots, by pace.
    active: [usize; 3],
    /// By pace.
    rings: [Ring; 3],
    /// Of the prompt lanes those with nothing in flight, once more.
    resting: Ring,
    /// The pace whose turn it is.
    next_pace: usize,
    last_turn: u64,
}

/// Lanes of one pace that want a slot.
#[derive(Debug, Default)]
struct Ring {
    tenants: BTreeMap<u64, Tenant>,
    queues: NumberMap<Tenant, Queue>,
}

#[derive(Debug)]
struct Queue {
    /// The tenant's place among the tenants.
    number: u64,
    lanes: BTreeMap<u64, EndpointNo>,
}

impl Shares {
    pub fn new(max_in_flight: usize) -> Shares {
        Shares {
            limit: max_in_flight.max(1),
            in_flight: [0; 3],
            active: [0; 3],
            rings: Default::default(),
            resting: Ring::default(),
            next_pace: 0,
            last_turn: 0,
        }
    }

    pub fn set_limit(&mut self, max_in_flight: usize) {
        self.limit = max_in_flight.max(1);
    }

    /// Attempts in flight, of all lanes.
    pub fn total(&self) -> usize {
        self.in_flight.iter().sum()
    }

    pub fn in_flight(&self, pace: Pace) -> usize {
        self.in_flight[pace as usize]
    }

    /// Whether some lane wants a slot.
    pub fn is_wanted(&self) -> bool {
        self.rings.iter().any(|ring| !ring.tenants.is_empty())
    }

    /// The most that one lane of this pace may have in flight now.
    pub fn of_one(&self, pace: Pace) -> usize {
        let active = self.active[pace as usize].max(1);
        match pace {
            Pace::Prompt => self.limit,
            Pace::New => (self.limit / 4 / active).clamp(1, MOST_FOR_NEW),
            Pace::Slow => (self.slow_limit() / active).max(1),
        }
    }

    pub fn started(&mut self, pace: Pace) {
        self.in_flight[pace as usize] += 1;
    }

    pub fn ended(&mut self, pace: Pace) {
        self.in_flight[pace as usize].take_off(1);
    }

    /// The pace of a lane with this many attempts in flight has changed.
    pub fn moved(&mut self, from: Pace, to: Pace, in_flight: usize) {
        self.in_flight[from as usize].take_off(in_flight);
        self.in_flight[to as usize] += in_flight;
    }

    /// Whether a lane has or wants slots: it was so, and now is so.
    pub fn set_active(&mut self, pace: Pace, was: bool, is: bool) {
        let count = &mut self.active[pace as usize];
        *count += usize::from(is);
        count.take_off(usize::from(was));
    }

    /// Puts a lane at the end of its turns, if it is not where it belongs already.
    pub fn enqueue(
        &mut self,
        turn: Option<Turn>,
        no: EndpointNo,
        tenant: &Tenant,
        pace: Pace,
        in_flight: usize,
    ) -> Turn {
        let resting = pace == Pace::Prompt && in_flight == 0;
        if let Some(turn) = turn {
            if turn.pace == pace {
                // It keeps its place when it comes to rest.
                match (turn.resting, resting) {
                    (false, true) => self.resting.push(turn.number, no, tenant),
                    (true, false) => self.resting.remove(turn.number, tenant),
                    _ => {}
                }
                return Turn { resting, ..turn };
            }
            self.dequeue(turn, tenant);
        }
        self.last_turn += 1;
        let number = self.last_turn;
        self.rings[pace as usize].push(number, no, tenant);
        if resting {
            self.resting.push(number, no, tenant);
        }
        Turn {
            pace,
            resting,
            number,
        }
    }

    /// Takes a lane out of the turns.
    pub fn dequeue(&mut self, turn: Turn, tenant: &Tenant) {
        self.rings[turn.pace as usize].remove(turn.number, tenant);
        if turn.resting {
            self.resting.remove(turn.number, tenant);
        }
    }

    /// The lane whose turn it is, if there is a slot for it. It is to be
    /// [taken out](Self::dequeue) of the turns.
    pub fn next(&mut self) -> Option<EndpointNo> {
        if self.total() >= self.limit {
            return None;
        }
        for step in 0..PACES.len() {
            let index = (self.next_pace + step) % PACES.len();
            let ring = match PACES[index] {
                Pace::Prompt if !self.may_start(Pace::Prompt) => &mut self.resting,
                pace if !self.may_start(pace) => continue,
                pace => &mut self.rings[pace as usize],
            };
            if let Some(no) = ring.pop(&mut self.last_turn) {
                self.next_pace = (index + 1) % PACES.len();
                return Some(no);
            }
        }
        None
    }

    /// Whether any lane of this pace may take one of the free slots.
    fn may_start(&self, pace: Pace) -> bool {
        let suspects = self.in_flight(Pace::New) + self.in_flight(Pace::Slow);
        let for_suspects = self.limit - self.limit / 4;
        match pace {
            Pace::Prompt => {
                let left = self.limit.saturating_sub(suspects);
                self.in_flight(Pace::Prompt) < left - left / 8
            }
            Pace::New => suspects < for_suspects,
            Pace::Slow => self.in_flight(Pace::Slow) < self.slow_limit() && suspects < for_suspects,
        }
    }

    fn slow_limit(&self) -> usize {
        (self.limit / 2).max(1)
    }
}

impl Ring {
    fn push(&mut self, number: u64, no: EndpointNo, tenant: &Tenant) {
        if let Some(queue) = self.queues.get_mut(tenant) {
            queue.lanes.insert(number, no);
        } else {
            self.tenants.insert(number, tenant.clone());
            let lanes = BTreeMap::from([(number, no)]);
            self.queues.insert(tenant.clone(), Queue { number, lanes });
        }
    }

    fn remove(&mut self, number: u64, tenant: &Tenant) {
        if let Some(queue) = self.queues.get_mut(tenant)
            && queue.lanes.remove(&number).is_some()
            && queue.lanes.is_empty()
        {
            self.tenants.remove(&queue.number);
            self.queues.remove(tenant);
        }
    }

    /// The next lane of the next tenant, which then is the last tenant.
    fn pop(&mut self, last_turn: &mut u64) -> Option<EndpointNo> {
        let (_, tenant) = self.tenants.pop_first()?;
        let queue = self.queues.get_mut(&tenant)?;
        let (_, no) = queue.lanes.pop_first()?;
        if queue.lanes.is_empty() {
            self.queues.remove(&tenant);
        } else {
            *last_turn += 1;
            queue.number = *last_turn;
            self.tenants.insert(queue.number, tenant);
        }
        Some(no)
    }
}
