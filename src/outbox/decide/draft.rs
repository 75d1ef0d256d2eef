//! A batch in the making, and what is to be done once it is durable.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::domain::endpoint::{Endpoint, EndpointId, EndpointNo};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::decide::limits::Limits;
use crate::outbox::decide::windows::SourceWindows;
use crate::outbox::endpoints::Endpoints;
use crate::outbox::index::{PagesError, State};
use crate::outbox::log::{Batch, LogError, Lsn, Offset};
use crate::outbox::record::{BadRecord, Record};
use crate::outbox::request::{Answer, Commit, Notice};
use crate::outbox::rules::Defaults;
use crate::outbox::views::{ActRefused, Receipt, Refused};

/// A frame is applied to the index under one lock: it holds no more deliveries than this,
/// unless a single event has more.
const FRAME_DELIVERIES: usize = 8192;

/// Why nothing can be decided. Both end the process.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    #[error(transparent)]
    Index(#[from] PagesError),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<BadRecord> for DecideError {
    fn from(_: BadRecord) -> Self {
        DecideError::Index(PagesError::Damaged)
    }
}

/// The answer to an action; `None`: it must wait for the next batch, as this one changes
/// the same.
pub type Acts = Result<Option<Result<(), ActRefused>>, DecideError>;

/// What a decision is made from: the store as it is, and the moment.
pub struct Basis<'a> {
    /// Everything that was applied.
    pub state: &'a State,
    /// The endpoints in force.
    pub endpoints: &'a Endpoints,
    pub limits: &'a Limits,
    pub source_windows: &'a SourceWindows,
    pub defaults: &'a Defaults,
    pub now: Timestamp,
}

impl Basis<'_> {
    /// Whether an idempotency key that was used at `then` counts no more.
    pub fn is_past(&self, key: &str, then: Timestamp) -> bool {
        let others = self.limits.idempotency_window;
        self.now > then + self.source_windows.of(key, others)
    }
}

/// The records of a batch in the making, what they change, and what follows from them.
pub struct Draft {
    pub batch: Batch,
    pub commit: Commit,
    /// Deliveries and endpoints that this batch changes.
    pub touched: HashSet<(EventId, EndpointNo)>,
    pub touched_endpoints: HashSet<EndpointNo>,
    /// Sources that this batch changes, by their ids.
    pub touched_sources: HashSet<String>,
    /// Idempotency keys that this batch stores: tenant, key.
    pub keys: HashMap<(String, String), ([u8; 32], Receipt)>,
    /// Entries to be queued, whose record's place is known once the batch has one.
    pub queued: Vec<(Offset, Notice)>,
    pub open_bytes: u64,
    /// What this batch adds to the pending bodies of each endpoint, in bytes.
    pub pending: HashMap<EndpointNo, u64>,
    /// Events of this batch that are held for the backlog, by endpoint.
    pub backlog: BTreeMap<EndpointNo, Vec<u128>>,
    /// Events that this batch accepts.
    pub events: usize,
    /// Outcomes of attempts that this batch stores.
    pub outcomes: usize,
    /// Jobs that this batch begins.
    pub jobs: u32,
    /// Held deliveries that die in this batch to make room.
    pub space_deaths: u64,
    /// Events whose record was met damaged and is not kept, with its position.
    pub damaged: Vec<(EventId, u64)>,
    /// Records of events whose bodies are overwritten once the batch is durable.
    pub erased: Vec<Lsn>,
    /// Definitions that this batch replaces. They are overwritten too.
    pub replaced: Vec<Lsn>,
    /// When the first of the secrets that this batch defines is past its time.
    pub expiry: Option<Timestamp>,
    /// Events that this batch erases.
    pub erasing: HashSet<EventId>,
    pub last_id: u128,
    /// The random part of the first id that is given.
    pub random: u128,
    /// The highest endpoint number given.
    pub last_no: u32,
    /// Endpoints that this batch makes.
    pub made: HashSet<EndpointId>,
    /// What is in force once the batch is durable.
    pub in_force: Vec<(EndpointNo, Option<Arc<Endpoint>>)>,
    /// What is logged once the batch is durable.
    log_lines: Vec<Box<dyn FnOnce() + Send>>,
    /// Deliveries in the frame that is being filled.
    frame_deliveries: usize,
}

impl Draft {
    /// An empty draft in `batch`, over an index with these highest numbers.
    pub fn new(batch: Batch, last_id: u128, last_no: u32, random: u128) -> Draft {
        Draft {
            batch,
            commit: Commit::default(),
            touched: HashSet::new(),
            touched_endpoints: HashSet::new(),
            touched_sources: HashSet::new(),
            keys: HashMap::new(),
            queued: Vec::new(),
            open_bytes: 0,
            pending: HashMap::new(),
            backlog: BTreeMap::new(),
            events: 0,
            outcomes: 0,
            jobs: 0,
            space_deaths: 0,
            damaged: Vec::new(),
            erased: Vec::new(),
            replaced: Vec::new(),
            expiry: None,
            erasing: HashSet::new(),
            last_id,
            random,
            last_no,
            made: HashSet::new(),
            in_force: Vec::new(),
            log_lines: Vec::new(),
            frame_deliveries: 0,
        }
    }

    /// Whether it accepts events for somebody who can be refused.
    pub fn accepts(&self) -> bool {
        let mut answers = self.commit.answers.iter();
        answers.any(|answer| matches!(answer, Answer::Accept(..) | Answer::Test(..)))
    }

    /// Whether outcomes wait for its room and are tried again until they have it. Of other batches nothing
    /// is, so that nothing would show that there is room again.
    pub fn is_tried_again(&self) -> bool {
        self.outcomes > 0 && !self.accepts()
    }

    /// Adds a record; its place is known when the batch has one. `body` is not that of a record
    /// that has its own.
    pub fn push(&mut self, record: &Record<'_>, body: &[u8]) -> Result<Offset, DecideError> {
        let encode = |out: &mut Vec<u8>| record.encode(out);
        let own = record.own_body();
        let body = own.as_deref().unwrap_or(body);
        Ok(self.batch.push_with(record.kind(), encode, body)?)
    }

    /// A secret that this batch defines is past its time then.
    pub fn expires_at(&mut self, at: Option<Timestamp>) {
        self.expiry = self.expiry.into_iter().chain(at).min();
    }

    /// The next record changes so many deliveries: it begins a frame if there are too many.
    pub fn expect_deliveries(&mut self, count: usize) {
        self.frame_deliveries += count;
        if self.frame_deliveries > FRAME_DELIVERIES {
            self.batch.cut();
            self.frame_deliveries = count;
        }
    }

    pub fn tell(&mut self, notice: Notice) {
        self.commit.notices.push(notice);
    }

    /// Logs something once the batch is durable.
    pub fn log(&mut self, line: impl FnOnce() + Send + 'static) {
        self.log_lines.push(Box::new(line));
    }

    /// The batch is durable: what was to be logged is.
    pub fn write_log_lines(&mut self) {
        self.log_lines.drain(..).for_each(|line| line());
    }

    /// There was no room for the batch: nothing of it was written. Its requests are refused.
    pub fn refuse(&mut self, why: &Refused) {
        self.queued.clear();
        self.log_lines.clear();
        self.commit.notices.clear();
        self.commit
            .answers
            .iter_mut()
            .for_each(|answer| answer.refuse(why));
    }
}
