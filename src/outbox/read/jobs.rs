//! The jobs under way.

use crate::domain::endpoint::EndpointNo;
use crate::domain::job::JobId;
use crate::outbox::handle::Outbox;
use crate::outbox::index::choice::Choice;
use crate::outbox::index::rows;
use crate::outbox::index::{PagesError, State, keys};
use crate::outbox::record::JobRow;
use crate::outbox::views::{ActRefused, Action, JobView, ReadError, Selection};

use super::range::{Piece, Range, Row};

impl Outbox {
    /// Jobs in the order of their numbers, past `after`, and whether there are more. Reads the
    /// index: callers on the runtime use `spawn_blocking`.
    pub fn jobs(
        &self,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<(Vec<JobView>, bool), ReadError> {
        let from = after.map_or(0, |after| after.no.saturating_add(1));
        let mut range = Range::forward(keys::job(from), keys::end_of(keys::JOBS));
        let mut found = Vec::new();
        loop {
            let known = found.len();
            let piece = self.reliably(|| {
                found.truncate(known);
                let hold = self.shared.index.read();
                range.advance(&hold, |_, value| {
                    if found.len() >= limit {
                        return Ok(Row::Left);
                    }
                    found.extend(view(&hold, value)?);
                    Ok(Row::Taken)
                })
            });
            match piece? {
                Piece::Spent => {}
                piece => return Ok((found, piece == Piece::Enough)),
            }
        }
    }

    /// One job. Reads the index: callers on the runtime use `spawn_blocking`.
    pub fn job_named(&self, id: JobId) -> Result<JobView, ReadError> {
        let found = self.reliably(|| {
            let hold = self.shared.index.read();
            let Some(bytes) = hold.entries.get(&keys::job(id.no))? else {
                return Ok(None);
            };
            Ok(view(&hold, &bytes)?.filter(|job| job.id == id))
        });
        found?.ok_or(ReadError::NoSuchJob)
    }

    /// Cancels a job; durable when it returns. Deliveries that it has not processed stay as they
    /// are.
    pub async fn cancel_job(&self, id: JobId) -> Result<(), ActRefused> {
        self.act(Action::CancelJob { id }).await?;
        tracing::info!(job = %id, "job cancelled");
        self.shared.jobs_ended.send_modify(|ended| *ended += 1);
        Ok(())
    }
}

/// `None` if its endpoint is deleted, so that the job is about to end.
fn view(state: &State, bytes: &[u8]) -> Result<Option<JobView>, ReadError> {
    let row: JobRow<'_> = rows::decode(bytes).map_err(|_| PagesError::Damaged)?;
    let choice = Choice::of(&row)?;
    let Some(stored) = state.endpoints.get(&EndpointNo(row.endpoint)) else {
        return Ok(None);
    };
    let rate = f64::from_bits(row.rate);
    Ok(Some(JobView {
        id: row.id(),
        work: row.work,
        endpoint: stored.id.clone(),
        tenant: stored.tenant.clone(),
        selection: Selection {
            statuses: choice.statuses,
            types: choice.types,
            since: choice.since,
            until: choice.until,
        },
        rate: (rate > 0.0).then_some(rate),
        matched: row.matched,
        done: row.taken,
    }))
}
