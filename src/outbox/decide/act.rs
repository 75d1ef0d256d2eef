//! Actions on one delivery, and the entry of every action.

use crate::domain::delivery::{Delivery, Move, Reason, Status};
use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::engine::{Entry, chain_of};
use crate::domain::event::EventId;
use crate::outbox::decide::report::{self, Death};
use crate::outbox::decide::{Acts, Basis, DecideError, Draft, bulk, endpoint, erase, source};
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::{PagesError, keys};
use crate::outbox::record::{Acted, Record, StepRow, reason_number};
use crate::outbox::request::Notice;
use crate::outbox::views::{ActRefused, Action};

/// A delivery that an action is to change.
struct Found {
    no: EndpointNo,
    delivery: Delivery,
    /// Its endpoint takes no deliveries.
    holding: bool,
    /// Where the event's record is.
    lsn: u64,
    /// That of the event's key.
    chain: u64,
}

/// Takes an action.
pub fn act(basis: &Basis<'_>, action: &Action, draft: &mut Draft) -> Acts {
    match action {
        Action::Retry { event, endpoint } => retry(basis, *event, endpoint, draft),
        Action::Cancel { event, endpoint } => cancel(basis, *event, endpoint, draft),
        Action::Enable { endpoint } => endpoint::enable(basis, endpoint, draft),
        Action::Disable { endpoint, reason } => endpoint::disable(basis, endpoint, *reason, draft),
        Action::Create {
            endpoint,
            spec,
            enabled,
        } => endpoint::create(basis, endpoint, spec, *enabled, draft),
        Action::Change {
            endpoint,
            change,
            over,
        } => endpoint::change(basis, endpoint, change, over, draft),
        Action::Delete { endpoint } => endpoint::delete(basis, endpoint, draft),
        Action::Rotate {
            endpoint,
            secret,
            overlap,
            shaping,
            over,
        } => {
            let fresh = (secret, shaping.as_ref());
            endpoint::rotate(basis, endpoint, fresh, *overlap, over, draft)
        }
        Action::Erase { event } => erase::erase(basis, *event, draft),
        Action::CancelJob { id } => bulk::cancel_job(basis, *id, draft),
        Action::PutSource { id, definition } => source::put(basis, id, definition, draft),
        Action::RemoveSource { id } => source::remove(basis, id, draft),
        Action::PutSourceCounts { counts } => source::put_counts(basis, counts, draft),
    }
}

fn retry(basis: &Basis<'_>, event: EventId, endpoint: &EndpointId, draft: &mut Draft) -> Acts {
    let found = match find(basis, event, endpoint)? {
        Ok(found) => found,
        Err(refused) => return Ok(Some(Err(refused))),
    };
    let now = basis.now;
    let is_held = found.holding && found.delivery.status == Status::Pending;
    if is_held || found.delivery.after(Move::Retry { at: now }).is_err() {
        return Ok(Some(Err(ActRefused::Conflict(Status::Held))));
    }
    let at = now.as_millis();
    if !step(event, found.no, StepRow::Retry { at }, draft)? {
        return Ok(None);
    }
    let entry = Entry {
        event,
        lsn: found.lsn,
        due: now,
        exact: false,
        tries: 0,
        budget_from: now,
        chain: found.chain,
    };
    draft.tell(Notice::Queued {
        no: found.no,
        entry,
        content: None,
    });
    draft.tell(Notice::Wanted { no: found.no });
    Ok(Some(Ok(())))
}

fn cancel(basis: &Basis<'_>, event: EventId, endpoint: &EndpointId, draft: &mut Draft) -> Acts {
    let found = match find(basis, event, endpoint)? {
        Ok(found) => found,
        Err(refused) => return Ok(Some(Err(refused))),
    };
    let (at, reason) = (basis.now, Reason::Cancelled);
    if found.delivery.after(Move::Die { at, reason }).is_err() {
        return Ok(Some(Err(ActRefused::Conflict(found.delivery.status))));
    }
    let died = StepRow::Die {
        at: at.as_millis(),
        reason: reason_number(reason),
    };
    if !step(event, found.no, died, draft)? {
        return Ok(None);
    }
    let no = found.no;
    let death = Death {
        event,
        no,
        reason,
        attempt_count: found.delivery.attempt_count,
    };
    report::dead(basis, death, draft)?;
    let chain = found.chain;
    draft.tell(Notice::Withdrawn { no, event, chain });
    Ok(Some(Ok(())))
}

/// Adds an `Acted`; whether it could be in this batch.
fn step(
    event: EventId,
    no: EndpointNo,
    step: StepRow,
    draft: &mut Draft,
) -> Result<bool, DecideError> {
    if !draft.touched.insert((event, no)) {
        return Ok(false);
    }
    let acted = Acted {
        id: event.0,
        endpoint: no.0,
        step,
    };
    draft.push(&Record::Acted(acted), &[])?;
    Ok(true)
}

fn find(
    basis: &Basis<'_>,
    event: EventId,
    endpoint: &EndpointId,
) -> Result<Result<Found, ActRefused>, DecideError> {
    let state = basis.state;
    let Some(bytes) = state.entries.get(&keys::event(event))? else {
        return Ok(Err(match state.erased_entry(event)? {
            Some(_) => ActRefused::Erased,
            None => ActRefused::NoSuchEvent,
        }));
    };
    let row: EventRow<'_> = rows::decode(&bytes)?;
    let named = state.endpoint_named(endpoint);
    let Some((no, stored)) = named.filter(|(_, stored)| stored.deleted.is_none()) else {
        return Ok(Err(ActRefused::NoSuchEndpoint));
    };
    let Some(found) = state.delivery_row(event, no)? else {
        return Ok(Err(ActRefused::NoSuchDelivery));
    };
    let delivery = found.delivery().ok_or(PagesError::Damaged)?;
    Ok(Ok(Found {
        no,
        delivery,
        holding: stored.state.is_holding(),
        lsn: row.lsn,
        chain: chain_of(row.key),
    }))
}
