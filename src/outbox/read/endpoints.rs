//! What the outbox knows of its endpoints, one by one and all together.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::domain::account;
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId, EndpointNo, EndpointSpec};
use crate::domain::event::Tenant;
use crate::domain::time::Timestamp;
use crate::outbox::decide::spec::BadSpec;
use crate::outbox::handle::Outbox;
use crate::outbox::index::keys::{self, List};
use crate::outbox::index::rows::{self, SpecEntry};
use crate::outbox::index::{PagesError, StoredEndpoint, count_row};
use crate::outbox::record;
use crate::outbox::views::{Cursor, EndpointState, OutboxStatus, Page, ReadError, StatusCounts};

use super::range::{Piece, Range, Row};

/// How many endpoints are looked at under one lock of those in force.
const AT_ONCE: usize = 256;
/// `status` and the metrics list at most so many client certificates.
const MAX_CERTIFICATES: usize = 1000;

/// What all endpoints come to.
#[derive(Default)]
struct Totals {
    deliveries: StatusCounts,
    disabled: u64,
    /// Endpoints with deliveries that cannot be rendered.
    unrendered: u64,
    /// Those with something pending.
    waiting: Vec<EndpointNo>,
}

impl Totals {
    fn add(&mut self, no: EndpointNo, stored: &StoredEndpoint) {
        let (deliveries, totals) = (&mut self.deliveries, &stored.totals);
        deliveries.delivered += totals.delivered;
        deliveries.dead += totals.dead;
        self.unrendered += u64::from(totals.unrendered > 0 && stored.deleted.is_none());
        if stored.deleted.is_some() {
            deliveries.dead += totals.held + totals.pending;
        } else if stored.state.is_holding() {
            deliveries.held += totals.held + totals.pending;
            self.disabled += u64::from(stored.state.missing.is_none());
        } else {
            deliveries.held += totals.held;
            deliveries.pending += totals.pending;
            if totals.pending > 0 {
                self.waiting.push(no);
            }
        }
    }
}

// These read the index: callers on the runtime use `spawn_blocking`.
impl Outbox {
    /// The outbox at a glance. Its figures are of moments that lie close together.
    pub fn status(&self) -> OutboxStatus {
        let totals = self.totals();
        let oldest = self.oldest_open(&totals.waiting);
        let oldest = oldest.into_iter().flatten().min();
        let pages = self.shared.index.read().entries.pages().cloned();
        let gauges = &self.shared.gauges;
        OutboxStatus {
            deliveries: totals.deliveries,
            oldest_pending: oldest,
            log_bytes: gauges.log_bytes.load(Relaxed),
            index_bytes: pages.map_or(0, |pages| pages.size_on_disk()),
            free_bytes: gauges.free_bytes.load(Relaxed),
            endpoints: self.shared.endpoints().len() as u64,
            endpoints_disabled: totals.disabled,
            endpoints_unrendered: totals.unrendered,
            certificates: self.certificates(),
            damaged_records: gauges.damaged_records.load(Relaxed),
            held_dropped: gauges.space_deaths.load(Relaxed),
            dead_dropped: gauges.dead_drops.load(Relaxed),
            cleaning_passes: gauges.cleaning_passes.load(Relaxed),
            cleaning_cut_short: gauges.cleaning_cut_short.load(Relaxed),
            refused_batches: gauges.refused_batches.load(Relaxed),
            unknown_records: self.shared.index.read().unknown,
            accounting_faults: account::faults(),
            recovery: self.shared.recovery.0,
            recovery_took: self.shared.recovery.1,
            holds: self.shared.index.holds(),
            commits: gauges.commits.view(),
        }
    }

    fn certificates(&self) -> Vec<(EndpointId, Timestamp)> {
        let endpoints = self.shared.endpoints();
        endpoints.certificates().take(MAX_CERTIFICATES).collect()
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let mut from = Bound::Unbounded;
        loop {
            let hold = self.shared.index.read();
            let mut endpoints = hold.endpoints.range((from, Bound::Unbounded));
            let last = endpoints.find(|(no, stored)| {
                count_row();
                totals.add(**no, stored);
                hold.is_spent()
            });
            match last {
                Some((no, _)) => from = Bound::Excluded(*no),
                None => return totals,
            }
        }
    }

    /// When the oldest open delivery of each of these endpoints was accepted.
    pub(super) fn oldest_open(&self, endpoints: &[EndpointNo]) -> Vec<Option<Timestamp>> {
        let mut lists = endpoints.iter().map(|no| {
            let prefix = keys::list_of(List::Open, *no);
            let end = keys::end_of(&prefix);
            Range::forward(prefix, end)
        });
        let mut oldest = Vec::with_capacity(endpoints.len());
        let mut list = lists.next();
        while list.is_some() {
            let hold = self.shared.index.read();
            while let Some(open) = &mut list {
                let mut first = None;
                let piece = open.advance(&hold, |key, _| {
                    let event = keys::event_of(key).ok_or(PagesError::Damaged)?;
                    first = hold.accepted_at(event);
                    Ok(Row::Last)
                });
                // An error reads as none: the attempt on the entry meets it again.
                if !matches!(piece, Ok(Piece::Spent)) {
                    oldest.push(first);
                    list = lists.next();
                }
                if hold.is_spent() {
                    break;
                }
            }
        }
        oldest
    }

    /// Endpoints in force, in order of their ids, each with its state: those of `tenant`
    /// if one is named, past the id `after`, at most `limit`.
    pub fn endpoints(
        &self,
        tenant: Option<&Tenant>,
        after: Option<&EndpointId>,
        limit: usize,
    ) -> Page<(Arc<Endpoint>, EndpointState)> {
        // One more says that there is more.
        let mut found = self.in_order(tenant, after, limit.saturating_add(1));
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more);
        let next = last.map(|(_, endpoint)| Cursor(endpoint.id.to_string()));
        let mut items = Vec::with_capacity(found.len());
        let mut found = found.into_iter().peekable();
        while found.peek().is_some() {
            let hold = self.shared.index.read();
            for (no, endpoint) in found.by_ref() {
                count_row();
                let stored = hold.endpoints.get(&no);
                let state = stored.map(|stored| endpoint_state(stored));
                items.push((endpoint, state.unwrap_or_default()));
                if hold.is_spent() {
                    break;
                }
            }
        }
        Page { items, next }
    }

    /// Endpoints in force in order of their ids, at most `most`.
    fn in_order(
        &self,
        tenant: Option<&Tenant>,
        after: Option<&EndpointId>,
        most: usize,
    ) -> Vec<(EndpointNo, Arc<Endpoint>)> {
        let mut found = Vec::new();
        let mut after = after.cloned();
        loop {
            let endpoints = self.shared.endpoints();
            let mut last = None;
            for (no, endpoint) in endpoints.from(after.as_ref()).take(AT_ONCE) {
                last = Some(endpoint.id.clone());
                if tenant.is_none_or(|tenant| *tenant == endpoint.tenant) {
                    found.push((no, endpoint.clone()));
                    if found.len() == most {
                        return found;
                    }
                }
            }
            if last.is_none() {
                return found;
            }
            after = last;
        }
    }

    pub fn endpoint(&self, id: &EndpointId) -> Option<(Arc<Endpoint>, EndpointState)> {
        let (no, endpoint) = {
            let endpoints = self.shared.endpoints();
            let no = endpoints.number_of(id)?;
            (no, endpoints.get(no)?.clone())
        };
        let hold = self.shared.index.read();
        Some((endpoint, endpoint_state(hold.endpoints.get(&no)?)))
    }

    /// The definition of an endpoint that was made through the API, as it was given; `None` for one
    /// of the file.
    pub fn definition(&self, id: &EndpointId) -> Result<Option<EndpointSpec>, ReadError> {
        let no = self.shared.endpoints().number_of(id);
        let no = no.ok_or(ReadError::NoSuchEndpoint)?;
        let (bytes, tenant) = self.reliably(|| {
            let hold = self.shared.index.read();
            let stored = hold.endpoints.get(&no).ok_or(ReadError::NoSuchEndpoint)?;
            let bytes = hold.entries.get(&keys::spec(no))?;
            Ok((bytes.map(|bytes| bytes.to_vec()), stored.tenant.clone()))
        })?;
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let damaged = |bad: BadSpec| ReadError::Damaged(bad.to_string());
        let entry: SpecEntry = rows::decode(&bytes).map_err(|_| damaged(BadSpec))?;
        entry.spec.spec(tenant).map(Some).map_err(damaged)
    }
}

pub(super) fn endpoint_state(stored: &StoredEndpoint) -> EndpointState {
    let holding = stored.state.is_holding();
    let (totals, state) = (&stored.totals, &stored.state);
    let by_hand = state
        .off_in_file
        .map(|since| (DisabledReason::Manual, since));
    let disabled = state
        .disabled
        .and_then(|(reason, at)| Some((record::disabled_of(reason)?, at)))
        .or(by_hand);
    EndpointState {
        pending: if holding { 0 } else { totals.pending },
        held: totals.held + if holding { totals.pending } else { 0 },
        dead: totals.dead,
        disabled: disabled.map(|(reason, _)| reason),
        disabled_at: disabled.map(|(_, at)| Timestamp::from_millis(at)),
    }
}
