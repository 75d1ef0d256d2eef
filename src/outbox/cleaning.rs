//! Giving space back: what is finished and past its retention is forgotten, and the log's
//! oldest segment goes when the log is much larger than what is kept.
//!
//! A thread of its own looks and plans; every change is a request to the writer, which
//! judges it again over an index that is up to date, so that no outcome slips between.
//! What is still wanted of the oldest segment is written again at the log's head first.
//! Cut short at any point it has changed nothing that matters, and begins anew.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::clock;
use crate::domain::delivery::Reason;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::Shared;
use crate::outbox::commit::Request;
use crate::outbox::erasing::{Walked, batches};
use crate::outbox::held::Doomed;
use crate::outbox::index::keys::{self, End};
use crate::outbox::index::rows::{self, ErasedEntry, EventRow, SpecEntry};
use crate::outbox::index::{PagesError, State};
use crate::outbox::log::{LogError, Lsn, Replayed};
use crate::outbox::record::Record;

/// How long what is finished is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    pub delivered: Duration,
    pub dead: Duration,
    /// How long a delivery may be held.
    pub held: Duration,
    /// How long it is known that an event was erased.
    pub erased: Duration,
    /// Bytes of finished, dead and held events; over it the oldest go first.
    pub max_size: u64,
    pub min_free_disk: u64,
    pub segment_size: u64,
}

/// One step of cleaning, for the writer.
#[derive(Debug)]
pub(super) enum Step {
    /// Forget these events, those of them that are finished.
    Forget(Vec<EventId>),
    /// Write these events again at the log's head.
    Rewrite(Vec<EventId>),
    /// Overwrite the bodies of these records.
    Overwrite(Vec<Lsn>),
    /// Nothing is left of these erased events.
    Erased(Vec<EventId>),
    /// Write these endpoints and idempotency keys again, then let the log begin at `start`.
    Drop {
        start: Lsn,
        lanes: BTreeSet<EndpointNo>,
        /// Of these the definitions too.
        specs: BTreeSet<EndpointNo>,
        keys: Vec<(String, String)>,
        /// Erased events.
        erased: Vec<EventId>,
    },
}

/// How many events one step takes.
const STEP_EVENTS: usize = 256;
/// How many rows are read under one lock.
const ROWS: usize = 2000;
/// The longest time between two looks.
const LOOK_MAX: Duration = Duration::from_secs(600);
const LOOK_MIN: Duration = Duration::from_secs(1);
/// How long history is left alone when it is over its limit and nothing of it can go.
const STUCK: Duration = Duration::from_secs(30);

/// Some events, and the key to go on from.
type Batch = (Vec<EventId>, Vec<u8>);

/// Why a pass was cut short.
pub(super) enum Cut {
    /// The writer is gone, or told us to stop.
    Stopped,
    Pages(PagesError),
    Log(LogError),
}

impl From<PagesError> for Cut {
    fn from(error: PagesError) -> Self {
        Cut::Pages(error)
    }
}

impl From<LogError> for Cut {
    fn from(error: LogError) -> Self {
        Cut::Log(error)
    }
}

/// The thread that plans.
pub(super) struct Cleaner {
    pub keep: Keep,
    pub shared: Arc<Shared>,
    pub requests: mpsc::Sender<Request>,
    stop: mpsc::Receiver<()>,
    pub doomed: Doomed,
    walked: Walked,
    /// Nothing more could go although history is over its limit: looked at again then.
    stuck_until: Option<Instant>,
}

impl Cleaner {
    /// Starts the thread; it ends when the sender is dropped.
    pub fn start(
        keep: Keep,
        shared: Arc<Shared>,
        requests: mpsc::Sender<Request>,
    ) -> std::io::Result<mpsc::Sender<()>> {
        let (stopper, stop) = mpsc::channel();
        let cleaner = Cleaner {
            keep,
            shared,
            requests,
            stop,
            doomed: Doomed::default(),
            walked: Walked::default(),
            stuck_until: None,
        };
        std::thread::Builder::new()
            .name("cleaner".into())
            .spawn(move || cleaner.run())?;
        Ok(stopper)
    }

    fn run(mut self) {
        let shortest = self.keep.delivered.min(self.keep.dead).min(self.keep.held);
        let every = (shortest / 20).clamp(LOOK_MIN, LOOK_MAX);
        let mut sweep_in = LOOK_MIN;
        loop {
            match self.stop.recv_timeout(LOOK_MIN) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                _ => return,
            }
            sweep_in = sweep_in.saturating_sub(LOOK_MIN);
            match self.pass(sweep_in.is_zero()) {
                Ok(()) => {}
                Err(Cut::Stopped) => return,
                Err(Cut::Pages(error)) => {
                    tracing::error!(%error, "cleaning: the index is damaged");
                    return self.shared.index_failed(&error.to_string());
                }
                Err(Cut::Log(error)) => {
                    tracing::warn!(%error, "cleaning was cut short; it begins anew in a while")
                }
            }
            if sweep_in.is_zero() {
                sweep_in = every;
            }
        }
    }

    fn pass(&mut self, sweep: bool) -> Result<(), Cut> {
        self.forget_doomed()?;
        if sweep {
            self.forget_old()?;
        }
        let stuck = self.stuck_until.is_some_and(|until| Instant::now() < until);
        if self.is_disk_short() || (self.excess() > 0 && !stuck) {
            self.shrink()?;
            self.stuck_until = (self.excess() > 0).then(|| Instant::now() + STUCK);
        }
        self.overwrite()?;
        self.trim()
    }

    /// Overwrites what is left of erased events, if it is time to look.
    fn overwrite(&mut self) -> Result<(), Cut> {
        let Some(copies) = self.walked.walk(&self.shared)? else {
            return Ok(());
        };
        for records in batches(&copies.records) {
            self.ask(Step::Overwrite(records))?;
        }
        for ids in copies.events.chunks(STEP_EVENTS) {
            self.ask(Step::Erased(ids.to_vec()))?;
        }
        Ok(())
    }

    /// How much of history is over its own limit, without what is about to go anyway.
    fn excess(&self) -> u64 {
        let history = self.shared.index.read().history_bytes();
        history
            .saturating_sub(self.doomed.bytes())
            .saturating_sub(self.keep.max_size)
    }

    fn is_disk_short(&self) -> bool {
        let wanted = self
            .keep
            .min_free_disk
            .saturating_add(self.keep.segment_size);
        self.shared
            .gauges
            .free_bytes
            .load(std::sync::atomic::Ordering::Relaxed)
            < wanted
    }

    pub fn ask(&self, step: Step) -> Result<(), Cut> {
        let (done, wait) = mpsc::sync_channel(1);
        self.requests
            .send(Request::Clean { step, done })
            .map_err(|_| Cut::Stopped)?;
        wait.recv().map_err(|_| Cut::Stopped)
    }

    /// Forgets what is finished and past its retention; what was held too long is dead.
    fn forget_old(&mut self) -> Result<(), Cut> {
        let now = clock::now();
        self.end_old_holds(now)?;
        for (end, keep) in [
            (End::Delivered, self.keep.delivered),
            (End::Dead, self.keep.dead),
        ] {
            let until = now.saturating_sub(keep).as_millis();
            let mut from = keys::finished(end, 0, EventId(0));
            while let Some((ids, next)) = self.oldest(&from, end, until, u64::MAX)? {
                self.ask(Step::Forget(ids))?;
                from = next;
            }
        }
        let mut from = Some(EventId(0));
        while let Some(position) = from {
            let (ids, next) = self.erased_before(position, now.saturating_sub(self.keep.erased))?;
            if !ids.is_empty() {
                self.ask(Step::Forget(ids))?;
            }
            from = next;
        }
        Ok(())
    }

    /// Makes the oldest history go for as long as room is wanted.
    fn shrink(&mut self) -> Result<(), Cut> {
        let start = |end| keys::finished(end, 0, EventId(0));
        let (mut delivered, mut dead) = (start(End::Delivered), start(End::Dead));
        let (mut held, mut deaths) = (EventId(0), 0);
        // For want of disk a segment's worth at a time goes: what is forgotten gives space
        // back only once its segment is dropped.
        let kept = self.shared.index.read().meta.kept_bytes;
        let enough = kept.saturating_sub(self.keep.segment_size);
        loop {
            let (excess, kept) = (self.excess(), self.shared.index.read().meta.kept_bytes);
            let short = if self.is_disk_short() {
                kept.saturating_sub(enough)
            } else {
                0
            };
            if excess.max(short) == 0 {
                break;
            }
            // Of the lists the one with the oldest beginning gives way.
            let a = self.oldest(&delivered, End::Delivered, u64::MAX, excess.max(short))?;
            let b = self.oldest(&dead, End::Dead, u64::MAX, excess.max(short))?;
            let c = match excess {
                0 => None,
                excess => self.oldest_held(held, excess)?,
            };
            let first =
                |found: &Option<Batch>| found.as_ref().and_then(|(ids, _)| ids.first().copied());
            let finished = first(&a).into_iter().chain(first(&b)).min();
            if let Some(oldest) = c
                && oldest
                    .first()
                    .zip(finished)
                    .is_none_or(|(held, finished)| held < finished)
            {
                held = oldest.next;
                deaths += self.make_room(oldest)?;
                continue;
            }
            let (ids, next, from) = match (first(&a), a, b) {
                (Some(x), Some((ids, next)), _) if Some(x) == finished => {
                    (ids, next, &mut delivered)
                }
                (_, _, Some((ids, next))) => (ids, next, &mut dead),
                _ => break,
            };
            self.ask(Step::Forget(ids))?;
            *from = next;
        }
        if deaths > 0 {
            tracing::warn!(
                deliveries = deaths,
                reason = Reason::Space.as_str(),
                "held deliveries are dead: history has reached retention.max_size"
            );
        }
        Ok(())
    }

    /// Some events that were erased before `until`, and where to go on.
    fn erased_before(
        &self,
        from: EventId,
        until: Timestamp,
    ) -> Result<(Vec<EventId>, Option<EventId>), Cut> {
        let state = self.shared.index.read();
        let mut found = Vec::new();
        let end = keys::end_of(keys::ERASED);
        for (rows, entry) in state
            .entries
            .scan(&keys::erased(from), &end, false)
            .enumerate()
        {
            let (key, value) = entry?;
            let id = keys::event_of(&key).ok_or(PagesError::Damaged)?;
            if found.len() >= STEP_EVENTS || rows >= ROWS {
                return Ok((found, Some(id)));
            }
            let row: ErasedEntry = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
            if row.done && row.at < until.as_millis() {
                found.push(id);
            }
        }
        Ok((found, None))
    }

    /// Some events of a list of finished ones, from the key `from` on and finished before
    /// `until`, and the key to go on from: no more than it takes for `bytes` to come free.
    /// `None` if there are none.
    fn oldest(&self, from: &[u8], end: End, until: u64, bytes: u64) -> Result<Option<Batch>, Cut> {
        let state = self.shared.index.read();
        let mut found = Vec::with_capacity(STEP_EVENTS);
        let (mut next, mut free) = (Vec::new(), 0);
        let to = keys::finished(end, until, EventId(0));
        for entry in state.entries.scan(from, &to, false).take(STEP_EVENTS) {
            if free >= bytes {
                break;
            }
            let (key, _) = entry?;
            let id = keys::event_of(&key).ok_or(PagesError::Damaged)?;
            if bytes < u64::MAX {
                free += bytes_of(&state, id)?;
            }
            found.push(id);
            next = key.into_owned();
            next.push(0);
        }
        Ok((!found.is_empty()).then_some((found, next)))
    }

    /// Drops the oldest segment while the log is more than twice what is kept.
    fn trim(&self) -> Result<(), Cut> {
        loop {
            let segments = self.shared.log.segments();
            let (Some((base, len)), Some((start, _))) = (segments.first(), segments.get(1)) else {
                return Ok(());
            };
            let total: u64 = segments.iter().map(|(_, len)| len).sum();
            let kept = self.shared.index.read().meta.wanted_bytes();
            let slack = segments.last().map_or(0, |(_, len)| len + len / 2);
            if total <= kept.saturating_mul(2).saturating_add(slack) && !self.is_disk_short() {
                return Ok(());
            }
            let survey = self.survey(*base, *start)?;
            if self.is_disk_short() && survey.bytes > len / 2 {
                // It would cost more room at the head than is left to spend.
                return Ok(());
            }
            for ids in survey.events.chunks(STEP_EVENTS) {
                self.ask(Step::Rewrite(ids.to_vec()))?;
            }
            self.ask(Step::Drop {
                start: *start,
                lanes: survey.lanes,
                specs: survey.specs,
                keys: survey.keys,
                erased: survey.erased,
            })?;
            if self.shared.log.start() < *start {
                return Ok(());
            }
        }
    }

    /// What of a segment is still wanted.
    fn survey(&self, base: Lsn, end: Lsn) -> Result<Survey, Cut> {
        let mut survey = Survey::default();
        let walked = self.shared.log.replay(base, end, |replayed| {
            let noted = match replayed {
                Replayed::Record(found) if found.lsn < end => {
                    match Record::decode(found.kind, found.head) {
                        Ok(record) => survey.note(&self.shared.index.read(), found.lsn, &record),
                        Err(_) => Ok(()),
                    }
                }
                Replayed::Record(_) => return ControlFlow::Break(None),
                // Damage was named when the log was opened.
                Replayed::FrameEnd(_) | Replayed::Damage(_) => Ok(()),
            };
            match noted {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Some(error)),
            }
        })?;
        match walked {
            ControlFlow::Break(Some(error)) => Err(error.into()),
            _ => Ok(survey),
        }
    }
}

/// About what the event takes in the log.
pub(super) fn bytes_of(state: &State, id: EventId) -> Result<u64, PagesError> {
    let Some(bytes) = state.entries.get(&keys::event(id))? else {
        return Ok(0);
    };
    let row: EventRow<'_> = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
    Ok(u64::from(row.body_len) + rows::EVENT_COST)
}

#[derive(Debug, Default)]
struct Survey {
    events: Vec<EventId>,
    /// About what they take.
    bytes: u64,
    lanes: BTreeSet<EndpointNo>,
    specs: BTreeSet<EndpointNo>,
    keys: Vec<(String, String)>,
    erased: Vec<EventId>,
}

impl Survey {
    fn note(&mut self, state: &State, lsn: Lsn, record: &Record<'_>) -> Result<(), PagesError> {
        let event = match record {
            Record::Accepted(accepted) => &accepted.event,
            Record::Rewritten(rewritten) => &rewritten.event,
            Record::RewrittenInside(rewritten) => &rewritten.event,
            Record::Endpoint(row) => {
                self.lanes.insert(EndpointNo(row.no));
                return Ok(());
            }
            Record::EndpointDeleted(deleted) => {
                self.lanes.insert(EndpointNo(deleted.no));
                return Ok(());
            }
            Record::EndpointSpec(row) => {
                let no = EndpointNo(row.no);
                if let Some(bytes) = state.entries.get(&keys::spec(no))? {
                    let entry: SpecEntry = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
                    if entry.lsn == lsn.0 {
                        self.specs.insert(no);
                        self.bytes += bytes.len() as u64 + rows::SPEC_COST;
                    }
                }
                return Ok(());
            }
            Record::Erased(row) => {
                let id = EventId(row.id);
                if let Some(bytes) = state.entries.get(&keys::erased(id))? {
                    let entry: ErasedEntry =
                        rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
                    if entry.lsn == lsn.0 {
                        self.erased.push(id);
                        self.bytes += rows::ERASED_COST;
                    }
                }
                return Ok(());
            }
            Record::KeyKept(kept) => {
                self.keys
                    .push((kept.tenant.to_owned(), kept.idempotency.key.to_owned()));
                return Ok(());
            }
            _ => return Ok(()),
        };
        let id = EventId(event.id);
        if let Some(bytes) = state.entries.get(&keys::event(id))? {
            let row: EventRow<'_> = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
            if row.lsn == lsn.0 {
                self.events.push(id);
                self.bytes += u64::from(row.body_len) + 256;
            }
        }
        Ok(())
    }
}
