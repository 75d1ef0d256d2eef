//! Reading one event or delivery: what the index knows of it, and its record and attempts
//! from the log.

use crate::domain::attempt::Attempt;
use crate::domain::content::Content;
use crate::domain::delivery::Status;
use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::{EventId, EventType, Key, Payload, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::handle::Outbox;
use crate::outbox::index::rows::{self, DeliveryEntry, EventRow};
use crate::outbox::index::shown::shown;
use crate::outbox::index::{Hold, PagesError, State, StoredEndpoint, keys};
use crate::outbox::log::LogReader;
use crate::outbox::record::DeliveryRow;
use crate::outbox::views::{DeliveryView, EventSummary, EventView, ReadError, StatusCounts};

use super::range::{Piece, Range, Row};
use super::records::{Attempts, attempts, content, last_attempt};

/// About how many bytes of attempts one answer carries.
pub(super) const ATTEMPT_BYTES: usize = 8 << 20;
/// About what an attempt takes besides its response body.
pub(super) const ATTEMPT_COST: usize = 128;

/// A delivery as the index has it, with all but its attempts.
pub(super) struct IndexedDelivery {
    pub view: DeliveryView,
    pub no: EndpointNo,
    last_attempt: u64,
}

/// What an event is shown with, from its row.
#[derive(Clone)]
pub(super) struct Summary {
    pub tenant: Tenant,
    pub event_type: EventType,
    pub key: Option<Key>,
    pub idempotency_key: Option<Key>,
    pub accepted_at: Timestamp,
    deliver_at: Option<Timestamp>,
    body_lost: bool,
    lsn: u64,
}

impl Summary {
    pub fn read(state: &State, id: EventId) -> Result<Option<Summary>, ReadError> {
        let Some(bytes) = state.entries.get(&keys::event(id))? else {
            return Ok(None);
        };
        Summary::of(&bytes).map(Some)
    }

    /// Like [`read`](Self::read), and why not if there is none.
    fn known(state: &State, id: EventId) -> Result<Summary, ReadError> {
        match Summary::read(state, id)? {
            Some(summary) => Ok(summary),
            None if state.entries.get(&keys::erased(id))?.is_some() => Err(ReadError::Erased),
            None => Err(ReadError::NoSuchEvent),
        }
    }

    pub fn of(bytes: &[u8]) -> Result<Summary, ReadError> {
        let damaged = || ReadError::from(PagesError::Damaged);
        let row: EventRow<'_> = rows::decode(bytes).map_err(|_| damaged())?;
        let key = |text: Option<&str>| text.map(Key::new).transpose().map_err(|_| damaged());
        Ok(Summary {
            tenant: Tenant::new(row.tenant).map_err(|_| damaged())?,
            event_type: EventType::new(row.event_type).map_err(|_| damaged())?,
            key: key(row.key)?,
            idempotency_key: key(row.idempotency_key)?,
            accepted_at: Timestamp::from_millis(row.accepted_at),
            deliver_at: row.deliver_at.map(Timestamp::from_millis),
            body_lost: row.body_lost,
            lsn: row.lsn,
        })
    }

    pub fn with(self, id: EventId, counts: StatusCounts) -> EventSummary {
        EventSummary {
            id,
            tenant: self.tenant,
            event_type: self.event_type,
            key: self.key,
            idempotency_key: self.idempotency_key,
            accepted_at: self.accepted_at,
            deliver_at: self.deliver_at,
            counts,
        }
    }
}

pub(super) fn indexed(
    id: EventId,
    no: EndpointNo,
    row: &DeliveryRow,
    stored: &StoredEndpoint,
    event: &Summary,
) -> Result<IndexedDelivery, ReadError> {
    let delivery = row.delivery().ok_or(PagesError::Damaged)?;
    let (status, reason) = shown(&delivery, stored);
    let gone_at = stored.deleted.map(Timestamp::from_millis);
    let view = DeliveryView {
        event: id,
        endpoint: stored.id.clone(),
        tenant: event.tenant.clone(),
        event_type: event.event_type.clone(),
        status,
        reason,
        attempts: Vec::new(),
        attempts_omitted: false,
        attempt_count: delivery.attempt_count,
        next_attempt_at: (status == Status::Pending).then_some(delivery.due),
        accepted_at: event.accepted_at,
        finished_at: delivery
            .finished_at
            .or(gone_at.filter(|_| status == Status::Dead)),
    };
    Ok(IndexedDelivery {
        view,
        no,
        last_attempt: row.last_attempt,
    })
}

pub(super) fn count(counts: &mut StatusCounts, status: Status) {
    match status {
        Status::Pending => counts.pending += 1,
        Status::Held => counts.held += 1,
        Status::Delivered => counts.delivered += 1,
        Status::Dead => counts.dead += 1,
    }
}

/// The rows of an event's deliveries, in order of their endpoints' numbers.
fn deliveries_of(id: EventId) -> Range {
    let prefix = keys::deliveries(id);
    let end = keys::end_of(&prefix);
    Range::forward(prefix, end)
}

/// A delivery's row and its endpoint; `None`: nothing is known of the endpoint.
fn delivery_in<'a>(
    state: &'a State,
    key: &[u8],
    value: &[u8],
) -> Result<Option<(EndpointNo, &'a StoredEndpoint, DeliveryRow)>, ReadError> {
    let no = keys::endpoint_of(key).ok_or(PagesError::Damaged)?;
    let entry: DeliveryEntry = rows::decode(value).map_err(|_| PagesError::Damaged)?;
    let stored = state.endpoints.get(&no);
    Ok(stored.map(|stored| (no, &**stored, entry.row)))
}

/// An event whose deliveries are counted by status, in pieces.
pub(super) struct Counting {
    id: EventId,
    event: Summary,
    counts: StatusCounts,
    rows: Range,
}

impl Counting {
    pub fn new(id: EventId, event: Summary) -> Counting {
        Counting {
            id,
            event,
            counts: StatusCounts::default(),
            rows: deliveries_of(id),
        }
    }

    /// Whether all of them are counted.
    pub fn advance(&mut self, hold: &Hold<'_>) -> Result<bool, ReadError> {
        let counts = &mut self.counts;
        let piece = self.rows.advance(hold, |key, value| {
            if let Some((_, stored, row)) = delivery_in(hold, key, value)? {
                let delivery = row.delivery().ok_or(PagesError::Damaged)?;
                count(counts, shown(&delivery, stored).0);
            }
            Ok(Row::Taken)
        })?;
        Ok(piece == Piece::End)
    }

    /// Whether the event is still there: between two pieces it may have been erased.
    pub fn is_there(&self, hold: &Hold<'_>) -> Result<bool, ReadError> {
        Ok(hold.entries.get(&keys::event(self.id))?.is_some())
    }

    pub fn counted(&self) -> u64 {
        let counts = &self.counts;
        counts.pending + counts.held + counts.delivered + counts.dead
    }

    pub fn summary(self) -> EventSummary {
        self.event.with(self.id, self.counts)
    }
}

impl IndexedDelivery {
    /// Adds the attempts from the log.
    pub fn finish(mut self, log: &LogReader, wanted: Attempts) -> Result<DeliveryView, ReadError> {
        let (event, last) = (self.view.event, self.last_attempt);
        self.view.attempts = attempts(log, event, self.no, last, wanted)?;
        Ok(self.view)
    }

    /// The last attempt, if it can be read.
    pub fn last_attempt(&self, log: &LogReader) -> Option<Attempt> {
        last_attempt(log, self.view.event, self.no, self.last_attempt)
    }

    /// Leaves the attempts out.
    fn without_attempts(mut self) -> DeliveryView {
        self.view.attempts_omitted = self.last_attempt > 0;
        self.view
    }
}

/// About how many bytes its attempts take.
pub(super) fn attempt_bytes(view: &DeliveryView) -> usize {
    let sizes = view.attempts.iter();
    sizes
        .map(|attempt| attempt.response_body.len() + ATTEMPT_COST)
        .sum()
}

/// Reads twice if the first time fails: cleaning may have moved a record to the head of
/// the log between the look into the index and the look into the log. If it was damage,
/// what is left of the attempts is shown.
pub(super) fn twice<T>(read: impl Fn(Attempts) -> Result<T, ReadError>) -> Result<T, ReadError> {
    match read(Attempts::All) {
        Err(ReadError::Damaged(_)) => read(Attempts::WhatIsLeft),
        answer => answer,
    }
}

// These touch the disk: callers on the runtime use `spawn_blocking`.
impl Outbox {
    /// The event with its body and all its deliveries. Of a wide one the last deliveries
    /// come without their attempts (`attempts_omitted`), which may be gigabytes.
    pub fn event(&self, id: EventId) -> Result<EventView, ReadError> {
        self.reliably(|| {
            twice(|wanted| {
                let (summary, found) = self.indexed_deliveries(id)?;
                let (content, payload) = self.payload(id, &summary, wanted)?;
                let mut counts = StatusCounts::default();
                let mut deliveries = Vec::with_capacity(found.len());
                let mut bytes = 0;
                for delivery in found {
                    count(&mut counts, delivery.view.status);
                    let view = if bytes < ATTEMPT_BYTES {
                        delivery.finish(&self.shared.log, wanted)?
                    } else {
                        delivery.without_attempts()
                    };
                    bytes += attempt_bytes(&view);
                    deliveries.push(view);
                }
                Ok(EventView {
                    summary: summary.with(id, counts),
                    payload,
                    extras: content.extras,
                    deliveries,
                })
            })
        })
    }

    /// All deliveries of an event, in order of their endpoints' numbers.
    pub(super) fn indexed_deliveries(
        &self,
        id: EventId,
    ) -> Result<(Summary, Vec<IndexedDelivery>), ReadError> {
        let mut rows = deliveries_of(id);
        let mut found = Vec::new();
        loop {
            let hold = self.shared.index.read();
            // Since the last piece it may have been erased, or its record may have moved.
            let summary = Summary::known(&hold, id)?;
            let piece = rows.advance(&hold, |key, value| {
                if let Some((no, stored, row)) = delivery_in(&hold, key, value)? {
                    found.push(indexed(id, no, &row, stored, &summary)?);
                }
                Ok(Row::Taken)
            })?;
            if piece == Piece::End {
                return Ok((summary, found));
            }
        }
    }

    /// The event without its body, and without its deliveries' counts.
    pub fn summary(&self, id: EventId) -> Result<EventSummary, ReadError> {
        let summary = self.reliably(|| Summary::read(&self.shared.index.read(), id))?;
        let summary = summary.ok_or(ReadError::NoSuchEvent)?;
        Ok(summary.with(id, StatusCounts::default()))
    }

    /// One delivery with its last 50 attempts.
    pub fn delivery(&self, id: EventId, endpoint: &EndpointId) -> Result<DeliveryView, ReadError> {
        self.reliably(|| {
            twice(|wanted| {
                let delivery = {
                    let state = self.shared.index.read();
                    let summary = Summary::known(&state, id)?;
                    let (no, stored) = state
                        .endpoint_named(endpoint)
                        .ok_or(ReadError::NoSuchEndpoint)?;
                    let row = state
                        .delivery_row(id, no)?
                        .ok_or(ReadError::NoSuchDelivery)?;
                    indexed(id, no, &row, stored, &summary)?
                };
                delivery.finish(&self.shared.log, wanted)
            })
        })
    }

    /// What an attempt of the event sends. `lsn` is where its record was when the attempt
    /// was planned; the index is asked if it has moved since.
    pub fn content(&self, id: EventId, lsn: u64) -> Result<Content, ReadError> {
        let mut at = lsn;
        loop {
            let found = content(&self.shared.log, id, at);
            let Err(ReadError::Damaged(_)) = &found else {
                return found.map(|(content, _)| content);
            };
            let known = self.reliably(|| Summary::known(&self.shared.index.read(), id))?;
            if known.lsn == at {
                // The index points there after the reading too: it was not moved meanwhile.
                if !known.body_lost {
                    self.shared.met_damage(at);
                }
                return found.map(|(content, _)| content);
            }
            at = known.lsn;
        }
    }

    /// What the record of an event says. For the last try damage is counted.
    fn payload(
        &self,
        id: EventId,
        event: &Summary,
        wanted: Attempts,
    ) -> Result<(Content, Payload), ReadError> {
        let found = content(&self.shared.log, id, event.lsn);
        if let (Err(ReadError::Damaged(_)), Attempts::WhatIsLeft) = (&found, wanted)
            && !event.body_lost
        {
            self.shared.met_damage(event.lsn);
        }
        found
    }
}
