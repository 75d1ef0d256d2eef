//! `apply(record) -> index changes`: the only way in which the index ever changes, live
//! and in recovery alike. It reads no configuration, no clock and no dice, so the index
//! built from the log is the index that was kept live.
//!
//! A record may be about something that is gone: after damage, or in a replay, about an event
//! that was forgotten later. That is counted in [`State::unknown`] and never fatal.

use crate::domain::account::Total as _;
use crate::domain::delivery::{Delivery, Move, Status};
use crate::domain::endpoint::EndpointNo;
use crate::domain::engine::chain_of;
use crate::domain::event::EventId;
use crate::outbox::record::{
    Accepted, Acted, Attempted, DeliveryRow, EventHead, KeyKept, NextRow, Record, Rewritten,
    StepRow,
};

use super::ends::end_of;
use super::keys::{self, List};
use super::pages::PagesError;
use super::rows::{self, DeliveryEntry, EVENT_COST, EventRow, KeyRow, QueueRow};
use super::state::State;
use super::stored_endpoint::StoredEndpoint;

/// How many attempts of a delivery are kept.
pub const ATTEMPTS_KEPT: u32 = 50;

/// What of an event a change to one of its deliveries needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventFacts {
    lsn: u64,
    pub(super) accepted_at: u64,
    pub(super) body_len: u64,
    pub(super) deliveries: u32,
    deliver_at: Option<u64>,
    /// That of the event's key; 0: it has none.
    chain: u64,
}

impl State {
    /// Applies the record that stands at `lsn`.
    pub fn apply(&mut self, lsn: u64, record: &Record<'_>) -> Result<(), PagesError> {
        match record {
            Record::Accepted(accepted) => self.accepted(lsn, accepted),
            Record::Attempted(attempted) => self.attempted(lsn, attempted),
            Record::Acted(acted) => self.acted(acted),
            Record::Endpoint(row) => {
                self.endpoint(row);
                Ok(())
            }
            Record::Rewritten(rewritten) => self.rewritten(lsn, rewritten),
            Record::KeyKept(kept) => {
                self.key_kept(kept);
                Ok(())
            }
            Record::Forgotten(ids) => ids.iter().try_for_each(|id| self.forgotten(EventId(*id))),
            Record::KeysForgotten(forgotten) => {
                forgotten
                    .iter()
                    .for_each(|(tenant, key)| self.entries.remove(keys::idempotency(tenant, key)));
                Ok(())
            }
            Record::EndpointSpec(row) => self.endpoint_spec(lsn, row),
            Record::EndpointDeleted(deleted) => self.endpoint_deleted(deleted),
            Record::EndpointForgotten(no) => self.endpoint_forgotten(EndpointNo(*no)),
            Record::Moved(moved) => self.moved(moved),
            Record::Job(row) => {
                self.job(row);
                Ok(())
            }
            Record::Erased(row) => self.erased(lsn, row),
            Record::Source(row) => self.source(lsn, row),
            Record::SourceCounts(row) => self.source_counts(lsn, row),
            Record::SourceForgotten(id) => self.source_forgotten(id),
            Record::LastId(id) => {
                self.meta.last_id = self.meta.last_id.max(*id);
                Ok(())
            }
        }
    }

    fn accepted(&mut self, lsn: u64, accepted: &Accepted<'_>) -> Result<(), PagesError> {
        let head = &accepted.event;
        let facts = self.put_event(lsn, head, accepted.endpoints.len());
        if let Some(idempotency) = &head.idempotency {
            let row = KeyRow {
                content: idempotency.content,
                id: head.id,
                accepted_at: head.accepted_at,
                event_type: head.event_type,
                deliveries: facts.deliveries,
            };
            self.entries.put(
                keys::idempotency(head.tenant, idempotency.key),
                rows::encode(&row),
            );
        }
        let exact = head.deliver_at.is_some();
        let state = Delivery::new(crate::domain::time::Timestamp::from_millis(accepted.due));
        let row = DeliveryRow::new(state, exact, (0, 0));
        for no in &accepted.endpoints {
            let entry = DeliveryEntry::new(row, 0);
            self.insert(EventId(head.id), EndpointNo(*no), entry, facts)?;
        }
        if accepted.endpoints.is_empty() {
            self.note_finish(EventId(head.id), head.accepted_at, true)?;
        }
        let endpoints = accepted.endpoints.iter().copied().map(EndpointNo);
        self.add_to_block(head, endpoints.clone())?;
        self.count_accepted(head.accepted_at, head.tenant, endpoints)
    }

    fn put_event(&mut self, lsn: u64, head: &EventHead<'_>, deliveries: usize) -> EventFacts {
        let row = EventRow {
            lsn,
            accepted_at: head.accepted_at,
            body_len: head.body_len,
            body_lost: head.body_lost,
            tenant: head.tenant,
            event_type: head.event_type,
            key: head.key,
            idempotency_key: head.idempotency.as_ref().map(|idempotency| idempotency.key),
            deliver_at: head.deliver_at,
            deliveries: deliveries as u32,
        };
        self.entries
            .put_new(keys::event(EventId(head.id)), rows::encode(&row));
        self.segments.add(lsn);
        self.meta.last_id = self.meta.last_id.max(head.id);
        let id_time = EventId(head.id).timestamp().as_millis();
        let ahead = id_time.saturating_sub(head.accepted_at);
        self.meta.ids_ahead = self.meta.ids_ahead.max(ahead);
        self.meta.events += 1;
        self.meta.kept_bytes += u64::from(head.body_len) + EVENT_COST;
        EventFacts {
            lsn,
            accepted_at: head.accepted_at,
            body_len: head.body_len.into(),
            deliveries: deliveries as u32,
            deliver_at: head.deliver_at,
            chain: chain_of(head.key),
        }
    }

    fn attempted(&mut self, lsn: u64, attempted: &Attempted<'_>) -> Result<(), PagesError> {
        let (id, no) = (EventId(attempted.id), EndpointNo(attempted.endpoint));
        let Some((entry, facts)) = self.known_delivery(id, no)? else {
            // Of an event that was forgotten since, and whose segment is gone: it still
            // says how the endpoint was.
            self.note_attempt(no, attempted);
            return Ok(());
        };
        let row = entry.row;
        let (Some(old), Some(next)) = (row.delivery(), attempted.next.next()) else {
            self.unknown += 1;
            return Ok(());
        };
        let at = crate::domain::time::Timestamp::from_millis(attempted.ended_at);
        let Ok(new) = old.after(Move::Attempted { at, next }) else {
            self.unknown += 1;
            return Ok(());
        };
        self.note_attempt(no, attempted);
        let exact = match attempted.next {
            NextRow::Retry { exact, .. } => exact,
            _ => row.exact,
        };
        let attempt_bytes = after_attempt(&row, attempted.attempt.cost());
        let count = new.attempt_count;
        let new = DeliveryRow::new(new, exact, (lsn, attempt_bytes));
        self.count_attempt(no, attempted.ended_at, &attempted.attempt)?;
        let previous = entry.attempted();
        let at = self.list_attempt((id, no), previous, &attempted.attempt, count)?;
        self.replace(id, no, row, DeliveryEntry::new(new, at), facts)
    }

    fn note_attempt(&mut self, no: EndpointNo, attempted: &Attempted<'_>) {
        if let Some(stored) = self.endpoints.get_mut(&no) {
            let state = attempted.endpoint_after(stored.state);
            if state != stored.state {
                stored.state = state;
                self.touched.insert(no);
            }
        }
    }

    fn acted(&mut self, acted: &Acted) -> Result<(), PagesError> {
        let (id, no) = (EventId(acted.id), EndpointNo(acted.endpoint));
        match self.known_delivery(id, no)? {
            Some((entry, facts)) => self.stepped(id, no, acted.step, entry, facts),
            None => Ok(()),
        }
    }

    /// One delivery takes a step that is no attempt's.
    pub(super) fn stepped(
        &mut self,
        id: EventId,
        no: EndpointNo,
        step: StepRow,
        entry: DeliveryEntry,
        facts: EventFacts,
    ) -> Result<(), PagesError> {
        let row = entry.row;
        let (step, exact) = match step {
            // Not before it was asked for.
            StepRow::Release { at } => {
                let due = facts.deliver_at.map_or(at, |asked| asked.max(at));
                (StepRow::Release { at: due }, due > at)
            }
            step => (step, false),
        };
        let moved = row
            .delivery()
            .zip(step.step())
            .and_then(|(old, step)| old.after(step).ok());
        let Some(new) = moved else {
            self.unknown += 1;
            return Ok(());
        };
        let new = DeliveryRow::new(new, exact, row.attempts());
        let new = DeliveryEntry::new(new, entry.attempted());
        self.replace(id, no, row, new, facts)
    }

    fn key_kept(&mut self, kept: &KeyKept<'_>) {
        let row = KeyRow {
            content: kept.idempotency.content,
            id: kept.id,
            accepted_at: kept.accepted_at,
            event_type: kept.event_type,
            deliveries: kept.deliveries,
        };
        self.entries.put(
            keys::idempotency(kept.tenant, kept.idempotency.key),
            rows::encode(&row),
        );
        self.meta.last_id = self.meta.last_id.max(kept.id);
    }

    fn rewritten(&mut self, lsn: u64, rewritten: &Rewritten<'_>) -> Result<(), PagesError> {
        let id = EventId(rewritten.event.id);
        if self.facts(id)?.is_none() {
            // The records that this one replaces are gone, and were not counted.
            self.count_rewritten(rewritten)?;
            let deliveries = rewritten.deliveries.iter();
            let endpoints = deliveries.map(|delivery| EndpointNo(delivery.endpoint));
            self.add_to_block(&rewritten.event, endpoints)?;
        }
        self.remove_event(id)?;
        let facts = self.put_event(lsn, &rewritten.event, rewritten.deliveries.len());
        if let Some(idempotency) = &rewritten.event.idempotency {
            let row = KeyRow {
                content: idempotency.content,
                id: id.0,
                accepted_at: rewritten.event.accepted_at,
                event_type: rewritten.event.event_type,
                deliveries: facts.deliveries,
            };
            self.entries.put(
                keys::idempotency(rewritten.event.tenant, idempotency.key),
                rows::encode(&row),
            );
        }
        for delivery in &rewritten.deliveries {
            let no = EndpointNo(delivery.endpoint);
            let last_attempt = if delivery.attempts.is_empty() { 0 } else { lsn };
            let costs = delivery.attempts.iter().map(|attempt| attempt.cost());
            let attempt_bytes = costs.fold(0, u32::saturating_add);
            let mut attempted = 0;
            for attempt in &delivery.attempts {
                attempted = self.list_attempt((id, no), attempted, attempt, 0)?;
            }
            let row = DeliveryRow {
                last_attempt,
                attempt_bytes,
                ..delivery.state
            };
            self.insert(id, no, DeliveryEntry::new(row, attempted), facts)?;
        }
        self.note_finish(id, facts.accepted_at, true)
    }

    fn forgotten(&mut self, id: EventId) -> Result<(), PagesError> {
        if let Some(known) = self.erased_entry(id)? {
            self.segments.remove(known.lsn);
            self.entries.remove(keys::erased(id));
            self.sums.erasing.remove(&id);
            self.meta.erased.take_off(1);
        }
        let key = match self.entries.get(&keys::event(id))? {
            None => return Ok(()),
            Some(bytes) => rows::decode::<EventRow<'_>>(&bytes).ok().and_then(|row| {
                row.idempotency_key
                    .map(|key| keys::idempotency(row.tenant, key))
            }),
        };
        if let Some(key) = key {
            let owner = self
                .entries
                .get(&key)?
                .and_then(|bytes| rows::decode::<KeyRow<'_>>(&bytes).ok().map(|row| row.id));
            if owner == Some(id.0) {
                self.entries.remove(key);
            }
        }
        self.meta.last_id = self.meta.last_id.max(id.0);
        self.remove_event(id)
    }

    /// Removes an event and its deliveries, whatever their state; its idempotency key stays.
    pub(super) fn remove_event(&mut self, id: EventId) -> Result<(), PagesError> {
        let Some(facts) = self.facts(id)? else {
            return Ok(());
        };
        self.note_finish(id, facts.accepted_at, false)?;
        for (no, entry) in self.delivery_entries(id)? {
            self.count(id, no, &entry.row, facts, false)?;
            self.unlist(id, no, &entry.row, facts);
            self.unlist_all_attempts((id, no), &entry)?;
            self.entries.remove(keys::delivery(id, no));
        }
        self.entries.remove(keys::open_count(id));
        self.entries.remove(keys::event(id));
        self.segments.remove(facts.lsn);
        self.blocks.lost_one();
        self.meta.events.take_off(1);
        self.meta.kept_bytes.take_off(facts.body_len + EVENT_COST);
        Ok(())
    }

    fn facts(&self, id: EventId) -> Result<Option<EventFacts>, PagesError> {
        let Some(bytes) = self.entries.get(&keys::event(id))? else {
            return Ok(None);
        };
        let row = rows::decode::<EventRow<'_>>(&bytes).map_err(|_| PagesError::Damaged)?;
        Ok(Some(EventFacts {
            lsn: row.lsn,
            accepted_at: row.accepted_at,
            body_len: row.body_len.into(),
            deliveries: row.deliveries,
            deliver_at: row.deliver_at,
            chain: chain_of(row.key),
        }))
    }

    /// The delivery and its event, or `None`, counted as unknown.
    pub(super) fn known_delivery(
        &mut self,
        id: EventId,
        no: EndpointNo,
    ) -> Result<Option<(DeliveryEntry, EventFacts)>, PagesError> {
        let entry = self.delivery_entry(id, no)?;
        let facts = self.facts(id)?;
        if entry.is_none() || facts.is_none() {
            self.unknown += 1;
        }
        Ok(entry.zip(facts))
    }

    fn insert(
        &mut self,
        id: EventId,
        no: EndpointNo,
        entry: DeliveryEntry,
        facts: EventFacts,
    ) -> Result<(), PagesError> {
        self.endpoints
            .entry(no)
            .or_insert_with(|| Box::new(StoredEndpoint::nameless(no)));
        self.entries
            .put_new(keys::delivery(id, no), rows::encode(&entry));
        self.list(id, no, &entry.row, facts);
        self.count(id, no, &entry.row, facts, true)
    }

    fn replace(
        &mut self,
        id: EventId,
        no: EndpointNo,
        old: DeliveryRow,
        entry: DeliveryEntry,
        facts: EventFacts,
    ) -> Result<(), PagesError> {
        let new = entry.row;
        let single = facts.deliveries < 2;
        if single {
            self.note_end(id, facts.accepted_at, end_of(&old), false);
        } else if !self.is_open(id)? {
            self.note_finish(id, facts.accepted_at, false)?;
        }
        self.count(id, no, &old, facts, false)?;
        self.unlist(id, no, &old, facts);
        self.entries
            .put(keys::delivery(id, no), rows::encode(&entry));
        self.list(id, no, &new, facts);
        self.count(id, no, &new, facts, true)?;
        if single {
            self.note_end(id, facts.accepted_at, end_of(&new), true);
        } else if !self.is_open(id)? {
            self.note_finish(id, facts.accepted_at, true)?;
        }
        Ok(())
    }

    fn list(&mut self, id: EventId, no: EndpointNo, row: &DeliveryRow, facts: EventFacts) {
        let Some(delivery) = row.delivery() else {
            return;
        };
        if delivery.status == Status::Pending {
            let queued = QueueRow::new(facts.lsn, row, facts.chain);
            self.entries
                .put_new(keys::queued(no, row.due, id), rows::encode(&queued));
            if facts.chain != 0 {
                let key = keys::chained(no, facts.chain, id);
                self.entries.put_new(key, Vec::new());
            }
        }
        for list in lists_of(delivery.status) {
            self.entries
                .put_new(keys::listed(*list, no, id), Vec::new());
        }
    }

    pub(super) fn unlist(
        &mut self,
        id: EventId,
        no: EndpointNo,
        row: &DeliveryRow,
        facts: EventFacts,
    ) {
        let Some(delivery) = row.delivery() else {
            return;
        };
        if delivery.status == Status::Pending {
            self.entries.remove(keys::queued(no, row.due, id));
            if facts.chain != 0 {
                self.entries.remove(keys::chained(no, facts.chain, id));
            }
        }
        for list in lists_of(delivery.status) {
            self.entries.remove(keys::listed(*list, no, id));
        }
    }
}

/// What the attempts of a delivery take after one more: only the last ones are kept.
fn after_attempt(row: &DeliveryRow, cost: u32) -> u32 {
    let gone = match row.attempt_count {
        0..ATTEMPTS_KEPT => 0,
        _ => row.attempt_bytes / ATTEMPTS_KEPT,
    };
    (row.attempt_bytes - gone).saturating_add(cost)
}

fn lists_of(status: Status) -> &'static [List] {
    match status {
        Status::Pending => &[List::Open],
        Status::Held => &[List::Open, List::Held],
        Status::Dead => &[List::Dead],
        Status::Delivered => &[],
    }
}
