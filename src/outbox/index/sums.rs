//! What follows from the rows and is asked for often: kept in memory alone, next to the
//! lanes, and counted again when an index is opened.

use std::collections::BTreeSet;

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;

use super::rows::EVENT_COST;
use super::{Lane, State};

/// Sums over all lanes, and who of them waits for something.
#[derive(Debug, PartialEq, Eq)]
pub struct Sums {
    /// Lanes with deliveries that are held for themselves.
    pub backlogged: BTreeSet<EndpointNo>,
    /// Lanes that are deleted and not forgotten yet.
    pub deleted: BTreeSet<EndpointNo>,
    /// Erased events with copies in the log that may not be overwritten yet.
    pub erasing: BTreeSet<EventId>,
    /// Something that the bulk thread waits for may have come about.
    pub eased: bool,
    /// The bodies of pending deliveries of the lanes that take them, in bytes: of each
    /// lane no more than its share.
    taking_bytes: u64,
    /// How many deliveries these are.
    taking: u64,
    /// The bodies that are open and held, or of lanes that take none, and go nowhere else.
    aside_bytes: u64,
    /// The most that one lane counts for.
    share: u64,
}

impl Default for Sums {
    fn default() -> Self {
        Sums {
            backlogged: BTreeSet::new(),
            deleted: BTreeSet::new(),
            erasing: BTreeSet::new(),
            eased: true,
            taking_bytes: 0,
            taking: 0,
            aside_bytes: 0,
            share: u64::MAX,
        }
    }
}

impl Sums {
    /// The most bytes that one lane counts for.
    pub(super) fn share(&self) -> u64 {
        self.share
    }

    /// What a lane adds to the bytes and deliveries that go out, and to the bytes aside.
    fn parts(&self, lane: &Lane) -> (u64, u64, u64) {
        let totals = &lane.totals;
        if lane.is_taking() {
            let bytes = totals.pending_bytes.min(self.share);
            (bytes, totals.pending, totals.sole_held_bytes)
        } else {
            (0, 0, totals.sole_held_bytes + totals.sole_pending_bytes)
        }
    }
}

impl Lane {
    /// Whether its pending deliveries go out.
    pub fn is_taking(&self) -> bool {
        !self.state.is_holding() && self.deleted.is_none()
    }
}

impl State {
    /// The lane is about to change.
    pub(super) fn unweigh(&mut self, no: EndpointNo) {
        let Some(lane) = self.lanes.get(&no) else {
            return;
        };
        let (bytes, count, aside) = self.sums.parts(lane);
        self.sums.taking_bytes = self.sums.taking_bytes.saturating_sub(bytes);
        self.sums.taking = self.sums.taking.saturating_sub(count);
        self.sums.aside_bytes = self.sums.aside_bytes.saturating_sub(aside);
    }

    /// The lane has changed, or is new.
    pub(super) fn weigh(&mut self, no: EndpointNo) {
        let Some(lane) = self.lanes.get(&no) else {
            self.sums.backlogged.remove(&no);
            self.sums.deleted.remove(&no);
            return;
        };
        let (bytes, count, aside) = self.sums.parts(lane);
        self.sums.taking_bytes += bytes;
        self.sums.taking += count;
        self.sums.aside_bytes += aside;
        if lane.totals.held > 0 {
            self.sums.backlogged.insert(no);
            self.sums.eased = true;
        } else {
            self.sums.backlogged.remove(&no);
        }
        if lane.deleted.is_some() {
            self.sums.deleted.insert(no);
            self.sums.eased = true;
        }
    }

    /// Counts all lanes anew, each for no more than `share` bytes.
    pub fn share_out(&mut self, share: u64) {
        (self.sums.taking_bytes, self.sums.taking) = (0, 0);
        self.sums.aside_bytes = 0;
        self.sums.share = share;
        let lanes: Vec<EndpointNo> = self.lanes.keys().copied().collect();
        lanes.into_iter().for_each(|no| self.weigh(no));
    }

    /// The bytes that count for `outbox.max_size`: bodies that are pending, without those
    /// that are held. The lesser of two figures, neither of which is ever too low: open
    /// bodies, each once, without those that are held and go nowhere else; and the bodies
    /// that are pending, once for each endpoint.
    pub fn pending_bytes(&self) -> u64 {
        let open = self.meta.open_bytes.saturating_sub(self.sums.aside_bytes);
        open.min(self.sums.taking_bytes)
    }

    /// The bytes that count for `retention.max_size`: what is finished, dead or held. Each
    /// byte kept counts either here or as pending.
    pub fn history_bytes(&self) -> u64 {
        let pending = self.meta.open_events.min(self.sums.taking);
        let taken = self.pending_bytes() + pending * EVENT_COST;
        self.meta.kept_bytes.saturating_sub(taken)
    }
}
