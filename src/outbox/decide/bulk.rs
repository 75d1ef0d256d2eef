//! Steps over many deliveries: each delivery of a step is judged again here, over an index
//! that is up to date.

use std::collections::BTreeMap;

use crate::domain::delivery::{Delivery, Move, Reason, Status};
use crate::domain::endpoint::{EndpointNo, Rate};
use crate::domain::engine::{Entry, chain_of};
use crate::domain::event::EventId;
use crate::domain::job::JobId;
use crate::domain::time::Timestamp;
use crate::outbox::decide::moved::push_moved;
use crate::outbox::decide::report::{self, Death};
use crate::outbox::decide::{Acts, Basis, DecideError, Draft, replaced};
use crate::outbox::index::choice::Choice;
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::shown::status_shown;
use crate::outbox::index::{PagesError, keys};
use crate::outbox::record::{self, JobRow, JobWork, MovedStep, Record, StepRow, reason_number};
use crate::outbox::request::{NewJob, Notice};
use crate::outbox::views::ActRefused;

/// How many deliveries a change of their endpoint lets go in a second, if it has no rate limit.
const RELEASE_RATE: f64 = 100.0;
/// How many jobs may be under way.
const JOBS_MAX: usize = 100;

/// A delivery and what of its event a step needs.
struct Found {
    delivery: Delivery,
    /// As it is shown.
    status: Status,
    lsn: u64,
    /// That of the event's key.
    chain: u64,
    deliver_at: Option<Timestamp>,
}

/// Adds a new job and returns its name.
pub fn begin_job(
    basis: &Basis<'_>,
    job: &NewJob,
    draft: &mut Draft,
) -> Result<Result<JobId, ActRefused>, DecideError> {
    let (no, state) = (job.choice.no, basis.state);
    let known = state.endpoints.get(&no);
    if known.is_none_or(|stored| stored.deleted.is_some()) {
        return Ok(Err(ActRefused::NoSuchEndpoint));
    }
    let (mut count, mut highest) = (0, 0);
    let end = keys::end_of(keys::JOBS);
    for entry in state.entries.scan(keys::JOBS, &end, false) {
        let (_, bytes) = entry?;
        let row: JobRow<'_> = rows::decode(&bytes)?;
        (count, highest) = (count + 1, highest.max(row.no));
    }
    if count + draft.jobs as usize >= JOBS_MAX {
        return Ok(Err(ActRefused::TooManyJobs));
    }
    draft.jobs += 1;
    let number = highest.saturating_add(draft.jobs);
    let types: Vec<String> = job.choice.types.iter().map(ToString::to_string).collect();
    let statuses = job.choice.statuses.iter();
    let row = JobRow {
        no: number,
        endpoint: no.0,
        work: job.work,
        statuses: statuses
            .map(|status| record::status_number(*status))
            .collect(),
        types: types.iter().map(String::as_str).collect(),
        since: job.choice.since.map(Timestamp::as_millis),
        until: job.choice.until.map(Timestamp::as_millis),
        position: job.first,
        last: job.choice.last,
        rate: job.rate.to_bits(),
        done: false,
        created_at: basis.now.as_millis(),
        matched: job.matched,
        taken: 0,
    };
    let id = row.id();
    draft.push(&Record::Job(row), &[])?;
    Ok(Ok(id))
}

/// Adds a job that lets go of what could not be rendered at an endpoint, if there is any. It
/// replaces one that is under way, under a number of its own: a step that was planned for the old
/// one finds none, and cannot move the new one on.
pub fn begin_release(
    basis: &Basis<'_>,
    no: EndpointNo,
    rate_limit: Option<Rate>,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let rate = rate_limit.map_or(RELEASE_RATE, |rate| rate.per_second);
    let known = basis.state.endpoints.get(&no);
    let unrendered = known.map_or(0, |stored| stored.totals.unrendered);
    if unrendered == 0 {
        return Ok(());
    }
    let (mut highest, mut own) = (0, None);
    let end = keys::end_of(keys::JOBS);
    for entry in basis.state.entries.scan(keys::JOBS, &end, false) {
        let (_, bytes) = entry?;
        let row: JobRow<'_> = rows::decode(&bytes)?;
        highest = highest.max(row.no);
        if row.work == JobWork::Release && row.endpoint == no.0 {
            own = Some(bytes.into_owned());
        }
    }
    if let Some(bytes) = own {
        let row = JobRow {
            done: true,
            ..rows::decode(&bytes)?
        };
        draft.push(&Record::Job(row), &[])?;
    }
    draft.jobs += 1;
    let number = highest.saturating_add(draft.jobs);
    let row = JobRow {
        no: number,
        endpoint: no.0,
        work: JobWork::Release,
        statuses: vec![record::status_number(Status::Held)],
        types: Vec::new(),
        since: None,
        until: None,
        position: 0,
        last: draft.last_id,
        rate: rate.to_bits(),
        done: false,
        created_at: basis.now.as_millis(),
        matched: unrendered,
        taken: 0,
    };
    draft.push(&Record::Job(row), &[])?;
    Ok(())
}

/// What a batch of a job does, by what becomes of the deliveries.
#[derive(Default)]
struct JobBatch {
    retried: Vec<u128>,
    released: Vec<u128>,
    cancelled: Vec<u128>,
    removed: Vec<u128>,
    deaths: Vec<Death>,
}

/// Cancels a job. Deliveries that it has not processed stay as they are.
pub fn cancel_job(basis: &Basis<'_>, id: JobId, draft: &mut Draft) -> Acts {
    let Some(bytes) = basis.state.entries.get(&keys::job(id.no))? else {
        return Ok(Some(Err(ActRefused::NoSuchJob)));
    };
    let row: JobRow<'_> = rows::decode(&bytes)?;
    if row.id() != id {
        return Ok(Some(Err(ActRefused::NoSuchJob)));
    }
    let row = JobRow { done: true, ..row };
    draft.push(&Record::Job(row), &[])?;
    Ok(Some(Ok(())))
}

/// These deliveries take the job's step; it goes on at `position`, or is done.
pub fn job(
    basis: &Basis<'_>,
    id: JobId,
    ids: &[EventId],
    position: u128,
    done: bool,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let Some(bytes) = basis.state.entries.get(&keys::job(id.no))? else {
        return Ok(());
    };
    let row: JobRow<'_> = rows::decode(&bytes)?;
    if row.id() != id {
        // The job was cancelled, and another one has its number.
        return Ok(());
    }
    let choice = Choice::of(&row)?;
    let no = choice.no;
    let mut batch = JobBatch::default();
    for id in ids {
        let found = find(basis, no, *id)?;
        let Some(found) = found.filter(|found| choice.statuses.contains(&found.status)) else {
            continue;
        };
        match row.work {
            JobWork::Replay => replay(basis, no, *id, &found, &mut batch, draft),
            JobWork::Purge => purge(no, *id, &found, &mut batch, draft),
            JobWork::Release => release_unrendered(no, *id, &found, &mut batch, basis.now, draft),
        }
    }
    let taken = batch.taken();
    let at = basis.now.as_millis();
    let reason = reason_number(Reason::Cancelled);
    push_moved(
        no,
        MovedStep::Take(StepRow::Retry { at }),
        batch.retried,
        draft,
    )?;
    push_moved(
        no,
        MovedStep::Take(StepRow::Release { at }),
        batch.released,
        draft,
    )?;
    let die = MovedStep::Take(StepRow::Die { at, reason });
    push_moved(no, die, batch.cancelled, draft)?;
    push_moved(no, MovedStep::Remove, batch.removed, draft)?;
    report_all(basis, batch.deaths, draft)?;
    if done {
        log_job_ended(basis, no, id, row.work, draft);
    }
    let row = JobRow {
        position,
        done,
        taken: row.taken.saturating_add(taken),
        ..row
    };
    draft.push(&Record::Job(row), &[])?;
    Ok(())
}

impl JobBatch {
    /// How many deliveries it processes.
    fn taken(&self) -> u64 {
        let all = [
            &self.retried,
            &self.released,
            &self.cancelled,
            &self.removed,
        ];
        all.map(|ids| ids.len() as u64).iter().sum()
    }
}

fn replay(
    basis: &Basis<'_>,
    no: EndpointNo,
    id: EventId,
    found: &Found,
    batch: &mut JobBatch,
    draft: &mut Draft,
) {
    let now = basis.now;
    if found.delivery.after(Move::Retry { at: now }).is_ok() {
        batch.retried.push(id.0);
        draft.tell(found.queued(no, id, now, false));
    }
}

fn release_unrendered(
    no: EndpointNo,
    id: EventId,
    found: &Found,
    batch: &mut JobBatch,
    now: Timestamp,
    draft: &mut Draft,
) {
    let is_unrendered = found.delivery.reason == Some(Reason::Template);
    if is_unrendered && found.delivery.after(Move::Release { at: now }).is_ok() {
        batch.released.push(id.0);
        draft.tell(found.queued(no, id, now, false));
    }
}

fn purge(no: EndpointNo, id: EventId, found: &Found, batch: &mut JobBatch, draft: &mut Draft) {
    match found.delivery.status {
        Status::Pending | Status::Held => {
            batch.cancelled.push(id.0);
            batch.deaths.push(Death {
                event: id,
                no,
                reason: Reason::Cancelled,
                attempt_count: found.delivery.attempt_count,
            });
            draft.tell(found.withdrawn(no, id));
        }
        Status::Dead => batch.removed.push(id.0),
        Status::Delivered => {}
    }
}

fn log_job_ended(basis: &Basis<'_>, no: EndpointNo, job: JobId, work: JobWork, draft: &mut Draft) {
    let stored = basis.state.endpoints.get(&no);
    let endpoint = stored.map(|stored| stored.id.clone());
    let work = work.as_str();
    draft.log(move || {
        let endpoint = endpoint.as_ref().map(|id| id.as_str());
        tracing::info!(endpoint, %job, work, "job ended");
    });
}

/// These deliveries, held for the backlog, are pending from now on.
pub fn release(
    basis: &Basis<'_>,
    no: EndpointNo,
    ids: &[EventId],
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let stored = basis.state.endpoints.get(&no);
    if !stored.is_some_and(|stored| stored.is_taking()) {
        return Ok(());
    }
    let now = basis.now;
    let mut released = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(found) = find(basis, no, *id)? else {
            continue;
        };
        let is_backlog = found.delivery.reason == Some(Reason::Backlog);
        if is_backlog && found.delivery.after(Move::Release { at: now }).is_ok() {
            released.push(id.0);
            let due = found.deliver_at.map_or(now, |asked| asked.max(now));
            draft.tell(found.queued(no, *id, due, due > now));
        }
    }
    let at = now.as_millis();
    push_moved(
        no,
        MovedStep::Take(StepRow::Release { at }),
        released,
        draft,
    )
}

/// A delivery that is held once the records before this one are applied is pending again.
pub fn release_one(
    basis: &Basis<'_>,
    no: EndpointNo,
    id: EventId,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let now = basis.now;
    let Some(found) = find(basis, no, id)? else {
        return Ok(());
    };
    draft.tell(found.queued(no, id, now, false));
    let at = now.as_millis();
    let step = MovedStep::Take(StepRow::Release { at });
    push_moved(no, step, vec![id.0], draft)
}

/// These open deliveries are dead from now on, if they are still shown as they have to be.
pub fn make_dead(
    basis: &Basis<'_>,
    reason: Reason,
    deliveries: Vec<(EndpointNo, EventId)>,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let mut dying: BTreeMap<EndpointNo, Vec<u128>> = BTreeMap::new();
    let mut deaths = Vec::new();
    for (no, event) in deliveries {
        let Some(found) = find(basis, no, event)? else {
            continue;
        };
        let open = matches!(found.delivery.status, Status::Pending | Status::Held);
        // A deleted endpoint's open deliveries are shown dead already.
        let wanted = match reason {
            Reason::EndpointDeleted => found.status == Status::Dead,
            _ => found.status == Status::Held,
        };
        if !open || !wanted {
            continue;
        }
        dying.entry(no).or_default().push(event.0);
        draft.tell(found.withdrawn(no, event));
        deaths.push(Death {
            event,
            no,
            reason,
            attempt_count: found.delivery.attempt_count,
        });
    }
    for (no, ids) in dying {
        let stored = basis.state.endpoints.get(&no);
        let at = stored.and_then(|stored| stored.deleted);
        let step = StepRow::Die {
            at: at.unwrap_or(basis.now.as_millis()),
            reason: reason_number(reason),
        };
        push_moved(no, MovedStep::Take(step), ids, draft)?;
    }
    if reason == Reason::Space {
        draft.space_deaths = deaths.len() as u64;
    }
    report_all(basis, deaths, draft)
}

fn report_all(basis: &Basis<'_>, deaths: Vec<Death>, draft: &mut Draft) -> Result<(), DecideError> {
    let mut deaths = deaths.into_iter();
    deaths.try_for_each(|death| report::dead(basis, death, draft))
}

/// Forgets a deleted endpoint of which no delivery is left.
pub fn forget_endpoint(
    basis: &Basis<'_>,
    no: EndpointNo,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let gone = basis.state.endpoints.get(&no).is_some_and(|stored| {
        let totals = &stored.totals;
        let left = totals.pending + totals.held + totals.delivered + totals.dead;
        stored.deleted.is_some() && left == 0
    });
    if gone {
        replaced::endpoint(basis, no, draft)?;
        draft.push(&Record::EndpointForgotten(no.0), &[])?;
    }
    Ok(())
}

/// Writes all jobs again, as they stand.
pub fn keep_jobs(basis: &Basis<'_>, draft: &mut Draft) -> Result<(), DecideError> {
    let end = keys::end_of(keys::JOBS);
    for entry in basis.state.entries.scan(keys::JOBS, &end, false) {
        let (_, bytes) = entry?;
        draft.push(&Record::Job(rows::decode(&bytes)?), &[])?;
    }
    Ok(())
}

fn find(basis: &Basis<'_>, no: EndpointNo, id: EventId) -> Result<Option<Found>, DecideError> {
    let state = basis.state;
    let (Some(row), Some(stored)) = (state.delivery_row(id, no)?, state.endpoints.get(&no)) else {
        return Ok(None);
    };
    let Some(bytes) = state.entries.get(&keys::event(id))? else {
        return Ok(None);
    };
    let event: EventRow<'_> = rows::decode(&bytes)?;
    Ok(Some(Found {
        delivery: row.delivery().ok_or(PagesError::Damaged)?,
        status: status_shown(&row, stored)?,
        lsn: event.lsn,
        chain: chain_of(event.key),
        deliver_at: event.deliver_at.map(Timestamp::from_millis),
    }))
}

impl Found {
    fn withdrawn(&self, no: EndpointNo, event: EventId) -> Notice {
        let chain = self.chain;
        Notice::Withdrawn { no, event, chain }
    }

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
