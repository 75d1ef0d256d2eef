//! The index in memory: the overlay over the pages, and what is kept beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::record::DeliveryRow;

use super::block::Blocks;
use super::bucket::OpenStats;
use super::keys;
use super::overlay::Overlay;
use super::pages::{self, Pages, PagesError};
use super::rows::{self, DeliveryEntry, MetaRow, StoredEndpointRow};
use super::segments::SegmentRows;
use super::stored_endpoint::StoredEndpoint;
use super::sums::Sums;

/// The index in memory: the overlay and what is small enough to keep whole.
#[derive(Default)]
pub struct State {
    pub entries: Overlay,
    /// Boxed: most of a tree's places are empty, and there may be a hundred thousand endpoints.
    pub endpoints: BTreeMap<EndpointNo, Box<StoredEndpoint>>,
    pub by_id: HashMap<EndpointId, EndpointNo>,
    pub meta: MetaRow,
    /// Records about something unknown, since the start. A replay can meet some, of events that
    /// were forgotten since; live, only damage leads to one.
    pub unknown: u64,
    /// What of the rows is asked for often.
    pub sums: Sums,
    pub segments: SegmentRows,
    pub(super) stats: OpenStats,
    pub(super) blocks: Blocks,
    /// Endpoints that changed since the last freeze.
    pub(super) touched: BTreeSet<EndpointNo>,
}

impl State {
    pub fn new(pages: Option<Pages>, store_id: [u8; 16]) -> Self {
        let meta = MetaRow {
            version: rows::VERSION,
            store_id,
            ..MetaRow::default()
        };
        State {
            entries: Overlay::new(pages),
            meta,
            ..State::default()
        }
    }

    pub fn endpoint_named(&self, id: &EndpointId) -> Option<(EndpointNo, &StoredEndpoint)> {
        let no = *self.by_id.get(id)?;
        Some((no, self.endpoints.get(&no)?))
    }

    /// The true time of acceptance of an event.
    pub fn accepted_at(&self, id: EventId) -> Option<Timestamp> {
        let bytes = self.entries.get(&keys::event(id)).ok()??;
        let row: rows::EventRow<'_> = rows::decode(&bytes).ok()?;
        Some(Timestamp::from_millis(row.accepted_at))
    }

    /// Whether a replay or purge is under way.
    pub fn has_jobs(&self) -> bool {
        let end = keys::end_of(keys::JOBS);
        self.entries.scan(keys::JOBS, &end, false).next().is_some()
    }

    pub fn delivery_row(
        &self,
        id: EventId,
        no: EndpointNo,
    ) -> Result<Option<DeliveryRow>, PagesError> {
        Ok(self.delivery_entry(id, no)?.map(|entry| entry.row))
    }

    pub(super) fn delivery_entry(
        &self,
        id: EventId,
        no: EndpointNo,
    ) -> Result<Option<DeliveryEntry>, PagesError> {
        match self.entries.get(&keys::delivery(id, no))? {
            Some(bytes) => rows::decode(&bytes)
                .map(Some)
                .map_err(|_| PagesError::Damaged),
            None => Ok(None),
        }
    }

    /// All deliveries of an event, by endpoint number.
    pub fn delivery_rows(&self, id: EventId) -> Result<Vec<(EndpointNo, DeliveryRow)>, PagesError> {
        let entries = self.delivery_entries(id)?.into_iter();
        Ok(entries.map(|(no, entry)| (no, entry.row)).collect())
    }

    pub(super) fn delivery_entries(
        &self,
        id: EventId,
    ) -> Result<Vec<(EndpointNo, DeliveryEntry)>, PagesError> {
        let prefix = keys::deliveries(id);
        let mut found = Vec::new();
        for entry in self.entries.scan(&prefix, &keys::end_of(&prefix), false) {
            let (key, value) = entry?;
            let no = keys::endpoint_of(&key).ok_or(PagesError::Damaged)?;
            found.push((no, rows::decode(&value).map_err(|_| PagesError::Damaged)?));
        }
        Ok(found)
    }

    /// Writes what is kept outside the overlay into it, so that a freeze holds everything.
    pub(super) fn settle(&mut self) {
        for no in std::mem::take(&mut self.touched) {
            if let Some(stored) = self.endpoints.get(&no) {
                let row = StoredEndpointRow {
                    id: stored.id.as_str(),
                    tenant: stored.tenant.as_str(),
                    state: stored.state,
                    deleted: stored.deleted,
                    totals: stored.totals,
                    open_stats: (&stored.open_stats).into(),
                };
                self.entries.put(keys::endpoint(no), rows::encode(&row));
            }
            self.settle_outcomes(no);
        }
        self.settle_stats();
        self.settle_block();
        for (base, rows) in self.segments.take_changes() {
            let key = keys::segment(base);
            match rows {
                0 => self.entries.remove(key),
                rows => self.entries.put(key, rows::encode(&rows)),
            }
        }
        self.entries.put(keys::META, rows::encode(&self.meta));
    }

    /// Everything in the index, for comparing one index with another.
    pub fn contents(&mut self) -> Result<pages::Entries, PagesError> {
        self.settle();
        let all = self.entries.scan(&[0], &[u8::MAX], false);
        all.map(|entry| entry.map(|(key, value)| (key.into_owned(), value.into_owned())))
            .collect()
    }
}
