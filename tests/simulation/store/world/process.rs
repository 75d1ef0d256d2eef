//! The process: it starts and recovers, takes turns, and ends.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use outboxd::domain::engine::{Engine, Input};
use outboxd::domain::event::{EventId, NewEvent, Tenant, source_of_key};
use outboxd::domain::time::Timestamp;
use outboxd::outbox::EventFilter;
use outboxd::outbox::open::endpoint_starts;
use rand::RngExt;

use super::checks::Looks;
use super::engine::policy;
use super::sources::is_of_sources;
use super::{Crowd, Expected, Known, Process, ROOM, Violation, World};
use crate::store::machine::SEGMENT;

/// After one start in so many everything is read.
const FULL_CHECK: u64 = 8;

impl World {
    pub(super) fn start(&mut self) -> Result<(), Violation> {
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
        self.resolve_source_doubts()?;
        self.resolve_doubts()?;
        match self.machine.lives.is_multiple_of(FULL_CHECK) {
            true => self.check(Looks::All),
            false => self.check(Looks::Sample),
        }
    }

    /// What a crash left unanswered is there whole, or not at all.
    fn resolve_doubts(&mut self) -> Result<(), Violation> {
        for (id, number, event, body, accepted_at) in std::mem::take(&mut self.owed) {
            self.remember(id, number, &event, body, accepted_at)?;
        }
        self.resolve_crowd()?;
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
            for ((_, event, _), id) in asked.events.iter().zip(&there) {
                if let Some(id) = *id {
                    self.was_taken_in(event, id, self.accepted_at(id)?);
                }
            }
            let expected = asked.events.iter().zip(&there);
            let expected = expected.filter(|((_, event, _), id)| {
                // A repeated delivery is not stored.
                id.is_some() || !self.may_be_repeated(event)
            });
            let (count, expected) = (there.iter().flatten().count(), expected.count());
            let mut present = there.iter().flatten();
            // Wanted nowhere, they were history at once, and short of room that goes.
            let is_history =
                self.was_short && present.clone().all(|id| self.is_wanted_nowhere(*id));
            ensure!(
                count == 0 || count == expected || is_history,
                "a request of {expected} events is there with {count} of them after a crash"
            );
            let accepted_at = present.next().map(|id| self.accepted_at(*id));
            let accepted_at = accepted_at.transpose()?;
            for ((number, event, body), id) in asked.events.into_iter().zip(there) {
                match (id, accepted_at) {
                    (Some(id), _) => {
                        let accepted_at = self.accepted_at(id)?;
                        self.remember(id, number, &event, body, accepted_at)?;
                    }
                    (None, Some(accepted_at)) => self.has_used(&event, accepted_at),
                    (None, None) => {}
                }
            }
        }
        Ok(())
    }

    /// All events by the numbers in their types; `None` if the disk kept them from being
    /// read.
    pub(super) fn all_events(&mut self) -> Result<Option<HashMap<u64, EventId>>, Violation> {
        let Some(process) = &self.process else {
            return Ok(None);
        };
        let (mut found, mut cursor) = (HashMap::new(), None);
        loop {
            let filter = EventFilter {
                tenant: Some(Tenant::default()),
                ..EventFilter::default()
            };
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

    fn is_wanted_nowhere(&self, id: EventId) -> bool {
        let found = self.process.as_ref();
        let found = found.map(|process| process.store.outbox.event(id));
        matches!(found, Some(Ok(view)) if view.deliveries.is_empty())
    }

    /// The event's idempotency key counts from now on, if it has one that is no source's.
    pub(super) fn has_used(&mut self, event: &NewEvent, accepted_at: Timestamp) {
        if let Some(key) = &event.idempotency_key
            && source_of_key(key.as_str()).is_none()
        {
            let at = self.keys.entry(key.as_str().to_owned());
            at.or_default().push(accepted_at);
        }
    }

    pub(super) fn remember(
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
        self.has_used(event, accepted_at);
        self.known.insert(id, known);
        self.counts.accepted += 1;
        Ok(())
    }

    /// One turn of the writer, and what follows from it.
    pub(super) fn turn(&mut self) -> Result<(), Violation> {
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
    pub(super) fn process_ends(&mut self, reason: &str) -> Result<(), Violation> {
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

    pub(super) fn leave_doubts(&mut self) {
        if matches!(self.crowd, Crowd::Asked(_)) {
            self.crowd = Crowd::Doubtful;
        }
        if let Some(process) = &mut self.process {
            let free = process.store.shared.gauges.free_bytes.load(Relaxed);
            // What the cleaner saw, or what is left after it dropped a segment or two.
            self.was_short = free < SEGMENT || self.machine.disk.room() < 3 * SEGMENT;
            self.doubtful.append(&mut process.asked);
            let acting = process.acting.drain(..).map(|acting| acting.action);
            let acting: Vec<_> = acting.collect();
            process.in_flight.clear();
            acting
                .iter()
                .for_each(|action| self.secret_may_have_changed(action));
            let acting = acting.into_iter();
            self.doubtful_acts.extend(acting.filter(is_of_sources));
        }
    }

    pub(super) fn crash_if_due(&mut self) -> Result<(), Violation> {
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

    pub(super) fn cut_power(&mut self) {
        self.machine.disk.cut_power();
        self.machine.index.lose();
    }
}
