//! Lists of events and deliveries, newest first, a page at a time.
//!
//! A page reads a bounded number of rows however rare what is asked for; it may be
//! shorter than asked, even empty, and still say where to go on.

use std::collections::BinaryHeap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::delivery::Status;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::decide::ids::first_of;
use crate::outbox::handle::Outbox;
use crate::outbox::index::keys::{self, List};
use crate::outbox::index::{PagesError, State, rows};
use crate::outbox::read::{Attempts, Sketch, Summary, count, sketch, sketches};
use crate::outbox::record::DeliveryRow;
use crate::outbox::views::{
    Cursor, DeliveryFilter, DeliveryView, EventFilter, EventSummary, Page, ReadError, StatusCounts,
};

/// How many rows a page looks at.
const ROWS_READ: usize = 20_000;
/// How many bytes of attempts a page carries; the page ends with the delivery that passes it.
const ATTEMPT_BYTES: usize = 8 << 20;

/// The place of a delivery in a list: what follows is smaller.
type Place = (EventId, EndpointNo);

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
                .is_none_or(|name| *name == event.event_type)
            && self.since.is_none_or(|since| event.accepted_at >= since)
            && self.until.is_none_or(|until| event.accepted_at < until)
    }

    /// The lowest id that can be wanted: no id is behind its event's time.
    fn floor(&self) -> EventId {
        first_of(self.since.unwrap_or_default())
    }

    /// The lowest id past all that can be wanted. Ids may be ahead of their events' times.
    fn ceiling(&self, state: &State) -> EventId {
        let ahead = Duration::from_millis(state.meta.ids_ahead);
        self.until
            .map_or(EventId(u128::MAX), |until| first_of(until + ahead))
    }
}

/// What one page gathers under the index's lock.
struct Gathered<T> {
    items: Vec<T>,
    last: Option<Place>,
    more: bool,
    rows: usize,
}

impl<T> Gathered<T> {
    fn new() -> Self {
        Gathered {
            items: Vec::new(),
            last: None,
            more: false,
            rows: 0,
        }
    }

    /// Whether the row at `place` still belongs to this page.
    fn take(&mut self, limit: usize) -> bool {
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
        self.judged(self.events_page(filter, cursor, limit))
    }

    /// Newest event first. `limit` is 1 to 1000.
    pub fn deliveries(
        &self,
        filter: &DeliveryFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<DeliveryView>, ReadError> {
        self.judged(self.deliveries_page(filter, cursor, limit))
    }

    fn events_page(
        &self,
        filter: &EventFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<EventSummary>, ReadError> {
        let before = cursor.map(Cursor::place).transpose()?;
        let state = self.shared.index.read();
        let ceiling = filter.ceiling(&state);
        let before = before.map_or(ceiling, |(id, _)| id);
        let (from, to) = (
            keys::event(filter.floor()),
            keys::event(before.min(ceiling)),
        );
        let mut page = Gathered::new();
        for entry in state.entries.scan(&from, &to, true) {
            let (key, value) = entry?;
            let id = keys::event_of(&key).ok_or(PagesError::Damaged)?;
            if !page.take(limit) {
                break;
            }
            page.last = Some((id, EndpointNo(0)));
            let event = Summary::of(&value)?;
            if filter.wants(&event) {
                let mut counts = StatusCounts::default();
                for sketch in sketches(&state, id, &event)? {
                    count(&mut counts, sketch.view.status);
                }
                page.items.push(event.with(id, counts));
            }
        }
        Ok(Page {
            next: page.next(),
            items: page.items,
        })
    }

    fn deliveries_page(
        &self,
        filter: &DeliveryFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<DeliveryView>, ReadError> {
        let before = cursor.map(Cursor::place).transpose()?;
        let page = {
            let state = self.shared.index.read();
            let ceiling = (filter.events.ceiling(&state), EndpointNo(u32::MAX));
            let before = before.unwrap_or(ceiling).min(ceiling);
            match filter.status {
                Some(Status::Pending | Status::Held) => {
                    listed(&state, filter, List::Open, before, limit)?
                }
                Some(Status::Dead) => listed(&state, filter, List::Dead, before, limit)?,
                Some(Status::Delivered) | None => all(&state, filter, before, limit)?,
            }
        };
        let mut next = page.next();
        let mut items = Vec::with_capacity(page.items.len());
        let (mut bytes, count) = (0, page.items.len());
        for (index, sketch) in page.items.into_iter().enumerate() {
            let place = (sketch.view.event, sketch.no);
            let view = match sketch.finish(&self.shared.log, Attempts::All) {
                // Cleaning moved or dropped it since the index was read: ask again for it alone.
                Err(ReadError::Damaged(_)) => match self.delivery_numbered(place)? {
                    Some(view) => view,
                    None => continue,
                },
                view => view?,
            };
            bytes += view
                .attempts
                .iter()
                .map(|attempt| attempt.response_body.len() + 128)
                .sum::<usize>();
            items.push(view);
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
            .lanes
            .get(&no)
            .map(|lane| lane.id.clone());
        match endpoint.map(|endpoint| self.delivery(id, &endpoint)) {
            None | Some(Err(ReadError::NoSuchEvent | ReadError::NoSuchDelivery)) => Ok(None),
            Some(view) => view.map(Some),
        }
    }
}

/// The delivery as the filter wants it, if it does.
fn wanted(
    state: &State,
    filter: &DeliveryFilter,
    (id, no): Place,
    row: &DeliveryRow,
) -> Result<Option<Sketch>, ReadError> {
    let Some(lane) = state.lanes.get(&no) else {
        return Ok(None);
    };
    if filter
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| *endpoint != lane.id)
    {
        return Ok(None);
    }
    let Some(event) = Summary::read(state, id)? else {
        return Ok(None);
    };
    if !filter.events.wants(&event) {
        return Ok(None);
    }
    let found = sketch(id, no, row, lane, &event)?;
    Ok(filter
        .status
        .is_none_or(|status| status == found.view.status)
        .then_some(found))
}

/// Walks all deliveries.
fn all(
    state: &State,
    filter: &DeliveryFilter,
    before: Place,
    limit: usize,
) -> Result<Gathered<Sketch>, ReadError> {
    let (from, to) = (
        keys::deliveries(filter.events.floor()),
        keys::delivery(before.0, before.1),
    );
    let mut page = Gathered::new();
    for entry in state.entries.scan(&from, &to, true) {
        let (key, value) = entry?;
        let place = keys::event_of_delivery(&key)
            .zip(keys::endpoint_of(&key))
            .ok_or(PagesError::Damaged)?;
        if !page.take(limit) {
            break;
        }
        page.last = Some(place);
        let row: DeliveryRow = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
        page.items.extend(wanted(state, filter, place, &row)?);
    }
    Ok(page)
}

/// Walks the lists of all endpoints that have something in them, side by side.
fn listed(
    state: &State,
    filter: &DeliveryFilter,
    list: List,
    before: Place,
    limit: usize,
) -> Result<Gathered<Sketch>, ReadError> {
    let mut walks = std::collections::HashMap::new();
    let mut heads = BinaryHeap::new();
    for (no, lane) in &state.lanes {
        let total = match list {
            List::Open => lane.totals.pending + lane.totals.held,
            List::Held => lane.totals.held,
            List::Dead => lane.totals.dead,
        };
        let other = filter
            .endpoint
            .as_ref()
            .is_some_and(|endpoint| *endpoint != lane.id)
            || filter
                .events
                .tenant
                .as_ref()
                .is_some_and(|tenant| *tenant != lane.tenant);
        if total == 0 || other {
            continue;
        }
        // Of one event the endpoints below `before`'s are still to come.
        let end = if *no < before.1 {
            EventId(before.0.0.saturating_add(1))
        } else {
            before.0
        };
        let (from, to) = (
            keys::listed(list, *no, filter.events.floor()),
            keys::listed(list, *no, end),
        );
        let mut walk = state.entries.scan(&from, &to, true);
        if let Some(place) = step(&mut walk, *no)? {
            heads.push(place);
            walks.insert(*no, walk);
        }
    }
    let mut page = Gathered::new();
    while let Some(place) = heads.pop() {
        if !page.take(limit) {
            break;
        }
        page.last = Some(place);
        let (id, no) = place;
        if let Some(row) = state.delivery_row(id, no)? {
            page.items.extend(wanted(state, filter, place, &row)?);
        }
        if let Some(walk) = walks.get_mut(&no) {
            heads.extend(step(walk, no)?);
        }
    }
    Ok(page)
}

fn step(
    walk: &mut crate::outbox::index::overlay::Scan<'_>,
    no: EndpointNo,
) -> Result<Option<Place>, ReadError> {
    match walk.next().transpose()? {
        None => Ok(None),
        Some((key, _)) => {
            let id = keys::event_of(&key).ok_or(PagesError::Damaged)?;
            Ok(Some((id, no)))
        }
    }
}
