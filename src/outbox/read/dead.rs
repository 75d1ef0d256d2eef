//! Why the dead deliveries of an endpoint are dead.

use crate::domain::attempt::ErrorKind;
use crate::domain::delivery::{Reason, Status};
use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::EventId;
use crate::outbox::handle::Outbox;
use crate::outbox::index::keys::List;
use crate::outbox::views::{DeliveryFilter, ReadError};

/// Why a delivery is dead: the reason, and how its last attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    pub reason: Reason,
    /// The kind of the failure and the status of the response, if there was one; `None`: no attempt
    /// failed, or it cannot be read.
    pub failed: Option<(ErrorKind, Option<u16>)>,
}

/// Why the newest dead deliveries of an endpoint are dead.
#[derive(Clone, Debug, Default)]
pub struct DeadCauses {
    /// How many of them have each cause, the most frequent first.
    pub counted: Vec<(Cause, u64)>,
    /// The newest event among them.
    pub newest: Option<EventId>,
}

impl Outbox {
    /// The causes of the newest dead deliveries of an endpoint, `most` of them, the most frequent
    /// cause first. Reads the index and the log: callers on the runtime use `spawn_blocking`.
    pub fn dead_causes(&self, endpoint: &EndpointId, most: usize) -> Result<DeadCauses, ReadError> {
        let filter = DeliveryFilter {
            status: Some(Status::Dead),
            endpoint: Some(endpoint.clone()),
            ..DeliveryFilter::default()
        };
        let newest = (EventId(u128::MAX), EndpointNo(u32::MAX));
        let found = self.reliably(|| self.listed(&filter, List::Dead, newest, most))?;
        let causes = found.items.iter().filter_map(|dead| {
            let last = dead.last_attempt(&self.shared.log);
            let failed = last.and_then(|last| Some((last.error?.kind, last.status)));
            let reason = dead.view.reason?;
            Some(Cause { reason, failed })
        });
        let mut counted: Vec<(Cause, u64)> = Vec::new();
        for cause in causes {
            match counted.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, count)) => *count += 1,
                None => counted.push((cause, 1)),
            }
        }
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok(DeadCauses {
            counted,
            newest: found.items.first().map(|dead| dead.view.event),
        })
    }
}
