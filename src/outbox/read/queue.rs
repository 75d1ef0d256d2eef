//! Reading what is pending at an endpoint, for the engine: by due time, and by order.
//!
//! A delivery is a *head* if no older one of its chain is pending: of its event's key, or
//! of the whole endpoint. A held delivery holds up no other.
//!
//! A reading is of one moment, so that the engine can apply to it what it was told since. So
//! it is one hold of the index, and gives fewer entries when that is spent.

use std::collections::HashMap;

use crate::domain::endpoint::{EndpointNo, Ordering};
use crate::domain::engine::{ENDPOINT_CHAIN, Entry, Key, chain_of};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::handle::Outbox;
use crate::outbox::index::keys::{self, List};
use crate::outbox::index::rows::{self, EventRow, QueueRow};
use crate::outbox::index::{Hold, PagesError, State};
use crate::outbox::views::ReadError;

use super::range::{Piece, Range, Row};

/// So many held deliveries may be older than the oldest pending one. They are newer, but
/// for what was cancelled while held and is then tried again.
const HELD_BEFORE: usize = 2048;

/// What was read, and where the index goes on after it, if it does.
pub type Queued = (Vec<Entry>, Option<Key>);

// These touch the disk for as long as it takes to read a few pages.
impl Outbox {
    /// The pending deliveries of an endpoint in order of their due times, from `from` on:
    /// at most `limit`, and fewer if there is more to look at than one hold allows.
    pub fn pending(&self, no: EndpointNo, from: Key, limit: usize) -> Result<Queued, ReadError> {
        self.reliably(|| pending(&self.shared.index.read(), no, from, limit))
    }

    /// As [`pending`](Self::pending), but of each key the head only. There may be more
    /// heads even if none was found.
    pub fn heads(&self, no: EndpointNo, from: Key, limit: usize) -> Result<Queued, ReadError> {
        self.reliably(|| heads(&self.shared.index.read(), no, from, limit))
    }

    /// The head of a chain.
    pub fn head(&self, no: EndpointNo, chain: u64) -> Result<Option<Entry>, ReadError> {
        self.reliably(|| head_entry(&self.shared.index.read(), no, chain))
    }

    /// The pending delivery that this one has to wait for by the endpoint's ordering: the
    /// head of its chain, if that is another.
    pub fn ahead_of(&self, no: EndpointNo, event: EventId) -> Result<Option<EventId>, ReadError> {
        let ordering = self.in_force(no).map(|endpoint| endpoint.ordering);
        let found = self.reliably(|| {
            let state = self.shared.index.read();
            match ordering {
                None | Some(Ordering::None) => Ok(None),
                Some(Ordering::Strict) => head(&state, no, ENDPOINT_CHAIN),
                Some(Ordering::Key) => match chain_of_event(&state, event)? {
                    None | Some(0) => Ok(None),
                    Some(chain) => head(&state, no, chain),
                },
            }
        })?;
        Ok(found.filter(|head| *head < event))
    }
}

fn pending(hold: &Hold<'_>, no: EndpointNo, from: Key, limit: usize) -> Result<Queued, ReadError> {
    read_queue(hold, no, from, limit, |_| Ok(true))
}

fn heads(hold: &Hold<'_>, no: EndpointNo, from: Key, limit: usize) -> Result<Queued, ReadError> {
    let mut known: HashMap<u64, Option<EventId>> = HashMap::new();
    read_queue(hold, no, from, limit, |entry| {
        if entry.chain == 0 {
            return Ok(true);
        }
        let head = match known.get(&entry.chain) {
            Some(head) => *head,
            None => {
                let head = head(hold, no, entry.chain)?;
                known.insert(entry.chain, head);
                head
            }
        };
        Ok(head == Some(entry.event))
    })
}

fn read_queue(
    hold: &Hold<'_>,
    no: EndpointNo,
    from: Key,
    limit: usize,
    mut wants: impl FnMut(&Entry) -> Result<bool, ReadError>,
) -> Result<Queued, ReadError> {
    let mut found = Vec::with_capacity(limit);
    let mut next = None;
    let mut queue = queue(no, from);
    let piece = queue.advance(hold, |key, value| {
        let entry = queued(key, value)?;
        if found.len() == limit {
            next = Some(entry.key());
            return Ok(Row::Left);
        }
        if wants(&entry)? {
            found.push(entry);
        }
        Ok(Row::Taken)
    })?;
    if piece == Piece::Spent {
        let passed = queue.passed();
        let (due, event) = keys::time_of(passed)
            .zip(keys::event_of(passed))
            .ok_or(PagesError::Damaged)?;
        let after = EventId(event.0.saturating_add(1));
        next = Some((Timestamp::from_millis(due), after));
    }
    Ok((found, next))
}

fn queue(no: EndpointNo, from: Key) -> Range {
    let end = keys::end_of(&keys::queue_of(no));
    Range::forward(keys::queued(no, from.0.as_millis(), from.1), end)
}

fn queued(key: &[u8], value: &[u8]) -> Result<Entry, PagesError> {
    let (due, event) = keys::time_of(key)
        .zip(keys::event_of(key))
        .ok_or(PagesError::Damaged)?;
    let row: QueueRow = rows::decode(value).map_err(|_| PagesError::Damaged)?;
    Ok(Entry {
        event,
        lsn: row.lsn,
        due: Timestamp::from_millis(due),
        exact: row.exact,
        tries: row.tries,
        budget_from: Timestamp::from_millis(row.budget_from(due)),
        chain: row.chain,
    })
}

/// The oldest pending delivery of a chain.
fn head(hold: &Hold<'_>, no: EndpointNo, chain: u64) -> Result<Option<EventId>, ReadError> {
    if chain == ENDPOINT_CHAIN {
        return oldest_pending(hold, no);
    }
    let prefix = keys::chain_of(no, chain);
    let end = keys::end_of(&prefix);
    match hold.entries.scan(&prefix, &end, false).next() {
        Some(entry) => Ok(Some(keys::event_of(&entry?.0).ok_or(PagesError::Damaged)?)),
        None => Ok(None),
    }
}

/// The oldest of the endpoint's open deliveries that is not held for itself.
fn oldest_pending(hold: &Hold<'_>, no: EndpointNo) -> Result<Option<EventId>, ReadError> {
    let stored = hold.endpoints.get(&no);
    if stored.is_none_or(|stored| stored.totals.pending == 0) {
        return Ok(None);
    }
    let mut held = listed(hold, List::Held, no);
    let mut next_held = held.next().transpose()?;
    for event in listed(hold, List::Open, no).take(HELD_BEFORE) {
        let event = event?;
        while next_held.is_some_and(|held| held < event) {
            next_held = held.next().transpose()?;
        }
        if next_held != Some(event) {
            return Ok(Some(event));
        }
    }
    // Behind that many held ones: the first that is due.
    let first = pending(hold, no, (Timestamp::default(), EventId(0)), 1)?.0;
    Ok(first.first().map(|entry| entry.event))
}

/// The events of a list, oldest first.
fn listed(
    state: &State,
    list: List,
    no: EndpointNo,
) -> impl Iterator<Item = Result<EventId, ReadError>> {
    let prefix = keys::list_of(list, no);
    let entries = state.entries.scan(&prefix, &keys::end_of(&prefix), false);
    entries.map(|entry| Ok(keys::event_of(&entry?.0).ok_or(PagesError::Damaged)?))
}

fn head_entry(hold: &Hold<'_>, no: EndpointNo, chain: u64) -> Result<Option<Entry>, ReadError> {
    let Some(event) = head(hold, no, chain)? else {
        return Ok(None);
    };
    let row = hold.delivery_row(event, no)?.ok_or(PagesError::Damaged)?;
    let key = keys::queued(no, row.due, event);
    let value = hold.entries.get(&key)?.ok_or(PagesError::Damaged)?;
    Ok(Some(queued(&key, &value)?))
}

fn chain_of_event(state: &State, id: EventId) -> Result<Option<u64>, ReadError> {
    let Some(bytes) = state.entries.get(&keys::event(id))? else {
        return Ok(None);
    };
    let row: EventRow<'_> = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
    Ok(Some(chain_of(row.key)))
}
