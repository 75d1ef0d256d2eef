//! The writer thread: the one owner of the log, and the only one that changes the index.
//!
//! It gathers what waits, has `decide` make a batch of it, makes the batch durable, applies
//! its records to the index, and only then answers. What it applies is decoded from the
//! batch's own bytes, so the live index and a recovery get the same records. A request that
//! touches what an earlier one of the same batch touched waits for the next batch: every decision
//! is made over an index that is up to date.
//!
//! A failed write or fsync of the log ends the process (what a failed fsync left on disk is
//! unknown); so does a panic here. Recovery then decides what is true. A failed index does not:
//! it is built anew.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::endpoint::Endpoint;
use crate::outbox::clock_watch::{self, ClockWatch};
use crate::outbox::committer::{BATCH_BYTES, Committer, Parts, WriterError};
use crate::outbox::decide::limits::Standing;
use crate::outbox::decide::{Basis, Draft, accept, act, bulk, endpoint, outcome, restate};
use crate::outbox::disk_watch::DiskWatch;
use crate::outbox::handle::{Shared, StoreFailure};
use crate::outbox::index::IndexFailure;
use crate::outbox::log::{Log, LogError, Lsn, SpareState};
use crate::outbox::request::{Answer, Outcome, Placed, Request, Step, Test};
use crate::outbox::views::Refused;
use crate::outbox::waiting::{Turn, Waiting};

/// When nothing is committed for this long, a mark proves the last batch.
const IDLE: Duration = Duration::from_millis(250);

/// The writer, before and while its thread runs. A simulation calls `turn` without a thread.
pub struct Writer {
    committer: Committer,
    clock: Arc<dyn Clock>,
    /// The segment in which the endpoints were last written again.
    restated_in: Option<Lsn>,
    waiting: Waiting,
    disk: DiskWatch,
    clocks: ClockWatch,
}

impl Writer {
    pub fn new(parts: Parts) -> Writer {
        Writer {
            clock: parts.shared.clock.clone(),
            committer: Committer::new(parts),
            restated_in: None,
            waiting: Waiting::default(),
            disk: DiskWatch::default(),
            clocks: ClockWatch::default(),
        }
    }

    /// Takes one step of maintenance here and now.
    pub fn take_step(&mut self, step: Step) -> Result<Placed, WriterError> {
        let taken = self.committer.take_step(step);
        self.mended(taken, Placed::NoRoom)
    }

    /// What was done, or `otherwise` if the index failed meanwhile and was built anew.
    fn mended<T>(&mut self, done: Result<T, WriterError>, otherwise: T) -> Result<T, WriterError> {
        match done {
            Err(error) if error.is_mended_by_renewal() => {
                self.committer.renew(&error)?;
                Ok(otherwise)
            }
            done => done,
        }
    }

    /// Moves the index along here and now.
    pub fn flush_index(&self) -> Result<(), IndexFailure> {
        self.committer.flusher.round()
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.committer.shared
    }

    /// Brings the endpoints that the store knows in line with the configuration's, and puts
    /// them and the API's in force. The first thing to do.
    pub fn begin(&mut self, configured: Vec<Endpoint>) -> Result<(), WriterError> {
        let share = self.committer.limits.share;
        self.committer.index.write().share_out(share);
        let mut in_force =
            endpoint::defined(&self.committer.index.read(), &self.committer.defaults)?;
        let mut switched = Vec::new();
        let mut draft = self.committer.draft();
        for endpoint in configured {
            let configured = self.committer.decide(&mut draft, |basis, draft| {
                let configured = restate::configure(basis, &endpoint, draft)?;
                // Its template may be another one than it was before the start.
                bulk::begin_release(basis, configured.no, endpoint.rate_limit, draft)?;
                Ok(configured)
            })?;
            switched.extend(configured.switched);
            in_force.push((configured.no, Arc::new(endpoint)));
        }
        let _ = self.committer.commit(draft)?;
        let present = in_force.iter().map(|(no, _)| *no).collect();
        let missing = restate::missing(&self.committer.index.read(), &present);
        let _ = self.committer.push_each(missing, restate::push_missing)?;
        self.look()?;
        for (no, endpoint) in in_force {
            self.committer.shared.put_in_force(no, Some(endpoint));
        }
        let _ = self.committer.push_one(|basis, draft| {
            restate::report_switched(basis, &switched, draft)?;
            // What these events lead to is read from the index when deliveries begin.
            draft.queued.clear();
            Ok(())
        })?;
        Ok(())
    }

    /// Disables every endpoint, so that nothing of a restored store is delivered.
    pub fn hold_everything(&mut self) -> Result<(), WriterError> {
        let endpoints: Vec<_> = {
            let state = self.committer.index.read();
            state.endpoints.keys().copied().collect()
        };
        match self
            .committer
            .push_each(endpoints, restate::push_disabled)?
        {
            Placed::Durable => Ok(()),
            // Delivering would break what the operator was promised.
            _ => Err(LogError::NoSpace.into()),
        }
    }

    /// Runs until told to stop or until the store fails.
    pub fn run(mut self, requests: &Receiver<Request>) {
        let shared = self.shared().clone();
        shared.renewals.set_served(true);
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve(requests)));
        shared.renewals.set_served(false);
        match outcome {
            Ok(Ok(())) => self.finish(),
            Ok(Err(error)) => self.give_up(&error),
            Err(_) => self.committer.shared.index_failed("the writer panicked"),
        }
    }

    /// Ends the process. If the index is at fault, the next start rebuilds it.
    pub fn give_up(&self, error: &WriterError) {
        match error {
            WriterError::Log(error) => {
                let failure = format!("the store failed: {error}");
                self.committer.shared.fail(StoreFailure(failure));
            }
            _ => self.committer.shared.index_failed(&error.to_string()),
        }
    }

    fn serve(&mut self, requests: &Receiver<Request>) -> Result<(), WriterError> {
        loop {
            self.gather(requests)?;
            if self.turn()? == Turn::Stop {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to commit. Outcomes alone wait a short time for others to
    /// share their commit.
    fn gather(&mut self, requests: &Receiver<Request>) -> Result<(), WriterError> {
        loop {
            while !self.waiting.is_full()
                && let Ok(request) = requests.try_recv()
            {
                self.enqueue(request);
            }
            let now = self.clock.mono();
            let wait = match self.waiting.due(self.committer.limits.is_out()) {
                Some(due) if due <= now => return Ok(()),
                Some(due) => due - now,
                None => IDLE,
            };
            match requests.recv_timeout(wait) {
                Ok(request) => self.enqueue(request),
                Err(RecvTimeoutError::Timeout) if self.waiting.is_empty() => self.idle()?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.enqueue(Request::Stop),
            }
        }
    }

    /// Queues a request for the next turns.
    pub fn enqueue(&mut self, request: Request) {
        self.waiting.push(request, self.clock.mono());
    }

    /// Called when nothing waits: looks at the disk, and proves the last batch.
    pub fn idle(&mut self) -> Result<(), WriterError> {
        let looked = self.look().and_then(|()| self.restate_endpoints());
        self.mended(looked, ())?;
        self.prove()
    }

    /// Proves the last batch with a mark.
    fn prove(&mut self) -> Result<(), WriterError> {
        match self.committer.log.mark() {
            Ok(()) => {}
            // The batch is durable even without a mark.
            Err(LogError::NoSpace) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.committer.index.write().meta.applied = self.committer.log.end().0;
        Ok(())
    }

    /// One batch of what waits, and one step of maintenance.
    pub fn turn(&mut self) -> Result<Turn, WriterError> {
        let taken = self.take_turn();
        self.mended(taken, ())?;
        Ok(self.waiting.turn())
    }

    fn take_turn(&mut self) -> Result<(), WriterError> {
        self.look()?;
        if self.committer.limits.is_tight() {
            // A request that is refused for lack of room must not fail the outcomes of its batch.
            self.store(true, false)?;
            self.store(false, true)?;
        } else {
            self.store(true, true)?;
        }
        if let Some((settings, reply)) = self.waiting.next_settings() {
            let changed = self.committer.reconfigure(*settings)?;
            // The asker may have been stopped meanwhile.
            let _ = reply.send(changed);
        }
        if let Some((step, done)) = self.waiting.next_step() {
            let placed = self.take_step(step)?;
            // The asker may have been stopped meanwhile.
            let _ = done.send(placed);
        }
        self.restate_endpoints()
    }

    /// Makes a batch of waiting outcomes and requests, and commits it. Outcomes for which
    /// there was no room stay in the queue, and are tried again in smaller batches. When the index
    /// fails, the draft is dropped: its requests are refused, and its outcomes wait.
    fn store(&mut self, outcomes: bool, requests: bool) -> Result<(), WriterError> {
        let mut draft = self.committer.draft();
        let mut taken = Vec::new();
        let decided = self.decide(&mut draft, &mut taken, outcomes, requests);
        if decided.is_err() {
            self.committer.refuse(draft, &Refused::IndexBehind);
            for outcome in taken.into_iter().rev() {
                self.waiting.put_back(Box::new(outcome));
            }
            return decided;
        }
        let placed = self.committer.commit(draft)?;
        if !taken.is_empty() {
            let now = self.clock.mono();
            self.waiting.stored(taken, placed.is_durable(), now);
        }
        Ok(())
    }

    fn decide(
        &mut self,
        draft: &mut Draft,
        taken: &mut Vec<Outcome>,
        outcomes: bool,
        requests: bool,
    ) -> Result<(), WriterError> {
        if outcomes {
            self.take_outcomes(draft, taken)?;
        }
        if requests {
            self.take_requests(draft)?;
        }
        Ok(())
    }

    fn take_outcomes(
        &mut self,
        draft: &mut Draft,
        taken: &mut Vec<Outcome>,
    ) -> Result<(), WriterError> {
        let now = self.clock.mono();
        while draft.batch.disk_len() < BATCH_BYTES
            && let Some(outcome) = self.waiting.next_outcome(taken.len(), now)
        {
            if outcome::must_wait(&outcome, draft) {
                self.waiting.put_back(outcome);
                return Ok(());
            }
            let decided = self
                .committer
                .decide(draft, |basis, draft| outcome::store(basis, &outcome, draft));
            taken.push(*outcome);
            decided?;
        }
        Ok(())
    }

    fn take_test(&mut self, test: Box<Test>, draft: &mut Draft) -> Result<(), WriterError> {
        let decide = |basis: &Basis<'_>, draft: &mut Draft| {
            endpoint::test(basis, &test.endpoint, &test.event, draft)
        };
        match self.committer.decide(draft, decide) {
            Ok(answer) => draft.commit.answers.push(Answer::Test(test.reply, answer)),
            Err(error) => {
                self.waiting.put_back_request(Request::Test(test));
                return Err(error);
            }
        }
        Ok(())
    }

    fn take_requests(&mut self, draft: &mut Draft) -> Result<(), WriterError> {
        while draft.batch.disk_len() < BATCH_BYTES
            && let Some(request) = self.waiting.next_request()
        {
            match request {
                Request::Accept {
                    events,
                    filters,
                    reply,
                } => {
                    let decide = |basis: &Basis<'_>, draft: &mut Draft| {
                        accept::accept(basis, &events, &filters, draft)
                    };
                    match self.committer.decide(draft, decide) {
                        Ok(answer) => draft.commit.answers.push(Answer::Accept(reply, answer)),
                        Err(error) => {
                            let again = Request::Accept {
                                events,
                                filters,
                                reply,
                            };
                            self.waiting.put_back_request(again);
                            return Err(error);
                        }
                    }
                }
                Request::Act { action, reply } => {
                    let decide =
                        |basis: &Basis<'_>, draft: &mut Draft| act::act(basis, &action, draft);
                    match self.committer.decide(draft, decide) {
                        Ok(Some(answer)) => draft.commit.answers.push(Answer::Act(reply, answer)),
                        waits_or_failed => {
                            let again = Request::Act { action, reply };
                            self.waiting.put_back_request(again);
                            return waits_or_failed.map(drop);
                        }
                    }
                }
                Request::Test(test) => self.take_test(test, draft)?,
                Request::Begin { job, reply } => {
                    let decide =
                        |basis: &Basis<'_>, draft: &mut Draft| bulk::begin_job(basis, &job, draft);
                    match self.committer.decide(draft, decide) {
                        Ok(answer) => draft.commit.answers.push(Answer::Begin(reply, answer)),
                        Err(error) => {
                            let again = Request::Begin { job, reply };
                            self.waiting.put_back_request(again);
                            return Err(error);
                        }
                    }
                }
                // The asker may have given up.
                Request::Ping(reply) => drop(reply.send(())),
                // These have queues of their own.
                Request::Outcome(_)
                | Request::Maintain { .. }
                | Request::Reconfigure { .. }
                | Request::Stop => {}
            }
        }
        Ok(())
    }

    /// Measures the disk, if the last measurement is old.
    fn look(&mut self) -> Result<(), WriterError> {
        let looked = self.disk.look(&mut self.committer.log, self.clock.mono())?;
        self.committer.look_after_index()?;
        let Some(look) = looked else {
            return Ok(());
        };
        if let Some(jump) = self.clocks.look(self.clock.wall(), self.clock.mono()) {
            clock_watch::report(jump);
        }
        self.committer.limits.note(Standing {
            free: look.free,
            spare: look.spare,
            room: look.room,
            index_behind: self.committer.index.read().entries.bytes_behind(),
        });
        if look.is_news && look.spare == SpareState::Missing {
            let reason = self.committer.limits.refusal();
            tracing::warn!(%reason, "nothing is accepted until there is room for the next segment of the log; what was accepted is delivered");
        } else if look.is_news {
            tracing::info!("there is room again for the next segment of the log");
        }
        self.committer.note_gauges();
        Ok(())
    }

    /// Writes endpoints again, once in each segment and after each start.
    fn restate_endpoints(&mut self) -> Result<(), WriterError> {
        let current = |log: &Log| log.segments().last().copied();
        let Some((base, len)) = current(&self.committer.log) else {
            return Ok(());
        };
        if self.restated_in == Some(base) || self.committer.limits.is_tight() {
            return Ok(());
        }
        let wanted = restate::to_restate(&self.committer.index.read(), len);
        // If there is no room they are written to the next segment.
        let _ = self.committer.push_each(wanted, |basis, no, draft| {
            restate::push(basis, no, false, draft)
        })?;
        self.restated_in = current(&self.committer.log).map(|(base, _)| base);
        Ok(())
    }

    /// A clean stop: everything is proven durable, and the index is whole.
    pub fn finish(mut self) {
        if self.waiting.has_outcomes() {
            tracing::warn!(
                "the disk is full: the outcomes of some attempts could not be stored; these attempts are repeated after the next start"
            );
        }
        if let Err(error) = self.prove() {
            return self.give_up(&error);
        }
        let Committer {
            flusher,
            index,
            shared,
            ..
        } = self.committer;
        if !flusher.stop() {
            if index.read().entries.failure().is_some() {
                // What the failed write left on disk is unknown.
                shared.generations.condemn();
            }
            tracing::warn!("the index was not written out; the next start replays the log");
        }
    }
}
