//! The handle by which the rest of the daemon reaches the store, and what its threads share.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::domain::endpoint::{Endpoint, EndpointId, EndpointNo};
use crate::domain::event::{EventId, NewEvent};
use crate::outbox::commit_figures::CommitFigures;
use crate::outbox::copies::Copies;
use crate::outbox::decide::windows::SourceWindows;
use crate::outbox::endpoints::Endpoints;
use crate::outbox::index::{Generations, Readers};
use crate::outbox::judged::{Filters, Judged};
use crate::outbox::leftovers::Leftovers;
use crate::outbox::log::LogReader;
use crate::outbox::renewals::Renewals;
use crate::outbox::request::{Changed, Outcome, Request, Settings, Test};
use crate::outbox::rules::Rules;
use crate::outbox::views::{ActRefused, Action, Receipt, RecoveryKind, Refused, TestEvent};

/// Why the process must end: the store failed, or a thread without which nothing goes on. The next
/// start recovers what is true.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreFailure(pub String);

/// What the writer thread and the handles share.
pub struct Shared {
    pub index: Readers,
    pub log: LogReader,
    pub generations: Arc<dyn Generations>,
    pub clock: Arc<dyn Clock>,
    pub endpoints: RwLock<Endpoints>,
    /// For how long the delivery ids of each source count.
    pub source_windows: RwLock<SourceWindows>,
    /// The settings of the threads beside the writer. Only the writer changes them.
    rules: RwLock<Rules>,
    pub failed: watch::Sender<Option<StoreFailure>>,
    pub gauges: Gauges,
    pub leftovers: Leftovers,
    /// Records that are counted as damaged: each is counted once, however often it is met.
    pub met: Mutex<BTreeSet<u64>>,
    pub copies: Copies,
    pub recovery: (RecoveryKind, Duration),
    /// How many replays and purges have ended.
    pub jobs_ended: watch::Sender<u64>,
    pub renewals: Renewals,
}

/// The most damaged records that are remembered, so that each is counted once.
pub const MET_MAX: usize = 100_000;

/// Figures of the store's threads, for `status` and `/metrics`.
#[derive(Debug, Default)]
pub struct Gauges {
    pub log_bytes: AtomicU64,
    pub free_bytes: AtomicU64,
    pub damaged_records: AtomicU64,
    /// Held deliveries that had to make room, since the start.
    pub space_deaths: AtomicU64,
    /// Events with dead letters that went before their time, to make room.
    pub dead_drops: AtomicU64,
    /// 1: outcomes may not fit.
    pub pressure: AtomicU8,
    /// Passes of the cleaner, finished or given up, since the start.
    pub cleaning_passes: AtomicU64,
    /// Of these the ones that were given up: no room, or an I/O error.
    pub cleaning_cut_short: AtomicU64,
    /// Batches that found no room, since the start.
    pub refused_batches: AtomicU64,
    /// How many log frames rebuilds of the index have read since the start.
    pub rebuilt_frames: AtomicU64,
    pub commits: CommitFigures,
}

impl Shared {
    pub fn new(
        index: Readers,
        log: LogReader,
        generations: Arc<dyn Generations>,
        clock: Arc<dyn Clock>,
        failed: watch::Sender<Option<StoreFailure>>,
        recovery: (RecoveryKind, Duration),
        met: BTreeSet<u64>,
    ) -> Shared {
        Shared {
            index,
            log,
            generations,
            clock,
            endpoints: RwLock::default(),
            source_windows: RwLock::default(),
            rules: RwLock::default(),
            failed,
            gauges: Gauges::default(),
            leftovers: Leftovers::default(),
            met: Mutex::new(met),
            copies: Copies::default(),
            recovery,
            jobs_ended: watch::Sender::new(0),
            renewals: Renewals::default(),
        }
    }

    pub fn endpoints(&self) -> RwLockReadGuard<'_, Endpoints> {
        self.endpoints
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub fn source_windows(&self) -> RwLockReadGuard<'_, SourceWindows> {
        let windows = &self.source_windows;
        windows.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn rules(&self) -> Rules {
        *self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_rules(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    pub fn put_in_force(&self, no: EndpointNo, endpoint: Option<Arc<Endpoint>>) {
        self.endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .put(no, endpoint);
    }

    pub fn fail(&self, failure: StoreFailure) {
        tracing::error!(%failure, "outboxd ends now; what was acknowledged is safe, and the next start recovers it");
        self.failed.send_replace(Some(failure));
    }

    /// The index cannot be trusted: the process ends, and its next start builds it anew.
    pub fn index_failed(&self, reason: &str) {
        self.generations.condemn();
        self.fail(StoreFailure(reason.to_owned()));
    }

    /// Counts and names a record that was found damaged when it was wanted, once.
    pub fn met_damage(&self, lsn: u64) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() < MET_MAX && met.insert(lsn) {
            tracing::error!(
                at = format!("{lsn:#x}"),
                "a damaged record was met in the log: acknowledged data is lost; the rest goes on"
            );
            self.count_damage(1);
        }
    }

    /// Remembers damaged records that were counted elsewhere.
    pub fn know_damage(&self, lsns: BTreeSet<u64>) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.extend(lsns);
    }

    /// Counts records that have become unreadable.
    pub fn count_damage(&self, records: u64) {
        self.gauges.damaged_records.fetch_add(records, Relaxed);
    }
}

/// The outbox, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    pub(in crate::outbox) shared: Arc<Shared>,
    // Unbounded, as a blocking send has no place on the runtime; its length is bounded by
    // the connections and attempts that can be under way, each of which waits or ends.
    pub(in crate::outbox) requests: mpsc::Sender<Request>,
}

impl Outbox {
    pub fn new(shared: Arc<Shared>, requests: mpsc::Sender<Request>) -> Outbox {
        Outbox { shared, requests }
    }

    /// Makes `events` durable, all in one step or none, and gives a receipt for each, in order.
    pub async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Receipt>, Refused> {
        self.accept_judged(events, Judged::default()).await
    }

    /// [`accept`](Self::accept) with what filters said of the events, so that the writer need not
    /// ask.
    pub async fn accept_judged(
        &self,
        events: Vec<NewEvent>,
        filters: Judged,
    ) -> Result<Vec<Receipt>, Refused> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Accept {
            events,
            filters,
            reply,
        };
        let sent = self.requests.send(request);
        match sent.ok() {
            Some(()) => answer.await.unwrap_or_else(|_| Err(self.gone())),
            None => Err(self.gone()),
        }
    }

    /// The filters that these events have to pass. Costs next to nothing for tenants without any.
    pub fn filters(&self, events: &[NewEvent]) -> Filters {
        Filters::of(&self.shared.endpoints(), events)
    }

    pub(in crate::outbox) fn gone(&self) -> Refused {
        if self.shared.failed.borrow().is_some() {
            Refused::Failed
        } else {
            Refused::ShuttingDown
        }
    }

    /// Takes an action; durable when it returns.
    pub async fn act(&self, action: Action) -> Result<(), ActRefused> {
        let (reply, answer) = oneshot::channel();
        match self.requests.send(Request::Act { action, reply }).ok() {
            Some(()) => answer.await.unwrap_or_else(|_| Err(self.no_act())),
            None => Err(self.no_act()),
        }
    }

    /// Why the writer takes no action any more.
    fn no_act(&self) -> ActRefused {
        match self.gone() {
            Refused::Failed => ActRefused::Failed,
            _ => ActRefused::ShuttingDown,
        }
    }

    /// Sends one event to an endpoint alone, whatever it subscribes to and filters. Returns its id.
    ///
    /// # Errors
    /// There is no such endpoint, no room for the event, or the store ends.
    pub async fn test(
        &self,
        endpoint: EndpointId,
        event: TestEvent,
    ) -> Result<EventId, ActRefused> {
        let (reply, answer) = oneshot::channel();
        let test = Box::new(Test {
            endpoint,
            event,
            reply,
        });
        match self.requests.send(Request::Test(test)).ok() {
            Some(()) => answer.await.unwrap_or_else(|_| Err(self.no_act())),
            None => Err(self.no_act()),
        }
    }

    /// Says for how long the delivery ids of each source count, by the ids of the sources in force.
    /// Until it is called first, those of all sources count without end.
    pub fn set_source_windows(&self, windows: HashMap<String, Duration>) {
        let known = self.shared.source_windows.write();
        *known.unwrap_or_else(PoisonError::into_inner) = SourceWindows::new(windows);
    }

    /// Stores the outcome of an attempt, within the commit interval (20 ms). A `Stored`
    /// notice follows.
    pub fn settle(&self, outcome: Outcome) {
        // If the writer is gone the attempt is repeated after the restart.
        let _ = self.requests.send(Request::Outcome(Box::new(outcome)));
    }

    /// Puts other settings in force. The changes of endpoints are durable when the call returns.
    ///
    /// # Errors
    /// There is no room in the log, or the store ends. Nothing changed.
    pub async fn reconfigure(&self, settings: Settings) -> Result<Changed, Refused> {
        let (reply, answer) = oneshot::channel();
        let settings = Box::new(settings);
        let request = Request::Reconfigure { settings, reply };
        match self.requests.send(request).ok() {
            Some(()) => answer.await.unwrap_or_else(|_| Err(self.gone())),
            None => Err(self.gone()),
        }
    }

    /// Whether the writer answers. It does so between two batches while it can make them durable.
    pub async fn is_answered(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Ping(reply)).is_ok() && answer.await.is_ok()
    }

    /// Grows while the writer rebuilds the index, during which it answers nothing.
    pub fn rebuilt_frames(&self) -> u64 {
        self.shared.gauges.rebuilt_frames.load(Relaxed)
    }

    /// Commits the requests received before, and ends the writer.
    pub fn stop(&self) {
        let _ = self.requests.send(Request::Stop);
    }

    /// An endpoint as it is now, if it is in force.
    pub fn in_force(&self, no: EndpointNo) -> Option<Arc<Endpoint>> {
        self.shared.endpoints().get(no).cloned()
    }

    /// The index cannot be read: the process ends, and its next start builds it anew.
    pub fn distrust(&self, reason: &str) {
        self.shared.index_failed(reason);
    }

    /// Ends the process, since a thread without which nothing goes on has ended.
    pub fn fail(&self, reason: &str) {
        self.shared.fail(StoreFailure(reason.to_owned()));
    }

    /// Whether outcomes cannot be stored for want of space: nothing should be attempted.
    pub fn is_out_of_space(&self) -> bool {
        self.shared.gauges.pressure.load(Relaxed) > 0
    }

    /// The number of an endpoint that is in force.
    pub fn number_of(&self, id: &EndpointId) -> Option<EndpointNo> {
        self.shared.endpoints().number_of(id)
    }
}
