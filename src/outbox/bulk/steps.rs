//! The writer's side: each delivery of a batch is judged again here, over an index that
//! is up to date, and the batch is a frame of its own.

use std::collections::BTreeMap;

use crate::domain::delivery::{Delivery, Move, Reason, Status};
use crate::domain::endpoint::EndpointNo;
use crate::domain::engine::{Entry, chain_of};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::bulk::{Choice, NewJob, status_shown};
use crate::outbox::commit::Notice;
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::{PagesError, keys};
use crate::outbox::record::{
    self, JobRow, JobWork, Moved, MovedStep, Record, StepRow, reason_number,
};
use crate::outbox::report::Death;
use crate::outbox::view::ActRefused;
use crate::outbox::writer::{Draft, Writer, WriterError};

/// How many jobs may be under way.
const JOBS_MAX: usize = 100;

/// A batch for the writer.
#[derive(Debug)]
pub(in crate::outbox) enum BulkStep {
    /// These deliveries take the job's step; it goes on at `position`, or is done.
    Job {
        no: u32,
        ids: Vec<EventId>,
        position: u128,
        done: bool,
    },
    /// Held for the backlog, and pending from now on.
    Release { no: EndpointNo, ids: Vec<EventId> },
    /// Open, and dead from now on.
    Bury {
        reason: Reason,
        deliveries: Vec<(EndpointNo, EventId)>,
    },
    /// A deleted endpoint of which no delivery is left.
    Forget { no: EndpointNo },
}

/// A delivery in hand.
struct Held {
    delivery: Delivery,
    /// As it is shown.
    status: Status,
    lsn: u64,
    /// That of the event's key.
    chain: u64,
    deliver_at: Option<Timestamp>,
}

impl Writer {
    /// Takes one batch; whether it is durable.
    pub(in crate::outbox) fn bulk(&mut self, step: BulkStep) -> Result<bool, WriterError> {
        let mut draft = self.draft();
        let mut ended = false;
        match step {
            BulkStep::Job {
                no,
                ids,
                position,
                done,
            } => {
                ended = done;
                self.job_batch(no, &ids, position, done, &mut draft)?;
            }
            BulkStep::Release { no, ids } => self.release(no, &ids, &mut draft)?,
            BulkStep::Bury { reason, deliveries } => self.bury(reason, deliveries, &mut draft)?,
            BulkStep::Forget { no } => self.forget_endpoint(no)?,
        }
        if self.frame.is_empty() {
            return Ok(true);
        }
        let before = self.log.end();
        self.commit(draft)?;
        let durable = self.log.end() > before;
        if durable && ended {
            self.shared.jobs_ended.send_modify(|ended| *ended += 1);
        }
        Ok(durable)
    }

    /// Adds a new job to the frame; its number.
    pub(in crate::outbox) fn begin_job(
        &mut self,
        job: &NewJob,
        draft: &mut Draft,
    ) -> Result<Result<u32, ActRefused>, WriterError> {
        let no = job.choice.no;
        let (known, count, highest) = {
            let state = self.index.read();
            let known = state
                .lanes
                .get(&no)
                .is_some_and(|lane| lane.deleted.is_none());
            let (mut count, mut highest) = (0, 0);
            let end = keys::end_of(keys::JOBS);
            for entry in state.entries.scan(keys::JOBS, &end, false) {
                let (_, bytes) = entry?;
                let row: JobRow<'_> = rows::decode(&bytes)?;
                (count, highest) = (count + 1, highest.max(row.no));
            }
            (known, count, highest)
        };
        if !known {
            return Ok(Err(ActRefused::NoSuchEndpoint));
        }
        if count + draft.jobs as usize >= JOBS_MAX {
            return Ok(Err(ActRefused::TooManyJobs));
        }
        draft.jobs += 1;
        let number = highest.saturating_add(draft.jobs);
        let types: Vec<String> = job.choice.types.iter().map(ToString::to_string).collect();
        let statuses = job.choice.statuses.iter();
        self.push(
            &Record::Job(JobRow {
                no: number,
                endpoint: no.0,
                work: job.work,
                statuses: statuses
                    .map(|status| record::status_number(*status))
                    .collect(),
                types: types.iter().map(String::as_str).collect(),
                position: job.first,
                last: job.choice.last,
                rate: job.rate.to_bits(),
                done: false,
            }),
            &[],
        )?;
        Ok(Ok(number))
    }

    fn job_batch(
        &mut self,
        number: u32,
        ids: &[EventId],
        position: u128,
        done: bool,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        let found = self
            .index
            .read()
            .entries
            .get(&keys::job(number))?
            .map(|row| row.into_owned());
        let Some(bytes) = found else { return Ok(()) };
        let row: JobRow<'_> = rows::decode(&bytes)?;
        let choice = Choice::of(&row)?;
        let no = choice.no;
        let now = self.now();
        let (mut retried, mut cancelled, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        let mut deaths = Vec::new();
        for id in ids {
            let Some(held) = self.in_hand(no, *id)? else {
                continue;
            };
            if !choice.statuses.contains(&held.status) {
                continue;
            }
            match (row.work, held.delivery.status) {
                (JobWork::Replay, _) => {
                    if held.delivery.after(Move::Retry { at: now }).is_ok() {
                        retried.push(id.0);
                        draft.commit.notices.push(held.queued(no, *id, now, false));
                    }
                }
                (JobWork::Purge, Status::Pending | Status::Held) => {
                    cancelled.push(id.0);
                    deaths.push(Death {
                        event: *id,
                        no,
                        reason: Reason::Cancelled,
                        attempt_count: held.delivery.attempt_count,
                    });
                    draft
                        .commit
                        .notices
                        .push(Notice::Withdrawn { no, event: *id });
                }
                (JobWork::Purge, Status::Dead) => removed.push(id.0),
                (JobWork::Purge, Status::Delivered) => {}
            }
        }
        let at = now.as_millis();
        let reason = reason_number(Reason::Cancelled);
        self.push_moved(no, MovedStep::Take(StepRow::Retry { at }), retried)?;
        self.push_moved(no, MovedStep::Take(StepRow::Die { at, reason }), cancelled)?;
        self.push_moved(no, MovedStep::Remove, removed)?;
        self.report_all(deaths, draft)?;
        let row = JobRow {
            position,
            done,
            ..row
        };
        if done {
            self.note_job_ended(no, number, row.work);
        }
        self.push(&Record::Job(row), &[])?;
        Ok(())
    }

    fn note_job_ended(&self, no: EndpointNo, job: u32, work: JobWork) {
        let endpoint = self.index.read().lanes.get(&no).map(|lane| lane.id.clone());
        let endpoint = endpoint.as_ref().map(|id| id.as_str());
        let work = match work {
            JobWork::Replay => "replay",
            JobWork::Purge => "purge",
        };
        tracing::info!(endpoint, job, work, "job ended");
    }

    fn release(
        &mut self,
        no: EndpointNo,
        ids: &[EventId],
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        let taking = self
            .index
            .read()
            .lanes
            .get(&no)
            .is_some_and(|lane| lane.is_taking());
        if !taking {
            return Ok(());
        }
        let now = self.now();
        let mut released = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(held) = self.in_hand(no, *id)? else {
                continue;
            };
            if held.delivery.after(Move::Release { at: now }).is_ok() {
                released.push(id.0);
                let due = held.deliver_at.map_or(now, |asked| asked.max(now));
                draft
                    .commit
                    .notices
                    .push(held.queued(no, *id, due, due > now));
            }
        }
        let at = now.as_millis();
        self.push_moved(no, MovedStep::Take(StepRow::Release { at }), released)
    }

    fn bury(
        &mut self,
        reason: Reason,
        deliveries: Vec<(EndpointNo, EventId)>,
        draft: &mut Draft,
    ) -> Result<(), WriterError> {
        let now = self.now();
        let mut dying: BTreeMap<EndpointNo, Vec<u128>> = BTreeMap::new();
        let mut deaths = Vec::new();
        for (no, event) in deliveries {
            let Some(held) = self.in_hand(no, event)? else {
                continue;
            };
            let open = matches!(held.delivery.status, Status::Pending | Status::Held);
            // A deleted endpoint's open deliveries are shown dead already.
            let wanted = match reason {
                Reason::EndpointDeleted => held.status == Status::Dead,
                _ => held.status == Status::Held,
            };
            if !open || !wanted {
                continue;
            }
            dying.entry(no).or_default().push(event.0);
            draft.commit.notices.push(Notice::Withdrawn { no, event });
            deaths.push(Death {
                event,
                no,
                reason,
                attempt_count: held.delivery.attempt_count,
            });
        }
        for (no, ids) in dying {
            let lanes = self
                .index
                .read()
                .lanes
                .get(&no)
                .and_then(|lane| lane.deleted);
            let at = lanes.unwrap_or(now.as_millis());
            let step = StepRow::Die {
                at,
                reason: reason_number(reason),
            };
            self.push_moved(no, MovedStep::Take(step), ids)?;
        }
        if reason == Reason::Space {
            draft.space_deaths = deaths.len() as u64;
        }
        self.report_all(deaths, draft)
    }

    fn report_all(&mut self, deaths: Vec<Death>, draft: &mut Draft) -> Result<(), WriterError> {
        let mut deaths = deaths.into_iter();
        deaths.try_for_each(|death| self.report_dead(death, draft))
    }

    fn forget_endpoint(&mut self, no: EndpointNo) -> Result<(), WriterError> {
        let gone = {
            let state = self.index.read();
            state.lanes.get(&no).is_some_and(|lane| {
                let totals = &lane.totals;
                let left = totals.pending + totals.held + totals.delivered + totals.dead;
                lane.deleted.is_some() && left == 0
            })
        };
        if gone {
            self.push(&Record::EndpointForgotten(no.0), &[])?;
        }
        Ok(())
    }

    /// Writes all jobs again, as they stand.
    pub(in crate::outbox) fn keep_jobs(&mut self) -> Result<(), WriterError> {
        let rows: Vec<Vec<u8>> = {
            let state = self.index.read();
            let end = keys::end_of(keys::JOBS);
            let jobs = state.entries.scan(keys::JOBS, &end, false);
            jobs.map(|entry| Ok(entry?.1.into_owned()))
                .collect::<Result<_, PagesError>>()?
        };
        for bytes in &rows {
            self.push(&Record::Job(rows::decode(bytes)?), &[])?;
        }
        Ok(())
    }

    /// Holds what this frame accepted beyond its endpoints' shares. Its records come after
    /// those of the events.
    pub(in crate::outbox) fn hold_back(&mut self, draft: &mut Draft) -> Result<(), WriterError> {
        let reason = reason_number(Reason::Backlog);
        for (no, ids) in std::mem::take(&mut draft.backlog) {
            self.push_moved(no, MovedStep::Take(StepRow::Hold { reason }), ids)?;
        }
        Ok(())
    }

    fn push_moved(
        &mut self,
        no: EndpointNo,
        step: MovedStep,
        ids: Vec<u128>,
    ) -> Result<(), WriterError> {
        if !ids.is_empty() {
            let endpoint = no.0;
            let moved = Moved {
                endpoint,
                step,
                ids,
            };
            self.push(&Record::Moved(moved), &[])?;
        }
        Ok(())
    }

    fn in_hand(&self, no: EndpointNo, id: EventId) -> Result<Option<Held>, WriterError> {
        let state = self.index.read();
        let (Some(row), Some(lane)) = (state.delivery_row(id, no)?, state.lanes.get(&no)) else {
            return Ok(None);
        };
        let Some(bytes) = state.entries.get(&keys::event(id))? else {
            return Ok(None);
        };
        let event: EventRow<'_> = rows::decode(&bytes)?;
        Ok(Some(Held {
            delivery: row.delivery().ok_or(PagesError::Damaged)?,
            status: status_shown(&row, lane)?,
            lsn: event.lsn,
            chain: chain_of(event.key),
            deliver_at: event.deliver_at.map(Timestamp::from_millis),
        }))
    }
}

impl Held {
    /// It is pending from now on, with a fresh budget.
    fn queued(&self, no: EndpointNo, event: EventId, due: Timestamp, exact: bool) -> Notice {
        Notice::Queued {
            no,
            entry: Entry {
                event,
                lsn: self.lsn,
                due,
                exact,
                tries: 0,
                budget_from: due,
                chain: self.chain,
            },
            content: None,
        }
    }
}
