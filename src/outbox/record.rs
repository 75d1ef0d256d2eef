//! What the log's records say, in the domain's words, and how they are spelled.
//!
//! The log's framing keeps a record's kind (one byte), its head and its body. The head is
//! spelled here, in bincode 2.0.1 (`standard`: little endian, variable-length integers).
//! What may be personal or secret is in bodies, which can be overwritten: what an event's
//! attempts send, verbatim, what receivers answered, and the definitions of endpoints and
//! sources, in bincode too. The spelling is frozen: golden bytes are in `record/golden.txt`.
//!
//! To change it: give the changed record a new kind number, keep decoding the old one
//! for as long as stores may hold it, add golden bytes for the new one, and raise the
//! number in `FORMAT` (see `directory`) if an older outboxd could not read the store.

mod bulk;
mod definition;
mod endpoint;
mod extras;
mod source;
mod spelling;
mod states;
mod step;

use std::borrow::Cow;
use std::net::SocketAddr;

use bincode::{BorrowDecode, Encode};
use definition::{ENDPOINT_DEFINED, SOURCE_DEFINED};
use spelling::put_unless_zero;

pub use bulk::{ErasedRow, JobRow, JobWork, Moved, MovedStep};
pub use definition::Defined;
pub use endpoint::{
    EndpointDeleted, EndpointRow, EndpointSpecRow, EndpointStateRow, KeyBytes, RetryRow, SpecRow,
};
pub use extras::{ExtrasRow, read_extras, spell_extras};
pub use source::{SourceCountsRow, SourceRow};
pub use spelling::{BadRecord, put, put_in, take};
pub use states::{
    disabled_number, disabled_of, error_number, error_of, reason_number, reason_of, status_number,
    status_of,
};
pub use step::StepRow;

/// An event, without the body that stands beside this head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct EventHead<'a> {
    pub id: u128,
    /// The true time of acceptance. The id's own time is later where ids had to go on
    /// rising after the clock was set back.
    pub accepted_at: u64,
    pub tenant: &'a str,
    pub event_type: &'a str,
    pub key: Option<&'a str>,
    pub idempotency: Option<Idempotency<'a>>,
    pub deliver_at: Option<u64>,
    /// `None`: the body is the JSON envelope, with `data` from `data_at` to its last byte but one.
    pub content_type: Option<&'a str>,
    pub data_at: u32,
    /// The length in bytes of what attempts send and the extras after it; 0 if it was lost.
    pub body_len: u32,
    /// The body failed its checksum when the event was moved, and is gone.
    pub body_lost: bool,
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
    /// How many bytes at the end of the event's body are its extras, see [`ExtrasRow`].
    pub extras_len: u32,
}

/// One attempt, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct AttemptRow<'a> {
    pub at: u64,
    pub duration_ms: u32,
    pub status: Option<u16>,
    pub error: Option<(u8, &'a str)>,
    /// The length in bytes of the response body, which is in the record's body.
    pub response: u32,
    pub address: Option<SocketAddr>,
}

/// An attempt of a delivery ended. The record's body is the response body.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Attempted<'a> {
    pub id: u128,
    pub endpoint: u32,
    /// When the outcome was known.
    pub ended_at: u64,
    pub attempt: AttemptRow<'a>,
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
    Held {
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

/// A live event from an old segment, written again whole: replaces what was known of it.
/// The record's body is the event's, then the response bodies in the order of the head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Rewritten<'a> {
    pub event: EventHead<'a>,
    pub deliveries: Vec<RewrittenDelivery<'a>>,
    /// As in [`Accepted`].
    pub extras_len: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct RewrittenDelivery<'a> {
    pub endpoint: u32,
    pub state: DeliveryRow,
    /// The attempts kept, oldest first.
    pub attempts: Vec<AttemptRow<'a>>,
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
    /// About what the attempts that are kept take in the log, in bytes.
    pub attempt_bytes: u32,
}

/// An idempotency key that outlives its event.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyKept<'a> {
    pub accepted_at: u64,
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
    Attempted(Attempted<'a>),
    Acted(Acted),
    Endpoint(EndpointRow<'a>),
    Rewritten(Rewritten<'a>),
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
    Source(SourceRow<'a>),
    SourceCounts(SourceCountsRow<'a>),
    /// A source is removed, with its definition and counts.
    SourceForgotten(&'a str),
}

const ACCEPTED: u8 = 1;
const ACTED: u8 = 3;
const ENDPOINT: u8 = 4;
const KEY_KEPT: u8 = 6;
const FORGOTTEN: u8 = 7;
const KEYS_FORGOTTEN: u8 = 8;
const LAST_ID: u8 = 9;
const ENDPOINT_DELETED: u8 = 11;
const ENDPOINT_FORGOTTEN: u8 = 12;
const MOVED: u8 = 13;
/// `JOB_SHOWN` before jobs were shown. Read only.
const JOB: u8 = 14;
const ERASED: u8 = 15;
const ATTEMPTED: u8 = 16;
const REWRITTEN: u8 = 17;
/// `ACCEPTED` and `REWRITTEN` with a last field, which most have no use for.
const ACCEPTED_WITH_EXTRAS: u8 = 18;
const REWRITTEN_WITH_EXTRAS: u8 = 19;
const SOURCE_FORGOTTEN: u8 = 22;
const SOURCE_COUNTS: u8 = 23;
const JOB_SHOWN: u8 = 24;

impl<'a> Record<'a> {
    pub fn kind(&self) -> u8 {
        match self {
            Record::Accepted(accepted) if accepted.extras_len > 0 => ACCEPTED_WITH_EXTRAS,
            Record::Accepted(_) => ACCEPTED,
            Record::Attempted(_) => ATTEMPTED,
            Record::Acted(_) => ACTED,
            Record::Endpoint(_) => ENDPOINT,
            Record::Rewritten(rewritten) if rewritten.extras_len > 0 => REWRITTEN_WITH_EXTRAS,
            Record::Rewritten(_) => REWRITTEN,
            Record::KeyKept(_) => KEY_KEPT,
            Record::Forgotten(_) => FORGOTTEN,
            Record::KeysForgotten(_) => KEYS_FORGOTTEN,
            Record::LastId(_) => LAST_ID,
            Record::EndpointSpec(_) => ENDPOINT_DEFINED,
            Record::EndpointDeleted(_) => ENDPOINT_DELETED,
            Record::EndpointForgotten(_) => ENDPOINT_FORGOTTEN,
            Record::Moved(_) => MOVED,
            Record::Job(_) => JOB_SHOWN,
            Record::Erased(_) => ERASED,
            Record::Source(_) => SOURCE_DEFINED,
            Record::SourceCounts(_) => SOURCE_COUNTS,
            Record::SourceForgotten(_) => SOURCE_FORGOTTEN,
        }
    }

    /// Appends the head's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Accepted(accepted) => {
                put(&(&accepted.event, accepted.due, &accepted.endpoints), out);
                put_unless_zero(accepted.extras_len, out);
            }
            Record::Attempted(attempted) => put(attempted, out),
            Record::Acted(acted) => put(acted, out),
            Record::Endpoint(row) => put(row, out),
            Record::Rewritten(rewritten) => {
                put(&(&rewritten.event, &rewritten.deliveries), out);
                put_unless_zero(rewritten.extras_len, out);
            }
            Record::KeyKept(kept) => put(kept, out),
            Record::Forgotten(ids) => put(ids, out),
            Record::KeysForgotten(keys) => put(keys, out),
            Record::LastId(id) => put(id, out),
            Record::EndpointSpec(row) => put(&(row.no, row.changed_at), out),
            Record::EndpointDeleted(deleted) => put(deleted, out),
            Record::EndpointForgotten(no) => put(no, out),
            Record::Moved(moved) => put(moved, out),
            Record::Job(row) => put(row, out),
            Record::Erased(row) => put(row, out),
            Record::Source(row) => put(&(row.id, row.changed_at), out),
            Record::SourceCounts(row) => put(row, out),
            Record::SourceForgotten(id) => put(id, out),
        }
    }

    /// The body of a record that has its own: a definition. All others get theirs from outside.
    pub fn own_body(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Record::EndpointSpec(row) => {
                let mut body = Vec::new();
                put(&row.spec, &mut body);
                Some(body.into())
            }
            Record::Source(row) => Some((&row.definition.0[..]).into()),
            _ => None,
        }
    }

    /// Reads what [`encode`](Self::encode) and [`own_body`](Self::own_body) wrote; bytes left over
    /// are an error. `body`: `None` if it was overwritten or is damaged. Of a definition nothing is
    /// left then, `Ok(None)`: a later record has another one, or it was lost to damage.
    pub fn decode(
        kind: u8,
        head: &'a [u8],
        body: Option<&[u8]>,
    ) -> Result<Option<Record<'a>>, BadRecord> {
        if definition::is_of_endpoint(kind) {
            let found = definition::endpoint(kind, head, body)?;
            return Ok(found.map(Record::EndpointSpec));
        }
        if definition::is_of_source(kind) {
            let found = definition::source(kind, head, body)?;
            return Ok(found.map(Record::Source));
        }
        Record::decode_head(kind, head).map(Some)
    }

    /// Whether [`decode`](Self::decode) reads the body of records of this kind.
    pub fn is_read_with_body(kind: u8) -> bool {
        definition::is_of_endpoint(kind) || definition::is_of_source(kind)
    }

    fn decode_head(kind: u8, head: &'a [u8]) -> Result<Record<'a>, BadRecord> {
        Ok(match kind {
            ACCEPTED => {
                let (event, due, endpoints) = take(kind, head)?;
                Record::Accepted(Accepted {
                    event,
                    due,
                    endpoints,
                    extras_len: 0,
                })
            }
            ACCEPTED_WITH_EXTRAS => Record::Accepted(take(kind, head)?),
            ATTEMPTED => Record::Attempted(take(kind, head)?),
            ACTED => Record::Acted(take(kind, head)?),
            ENDPOINT => Record::Endpoint(take(kind, head)?),
            REWRITTEN => {
                let (event, deliveries) = take(kind, head)?;
                Record::Rewritten(Rewritten {
                    event,
                    deliveries,
                    extras_len: 0,
                })
            }
            REWRITTEN_WITH_EXTRAS => Record::Rewritten(take(kind, head)?),
            KEY_KEPT => Record::KeyKept(take(kind, head)?),
            FORGOTTEN => Record::Forgotten(take(kind, head)?),
            KEYS_FORGOTTEN => Record::KeysForgotten(take(kind, head)?),
            LAST_ID => Record::LastId(take(kind, head)?),
            ENDPOINT_DELETED => Record::EndpointDeleted(take(kind, head)?),
            ENDPOINT_FORGOTTEN => Record::EndpointForgotten(take(kind, head)?),
            MOVED => Record::Moved(take(kind, head)?),
            JOB => Record::Job(JobRow::plain(kind, head)?),
            JOB_SHOWN => Record::Job(take(kind, head)?),
            ERASED => Record::Erased(take(kind, head)?),
            SOURCE_COUNTS => Record::SourceCounts(take(kind, head)?),
            SOURCE_FORGOTTEN => Record::SourceForgotten(take(kind, head)?),
            _ => return Err(BadRecord { kind }),
        })
    }
}

#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;
