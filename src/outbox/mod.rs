//! The durable store of events, deliveries and attempts.
//!
//! `log` is the truth, `index` is derived from it. One `writer` thread owns both; the
//! [`Outbox`] is the handle by which the rest of the daemon reaches it, and speaks the
//! domain's words only. `directory` and `recovery` open the store, `accept` and `settle`
//! decide what a frame says, `define` and `lanes` know the endpoints, `report` tells their
//! owners, `read`, `list` and `queue` answer questions, `cleaning` gives space
//! back, `limits` refuses what would not fit.
//!
//! Nothing outside this folder knows the log, sled, or a record's bytes.

pub mod commit;
pub mod index;
pub mod log;
pub mod record;
pub mod view;

mod accept;
mod bulk;
mod cleaning;
mod compose;
mod define;
mod directory;
mod erasing;
mod held;
mod lanes;
mod limits;
mod list;
mod queue;
mod read;
mod recovery;
mod report;
mod settle;
mod tidy;
mod writer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::domain::endpoint::{Endpoint, EndpointId, EndpointNo};
use crate::domain::event::{EventType, NewEvent, Tenant};
use crate::domain::subscription::Subscriptions;
use crate::domain::time::Timestamp;
use commit::{Outcome, Request};
use index::Index;
use index::open::Place;
use log::LogReader;

pub use cleaning::Keep;
pub use define::Defaults;
pub use recovery::{LaneStart, OpenError, Opened, Options};
pub use view::*;

/// The endpoints in force. Changed in place by the writer alone.
#[derive(Debug, Default)]
struct Endpoints {
    by_no: HashMap<EndpointNo, Arc<Endpoint>>,
    by_id: BTreeMap<EndpointId, EndpointNo>,
    subscriptions: Subscriptions,
}

impl Endpoints {
    /// The endpoints that want an event of this type, in order of their numbers.
    fn matching(&self, tenant: &Tenant, event_type: &EventType) -> Vec<EndpointNo> {
        self.subscriptions.matching(tenant, event_type, |no| {
            self.by_no.get(&no).is_some_and(|endpoint| {
                let mut types = endpoint.types.iter();
                endpoint.tenant == *tenant && types.any(|pattern| pattern.matches(event_type))
            })
        })
    }

    /// Puts an endpoint in force as it is now, or takes it out.
    fn put(&mut self, no: EndpointNo, endpoint: Option<Arc<Endpoint>>) {
        if let Some(old) = self.by_no.remove(&no) {
            self.subscriptions.remove(no, &old.tenant, &old.types);
            self.by_id.remove(&old.id);
        }
        if let Some(endpoint) = endpoint {
            self.subscriptions
                .add(no, &endpoint.tenant, &endpoint.types);
            self.by_id.insert(endpoint.id.clone(), no);
            self.by_no.insert(no, endpoint);
        }
    }
}

/// The store has failed and the process must end; recovery decides what is true.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreFailure(pub String);

/// What the writer thread and the handles share.
pub(crate) struct Shared {
    index: Index,
    log: LogReader,
    place: Place,
    endpoints: RwLock<Endpoints>,
    failed: watch::Sender<Option<StoreFailure>>,
    gauges: Gauges,
    /// Records that are counted as damaged: each is counted once, however often it is asked for.
    met: Mutex<BTreeSet<u64>>,
    recovery: (RecoveryKind, Duration),
    /// How many replays and purges have ended.
    jobs_ended: watch::Sender<u64>,
}

/// How many lanes are looked at under one lock.
const LANES_AT_ONCE: usize = 256;
/// So many damaged records are told apart.
const MET_MAX: usize = 100_000;

/// What the writer tells about itself, for `status`.
#[derive(Default)]
struct Gauges {
    log_bytes: AtomicU64,
    free_bytes: AtomicU64,
    damaged_records: AtomicU64,
    /// Held deliveries that had to make room, since the start.
    space_deaths: AtomicU64,
    /// 1: outcomes may not fit.
    pressure: AtomicU8,
}

impl Shared {
    fn endpoints(&self) -> RwLockReadGuard<'_, Endpoints> {
        self.endpoints
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn put_in_force(&self, no: EndpointNo, endpoint: Option<Arc<Endpoint>>) {
        self.endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .put(no, endpoint);
    }

    fn fail(&self, failure: StoreFailure) {
        tracing::error!(%failure, "outboxd ends now; what was acknowledged is safe, and the next start recovers it");
        self.failed.send_replace(Some(failure));
    }

    /// Makes the next start rebuild the index.
    fn condemn_index(&self) {
        if let Err(error) = self.place.condemn() {
            tracing::error!(%error, dir = %self.place.dir().display(), "the damaged index could not be set aside: delete this directory before the next start");
        }
    }

    /// The index cannot be trusted: the process ends, and its next start builds it anew.
    fn index_failed(&self, reason: &str) {
        self.condemn_index();
        self.fail(StoreFailure(reason.to_owned()));
    }

    /// Counts a record that was found damaged when it was wanted, once.
    fn met_damage(&self, lsn: u64) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() < MET_MAX && met.insert(lsn) {
            self.count_damage(1);
        }
    }

    /// Counts and names a record that cannot be read any more.
    fn count_damage(&self, records: u64) {
        self.gauges.damaged_records.fetch_add(records, Relaxed);
    }
}

/// The outbox, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
    // Unbounded, as a blocking send has no place on the runtime; its length is bounded by
    // the connections and attempts that can be under way, each of which waits or ends.
    requests: mpsc::Sender<Request>,
}

impl Outbox {
    /// Makes `events` durable, all in one step or none, and gives a receipt for each, in order.
    pub async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Receipt>, Refused> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Request::Accept { events, reply });
        match sent.ok() {
            Some(()) => answer.await.unwrap_or_else(|_| Err(self.gone())),
            None => Err(self.gone()),
        }
    }

    fn gone(&self) -> Refused {
        if self.shared.failed.borrow().is_some() {
            Refused::Failed
        } else {
            Refused::ShuttingDown
        }
    }

    /// Takes an action; durable when it returns.
    pub async fn act(&self, action: Action) -> Result<(), ActRefused> {
        let gone = || match self.gone() {
            Refused::Failed => ActRefused::Failed,
            _ => ActRefused::ShuttingDown,
        };
        let (reply, answer) = oneshot::channel();
        match self.requests.send(Request::Act { action, reply }).ok() {
            Some(()) => answer.await.unwrap_or_else(|_| Err(gone())),
            None => Err(gone()),
        }
    }

    /// Stores the outcome of an attempt, within the commit interval (20 ms). A `Stored`
    /// notice follows.
    pub fn settle(&self, outcome: Outcome) {
        // If the writer is gone the attempt is repeated after the restart.
        let _ = self.requests.send(Request::Outcome(Box::new(outcome)));
    }

    /// Commits what was handed in before, and ends the writer.
    pub fn stop(&self) {
        let _ = self.requests.send(Request::Stop);
    }

    /// An endpoint as it is now, if it is in force.
    pub fn in_force(&self, no: EndpointNo) -> Option<Arc<Endpoint>> {
        self.shared.endpoints().by_no.get(&no).cloned()
    }

    /// Whether outcomes cannot be stored for want of space: nothing should be attempted.
    pub fn is_out_of_space(&self) -> bool {
        self.shared.gauges.pressure.load(Relaxed) > 0
    }

    pub fn status(&self) -> OutboxStatus {
        let mut deliveries = StatusCounts::default();
        let (mut disabled, mut waiting) = (0, Vec::new());
        for (no, lane) in &self.shared.index.read().lanes {
            let totals = &lane.totals;
            deliveries.delivered += totals.delivered;
            deliveries.dead += totals.dead;
            if lane.deleted.is_some() {
                deliveries.dead += totals.held + totals.pending;
            } else if lane.state.is_holding() {
                deliveries.held += totals.held + totals.pending;
                disabled += u64::from(lane.state.missing.is_none());
            } else {
                deliveries.held += totals.held;
                deliveries.pending += totals.pending;
                if totals.pending > 0 {
                    waiting.push(*no);
                }
            }
        }
        let mut oldest: Option<Timestamp> = None;
        // A piece at a time: the writer must not wait for thousands of them.
        for some in waiting.chunks(LANES_AT_ONCE) {
            let state = self.shared.index.read();
            let found = some.iter().filter_map(|no| state.oldest_open(*no));
            oldest = oldest.into_iter().chain(found).min();
        }
        let index_bytes = {
            let state = self.shared.index.read();
            let pages = state.entries.pages();
            pages.map_or(0, |pages| pages.size_on_disk())
        };
        let gauges = &self.shared.gauges;
        OutboxStatus {
            deliveries,
            oldest_pending: oldest,
            log_bytes: gauges.log_bytes.load(Relaxed),
            index_bytes,
            free_bytes: gauges.free_bytes.load(Relaxed),
            endpoints: self.shared.endpoints().by_no.len() as u64,
            endpoints_disabled: disabled,
            damaged_records: gauges.damaged_records.load(Relaxed),
            held_dropped: gauges.space_deaths.load(Relaxed),
            recovery: self.shared.recovery.0,
            recovery_took: self.shared.recovery.1,
        }
    }

    /// Endpoints in force, in order of their ids, each with its state: those of `tenant`
    /// if one is named, past the id `after`, at most `limit`.
    pub fn endpoints(
        &self,
        tenant: Option<&Tenant>,
        after: Option<&EndpointId>,
        limit: usize,
    ) -> Page<(Arc<Endpoint>, EndpointState)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let endpoints = self.shared.endpoints();
        let state = self.shared.index.read();
        let mut items = Vec::new();
        for (_, no) in endpoints.by_id.range((from, Bound::Unbounded)) {
            let Some(endpoint) = endpoints.by_no.get(no) else {
                continue;
            };
            if tenant.is_some_and(|tenant| *tenant != endpoint.tenant) {
                continue;
            }
            if items.len() >= limit {
                let last: Option<&(Arc<Endpoint>, EndpointState)> = items.last();
                let next = last.map(|(endpoint, _)| Cursor(endpoint.id.to_string()));
                return Page { items, next };
            }
            let lane = state.lanes.get(no);
            items.push((
                endpoint.clone(),
                lane.map(|lane| endpoint_state(lane)).unwrap_or_default(),
            ));
        }
        Page { items, next: None }
    }

    pub fn endpoint(&self, id: &EndpointId) -> Option<(Arc<Endpoint>, EndpointState)> {
        let endpoints = self.shared.endpoints();
        let no = endpoints.by_id.get(id)?;
        let endpoint = endpoints.by_no.get(no)?.clone();
        let state = self.shared.index.read();
        Some((endpoint, endpoint_state(state.lanes.get(no)?)))
    }

    /// The number of an endpoint that is in force.
    pub fn number_of(&self, id: &EndpointId) -> Option<EndpointNo> {
        self.shared.endpoints().by_id.get(id).copied()
    }
}

fn endpoint_state(lane: &index::Lane) -> EndpointState {
    let holding = lane.state.is_holding();
    let (totals, state) = (&lane.totals, &lane.state);
    let by_hand = state
        .off_in_file
        .map(|since| (crate::domain::endpoint::DisabledReason::Manual, since));
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
