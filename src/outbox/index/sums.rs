//! What follows from the rows and is asked for often: kept in memory alone, next to the
//! endpoints, and counted again when an index is opened.

use std::collections::BTreeSet;

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;

use super::stored_endpoint::StoredEndpoint;

/// Sums over all endpoints, and the endpoints and events that wait for something.
#[derive(Debug, PartialEq, Eq)]
pub struct Sums {
    /// Endpoints with deliveries that are held for the backlog.
    pub backlogged: BTreeSet<EndpointNo>,
    /// Endpoints that are deleted and not forgotten yet.
    pub deleted: BTreeSet<EndpointNo>,
    /// Erased events with copies in the log that may not be overwritten yet.
    pub erasing: BTreeSet<EventId>,
    /// There may be work for the bulk thread.
    pub may_have_bulk_work: bool,
    /// The bodies of pending deliveries of the endpoints that take them, in bytes: of each
    /// endpoint no more than its share.
    pub(super) taking_bytes: u64,
    /// How many deliveries these are.
    pub(super) taking: u64,
    /// The bodies that are open and held, or of endpoints that take none, and go nowhere else.
    pub(super) aside_bytes: u64,
    /// The most that one endpoint counts for.
    pub(super) share: u64,
}

impl Default for Sums {
    fn default() -> Self {
        Sums {
            backlogged: BTreeSet::new(),
            deleted: BTreeSet::new(),
            erasing: BTreeSet::new(),
            may_have_bulk_work: true,
            taking_bytes: 0,
            taking: 0,
            aside_bytes: 0,
            share: u64::MAX,
        }
    }
}

impl Sums {
    /// What an endpoint adds to the bytes and deliveries that go out, and to the bytes aside.
    pub(super) fn parts(&self, stored: &StoredEndpoint) -> (u64, u64, u64) {
        let totals = &stored.totals;
        if stored.is_taking() {
            let bytes = totals.pending_bytes.min(self.share);
            (bytes, totals.pending, totals.sole_held_bytes)
        } else {
            (0, 0, totals.sole_held_bytes + totals.sole_pending_bytes)
        }
    }
}
