//! Many deliveries of one endpoint at once: replay and purge.
//!
//! A request says which deliveries; the outbox counts them before it answers, and does the
//! work after that.

use super::error::Error;
use super::reader::Reader;
use crate::domain::delivery::Status;
use crate::domain::endpoint::{EndpointId, Rate};
use crate::outbox::{Outbox, ReadError, Selection};

/// What is to be done, which decides which deliveries it can be done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// They become pending again, with a fresh retry budget.
    Replay,
    /// They are gone.
    Purge,
}

impl Work {
    /// The statuses that are meant when a request names none.
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

    /// Begins a replay, `rate` deliveries at a time. Returns how many match.
    pub async fn replay(
        &self,
        endpoint: EndpointId,
        selection: Selection,
        rate: Option<Rate>,
    ) -> Result<u64, Error> {
        let known = endpoint.clone();
        let find = move |outbox: &Outbox| match outbox.endpoint(&known) {
            Some(_) => Ok(()),
            None => Err(ReadError::NoSuchEndpoint),
        };
        self.reader.read(find).await?;
        Ok(self.outbox.replay(&endpoint, selection, rate).await?)
    }

    /// Begins a purge. Returns how many match.
    pub async fn purge(&self, endpoint: EndpointId, selection: Selection) -> Result<u64, Error> {
        Ok(self.outbox.purge(&endpoint, selection).await?)
    }
}
