//! Deliveries and their attempts: read, retried and cancelled.

use super::error::Error;
use super::reader::Reader;
use crate::domain::endpoint::EndpointId;
use crate::domain::event::EventId;
use crate::outbox::{
    Action, AttemptFilter, AttemptView, Cursor, DeliveryFilter, DeliveryView, Outbox, Page,
};

pub struct Deliveries {
    outbox: Outbox,
    reader: Reader,
}

impl Deliveries {
    pub fn new(outbox: Outbox, reader: Reader) -> Deliveries {
        Deliveries { outbox, reader }
    }

    pub async fn find(&self, event: EventId, endpoint: EndpointId) -> Result<DeliveryView, Error> {
        let read = move |outbox: &Outbox| outbox.delivery(event, &endpoint);
        self.reader.read(read).await
    }

    /// A page of deliveries, as `show` renders it, on the thread that reads it: a page may
    /// hold many attempts.
    pub async fn list<T: Send + 'static>(
        &self,
        filter: DeliveryFilter,
        cursor: Option<Cursor>,
        limit: usize,
        show: impl FnOnce(&Page<DeliveryView>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let read = move |outbox: &Outbox| {
            let page = outbox.deliveries(&filter, cursor.as_ref(), limit)?;
            Ok(show(&page))
        };
        self.reader.read(read).await
    }

    /// A page of attempts, newest first, as `show` renders it, on the thread that reads it.
    pub async fn attempts<T: Send + 'static>(
        &self,
        filter: AttemptFilter,
        cursor: Option<Cursor>,
        limit: usize,
        show: impl FnOnce(&Page<AttemptView>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let read = move |outbox: &Outbox| {
            let page = outbox.attempts(&filter, cursor.as_ref(), limit)?;
            Ok(show(&page))
        };
        self.reader.read(read).await
    }

    /// Pending: now; delivered or dead: again, with a fresh retry budget. Returns the delivery
    /// as it is then.
    pub async fn retry(&self, event: EventId, endpoint: EndpointId) -> Result<DeliveryView, Error> {
        let action = Action::Retry {
            event,
            endpoint: endpoint.clone(),
        };
        self.outbox.act(action).await?;
        self.find(event, endpoint).await
    }

    /// Pending or held becomes dead. Returns the delivery as it is then.
    pub async fn cancel(
        &self,
        event: EventId,
        endpoint: EndpointId,
    ) -> Result<DeliveryView, Error> {
        let action = Action::Cancel {
            event,
            endpoint: endpoint.clone(),
        };
        self.outbox.act(action).await?;
        self.find(event, endpoint).await
    }
}
