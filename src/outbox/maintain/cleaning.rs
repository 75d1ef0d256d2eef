//! Frees space: forgets what is finished and past its retention, and drops the log's oldest
//! segment when the log is much larger than what is kept.
//!
//! A thread of its own looks and plans; every change is a request to the writer, which
//! judges it again over an index that is up to date, so that no outcome slips between.
//! What is still wanted of the oldest segment is written again at the log's head first.
//! Cut short at any point it has changed nothing that matters, and begins anew.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::handle::Shared;
use crate::outbox::index::PagesError;
use crate::outbox::index::keys::{self, End};
use crate::outbox::index::rows::{self, ErasedEntry, EventRow};
use crate::outbox::log::{Body, LogReader, Lsn, Replayed};
use crate::outbox::maintain::definitions::Definitions;
use crate::outbox::maintain::erasing::{CopySearch, batches};
use crate::outbox::maintain::finished::{Finished, STEP_EVENTS};
use crate::outbox::maintain::held::{Gone, Held};
use crate::outbox::maintain::survey::{Survey, add_unnamed};
use crate::outbox::maintain::{Asked, Cut, Requests, moving};

use crate::outbox::record::Record;
use crate::outbox::request::Step;
use crate::outbox::rules::Keep;

/// How many bytes one step takes, unless a single event is larger.
const STEP_BYTES: usize = 1 << 20;
/// The longest time between two looks.
const LOOK_MAX: Duration = Duration::from_secs(600);
const LOOK_MIN: Duration = Duration::from_secs(1);
/// How long history is left alone when it is over its limit and nothing of it can go.
const STUCK: Duration = Duration::from_secs(30);

/// The thread that cleans.
pub struct Cleaner {
    /// The retention at the start of the current pass.
    keep: Keep,
    shared: Arc<Shared>,
    held: Held,
    copies: CopySearch,
    definitions: Definitions,
    /// Nothing more could go although history is over its limit: looked at again then.
    stuck_until: Option<Duration>,
    /// How long until the next sweep.
    sweep_in: Duration,
}

impl Cleaner {
    pub fn new(shared: Arc<Shared>) -> Cleaner {
        Cleaner {
            held: Held::new(shared.clone()),
            keep: shared.rules().keep,
            shared,
            copies: CopySearch::default(),
            definitions: Definitions::default(),
            stuck_until: None,
            sweep_in: LOOK_MIN,
        }
    }

    /// Runs until the sender of `stop` is dropped or the writer is gone.
    pub fn run(mut self, mut writer: Requests, stop: &mpsc::Receiver<()>) -> Result<(), Cut> {
        loop {
            match stop.recv_timeout(LOOK_MIN) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                _ => return Ok(()),
            }
            match self.look(&mut writer) {
                Err(Cut::Stopped) => return Ok(()),
                looked => looked?,
            }
        }
    }

    /// One look, once a second. A pass that cannot finish is given up: what it did so far
    /// changes nothing, and the next one begins anew.
    pub fn look(&mut self, writer: &mut dyn Asked) -> Result<(), Cut> {
        self.keep = self.shared.rules().keep;
        let shortest = self.keep.delivered.min(self.keep.dead).min(self.keep.held);
        let every = (shortest / 20).clamp(LOOK_MIN, LOOK_MAX);
        // A shorter retention applies at once, not after the next sweep of the longer one.
        self.sweep_in = self.sweep_in.min(every).saturating_sub(LOOK_MIN);
        let gauges = &self.shared.clone().gauges;
        let passed = self.pass(self.sweep_in.is_zero(), writer);
        let passed = match passed {
            // What stops cleaning does not stop this.
            Ok(()) | Err(Cut::Refused(_)) => {
                self.definitions.look(&self.shared, writer).and(passed)
            }
            cut => cut,
        };
        if self.sweep_in.is_zero() {
            self.sweep_in = every;
        }
        gauges.cleaning_passes.fetch_add(1, Relaxed);
        match passed {
            Ok(()) => Ok(()),
            Err(Cut::Refused(_)) => {
                // The writer said so once; it goes on when there is room.
                gauges.cleaning_cut_short.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(Cut::Log(error)) => {
                gauges.cleaning_cut_short.fetch_add(1, Relaxed);
                tracing::warn!(%error, "cleaning could not read the log and changed nothing; it tries again");
                Ok(())
            }
            Err(Cut::Pages(error)) if !error.is_damage() => {
                gauges.cleaning_cut_short.fetch_add(1, Relaxed);
                tracing::warn!(%error, "cleaning could not read the index and changed nothing; it tries again");
                Ok(())
            }
            Err(cut) => Err(cut),
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.wall()
    }

    fn mono(&self) -> Duration {
        self.shared.clock.mono()
    }

    fn pass(&mut self, sweep: bool, writer: &mut dyn Asked) -> Result<(), Cut> {
        self.held.forget_made_room(writer)?;
        if sweep {
            self.forget_old(writer)?;
        }
        let stuck = self.stuck_until.is_some_and(|until| self.mono() < until);
        if self.is_disk_short() || (self.excess() > 0 && !stuck) {
            self.shrink(writer)?;
            self.stuck_until = (self.excess() > 0).then(|| self.mono() + STUCK);
        }
        self.overwrite(writer)?;
        self.trim(writer)
    }

    /// Overwrites what is left of erased events, if it is time to look.
    fn overwrite(&mut self, writer: &mut dyn Asked) -> Result<(), Cut> {
        let Some(copies) = self.copies.search(&self.shared)? else {
            return Ok(());
        };
        for records in batches(&copies.records) {
            writer.need(Step::Overwrite(records))?;
        }
        for ids in copies.events.chunks(STEP_EVENTS) {
            writer.need(Step::Erased(ids.to_vec()))?;
        }
        Ok(())
    }

    /// How much of history is over its own limit, without what is about to go anyway.
    fn excess(&self) -> u64 {
        let history = self.shared.index.read().history_bytes();
        history
            .saturating_sub(self.held.leaving_bytes())
            .saturating_sub(self.keep.max_size)
    }

    fn is_disk_short(&self) -> bool {
        let wanted = self
            .keep
            .min_free_disk
            .saturating_add(self.keep.segment_size);
        self.shared.gauges.free_bytes.load(Relaxed) < wanted
    }

    /// Forgets what is finished and past its retention; what was held too long is dead.
    fn forget_old(&mut self, writer: &mut dyn Asked) -> Result<(), Cut> {
        let now = self.now();
        self.held.end_old_holds(now, writer)?;
        for (end, keep) in [
            (End::Delivered, self.keep.delivered),
            (End::Dead, self.keep.dead),
        ] {
            let until = now.saturating_sub(keep).as_millis();
            let mut finished = Finished::new(end);
            while let Some(batch) = finished.oldest(&self.shared.index, until, u64::MAX)? {
                writer.need(Step::Forget(batch.ids))?;
                finished.go_on(batch.next);
            }
        }
        let mut from = Some(EventId(0));
        while let Some(position) = from {
            let (ids, next) = self.erased_before(position, now.saturating_sub(self.keep.erased))?;
            if !ids.is_empty() {
                writer.need(Step::Forget(ids))?;
            }
            from = next;
        }
        Ok(())
    }

    /// Makes the oldest history go for as long as room is wanted, and says what went before its time,
    /// also of a pass that is given up.
    fn shrink(&mut self, writer: &mut dyn Asked) -> Result<(), Cut> {
        let mut gone = Gone::default();
        let shrunk = self.drop_oldest(&mut gone, writer);
        gone.report(&self.shared);
        shrunk
    }

    /// What was finished first goes first, or held first. A dead letter counts from its death, not
    /// from its acceptance days before.
    fn drop_oldest(&mut self, gone: &mut Gone, writer: &mut dyn Asked) -> Result<(), Cut> {
        let mut delivered = Finished::new(End::Delivered);
        let mut dead = Finished::new(End::Dead);
        let mut held = EventId(0);
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
            let wanted = excess.max(short);
            if wanted == 0 {
                break;
            }
            let index = &self.shared.index;
            let (a, b) = (delivered.first_at(index)?, dead.first_at(index)?);
            let first = a.into_iter().chain(b).min();
            let oldest = match excess {
                0 => None,
                excess => self.held.oldest_held(held, excess)?,
            };
            if let Some(oldest) = oldest
                && oldest.since.zip(first).is_none_or(|(a, b)| a < b)
            {
                held = oldest.next;
                gone.held += self.held.make_room(oldest, writer)?;
                continue;
            }
            let is_dead = b.is_some() && b == first;
            let (list, other) = match is_dead {
                true => (&mut dead, a),
                false => (&mut delivered, b),
            };
            let until = other.map_or(u64::MAX, |other| other.saturating_add(1));
            let Some(batch) = list.oldest(index, until, wanted)? else {
                break;
            };
            writer.need(Step::Forget(batch.ids.clone()))?;
            if is_dead {
                let made_room = self.held.forgotten(&batch.ids);
                gone.dead_letters += batch.ids.len() as u64 - made_room;
            }
            list.go_on(batch.next);
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
        let mut scan = state.entries.scan(&keys::erased(from), &end, false);
        while let Some(entry) = scan.step() {
            let (key, value) = entry?;
            let id = keys::event_of(&key).ok_or(PagesError::Damaged)?;
            if let Some(value) = value {
                let row: ErasedEntry = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
                if row.done && row.at < until.as_millis() {
                    found.push(id);
                }
            }
            if found.len() >= STEP_EVENTS || state.is_spent() {
                return Ok((found, Some(EventId(id.0.saturating_add(1)))));
            }
        }
        Ok((found, None))
    }

    /// Drops the oldest segment while the log is more than twice what is kept.
    fn trim(&mut self, writer: &mut dyn Asked) -> Result<(), Cut> {
        // A pass writes nothing again that it has written itself.
        let end = self.shared.log.end();
        loop {
            let segments = self.shared.log.segments();
            let (Some((base, len)), Some((start, _))) = (segments.first(), segments.get(1)) else {
                return Ok(());
            };
            if *start > end {
                return Ok(());
            }
            let total: u64 = segments.iter().map(|(_, len)| len).sum();
            let kept = self.shared.index.read().meta.wanted_bytes();
            let slack = segments.last().map_or(0, |(_, len)| len + len / 2);
            if total <= kept.saturating_mul(2).saturating_add(slack) && !self.is_disk_short() {
                return Ok(());
            }
            let is_needed = *start > self.shared.copies.needed_from();
            if is_needed && !self.is_disk_short() {
                return Ok(());
            }
            let survey = self.survey(*base, *start)?;
            if self.is_disk_short() && survey.bytes > len / 2 {
                // It would cost more room at the head than is left to spend.
                return Ok(());
            }
            self.drop_below(*start, survey, is_needed, writer)?;
        }
    }

    /// Drops the segments below `start`, the beginning of one, whatever it costs to write again
    /// what is wanted of them.
    pub fn clear_below(&self, start: Lsn, writer: &mut dyn Asked) -> Result<(), Cut> {
        loop {
            let segments = self.shared.log.segments();
            match segments.as_slice() {
                [(base, _), (next, _), ..] if *base < start => {
                    self.drop_below(*next, self.survey(*base, *next)?, true, writer)?;
                }
                // Segments that should be before the first one are missing.
                [(base, _), ..] if self.shared.log.start() < *base => {
                    return self.drop_below(*base, Survey::default(), true, writer);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Writes again what is wanted of the segments below `start`, which `survey` has, and drops
    /// them.
    fn drop_below(
        &self,
        start: Lsn,
        mut survey: Survey,
        also_needed: bool,
        writer: &mut dyn Asked,
    ) -> Result<(), Cut> {
        self.rewrite(&survey.events, writer)?;
        // What the segments' own records do not name: they were lost to damage.
        let unnamed = self.events_below(start, survey.wanted.rows())?;
        self.rewrite(&unnamed, writer)?;
        let left = self.shared.index.read().segments.below(start.0);
        if left > survey.wanted.rows() as u64 {
            add_unnamed(&mut survey.wanted, &self.shared.index, start)?;
        }
        writer.need(Step::Drop {
            start,
            wanted: survey.wanted,
            also_needed,
        })
    }

    /// Writes events again at the log's head, in steps of a bounded size.
    fn rewrite(&self, ids: &[EventId], writer: &mut dyn Asked) -> Result<(), Cut> {
        let (mut step, mut bytes) = (Vec::new(), 0);
        for id in ids {
            let Some(moving) = moving::read(&self.shared, *id)? else {
                continue;
            };
            bytes += moving.bytes();
            step.push(moving);
            if bytes >= STEP_BYTES || step.len() >= STEP_EVENTS {
                writer.need(Step::Rewrite(std::mem::take(&mut step)))?;
                bytes = 0;
            }
        }
        if !step.is_empty() {
            writer.need(Step::Rewrite(step))?;
        }
        Ok(())
    }

    /// The events whose rows point below `start` after all that the log names was written
    /// again, but for `others` rows that are no events'. There are none unless records were
    /// damaged.
    fn events_below(&self, start: Lsn, others: usize) -> Result<Vec<EventId>, Cut> {
        let mut found = Vec::new();
        let mut from = keys::EVENTS.to_vec();
        let end = keys::end_of(keys::EVENTS);
        while self.shared.index.read().segments.below(start.0) > (found.len() + others) as u64 {
            let state = self.shared.index.read();
            let mut last = None;
            let mut scan = state.entries.scan(&from, &end, false);
            while let Some(entry) = scan.step() {
                let (key, value) = entry?;
                if let Some(value) = value {
                    let row: EventRow<'_> = rows::decode(&value)?;
                    if row.lsn < start.0 {
                        found.push(keys::event_of(&key).ok_or(PagesError::Damaged)?);
                    }
                }
                last = Some(key.into_owned());
                if state.is_spent() {
                    break;
                }
            }
            match last {
                Some(mut key) => {
                    key.push(0);
                    from = key;
                }
                None => break,
            }
        }
        Ok(found)
    }

    /// What of a segment is still wanted.
    fn survey(&self, base: Lsn, end: Lsn) -> Result<Survey, Cut> {
        let mut survey = Survey::default();
        let walked = self.shared.log.replay(base, end, |replayed| {
            let noted = match replayed {
                Replayed::Record(found) if found.lsn < end => {
                    match Record::decode(found.kind, found.head, found.body.intact()) {
                        Ok(Some(record)) => {
                            survey.note(&self.shared.index.read(), found.lsn, &record)
                        }
                        Ok(None) | Err(_) => Ok(()),
                    }
                }
                Replayed::Record(_) => return ControlFlow::Break(None),
                Replayed::FrameEnd { .. } => Ok(()),
                Replayed::Damage(damage) => {
                    // A start reads only what the index lacks: this may be met for the first
                    // time. A body may look damaged because it was being overwritten.
                    if !is_erased(&self.shared.log, damage.from) {
                        self.shared.met_damage(damage.from.0);
                    }
                    Ok(())
                }
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

fn is_erased(log: &LogReader, lsn: Lsn) -> bool {
    let mut buf = Vec::new();
    let read = log.read(lsn, &mut buf);
    read.is_ok_and(|record| record.body == Body::Erased)
}

#[cfg(test)]
impl Cleaner {
    /// Makes room as if history might take so many bytes.
    pub fn shrink_to(&mut self, max_size: u64, writer: &mut dyn Asked) -> Result<(), Cut> {
        self.keep.max_size = max_size;
        self.shrink(writer)
    }
}
