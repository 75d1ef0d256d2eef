//! Lists of events and deliveries, newest first, a page at a time.
//!
//! A page reads a bounded number of rows however rare what is asked for; it may be
//! shorter than asked, even empty, and still say where to go on. Blocks of events that have
//! nothing of it are passed over (`parts`).
//!
//! A page is read in pieces, and a list in pages, while events are accepted and deliveries
//! change. What a walk from the first page to the last promises: what belongs to the list
//! all the while is listed once; nothing is listed twice; what comes into the list or leaves
//! it meanwhile may be listed or not. For a cursor is a place in an order that never
//! changes (event, then endpoint), and a walk only ever goes down. Each item is as it was
//! at one moment, and not all of them at the same.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::delivery::Status;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::decide::ids::first_of;
use crate::outbox::handle::Outbox;
use crate::outbox::index::keys::{self, List};
use crate::outbox::index::rows::{self, DeliveryEntry};
use crate::outbox::index::{Hold, PagesError};
use crate::outbox::record::DeliveryRow;
use crate::outbox::views::{
    Cursor, DeliveryFilter, DeliveryView, EventFilter, EventSummary, Page, ReadError,
};

use super::event::{ATTEMPT_BYTES, Counting, IndexedDelivery, Summary, attempt_bytes, indexed};
use super::merge::Merge;
use super::parts::{Part, Parts, Wanted};
use super::range::{Piece, Place, Range, Row};
use super::records::Attempts;

/// How many rows a page looks at.
const ROWS_READ: usize = 20_000;
/// After so many deliveries a page of events counts no more of them: it ends with the event
/// that passes it.
const ROWS_COUNTED: u64 = 200_000;

impl Cursor {
    fn after(place: Place) -> Cursor {
        let mut bytes = place.0.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(&place.1.0.to_be_bytes());
        Cursor(URL_SAFE_NO_PAD.encode(bytes))
    }

    fn place(&self) -> Result<Place, ReadError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(&self.0)
            .map_err(|_| ReadError::BadCursor)?;
        let (id, no) = bytes
            .split_first_chunk::<16>()
            .ok_or(ReadError::BadCursor)?;
        let no: [u8; 4] = no.try_into().map_err(|_| ReadError::BadCursor)?;
        Ok((
            EventId(u128::from_be_bytes(*id)),
            EndpointNo(u32::from_be_bytes(no)),
        ))
    }
}

impl EventFilter {
    fn wants(&self, event: &Summary) -> bool {
        self.tenant
            .as_ref()
            .is_none_or(|tenant| *tenant == event.tenant)
            && self
                .event_type
                .as_ref()
                .is_none_or(|pattern| pattern.matches(&event.event_type))
            && (self.key.is_none() || self.key == event.key)
            && (self.idempotency_key.is_none() || self.idempotency_key == event.idempotency_key)
            && self.since.is_none_or(|since| event.accepted_at >= since)
            && self.until.is_none_or(|until| event.accepted_at < until)
    }

    /// The lowest id that can be wanted: no id is behind its event's time.
    pub(super) fn floor(&self) -> EventId {
        first_of(self.since.unwrap_or_default())
    }

    /// The lowest id past all that can be wanted. Ids may be ahead of their events' times.
    fn ceiling(&self, ids_ahead: Duration) -> EventId {
        self.until
            .map_or(EventId(u128::MAX), |until| first_of(until + ids_ahead))
    }
}

/// What one page gathers from the index.
pub(super) struct Gathered<T> {
    pub items: Vec<T>,
    /// Where the page goes on: after the last row that it has taken.
    pub last: Option<Place>,
    more: bool,
    rows: usize,
}

impl<T> Gathered<T> {
    pub fn new() -> Self {
        Gathered {
            items: Vec::new(),
            last: None,
            more: false,
            rows: 0,
        }
    }

    /// Whether the row at `place` still belongs to this page.
    pub fn take(&mut self, limit: usize) -> bool {
        self.rows += 1;
        self.more = self.items.len() >= limit || self.rows > ROWS_READ;
        !self.more
    }

    fn next(&self) -> Option<Cursor> {
        self.last.filter(|_| self.more).map(Cursor::after)
    }
}

impl Outbox {
    /// Newest first. `limit` is 1 to 1000.
    pub fn events(
        &self,
        filter: &EventFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<EventSummary>, ReadError> {
        self.reliably(|| self.events_page(filter, cursor, limit))
    }

    /// Newest event first. `limit` is 1 to 1000.
    pub fn deliveries(
        &self,
        filter: &DeliveryFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<DeliveryView>, ReadError> {
        self.reliably(|| self.deliveries_page(filter, cursor, limit))
    }

    fn events_page(
        &self,
        filter: &EventFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<EventSummary>, ReadError> {
        let ceiling = filter.ceiling(self.ids_ahead());
        let before = cursor
            .map(Cursor::place)
            .transpose()?
            .map_or(ceiling, |(id, _)| id);
        let wanted = Wanted::new(filter, None);
        let mut parts = Parts::new(wanted, filter.floor(), before.min(ceiling));
        let mut part: Option<Range> = None;
        let mut page = Gathered::new();
        // A wide event whose deliveries are not all counted yet.
        let mut wide: Option<Counting> = None;
        let mut counted = 0;
        loop {
            let hold = self.shared.index.read();
            if let Some(mut counting) = wide.take() {
                if !counting.is_there(&hold)? {
                    continue;
                }
                if !counting.advance(&hold)? {
                    wide = Some(counting);
                    continue;
                }
                counted += counting.counted();
                page.items.push(counting.summary());
            }
            let events = match &mut part {
                Some(events) => events,
                None => match parts.next(&hold)? {
                    Part::Read { from, before } => {
                        part.insert(Range::backward(keys::event(from), keys::event(before)))
                    }
                    Part::Spent => continue,
                    Part::End => {
                        return Ok(Page {
                            next: page.next(),
                            items: page.items,
                        });
                    }
                },
            };
            let piece = events.advance(&hold, |key, value| {
                let id = keys::event_of(key).ok_or(PagesError::Damaged)?;
                if !page.take(if counted < ROWS_COUNTED { limit } else { 0 }) {
                    return Ok(Row::Left);
                }
                page.last = Some((id, EndpointNo(0)));
                let event = Summary::of(value)?;
                if !filter.wants(&event) {
                    return Ok(Row::Taken);
                }
                let mut counting = Counting::new(id, event);
                if !counting.advance(&hold)? {
                    wide = Some(counting);
                    return Ok(Row::Last);
                }
                counted += counting.counted();
                page.items.push(counting.summary());
                Ok(Row::Taken)
            })?;
            match piece {
                Piece::End => part = None,
                Piece::Enough if wide.is_none() => {
                    return Ok(Page {
                        next: page.next(),
                        items: page.items,
                    });
                }
                Piece::Enough | Piece::Spent => {}
            }
        }
    }

    /// How far ids may be ahead of the times of their events.
    pub(super) fn ids_ahead(&self) -> Duration {
        Duration::from_millis(self.shared.index.read().meta.ids_ahead)
    }

    fn deliveries_page(
        &self,
        filter: &DeliveryFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<DeliveryView>, ReadError> {
        let ceiling = filter.events.ceiling(self.ids_ahead());
        let ceiling = (ceiling, EndpointNo(u32::MAX));
        let before = cursor
            .map(Cursor::place)
            .transpose()?
            .unwrap_or(ceiling)
            .min(ceiling);
        let list = match filter.status {
            Some(Status::Pending | Status::Held) => Some(List::Open),
            Some(Status::Dead) => Some(List::Dead),
            Some(Status::Delivered) | None => None,
        };
        let page = match list {
            Some(list) => self.listed(filter, list, before, limit)?,
            None => self.all(filter, before, limit)?,
        };
        let mut next = page.next();
        let mut items = Vec::with_capacity(page.items.len());
        let (mut bytes, count) = (0, page.items.len());
        for (index, delivery) in page.items.into_iter().enumerate() {
            let place = (delivery.view.event, delivery.no);
            let view = match delivery.finish(&self.shared.log, Attempts::All) {
                // Cleaning moved or dropped it since the index was read: ask again for it alone.
                Err(ReadError::Damaged(_)) => match self.delivery_numbered(place)? {
                    Some(view) => view,
                    None => continue,
                },
                view => view?,
            };
            bytes += attempt_bytes(&view);
            items.push(view);
            // The page ends with the delivery that passes it.
            if bytes > ATTEMPT_BYTES && index + 1 < count {
                next = Some(Cursor::after(place));
                break;
            }
        }
        Ok(Page { items, next })
    }

    fn delivery_numbered(&self, (id, no): Place) -> Result<Option<DeliveryView>, ReadError> {
        let endpoint = self
            .shared
            .index
            .read()
            .endpoints
            .get(&no)
            .map(|stored| stored.id.clone());
        match endpoint.map(|endpoint| self.delivery(id, &endpoint)) {
            None | Some(Err(ReadError::NoSuchEvent | ReadError::NoSuchDelivery)) => Ok(None),
            Some(view) => view.map(Some),
        }
    }

    /// Walks all deliveries.
    fn all(
        &self,
        filter: &DeliveryFilter,
        before: Place,
        limit: usize,
    ) -> Result<Gathered<IndexedDelivery>, ReadError> {
        let endpoint = filter.endpoint.as_ref().and_then(|id| {
            let hold = self.shared.index.read();
            hold.endpoint_named(id).map(|(no, _)| no)
        });
        let looked_for = Wanted::new(&filter.events, endpoint);
        // The deliveries of the event of `before` are among them.
        let below = EventId(before.0.0.saturating_add(1));
        let mut parts = Parts::new(looked_for, filter.events.floor(), below);
        let mut part: Option<Range> = None;
        let mut page = Gathered::new();
        loop {
            let hold = self.shared.index.read();
            let rows = match &mut part {
                Some(rows) => rows,
                None => match parts.next(&hold)? {
                    Part::Read { from, before: end } => {
                        let end = keys::deliveries(end).min(keys::delivery(before.0, before.1));
                        part.insert(Range::backward(keys::deliveries(from), end))
                    }
                    Part::Spent => continue,
                    Part::End => return Ok(page),
                },
            };
            let mut event = Event::default();
            let piece = rows.advance(&hold, |key, value| {
                let place = keys::event_of_delivery(key)
                    .zip(keys::endpoint_of(key))
                    .ok_or(PagesError::Damaged)?;
                if !page.take(limit) {
                    return Ok(Row::Left);
                }
                page.last = Some(place);
                let entry: DeliveryEntry = rows::decode(value).map_err(|_| PagesError::Damaged)?;
                let found = wanted(&hold, filter, place, &entry.row, &mut event)?;
                page.items.extend(found);
                Ok(Row::Taken)
            })?;
            match piece {
                Piece::End => part = None,
                Piece::Enough => return Ok(page),
                Piece::Spent => {}
            }
        }
    }

    /// Walks the lists of all endpoints that have something in them, side by side.
    pub(super) fn listed(
        &self,
        filter: &DeliveryFilter,
        list: List,
        before: Place,
        limit: usize,
    ) -> Result<Gathered<IndexedDelivery>, ReadError> {
        let mut merge = Merge::new(list, filter, before);
        let mut page = Gathered::new();
        loop {
            let hold = self.shared.index.read();
            let mut event = Event::default();
            while let Some(next) = merge.next(&hold)? {
                let Some(place) = next else { return Ok(page) };
                if !page.take(limit) {
                    return Ok(page);
                }
                page.last = Some(place);
                let (id, no) = place;
                if let Some(row) = hold.delivery_row(id, no)? {
                    let found = wanted(&hold, filter, place, &row, &mut event)?;
                    page.items.extend(found);
                }
            }
        }
    }
}

/// The event that the last row belonged to, as one hold sees it: the next row mostly
/// belongs to it too.
#[derive(Default)]
struct Event(Option<(EventId, Option<Summary>)>);

impl Event {
    fn of(&mut self, hold: &Hold<'_>, id: EventId) -> Result<Option<&Summary>, ReadError> {
        if self.0.as_ref().is_none_or(|(known, _)| *known != id) {
            self.0 = Some((id, Summary::read(hold, id)?));
        }
        Ok(self.0.as_ref().and_then(|(_, summary)| summary.as_ref()))
    }
}

/// The delivery as the filter wants it, if it does.
fn wanted(
    hold: &Hold<'_>,
    filter: &DeliveryFilter,
    (id, no): Place,
    row: &DeliveryRow,
    event: &mut Event,
) -> Result<Option<IndexedDelivery>, ReadError> {
    let Some(stored) = hold.endpoints.get(&no) else {
        return Ok(None);
    };
    let mut wanted = filter.endpoint.iter();
    if wanted.any(|endpoint| *endpoint != stored.id) {
        return Ok(None);
    }
    let Some(event) = event.of(hold, id)? else {
        return Ok(None);
    };
    if !filter.events.wants(event) {
        return Ok(None);
    }
    let found = indexed(id, no, row, stored, event)?;
    Ok(filter
        .status
        .is_none_or(|status| status == found.view.status)
        .then_some(found))
}
