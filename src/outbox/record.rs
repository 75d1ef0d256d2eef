//! What the log's records say, in the domain's words, and how they are spelled.
//!
//! The log's framing keeps a record's kind (one byte), its head and its body. The head is
//! spelled here, in bincode 2.0.1 (`standard`: little endian, variable-length integers).
//! What may be personal is in bodies, which can be overwritten: what an event's attempts
//! send, verbatim, and what receivers answered. The spelling is frozen: golden bytes are
//! in the tests below.
//!
//! To change it: give the changed record a new kind number, keep decoding the old one
//! for as long as stores may hold it, add golden bytes for the new one, and raise the
//! number in `FORMAT` (see `recovery`) if an older outboxd could not read the store.

mod bulk;
mod endpoint;

use std::net::SocketAddr;
use std::time::Duration;

use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use bincode::{BorrowDecode, Encode};
use bytes::Bytes;

use crate::domain::attempt::{Attempt, AttemptError, ErrorKind};
use crate::domain::delivery::{Delivery, Move, Next, Reason, Status};
use crate::domain::endpoint::DisabledReason;
use crate::domain::time::Timestamp;

pub use bulk::{ErasedRow, JobRow, JobWork, Moved, MovedStep};
pub use endpoint::{
    EndpointDeleted, EndpointRow, EndpointSpecRow, EndpointStateRow, KeyBytes, RetryRow, SpecRow,
};

/// The bytes are no record of this kind, or the kind is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record kind {kind} cannot be read")]
pub struct BadRecord {
    pub kind: u8,
}

/// An event, without the body that stands beside this head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct EventHead<'a> {
    pub id: u128,
    pub tenant: &'a str,
    pub event_type: &'a str,
    pub key: Option<&'a str>,
    pub idempotency: Option<Idempotency<'a>>,
    pub deliver_at: Option<u64>,
    /// `None`: the body is the JSON envelope, with `data` from `data_at` to its last byte but one.
    pub content_type: Option<&'a str>,
    pub data_at: u32,
    /// The body's length in bytes.
    pub body_len: u32,
}

/// An idempotency key and the SHA-256 of what it was used with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Idempotency<'a> {
    pub key: &'a str,
    pub content: [u8; 32],
}

/// An event was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Accepted<'a> {
    pub event: EventHead<'a>,
    /// When its deliveries are first due.
    pub due: u64,
    /// The endpoints it goes to, by number.
    pub endpoints: Vec<u32>,
}

/// A response body that stands in the record's body: its length in bytes.
pub type Beside = u32;
/// A response body inside the head: kinds 2 and 5, which are read and not written any more.
pub type Inside<'a> = &'a [u8];

/// One attempt, as it is kept. `R` says where its response body is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct AttemptRow<'a, R> {
    pub at: u64,
    pub duration_ms: u32,
    pub status: Option<u16>,
    pub error: Option<(u8, &'a str)>,
    pub response: R,
    pub address: Option<SocketAddr>,
}

/// An attempt of a delivery ended. The record's body is the response body.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Attempted<'a, R> {
    pub id: u128,
    pub endpoint: u32,
    /// When the outcome was known.
    pub ended_at: u64,
    pub attempt: AttemptRow<'a, R>,
    pub next: NextRow,
    /// Where the delivery's attempt before this one is; 0 if there is none.
    pub previous: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum NextRow {
    Delivered,
    Retry {
        due: u64,
        budget_from: u64,
        tries: u32,
        exact: bool,
    },
    Dead {
        reason: u8,
    },
}

/// Something was done to a delivery by other means than an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Acted {
    pub id: u128,
    pub endpoint: u32,
    pub step: StepRow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum StepRow {
    Retry { at: u64 },
    Hold { reason: u8 },
    Release { at: u64 },
    Die { at: u64, reason: u8 },
}

/// A live event from an old segment, written again whole: replaces what was known of it.
/// The record's body is the event's, then the response bodies in the order of the head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Rewritten<'a, R> {
    pub event: EventHead<'a>,
    pub deliveries: Vec<RewrittenDelivery<'a, R>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct RewrittenDelivery<'a, R> {
    pub endpoint: u32,
    pub state: DeliveryRow,
    /// The attempts kept, oldest first.
    pub attempts: Vec<AttemptRow<'a, R>>,
}

/// A delivery's state, as the index and `Rewritten` keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct DeliveryRow {
    pub status: u8,
    pub reason: u8,
    pub attempt_count: u32,
    pub tries: u32,
    pub due: u64,
    pub budget_from: u64,
    pub finished_at: u64,
    /// `due` is `deliver_at` or a `Retry-After`, and no clock jump shortens it.
    pub exact: bool,
    /// Where the last attempt is: an `Attempted`, or the `Rewritten` that holds it; 0 if none.
    pub last_attempt: u64,
}

/// An idempotency key that outlives its event.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyKept<'a> {
    pub tenant: &'a str,
    pub idempotency: Idempotency<'a>,
    pub id: u128,
    pub event_type: &'a str,
    pub deliveries: u32,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    Accepted(Accepted<'a>),
    Attempted(Attempted<'a, Beside>),
    /// Kind 2.
    AttemptedInside(Attempted<'a, Inside<'a>>),
    Acted(Acted),
    Endpoint(EndpointRow<'a>),
    Rewritten(Rewritten<'a, Beside>),
    /// Kind 5.
    RewrittenInside(Rewritten<'a, Inside<'a>>),
    KeyKept(KeyKept<'a>),
    /// Finished events past their retention: all that is known of them goes.
    Forgotten(Vec<u128>),
    /// Idempotency keys past their window, with their tenants.
    KeysForgotten(Vec<(&'a str, &'a str)>),
    /// The highest id ever given, kept while the events that had it may be gone.
    LastId(u128),
    EndpointSpec(EndpointSpecRow),
    EndpointDeleted(EndpointDeleted),
    /// Nothing refers to the endpoint any more; its number is never given again.
    EndpointForgotten(u32),
    Moved(Moved),
    Job(JobRow<'a>),
    Erased(ErasedRow),
}

const ACCEPTED: u8 = 1;
const ATTEMPTED_INSIDE: u8 = 2;
const ACTED: u8 = 3;
const ENDPOINT: u8 = 4;
const REWRITTEN_INSIDE: u8 = 5;
const KEY_KEPT: u8 = 6;
const FORGOTTEN: u8 = 7;
const KEYS_FORGOTTEN: u8 = 8;
const LAST_ID: u8 = 9;
const ENDPOINT_SPEC: u8 = 10;
const ENDPOINT_DELETED: u8 = 11;
const ENDPOINT_FORGOTTEN: u8 = 12;
const MOVED: u8 = 13;
const JOB: u8 = 14;
const ERASED: u8 = 15;
const ATTEMPTED: u8 = 16;
const REWRITTEN: u8 = 17;

/// The most memory that one record's head may ask for: far over what any needs, so that
/// bytes which are no record cannot ask for more.
const HEAD_MAX: usize = 256 << 20;
const SPELLING: Configuration<LittleEndian, Varint, Limit<HEAD_MAX>> =
    standard().with_limit::<HEAD_MAX>();

impl<'a> Record<'a> {
    pub fn kind(&self) -> u8 {
        match self {
            Record::Accepted(_) => ACCEPTED,
            Record::Attempted(_) => ATTEMPTED,
            Record::AttemptedInside(_) => ATTEMPTED_INSIDE,
            Record::Acted(_) => ACTED,
            Record::Endpoint(_) => ENDPOINT,
            Record::Rewritten(_) => REWRITTEN,
            Record::RewrittenInside(_) => REWRITTEN_INSIDE,
            Record::KeyKept(_) => KEY_KEPT,
            Record::Forgotten(_) => FORGOTTEN,
            Record::KeysForgotten(_) => KEYS_FORGOTTEN,
            Record::LastId(_) => LAST_ID,
            Record::EndpointSpec(_) => ENDPOINT_SPEC,
            Record::EndpointDeleted(_) => ENDPOINT_DELETED,
            Record::EndpointForgotten(_) => ENDPOINT_FORGOTTEN,
            Record::Moved(_) => MOVED,
            Record::Job(_) => JOB,
            Record::Erased(_) => ERASED,
        }
    }

    /// Appends the head's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Accepted(accepted) => put(accepted, out),
            Record::Attempted(attempted) => put(attempted, out),
            Record::AttemptedInside(attempted) => put(attempted, out),
            Record::Acted(acted) => put(acted, out),
            Record::Endpoint(row) => put(row, out),
            Record::Rewritten(rewritten) => put(rewritten, out),
            Record::RewrittenInside(rewritten) => put(rewritten, out),
            Record::KeyKept(kept) => put(kept, out),
            Record::Forgotten(ids) => put(ids, out),
            Record::KeysForgotten(keys) => put(keys, out),
            Record::LastId(id) => put(id, out),
            Record::EndpointSpec(row) => put(row, out),
            Record::EndpointDeleted(deleted) => put(deleted, out),
            Record::EndpointForgotten(no) => put(no, out),
            Record::Moved(moved) => put(moved, out),
            Record::Job(row) => put(row, out),
            Record::Erased(row) => put(row, out),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; bytes left over are an error.
    pub fn decode(kind: u8, head: &'a [u8]) -> Result<Record<'a>, BadRecord> {
        Ok(match kind {
            ACCEPTED => Record::Accepted(take(kind, head)?),
            ATTEMPTED => Record::Attempted(take(kind, head)?),
            ATTEMPTED_INSIDE => Record::AttemptedInside(take(kind, head)?),
            ACTED => Record::Acted(take(kind, head)?),
            ENDPOINT => Record::Endpoint(take(kind, head)?),
            REWRITTEN => Record::Rewritten(take(kind, head)?),
            REWRITTEN_INSIDE => Record::RewrittenInside(take(kind, head)?),
            KEY_KEPT => Record::KeyKept(take(kind, head)?),
            FORGOTTEN => Record::Forgotten(take(kind, head)?),
            KEYS_FORGOTTEN => Record::KeysForgotten(take(kind, head)?),
            LAST_ID => Record::LastId(take(kind, head)?),
            ENDPOINT_SPEC => Record::EndpointSpec(take(kind, head)?),
            ENDPOINT_DELETED => Record::EndpointDeleted(take(kind, head)?),
            ENDPOINT_FORGOTTEN => Record::EndpointForgotten(take(kind, head)?),
            MOVED => Record::Moved(take(kind, head)?),
            JOB => Record::Job(take(kind, head)?),
            ERASED => Record::Erased(take(kind, head)?),
            _ => return Err(BadRecord { kind }),
        })
    }
}

/// Appends `value` in the frozen spelling.
pub fn put<T: Encode>(value: &T, out: &mut Vec<u8>) {
    // Encoding these plain structures into memory has no way to fail.
    let _ = bincode::encode_into_std_write(value, out, SPELLING);
}

/// Reads a value that fills `bytes`. `kind` is only told on.
pub fn take<'a, T: BorrowDecode<'a, ()>>(kind: u8, bytes: &'a [u8]) -> Result<T, BadRecord> {
    match bincode::borrow_decode_from_slice(bytes, SPELLING) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        _ => Err(BadRecord { kind }),
    }
}

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
    9 => Reason::Space,
]);

numbered!(error_number, error_of, ErrorKind, [
    1 => ErrorKind::Dns, 2 => ErrorKind::Connect, 3 => ErrorKind::Tls, 4 => ErrorKind::Timeout,
    5 => ErrorKind::Blocked, 6 => ErrorKind::Protocol, 7 => ErrorKind::Status,
]);

numbered!(disabled_number, disabled_of, DisabledReason, [
    1 => DisabledReason::Manual, 2 => DisabledReason::Gone, 3 => DisabledReason::Failing,
]);

impl DeliveryRow {
    pub fn new(delivery: Delivery, exact: bool, last_attempt: u64) -> Self {
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
        }
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

impl<'a> AttemptRow<'a, Beside> {
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

impl<R> AttemptRow<'_, R> {
    pub fn attempt(&self, response_body: &[u8]) -> Attempt {
        Attempt {
            at: Timestamp::from_millis(self.at),
            duration: Duration::from_millis(self.duration_ms.into()),
            status: self.status,
            error: self.error.map(|(kind, detail)| AttemptError {
                kind: error_of(kind).unwrap_or(ErrorKind::Protocol),
                detail: detail.to_owned(),
            }),
            response_body: Bytes::copy_from_slice(response_body),
            address: self.address,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests;
