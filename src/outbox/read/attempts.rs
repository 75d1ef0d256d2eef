//! The list of attempts, newest first, a page at a time.
//!
//! Each endpoint has a list of its own. To merge the lists of many endpoints, the one whose newest
//! attempt may be the latest is read first, so that of a hundred thousand endpoints only those with
//! recent attempts are read. As in other lists (`list`), a page reads a bounded number of rows, so
//! it may be short although more follows.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ops::Bound;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::attempt::{Attempt, AttemptId};
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::handle::Outbox;
use crate::outbox::index::rows::{self, AttemptEntry};
use crate::outbox::index::{Hold, PagesError, StoredEndpoint, count_row, keys, place_after};
use crate::outbox::record::error_number;
use crate::outbox::views::{
    AttemptFilter, AttemptView, Cursor, EventFilter, Page, ReadError, StatusFilter,
};

use super::event::{ATTEMPT_BYTES, ATTEMPT_COST, Summary, twice};
use super::parts::{Met, Wanted};
use super::range::{Piece, Range, Row};
use super::records::attempts;

/// How many rows a page reads at most.
const ROWS_READ: usize = 20_000;
/// The most entries of one list that are read at once.
const AHEAD: usize = 64;

/// The position of an attempt among those of all endpoints; later ones in the list are smaller.
type Place = (u64, EventId, EndpointNo);

fn cursor_after((at, id, no): Place) -> Cursor {
    let mut bytes = at.to_be_bytes().to_vec();
    bytes.extend_from_slice(&id.0.to_be_bytes());
    bytes.extend_from_slice(&no.0.to_be_bytes());
    Cursor(URL_SAFE_NO_PAD.encode(bytes))
}

fn place_of(Cursor(text): &Cursor) -> Result<Place, ReadError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| ReadError::BadCursor)?;
    let read = || {
        let (at, rest) = bytes.split_first_chunk()?;
        let (id, no) = rest.split_first_chunk()?;
        let id = EventId(u128::from_be_bytes(*id));
        let no = EndpointNo(u32::from_be_bytes(no.try_into().ok()?));
        Some((u64::from_be_bytes(*at), id, no))
    };
    read().ok_or(ReadError::BadCursor)
}

impl AttemptFilter {
    fn wants_endpoint(&self, stored: &StoredEndpoint) -> bool {
        let (endpoint, tenant) = (self.endpoint.as_ref(), self.tenant.as_ref());
        endpoint.is_none_or(|id| *id == stored.id)
            && tenant.is_none_or(|tenant| *tenant == stored.tenant)
    }

    fn wants(&self, entry: &AttemptEntry) -> bool {
        let kind = self.kind.map(error_number);
        kind.is_none_or(|kind| kind == entry.error)
            && self.status.is_none_or(|wanted| match wanted {
                StatusFilter::Exact(status) => status == entry.status,
                StatusFilter::Class(hundreds) => hundreds == entry.status / 100,
            })
    }

    /// The first position that matches.
    fn floor(&self) -> u64 {
        self.since.map_or(0, Timestamp::as_millis)
    }

    /// All attempts that match are before this position.
    fn ceiling(&self) -> Place {
        let until = self.until.map_or(u64::MAX, Timestamp::as_millis);
        (until, EventId(0), EndpointNo(0))
    }
}

/// An attempt that was found, without the fields that only the log has.
struct Found {
    place: Place,
    event: Summary,
}

impl Outbox {
    /// Newest first. `limit` is 1 to 1000. Reads the index and the log: callers on the runtime use
    /// `spawn_blocking`.
    pub fn attempts(
        &self,
        filter: &AttemptFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<AttemptView>, ReadError> {
        self.judged(self.attempts_page(filter, cursor, limit))
    }

    fn attempts_page(
        &self,
        filter: &AttemptFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<AttemptView>, ReadError> {
        let before = cursor.map(place_of).transpose()?;
        let before = before.unwrap_or(filter.ceiling()).min(filter.ceiling());
        let (found, mut next) = self.found(filter, before, limit)?;
        let mut wanted: HashMap<(EventId, EndpointNo), HashSet<u64>> = HashMap::new();
        for Found { place, .. } in &found {
            let (at, id, no) = *place;
            wanted.entry((id, no)).or_default().insert(at);
        }
        let mut read: HashMap<Place, Attempt> = HashMap::new();
        let (mut items, mut bytes, count) = (Vec::with_capacity(found.len()), 0, found.len());
        for (index, Found { place, event }) in found.into_iter().enumerate() {
            let (at, id, no) = place;
            // Of a delivery only the attempts of this page are kept.
            if let Some(wanted) = wanted.remove(&(id, no)) {
                let all = self.placed_attempts(id, no)?.into_iter();
                let wanted = all.filter(|(at, _)| wanted.contains(at));
                read.extend(wanted.map(|(at, attempt)| ((at, id, no), attempt)));
            }
            let attempt = read.remove(&place);
            let stored = self.shared.index.read().endpoints.get(&no).cloned();
            // Its delivery or its endpoint may have been removed since it was found.
            if let (Some(attempt), Some(stored)) = (attempt, stored) {
                bytes += attempt.response_body.len() + ATTEMPT_COST;
                items.push(AttemptView {
                    id: AttemptId::new(Timestamp::from_millis(at), id, &stored.id),
                    event: id,
                    endpoint: stored.id.clone(),
                    tenant: event.tenant,
                    event_type: event.event_type,
                    attempt,
                });
            }
            // The page ends with the attempt that exceeds the limit.
            if bytes > ATTEMPT_BYTES && index + 1 < count {
                next = Some(cursor_after(place));
                break;
            }
        }
        Ok(Page { items, next })
    }

    /// The part of a page that is in the index, and where the next page begins.
    fn found(
        &self,
        filter: &AttemptFilter,
        before: Place,
        limit: usize,
    ) -> Result<(Vec<Found>, Option<Cursor>), ReadError> {
        let mut lists = Lists::new(filter, before);
        let (mut found, mut rows) = (Vec::new(), 0);
        let mut last = None;
        let of_event = EventFilter {
            event_type: filter.event_type.clone(),
            ..EventFilter::default()
        };
        let mut events = Met::new(Wanted::new(&of_event, None));
        loop {
            let hold = self.shared.index.read();
            while let Some(next) = lists.next(&hold)? {
                let Some((place, entry)) = next else {
                    return Ok((found, None));
                };
                rows += 1;
                if found.len() >= limit || rows > ROWS_READ {
                    return Ok((found, last.map(cursor_after)));
                }
                last = Some(place);
                if filter.wants(&entry) && events.part_of(&hold, place.1)?.1 {
                    let event = Summary::read(&hold, place.1)?;
                    let wanted = event.filter(|event| {
                        let pattern = filter.event_type.as_ref();
                        pattern.is_none_or(|pattern| pattern.matches(&event.event_type))
                    });
                    found.extend(wanted.map(|event| Found { place, event }));
                }
                if hold.is_spent() {
                    break;
                }
            }
        }
    }

    /// The kept attempts of a delivery, with their positions in the list.
    fn placed_attempts(
        &self,
        id: EventId,
        no: EndpointNo,
    ) -> Result<Vec<(u64, Attempt)>, ReadError> {
        let kept = twice(|wanted| {
            let row = self.shared.index.read().delivery_row(id, no)?;
            match row {
                Some(row) => attempts(&self.shared.log, id, no, row.last_attempt, wanted),
                None => Ok(Vec::new()),
            }
        })?;
        let mut previous = 0;
        let place = |attempt: Attempt| {
            previous = place_after(previous, attempt.at.as_millis());
            (previous, attempt)
        };
        Ok(kept.into_iter().map(place).collect())
    }
}

/// The lists of the endpoints that match a filter, merged.
struct Lists<'a> {
    filter: &'a AttemptFilter,
    before: Place,
    /// The last endpoint that was visited; `None` once all were.
    met: Option<Bound<EndpointNo>>,
    /// Sorted by the position of the next attempt of each list, or an upper bound of it.
    heads: BinaryHeap<(Place, bool)>,
    walks: HashMap<EndpointNo, Walk>,
}

/// One endpoint's list.
struct Walk {
    /// Attempts that were read ahead, the newest last.
    ahead: Vec<(Place, AttemptEntry)>,
    range: Range,
    at_once: usize,
}

/// `Some(None)`: there are no more. `None`: the hold is spent.
type Next = Option<Option<(Place, AttemptEntry)>>;

impl<'a> Lists<'a> {
    fn new(filter: &'a AttemptFilter, before: Place) -> Lists<'a> {
        Lists {
            filter,
            before,
            met: Some(Bound::Unbounded),
            heads: BinaryHeap::new(),
            walks: HashMap::new(),
        }
    }

    fn next(&mut self, hold: &Hold<'_>) -> Result<Next, ReadError> {
        if !self.meet(hold) {
            return Ok(None);
        }
        loop {
            let Some(((_, _, no), is_known)) = self.heads.peek().copied() else {
                return Ok(Some(None));
            };
            let walk = self.walks.entry(no);
            let walk = walk.or_insert_with(|| Walk::new(self.filter, self.before, no));
            if is_known && let Some(found) = walk.ahead.pop() {
                self.heads.pop();
                match walk.ahead.last() {
                    Some((place, _)) => self.heads.push((*place, true)),
                    // All other attempts are before it.
                    None => self.heads.push((found.0, false)),
                }
                return Ok(Some(Some(found)));
            }
            if hold.is_spent() {
                return Ok(None);
            }
            let is_at_end = walk.read(hold, no)?;
            match walk.ahead.last() {
                Some((place, _)) => {
                    self.heads.pop();
                    self.heads.push((*place, true));
                }
                None if is_at_end => drop(self.heads.pop()),
                None => return Ok(None),
            }
        }
    }

    /// Visits the endpoints that match. Returns whether all were visited.
    fn meet(&mut self, hold: &Hold<'_>) -> bool {
        let Some(met) = self.met else { return true };
        if let Some(id) = &self.filter.endpoint {
            // One of them has the name.
            if let Some((no, stored)) = hold.endpoint_named(id)
                && self.filter.wants_endpoint(stored)
            {
                self.begin(no, stored);
            }
            self.met = None;
            return true;
        }
        for (no, stored) in hold.endpoints.range((met, Bound::Unbounded)) {
            count_row();
            if self.filter.wants_endpoint(stored) {
                self.begin(*no, stored);
            }
            if hold.is_spent() {
                self.met = Some(Bound::Excluded(*no));
                return false;
            }
        }
        self.met = None;
        true
    }

    fn begin(&mut self, no: EndpointNo, stored: &StoredEndpoint) {
        let newest = stored.newest_attempt.min(self.before.0);
        if stored.newest_attempt >= self.filter.floor() {
            self.heads.push(((newest, EventId(u128::MAX), no), false));
        }
    }
}

impl Walk {
    fn new(filter: &AttemptFilter, before: Place, no: EndpointNo) -> Walk {
        // Of one moment and event the endpoints below `before`'s are still to come.
        let end = match no < before.2 {
            true => before.1.0.saturating_add(1),
            false => before.1.0,
        };
        Walk {
            ahead: Vec::new(),
            range: Range::backward(
                keys::attempt(no, filter.floor(), EventId(0)),
                keys::attempt(no, before.0, EventId(end)),
            ),
            at_once: 1,
        }
    }

    /// Reads ahead. Returns whether the list has ended.
    fn read(&mut self, hold: &Hold<'_>, no: EndpointNo) -> Result<bool, ReadError> {
        let (ahead, at_once) = (&mut self.ahead, self.at_once);
        let piece = self.range.advance(hold, |key, value| {
            let at = keys::time_of(key).ok_or(PagesError::Damaged)?;
            let id = keys::event_of(key).ok_or(PagesError::Damaged)?;
            let entry = rows::decode(value).map_err(|_| PagesError::Damaged)?;
            ahead.push(((at, id, no), entry));
            Ok(match ahead.len() < at_once {
                true => Row::Taken,
                false => Row::Last,
            })
        })?;
        self.ahead.reverse();
        self.at_once = (self.at_once * 2).min(AHEAD);
        Ok(piece == Piece::End)
    }
}
