//! Why the dead deliveries of an endpoint are dead.

use crate::domain::delivery::{Reason, Status};
use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::EventId;
use crate::outbox::handle::Outbox;
use crate::outbox::index::keys::List;
use crate::outbox::views::{DeliveryFilter, ReadError};

/// Why the newest dead deliveries of an endpoint are dead.
#[derive(Clone, Debug, Default)]
pub struct DeadReasons {
    /// How many of them each reason has, the most frequent first.
    pub counted: Vec<(Reason, u64)>,
    /// The newest event among them.
    pub newest: Option<EventId>,
}

impl Outbox {
    /// The reasons of the newest dead deliveries of an endpoint, `most` of them, the most frequent
    /// reason first. Reads the index: callers on the runtime use `spawn_blocking`.
    pub fn dead_reasons(
        &self,
        endpoint: &EndpointId,
        most: usize,
    ) -> Result<DeadReasons, ReadError> {
        let filter = DeliveryFilter {
            status: Some(Status::Dead),
            endpoint: Some(endpoint.clone()),
            ..DeliveryFilter::default()
        };
        let newest = (EventId(u128::MAX), EndpointNo(u32::MAX));
        let found = self.judged(self.listed(&filter, List::Dead, newest, most))?;
        let reasons = found.items.iter().filter_map(|dead| dead.view.reason);
        let mut counted: Vec<(Reason, u64)> = Vec::new();
        for reason in reasons {
            match counted.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => counted.push((reason, 1)),
            }
        }
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok(DeadReasons {
            counted,
            newest: found.items.first().map(|dead| dead.view.event),
        })
    }
}
