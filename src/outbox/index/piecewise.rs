//! Reads of unknown length that let go of the lock between their pieces: each row is read as
//! it was at some moment, the whole is not of one moment.

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::record::DeliveryRow;

use super::hold::Readers;
use super::keys::{self, List};
use super::pages::PagesError;
use super::rows::{self, DeliveryEntry};
use super::rows_read::count_row;
use super::state::State;
use super::stored_endpoint::StoredEndpoint;

impl Readers {
    /// The deliveries of an event, of which there may be tens of thousands.
    pub fn delivery_rows(&self, id: EventId) -> Result<Vec<(EndpointNo, DeliveryRow)>, PagesError> {
        let mut found = Vec::new();
        let mut from = keys::deliveries(id);
        let end = keys::end_of(&from);
        'pieces: loop {
            let hold = self.read();
            let mut scan = hold.entries.scan(&from, &end, false);
            while let Some(entry) = scan.step() {
                let (key, value) = entry?;
                if let Some(value) = value {
                    let no = keys::endpoint_of(&key).ok_or(PagesError::Damaged)?;
                    let entry = rows::decode::<DeliveryEntry>(&value);
                    found.push((no, entry.map_err(|_| PagesError::Damaged)?.row));
                }
                if hold.is_spent() {
                    from = key.as_ref().into();
                    from.push(0);
                    continue 'pieces;
                }
            }
            return Ok(found);
        }
    }

    /// The oldest events of an endpoint's list, at most so many.
    pub fn oldest_of(
        &self,
        list: List,
        no: EndpointNo,
        most: usize,
    ) -> Result<Vec<EventId>, PagesError> {
        self.oldest_where(list, no, most, |_, _| Ok(true))
    }

    /// Those of them that are `wanted`.
    pub fn oldest_where(
        &self,
        list: List,
        no: EndpointNo,
        most: usize,
        wanted: impl Fn(&State, EventId) -> Result<bool, PagesError>,
    ) -> Result<Vec<EventId>, PagesError> {
        let mut found = Vec::new();
        let mut from = keys::list_of(list, no);
        let end = keys::end_of(&from);
        'pieces: loop {
            let hold = self.read();
            let mut scan = hold.entries.scan(&from, &end, false);
            while found.len() < most
                && let Some(entry) = scan.step()
            {
                let (key, value) = entry?;
                if value.is_some() {
                    let id = keys::event_of(&key).ok_or(PagesError::Damaged)?;
                    if wanted(&hold, id)? {
                        found.push(id);
                    }
                }
                if hold.is_spent() {
                    from = key.as_ref().into();
                    from.push(0);
                    continue 'pieces;
                }
            }
            return Ok(found);
        }
    }

    /// The endpoints that are `wanted`, in order.
    pub fn endpoints_where(&self, wanted: impl Fn(&StoredEndpoint) -> bool) -> Vec<EndpointNo> {
        let mut found = Vec::new();
        let mut from = EndpointNo(0);
        'pieces: loop {
            let hold = self.read();
            for (no, stored) in hold.endpoints.range(from..) {
                count_row();
                if wanted(stored) {
                    found.push(*no);
                }
                if hold.is_spent() {
                    let Some(next) = no.0.checked_add(1) else {
                        return found;
                    };
                    from = EndpointNo(next);
                    continue 'pieces;
                }
            }
            return found;
        }
    }
}
