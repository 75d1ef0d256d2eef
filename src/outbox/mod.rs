//! The durable store of events, deliveries and attempts.
//!
//! `log` is the truth, `index` is derived from it. One `writer` thread owns both; the
//! [`Outbox`] is the handle by which the rest of the daemon reaches it, and speaks the
//! domain's words only. `recovery` opens the store, `accept` and `settle` decide what a
//! frame says, `read` and `list` answer questions, `cleaning` gives space back, `limits`
//! refuses what would not fit.
//!
//! Nothing outside this folder knows the log, sled, or a record's bytes.

pub mod commit;
pub mod index;
pub mod log;
pub mod record;
pub mod view;

mod accept;
mod cleaning;
mod compose;
mod limits;
mod list;
mod read;
mod recovery;
mod settle;
mod tidy;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::domain::endpoint::{Endpoint, EndpointId, EndpointNo};
use crate::domain::event::NewEvent;
use crate::domain::subscription::Subscriptions;
use crate::domain::time::Timestamp;
use commit::{Outcome, Request};
use index::Index;
use index::open::Place;
use log::LogReader;

pub use cleaning::Keep;
pub use recovery::{LaneStart, OpenError, Opened, Options};
pub use view::*;

/// The endpoints in force. Immutable; replaced whole.
#[derive(Debug, Default)]
pub struct Endpoints {
    pub by_no: HashMap<EndpointNo, Arc<Endpoint>>,
    pub subscriptions: Subscriptions,
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
    endpoints: RwLock<Arc<Endpoints>>,
    failed: watch::Sender<Option<StoreFailure>>,
    gauges: Gauges,
    /// Records that are counted as damaged: each is counted once, however often it is asked for.
    met: Mutex<BTreeSet<u64>>,
    recovery: (RecoveryKind, Duration),
}

/// So many damaged records are told apart.
const MET_MAX: usize = 100_000;

/// What the writer tells about itself, for `status`.
#[derive(Default)]
struct Gauges {
    log_bytes: AtomicU64,
    free_bytes: AtomicU64,
    damaged_records: AtomicU64,
    /// 1: outcomes may not fit.
    pressure: AtomicU8,
}

impl Shared {
    fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_endpoints(&self, in_force: Vec<(EndpointNo, Endpoint)>) {
        let subscriptions =
            Subscriptions::new(in_force.iter().map(|(no, endpoint)| (*no, endpoint)));
        let by_no = in_force
            .into_iter()
            .map(|(no, endpoint)| (no, Arc::new(endpoint)))
            .collect();
        let endpoints = Arc::new(Endpoints {
            by_no,
            subscriptions,
        });
        *self
            .endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner) = endpoints;
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

    /// The endpoints in force.
    pub fn in_force(&self) -> Arc<Endpoints> {
        self.shared.endpoints()
    }

    /// Whether outcomes cannot be stored for want of space: nothing should be attempted.
    pub fn is_out_of_space(&self) -> bool {
        self.shared.gauges.pressure.load(Relaxed) > 0
    }

    pub fn status(&self) -> OutboxStatus {
        let state = self.shared.index.read();
        let mut deliveries = StatusCounts::default();
        let mut disabled = 0;
        let mut oldest: Option<Timestamp> = None;
        for (no, lane) in &state.lanes {
            let totals = &lane.totals;
            deliveries.delivered += totals.delivered;
            deliveries.dead += totals.dead;
            deliveries.held += totals.held;
            if lane.state.is_holding() {
                deliveries.held += totals.pending;
                disabled += u64::from(lane.state.missing.is_none());
            } else {
                deliveries.pending += totals.pending;
                oldest = oldest.into_iter().chain(state.oldest_open(*no)).min();
            }
        }
        let gauges = &self.shared.gauges;
        OutboxStatus {
            deliveries,
            oldest_pending: oldest,
            log_bytes: gauges.log_bytes.load(Relaxed),
            index_bytes: state
                .entries
                .pages()
                .map_or(0, |pages| pages.size_on_disk()),
            free_bytes: gauges.free_bytes.load(Relaxed),
            endpoints: self.shared.endpoints().by_no.len() as u64,
            endpoints_disabled: disabled,
            damaged_records: gauges.damaged_records.load(Relaxed),
            recovery: self.shared.recovery.0,
            recovery_took: self.shared.recovery.1,
        }
    }

    /// Endpoints in force, in order of their ids, each with its state.
    pub fn endpoints(&self) -> Vec<(Arc<Endpoint>, EndpointState)> {
        let endpoints = self.shared.endpoints();
        let state = self.shared.index.read();
        let mut found: Vec<_> = endpoints
            .by_no
            .iter()
            .filter_map(|(no, endpoint)| {
                Some((endpoint.clone(), endpoint_state(state.lanes.get(no)?)))
            })
            .collect();
        found.sort_by(|a, b| a.0.id.cmp(&b.0.id));
        found
    }

    pub fn endpoint(&self, id: &EndpointId) -> Option<(Arc<Endpoint>, EndpointState)> {
        let endpoints = self.shared.endpoints();
        let state = self.shared.index.read();
        let (no, lane) = state.lane_named(id)?;
        Some((endpoints.by_no.get(&no)?.clone(), endpoint_state(lane)))
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
