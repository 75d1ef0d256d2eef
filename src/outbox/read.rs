//! Reading one event or delivery: what the index knows of it, and its record and attempts
//! from the log. What is short is read under the index's lock; the log is read without it.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::attempt::Attempt;
use crate::domain::delivery::Status;
use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::{EventId, EventType, Key, Payload, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::decide::envelope;
use crate::outbox::handle::Outbox;
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::shown::shown;
use crate::outbox::index::{Lane, PagesError, State, keys};
use crate::outbox::log::{self, Body, LogReader, Lsn};
use crate::outbox::record::{DeliveryRow, EventHead, Record, Rewritten};
use crate::outbox::views::{
    Content, DeliveryView, EventSummary, EventView, ReadError, StatusCounts,
};

/// How many attempts of a delivery are kept.
pub const ATTEMPTS_KEPT: usize = 50;

impl From<PagesError> for ReadError {
    fn from(error: PagesError) -> ReadError {
        if error.is_damage() {
            ReadError::Index(error.to_string())
        } else {
            ReadError::Damaged(error.to_string())
        }
    }
}

/// What to do about attempts that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempts {
    All,
    /// Those up to the damage, newest first.
    WhatIsLeft,
}

/// A delivery as the index has it, with all but its attempts.
pub(super) struct Sketch {
    pub view: DeliveryView,
    pub no: EndpointNo,
    last_attempt: u64,
}

/// What an event is shown with, from its row.
#[derive(Clone)]
pub(super) struct Summary {
    pub tenant: Tenant,
    pub event_type: EventType,
    key: Option<Key>,
    idempotency_key: Option<Key>,
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

pub(super) fn sketch(
    id: EventId,
    no: EndpointNo,
    row: &DeliveryRow,
    lane: &Lane,
    event: &Summary,
) -> Result<Sketch, ReadError> {
    let delivery = row.delivery().ok_or(PagesError::Damaged)?;
    let (status, reason) = shown(&delivery, lane);
    let gone_at = lane.deleted.map(Timestamp::from_millis);
    let view = DeliveryView {
        event: id,
        endpoint: lane.id.clone(),
        tenant: event.tenant.clone(),
        event_type: event.event_type.clone(),
        status,
        reason,
        attempts: Vec::new(),
        attempt_count: delivery.attempt_count,
        next_attempt_at: (status == Status::Pending).then_some(delivery.due),
        accepted_at: event.accepted_at,
        finished_at: delivery
            .finished_at
            .or(gone_at.filter(|_| status == Status::Dead)),
    };
    Ok(Sketch {
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

/// All deliveries of an event, in order of their endpoints' numbers.
pub(super) fn sketches(
    state: &State,
    id: EventId,
    event: &Summary,
) -> Result<Vec<Sketch>, ReadError> {
    let mut found = Vec::new();
    for (no, row) in state.delivery_rows(id)? {
        if let Some(lane) = state.lanes.get(&no) {
            found.push(sketch(id, no, &row, lane, event)?);
        }
    }
    Ok(found)
}

impl Sketch {
    /// Adds the attempts from the log.
    pub fn finish(mut self, log: &LogReader, wanted: Attempts) -> Result<DeliveryView, ReadError> {
        let (event, last) = (self.view.event, self.last_attempt);
        self.view.attempts = attempts(log, event, self.no, last, wanted)?;
        Ok(self.view)
    }
}

/// The last attempts of a delivery, oldest first, going back from where the last one is.
pub(super) fn attempts(
    log: &LogReader,
    id: EventId,
    no: EndpointNo,
    last: u64,
    wanted: Attempts,
) -> Result<Vec<Attempt>, ReadError> {
    let mut found = Vec::new();
    match attempts_since(log, id, no, last, 0, &mut found) {
        Err(error) if wanted == Attempts::All => return Err(unreadable(error)),
        _ => {}
    }
    found.reverse();
    Ok(found)
}

/// Adds the last attempts of a delivery, newest first, going back from `last` to the one at
/// `known`, which is not among them. Up to where it fails they are right.
pub(super) fn attempts_since(
    log: &LogReader,
    id: EventId,
    no: EndpointNo,
    last: u64,
    known: u64,
    found: &mut Vec<Attempt>,
) -> Result<(), log::ReadError> {
    let (mut at, mut buf) = (last, Vec::new());
    while at > known && found.len() < ATTEMPTS_KEPT {
        let record = log.read(Lsn(at), &mut buf)?;
        let body = match record.body {
            Body::Intact(body) => body,
            // What the receiver answered is gone; that there was an attempt is known.
            Body::Erased | Body::Damaged => &[],
        };
        let previous = match Record::decode(record.kind, record.head) {
            Ok(Record::Attempted(attempted))
                if attempted.id == id.0 && attempted.endpoint == no.0 =>
            {
                found.push(attempted.attempt.attempt(body));
                attempted.previous
            }
            Ok(Record::Rewritten(rewritten)) if rewritten.event.id == id.0 => {
                found.extend(rewritten_attempts(&rewritten, no, body).into_iter().rev());
                0
            }
            _ => return Err(log::ReadError::Damaged(Lsn(at))),
        };
        // The chain only ever leads back; anything else is damage.
        at = if previous < at { previous } else { 0 };
    }
    found.truncate(ATTEMPTS_KEPT);
    Ok(())
}

/// The attempts of one delivery in a record's head, oldest first, with their response
/// bodies from the record's body: they follow the event's, in the order of the head.
fn rewritten_attempts(rewritten: &Rewritten<'_>, no: EndpointNo, body: &[u8]) -> Vec<Attempt> {
    let mut rest = body
        .get(rewritten.event.body_len as usize..)
        .unwrap_or_default();
    let mut found = Vec::new();
    for delivery in &rewritten.deliveries {
        for row in &delivery.attempts {
            let (response, after) = rest
                .split_at_checked(row.response as usize)
                .unwrap_or_default();
            rest = after;
            if delivery.endpoint == no.0 {
                found.push(row.attempt(response));
            }
        }
    }
    found
}

fn unreadable(error: log::ReadError) -> ReadError {
    ReadError::Damaged(error.to_string())
}

/// What an event's record says will be sent, and what was handed in.
fn opened(head: &EventHead<'_>, body: Body<'_>) -> Result<(Content, Payload), ReadError> {
    let unlike = || ReadError::Damaged("the event's record is not what was written".into());
    if head.body_lost {
        return Err(ReadError::Damaged(
            "the event's body was lost to damage of the disk".into(),
        ));
    }
    let event_type = EventType::new(head.event_type).map_err(|_| unlike())?;
    let body = match body {
        // Response bodies may follow it.
        Body::Intact(body) => body
            .get(..head.body_len as usize)
            .map(Bytes::copy_from_slice)
            .ok_or_else(unlike)?,
        Body::Erased => return Err(ReadError::Erased),
        Body::Damaged => {
            return Err(ReadError::Damaged(
                "the event's body fails its checksum".into(),
            ));
        }
    };
    Ok(match head.content_type {
        Some(content_type) => {
            let content_type: Arc<str> = content_type.into();
            let payload = Payload::Opaque {
                content_type: content_type.clone(),
                body: body.clone(),
            };
            (
                Content {
                    event_type,
                    content_type,
                    opaque: true,
                    body,
                },
                payload,
            )
        }
        None => {
            let data = envelope::data_of(&body, head.data_at).ok_or_else(unlike)?;
            (
                Content {
                    event_type,
                    content_type: envelope::json_type(),
                    opaque: false,
                    body,
                },
                Payload::Json(data),
            )
        }
    })
}

/// The event whose record is at `lsn`.
pub(super) fn content(
    log: &LogReader,
    id: EventId,
    lsn: u64,
) -> Result<(Content, Payload), ReadError> {
    let mut buf = Vec::new();
    let record = log.read(Lsn(lsn), &mut buf).map_err(unreadable)?;
    match Record::decode(record.kind, record.head) {
        Ok(Record::Accepted(accepted)) if accepted.event.id == id.0 => {
            opened(&accepted.event, record.body)
        }
        Ok(Record::Rewritten(rewritten)) if rewritten.event.id == id.0 => {
            opened(&rewritten.event, record.body)
        }
        _ => Err(ReadError::Damaged(format!("no record of {id} is at {lsn}"))),
    }
}

/// Reads twice if the first time fails: cleaning may have moved a record to the head of
/// the log between the look into the index and the look into the log. If it was damage,
/// what is left of the attempts is shown.
fn twice<T>(read: impl Fn(Attempts) -> Result<T, ReadError>) -> Result<T, ReadError> {
    match read(Attempts::All) {
        Err(ReadError::Damaged(_)) => read(Attempts::WhatIsLeft),
        answer => answer,
    }
}

// These touch the disk: callers on the runtime use `spawn_blocking`.
impl Outbox {
    /// The event with its body and all its deliveries.
    pub fn event(&self, id: EventId) -> Result<EventView, ReadError> {
        self.judged(twice(|wanted| {
            let (summary, sketches) = {
                let state = self.shared.index.read();
                let summary = Summary::known(&state, id)?;
                let sketches = sketches(&state, id, &summary)?;
                (summary, sketches)
            };
            let (_, payload) = self.payload(id, summary.lsn, wanted)?;
            let mut counts = StatusCounts::default();
            let mut deliveries = Vec::with_capacity(sketches.len());
            for sketch in sketches {
                count(&mut counts, sketch.view.status);
                deliveries.push(sketch.finish(&self.shared.log, wanted)?);
            }
            Ok(EventView {
                summary: summary.with(id, counts),
                payload,
                deliveries,
            })
        }))
    }

    /// The event without its body, and without its deliveries' counts.
    pub fn summary(&self, id: EventId) -> Result<EventSummary, ReadError> {
        let summary = self.judged(Summary::read(&self.shared.index.read(), id))?;
        let summary = summary.ok_or(ReadError::NoSuchEvent)?;
        Ok(summary.with(id, StatusCounts::default()))
    }

    /// One delivery with its last 50 attempts.
    pub fn delivery(&self, id: EventId, endpoint: &EndpointId) -> Result<DeliveryView, ReadError> {
        self.judged(twice(|wanted| {
            let sketch = {
                let state = self.shared.index.read();
                let summary = Summary::known(&state, id)?;
                let (no, lane) = state
                    .lane_named(endpoint)
                    .ok_or(ReadError::NoSuchEndpoint)?;
                let row = state
                    .delivery_row(id, no)?
                    .ok_or(ReadError::NoSuchDelivery)?;
                sketch(id, no, &row, lane, &summary)?
            };
            sketch.finish(&self.shared.log, wanted)
        }))
    }

    /// What an attempt of the event sends. `lsn` is where its record was when the attempt
    /// was planned; the index is asked if it has moved since.
    pub fn content(&self, id: EventId, lsn: u64) -> Result<Content, ReadError> {
        if let Ok((content, _)) = content(&self.shared.log, id, lsn) {
            return Ok(content);
        }
        let lsn = self
            .judged(Summary::known(&self.shared.index.read(), id))?
            .lsn;
        let (content, _) = self.payload(id, lsn, Attempts::WhatIsLeft)?;
        Ok(content)
    }

    /// What the record of an event says. For the last try damage is counted.
    fn payload(
        &self,
        id: EventId,
        lsn: u64,
        wanted: Attempts,
    ) -> Result<(Content, Payload), ReadError> {
        let found = content(&self.shared.log, id, lsn);
        let known = || {
            Summary::read(&self.shared.index.read(), id)
                .is_ok_and(|event| event.is_some_and(|event| event.body_lost))
        };
        if let (Err(ReadError::Damaged(_)), Attempts::WhatIsLeft) = (&found, wanted)
            && !known()
        {
            self.shared.met_damage(lsn);
        }
        found
    }

    /// A damaged index ends the process: what it hides is in the log.
    pub(super) fn judged<T>(&self, answer: Result<T, ReadError>) -> Result<T, ReadError> {
        if let Err(error @ ReadError::Index(_)) = &answer {
            self.shared.index_failed(&error.to_string());
        }
        answer
    }
}
