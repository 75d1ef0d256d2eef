//! How many rows of the index point into each segment of the log.
//!
//! A row that says where its record is (an event, an endpoint's definition, an erased event)
//! keeps that record's segment: the writer refuses to drop one with any such row. The counts
//! are kept with every change, so that asking costs nothing.

use crate::domain::account::Total as _;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The segments of the log by the position of their first byte, and how many rows point
/// into each.
#[derive(Debug, Default)]
pub struct SegmentRows {
    rows: BTreeMap<u64, u64>,
    /// Changed since the last freeze.
    touched: BTreeSet<u64>,
}

impl SegmentRows {
    /// The log has a segment that begins there.
    pub fn begins(&mut self, base: u64) {
        self.rows.entry(base).or_default();
    }

    pub(super) fn restore(&mut self, base: u64, rows: u64) {
        self.rows.insert(base, rows);
    }

    pub(super) fn base_of(&self, lsn: u64) -> u64 {
        let mut before = self.rows.range((Bound::Unbounded, Bound::Included(lsn)));
        before.next_back().map_or(0, |(base, _)| *base)
    }

    /// A row points to the record at `lsn`.
    pub(super) fn add(&mut self, lsn: u64) {
        // Most records are in the last segment.
        if let Some(mut last) = self.rows.last_entry()
            && *last.key() <= lsn
        {
            *last.get_mut() += 1;
            self.touched.insert(*last.key());
            return;
        }
        let base = self.base_of(lsn);
        *self.rows.entry(base).or_default() += 1;
        self.touched.insert(base);
    }

    /// A row that pointed there is gone.
    pub(super) fn remove(&mut self, lsn: u64) {
        let base = self.base_of(lsn);
        let rows = self.rows.entry(base).or_default();
        rows.take_off(1);
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

    /// The segments whose counts changed since the last call, with how many rows each has.
    pub(super) fn take_changes(&mut self) -> Vec<(u64, u64)> {
        let touched = std::mem::take(&mut self.touched).into_iter();
        let rows = |base: u64| self.rows.get(&base).copied().unwrap_or_default();
        touched.map(|base| (base, rows(base))).collect()
    }
}
