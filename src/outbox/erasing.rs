//! Erasing an event: a record says so, from then on nobody sees it, and every copy of its
//! bodies in the log is overwritten.
//!
//! The copies that the index knows go with the record's own frame. Older ones, from before
//! the event was written again and of attempts, are found by a walk over the whole log, by
//! the thread that also decides when segments go. That it is finished is a record too, so a
//! crash at any point only makes the walk begin anew. What is kept of the event is its id,
//! and its idempotency key: a client that repeats itself gets the first answer.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::domain::delivery::Status;
use crate::domain::event::EventId;
use crate::outbox::Shared;
use crate::outbox::commit::Notice;
use crate::outbox::index::keys;
use crate::outbox::index::rows::{self, ErasedEntry, EventRow};
use crate::outbox::log::{Body, LogError, Lsn, Replayed};
use crate::outbox::record::{ErasedRow, Record};
use crate::outbox::settle::Acts;
use crate::outbox::view::ActRefused;
use crate::outbox::writer::{Draft, Writer, WriterError};

/// Between two walks: so many times as long as the last one took, within these bounds.
const REST: u32 = 20;
const REST_MIN: Duration = Duration::from_secs(2);
const REST_MAX: Duration = Duration::from_secs(600);
/// How many bodies are overwritten in one step.
const BATCH: usize = 256;

impl Writer {
    /// Adds what erasing takes to the frame; `None` if it must wait for the next one.
    pub(super) fn erase(&mut self, id: EventId, draft: &mut Draft) -> Acts {
        let (lsn, rows, key) = {
            let state = self.index.read();
            if state.entries.get(&keys::erased(id))?.is_some() {
                return Ok(Some(Ok(())));
            }
            let Some(bytes) = state.entries.get(&keys::event(id))? else {
                return Ok(Some(Err(ActRefused::NoSuchEvent)));
            };
            let row: EventRow<'_> = rows::decode(&bytes)?;
            let key = row
                .idempotency_key
                .map(|key| (row.tenant.to_owned(), key.to_owned()));
            (row.lsn, state.delivery_rows(id)?, key)
        };
        if key.as_ref().is_some_and(|key| draft.keys.contains_key(key)) {
            // Past its window, and used again earlier in this frame: it is the later event's.
            return Ok(None);
        }
        if !draft.erasing.insert(id) {
            return Ok(Some(Ok(())));
        }
        if rows
            .iter()
            .any(|(no, _)| draft.touched.contains(&(id, *no)))
        {
            draft.erasing.remove(&id);
            return Ok(None);
        }
        let at = self.now().as_millis();
        let row = ErasedRow {
            id: id.0,
            at,
            done: false,
        };
        self.push(&Record::Erased(row), &[])?;
        self.keep_keys(key.into_iter().collect())?;
        draft.erased.push(Lsn(lsn));
        for (no, row) in rows {
            draft.touched.insert((id, no));
            let open = row
                .delivery()
                .is_some_and(|found| matches!(found.status, Status::Pending | Status::Held));
            if open {
                draft
                    .commit
                    .notices
                    .push(Notice::Withdrawn { no, event: id });
            }
            if row.last_attempt > 0 {
                draft.erased.push(Lsn(row.last_attempt));
            }
        }
        tracing::info!(event = %id, "event erased");
        Ok(Some(Ok(())))
    }

    /// Adds that the event was erased, which only its body says by now.
    pub(super) fn erase_again(&mut self, id: EventId) -> Result<(), WriterError> {
        let row = ErasedRow {
            id: id.0,
            at: self.now().as_millis(),
            done: false,
        };
        self.push(&Record::Erased(row), &[])?;
        Ok(())
    }

    /// Every copy of these events' bodies was overwritten.
    pub(super) fn erased(&mut self, ids: &[EventId]) -> Result<(), WriterError> {
        for id in ids {
            self.push_erased(*id, Some(true))?;
        }
        Ok(())
    }

    /// Writes again, as it stands, that these events were erased.
    pub(super) fn keep_erased(&mut self, ids: &[EventId]) -> Result<(), WriterError> {
        for id in ids {
            self.push_erased(*id, None)?;
        }
        Ok(())
    }

    fn push_erased(&mut self, id: EventId, done: Option<bool>) -> Result<(), WriterError> {
        let known = {
            let state = self.index.read();
            let bytes = state.entries.get(&keys::erased(id))?;
            bytes
                .map(|bytes| rows::decode::<ErasedEntry>(&bytes))
                .transpose()?
        };
        if let Some(known) = known {
            let row = ErasedRow {
                id: id.0,
                at: known.at,
                done: done.unwrap_or(known.done),
            };
            self.push(&Record::Erased(row), &[])?;
        }
        Ok(())
    }
}

/// When the log was walked last, for what is left of erased events.
#[derive(Debug, Default)]
pub(super) struct Walked {
    last: Option<(Instant, Duration)>,
}

/// What a walk found.
pub(super) struct Copies {
    /// Every copy with bodies in it.
    pub records: Vec<Lsn>,
    /// The events of which these are all.
    pub events: Vec<EventId>,
}

impl Walked {
    fn is_due(&self) -> bool {
        self.last.is_none_or(|(at, took)| {
            at.elapsed() >= took.saturating_mul(REST).clamp(REST_MIN, REST_MAX)
        })
    }

    /// Walks the log for copies of erased events, if there are such events and it is time.
    /// No segment may go meanwhile.
    pub fn walk(&mut self, shared: &Shared) -> Result<Option<Copies>, LogError> {
        if !self.is_due() {
            return Ok(None);
        }
        let wanted = shared.index.read().sums.erasing.clone();
        if wanted.is_empty() {
            return Ok(None);
        }
        let began = Instant::now();
        // Whatever is written later is written after the event was gone.
        let end = shared.log.end();
        let mut records = Vec::new();
        if let Some((first, _)) = shared.log.segments().first() {
            let _ = shared.log.replay(*first, end, |replayed| {
                if let Replayed::Record(found) = replayed
                    // One that is sealed may have been cut short before its bytes went.
                    && !matches!(found.body, Body::Intact([]))
                    && is_copy(&wanted, found.kind, found.head)
                {
                    records.push(found.lsn);
                }
                ControlFlow::<()>::Continue(())
            })?;
        }
        self.last = Some((Instant::now(), began.elapsed()));
        Ok(Some(Copies {
            records,
            events: wanted.into_iter().collect(),
        }))
    }
}

fn is_copy(wanted: &BTreeSet<EventId>, kind: u8, head: &[u8]) -> bool {
    let id = match Record::decode(kind, head) {
        Ok(Record::Accepted(accepted)) => accepted.event.id,
        Ok(Record::Attempted(attempted)) => attempted.id,
        Ok(Record::Rewritten(rewritten)) => rewritten.event.id,
        Ok(Record::RewrittenInside(rewritten)) => rewritten.event.id,
        _ => return false,
    };
    wanted.contains(&EventId(id))
}

/// The records in pieces that one step takes.
pub(super) fn batches(records: &[Lsn]) -> impl Iterator<Item = Vec<Lsn>> {
    records.chunks(BATCH).map(<[Lsn]>::to_vec)
}
