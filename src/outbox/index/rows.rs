//! What the index keeps under its keys, in bincode. The index is thrown away whenever
//! its version differs, so these may change freely: raise [`VERSION`] when they do.

use bincode::de::BorrowDecoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Encode};
use smallvec::SmallVec;

use super::bucket::BucketRow;
use super::outcome::Outcome;
use crate::outbox::record::{self, BadRecord, DeliveryRow, EndpointStateRow, KeyBytes, SpecRow};

/// The spelling of rows and keys. An index of another version is rebuilt.
pub const VERSION: u32 = 14;

/// An event, without its deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct EventRow<'a> {
    /// Its record: `Accepted`, or `Rewritten` later on.
    pub lsn: u64,
    /// The true time of acceptance, which the id's may be ahead of.
    pub accepted_at: u64,
    pub body_len: u32,
    /// The body was lost to damage; see `EventHead`.
    pub body_lost: bool,
    pub tenant: &'a str,
    pub event_type: &'a str,
    pub key: Option<&'a str>,
    pub idempotency_key: Option<&'a str>,
    pub deliver_at: Option<u64>,
    pub deliveries: u32,
}

/// A delivery, and when its last attempt began: the head of the chain of its [`AttemptEntry`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryEntry {
    pub row: DeliveryRow,
    /// The position of its last attempt in the list of attempts; 0: it has none.
    attempted: u64,
}

/// [`DeliveryEntry`] as it is stored. Times are in milliseconds after the due time, which takes few bytes;
/// `None`: there was none.
#[derive(Encode, BorrowDecode)]
struct StoredDelivery {
    status: u8,
    reason: u8,
    attempt_count: u32,
    tries: u32,
    due: u64,
    budget_from: i64,
    finished: Option<i64>,
    exact: bool,
    last_attempt: u64,
    attempt_bytes: u32,
    attempted: Option<i64>,
}

impl DeliveryEntry {
    /// `attempted`: the position of its last attempt in the list of attempts; 0: it has none.
    pub fn new(row: DeliveryRow, attempted: u64) -> DeliveryEntry {
        DeliveryEntry { row, attempted }
    }

    pub fn attempted(&self) -> u64 {
        self.attempted
    }
}

impl Encode for DeliveryEntry {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let DeliveryEntry { row, attempted } = *self;
        let after_due = |at: u64| at.wrapping_sub(row.due).cast_signed();
        let known = |at: u64| (at > 0).then(|| after_due(at));
        let stored = StoredDelivery {
            status: row.status,
            reason: row.reason,
            attempt_count: row.attempt_count,
            tries: row.tries,
            due: row.due,
            budget_from: after_due(row.budget_from),
            finished: known(row.finished_at),
            exact: row.exact,
            last_attempt: row.last_attempt,
            attempt_bytes: row.attempt_bytes,
            attempted: known(attempted),
        };
        stored.encode(encoder)
    }
}

impl<'a, C> BorrowDecode<'a, C> for DeliveryEntry {
    fn borrow_decode<D: BorrowDecoder<'a, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        let stored = StoredDelivery::borrow_decode(decoder)?;
        let at = |after_due: i64| stored.due.wrapping_add(after_due.cast_unsigned());
        let row = DeliveryRow {
            status: stored.status,
            reason: stored.reason,
            attempt_count: stored.attempt_count,
            tries: stored.tries,
            due: stored.due,
            budget_from: at(stored.budget_from),
            finished_at: stored.finished.map_or(0, at),
            exact: stored.exact,
            last_attempt: stored.last_attempt,
            attempt_bytes: stored.attempt_bytes,
        };
        let attempted = stored.attempted.map_or(0, at);
        Ok(DeliveryEntry { row, attempted })
    }
}

/// The fields of an attempt that filters of lists need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct AttemptEntry {
    /// How far before this one the delivery's previous attempt is in the list, in milliseconds; 0:
    /// there is none.
    pub since_previous: u64,
    pub outcome: Outcome,
}

/// A pending delivery, with what an attempt needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct QueueRow {
    pub lsn: u64,
    pub tries: u32,
    pub attempt_count: u32,
    /// In milliseconds after the due time, which the key has.
    budget_from: i64,
    pub exact: bool,
    /// That of the event's key; 0: it has none.
    pub chain: u64,
}

impl QueueRow {
    pub fn new(lsn: u64, row: &DeliveryRow, chain: u64) -> QueueRow {
        QueueRow {
            lsn,
            tries: row.tries,
            attempt_count: row.attempt_count,
            budget_from: row.budget_from.wrapping_sub(row.due).cast_signed(),
            exact: row.exact,
            chain,
        }
    }

    pub fn budget_from(&self, due: u64) -> u64 {
        due.wrapping_add(self.budget_from.cast_unsigned())
    }
}

/// What an idempotency key was used with, and the answer that was given.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyRow<'a> {
    pub content: [u8; 32],
    pub id: u128,
    pub accepted_at: u64,
    pub event_type: &'a str,
    pub deliveries: u32,
}

/// An endpoint's name, state and totals.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct StoredEndpointRow<'a> {
    pub id: &'a str,
    pub tenant: &'a str,
    pub state: EndpointStateRow,
    /// When it was deleted through the API.
    pub deleted: Option<u64>,
    pub totals: EndpointTotals,
    pub open_stats: BucketRow,
}

/// The definition of an endpoint made by the API.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct SpecEntry {
    /// Where its record is.
    pub lsn: u64,
    pub changed_at: u64,
    pub spec: SpecRow,
}

/// The definition of a source made by the API.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct SourceEntry {
    /// Where its record is.
    pub lsn: u64,
    pub changed_at: u64,
    pub definition: KeyBytes,
}

/// What a source has counted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct SourceCountsEntry {
    /// Where its record is.
    pub lsn: u64,
    pub counts: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct EndpointTotals {
    pub pending: u64,
    pub held: u64,
    /// Of these the ones that cannot be rendered.
    pub unrendered: u64,
    pub delivered: u64,
    pub dead: u64,
    /// The bodies of pending deliveries, in bytes.
    pub pending_bytes: u64,
    /// Of these the ones of events that go nowhere else.
    pub sole_pending_bytes: u64,
    /// The bodies of held deliveries of events that go nowhere else, in bytes.
    pub sole_held_bytes: u64,
}

/// An event that was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct ErasedEntry {
    /// Where its record is.
    pub lsn: u64,
    pub at: u64,
    /// Every copy of its bodies was overwritten.
    pub done: bool,
}

/// Of the index as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct MetaRow {
    pub version: u32,
    pub store_id: [u8; 16],
    /// Everything in the log below this is in the index.
    pub applied: u64,
    /// The highest event id ever given.
    pub last_id: u128,
    /// How far ahead of its event's true time an id ever was, in milliseconds.
    pub ids_ahead: u64,
    /// The highest endpoint number ever given.
    pub last_no: u32,
    /// What the definitions of endpoints take in the log, in bytes.
    pub spec_bytes: u64,
    /// What the definitions and counts of sources take there.
    pub source_bytes: u64,
    /// The bodies of all events with an open delivery, in bytes, each once.
    pub open_bytes: u64,
    /// Events with an open delivery.
    pub open_events: u64,
    pub events: u64,
    /// About what all events in the index take in the log, finished or not, in bytes.
    pub kept_bytes: u64,
    /// About what all deliveries in the index take there, with their attempts.
    pub attempt_bytes: u64,
    /// Events that were erased and of which that is still known.
    pub erased: u64,
    /// The next block that is looked at for events; see `blocks`.
    pub swept: u128,
}

/// About what an event takes in the log besides its body: heads, attempts, framing.
pub const EVENT_COST: u64 = 256;

/// About what a delivery takes in the log besides its attempts.
pub const DELIVERY_COST: u64 = 48;

/// What an endpoint's definition takes in the log besides itself: name, state, framing.
pub const SPEC_COST: u64 = 256;

/// What a source's definition or counts take in the log besides themselves: id, framing.
pub const SOURCE_COST: u64 = 128;

/// What it takes in the log to know that an event was erased.
pub const ERASED_COST: u64 = 64;

impl MetaRow {
    /// About what has to stay in the log, in bytes.
    pub fn wanted_bytes(&self) -> u64 {
        let defined = self.spec_bytes + self.source_bytes;
        self.kept_bytes + self.attempt_bytes + defined + self.erased * ERASED_COST
    }
}

/// A row's bytes, which take no memory of their own if they are few.
pub type Row = SmallVec<[u8; 48]>;

/// A row's bytes.
pub fn encode<T: Encode>(row: &T) -> Row {
    let mut place = [0; 64];
    if let Some(len) = record::put_in(row, &mut place) {
        return Row::from_slice(&place[..len]);
    }
    let mut out = Row::new();
    record::put(row, &mut out);
    out
}

/// A row from its bytes, all of them.
pub fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, BadRecord> {
    record::take(0, bytes)
}
