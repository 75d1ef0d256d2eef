//! Reading what is pending at an endpoint, for the engine: by due time, and by order.
//!
//! A delivery is a *head* if no older one of its chain is pending: of its event's key, or
//! of the whole endpoint. Held deliveries hold up nobody.
//!
//! Every reading is short, and looks at a bounded number of entries: they are made
//! between other things on the thread that does all network.

use std::collections::HashMap;

use crate::domain::delivery::Status;
use crate::domain::endpoint::{EndpointNo, Ordering};
use crate::domain::engine::{ENDPOINT_CHAIN, Entry, Key, chain_of};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::handle::Outbox;
use crate::outbox::index::keys::{self, List};
use crate::outbox::index::rows::{self, EventRow, QueueRow};
use crate::outbox::index::{PagesError, State};
use crate::outbox::views::ReadError;

/// A reading of heads looks at so many pending deliveries at most.
const LOOKED_AT: usize = 1024;
/// So many held deliveries may be older than the oldest pending one. They are newer, but
/// for what was cancelled while held and is then tried again.
const HELD_BEFORE: usize = 4096;

/// What was read, and where the index goes on after it, if it does.
pub type Queued = (Vec<Entry>, Option<Key>);

// These touch the disk for as long as it takes to read a few pages.
impl Outbox {
    /// The pending deliveries of an endpoint in order of their due times, from `from` on:
    /// at most `limit`.
    pub fn pending(&self, no: EndpointNo, from: Key, limit: usize) -> Result<Queued, ReadError> {
        self.judged(pending(&self.shared.index.read(), no, from, limit))
    }

    /// As [`pending`](Self::pending), but of each key the head only. There may be more
    /// heads even if none was found.
    pub fn heads(&self, no: EndpointNo, from: Key, limit: usize) -> Result<Queued, ReadError> {
        self.judged(heads(&self.shared.index.read(), no, from, limit))
    }

    /// The head of a chain.
    pub fn head(&self, no: EndpointNo, chain: u64) -> Result<Option<Entry>, ReadError> {
        self.judged(head_entry(&self.shared.index.read(), no, chain))
    }

    /// The chain of an event's key; `None` if the event is no longer kept.
    pub fn chain_of(&self, id: EventId) -> Result<Option<u64>, ReadError> {
        self.judged(chain_of_event(&self.shared.index.read(), id))
    }

    /// The pending delivery that this one has to wait for by the endpoint's ordering: the
    /// head of its chain, if that is another.
    pub fn ahead_of(&self, no: EndpointNo, event: EventId) -> Result<Option<EventId>, ReadError> {
        let ordering = self.in_force(no).map(|endpoint| endpoint.ordering);
        let state = self.shared.index.read();
        let found = match ordering {
            None | Some(Ordering::None) => Ok(None),
            Some(Ordering::Strict) => head(&state, no, ENDPOINT_CHAIN),
            Some(Ordering::Key) => match chain_of_event(&state, event) {
                Ok(None | Some(0)) => Ok(None),
                Ok(Some(chain)) => head(&state, no, chain),
                Err(error) => Err(error),
            },
        };
        Ok(self.judged(found)?.filter(|head| *head < event))
    }
}

fn pending(state: &State, no: EndpointNo, from: Key, limit: usize) -> Result<Queued, ReadError> {
    let mut found = Vec::with_capacity(limit);
    for entry in queue(state, no, from) {
        let entry = entry?;
        if found.len() == limit {
            return Ok((found, Some(entry.key())));
        }
        found.push(entry);
    }
    Ok((found, None))
}

fn heads(state: &State, no: EndpointNo, from: Key, limit: usize) -> Result<Queued, ReadError> {
    let mut found = Vec::new();
    let mut known: HashMap<u64, Option<EventId>> = HashMap::new();
    for (looked_at, entry) in queue(state, no, from).enumerate() {
        let entry = entry?;
        if found.len() == limit || looked_at == LOOKED_AT {
            return Ok((found, Some(entry.key())));
        }
        if entry.chain == 0 {
            found.push(entry);
            continue;
        }
        let head = match known.get(&entry.chain) {
            Some(head) => *head,
            None => {
                let head = head(state, no, entry.chain)?;
                known.insert(entry.chain, head);
                head
            }
        };
        if head == Some(entry.event) {
            found.push(entry);
        }
    }
    Ok((found, None))
}

fn queue(
    state: &State,
    no: EndpointNo,
    from: Key,
) -> impl Iterator<Item = Result<Entry, ReadError>> {
    let start = keys::queued(no, from.0.as_millis(), from.1);
    let end = keys::end_of(&keys::queue_of(no));
    state.entries.scan(&start, &end, false).map(|entry| {
        let (key, value) = entry?;
        Ok(queued(&key, &value)?)
    })
}

fn queued(key: &[u8], value: &[u8]) -> Result<Entry, PagesError> {
    let (due, event) = keys::due_of(key)
        .zip(keys::event_of(key))
        .ok_or(PagesError::Damaged)?;
    let row: QueueRow = rows::decode(value).map_err(|_| PagesError::Damaged)?;
    Ok(Entry {
        event,
        lsn: row.lsn,
        due: Timestamp::from_millis(due),
        exact: row.exact,
        tries: row.tries,
        budget_from: Timestamp::from_millis(row.budget_from),
        chain: row.chain,
    })
}

/// The oldest pending delivery of a chain.
fn head(state: &State, no: EndpointNo, chain: u64) -> Result<Option<EventId>, ReadError> {
    if chain != ENDPOINT_CHAIN {
        let prefix = keys::chain_of(no, chain);
        return match state
            .entries
            .scan(&prefix, &keys::end_of(&prefix), false)
            .next()
        {
            Some(entry) => Ok(Some(keys::event_of(&entry?.0).ok_or(PagesError::Damaged)?)),
            None => Ok(None),
        };
    }
    if state
        .lanes
        .get(&no)
        .is_none_or(|lane| lane.totals.pending == 0)
    {
        return Ok(None);
    }
    let prefix = keys::list_of(List::Open, no);
    for entry in state
        .entries
        .scan(&prefix, &keys::end_of(&prefix), false)
        .take(HELD_BEFORE)
    {
        let event = keys::event_of(&entry?.0).ok_or(PagesError::Damaged)?;
        let row = state.delivery_row(event, no)?.ok_or(PagesError::Damaged)?;
        if row
            .delivery()
            .is_some_and(|delivery| delivery.status == Status::Pending)
        {
            return Ok(Some(event));
        }
    }
    // Behind that many held ones: the first that is due.
    let first = queue(state, no, (Timestamp::default(), EventId(0))).next();
    Ok(first.transpose()?.map(|entry| entry.event))
}

fn head_entry(state: &State, no: EndpointNo, chain: u64) -> Result<Option<Entry>, ReadError> {
    let Some(event) = head(state, no, chain)? else {
        return Ok(None);
    };
    let row = state.delivery_row(event, no)?.ok_or(PagesError::Damaged)?;
    let key = keys::queued(no, row.due, event);
    let value = state.entries.get(&key)?.ok_or(PagesError::Damaged)?;
    Ok(Some(queued(&key, &value)?))
}

fn chain_of_event(state: &State, id: EventId) -> Result<Option<u64>, ReadError> {
    let Some(bytes) = state.entries.get(&keys::event(id))? else {
        return Ok(None);
    };
    let row: EventRow<'_> = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
    Ok(Some(chain_of(row.key)))
}
