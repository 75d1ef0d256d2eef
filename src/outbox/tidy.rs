//! The writer's side of cleaning: each step is judged again here, in a frame of its own.

use std::collections::BTreeSet;

use crate::domain::attempt::Attempt;
use crate::domain::delivery::Status;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::accept::is_past;
use crate::outbox::cleaning::Step;
use crate::outbox::index::keys;
use crate::outbox::index::rows::{self, EventRow, KeyRow};
use crate::outbox::log::{Body, LogError, Lsn};
use crate::outbox::read;
use crate::outbox::record::{
    AttemptRow, DeliveryRow, EventHead, Idempotency, KeyKept, Record, Rewritten, RewrittenDelivery,
};
use crate::outbox::writer::{Draft, Writer, WriterError};

/// How many bytes of response bodies an event keeps when it is written again: with a
/// wide fan-out there may be far too many for one record.
const REWRITTEN_BODIES: usize = 4 << 20;

impl Writer {
    /// Takes one step of cleaning, durably.
    pub(super) fn clean(&mut self, step: Step) -> Result<(), WriterError> {
        match step {
            Step::Forget(ids) => self.forget(ids)?,
            Step::Rewrite(ids) => {
                for id in ids {
                    self.rewrite(id)?;
                }
            }
            Step::Overwrite(records) => self.log.erase(&records)?,
            Step::Erased(ids) => self.erased(&ids)?,
            Step::Drop {
                start,
                lanes,
                specs,
                keys,
                erased,
            } => {
                self.keep_erased(&erased)?;
                return self.drop_segments(start, lanes, specs, keys);
            }
        }
        self.commit(Draft::default())?;
        Ok(())
    }

    fn forget(&mut self, ids: Vec<EventId>) -> Result<(), WriterError> {
        let mut finished = Vec::with_capacity(ids.len());
        let mut keys_kept = Vec::new();
        for id in ids {
            let state = self.index.read();
            let rows = state.delivery_rows(id)?;
            let open = rows.iter().any(|(_, row)| {
                row.delivery().is_none_or(|delivery| {
                    matches!(delivery.status, Status::Pending | Status::Held)
                })
            });
            let Some(bytes) = state.entries.get(&keys::event(id))? else {
                if state.entries.get(&keys::erased(id))?.is_some()
                    && !state.sums.erasing.contains(&id)
                {
                    finished.push(id.0);
                }
                continue;
            };
            if open {
                continue;
            }
            let row: EventRow<'_> = rows::decode(&bytes)?;
            if let Some(key) = row.idempotency_key {
                keys_kept.push((row.tenant.to_owned(), key.to_owned()));
            }
            finished.push(id.0);
        }
        if finished.is_empty() {
            return Ok(());
        }
        self.push(&Record::Forgotten(finished), &[])?;
        self.keep_keys(keys_kept)
    }

    /// Adds a `KeyKept` for each key that is within its window, and forgets the others.
    pub(super) fn keep_keys(&mut self, names: Vec<(String, String)>) -> Result<(), WriterError> {
        let now = self.now();
        let mut past = Vec::new();
        for (tenant, key) in &names {
            let found = self
                .index
                .read()
                .entries
                .get(&keys::idempotency(tenant, key))?
                .map(|bytes| bytes.into_owned());
            let Some(bytes) = found else { continue };
            let row: KeyRow<'_> = rows::decode(&bytes)?;
            if is_past(
                EventId(row.id).timestamp(),
                self.limits.idempotency_window,
                now,
            ) {
                past.push((tenant.as_str(), key.as_str()));
                continue;
            }
            let idempotency = Idempotency {
                key,
                content: row.content,
            };
            let (id, event_type, deliveries) = (row.id, row.event_type, row.deliveries);
            self.push(
                &Record::KeyKept(KeyKept {
                    tenant,
                    idempotency,
                    id,
                    event_type,
                    deliveries,
                }),
                &[],
            )?;
        }
        if !past.is_empty() {
            self.push(&Record::KeysForgotten(past), &[])?;
        }
        Ok(())
    }

    /// Adds the event, whole, as it stands now.
    fn rewrite(&mut self, id: EventId) -> Result<(), WriterError> {
        let (row_bytes, rows) = {
            let state = self.index.read();
            let Some(bytes) = state.entries.get(&keys::event(id))? else {
                return Ok(());
            };
            (bytes.into_owned(), state.delivery_rows(id)?)
        };
        let row: EventRow<'_> = rows::decode(&row_bytes)?;
        let mut buf = Vec::new();
        let log = self.shared.log.clone();
        let found = log.read(Lsn(row.lsn), &mut buf);
        let found = match &found {
            Ok(found) => found,
            Err(error) => return self.lost(id, &error.to_string()),
        };
        let body = match found.body {
            Body::Intact(body) => body,
            // The record that said so was lost to damage.
            Body::Erased => return self.erase_again(id),
            Body::Damaged => return self.lost(id, "its body is damaged"),
        };
        let head = match Record::decode(found.kind, found.head)? {
            Record::Accepted(accepted) => accepted.event,
            Record::Rewritten(rewritten) => rewritten.event,
            Record::RewrittenInside(rewritten) => rewritten.event,
            _ => return self.lost(id, "its record is another"),
        };
        let head = EventHead {
            idempotency: self.still_owned(&head)?,
            ..head
        };
        // Its own body, without the response bodies of an earlier rewriting.
        let Some(mut body) = body.get(..head.body_len as usize).map(<[u8]>::to_vec) else {
            return self.lost(id, "its body is too short");
        };
        let kept = self.kept_attempts(id, rows, &mut body);
        let deliveries = kept.iter().map(|(no, state, attempts)| RewrittenDelivery {
            endpoint: no.0,
            state: *state,
            attempts: attempts.iter().map(AttemptRow::new).collect(),
        });
        let rewritten = Rewritten {
            event: head,
            deliveries: deliveries.collect(),
        };
        let left = rewritten.deliveries.len();
        let key = rewritten.event.idempotency.as_ref().map(|kept| kept.key);
        let key = key.map(|key| (rewritten.event.tenant.to_owned(), key.to_owned()));
        self.push(&Record::Rewritten(rewritten), &body)?;
        // The record counts the deliveries that are left; the answer that was given for the
        // key counted all of them.
        match key {
            Some(key)
                if self
                    .answered(&key)?
                    .is_some_and(|count| count as usize != left) =>
            {
                self.keep_keys(vec![key])
            }
            _ => Ok(()),
        }
    }

    /// How many deliveries the answer counted that a key stands for.
    fn answered(&self, (tenant, key): &(String, String)) -> Result<Option<u32>, WriterError> {
        let state = self.index.read();
        let bytes = state.entries.get(&keys::idempotency(tenant, key))?;
        let row = bytes
            .as_deref()
            .map(rows::decode::<KeyRow<'_>>)
            .transpose()?;
        Ok(row.map(|row| row.deliveries))
    }

    /// The attempts of these deliveries as far as they can be read. Their response bodies
    /// are added to `body`, and those that would be too many are left out.
    fn kept_attempts(
        &self,
        id: EventId,
        rows: Vec<(EndpointNo, DeliveryRow)>,
        body: &mut Vec<u8>,
    ) -> Vec<(EndpointNo, DeliveryRow, Vec<Attempt>)> {
        let mut bodies = 0;
        let mut read = |(no, row): (EndpointNo, DeliveryRow)| {
            let (log, left) = (&self.shared.log, read::Attempts::WhatIsLeft);
            let mut attempts =
                read::attempts(log, id, no, row.last_attempt, left).unwrap_or_default();
            for attempt in &mut attempts {
                bodies += attempt.response_body.len();
                if bodies > REWRITTEN_BODIES {
                    attempt.response_body.clear();
                }
                body.extend_from_slice(&attempt.response_body);
            }
            (no, row, attempts)
        };
        rows.into_iter().map(&mut read).collect()
    }

    fn lost(&mut self, id: EventId, reason: &str) -> Result<(), WriterError> {
        tracing::error!(event = %id, reason, "a damaged record cannot be kept any longer");
        self.shared.count_damage(1);
        Ok(())
    }

    /// The event's idempotency key, unless it belongs to a later event by now.
    fn still_owned<'a>(
        &self,
        head: &EventHead<'a>,
    ) -> Result<Option<Idempotency<'a>>, WriterError> {
        let Some(idempotency) = &head.idempotency else {
            return Ok(None);
        };
        let state = self.index.read();
        let owner = match state
            .entries
            .get(&keys::idempotency(head.tenant, idempotency.key))?
        {
            Some(bytes) => rows::decode::<KeyRow<'_>>(&bytes)?.id,
            None => return Ok(None),
        };
        Ok((owner == head.id).then(|| idempotency.clone()))
    }

    fn drop_segments(
        &mut self,
        start: Lsn,
        lanes: BTreeSet<EndpointNo>,
        specs: BTreeSet<EndpointNo>,
        keys: Vec<(String, String)>,
    ) -> Result<(), WriterError> {
        if !self.keep_lanes(lanes, &specs)? {
            // There was no room for it: what the segments hold is still wanted.
            return Ok(());
        }
        self.keep_keys(keys)?;
        self.keep_jobs()?;
        let last_id = self.index.read().meta.last_id;
        self.push(&Record::LastId(last_id), &[])?;
        let before = self.log.end();
        self.commit(Draft::default())?;
        if self.log.end() == before {
            // There was no room for it: what the segments hold is still wanted.
            return Ok(());
        }
        match self.log.drop_below(start) {
            Ok(()) => {
                self.note_log_size();
                let end = self.log.end();
                self.index.write().meta.applied = end.0;
                tracing::debug!(%start, "old segments of the log were deleted");
                Ok(())
            }
            Err(LogError::NoSpace) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings the figures that `status` shows up to date.
    pub(super) fn note_log_size(&self) {
        let total: u64 = self.log.segments().iter().map(|(_, len)| len).sum();
        self.shared
            .gauges
            .log_bytes
            .store(total, std::sync::atomic::Ordering::Relaxed);
        self.shared.gauges.free_bytes.store(
            self.limits.free_bytes(),
            std::sync::atomic::Ordering::Relaxed,
        );
        let pressure = u8::from(self.limits.is_out());
        self.shared
            .gauges
            .pressure
            .store(pressure, std::sync::atomic::Ordering::Relaxed);
    }
}
