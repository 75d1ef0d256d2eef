//! Deliveries in flight or settling: none of them waits in a window, so none starts twice.

use std::collections::VecDeque;
use std::time::Duration;

use super::lane::SLOW;
use super::message::Entry;
use super::number_map::NumberMap;
use crate::domain::account::Total as _;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;

type Id = (EndpointNo, EventId);

#[derive(Debug, Default)]
pub struct Busy {
    all: NumberMap<Id, Delivery>,
    in_flight: usize,
    /// Attempts in the order of their starts, until they are slow. The first is in flight.
    young: VecDeque<Young>,
    last_attempt: u64,
}

#[derive(Debug)]
struct Delivery {
    entry: Entry,
    phase: Phase,
    /// It is no longer pending, whatever its attempt comes to.
    withdrawn: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    InFlight(Attempt),
    /// And what it then will be, if it will be pending.
    Settling(Option<Entry>),
}

#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    number: u64,
    pub since: Duration,
    /// It has been running for longer than [`SLOW`], and its lane counts it.
    pub is_slow: bool,
    /// The delivery as a `retry` left it meanwhile.
    pub retried: Option<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Young {
    slow_at: Duration,
    id: Id,
    number: u64,
}

impl Busy {
    pub fn contains(&self, no: EndpointNo, event: EventId) -> bool {
        self.all.contains_key(&(no, event))
    }

    /// An endpoint's deliveries in flight or settling.
    pub fn of(&self, no: EndpointNo) -> impl Iterator<Item = Entry> {
        let all = self.all.iter().filter(move |((of, _), _)| *of == no);
        all.map(|(_, delivery)| delivery.entry)
    }

    pub fn settling(&self) -> usize {
        self.all.len().saturating_sub(self.in_flight)
    }

    pub fn start(&mut self, no: EndpointNo, entry: Entry, mono: Duration) {
        self.last_attempt += 1;
        let (id, number) = ((no, entry.event), self.last_attempt);
        let attempt = Attempt {
            number,
            since: mono,
            is_slow: false,
            retried: None,
        };
        let delivery = Delivery {
            entry,
            phase: Phase::InFlight(attempt),
            withdrawn: false,
        };
        self.all.insert(id, delivery);
        self.in_flight += 1;
        let slow_at = mono.saturating_add(SLOW);
        self.young.push_back(Young {
            slow_at,
            id,
            number,
        });
    }

    /// An attempt in flight, as its delivery was when it started.
    pub fn in_flight(&self, no: EndpointNo, event: EventId) -> Option<(Entry, Attempt)> {
        let delivery = self.all.get(&(no, event))?;
        match delivery.phase {
            Phase::InFlight(attempt) => Some((delivery.entry, attempt)),
            Phase::Settling(_) => None,
        }
    }

    /// An attempt in flight ended, and its outcome is being stored.
    pub fn settle(&mut self, no: EndpointNo, event: EventId, again: Option<Entry>) {
        if let Some(delivery) = self.all.get_mut(&(no, event)) {
            delivery.phase = Phase::Settling(again);
            self.in_flight.take_off(1);
            self.drop_ended();
        }
    }

    /// The outcome is stored: `None` if none was settling, else the delivery as it was and
    /// what is pending again.
    pub fn stored(&mut self, no: EndpointNo, event: EventId) -> Option<(Entry, Option<Entry>)> {
        let delivery = self.all.get(&(no, event))?;
        let Phase::Settling(again) = delivery.phase else {
            return None;
        };
        let again = again.filter(|_| !delivery.withdrawn);
        let entry = delivery.entry;
        self.all.remove(&(no, event));
        Some((entry, again))
    }

    /// Records that a busy delivery was queued. Returns false if it is not busy.
    pub fn queued(&mut self, no: EndpointNo, entry: Entry) -> bool {
        let Some(delivery) = self.all.get_mut(&(no, entry.event)) else {
            return false;
        };
        delivery.withdrawn = false;
        match &mut delivery.phase {
            // Read by a refill before it was told of: no news.
            Phase::InFlight(_) if delivery.entry == entry => {}
            Phase::InFlight(attempt) => attempt.retried = Some(entry),
            // Its outcome is applied after this, and decides.
            Phase::Settling(_) => {}
        }
        true
    }

    /// Records that a busy delivery is no longer pending. Returns false if it is not busy.
    pub fn withdrawn(&mut self, no: EndpointNo, event: EventId) -> bool {
        let Some(delivery) = self.all.get_mut(&(no, event)) else {
            return false;
        };
        delivery.withdrawn = true;
        if let Phase::InFlight(attempt) = &mut delivery.phase {
            attempt.retried = None;
        }
        true
    }

    /// When the next attempt in flight becomes slow.
    pub fn next_slow(&self) -> Option<Duration> {
        self.young.front().map(|young| young.slow_at)
    }

    /// The endpoint of the next attempt that has become slow; each is returned once.
    pub fn pop_slow(&mut self, mono: Duration) -> Option<EndpointNo> {
        let young = *self.young.front()?;
        if young.slow_at > mono {
            return None;
        }
        self.young.pop_front();
        self.drop_ended();
        if let Some(delivery) = self.all.get_mut(&young.id)
            && let Phase::InFlight(attempt) = &mut delivery.phase
        {
            attempt.is_slow = true;
        }
        Some(young.id.0)
    }

    /// Keeps the first of the young in flight, and their number bounded.
    fn drop_ended(&mut self) {
        while let Some(&young) = self.young.front()
            && !self.is_in_flight(young)
        {
            self.young.pop_front();
        }
        // Behind one that hangs any number may have ended.
        if self.young.len() > 2 * self.in_flight + 1024 {
            let mut young = std::mem::take(&mut self.young);
            young.retain(|&young| self.is_in_flight(young));
            self.young = young;
        }
    }

    fn is_in_flight(&self, young: Young) -> bool {
        self.in_flight(young.id.0, young.id.1)
            .is_some_and(|(_, attempt)| attempt.number == young.number)
    }
}
