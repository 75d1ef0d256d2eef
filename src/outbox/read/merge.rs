//! The lists of many endpoints as one, newest first.
//!
//! Each endpoint has a list of its own, so the newest of all is found by looking at the head
//! of each. There may be a hundred thousand: they are met, and read on, in pieces. How many
//! entries of a list are read at once grows with how often it was the newest.

use std::collections::{BinaryHeap, HashMap};
use std::ops::Bound;

use crate::domain::delivery::Status;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::index::keys::{self, Key, List};
use crate::outbox::index::{Hold, PagesError, StoredEndpoint, count_row};
use crate::outbox::views::{DeliveryFilter, ReadError};

use super::parts::{Met, Wanted};
use super::range::{Piece, Place, Range, Row};

/// The most entries of one list that are read at once.
const AHEAD: usize = 64;

pub(super) struct Merge<'a> {
    list: List,
    filter: &'a DeliveryFilter,
    before: Place,
    /// The last endpoint that was met; `None` once all were.
    met: Option<Bound<EndpointNo>>,
    blocks: Met,
    /// The newest of each list that is not at its end.
    heads: BinaryHeap<Place>,
    walks: HashMap<EndpointNo, Walk>,
    /// The list whose newest is not known yet.
    behind: Option<EndpointNo>,
}

/// One endpoint's list.
struct Walk {
    /// What was read ahead, the newest last.
    ahead: Vec<EventId>,
    /// The rest is below this.
    end: EventId,
    at_once: usize,
}

impl<'a> Merge<'a> {
    /// What comes after `before` in the lists of the endpoints that the filter wants.
    pub fn new(list: List, filter: &'a DeliveryFilter, before: Place) -> Merge<'a> {
        Merge {
            list,
            filter,
            before,
            met: Some(Bound::Unbounded),
            blocks: Met::new(Wanted::new(&filter.events, None)),
            heads: BinaryHeap::new(),
            walks: HashMap::new(),
            behind: None,
        }
    }

    /// The next delivery; `Some(None)`: there are no more. `None`: the hold is spent.
    pub fn next(&mut self, hold: &Hold<'_>) -> Result<Option<Option<Place>>, ReadError> {
        if !self.meet(hold)? || !self.catch_up(hold)? {
            return Ok(None);
        }
        let Some(place) = self.heads.pop() else {
            return Ok(Some(None));
        };
        // Its own list is read on before the next one is asked for.
        self.behind = Some(place.1);
        Ok(Some(Some(place)))
    }

    /// Looks at the head of each endpoint's list. Whether all were met.
    fn meet(&mut self, hold: &Hold<'_>) -> Result<bool, ReadError> {
        while let Some(met) = self.met {
            if !self.catch_up(hold)? {
                return Ok(false);
            }
            let mut endpoints = hold.endpoints.range((met, Bound::Unbounded));
            self.met = None;
            for (no, stored) in endpoints.by_ref() {
                count_row();
                if self.wants(stored) {
                    self.begin(*no);
                    self.met = Some(Bound::Excluded(*no));
                    break;
                }
                if hold.is_spent() {
                    self.met = Some(Bound::Excluded(*no));
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn wants(&self, stored: &StoredEndpoint) -> bool {
        let holds = stored.state.is_holding();
        let total = match self.list {
            // What an endpoint holds altogether is pending but for that.
            List::Open => match self.filter.status {
                Some(Status::Pending) if holds => 0,
                Some(Status::Pending) => stored.totals.pending,
                Some(Status::Held) if !holds => stored.totals.held,
                _ => stored.totals.pending + stored.totals.held,
            },
            List::Held => stored.totals.held,
            List::Dead => stored.totals.dead,
        };
        let (endpoint, tenant) = (&self.filter.endpoint, &self.filter.events.tenant);
        total > 0
            && endpoint.as_ref().is_none_or(|id| *id == stored.id)
            && tenant
                .as_ref()
                .is_none_or(|tenant| *tenant == stored.tenant)
    }

    fn begin(&mut self, no: EndpointNo) {
        let before = self.before;
        // Of one event the endpoints below `before`'s are still to come.
        let end = if no < before.1 {
            EventId(before.0.0.saturating_add(1))
        } else {
            before.0
        };
        let walk = Walk {
            ahead: Vec::new(),
            end,
            at_once: 1,
        };
        self.walks.insert(no, walk);
        self.behind = Some(no);
    }

    /// Finds the newest of the list that is behind. Answers whether none is left behind.
    fn catch_up(&mut self, hold: &Hold<'_>) -> Result<bool, ReadError> {
        let Some(no) = self.behind else {
            return Ok(true);
        };
        if hold.is_spent() {
            return Ok(false);
        }
        let Some(walk) = self.walks.get_mut(&no) else {
            self.behind = None;
            return Ok(true);
        };
        let list = |id| keys::listed(self.list, no, id);
        let floor = self.filter.events.floor();
        if walk.ahead.is_empty() && !walk.read(hold, list, &mut self.blocks, floor)? {
            return Ok(false);
        }
        match walk.ahead.pop() {
            Some(id) => self.heads.push((id, no)),
            None => drop(self.walks.remove(&no)),
        }
        self.behind = None;
        Ok(true)
    }
}

impl Walk {
    /// Reads ahead, past parts that have nothing of what is looked for. Whether something was
    /// found, or the list has come to its end.
    fn read(
        &mut self,
        hold: &Hold<'_>,
        key: impl Fn(EventId) -> Key,
        met: &mut Met,
        floor: EventId,
    ) -> Result<bool, ReadError> {
        loop {
            let piece = self.read_ahead(hold, &key, floor)?;
            while let Some(newest) = self.ahead.last() {
                let (from, is_read) = met.part_of(hold, *newest)?;
                if is_read {
                    self.at_once = (self.at_once * 2).min(AHEAD);
                    return Ok(true);
                }
                self.ahead.retain(|id| *id < from);
                self.end = self.end.min(from);
            }
            if piece == Piece::End {
                return Ok(true);
            }
            if hold.is_spent() {
                return Ok(false);
            }
        }
    }

    fn read_ahead(
        &mut self,
        hold: &Hold<'_>,
        key: impl Fn(EventId) -> Key,
        floor: EventId,
    ) -> Result<Piece, ReadError> {
        let mut range = Range::backward(key(floor), key(self.end));
        let (ahead, at_once) = (&mut self.ahead, self.at_once);
        let piece = range.advance(hold, |key, _| {
            ahead.push(keys::event_of(key).ok_or(PagesError::Damaged)?);
            Ok(match ahead.len() < at_once {
                true => Row::Taken,
                false => Row::Last,
            })
        })?;
        self.end = keys::event_of(&range.to).ok_or(PagesError::Damaged)?;
        self.ahead.reverse();
        Ok(piece)
    }
}
