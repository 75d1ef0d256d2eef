//! What happened in the minutes that are under way.

use std::collections::HashMap;

use bincode::{BorrowDecode, Encode};

use crate::domain::counts::Counts;

/// The counts of a minute that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Since 1970.
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
    /// Makes it one of `minute`; what it was before, if it was of another. What comes a little late,
    /// as outcomes do, counts for the minute under way.
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

/// The minutes under way that no endpoint has.
#[derive(Debug, Default)]
pub struct OpenStats {
    pub(super) all: Open,
    /// Of the tenants that endpoints have or had: others come with events, as many as clients like.
    pub(super) tenants: HashMap<String, Open>,
}

#[derive(Debug, Default)]
pub(super) struct Open {
    pub bucket: Bucket,
    /// Changed since the last freeze.
    pub is_touched: bool,
}

impl Open {
    /// Counts for `minute`; what it had of another.
    pub fn count(&mut self, minute: u32, counts: &Counts) -> Option<Bucket> {
        let closed = self.bucket.turn(minute);
        self.bucket.counts.merge(counts);
        self.is_touched = true;
        closed
    }
}
