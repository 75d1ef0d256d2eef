//! Commits a draft: makes its batch durable, applies it to the index, then sends the answers
//! and notices.
//!
//! The committer owns the log, and nothing else changes the index while the store runs. The
//! writer, which owns the committer, has decided what is in the draft.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::mpsc::UnboundedSender;

use crate::outbox::decide::limits::Limits;
use crate::outbox::decide::{Basis, DecideError, Draft, accept};
use crate::outbox::handle::Shared;
use crate::outbox::index::{Flusher, Index, PagesError};
use crate::outbox::log::{Batch, Committed, Log, LogError, Lsn};
use crate::outbox::record::Record;
use crate::outbox::recovery::StartFlusher;
use crate::outbox::request::{Commit, Notice, Placed};
use crate::outbox::rules::Defaults;
use crate::outbox::views::Refused;

/// How long a frame of a large batch waits for the index to move along. If it cannot keep up,
/// it grows in memory until nothing more is accepted ([`Limits::admit`]).
const INDEX_WAIT: Duration = Duration::from_secs(1);
/// How many bytes a batch takes in before it is written.
pub const BATCH_BYTES: u64 = 4 << 20;

/// Why the writer cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Index(#[from] PagesError),
    #[error("sled does not release the failed index")]
    SledHangs,
    #[error("the index failed and could not be built anew: {0}")]
    Renewal(String),
}

impl WriterError {
    /// The index failed in a way that building it anew mends.
    pub fn is_mended_by_renewal(&self) -> bool {
        matches!(self, WriterError::Index(error) if !error.is_damage())
    }
}

impl From<DecideError> for WriterError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Index(error) => WriterError::Index(error),
            DecideError::Log(error) => WriterError::Log(error),
        }
    }
}

/// What a committer is made of.
pub struct Parts {
    pub log: Log,
    pub index: Index,
    pub flusher: Flusher,
    pub start_flusher: StartFlusher,
    pub limits: Limits,
    pub defaults: Defaults,
    pub shared: Arc<Shared>,
    pub commits: UnboundedSender<Commit>,
    pub random: SmallRng,
    /// Tells the thread for bulk work that there may be some.
    pub nudge: SyncSender<()>,
}

/// The log, the index and the channel to the dispatcher.
pub struct Committer {
    pub log: Log,
    pub index: Index,
    pub flusher: Flusher,
    pub(super) start_flusher: StartFlusher,
    pub limits: Limits,
    pub defaults: Defaults,
    pub shared: Arc<Shared>,
    commits: UnboundedSender<Commit>,
    random: SmallRng,
    nudge: SyncSender<()>,
    /// When the index was last built anew, by the clock that never jumps.
    pub(super) renewed_at: Option<Duration>,
    /// An empty batch, when no draft has it.
    batch: Option<Batch>,
}

impl Committer {
    pub fn new(parts: Parts) -> Committer {
        let is_in_memory = parts.index.read().entries.is_in_memory();
        Committer {
            renewed_at: is_in_memory.then(|| parts.shared.clock.mono()),
            batch: Some(parts.log.batch()),
            log: parts.log,
            index: parts.index,
            flusher: parts.flusher,
            start_flusher: parts.start_flusher,
            limits: parts.limits,
            defaults: parts.defaults,
            shared: parts.shared,
            commits: parts.commits,
            random: parts.random,
            nudge: parts.nudge,
        }
    }

    /// A batch to fill, after all that was applied.
    pub fn draft(&mut self) -> Draft {
        let meta = self.index.read().meta;
        let batch = self.batch.take().unwrap_or_else(|| self.log.batch());
        Draft::new(batch, meta.last_id, meta.last_no, self.random.random())
    }

    /// Decides over the store as it is now.
    pub fn decide<T>(
        &self,
        draft: &mut Draft,
        decide: impl FnOnce(&Basis<'_>, &mut Draft) -> Result<T, DecideError>,
    ) -> Result<T, WriterError> {
        let (state, endpoints) = (self.index.read(), self.shared.endpoints());
        let source_windows = self.shared.source_windows();
        let basis = Basis {
            state: &state,
            endpoints: &endpoints,
            limits: &self.limits,
            source_windows: &source_windows,
            defaults: &self.defaults,
            now: self.shared.clock.wall(),
        };
        Ok(decide(&basis, draft)?)
    }

    /// Makes the draft durable, applies it, and tells.
    pub fn commit(&mut self, mut draft: Draft) -> Result<Placed, WriterError> {
        accept::hold_back(&mut draft)?;
        let mut placed = Placed::Durable;
        if !draft.batch.is_empty() {
            let began = self.shared.clock.mono();
            let left = match draft.accepts() {
                true => self.limits.reserve,
                false => 0,
            };
            match self.log.commit_leaving(&mut draft.batch, left) {
                // The batch is durable here, and nothing was answered yet. A copy on another
                // machine would be waited for at this place, and nowhere else.
                Ok(committed) => {
                    let took = self.shared.clock.mono().saturating_sub(began);
                    let (records, events) = (draft.batch.records(), draft.events);
                    let commits = &self.shared.gauges.commits;
                    commits.count(took, records, events);
                    self.apply(committed, &mut draft)?;
                }
                Err(LogError::NoSpace) => {
                    self.no_room(&mut draft);
                    placed = Placed::NoRoom;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.tell(draft.commit);
        if placed.is_durable() {
            self.overwrite(&draft.erased, &draft.replaced)?;
        }
        self.keep(draft.batch);
        self.flusher.breathe(Duration::ZERO);
        Ok(placed)
    }

    /// Overwrites what a durable batch has erased and replaced. What cannot be overwritten now is
    /// left to the cleaner, which knows of erased events by itself.
    fn overwrite(&mut self, erased: &[Lsn], replaced: &[Lsn]) -> Result<(), WriterError> {
        // A copy that ends before the new definition needs the former one.
        let waits = self.shared.copies.is_backed_up();
        let now = if waits { &[] } else { replaced };
        let overwritten = self.erase(&[erased, now].concat())?;
        if (waits || !overwritten.is_durable()) && !replaced.is_empty() {
            self.shared.leftovers.left();
        }
        Ok(())
    }

    /// Overwrites the bodies of these records.
    pub fn erase(&mut self, records: &[Lsn]) -> Result<Placed, WriterError> {
        if records.is_empty() {
            return Ok(Placed::Durable);
        }
        match self.log.erase(records) {
            Ok(()) => {
                if let Some(first) = records.iter().min() {
                    self.shared.copies.overwritten(*first);
                }
                Ok(Placed::Durable)
            }
            Err(LogError::NoSpace) => Ok(Placed::NoRoom),
            Err(LogError::Copying) => Ok(Placed::StillWanted),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends answers and notices on their way.
    pub(super) fn tell(&self, commit: Commit) {
        if !commit.is_empty() {
            // The receiver is gone only at the very end of a stop.
            let _ = self.commits.send(commit);
        }
    }

    /// Keeps a batch's memory for the next draft.
    fn keep(&mut self, mut batch: Batch) {
        batch.clear();
        self.batch = Some(batch);
    }

    /// The batch is durable: the index takes it in, and what follows from it is made known.
    fn apply(&mut self, committed: Committed, draft: &mut Draft) -> Result<(), WriterError> {
        self.limits.wrote();
        match self.take_in(&committed, draft) {
            // It is in the log, and so in the index that is built from it.
            Err(error) if error.is_mended_by_renewal() => self.renew(&error)?,
            taken => taken?,
        }
        let gauges = &self.shared.gauges;
        gauges.space_deaths.fetch_add(draft.space_deaths, Relaxed);
        draft.write_log_lines();
        for (event, lsn) in draft.damaged.drain(..) {
            tracing::error!(%event, "the damaged body of an event cannot be kept; its open deliveries are dead");
            self.shared.met_damage(lsn);
        }
        self.put_in_force(draft);
        if let Some(at) = draft.expiry {
            self.shared.leftovers.expires_at(at);
        }
        for (offset, mut notice) in draft.queued.drain(..) {
            if let Notice::Queued { entry, .. } = &mut notice {
                entry.lsn = committed.lsn(offset).0;
            }
            draft.commit.notices.push(notice);
        }
        Ok(())
    }

    /// The index takes the batch in, a frame under one lock.
    fn take_in(&self, committed: &Committed, draft: &Draft) -> Result<(), WriterError> {
        let mut frames = 0;
        self.index.write().segments.begins(self.log.current_base());
        for (end, records) in draft.batch.frames() {
            let mut state = self.index.write();
            for pushed in records {
                let record = Record::decode(pushed.kind, pushed.head, Some(pushed.body));
                let record = record.map_err(|_| PagesError::Damaged)?;
                let record = record.ok_or(PagesError::Damaged)?;
                state.apply(committed.lsn(pushed.offset).0, &record)?;
            }
            state.meta.applied = committed.lsn(end).0;
            if std::mem::take(&mut state.sums.may_have_bulk_work) {
                self.nudge();
            }
            drop(state);
            frames += 1;
            if frames > 1 {
                // Of many frames the index should not hold all in memory.
                self.flusher.breathe(INDEX_WAIT);
            }
        }
        Ok(())
    }

    /// Tells the thread for bulk work that there may be some.
    pub(super) fn nudge(&self) {
        // One nudge waits already, or the thread is gone: either will do.
        let _ = self.nudge.try_send(());
    }

    /// What the batch defines is in force from now on.
    fn put_in_force(&self, draft: &mut Draft) {
        for (no, mut endpoint) in draft.in_force.drain(..) {
            if let Some(endpoint) = endpoint.as_mut().and_then(Arc::get_mut)
                && let Some(stored) = self.index.read().endpoints.get(&no)
            {
                // The same names, kept once.
                (endpoint.id, endpoint.tenant) = (stored.id.clone(), stored.tenant.clone());
            }
            self.shared.put_in_force(no, endpoint);
        }
    }

    /// There was no room for the batch: nothing of it was written. Its requests are refused.
    fn no_room(&mut self, draft: &mut Draft) {
        self.shared.gauges.refused_batches.fetch_add(1, Relaxed);
        let free = self.log.free();
        let is_news = match draft.is_tried_again() {
            true => self.limits.no_space(free),
            false => {
                self.limits.no_space_for_others(free);
                false
            }
        };
        let why = self.limits.refusal();
        if is_news {
            tracing::error!(
                reason = %why,
                "the disk is full: nothing is accepted and outcomes wait until there is room"
            );
        }
        draft.refuse(&why);
        self.note_gauges();
    }

    /// Commits what `push` adds, as a batch of its own.
    pub fn push_one(
        &mut self,
        push: impl FnOnce(&Basis<'_>, &mut Draft) -> Result<(), DecideError>,
    ) -> Result<Placed, WriterError> {
        let mut draft = self.draft();
        self.decide(&mut draft, push)?;
        self.commit(draft)
    }

    /// Adds something for each of many, in batches of a bounded size.
    pub fn push_each<T: Copy>(
        &mut self,
        many: impl IntoIterator<Item = T>,
        push: impl Fn(&Basis<'_>, T, &mut Draft) -> Result<(), DecideError>,
    ) -> Result<Placed, WriterError> {
        let mut draft = self.draft();
        for each in many {
            self.decide(&mut draft, |basis, draft| push(basis, each, draft))?;
            if draft.batch.disk_len() > BATCH_BYTES / 4 {
                match self.commit(draft)? {
                    Placed::Durable => draft = self.draft(),
                    refused => return Ok(refused),
                }
            }
        }
        self.commit(draft)
    }

    /// Refuses what is asked for in a draft of which nothing is written.
    pub fn refuse(&mut self, mut draft: Draft, why: &Refused) {
        draft.refuse(why);
        self.tell(draft.commit);
        self.keep(draft.batch);
    }

    /// Drops a draft of which nothing is written.
    pub fn abandon(&mut self, draft: Draft) -> Result<Placed, WriterError> {
        self.keep(draft.batch);
        Ok(Placed::NoRoom)
    }

    /// Brings the figures that `status` shows up to date.
    pub fn note_gauges(&self) {
        let gauges = &self.shared.gauges;
        let total: u64 = self.log.segments().iter().map(|(_, len)| len).sum();
        gauges.log_bytes.store(total, Relaxed);
        gauges.free_bytes.store(self.limits.free_bytes(), Relaxed);
        let pressure = u8::from(self.limits.is_out());
        gauges.pressure.store(pressure, Relaxed);
    }
}
