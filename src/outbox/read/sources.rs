//! The sources that are stored.

use std::collections::BTreeMap;

use crate::domain::time::Timestamp;
use crate::outbox::handle::Outbox;
use crate::outbox::index::rows::{self, SourceCountsEntry, SourceEntry};
use crate::outbox::index::{PagesError, keys};
use crate::outbox::views::{ReadError, SourceDefinition, StoredSource};

use super::range::{Piece, Range, Row};

impl Outbox {
    /// What the store has of sources, in order of their ids. Reads the index: callers on the
    /// runtime use `spawn_blocking`.
    pub fn stored_sources(&self) -> Result<Vec<StoredSource>, ReadError> {
        let mut found = BTreeMap::new();
        self.each_of_sources(keys::SOURCES, |id, bytes| {
            let entry: SourceEntry = rows::decode(bytes).map_err(|_| PagesError::Damaged)?;
            stored(&mut found, id).definition = Some(SourceDefinition {
                changed_at: Timestamp::from_millis(entry.changed_at),
                bytes: entry.definition,
            });
            Ok(())
        })?;
        self.each_of_sources(keys::SOURCE_COUNTS, |id, bytes| {
            let entry: SourceCountsEntry = rows::decode(bytes).map_err(|_| PagesError::Damaged)?;
            stored(&mut found, id).counts = Some(entry.counts);
            Ok(())
        })?;
        Ok(found.into_values().collect())
    }

    /// Gives the rows under `prefix` to `each`, in pieces.
    fn each_of_sources(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&str, &[u8]) -> Result<(), PagesError>,
    ) -> Result<(), ReadError> {
        let mut range = Range::forward(prefix.into(), keys::end_of(prefix));
        loop {
            // Rows that are given twice are the same.
            let piece = self.reliably(|| {
                let hold = self.shared.index.read();
                range.advance(&hold, |key, value| {
                    let id = keys::source_of(key).ok_or(PagesError::Damaged)?;
                    each(id, value)?;
                    Ok(Row::Taken)
                })
            });
            if piece? == Piece::End {
                return Ok(());
            }
        }
    }
}

fn stored<'a>(found: &'a mut BTreeMap<String, StoredSource>, id: &str) -> &'a mut StoredSource {
    found.entry(id.to_owned()).or_insert_with(|| StoredSource {
        id: id.to_owned(),
        definition: None,
        counts: None,
    })
}
