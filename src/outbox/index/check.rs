//! Whether the index agrees with itself: its sums and lists with a recount of its rows. For
//! tests, simulations and the verification of a store; it reads everything.

use std::collections::BTreeMap;

use crate::domain::account;
use crate::domain::delivery::{Delivery, Reason, Status};
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;

use super::block::{Attribute, attributes};
use super::keys;
use super::pages::PagesError;
use super::rows::{
    self, DELIVERY_COST, EVENT_COST, EndpointTotals, ErasedEntry, EventRow, SOURCE_COST, SPEC_COST,
    SourceCountsEntry, SourceEntry, SpecEntry,
};
use super::state::State;
use super::stored_endpoint::StoredEndpoint;

/// Where a recount differs from what is kept.
#[derive(Debug, thiserror::Error)]
pub enum Disagreement {
    #[error("{what}: {kept} is kept, {counted} is counted")]
    Sum {
        what: String,
        kept: String,
        counted: String,
    },
    #[error(transparent)]
    Pages(#[from] PagesError),
}

/// What a walk over all events comes to.
#[derive(Debug, Default)]
struct Recount {
    events: u64,
    kept_bytes: u64,
    open_bytes: u64,
    attempt_bytes: u64,
    totals: BTreeMap<EndpointNo, EndpointTotals>,
    queued: usize,
    open: usize,
    held: usize,
    dead: usize,
    finished: usize,
    attempts: usize,
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    kept: &T,
    counted: &T,
) -> Result<(), Disagreement> {
    if kept == counted {
        return Ok(());
    }
    Err(Disagreement::Sum {
        what: what.to_owned(),
        kept: format!("{kept:?}"),
        counted: format!("{counted:?}"),
    })
}

impl State {
    /// Counts everything anew and compares.
    pub fn check(&self) -> Result<(), Disagreement> {
        let count = self.recount()?;
        let meta = &self.meta;
        same("events", &meta.events, &count.events)?;
        same("bytes kept", &meta.kept_bytes, &count.kept_bytes)?;
        same(
            "bytes of attempts",
            &meta.attempt_bytes,
            &count.attempt_bytes,
        )?;
        same("bytes open", &meta.open_bytes, &count.open_bytes)?;
        for (no, stored) in &self.endpoints {
            let counted = count.totals.get(no).copied().unwrap_or_default();
            same(
                &format!("totals of {}", stored.id),
                &stored.totals,
                &counted,
            )?;
        }
        let listed = |tag: &[u8]| self.entries.scan(tag, &keys::end_of(tag), false).count();
        same("queued", &listed(b"q"), &count.queued)?;
        same("open", &listed(b"p"), &count.open)?;
        same("held", &listed(b"h"), &count.held)?;
        same("dead", &listed(b"x"), &count.dead)?;
        same("finished", &listed(b"f"), &count.finished)?;
        same("attempts", &listed(keys::ATTEMPTS), &count.attempts)?;
        let recounted = self.recounted_segments()?;
        same("rows of segments", &self.segments.counts(), &recounted)?;
        same("faults of accounting", &account::faults(), &0)?;
        self.check_sums(&count)
    }

    fn recount(&self) -> Result<Recount, Disagreement> {
        let mut count = Recount::default();
        let end = keys::end_of(keys::EVENTS);
        for entry in self.entries.scan(keys::EVENTS, &end, false) {
            let (key, value) = entry?;
            let row: EventRow<'_> = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
            let id = keys::event_of(&key).ok_or(PagesError::Damaged)?;
            count.events += 1;
            count.kept_bytes += u64::from(row.body_len) + EVENT_COST;
            let mut is_open = false;
            self.check_block(id, &row)?;
            for (no, entry) in self.delivery_entries(id)? {
                let delivery = entry.row;
                count.attempts += self.check_attempts((id, no), entry.attempted())?;
                count.attempt_bytes += DELIVERY_COST + u64::from(delivery.attempt_bytes);
                let delivery = delivery.delivery().ok_or(PagesError::Damaged)?;
                is_open |= count.add(no, &delivery, &row);
            }
            match is_open {
                true => count.open_bytes += u64::from(row.body_len),
                false => count.finished += 1,
            }
        }
        Ok(count)
    }

    /// Whether the block of an event has its attributes.
    fn check_block(&self, id: EventId, row: &EventRow<'_>) -> Result<(), Disagreement> {
        let own = attributes(row.tenant, row.event_type, row.key, row.idempotency_key);
        let deliveries = self.delivery_entries(id)?.into_iter();
        let endpoints = deliveries.map(|(no, _)| Attribute::Endpoint(no));
        let wanted: Vec<_> = own.chain(endpoints).map(Attribute::place).collect();
        let block = self.block_below(EventId(id.0.saturating_add(1)), &wanted)?;
        let has_all = block.is_some_and(|(_, has_all)| has_all);
        same(&format!("attributes in the block of {id}"), &has_all, &true)
    }

    /// How many attempts of a delivery are listed; their blocks have to have their outcomes and the event.
    fn check_attempts(
        &self,
        (id, no): (EventId, EndpointNo),
        last: u64,
    ) -> Result<usize, Disagreement> {
        let listed = self.listed_attempts((id, no), last)?;
        for (at, outcome) in &listed {
            let block = self.outcomes_at(no, *at, |row| {
                row.may_have(|other| other == *outcome) && row.events().has(id)
            })?;
            let what = format!("{outcome:?} of {id} at {at} in its block");
            same(&what, &block.is_some_and(|(_, has_it)| has_it), &true)?;
        }
        Ok(listed.len())
    }

    /// How many rows point into each segment, counted anew from all rows.
    fn recounted_segments(&self) -> Result<BTreeMap<u64, u64>, PagesError> {
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
        for entry in scan(keys::SOURCES) {
            let row: SourceEntry = rows::decode(&entry?.1).map_err(|_| PagesError::Damaged)?;
            count(row.lsn);
        }
        for entry in scan(keys::SOURCE_COUNTS) {
            let row: SourceCountsEntry =
                rows::decode(&entry?.1).map_err(|_| PagesError::Damaged)?;
            count(row.lsn);
        }
        for entry in scan(keys::ERASED) {
            let row: ErasedEntry = rows::decode(&entry?.1).map_err(|_| PagesError::Damaged)?;
            count(row.lsn);
        }
        Ok(counts)
    }

    /// What the values of these rows take, each with `cost`.
    fn weighed(&self, prefix: &[u8], cost: u64) -> Result<u64, PagesError> {
        let mut rows = self.entries.scan(prefix, &keys::end_of(prefix), false);
        rows.try_fold(0, |sum, entry| Ok(sum + entry?.1.len() as u64 + cost))
    }

    fn check_sums(&self, count: &Recount) -> Result<(), Disagreement> {
        let taking = || self.endpoints.values().filter(|stored| stored.is_taking());
        let pending: u64 = taking().map(|stored| stored.totals.pending_bytes).sum();
        let aside: u64 = self.endpoints.values().map(|stored| aside(stored)).sum();
        // Both are exact while no endpoint has more than its share.
        if taking().all(|stored| stored.totals.pending_bytes <= self.sums.share) {
            let counted = pending.min(count.open_bytes.saturating_sub(aside));
            same("bytes pending", &self.pending_bytes(), &counted)?;
        }
        let numbers = |wanted: fn(&StoredEndpoint) -> bool| {
            let found = self.endpoints.iter().filter(|(_, stored)| wanted(stored));
            found.map(|(no, _)| *no).collect()
        };
        let backlogged = numbers(StoredEndpoint::is_backlogged);
        same("backlogged", &self.sums.backlogged, &backlogged)?;
        let deleted = numbers(|stored| stored.deleted.is_some());
        same("deleted", &self.sums.deleted, &deleted)?;
        let end = keys::end_of(keys::ERASED);
        let erased = self.entries.scan(keys::ERASED, &end, false).count() as u64;
        same("erased", &self.meta.erased, &erased)?;
        let specs = self.weighed(keys::SPECS, SPEC_COST)?;
        same("bytes of definitions", &self.meta.spec_bytes, &specs)?;
        let sources = self.weighed(keys::SOURCES, SOURCE_COST)?
            + self.weighed(keys::SOURCE_COUNTS, SOURCE_COST)?;
        same("bytes of sources", &self.meta.source_bytes, &sources)
    }
}

impl Recount {
    /// Counts a delivery; whether it is open.
    fn add(&mut self, no: EndpointNo, delivery: &Delivery, event: &EventRow<'_>) -> bool {
        let status = delivery.status;
        let bytes = u64::from(event.body_len);
        let sole = if event.deliveries < 2 { bytes } else { 0 };
        let totals = self.totals.entry(no).or_default();
        match status {
            Status::Pending => {
                totals.pending += 1;
                totals.pending_bytes += bytes;
                totals.sole_pending_bytes += sole;
                self.queued += 1;
            }
            Status::Held => {
                totals.held += 1;
                totals.unrendered += u64::from(delivery.reason == Some(Reason::Template));
                totals.sole_held_bytes += sole;
                self.held += 1;
            }
            Status::Delivered => totals.delivered += 1,
            Status::Dead => {
                totals.dead += 1;
                self.dead += 1;
            }
        }
        let is_open = matches!(status, Status::Pending | Status::Held);
        self.open += usize::from(is_open);
        is_open
    }
}

/// The bytes of an endpoint that are open, go nowhere else and are not going out.
fn aside(stored: &StoredEndpoint) -> u64 {
    let totals = &stored.totals;
    let pending = if stored.is_taking() {
        0
    } else {
        totals.sole_pending_bytes
    };
    totals.sole_held_bytes + pending
}
