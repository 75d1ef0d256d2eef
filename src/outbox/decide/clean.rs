//! What cleaning changes: finished events are forgotten, and events of old segments are
//! written again at the log's head.

use crate::domain::attempt::Attempt;
use crate::domain::delivery::{Delivery, Move, Reason, Status};
use crate::domain::endpoint::EndpointNo;
use crate::domain::engine::chain_of;
use crate::domain::event::EventId;
use crate::outbox::decide::kept_keys::keep_keys;
use crate::outbox::decide::report::{self, Death};
use crate::outbox::decide::{Basis, DecideError, Draft, erase};
use crate::outbox::index::rows::{self, EventRow, KeyRow};
use crate::outbox::index::{PagesError, keys};
use crate::outbox::record::{
    AttemptRow, DeliveryRow, EventHead, Idempotency, Record, Rewritten, RewrittenDelivery,
};
use crate::outbox::request::{Moving, MovingDelivery, MovingRecord, Notice};

/// How many bytes of response bodies, and of attempts without them, an event keeps when it
/// is written again: with a wide fan-out there may be far too many for one record.
const KEPT_RESPONSES: usize = 4 << 20;
const KEPT_ATTEMPTS: usize = 8 << 20;
/// About what an attempt takes besides its texts.
const ATTEMPT_COST: usize = 64;

/// Forgets those of these events that are finished.
pub fn forget(basis: &Basis<'_>, ids: &[EventId], draft: &mut Draft) -> Result<(), DecideError> {
    let state = basis.state;
    let mut finished = Vec::with_capacity(ids.len());
    let mut keys_kept = Vec::new();
    for id in ids {
        let Some(bytes) = state.entries.get(&keys::event(*id))? else {
            if state.erased_entry(*id)?.is_some() && !state.sums.erasing.contains(id) {
                finished.push(id.0);
            }
            continue;
        };
        let is_open = |(_, row): &(EndpointNo, DeliveryRow)| {
            row.delivery().is_none_or(|found| is_open(&found))
        };
        let rows = state.delivery_rows(*id)?;
        if rows.iter().any(is_open) {
            continue;
        }
        let row: EventRow<'_> = rows::decode(&bytes)?;
        if let Some(key) = row.idempotency_key {
            keys_kept.push((row.tenant.to_owned(), key.to_owned()));
        }
        draft.expect_deliveries(rows.len());
        finished.push(id.0);
    }
    if finished.is_empty() {
        return Ok(());
    }
    draft.push(&Record::Forgotten(finished), &[])?;
    keep_keys(basis, keys_kept, draft)
}

fn is_open(delivery: &Delivery) -> bool {
    matches!(delivery.status, Status::Pending | Status::Held)
}

/// A delivery whose attempts went on since its event was read from the log: where its last
/// one is now, and where it was.
pub struct Behind {
    pub no: EndpointNo,
    pub last_attempt: u64,
    pub known: u64,
}

/// What has to be read again before the event can be written; `None` if it is gone or was
/// written again meanwhile.
pub fn behind(basis: &Basis<'_>, moving: &Moving) -> Result<Option<Vec<Behind>>, DecideError> {
    let state = basis.state;
    let Some(bytes) = state.entries.get(&keys::event(moving.id))? else {
        return Ok(None);
    };
    let row: EventRow<'_> = rows::decode(&bytes)?;
    if row.lsn != moving.lsn {
        return Ok(None);
    }
    let mut behind = Vec::new();
    for (no, row) in state.delivery_rows(moving.id)? {
        let known = moving.delivery(no).map_or(0, |found| found.last_attempt);
        if row.last_attempt != known {
            let last_attempt = row.last_attempt;
            behind.push(Behind {
                no,
                last_attempt,
                known,
            });
        }
    }
    Ok(Some(behind))
}

impl Moving {
    fn delivery(&self, no: EndpointNo) -> Option<&MovingDelivery> {
        let at = self.deliveries.binary_search_by_key(&no, |found| found.no);
        self.deliveries.get(at.ok()?)
    }
}

/// Adds the event, whole, as it stands now. [`behind`] has nothing to read again.
pub fn rewrite(basis: &Basis<'_>, moving: &Moving, draft: &mut Draft) -> Result<(), DecideError> {
    let (state, id) = (basis.state, moving.id);
    let Some(bytes) = state.entries.get(&keys::event(id))? else {
        return Ok(());
    };
    let row: EventRow<'_> = rows::decode(&bytes)?;
    let rows = state.delivery_rows(id)?;
    draft.expect_deliveries(rows.len());
    match &moving.record {
        MovingRecord::Erased => erase::again(basis, id, draft),
        MovingRecord::Damaged => lost(basis, moving, &row, rows, draft),
        MovingRecord::Whole { kind, head, body } => {
            let (head, extras_len) = match Record::decode(*kind, head, Some(body))? {
                Some(Record::Accepted(accepted)) => (accepted.event, accepted.extras_len),
                Some(Record::Rewritten(rewritten)) => (rewritten.event, rewritten.extras_len),
                _ => return Err(PagesError::Damaged.into()),
            };
            let idempotency = still_owned(basis, &head)?;
            let head = EventHead {
                idempotency,
                ..head
            };
            push_rewritten(basis, head, (body, extras_len), moving, rows, draft)
        }
    }
}

/// The event's own body is unreadable for good. What is open of it can never be sent: it is
/// dead, reason `damaged`. The event stays listed, without its body.
fn lost(
    basis: &Basis<'_>,
    moving: &Moving,
    row: &EventRow<'_>,
    rows: Vec<(EndpointNo, DeliveryRow)>,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let (event, at, reason) = (moving.id, basis.now, Reason::Damaged);
    let chain = chain_of(row.key);
    let mut left = Vec::with_capacity(rows.len());
    for (no, row) in rows {
        let delivery = row.delivery().ok_or(PagesError::Damaged)?;
        if !is_open(&delivery) {
            left.push((no, row));
            continue;
        }
        let dead = delivery.after(Move::Die { at, reason });
        let dead = dead.map_err(|_| PagesError::Damaged)?;
        left.push((no, DeliveryRow::new(dead, false, row.attempts())));
        draft.tell(Notice::Withdrawn { no, event, chain });
        let attempt_count = row.attempt_count;
        report::dead(
            basis,
            Death {
                event,
                no,
                reason,
                attempt_count,
            },
            draft,
        )?;
    }
    let idempotency = row.idempotency_key.map(|key| Idempotency {
        key,
        content: [0; 32],
    });
    let head = EventHead {
        id: event.0,
        accepted_at: row.accepted_at,
        tenant: row.tenant,
        event_type: row.event_type,
        key: row.key,
        idempotency,
        deliver_at: row.deliver_at,
        content_type: None,
        data_at: 0,
        body_len: 0,
        body_lost: true,
    };
    // The fingerprint is that of the key's own row.
    let idempotency = still_owned(basis, &head)?;
    let head = EventHead {
        idempotency,
        ..head
    };
    draft.damaged.push((event, moving.lsn));
    push_rewritten(basis, head, (&[], 0), moving, left, draft)
}

fn push_rewritten(
    basis: &Basis<'_>,
    head: EventHead<'_>,
    (body, extras_len): (&[u8], u32),
    moving: &Moving,
    rows: Vec<(EndpointNo, DeliveryRow)>,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let key = head.idempotency.as_ref();
    let key = key.map(|kept| (head.tenant.to_owned(), kept.key.to_owned()));
    let left = rows.len();
    let most = attempts_that_fit(moving);
    let mut body = body.to_vec();
    let mut responses = 0;
    let mut deliveries = Vec::with_capacity(left);
    for (no, state) in rows {
        let attempts = moving.delivery(no).map_or(&[][..], |found| &found.attempts);
        let first = attempts.len().saturating_sub(most);
        let mut kept = Vec::with_capacity(attempts.len() - first);
        for attempt in attempts.get(first..).unwrap_or_default() {
            let mut row = AttemptRow::new(attempt);
            responses += attempt.response_body.len();
            if responses > KEPT_RESPONSES {
                row.response = 0;
            } else {
                body.extend_from_slice(&attempt.response_body);
            }
            kept.push(row);
        }
        deliveries.push(RewrittenDelivery {
            endpoint: no.0,
            state,
            attempts: kept,
        });
    }
    let rewritten = Rewritten {
        event: head,
        deliveries,
        extras_len,
    };
    draft.push(&Record::Rewritten(rewritten), &body)?;
    // The record counts the deliveries that are left; the answer that was given for the
    // key counted all of them.
    match key {
        Some(key) if answered(basis, &key)?.is_some_and(|count| count as usize != left) => {
            keep_keys(basis, vec![key], draft)
        }
        _ => Ok(()),
    }
}

/// How many of the last attempts of each delivery fit into one record.
fn attempts_that_fit(moving: &Moving) -> usize {
    let cost = |attempt: &Attempt| {
        let text = attempt.error.as_ref().map_or(0, |error| error.detail.len());
        ATTEMPT_COST + text
    };
    let taken = |most: usize| {
        let kept = moving.deliveries.iter();
        let kept = kept.flat_map(|found| found.attempts.iter().rev().take(most));
        kept.map(cost).sum::<usize>()
    };
    let mut most = usize::MAX;
    for fewer in [usize::MAX, 50, 25, 10, 5, 2, 1, 0] {
        most = fewer;
        if taken(most) <= KEPT_ATTEMPTS {
            break;
        }
    }
    most
}

/// How many deliveries the answer counted that a key stands for.
fn answered(
    basis: &Basis<'_>,
    (tenant, key): &(String, String),
) -> Result<Option<u32>, DecideError> {
    let bytes = basis.state.entries.get(&keys::idempotency(tenant, key))?;
    let row = bytes
        .as_deref()
        .map(rows::decode::<KeyRow<'_>>)
        .transpose()?;
    Ok(row.map(|row| row.deliveries))
}

/// The event's idempotency key with its fingerprint, unless it belongs to a later event by
/// now.
fn still_owned<'a>(
    basis: &Basis<'_>,
    head: &EventHead<'a>,
) -> Result<Option<Idempotency<'a>>, DecideError> {
    let Some(Idempotency { key, .. }) = head.idempotency else {
        return Ok(None);
    };
    let found = basis
        .state
        .entries
        .get(&keys::idempotency(head.tenant, key))?;
    let Some(bytes) = found else {
        return Ok(None);
    };
    let row: KeyRow<'_> = rows::decode(&bytes)?;
    let content = row.content;
    Ok((row.id == head.id).then_some(Idempotency { key, content }))
}
