//! What of the log's oldest segment is still wanted, before it goes.

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::index::rows::{
    self, ErasedEntry, EventRow, SourceCountsEntry, SourceEntry, SpecEntry,
};
use crate::outbox::index::{PagesError, Readers, State, keys};
use crate::outbox::log::Lsn;
use crate::outbox::record::{Record, SourceCountsRow, SourceRow};
use crate::outbox::request::Wanted;

/// What the records of a segment say that stands nowhere else.
#[derive(Debug, Default)]
pub struct Survey {
    pub events: Vec<EventId>,
    /// About what all of it takes.
    pub bytes: u64,
    /// What is wanted besides events.
    pub wanted: Wanted,
}

impl Survey {
    /// Notes the record at `lsn`, if what it says is still wanted.
    pub fn note(&mut self, state: &State, lsn: Lsn, record: &Record<'_>) -> Result<(), PagesError> {
        match record {
            Record::Accepted(accepted) => self.event(state, lsn, EventId(accepted.event.id)),
            Record::Rewritten(rewritten) => self.event(state, lsn, EventId(rewritten.event.id)),
            Record::EndpointSpec(row) => self.spec(state, lsn, EndpointNo(row.no)),
            Record::Source(row) => self.source(state, lsn, row),
            Record::SourceCounts(row) => self.source_counts(state, lsn, row),
            Record::Erased(row) => self.erased(state, lsn, EventId(row.id)),
            Record::Endpoint(row) => {
                self.wanted.endpoints.insert(EndpointNo(row.no));
                Ok(())
            }
            Record::EndpointDeleted(deleted) => {
                self.wanted.endpoints.insert(EndpointNo(deleted.no));
                Ok(())
            }
            Record::KeyKept(kept) => {
                let key = kept.idempotency.key.to_owned();
                self.wanted.keys.push((kept.tenant.to_owned(), key));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn event(&mut self, state: &State, lsn: Lsn, id: EventId) -> Result<(), PagesError> {
        if let Some(bytes) = state.entries.get(&keys::event(id))? {
            let row: EventRow<'_> = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
            if row.lsn == lsn.0 {
                self.events.push(id);
                self.bytes += u64::from(row.body_len) + rows::EVENT_COST;
            }
        }
        Ok(())
    }

    fn spec(&mut self, state: &State, lsn: Lsn, no: EndpointNo) -> Result<(), PagesError> {
        if let Some(bytes) = state.entries.get(&keys::spec(no))? {
            let entry: SpecEntry = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
            if entry.lsn == lsn.0 {
                self.wanted.specs.insert(no);
                self.bytes += bytes.len() as u64 + rows::SPEC_COST;
            }
        }
        Ok(())
    }

    fn source(&mut self, state: &State, lsn: Lsn, row: &SourceRow<'_>) -> Result<(), PagesError> {
        let known = state.source_entry(row.id)?;
        if known.is_some_and(|entry| entry.lsn == lsn.0) {
            self.wanted.sources.insert(row.id.to_owned());
            self.bytes += row.definition.0.len() as u64 + rows::SOURCE_COST;
        }
        Ok(())
    }

    fn source_counts(
        &mut self,
        state: &State,
        lsn: Lsn,
        row: &SourceCountsRow<'_>,
    ) -> Result<(), PagesError> {
        let known = state.source_counts_entry(row.id)?;
        if known.is_some_and(|entry| entry.lsn == lsn.0) {
            self.wanted.source_counts.insert(row.id.to_owned());
            self.bytes += row.counts.len() as u64 + rows::SOURCE_COST;
        }
        Ok(())
    }

    fn erased(&mut self, state: &State, lsn: Lsn, id: EventId) -> Result<(), PagesError> {
        let known = state.erased_entry(id)?;
        if known.is_some_and(|entry| entry.lsn == lsn.0) {
            self.wanted.erased.insert(id);
            self.bytes += rows::ERASED_COST;
        }
        Ok(())
    }
}

/// Adds what is no event and has a row that points below `start`, though no record there names it:
/// the record was lost to damage, and the index has it whole.
pub fn add_unnamed(wanted: &mut Wanted, index: &Readers, start: Lsn) -> Result<(), PagesError> {
    each_row(index, keys::SPECS, |key, value| {
        let row: SpecEntry = rows::decode(value).map_err(|_| PagesError::Damaged)?;
        if row.lsn < start.0 {
            let no = keys::endpoint_of(key).ok_or(PagesError::Damaged)?;
            wanted.specs.insert(no);
        }
        Ok(())
    })?;
    each_row(index, keys::SOURCES, |key, value| {
        let row: SourceEntry = rows::decode(value).map_err(|_| PagesError::Damaged)?;
        if row.lsn < start.0 {
            let id = keys::source_of(key).ok_or(PagesError::Damaged)?;
            wanted.sources.insert(id.to_owned());
        }
        Ok(())
    })?;
    each_row(index, keys::SOURCE_COUNTS, |key, value| {
        let row: SourceCountsEntry = rows::decode(value).map_err(|_| PagesError::Damaged)?;
        if row.lsn < start.0 {
            let id = keys::source_of(key).ok_or(PagesError::Damaged)?;
            wanted.source_counts.insert(id.to_owned());
        }
        Ok(())
    })?;
    each_row(index, keys::ERASED, |key, value| {
        let row: ErasedEntry = rows::decode(value).map_err(|_| PagesError::Damaged)?;
        let id = keys::event_of(key).ok_or(PagesError::Damaged)?;
        if row.lsn < start.0 {
            wanted.erased.insert(id);
        }
        Ok(())
    })
}

/// Gives the rows under `prefix` to `each`, in pieces.
pub fn each_row(
    index: &Readers,
    prefix: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), PagesError>,
) -> Result<(), PagesError> {
    let (mut from, end) = (prefix.to_vec(), keys::end_of(prefix));
    'pieces: loop {
        let hold = index.read();
        let mut scan = hold.entries.scan(&from, &end, false);
        while let Some(entry) = scan.step() {
            let (key, value) = entry?;
            if let Some(value) = value {
                each(&key, &value)?;
            }
            if hold.is_spent() {
                from = key.into_owned();
                from.push(0);
                continue 'pieces;
            }
        }
        return Ok(());
    }
}
