//! What is open, finished and known, by key: derived from the log, never trusted over it.
//!
//! `apply` is the one way in. `overlay` keeps the newest changes in memory, `pages` the
//! rest in sled; `flush` moves them along; `open` decides whether what is on disk can be
//! used. Deleting `index/` loses nothing but the time of one start.

pub mod choice;
pub mod keys;
pub mod open;
pub mod overlay;
pub mod pages;
pub mod rows;
pub mod shown;

mod apply;
mod bulk;
mod check;
mod endpoints;
mod ends;
mod flush;
mod hold;
mod segments;
mod sums;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::{EventId, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::record::{DeliveryRow, EndpointStateRow};

pub use apply::ATTEMPTS_KEPT;
pub use check::Disagreement;
pub use flush::{Flusher, IndexFailure};
#[cfg(test)]
pub use hold::pieces;
pub use hold::{HOLD_ROWS, Hold, HoldsView, Index, Readers, count_row, forbid_reads_here};
pub use open::Generations;
use overlay::Overlay;
use pages::Pages;
pub use pages::PagesError;
use rows::{LaneRow, LaneTotals, MetaRow};
pub use segments::SegmentRows;
pub use sums::Sums;

/// An endpoint as the store knows it: also one that is gone from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub id: EndpointId,
    pub tenant: Tenant,
    pub state: EndpointStateRow,
    /// When it was deleted through the API.
    pub deleted: Option<u64>,
    pub totals: LaneTotals,
}

impl Lane {
    /// An endpoint whose record was rewritten further on in the log, or lost: the number is
    /// all that is known of it yet.
    fn nameless(no: EndpointNo) -> Lane {
        let id = EndpointId::new(&format!("unknown-{}", no.0));
        Lane {
            id: id.expect("letters, a dash and digits, within 64 bytes"),
            tenant: Tenant::default(),
            state: EndpointStateRow::default(),
            deleted: None,
            totals: LaneTotals::default(),
        }
    }
}

/// The index in memory: the overlay and what is small enough to keep whole.
#[derive(Default)]
pub struct State {
    pub entries: Overlay,
    /// Boxed: most of a tree's places are empty, and there may be a hundred thousand lanes.
    pub lanes: BTreeMap<EndpointNo, Box<Lane>>,
    pub by_id: HashMap<EndpointId, EndpointNo>,
    pub meta: MetaRow,
    /// Records that spoke of something unknown, since the start.
    pub unknown: u64,
    /// What of the rows is asked for often.
    pub sums: Sums,
    pub segments: SegmentRows,
    /// Lanes that changed since the last freeze.
    touched: BTreeSet<EndpointNo>,
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

    pub fn lane_named(&self, id: &EndpointId) -> Option<(EndpointNo, &Lane)> {
        let no = *self.by_id.get(id)?;
        Some((no, self.lanes.get(&no)?))
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
        match self.entries.get(&keys::delivery(id, no))? {
            Some(bytes) => rows::decode(&bytes)
                .map(Some)
                .map_err(|_| PagesError::Damaged),
            None => Ok(None),
        }
    }

    /// All deliveries of an event, by endpoint number.
    pub fn delivery_rows(&self, id: EventId) -> Result<Vec<(EndpointNo, DeliveryRow)>, PagesError> {
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
    fn settle(&mut self) {
        for no in std::mem::take(&mut self.touched) {
            if let Some(lane) = self.lanes.get(&no) {
                let row = LaneRow {
                    id: lane.id.as_str(),
                    tenant: lane.tenant.as_str(),
                    state: lane.state,
                    deleted: lane.deleted,
                    totals: lane.totals,
                };
                self.entries.put(keys::lane(no), rows::encode(&row));
            }
        }
        self.settle_segments();
        self.entries
            .put(keys::META.to_vec(), rows::encode(&self.meta));
    }

    /// Everything in the index, for comparing one index with another.
    pub fn contents(&mut self) -> Result<pages::Entries, PagesError> {
        self.settle();
        let all = self.entries.scan(&[0], &[u8::MAX], false);
        all.map(|entry| entry.map(|(key, value)| (key.into_owned(), value.into_owned())))
            .collect()
    }
}
