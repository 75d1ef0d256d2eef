//! What the rest of the daemon asks for: to count, replay, purge and erase.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::delivery::Status;
use crate::domain::endpoint::{EndpointId, EndpointNo, Rate};
use crate::domain::event::EventId;
use crate::outbox::decide::ids::first_of;
use crate::outbox::handle::Outbox;
use crate::outbox::index::choice::Choice;
use crate::outbox::record::JobWork;
use crate::outbox::request::{NewJob, Request};
use crate::outbox::views::{ActRefused, Action, Begun, ReadError, Refused, Selection};

/// How long a purge is waited for: what comes after is likely to look at what it did.
pub(in crate::outbox) const PURGE_WAIT: Duration = Duration::from_secs(5);
/// The rate of a replay that names none, in deliveries a second.
const REPLAY_RATE: f64 = 100.0;

impl Outbox {
    /// How many deliveries of the endpoint are chosen now; without statuses all of them.
    /// Reads the index, a piece at a time: callers on the runtime use `spawn_blocking`.
    pub fn count(&self, endpoint: &EndpointId, selection: &Selection) -> Result<u64, ReadError> {
        let (choice, first) = self.choice(endpoint, selection, &Status::ALL)?;
        self.reliably(|| self.counted(&choice, first))
    }

    /// Makes the chosen deliveries pending again, `rate` at a time (100/s if `None`), each
    /// with a fresh retry budget: the dead ones if `selection` names no status; pending and
    /// held ones are left alone. How many there are; it is durable that all of them will be.
    pub async fn replay(
        &self,
        endpoint: &EndpointId,
        selection: Selection,
        rate: Option<Rate>,
    ) -> Result<Begun, ActRefused> {
        let rate = rate.map_or(REPLAY_RATE, |rate| rate.per_second);
        let statuses = [Status::Dead];
        let begun = self
            .begin(JobWork::Replay, endpoint, selection, &statuses, rate)
            .await?;
        if let Begun {
            matched,
            job: Some(job),
        } = begun
        {
            tracing::info!(%endpoint, %job, matched, rate, "replay began");
        }
        Ok(begun)
    }

    /// Makes the chosen pending and held deliveries dead, reason `cancelled`, and lets the
    /// dead ones go; all three if `selection` names no status. How many there are; it is
    /// durable that all of them will be. Waits up to 5 s until they are.
    pub async fn purge(
        &self,
        endpoint: &EndpointId,
        selection: Selection,
    ) -> Result<Begun, ActRefused> {
        let statuses = [Status::Pending, Status::Held, Status::Dead];
        let mut ended = self.shared.jobs_ended.subscribe();
        let begun = self
            .begin(JobWork::Purge, endpoint, selection, &statuses, 0.0)
            .await?;
        let Begun {
            matched,
            job: Some(job),
        } = begun
        else {
            return Ok(begun);
        };
        tracing::info!(%endpoint, %job, matched, "purge began");
        let gone = async {
            loop {
                ended.borrow_and_update();
                let outbox = self.clone();
                let known = tokio::task::spawn_blocking(move || outbox.job_named(job));
                let is_known = matches!(known.await, Ok(Ok(_)));
                if !is_known || ended.changed().await.is_err() {
                    return;
                }
            }
        };
        // Past the wait it goes on all the same.
        let _ = tokio::time::timeout(PURGE_WAIT, gone).await;
        Ok(begun)
    }

    /// Erases an event: from now on no answer shows its body or attempts, and its open
    /// deliveries are cancelled. Durable when it returns; the bytes on disk are overwritten
    /// within minutes. Again: nothing more happens.
    pub async fn erase(&self, event: EventId) -> Result<(), ActRefused> {
        self.act(Action::Erase { event }).await
    }

    /// Counts, and begins the job if there is something to do.
    async fn begin(
        &self,
        work: JobWork,
        endpoint: &EndpointId,
        selection: Selection,
        statuses: &[Status],
        rate: f64,
    ) -> Result<Begun, ActRefused> {
        let (outbox, endpoint) = (self.clone(), endpoint.clone());
        let statuses = statuses.to_vec();
        let counting = tokio::task::spawn_blocking(move || {
            let selection = Selection {
                statuses: match selection.statuses.as_slice() {
                    [] => statuses,
                    named => named.to_vec(),
                },
                ..selection
            };
            let mut job = outbox.job(work, &endpoint, &selection, rate)?;
            job.matched = outbox.reliably(|| outbox.counted(&job.choice, job.first))?;
            Ok::<_, ReadError>(job)
        });
        let counted = counting.await.map_err(|_| ActRefused::ShuttingDown)?;
        let job = counted?;
        let matched = job.matched;
        if matched == 0 {
            return Ok(Begun { matched, job: None });
        }
        let gone = || match self.gone() {
            Refused::Failed => ActRefused::Failed,
            _ => ActRefused::ShuttingDown,
        };
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Begin { job, reply })
            .map_err(|_| gone())?;
        let job = answer.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Begun {
            matched,
            job: Some(job),
        })
    }

    /// A replay or purge of what `selection` chooses, to be begun.
    pub fn job(
        &self,
        work: JobWork,
        endpoint: &EndpointId,
        selection: &Selection,
        rate: f64,
    ) -> Result<NewJob, ReadError> {
        let (mut choice, first) = self.choice(endpoint, selection, &[])?;
        if work == JobWork::Replay {
            choice
                .statuses
                .retain(|status| matches!(status, Status::Dead | Status::Delivered));
        }
        Ok(NewJob {
            work,
            choice,
            first,
            rate,
            matched: 0,
        })
    }

    fn choice(
        &self,
        endpoint: &EndpointId,
        selection: &Selection,
        statuses: &[Status],
    ) -> Result<(Choice, u128), ReadError> {
        let state = self.shared.index.read();
        let known = state.endpoint_named(endpoint);
        let (no, _) = known
            .filter(|(_, stored)| stored.deleted.is_none())
            .ok_or(ReadError::NoSuchEndpoint)?;
        // Ids may be ahead of the times of their events: each one's own time decides.
        let ahead = Duration::from_millis(state.meta.ids_ahead);
        let past = selection
            .until
            .map_or(u128::MAX, |until| first_of(until + ahead).0);
        let choice = Choice {
            no,
            statuses: match selection.statuses.as_slice() {
                [] => statuses.to_vec(),
                named => named.to_vec(),
            },
            types: selection.types.clone(),
            since: selection.since,
            until: selection.until,
            last: past.saturating_sub(1).min(state.meta.last_id),
        };
        Ok((choice, selection.since.map_or(0, |since| first_of(since).0)))
    }

    fn counted(&self, choice: &Choice, first: u128) -> Result<u64, ReadError> {
        let (mut count, mut next) = (0, Some(first));
        let mut found = Vec::new();
        while let Some(position) = next {
            let state = self.shared.index.read();
            let Some(stored) = endpoint_of(&state, choice.no) else {
                return Err(ReadError::NoSuchEndpoint);
            };
            next = choice.walk(&state, stored, position, usize::MAX, &mut found)?;
            count += found.len() as u64;
            found.clear();
        }
        Ok(count)
    }
}

fn endpoint_of(
    state: &crate::outbox::index::State,
    no: EndpointNo,
) -> Option<&crate::outbox::index::StoredEndpoint> {
    let stored = state.endpoints.get(&no)?;
    stored.deleted.is_none().then_some(stored)
}

impl From<ReadError> for ActRefused {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NoSuchEndpoint => ActRefused::NoSuchEndpoint,
            ReadError::NoSuchEvent => ActRefused::NoSuchEvent,
            ReadError::NoSuchDelivery => ActRefused::NoSuchDelivery,
            ReadError::NoSuchJob => ActRefused::NoSuchJob,
            ReadError::Erased => ActRefused::Erased,
            ReadError::ShuttingDown => ActRefused::ShuttingDown,
            ReadError::BadCursor
            | ReadError::Damaged(_)
            | ReadError::Unreadable(_)
            | ReadError::Index(_) => ActRefused::Failed,
        }
    }
}
