//! What records about sources change in the index: definitions and counts, each with the place
//! of its record.

use crate::domain::account::Total as _;
use crate::outbox::record::{SourceCountsRow, SourceRow};

use super::keys::{self, Key};
use super::pages::PagesError;
use super::rows::{self, Row, SOURCE_COST, SourceCountsEntry, SourceEntry};
use super::state::State;

impl State {
    pub(super) fn source(&mut self, lsn: u64, row: &SourceRow<'_>) -> Result<(), PagesError> {
        self.drop_source(row.id)?;
        let entry = SourceEntry {
            lsn,
            changed_at: row.changed_at,
            definition: row.definition.clone(),
        };
        self.put_of_source(lsn, keys::source(row.id), rows::encode(&entry));
        Ok(())
    }

    pub(super) fn source_counts(
        &mut self,
        lsn: u64,
        row: &SourceCountsRow<'_>,
    ) -> Result<(), PagesError> {
        self.drop_source_counts(row.id)?;
        let entry = SourceCountsEntry {
            lsn,
            counts: row.counts.to_vec(),
        };
        self.put_of_source(lsn, keys::source_counts(row.id), rows::encode(&entry));
        Ok(())
    }

    pub(super) fn source_forgotten(&mut self, id: &str) -> Result<(), PagesError> {
        self.drop_source(id)?;
        self.drop_source_counts(id)
    }

    /// The definition of a source made by the API.
    pub fn source_entry(&self, id: &str) -> Result<Option<SourceEntry>, PagesError> {
        let bytes = self.entries.get(&keys::source(id))?;
        let entry = bytes.map(|bytes| rows::decode(&bytes).map_err(|_| PagesError::Damaged));
        entry.transpose()
    }

    /// What a source has counted.
    pub fn source_counts_entry(&self, id: &str) -> Result<Option<SourceCountsEntry>, PagesError> {
        let bytes = self.entries.get(&keys::source_counts(id))?;
        let entry = bytes.map(|bytes| rows::decode(&bytes).map_err(|_| PagesError::Damaged));
        entry.transpose()
    }

    fn drop_source(&mut self, id: &str) -> Result<(), PagesError> {
        if let Some(known) = self.source_entry(id)? {
            let len = rows::encode(&known).len();
            self.drop_of_source(known.lsn, keys::source(id), len);
        }
        Ok(())
    }

    fn drop_source_counts(&mut self, id: &str) -> Result<(), PagesError> {
        if let Some(known) = self.source_counts_entry(id)? {
            let len = rows::encode(&known).len();
            self.drop_of_source(known.lsn, keys::source_counts(id), len);
        }
        Ok(())
    }

    fn put_of_source(&mut self, lsn: u64, key: Key, entry: Row) {
        self.meta.source_bytes += entry.len() as u64 + SOURCE_COST;
        self.segments.add(lsn);
        self.entries.put(key, entry);
    }

    fn drop_of_source(&mut self, lsn: u64, key: Key, len: usize) {
        self.meta.source_bytes.take_off(len as u64 + SOURCE_COST);
        self.segments.remove(lsn);
        self.entries.remove(key);
    }
}
