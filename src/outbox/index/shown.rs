//! How a delivery is shown: by its own state and its endpoint's.

use crate::domain::delivery::{Delivery, Reason, Status};
use crate::outbox::record::DeliveryRow;

use super::pages::PagesError;
use super::stored_endpoint::StoredEndpoint;

/// A delivery's status as it is shown: what is pending at an endpoint that takes nothing
/// is held, and what is open at a deleted one is dead.
pub fn shown(delivery: &Delivery, stored: &StoredEndpoint) -> (Status, Option<Reason>) {
    let state = &stored.state;
    match delivery.status {
        Status::Pending | Status::Held if stored.deleted.is_some() => {
            (Status::Dead, Some(Reason::EndpointDeleted))
        }
        Status::Pending if state.missing.is_some() => (Status::Held, Some(Reason::EndpointMissing)),
        Status::Pending if state.disabled.is_some() || state.off_in_file.is_some() => {
            (Status::Held, Some(Reason::Disabled))
        }
        status => (status, delivery.reason),
    }
}

/// The status that the delivery is shown with.
pub fn status_shown(row: &DeliveryRow, stored: &StoredEndpoint) -> Result<Status, PagesError> {
    let delivery = row.delivery().ok_or(PagesError::Damaged)?;
    Ok(shown(&delivery, stored).0)
}
