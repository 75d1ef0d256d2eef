//! Erasing an event: a record says so, and from then on no answer shows it.
//!
//! The copies that the index knows are overwritten once that record is durable. Older ones,
//! from before the event was written again and of attempts, are found by maintenance. What
//! is kept of the event is its id, and its idempotency key: a repeated request gets the
//! first answer.

use std::collections::BTreeSet;

use crate::domain::delivery::Status;
use crate::domain::engine::chain_of;
use crate::domain::event::EventId;
use crate::outbox::decide::kept_keys::keep_keys;
use crate::outbox::decide::{Acts, Basis, DecideError, Draft};
use crate::outbox::index::keys;
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::log::Lsn;
use crate::outbox::record::{ErasedRow, Record};
use crate::outbox::request::Notice;
use crate::outbox::views::ActRefused;

/// Adds what erasing takes; `None` if it must wait for the next batch.
pub fn erase(basis: &Basis<'_>, id: EventId, draft: &mut Draft) -> Acts {
    let state = basis.state;
    if state.erased_entry(id)?.is_some() {
        return Ok(Some(Ok(())));
    }
    let Some(bytes) = state.entries.get(&keys::event(id))? else {
        return Ok(Some(Err(ActRefused::NoSuchEvent)));
    };
    let event: EventRow<'_> = rows::decode(&bytes)?;
    let key = event
        .idempotency_key
        .map(|key| (event.tenant.to_owned(), key.to_owned()));
    if key.as_ref().is_some_and(|key| draft.keys.contains_key(key)) {
        // Past its window, and used again earlier in this batch: it is the later event's.
        return Ok(None);
    }
    if draft.erasing.contains(&id) {
        return Ok(Some(Ok(())));
    }
    let rows = state.delivery_rows(id)?;
    let is_touched = |(no, _): &(_, _)| draft.touched.contains(&(id, *no));
    if rows.iter().any(is_touched) {
        return Ok(None);
    }
    draft.erasing.insert(id);
    push(id, basis.now.as_millis(), false, draft)?;
    keep_keys(basis, key.into_iter().collect(), draft)?;
    draft.erased.push(Lsn(event.lsn));
    let chain = chain_of(event.key);
    for (no, row) in rows {
        draft.touched.insert((id, no));
        let open = row
            .delivery()
            .is_some_and(|found| matches!(found.status, Status::Pending | Status::Held));
        if open {
            let event = id;
            draft.tell(Notice::Withdrawn { no, event, chain });
        }
        if row.last_attempt > 0 {
            draft.erased.push(Lsn(row.last_attempt));
        }
    }
    draft.log(move || tracing::info!(event = %id, "event erased"));
    Ok(Some(Ok(())))
}

/// Adds that the event was erased, which only its body says by now.
pub fn again(basis: &Basis<'_>, id: EventId, draft: &mut Draft) -> Result<(), DecideError> {
    push(id, basis.now.as_millis(), false, draft)
}

/// Every copy of these events' bodies was overwritten.
pub fn finish(basis: &Basis<'_>, ids: &[EventId], draft: &mut Draft) -> Result<(), DecideError> {
    restate(basis, ids, Some(true), draft)
}

/// Writes again, as it stands, that these events were erased.
pub fn keep(
    basis: &Basis<'_>,
    ids: &BTreeSet<EventId>,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    restate(basis, ids, None, draft)
}

fn restate<'a>(
    basis: &Basis<'_>,
    ids: impl IntoIterator<Item = &'a EventId>,
    done: Option<bool>,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    for id in ids {
        if let Some(known) = basis.state.erased_entry(*id)? {
            push(*id, known.at, done.unwrap_or(known.done), draft)?;
        }
    }
    Ok(())
}

fn push(id: EventId, at: u64, done: bool, draft: &mut Draft) -> Result<(), DecideError> {
    let row = ErasedRow { id: id.0, at, done };
    draft.push(&Record::Erased(row), &[])?;
    Ok(())
}
