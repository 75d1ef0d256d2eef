//! An attempt in a list, with its delivery.

use serde::Serialize;

use super::delivery;
use crate::domain::attempt::AttemptId;
use crate::domain::endpoint::EndpointId;
use crate::domain::event::{EventId, EventType, Tenant};
use crate::outbox::AttemptView;

#[derive(Serialize)]
pub struct Attempt<'a> {
    pub id: AttemptId,
    pub event: EventId,
    pub endpoint: &'a EndpointId,
    pub tenant: &'a Tenant,
    /// `None`: the event could not be read.
    pub r#type: Option<&'a EventType>,
    #[serde(flatten)]
    pub attempt: delivery::Attempt<'a>,
}

impl<'a> From<&'a AttemptView> for Attempt<'a> {
    fn from(view: &'a AttemptView) -> Self {
        Attempt {
            id: view.id,
            event: view.event,
            endpoint: &view.endpoint,
            tenant: &view.tenant,
            r#type: Some(&view.event_type),
            attempt: (&view.attempt).into(),
        }
    }
}
