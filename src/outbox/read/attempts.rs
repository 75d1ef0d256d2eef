//! A page of the list of attempts, newest first.
//!
//! As in other lists (`list`), a page reads a bounded number of rows, so it may be short although
//! more follows; a block that is passed over (`attempt_lists`) counts as one row.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::attempt::{Attempt, AttemptId};
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::handle::Outbox;
use crate::outbox::index::place_after;
use crate::outbox::views::{AttemptFilter, AttemptView, Cursor, Page, ReadError};

use super::attempt_lists::{Lists, Place};
use super::event::{ATTEMPT_BYTES, ATTEMPT_COST, Summary, twice};
use super::records::attempts;

/// How many rows a page reads at most.
const ROWS_READ: usize = 20_000;

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
        self.reliably(|| self.attempts_page(filter, cursor, limit))
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
        loop {
            let hold = self.shared.index.read();
            if rows + lists.passed > ROWS_READ {
                return Ok((found, lists.bound().map(cursor_after)));
            }
            while let Some(next) = lists.next(&hold)? {
                let Some((place, entry)) = next else {
                    return Ok((found, None));
                };
                rows += 1;
                if found.len() >= limit || rows > ROWS_READ {
                    return Ok((found, last.map(cursor_after)));
                }
                last = Some(place);
                if filter.wants(entry.outcome) && lists.events.part_of(&hold, place.1)?.1 {
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
