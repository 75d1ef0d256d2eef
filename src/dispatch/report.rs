//! What an ended attempt writes to the log.

use std::time::Instant;

use crate::domain::attempt::{Attempt, ErrorKind};
use crate::domain::delivery::Next;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::domain::repeats::Repeats;
use crate::outbox::Outbox;

/// Reports attempts. Those that failed through the daemon's own fault are told now and then.
#[derive(Debug, Default)]
pub(super) struct Reports {
    local_faults: Repeats,
}

impl Reports {
    pub fn ended(
        &mut self,
        outbox: &Outbox,
        (no, event): (EndpointNo, EventId),
        attempt: &Attempt,
        next: Next,
        started: Instant,
    ) {
        let error = attempt.error.as_ref();
        let is_held = matches!(next, Next::Held { .. });
        if let Some(error) = error.filter(|error| error.kind == ErrorKind::Local && !is_held)
            && let Some(attempts) = self.local_faults.happened(started.elapsed())
        {
            let detail = error.detail.as_str();
            tracing::warn!(%event, attempts, error = detail, "attempts could not be made, through no fault of their endpoints; they are tried again");
        }
        let is_news = matches!(next, Next::Dead { .. } | Next::Held { .. });
        if !is_news && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let known = outbox.in_force(no);
        let endpoint = known
            .as_ref()
            .map_or("unknown", |endpoint| endpoint.id.as_str());
        let detail = error.map_or("", |error| error.detail.as_str());
        match next {
            Next::Delivered => {
                tracing::debug!(%event, endpoint, status = attempt.status, "delivered")
            }
            Next::Retry { due, tries, .. } => {
                tracing::debug!(%event, endpoint, attempt = tries, reason = detail, next = %due, "attempt failed");
            }
            Next::Held { reason } => {
                tracing::warn!(%event, endpoint, reason = reason.as_str(), error = detail, "delivery is held; changing the endpoint releases it");
            }
            Next::Dead { reason } => {
                tracing::warn!(%event, endpoint, reason = reason.as_str(), error = detail, "delivery is dead; it is kept and can be retried");
            }
        }
    }
}
