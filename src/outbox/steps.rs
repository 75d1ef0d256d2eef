//! Steps of maintenance, each judged again over an index that is up to date and made durable
//! in batches of its own.

use crate::domain::endpoint::EndpointNo;
use crate::outbox::committer::{Committer, WriterError};
use crate::outbox::decide::clean::Behind;
use crate::outbox::decide::{bulk, clean, endpoint, erase, kept_keys, replaced, restate, source};
use crate::outbox::log::{LogError, Lsn, ReadError};
use crate::outbox::read::{ATTEMPTS_KEPT, attempts_since};
use crate::outbox::record::Defined;
use crate::outbox::request::{Moving, Placed, Step, Wanted};

impl Committer {
    /// Takes one step of maintenance.
    pub fn take_step(&mut self, step: Step) -> Result<Placed, WriterError> {
        match step {
            Step::Rewrite(events) => self.rewrite(events),
            Step::Drop {
                start,
                wanted,
                also_needed,
            } => self.drop_below(start, wanted, also_needed),
            Step::Overwrite(records) => self.erase(&records),
            Step::OverwriteReplaced(found) => self.overwrite_replaced(found),
            Step::Expire(endpoints) => self.expire(endpoints),
            Step::Job {
                id,
                ids,
                position,
                done,
            } => {
                let placed = self
                    .push_one(|basis, draft| bulk::job(basis, id, &ids, position, done, draft))?;
                if done && placed.is_durable() {
                    self.shared.jobs_ended.send_modify(|ended| *ended += 1);
                }
                Ok(placed)
            }
            Step::Forget(ids) => self.push_one(|basis, draft| clean::forget(basis, &ids, draft)),
            Step::Erased(ids) => self.push_one(|basis, draft| erase::finish(basis, &ids, draft)),
            Step::Release { no, ids } => {
                self.push_one(|basis, draft| bulk::release(basis, no, &ids, draft))
            }
            Step::MakeDead { reason, deliveries } => {
                self.push_one(|basis, draft| bulk::make_dead(basis, reason, deliveries, draft))
            }
            Step::ForgetEndpoint { no } => {
                self.push_one(|basis, draft| bulk::forget_endpoint(basis, no, draft))
            }
        }
    }

    fn overwrite_replaced(&mut self, found: Vec<(Lsn, Defined)>) -> Result<Placed, WriterError> {
        if self.shared.copies.is_backed_up() {
            return Ok(Placed::StillWanted);
        }
        let records = replaced::those_replaced(&self.index.read(), found)?;
        self.erase(&records)
    }

    /// Without a spare segment, what room there is belongs to outcomes.
    fn expire(&mut self, endpoints: Vec<EndpointNo>) -> Result<Placed, WriterError> {
        match self.limits.is_tight() {
            true => Ok(Placed::NoRoom),
            false => self.push_each(endpoints, endpoint::expire),
        }
    }

    /// Writes events again at the log's head, each as it stands now.
    fn rewrite(&mut self, events: Vec<Moving>) -> Result<Placed, WriterError> {
        let mut draft = self.draft();
        for mut moving in events {
            let behind = self.decide(&mut draft, |basis, _| clean::behind(basis, &moving))?;
            let Some(behind) = behind else { continue };
            for newer in behind {
                match self.catch_up(&mut moving, newer) {
                    Ok(()) => {}
                    // It may be read another time; until then the segment stays.
                    Err(ReadError::Log(_)) => return self.abandon(draft),
                    Err(ReadError::NotThere(_) | ReadError::Damaged(_)) => {}
                }
            }
            self.decide(&mut draft, |basis, draft| {
                clean::rewrite(basis, &moving, draft)
            })?;
        }
        self.commit(draft)
    }

    /// Adds the attempts that were made since the event was read.
    fn catch_up(&self, moving: &mut Moving, newer: Behind) -> Result<(), ReadError> {
        let mut attempts = Vec::new();
        let (id, no) = (moving.id, newer.no);
        let (last, known) = (newer.last_attempt, newer.known);
        let read = attempts_since(&self.shared.log, id, no, last, known, &mut attempts);
        attempts.reverse();
        if let Ok(at) = moving
            .deliveries
            .binary_search_by_key(&no, |found| found.no)
            && let Some(found) = moving.deliveries.get_mut(at)
        {
            found.attempts.append(&mut attempts);
            let over = found.attempts.len().saturating_sub(ATTEMPTS_KEPT);
            found.attempts.drain(..over);
            found.last_attempt = last;
        }
        read
    }

    /// Writes again what else is wanted of the segments below `start`, and drops them if no
    /// row of the index points there.
    fn drop_below(
        &mut self,
        start: Lsn,
        wanted: Wanted,
        also_needed: bool,
    ) -> Result<Placed, WriterError> {
        if start > self.shared.copies.needed_from() && !also_needed {
            return Ok(Placed::StillWanted);
        }
        let endpoints = restate::to_keep(&self.index.read(), wanted.endpoints);
        let specs = &wanted.specs;
        let endpoints: Vec<_> = endpoints.union(specs).copied().collect();
        let placed = self.push_each(endpoints, |basis, no, draft| {
            restate::push(basis, no, specs.contains(&no), draft)
        })?;
        if !placed.is_durable() {
            return Ok(placed);
        }
        let placed = self.push_each(&wanted.sources, |basis, id, draft| {
            source::keep(basis, id, draft)
        })?;
        if !placed.is_durable() {
            return Ok(placed);
        }
        let placed = self.push_each(&wanted.source_counts, |basis, id, draft| {
            source::keep_counts(basis, id, draft)
        })?;
        if !placed.is_durable() {
            return Ok(placed);
        }
        let placed = self.push_one(|basis, draft| {
            erase::keep(basis, &wanted.erased, draft)?;
            kept_keys::keep_keys(basis, wanted.keys, draft)?;
            bulk::keep_jobs(basis, draft)?;
            restate::push_highest(basis, draft)
        })?;
        if !placed.is_durable() {
            return Ok(placed);
        }
        let left = self.index.read().segments.below(start.0);
        if left > 0 {
            tracing::warn!(%start, rows = left, "old segments of the log stay: what they hold is still wanted");
            return Ok(Placed::StillWanted);
        }
        if !self.copies_let_go(start, also_needed) {
            return Ok(Placed::StillWanted);
        }
        match self.log.drop_below(start) {
            Ok(()) => {}
            Err(LogError::NoSpace) => return Ok(Placed::NoRoom),
            Err(error) => return Err(error.into()),
        }
        let mut state = self.index.write();
        state.segments.dropped_below(self.log.start().0);
        state.meta.applied = self.log.end().0;
        drop(state);
        self.note_gauges();
        tracing::debug!(%start, "old segments of the log were deleted");
        Ok(Placed::Durable)
    }

    /// Whether the segments below `start` may go as far as copies elsewhere are concerned. To be
    /// asked after definitions were written again: they are overwritten where they stood, which has
    /// to be shipped. `also_needed`: they go all the same.
    fn copies_let_go(&self, start: Lsn, also_needed: bool) -> bool {
        let copies = &self.shared.copies;
        let is_needed = start > copies.needed_from();
        if is_needed && also_needed {
            copies.cut_below(start);
        }
        // A search of the log comes first, and what it overwrites is shipped.
        let is_erasing = !self.index.read().sums.erasing.is_empty();
        let is_unsure = is_erasing || self.shared.leftovers.may_be_there();
        let is_unsure = is_unsure && copies.are_shipped();
        if is_unsure && also_needed {
            copies.unsure_below(start);
        }
        also_needed || !(is_needed || is_unsure)
    }
}
