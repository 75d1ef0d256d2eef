//! The limits of what is held: by age, and by the space that all history may take.
//!
//! A held delivery whose time is up is dead, reason `held_too_long`. When history is over
//! `retention.max_size` and the oldest of it is a held delivery, that is dead, reason
//! `space`; it can be seen so for a minute, then its event goes like other history.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::domain::delivery::{Reason, Status};
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::handle::Shared;
use crate::outbox::index::keys::{self, List};
use crate::outbox::index::overlay::Scan;
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::shown::status_shown;
use crate::outbox::index::{HOLD_ROWS, PagesError, Readers, State, StoredEndpoint};
use crate::outbox::maintain::{Asked, Cut};
use crate::outbox::request::Step;

/// The most deliveries of one step.
const BATCH: usize = 256;
/// How long those that made room can be seen as dead.
const SHOWN: Duration = Duration::from_secs(60);
/// What may be over the limit meanwhile, as a part of it.
const OVER: u64 = 16;

type Deliveries = Vec<(EndpointNo, EventId)>;

/// Events that died to make room and are about to go.
#[derive(Debug, Default)]
struct MadeRoom {
    /// Since when, which, and their bytes.
    waiting: VecDeque<(Duration, Vec<EventId>, u64)>,
    bytes: u64,
}

impl MadeRoom {
    fn add(&mut self, now: Duration, ids: Vec<EventId>, bytes: u64) {
        self.bytes += bytes;
        self.waiting.push_back((now, ids, bytes));
    }

    /// The next whose time is up, or for whom there is no more room.
    fn next(&mut self, now: Duration, max_size: u64) -> Option<Vec<EventId>> {
        let (since, ..) = self.waiting.front()?;
        if now.saturating_sub(*since) < SHOWN && self.bytes <= max_size / OVER {
            return None;
        }
        let (_, ids, bytes) = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(ids)
    }

    /// These go otherwise. How many of them were waiting.
    fn remove(&mut self, gone: &[EventId]) -> u64 {
        let gone: HashSet<EventId> = gone.iter().copied().collect();
        let mut removed = 0;
        for (_, ids, bytes) in &mut self.waiting {
            let before = ids.len();
            ids.retain(|id| !gone.contains(id));
            let fewer = (before - ids.len()) as u64;
            // About what they take: the sum is kept, and not the parts.
            let freed = bytes.saturating_mul(fewer) / (before as u64).max(1);
            *bytes -= freed;
            self.bytes = self.bytes.saturating_sub(freed);
            removed += fewer;
        }
        self.waiting.retain(|(_, ids, _)| !ids.is_empty());
        removed
    }
}

/// What had to make room before its time.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// Held deliveries that died.
    pub held: u64,
    /// Events with dead letters that were removed.
    pub dead_letters: u64,
}

impl Gone {
    pub fn report(&self, shared: &Shared) {
        if self.held > 0 {
            tracing::warn!(
                deliveries = self.held,
                reason = Reason::Space.as_str(),
                "held deliveries are dead: history has reached retention.max_size"
            );
        }
        if self.dead_letters > 0 {
            let dropped = &shared.gauges.dead_drops;
            dropped.fetch_add(self.dead_letters, Relaxed);
            tracing::warn!(
                events = self.dead_letters,
                "dead letters are removed before retention.dead, to make room"
            );
        }
    }
}

/// How many endpoints are looked at under one lock.
const WALKS: usize = 64;

/// Held deliveries that may die to make room, oldest first.
pub(super) struct Oldest {
    deliveries: Deliveries,
    events: Vec<EventId>,
    bytes: u64,
    /// When the first of them was accepted, in milliseconds.
    pub since: Option<u64>,
    /// Where to go on.
    pub next: EventId,
}

/// Since when what is pending is held for the endpoint's sake; `None`: it is not.
fn holding_since(stored: &StoredEndpoint) -> Option<u64> {
    let state = &stored.state;
    let disabled = state.disabled.map(|(_, at)| at);
    let since = [disabled, state.off_in_file, state.missing];
    since.into_iter().flatten().min()
}

/// The list that holds all that is shown as held, and maybe more.
fn list_of(stored: &StoredEndpoint) -> Option<List> {
    let totals = &stored.totals;
    match stored.deleted {
        Some(_) => None,
        None if !stored.is_taking() && totals.pending + totals.held > 0 => Some(List::Open),
        None => (totals.held > 0).then_some(List::Held),
    }
}

/// Enforces the limits of what is held.
pub(super) struct Held {
    shared: Arc<Shared>,
    made_room: MadeRoom,
}

impl Held {
    pub fn new(shared: Arc<Shared>) -> Held {
        Held {
            shared,
            made_room: MadeRoom::default(),
        }
    }

    /// What will come free by itself, in bytes.
    pub fn leaving_bytes(&self) -> u64 {
        self.made_room.bytes
    }

    /// These events are gone before those that made room were to go. How many of them had died to
    /// make room, which is reported by itself.
    pub fn forgotten(&mut self, ids: &[EventId]) -> u64 {
        self.made_room.remove(ids)
    }

    /// What has been held too long is dead.
    pub(super) fn end_old_holds(&self, now: Timestamp, writer: &mut dyn Asked) -> Result<(), Cut> {
        let cut = now.saturating_sub(self.shared.rules().keep.held);
        let index = &self.shared.index;
        let holding = index.endpoints_where(|stored| list_of(stored).is_some());
        let (mut endpoints, mut deliveries) = (0, 0);
        for no in holding {
            let mut ended = 0;
            let mut next = Some(EventId(0));
            while let Some(from) = next {
                let (ids, after) = self.held_since(no, from, cut)?;
                next = after;
                ended += ids.len();
                make_dead(Reason::HeldTooLong, ids, writer)?;
            }
            (endpoints, deliveries) = (endpoints + usize::from(ended > 0), deliveries + ended);
        }
        if deliveries > 0 {
            tracing::warn!(
                deliveries,
                endpoints,
                reason = Reason::HeldTooLong.as_str(),
                "held deliveries are dead: they were held for longer than retention.held"
            );
        }
        Ok(())
    }

    /// Some deliveries of an endpoint that have been held since `cut` or longer, from an
    /// event on, and where to go on.
    fn held_since(
        &self,
        no: EndpointNo,
        from: EventId,
        cut: Timestamp,
    ) -> Result<(Deliveries, Option<EventId>), Cut> {
        let state = self.shared.index.read();
        let mut found = Vec::new();
        let Some(stored) = state.endpoints.get(&no) else {
            return Ok((found, None));
        };
        let began = holding_since(stored).map(Timestamp::from_millis);
        // As long as the endpoint's own time is not up only those held for themselves count.
        let list = match (list_of(stored), began) {
            (None, _) => return Ok((found, None)),
            (Some(_), Some(began)) if began > cut => List::Held,
            (Some(list), _) => list,
        };
        // Ids may be ahead of the times of their events: each one's own time decides.
        let ahead = state.meta.ids_ahead;
        let past = cut.as_millis().saturating_add(1).saturating_add(ahead);
        let past = EventId(u128::from(past) << 80);
        let (from, to) = (keys::listed(list, no, from), keys::listed(list, no, past));
        let mut scan = state.entries.scan(&from, &to, false);
        while let Some(entry) = scan.step() {
            let id = keys::event_of(&entry?.0).ok_or(PagesError::Damaged)?;
            if let Some(row) = state.delivery_row(id, no)? {
                let delivery = row.delivery().ok_or(PagesError::Damaged)?;
                let since = match (delivery.status, began) {
                    (Status::Pending, Some(began)) => delivery.budget_from.max(began),
                    _ => delivery.budget_from,
                };
                if since <= cut && status_shown(&row, stored)? == Status::Held {
                    found.push((no, id));
                }
            }
            if found.len() >= BATCH || state.is_spent() {
                return Ok((found, Some(EventId(id.0.saturating_add(1)))));
            }
        }
        Ok((found, None))
    }

    /// The oldest events from `from` on of which all that is open is held: no more than it
    /// takes for `bytes` to come free. `None` if there are none.
    pub(super) fn oldest_held(&self, from: EventId, bytes: u64) -> Result<Option<Oldest>, Cut> {
        let (candidates, next) = self.oldest_listed(from)?;
        let mut oldest = Oldest {
            deliveries: Vec::new(),
            events: Vec::new(),
            bytes: 0,
            since: None,
            next: from,
        };
        for id in candidates {
            if oldest.bytes >= bytes || oldest.deliveries.len() >= BATCH {
                return Ok(Some(oldest));
            }
            oldest.next = EventId(id.0.saturating_add(1));
            if let Some(held) = held_everywhere(&self.shared.index, id)? {
                let weight = weight_of(&self.shared.index.read(), id)?;
                oldest.bytes += weight.bytes;
                oldest.since = oldest.since.or(Some(weight.accepted_at));
                oldest.events.push(id);
                let deliveries = held.into_iter().map(|no| (no, id));
                oldest.deliveries.extend(deliveries);
            }
        }
        oldest.next = next;
        Ok((oldest.next > from).then_some(oldest))
    }

    /// The oldest events from `from` on that are on the lists of what is held, in order, and
    /// where to go on: as many as one look allows, which may be none.
    fn oldest_listed(&self, from: EventId) -> Result<(Vec<EventId>, EventId), Cut> {
        let mut firsts = self.first_held(from)?;
        // The endpoints from there on have nothing older.
        let beyond = firsts.get(WALKS).map(|(id, _)| *id);
        firsts.truncate(WALKS);
        let state = self.shared.index.read();
        let mut walks = std::collections::HashMap::new();
        let mut heads = BinaryHeap::new();
        for (_, no) in &firsts {
            let Some(list) = state.endpoints.get(no).and_then(|stored| list_of(stored)) else {
                continue;
            };
            let prefix = keys::list_of(list, *no);
            let from = keys::listed(list, *no, from);
            let mut walk = state.entries.scan(&from, &keys::end_of(&prefix), false);
            if let Some(entry) = walk.step() {
                let (key, value) = entry?;
                let id = keys::event_of(&key).ok_or(PagesError::Damaged)?;
                heads.push(Reverse((id, *no, value.is_some())));
                walks.insert(*no, walk);
            }
        }
        let after = |id: EventId| EventId(id.0.saturating_add(1));
        let (mut ids, mut at, mut passed): (Vec<EventId>, _, _) = (Vec::new(), from, 0);
        while let Some(Reverse((id, no, is_listed))) = heads.pop() {
            if let Some(beyond) = beyond
                && id > beyond
            {
                // Lists of other endpoints have events before this one.
                let passed = ids.last().map_or(from, |id| after(*id));
                return Ok((ids, passed.max(beyond)));
            }
            // Of several endpoints' lists the same event comes one time after the other. What the
            // beginnings cost is not to be spent for a single event.
            let is_enough = ids.len() >= BATCH || (passed >= WALKS && state.is_spent());
            if id > at && is_enough {
                return Ok((ids, id));
            }
            passed += 1;
            at = id;
            if is_listed && ids.last() != Some(&id) {
                ids.push(id);
            }
            if let Some(entry) = walks.get_mut(&no).and_then(Scan::step) {
                let (key, value) = entry?;
                let id = keys::event_of(&key).ok_or(PagesError::Damaged)?;
                heads.push(Reverse((id, no, value.is_some())));
            }
        }
        // That was all of these endpoints. The others have nothing older than `beyond`.
        let passed = ids.last().map(|id| after(*id));
        let next = match beyond {
            Some(beyond) => passed.unwrap_or(after(from)).max(beyond),
            None => passed.unwrap_or(from),
        };
        Ok((ids, next))
    }

    /// Where the list of each endpoint with something held begins, from an event on, oldest
    /// first: there may be something there that was removed. A piece at a time: the writer must
    /// not wait for thousands of endpoints.
    fn first_held(&self, from: EventId) -> Result<Vec<(EventId, EndpointNo)>, Cut> {
        let index = &self.shared.index;
        let endpoints = index.endpoints_where(|stored| list_of(stored).is_some());
        let mut firsts = Vec::new();
        for some in endpoints.chunks(WALKS) {
            let state = self.shared.index.read();
            for no in some {
                let Some(list) = state.endpoints.get(no).and_then(|stored| list_of(stored)) else {
                    continue;
                };
                let end = keys::end_of(&keys::list_of(list, *no));
                let begin = keys::listed(list, *no, from);
                if let Some(entry) = state.entries.scan(&begin, &end, false).step() {
                    let id = keys::event_of(&entry?.0).ok_or(PagesError::Damaged)?;
                    firsts.push((id, *no));
                }
            }
        }
        firsts.sort_unstable();
        Ok(firsts)
    }

    /// These die to make room.
    pub(super) fn make_room(&mut self, oldest: Oldest, writer: &mut dyn Asked) -> Result<u64, Cut> {
        if oldest.events.is_empty() {
            return Ok(0);
        }
        let deaths = oldest.deliveries.len() as u64;
        make_dead(Reason::Space, oldest.deliveries, writer)?;
        let now = self.shared.clock.mono();
        self.made_room.add(now, oldest.events, oldest.bytes);
        Ok(deaths)
    }

    /// Lets go of those that made room and were seen long enough.
    pub(super) fn forget_made_room(&mut self, writer: &mut dyn Asked) -> Result<(), Cut> {
        let max_size = self.shared.rules().keep.max_size;
        while let Some(ids) = self.made_room.next(self.shared.clock.mono(), max_size) {
            // Without room for it they are history that is over the limit, and found again.
            writer.need(Step::Forget(ids))?;
        }
        Ok(())
    }
}

fn make_dead(reason: Reason, deliveries: Deliveries, writer: &mut dyn Asked) -> Result<(), Cut> {
    for some in deliveries.chunks(BATCH) {
        let deliveries = some.to_vec();
        // Without room for it the next look finds them again.
        writer.need(Step::MakeDead { reason, deliveries })?;
    }
    Ok(())
}

/// What forgetting an event gives back.
#[derive(Debug, Default)]
pub(super) struct Weight {
    /// About what it takes in the log.
    pub bytes: u64,
    pub deliveries: u64,
    /// When it was accepted, in milliseconds.
    pub accepted_at: u64,
}

pub(super) fn weight_of(state: &State, id: EventId) -> Result<Weight, PagesError> {
    let Some(bytes) = state.entries.get(&keys::event(id))? else {
        return Ok(Weight::default());
    };
    let row: EventRow<'_> = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
    Ok(Weight {
        bytes: u64::from(row.body_len) + rows::EVENT_COST,
        deliveries: row.deliveries.into(),
        accepted_at: row.accepted_at,
    })
}

/// The endpoints at which the event is held, if it is open nowhere else.
fn held_everywhere(index: &Readers, id: EventId) -> Result<Option<Vec<EndpointNo>>, PagesError> {
    let rows = index.delivery_rows(id)?;
    let mut held = Vec::new();
    for some in rows.chunks(HOLD_ROWS as usize) {
        let state = index.read();
        for (no, row) in some {
            let Some(stored) = state.endpoints.get(no) else {
                continue;
            };
            match status_shown(row, stored)? {
                Status::Held => held.push(*no),
                Status::Pending => return Ok(None),
                Status::Delivered | Status::Dead => {}
            }
        }
    }
    Ok(Some(held))
}
