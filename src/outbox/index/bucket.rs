//! The counts of the current minute.

use std::collections::HashMap;

use bincode::{BorrowDecode, Encode};

use crate::domain::counts::Counts;

/// The counts of the current minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// In minutes since 1970.
    pub minute: u32,
    pub counts: Counts,
}

/// [`Bucket`] as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BucketRow {
    minute: u32,
    counts: Vec<(u8, u32)>,
}

impl From<&Bucket> for BucketRow {
    fn from(bucket: &Bucket) -> Self {
        BucketRow {
            minute: bucket.minute,
            counts: bucket.counts.slots().to_vec(),
        }
    }
}

impl From<BucketRow> for Bucket {
    fn from(row: BucketRow) -> Self {
        Bucket {
            minute: row.minute,
            counts: Counts::of_slots(row.counts),
        }
    }
}

impl Bucket {
    /// Begins `minute` and returns the counts of the minute before, if there are any. A record that
    /// comes up to a minute late, as outcomes may, counts for the current minute.
    pub(super) fn turn(&mut self, minute: u32) -> Option<Bucket> {
        let is_late = minute.checked_add(1) == Some(self.minute);
        if self.minute == minute || (is_late && !self.counts.is_empty()) {
            return None;
        }
        let next = Bucket {
            minute,
            counts: Counts::default(),
        };
        Some(std::mem::replace(self, next)).filter(|closed| !closed.counts.is_empty())
    }
}

/// The counts of the current minute that belong to no single endpoint.
#[derive(Debug, Default)]
pub struct OpenStats {
    pub(super) all: Open,
    /// Only for tenants that have or had an endpoint: events may name any number of other tenants.
    pub(super) tenants: HashMap<String, Open>,
}

#[derive(Debug, Default)]
pub(super) struct Open {
    pub bucket: Bucket,
    /// Changed since the last freeze.
    pub is_touched: bool,
}

impl Open {
    /// Adds counts to `minute` and returns those of the minute before, if there are any.
    pub fn count(&mut self, minute: u32, counts: &Counts) -> Option<Bucket> {
        let closed = self.bucket.turn(minute);
        self.bucket.counts.merge(counts);
        self.is_touched = true;
        closed
    }
}
