//! Between the domain's states and the numbers that records keep of them.

use std::time::Duration;

use bytes::Bytes;

use crate::domain::attempt::{Attempt, AttemptError, ErrorKind};
use crate::domain::delivery::{Delivery, Move, Next, Reason, Status};
use crate::domain::endpoint::DisabledReason;
use crate::domain::time::Timestamp;

use super::{AttemptRow, Attempted, DeliveryRow, EndpointStateRow, NextRow, StepRow};

/// The number of a value in its enumeration's `ALL`, from 1; 0 is none.
macro_rules! numbered {
    ($to:ident, $from:ident, $type:ty, [$($number:literal => $variant:path),+ $(,)?]) => {
        pub fn $to(value: $type) -> u8 {
            match value { $($variant => $number),+ }
        }

        pub fn $from(number: u8) -> Option<$type> {
            match number { $($number => Some($variant),)+ _ => None }
        }
    };
}

numbered!(status_number, status_of, Status, [
    1 => Status::Pending, 2 => Status::Held, 3 => Status::Delivered, 4 => Status::Dead,
]);

numbered!(reason_number, reason_of, Reason, [
    1 => Reason::Disabled, 2 => Reason::EndpointMissing, 3 => Reason::Backlog, 4 => Reason::Exhausted,
    5 => Reason::Gone, 6 => Reason::Cancelled, 7 => Reason::EndpointDeleted, 8 => Reason::HeldTooLong,
    9 => Reason::Space, 10 => Reason::Damaged, 11 => Reason::Template, 12 => Reason::Rejected,
]);

numbered!(error_number, error_of, ErrorKind, [
    1 => ErrorKind::Dns, 2 => ErrorKind::Connect, 3 => ErrorKind::Tls, 4 => ErrorKind::Timeout,
    5 => ErrorKind::Blocked, 6 => ErrorKind::Protocol, 7 => ErrorKind::Status,
    8 => ErrorKind::Local, 9 => ErrorKind::Auth,
]);

numbered!(disabled_number, disabled_of, DisabledReason, [
    1 => DisabledReason::Manual, 2 => DisabledReason::Gone, 3 => DisabledReason::Failing,
]);

impl DeliveryRow {
    pub fn new(delivery: Delivery, exact: bool, (last_attempt, attempt_bytes): (u64, u32)) -> Self {
        DeliveryRow {
            status: status_number(delivery.status),
            reason: delivery.reason.map_or(0, reason_number),
            attempt_count: delivery.attempt_count,
            tries: delivery.tries,
            due: delivery.due.as_millis(),
            budget_from: delivery.budget_from.as_millis(),
            finished_at: delivery.finished_at.map_or(0, Timestamp::as_millis),
            exact,
            last_attempt,
            attempt_bytes,
        }
    }

    /// Where the attempts are and about what they take.
    pub fn attempts(&self) -> (u64, u32) {
        (self.last_attempt, self.attempt_bytes)
    }

    /// The state that the row keeps; `None` if its numbers mean nothing.
    pub fn delivery(&self) -> Option<Delivery> {
        let reason = match self.reason {
            0 => None,
            number => Some(reason_of(number)?),
        };
        Some(Delivery {
            status: status_of(self.status)?,
            reason,
            attempt_count: self.attempt_count,
            tries: self.tries,
            due: Timestamp::from_millis(self.due),
            budget_from: Timestamp::from_millis(self.budget_from),
            finished_at: (self.finished_at > 0).then(|| Timestamp::from_millis(self.finished_at)),
        })
    }
}

impl NextRow {
    pub fn new(next: Next, exact: bool) -> Self {
        match next {
            Next::Delivered => NextRow::Delivered,
            Next::Retry {
                due,
                budget_from,
                tries,
            } => NextRow::Retry {
                due: due.as_millis(),
                budget_from: budget_from.as_millis(),
                tries,
                exact,
            },
            Next::Dead { reason } => NextRow::Dead {
                reason: reason_number(reason),
            },
            Next::Held { reason } => NextRow::Held {
                reason: reason_number(reason),
            },
        }
    }

    pub fn next(&self) -> Option<Next> {
        Some(match *self {
            NextRow::Delivered => Next::Delivered,
            NextRow::Retry {
                due,
                budget_from,
                tries,
                ..
            } => Next::Retry {
                due: Timestamp::from_millis(due),
                budget_from: Timestamp::from_millis(budget_from),
                tries,
            },
            NextRow::Dead { reason } => Next::Dead {
                reason: reason_of(reason)?,
            },
            NextRow::Held { reason } => Next::Held {
                reason: reason_of(reason)?,
            },
        })
    }
}

impl StepRow {
    pub fn step(&self) -> Option<Move> {
        Some(match *self {
            StepRow::Retry { at } => Move::Retry {
                at: Timestamp::from_millis(at),
            },
            StepRow::Hold { reason } => Move::Hold {
                reason: reason_of(reason)?,
            },
            StepRow::Release { at } => Move::Release {
                at: Timestamp::from_millis(at),
            },
            StepRow::Die { at, reason } => Move::Die {
                at: Timestamp::from_millis(at),
                reason: reason_of(reason)?,
            },
        })
    }
}

impl<'a> AttemptRow<'a> {
    /// The attempt without its response body, all of which is to stand beside it.
    pub fn new(attempt: &'a Attempt) -> Self {
        AttemptRow {
            at: attempt.at.as_millis(),
            duration_ms: u32::try_from(attempt.duration.as_millis()).unwrap_or(u32::MAX),
            status: attempt.status,
            error: attempt
                .error
                .as_ref()
                .map(|error| (error_number(error.kind), error.detail.as_str())),
            // Within `delivery.response_body_limit`, which is far below.
            response: u32::try_from(attempt.response_body.len()).unwrap_or(0),
            address: attempt.address,
        }
    }
}

/// About what an attempt takes in the log besides its texts.
const ATTEMPT_COST: usize = 64;
impl Attempted<'_> {
    /// The state of its endpoint after it. The daemon's own fault changes nothing.
    pub fn endpoint_after(&self, state: EndpointStateRow) -> EndpointStateRow {
        match self.attempt.error {
            Some((kind, _)) if kind == error_number(ErrorKind::Local) => state,
            _ => state.after_attempt(self.ended_at, self.next == NextRow::Delivered),
        }
    }
}

impl AttemptRow<'_> {
    /// About what it takes in the log, in bytes.
    pub fn cost(&self) -> u32 {
        let text = self.error.map_or(0, |(_, text)| text.len());
        let cost = (ATTEMPT_COST + text) as u64 + u64::from(self.response);
        u32::try_from(cost).unwrap_or(u32::MAX)
    }

    /// Why it failed. A kind that only a later version knows is `protocol`.
    pub fn error_kind(&self) -> Option<ErrorKind> {
        let (number, _) = self.error?;
        Some(error_of(number).unwrap_or(ErrorKind::Protocol))
    }

    pub fn attempt(&self, response_body: &[u8]) -> Attempt {
        Attempt {
            at: Timestamp::from_millis(self.at),
            duration: Duration::from_millis(self.duration_ms.into()),
            status: self.status,
            error: self
                .error_kind()
                .zip(self.error)
                .map(|(kind, (_, detail))| AttemptError {
                    kind,
                    detail: detail.to_owned(),
                }),
            response_body: Bytes::copy_from_slice(response_body),
            address: self.address,
            retry_after: None,
            permanent: false,
        }
    }
}
