//! The writer thread: the one owner of the log, and the only one that changes the index.
//!
//! It takes all that waits, composes one frame of it, makes the frame durable, applies
//! its records to the index, and only then answers. What it applies is decoded from the
//! frame's own bytes, so live and recovery see the same. A request that touches what an
//! earlier one of the same frame touched waits for the next frame: every decision is made
//! over an index that is up to date.
//!
//! A failed write or fsync ends the process (an fsync does not forgive); so does a panic
//! here. Recovery then decides what is true.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::mpsc::UnboundedSender;

use crate::clock;
use crate::domain::endpoint::{Endpoint, EndpointId, EndpointNo};
use crate::domain::event::EventId;
use crate::outbox::commit::{Answer, Commit, Notice, Outcome, Request};
use crate::outbox::index::{Flusher, Index, PagesError};
use crate::outbox::limits::Limits;
use crate::outbox::log::{Committed, FrameBuf, Log, LogError, Lsn, RecordOffset};
use crate::outbox::record::{BadRecord, Record};
use crate::outbox::view::{ActRefused, Receipt, Refused};
use crate::outbox::{Defaults, Shared, StoreFailure};

/// How long an outcome that nobody waits for may wait for others to share its frame.
const OUTCOME_WAIT: Duration = Duration::from_millis(20);
/// How long outcomes wait before they are tried again when there was no room for them.
const SPACE_WAIT: Duration = Duration::from_millis(500);
/// After so long without a commit the last frame is proven by a mark.
const IDLE: Duration = Duration::from_millis(250);
/// How much a frame takes in before it is written, in bytes and in requests.
const FRAME_BYTES: usize = 4 << 20;
const FRAME_REQUESTS: usize = 4096;

/// Why the writer cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriterError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Index(#[from] PagesError),
    #[error("a record that was just written cannot be read: {0}")]
    Record(#[from] BadRecord),
}

/// A frame in the making, and what is to be told once it is durable.
#[derive(Default)]
pub(super) struct Draft {
    pub commit: Commit,
    /// Deliveries and endpoints that this frame changes.
    pub touched: HashSet<(EventId, EndpointNo)>,
    pub lanes: HashSet<EndpointNo>,
    /// Idempotency keys that this frame stores: tenant, key.
    pub keys: HashMap<(String, String), ([u8; 32], Receipt)>,
    /// Entries to be queued, whose record's place is known once the frame has one.
    pub queued: Vec<(RecordOffset, Notice)>,
    /// Outcomes in this frame: they wait if there is no room for it.
    pub outcomes: Vec<Outcome>,
    pub open_bytes: u64,
    /// What this frame adds to the pending bodies of each endpoint, in bytes.
    pub pending: HashMap<EndpointNo, u64>,
    /// Events of this frame that are held for the backlog, by endpoint.
    pub backlog: BTreeMap<EndpointNo, Vec<u128>>,
    /// Jobs that this frame begins.
    pub jobs: u32,
    /// Held deliveries that die in this frame to make room.
    pub space_deaths: u64,
    /// Records whose bodies are overwritten once the frame is durable.
    pub erased: Vec<Lsn>,
    /// Events that this frame erases.
    pub erasing: HashSet<EventId>,
    pub last_id: u128,
    /// The highest endpoint number given.
    pub last_no: u32,
    /// Endpoints that this frame makes.
    pub made: HashSet<EndpointId>,
    /// What is in force once the frame is durable.
    pub in_force: Vec<(EndpointNo, Option<Arc<Endpoint>>)>,
}

pub(super) struct Writer {
    pub log: Log,
    /// The frame in the making.
    pub frame: FrameBuf,
    /// The heads of its records: what is applied once it is durable.
    pub heads: Heads,
    pub index: Index,
    pub flusher: Flusher,
    pub limits: Limits,
    pub defaults: Defaults,
    pub shared: Arc<Shared>,
    pub commits: UnboundedSender<Commit>,
    pub random: SmallRng,
    /// Tells the thread for bulk work that there may be some.
    pub nudge: SyncSender<()>,
    /// The segment in which all endpoints were stated last.
    pub stated_in: Option<Lsn>,
}

/// The heads of a frame's records, one after the other.
#[derive(Default)]
pub(super) struct Heads {
    bytes: Vec<u8>,
    records: Vec<(RecordOffset, u8, Range<usize>)>,
}

/// What the main loop does next.
enum Turn {
    Go,
    Stop,
}

impl Writer {
    /// Runs until told to stop or until the store fails.
    pub fn run(mut self, requests: &Receiver<Request>) {
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve(requests)));
        let failure = match outcome {
            Ok(Ok(())) => return self.finish(),
            Ok(Err(WriterError::Log(error))) => StoreFailure(error.to_string()),
            // Whatever it was about the index, a new one is the way out.
            Ok(Err(error)) => return self.shared.index_failed(&error.to_string()),
            Err(_) => return self.shared.index_failed("the writer panicked"),
        };
        self.shared.fail(failure);
    }

    fn serve(&mut self, requests: &Receiver<Request>) -> Result<(), WriterError> {
        let mut waiting: VecDeque<Request> = VecDeque::new();
        loop {
            match self.gather(requests, &mut waiting)? {
                Turn::Stop => return Ok(()),
                Turn::Go => match self.round(&mut waiting)? {
                    Turn::Stop => return Ok(()),
                    Turn::Go => {}
                },
            }
        }
    }

    /// Waits until there is something to commit. Outcomes alone wait a little for company.
    fn gather(
        &mut self,
        requests: &Receiver<Request>,
        waiting: &mut VecDeque<Request>,
    ) -> Result<Turn, WriterError> {
        let mut deadline: Option<Instant> = None;
        loop {
            while waiting.len() < FRAME_REQUESTS {
                match requests.try_recv() {
                    Ok(request) => waiting.push_back(request),
                    Err(_) => break,
                }
            }
            let hurried = waiting.len() >= FRAME_REQUESTS
                || waiting.iter().any(|request| match request {
                    Request::Outcome(outcome) => outcome.awaited && !self.limits.is_out(),
                    _ => true,
                });
            if hurried || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Turn::Go);
            }
            if !waiting.is_empty() && deadline.is_none() {
                let wait = if self.limits.is_out() {
                    SPACE_WAIT
                } else {
                    OUTCOME_WAIT
                };
                deadline = Some(Instant::now() + wait);
            }
            let wait = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => IDLE,
            };
            match requests.recv_timeout(wait) {
                Ok(request) => waiting.push_back(request),
                Err(RecvTimeoutError::Timeout) if waiting.is_empty() => self.idle()?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Turn::Stop),
            }
        }
    }

    /// Nothing to do: prove the last frame, and clean.
    fn idle(&mut self) -> Result<(), WriterError> {
        self.limits.refresh(&mut self.log)?;
        self.note_log_size();
        self.state_endpoints()?;
        self.prove()
    }

    /// Proves the last frame with a mark.
    fn prove(&mut self) -> Result<(), WriterError> {
        match self.log.mark() {
            Ok(()) => {}
            // It is durable all the same.
            Err(LogError::NoSpace) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let end = self.log.end();
        self.index.write().meta.applied = end.0;
        Ok(())
    }

    /// One frame's worth of what waits.
    fn round(&mut self, waiting: &mut VecDeque<Request>) -> Result<Turn, WriterError> {
        if matches!(waiting.front(), Some(Request::Stop)) {
            return Ok(Turn::Stop);
        }
        self.limits.refresh(&mut self.log)?;
        if let Some(Request::Clean { .. }) = waiting.front()
            && let Some(Request::Clean { step, done }) = waiting.pop_front()
        {
            self.clean(step)?;
            // The cleaner may have been stopped meanwhile.
            let _ = done.send(());
            return Ok(Turn::Go);
        }
        if let Some(Request::Bulk { .. }) = waiting.front()
            && let Some(Request::Bulk { step, done }) = waiting.pop_front()
        {
            let durable = self.bulk(step)?;
            let _ = done.send(durable);
            return Ok(Turn::Go);
        }
        let mut draft = self.draft();
        let mut bytes = 0;
        while bytes < FRAME_BYTES
            && let Some(request) = waiting.pop_front()
        {
            if let Err(request) = self.compose(request, &mut draft)? {
                waiting.push_front(request);
                break;
            }
            bytes = self.frame.disk_len() as usize;
        }
        let kept = self.commit(draft)?;
        kept.into_iter()
            .rev()
            .for_each(|outcome| waiting.push_front(Request::Outcome(Box::new(outcome))));
        self.note_log_size();
        self.state_endpoints()?;
        Ok(Turn::Go)
    }

    /// A frame to fill, after all that was applied.
    pub fn draft(&self) -> Draft {
        let meta = self.index.read().meta;
        Draft {
            last_id: meta.last_id,
            last_no: meta.last_no,
            ..Draft::default()
        }
    }

    /// Adds a request to the frame; gives it back if it must wait for the next one.
    fn compose(
        &mut self,
        request: Request,
        draft: &mut Draft,
    ) -> Result<Result<(), Request>, WriterError> {
        match request {
            Request::Accept { events, reply } => {
                let answer = self.accept(&events, draft)?;
                draft.commit.answers.push(Answer::Accept(reply, answer));
            }
            Request::Outcome(outcome) => {
                let touched = draft.touched.contains(&(outcome.event, outcome.no));
                if touched || (outcome.disable.is_some() && draft.lanes.contains(&outcome.no)) {
                    return Ok(Err(Request::Outcome(outcome)));
                }
                self.outcome(&outcome, draft)?;
                draft.outcomes.push(*outcome);
            }
            Request::Act { action, reply } => match self.act(&action, draft)? {
                Some(answer) => draft.commit.answers.push(Answer::Act(reply, answer)),
                None => return Ok(Err(Request::Act { action, reply })),
            },
            Request::Begin { job, reply } => {
                let answer = self.begin_job(&job, draft)?;
                draft.commit.answers.push(Answer::Begin(reply, answer));
            }
            other @ (Request::Clean { .. } | Request::Bulk { .. } | Request::Stop) => {
                return Ok(Err(other));
            }
        }
        Ok(Ok(()))
    }

    /// Adds a record to the frame; its place is known when the frame has one.
    pub fn push(&mut self, record: &Record<'_>, body: &[u8]) -> Result<RecordOffset, WriterError> {
        let begin = self.heads.bytes.len();
        record.encode(&mut self.heads.bytes);
        let range = begin..self.heads.bytes.len();
        let head = self.heads.bytes.get(range.clone()).unwrap_or_default();
        let offset = self.frame.push(record.kind(), head, body)?;
        self.heads.records.push((offset, record.kind(), range));
        Ok(offset)
    }

    /// Makes the frame durable, applies it, and tells. Gives back the outcomes for which
    /// there was no room.
    pub fn commit(&mut self, mut draft: Draft) -> Result<Vec<Outcome>, WriterError> {
        let mut kept = Vec::new();
        self.hold_back(&mut draft)?;
        if !self.frame.is_empty() {
            match self.log.commit(&mut self.frame) {
                Ok(placed) => {
                    self.limits.wrote();
                    self.apply(placed)?;
                    let gauges = &self.shared.gauges;
                    gauges.space_deaths.fetch_add(draft.space_deaths, Relaxed);
                    self.enforce(&mut draft);
                    for (offset, mut notice) in draft.queued.drain(..) {
                        if let Notice::Queued { entry, .. } = &mut notice {
                            entry.lsn = placed.lsn(offset).0;
                        }
                        draft.commit.notices.push(notice);
                    }
                }
                Err(LogError::NoSpace) => {
                    self.refuse(&mut draft);
                    draft.erased.clear();
                    kept = std::mem::take(&mut draft.outcomes);
                }
                Err(error) => return Err(error.into()),
            }
            self.frame.clear();
            self.heads.bytes.clear();
            self.heads.records.clear();
        }
        if !draft.commit.is_empty() {
            // The receiver is gone only at the very end of a stop.
            let _ = self.commits.send(draft.commit);
        }
        self.log.erase(&draft.erased)?;
        self.flusher.breathe(false);
        Ok(kept)
    }

    fn apply(&mut self, placed: Committed) -> Result<(), WriterError> {
        let mut state = self.index.write();
        for (offset, kind, range) in &self.heads.records {
            let head = self.heads.bytes.get(range.clone()).unwrap_or_default();
            state.apply(placed.lsn(*offset).0, &Record::decode(*kind, head)?)?;
        }
        state.meta.applied = placed.end.0;
        if std::mem::take(&mut state.sums.eased) {
            // One nudge waits already, or the thread is gone: either will do.
            let _ = self.nudge.try_send(());
        }
        Ok(())
    }

    /// What the frame defines is in force from now on.
    fn enforce(&self, draft: &mut Draft) {
        for (no, mut endpoint) in draft.in_force.drain(..) {
            if let Some(endpoint) = endpoint.as_mut().and_then(Arc::get_mut)
                && let Some(lane) = self.index.read().lanes.get(&no)
            {
                // The same names, kept once.
                (endpoint.id, endpoint.tenant) = (lane.id.clone(), lane.tenant.clone());
            }
            self.shared.put_in_force(no, endpoint);
        }
    }

    /// There was no room for the frame: nothing of it was written. Whoever waits is told.
    fn refuse(&mut self, draft: &mut Draft) {
        if self.limits.no_space() {
            tracing::error!(
                "the disk is full: nothing is accepted and outcomes wait until there is room"
            );
        }
        draft.queued.clear();
        draft.commit.notices.clear();
        for answer in &mut draft.commit.answers {
            match answer {
                Answer::Accept(_, answer) => *answer = Err(Refused::DiskLow),
                Answer::Act(_, answer) => *answer = Err(ActRefused::DiskLow),
                Answer::Begin(_, answer) => *answer = Err(ActRefused::DiskLow),
            }
        }
    }

    /// A clean stop: everything is proven durable, and the index is whole.
    fn finish(mut self) {
        if let Err(error) = self.prove() {
            return self.shared.fail(StoreFailure(error.to_string()));
        }
        if !self.flusher.stop() {
            tracing::warn!("the index was not written out in time; the next start replays the log");
        }
    }

    /// 128 random bits.
    pub fn dice(&mut self) -> u128 {
        self.random.random()
    }

    /// Now, on the wall clock.
    pub fn now(&self) -> crate::domain::time::Timestamp {
        clock::now()
    }
}
