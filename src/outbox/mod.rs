//! The durable store of events, deliveries and attempts.
pub mod view;

use std::sync::Arc;

use crate::domain::endpoint::{Endpoint, EndpointId};
use crate::domain::event::{EventId, NewEvent};
pub use view::*;

/// The outbox, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Outbox;

impl Outbox {
    /// Makes `events` durable, all in one step or none, and gives a receipt for each, in order.
    pub async fn accept(&self, _events: Vec<NewEvent>) -> Result<Vec<Receipt>, Refused> {
        todo!()
    }

    /// Takes an action; durable when it returns.
    pub async fn act(&self, _action: Action) -> Result<(), ActRefused> {
        todo!()
    }

    // The reads below touch the disk: callers on the runtime use `spawn_blocking`.

    pub fn event(&self, _id: EventId) -> Result<EventView, ReadError> {
        todo!()
    }

    pub fn delivery(
        &self,
        _id: EventId,
        _endpoint: &EndpointId,
    ) -> Result<DeliveryView, ReadError> {
        todo!()
    }

    /// Newest first. `limit` is 1 to 1000. A page may be shorter than `limit` and still have a `next`.
    pub fn events(
        &self,
        _filter: &EventFilter,
        _cursor: Option<&Cursor>,
        _limit: usize,
    ) -> Result<Page<EventSummary>, ReadError> {
        todo!()
    }

    pub fn deliveries(
        &self,
        _filter: &DeliveryFilter,
        _cursor: Option<&Cursor>,
        _limit: usize,
    ) -> Result<Page<DeliveryView>, ReadError> {
        todo!()
    }

    pub fn status(&self) -> OutboxStatus {
        todo!()
    }

    /// Endpoints known now, in order of their ids, each with its state.
    pub fn endpoints(&self) -> Vec<(Arc<Endpoint>, EndpointState)> {
        todo!()
    }

    pub fn endpoint(&self, _id: &EndpointId) -> Option<(Arc<Endpoint>, EndpointState)> {
        todo!()
    }
}
