//! How many rows of the index point into each segment of the log.
//!
//! A row that says where its record is (an event, an endpoint's definition, an erased event)
//! keeps that record's segment: the writer refuses to drop one with any such row. The counts
//! are kept with every change, so that asking costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::pages::PagesError;
use super::rows::{self, ErasedEntry, EventRow, SpecEntry};
use super::{State, keys};

/// The segments of the log by the position of their first byte, and how many rows point
/// into each.
#[derive(Debug, Default)]
pub struct SegmentRows {
    rows: BTreeMap<u64, u64>,
    /// Changed since the last freeze.
    touched: BTreeSet<u64>,
    /// A row went that was never counted, since the start: an accounting fault.
    pub faults: u64,
}

impl SegmentRows {
    /// The log has a segment that begins there.
    pub fn begins(&mut self, base: u64) {
        self.rows.entry(base).or_default();
    }

    pub(super) fn restore(&mut self, base: u64, rows: u64) {
        self.rows.insert(base, rows);
    }

    fn base_of(&self, lsn: u64) -> u64 {
        let before = self.rows.range((Bound::Unbounded, Bound::Included(lsn)));
        before.last().map_or(0, |(base, _)| *base)
    }

    /// A row points to the record at `lsn`.
    pub(super) fn add(&mut self, lsn: u64) {
        let base = self.base_of(lsn);
        *self.rows.entry(base).or_default() += 1;
        self.touched.insert(base);
    }

    /// A row that pointed there is gone.
    pub(super) fn remove(&mut self, lsn: u64) {
        let base = self.base_of(lsn);
        let rows = self.rows.entry(base).or_default();
        debug_assert!(*rows > 0, "a row of {lsn:#x} was never counted");
        match rows.checked_sub(1) {
            Some(left) => *rows = left,
            None => self.faults += 1,
        }
        self.touched.insert(base);
    }

    /// How many rows point below `start`, the beginning of a segment.
    pub fn below(&self, start: u64) -> u64 {
        self.rows.range(..start).map(|(_, rows)| rows).sum()
    }

    /// The segments below `start` are gone.
    pub fn dropped_below(&mut self, start: u64) {
        let kept = self.rows.split_off(&start);
        self.touched.extend(self.rows.keys());
        self.rows = kept;
    }

    /// Every segment with rows, for comparing with a recount.
    pub fn counts(&self) -> BTreeMap<u64, u64> {
        let counted = self.rows.iter().filter(|(_, rows)| **rows > 0);
        counted.map(|(base, rows)| (*base, *rows)).collect()
    }
}

impl State {
    /// How many rows point into each segment, counted anew from all rows.
    pub fn recounted_segments(&self) -> Result<BTreeMap<u64, u64>, PagesError> {
        let mut counts = BTreeMap::new();
        let mut count = |lsn: u64| *counts.entry(self.segments.base_of(lsn)).or_insert(0) += 1;
        let scan = |prefix: &[u8]| self.entries.scan(prefix, &keys::end_of(prefix), false);
        for entry in scan(keys::EVENTS) {
            let (_, value) = entry?;
            let row: EventRow<'_> = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
            count(row.lsn);
        }
        for entry in scan(keys::SPECS) {
            let row: SpecEntry = rows::decode(&entry?.1).map_err(|_| PagesError::Damaged)?;
            count(row.lsn);
        }
        for entry in scan(keys::ERASED) {
            let row: ErasedEntry = rows::decode(&entry?.1).map_err(|_| PagesError::Damaged)?;
            count(row.lsn);
        }
        Ok(counts)
    }

    /// Writes the counts that changed among the entries.
    pub(super) fn settle_segments(&mut self) {
        for base in std::mem::take(&mut self.segments.touched) {
            match self.segments.rows.get(&base) {
                Some(rows) if *rows > 0 => {
                    self.entries.put(keys::segment(base), rows::encode(rows));
                }
                _ => self.entries.remove(keys::segment(base)),
            }
        }
    }
}
