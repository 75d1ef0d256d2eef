//! Work on many deliveries of one endpoint: replay and purge, and the jobs that carry them out.
//!
//! A request selects deliveries; the outbox counts them before it answers, and then works through
//! them.

use super::error::Error;
use super::reader::Reader;
use crate::domain::delivery::Status;
use crate::domain::endpoint::{EndpointId, Rate};
use crate::domain::job::JobId;
use crate::outbox::{Begun, JobView, Outbox, ReadError, Selection};

/// The kind of work, which decides which deliveries a request may select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The deliveries become pending again, with a fresh retry budget.
    Replay,
    /// The deliveries are removed.
    Purge,
}

impl Work {
    /// The statuses that are selected when a request names none.
    pub fn default_statuses(self) -> Vec<Status> {
        match self {
            Work::Replay => vec![Status::Dead],
            Work::Purge => vec![Status::Pending, Status::Held, Status::Dead],
        }
    }

    /// Whether a request may name this status.
    pub fn takes(self, status: Status) -> bool {
        match self {
            Work::Replay => matches!(status, Status::Dead | Status::Delivered),
            Work::Purge => status != Status::Delivered,
        }
    }
}

pub struct Bulk {
    outbox: Outbox,
    reader: Reader,
}

impl Bulk {
    pub fn new(outbox: Outbox, reader: Reader) -> Bulk {
        Bulk { outbox, reader }
    }

    /// How many deliveries match; nothing is changed.
    pub async fn count(&self, endpoint: EndpointId, selection: Selection) -> Result<u64, Error> {
        let read = move |outbox: &Outbox| outbox.count(&endpoint, &selection);
        self.reader.read(read).await
    }

    /// Begins a replay, `rate` deliveries at a time.
    pub async fn replay(
        &self,
        endpoint: EndpointId,
        selection: Selection,
        rate: Option<Rate>,
    ) -> Result<Begun, Error> {
        let known = endpoint.clone();
        let find = move |outbox: &Outbox| match outbox.endpoint(&known) {
            Some(_) => Ok(()),
            None => Err(ReadError::NoSuchEndpoint),
        };
        self.reader.read(find).await?;
        Ok(self.outbox.replay(&endpoint, selection, rate).await?)
    }

    /// Begins a purge.
    pub async fn purge(&self, endpoint: EndpointId, selection: Selection) -> Result<Begun, Error> {
        Ok(self.outbox.purge(&endpoint, selection).await?)
    }

    /// The jobs under way, past `after`; whether there are more.
    pub async fn jobs(
        &self,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<(Vec<JobView>, bool), Error> {
        let read = move |outbox: &Outbox| outbox.jobs(after, limit);
        self.reader.read(read).await
    }

    /// A job under way.
    pub async fn job(&self, id: JobId) -> Result<JobView, Error> {
        self.reader.read(move |outbox| outbox.job_named(id)).await
    }

    /// Cancels a job. Deliveries that it has not processed stay as they are.
    pub async fn cancel(&self, id: JobId) -> Result<(), Error> {
        Ok(self.outbox.cancel_job(id).await?)
    }
}
