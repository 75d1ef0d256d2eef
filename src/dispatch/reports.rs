//! The reports of the dispatcher: lines of the log, and events of the tail.

use std::time::Duration;

use super::tail::{EndpointChange, Made, Tail};
use crate::clock;
use crate::domain::attempt::ErrorKind;
use crate::domain::delivery::Next;
use crate::domain::endpoint::EndpointNo;
use crate::domain::repeats::Repeats;
use crate::outbox::Outbox;

pub(super) struct Reports {
    outbox: Outbox,
    pub tail: Tail,
    /// Attempts that failed through the daemon's own fault.
    local_faults: Repeats,
}

impl Reports {
    pub fn new(outbox: Outbox) -> Reports {
        Reports {
            outbox,
            tail: Tail::default(),
            local_faults: Repeats::default(),
        }
    }

    /// Reports an attempt that ended and led to `next`. `elapsed`: on the monotonic clock.
    pub fn attempted(&mut self, made: Made<'_>, next: Next, elapsed: Duration) {
        if self.tail.is_heard()
            && let Some(endpoint) = self.outbox.in_force(made.no)
        {
            self.tail.attempted(made, &endpoint);
        }
        self.log(made, next, elapsed);
    }

    /// Reports an endpoint that was enabled or disabled.
    pub fn switched(&self, no: EndpointNo, change: EndpointChange) {
        if self.tail.is_heard()
            && let Some(endpoint) = self.outbox.in_force(no)
        {
            self.tail.switched(&endpoint, change, clock::now());
        }
    }

    pub fn breaker(&self, no: EndpointNo, open: bool) {
        let Some(endpoint) = self.outbox.in_force(no) else {
            return;
        };
        if open {
            tracing::warn!(endpoint = %endpoint.id, "circuit breaker opened after failures in a row: one probe at a time until one succeeds");
            self.switched(no, EndpointChange::BreakerOpened);
        } else {
            tracing::info!(endpoint = %endpoint.id, "circuit breaker closed: the endpoint takes deliveries again");
            self.switched(no, EndpointChange::BreakerClosed);
        }
    }

    fn log(&mut self, made: Made<'_>, next: Next, elapsed: Duration) {
        let Made { event, attempt, .. } = made;
        let error = attempt.error.as_ref();
        let is_held = matches!(next, Next::Held { .. });
        if let Some(error) = error.filter(|error| error.kind == ErrorKind::Local && !is_held)
            && let Some(attempts) = self.local_faults.happened(elapsed)
        {
            let detail = error.detail.as_str();
            tracing::warn!(%event, attempts, error = detail, "attempts could not be made, through no fault of their endpoints; they are tried again");
        }
        let is_news = matches!(next, Next::Dead { .. } | Next::Held { .. });
        if !is_news && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let known = self.outbox.in_force(made.no);
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
