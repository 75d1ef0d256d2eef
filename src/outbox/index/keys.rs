//! The index's keys, spelled in one place. Numbers are big endian, so that the order of
//! keys is the order of what they name.
//!
//! | key | names | holds |
//! | --- | --- | --- |
//! | `a` endpoint, at, event | an attempt, by when it began | `AttemptEntry` |
//! | `b` event | a block of events, by the first of them | `BlockRow` |
//! | `c` source | what a source has counted | `SourceCountsEntry` |
//! | `d` event, endpoint | a delivery | `DeliveryEntry` |
//! | `e` event | an event | `EventRow` |
//! | `f` kind, finished at, event | an event with nothing open, by when that was | nothing |
//! | `g` segment | how many rows say that their record is in this segment of the log | `u64` |
//! | `h` endpoint, event | a delivery that is held for itself (not for its endpoint) | nothing |
//! | `i` tenant, 0, key | an idempotency key | `KeyRow` |
//! | `j` job | a replay or purge under way | `JobRow` |
//! | `k` endpoint, chain, event | a pending delivery whose event has a key, by key and age | nothing |
//! | `m` | the index itself | `MetaRow` |
//! | `n` endpoint | an endpoint's name, state and totals | `StoredEndpointRow` |
//! | `o` event | how many of an event's deliveries are open, if it has several | `u32` |
//! | `p` endpoint, event | an open (pending or held) delivery, by age | nothing |
//! | `q` endpoint, due, event | a pending delivery, by due time | `QueueRow` |
//! | `r` source | the definition of a source made by the API | `SourceEntry` |
//! | `s` endpoint | the definition of an endpoint made by the API | `SpecEntry` |
//! | `t` span, minute, subject | counts of a minute or quarter of an hour | counts by slot |
//! | `u` tenant | counts of a tenant, or of all, in the current minute | `BucketRow` |
//! | `x` endpoint, event | a dead delivery | nothing |
//! | `y` endpoint, at | a block of an endpoint's attempts, by the first position in it | `BlockRow` |
//! | `z` event | an erased event | `ErasedEntry` |

use smallvec::SmallVec;

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;

/// A key, which takes no memory of its own unless it has text.
pub type Key = SmallVec<[u8; 32]>;

/// The lists that a delivery stands in, by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Pending or held.
    Open,
    /// Held for itself: of those in `Open` the ones that enabling does not release.
    Held,
    Dead,
}

impl List {
    fn tag(self) -> u8 {
        match self {
            List::Open => b'p',
            List::Held => b'h',
            List::Dead => b'x',
        }
    }
}

pub const META: &[u8] = b"m";

fn build(tag: u8, parts: &[&[u8]]) -> Key {
    let mut key = Key::new();
    key.push(tag);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// What the keys of a run begin with, in the order of the keys: the tag, and the endpoint where one follows.
/// Each is usually higher than those before.
pub fn run_of(key: &[u8]) -> u64 {
    let len = match key.first() {
        Some(b'a' | b'h' | b'k' | b'p' | b'q' | b'x' | b'y') => 5,
        _ => 1,
    };
    let mut run = [0; 8];
    let len = key.len().min(len);
    run[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(run)
}

/// What the key of every block begins with.
pub const BLOCKS: &[u8] = b"b";

/// The block that begins with this event.
pub fn block(start: EventId) -> Key {
    build(b'b', &[&start.0.to_be_bytes()])
}

pub fn event(id: EventId) -> Key {
    build(b'e', &[&id.0.to_be_bytes()])
}

/// What became of an event with nothing open: how long it is kept depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Delivered everywhere, or wanted nowhere.
    Delivered,
    /// At least one delivery is dead.
    Dead,
}

impl End {
    fn tag(self) -> u8 {
        match self {
            End::Delivered => 0,
            End::Dead => 1,
        }
    }
}

pub fn finished(end: End, at: u64, id: EventId) -> Key {
    build(
        b'f',
        &[&[end.tag()], &at.to_be_bytes(), &id.0.to_be_bytes()],
    )
}

/// When the event of an `f` key was finished.
pub fn finished_at(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.get(2..10)?.first_chunk()?))
}

pub fn segment(base: u64) -> Key {
    build(b'g', &[&base.to_be_bytes()])
}

/// What every segment key begins with.
pub const SEGMENTS: &[u8] = b"g";

/// The segment at the end of a `g` key.
pub fn segment_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk()?))
}

pub fn open_count(id: EventId) -> Key {
    build(b'o', &[&id.0.to_be_bytes()])
}

pub fn delivery(id: EventId, no: EndpointNo) -> Key {
    build(b'd', &[&id.0.to_be_bytes(), &no.0.to_be_bytes()])
}

/// What every delivery key of this event begins with.
pub fn deliveries(id: EventId) -> Key {
    build(b'd', &[&id.0.to_be_bytes()])
}

pub fn queued(no: EndpointNo, due: u64, id: EventId) -> Key {
    build(
        b'q',
        &[&no.0.to_be_bytes(), &due.to_be_bytes(), &id.0.to_be_bytes()],
    )
}

/// What every queue key of this endpoint begins with.
pub fn queue_of(no: EndpointNo) -> Key {
    build(b'q', &[&no.0.to_be_bytes()])
}

/// What every key of this list and endpoint begins with.
pub fn list_of(list: List, no: EndpointNo) -> Key {
    build(list.tag(), &[&no.0.to_be_bytes()])
}

/// What every delivery key begins with.
pub const DELIVERIES: &[u8] = b"d";

pub fn listed(list: List, no: EndpointNo, id: EventId) -> Key {
    build(list.tag(), &[&no.0.to_be_bytes(), &id.0.to_be_bytes()])
}

/// A pending delivery of an endpoint in the chain of its event's key.
pub fn chained(no: EndpointNo, chain: u64, id: EventId) -> Key {
    build(
        b'k',
        &[
            &no.0.to_be_bytes(),
            &chain.to_be_bytes(),
            &id.0.to_be_bytes(),
        ],
    )
}

/// What every key of this endpoint and chain begins with.
pub fn chain_of(no: EndpointNo, chain: u64) -> Key {
    build(b'k', &[&no.0.to_be_bytes(), &chain.to_be_bytes()])
}

/// An attempt of a delivery.
pub fn attempt(no: EndpointNo, at: u64, id: EventId) -> Key {
    build(
        b'a',
        &[&no.0.to_be_bytes(), &at.to_be_bytes(), &id.0.to_be_bytes()],
    )
}

/// The prefix of all attempt keys.
pub const ATTEMPTS: &[u8] = b"a";

/// The block of an endpoint's attempts that begins at this position.
pub fn outcomes(no: EndpointNo, start: u64) -> Key {
    build(b'y', &[&no.0.to_be_bytes(), &start.to_be_bytes()])
}

/// What the keys of all blocks of an endpoint's attempts begin with.
pub fn outcomes_of(no: EndpointNo) -> Key {
    build(b'y', &[&no.0.to_be_bytes()])
}

pub fn endpoint(no: EndpointNo) -> Key {
    build(b'n', &[&no.0.to_be_bytes()])
}

/// What every endpoint key begins with.
pub const ENDPOINTS: &[u8] = b"n";

pub fn spec(no: EndpointNo) -> Key {
    build(b's', &[&no.0.to_be_bytes()])
}

/// What every key of a definition begins with.
pub const SPECS: &[u8] = b"s";

pub fn source(id: &str) -> Key {
    build(b'r', &[id.as_bytes()])
}

/// What every key of a source's definition begins with.
pub const SOURCES: &[u8] = b"r";

pub fn source_counts(id: &str) -> Key {
    build(b'c', &[id.as_bytes()])
}

/// What every key of a source's counts begins with.
pub const SOURCE_COUNTS: &[u8] = b"c";

/// The source of an `r` or `c` key.
pub fn source_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(1..)?).ok()
}

/// What the counts belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    All,
    Tenant(&'a str),
    Endpoint(EndpointNo),
}

/// A span of time that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Minute,
    /// A quarter of an hour.
    Quarter,
}

impl Span {
    fn tag(self) -> u8 {
        match self {
            Span::Minute => 0,
            Span::Quarter => 1,
        }
    }
}

/// The counts of a span that begins with this minute.
pub fn stats(span: Span, start: u32, subject: Subject<'_>) -> Key {
    let when = [&[span.tag()][..], &start.to_be_bytes()].concat();
    match subject {
        Subject::All => build(b't', &[&when, &[0]]),
        Subject::Tenant(tenant) => build(b't', &[&when, &[1], tenant.as_bytes()]),
        Subject::Endpoint(no) => build(b't', &[&when, &[2], &no.0.to_be_bytes()]),
    }
}

/// All keys of spans that begin before this minute: the first, and the one past the last.
pub fn stats_before(span: Span, start: u32) -> (Key, Key) {
    let first = build(b't', &[&[span.tag()]]);
    let end = build(b't', &[&[span.tag()], &start.to_be_bytes()]);
    (first, end)
}

/// The current minute of a tenant; the empty name stands for the total.
pub fn open_stats(tenant: &str) -> Key {
    build(b'u', &[tenant.as_bytes()])
}

/// The prefix of all keys of current minutes.
pub const OPEN_STATS: &[u8] = b"u";

/// The tenant of a `u` key.
pub fn open_stats_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(1..)?).ok()
}

pub fn job(no: u32) -> Key {
    build(b'j', &[&no.to_be_bytes()])
}

/// What every job key begins with.
pub const JOBS: &[u8] = b"j";

pub fn erased(id: EventId) -> Key {
    build(b'z', &[&id.0.to_be_bytes()])
}

/// What every key of an erased event begins with.
pub const ERASED: &[u8] = b"z";

/// What every event key begins with.
pub const EVENTS: &[u8] = b"e";

/// What every idempotency key begins with.
pub const KEYS: &[u8] = b"i";

pub fn idempotency(tenant: &str, key: &str) -> Key {
    build(b'i', &[tenant.as_bytes(), &[0], key.as_bytes()])
}

/// The tenant and key of an idempotency key.
pub fn idempotency_of(key: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(key.strip_prefix(b"i")?).ok()?;
    text.split_once('\0')
}

/// The first key after all keys that begin with `prefix`.
pub fn end_of(prefix: &[u8]) -> Key {
    let mut end = Key::from_slice(prefix);
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// The event at the end of an `a`, `b`, `e`, `h`, `k`, `p`, `q`, `x` or `z` key.
pub fn event_of(key: &[u8]) -> Option<EventId> {
    Some(EventId(u128::from_be_bytes(*key.last_chunk()?)))
}

/// The endpoint at the end of a `d` key.
pub fn endpoint_of(key: &[u8]) -> Option<EndpointNo> {
    Some(EndpointNo(u32::from_be_bytes(*key.last_chunk()?)))
}

/// The event in a `d` key.
pub fn event_of_delivery(key: &[u8]) -> Option<EventId> {
    Some(EventId(u128::from_be_bytes(
        *key.get(1..17)?.first_chunk()?,
    )))
}

/// The time in an `a`, `q` or `y` key.
pub fn time_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.get(5..13)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_give_back_what_they_name() {
        let (no, id) = (EndpointNo(7), EventId(0xfeed));
        let key = queued(no, 99, id);
        assert_eq!((time_of(&key), event_of(&key)), (Some(99), Some(id)));
        assert_eq!(endpoint_of(&delivery(id, no)), Some(no));
        assert_eq!(event_of(&event(id)), Some(id));
        assert_eq!(
            idempotency_of(&idempotency("t", "a\0b")),
            Some(("t", "a\0b"))
        );
        for key in [source("stripe-live"), source_counts("stripe-live")] {
            assert_eq!(source_of(&key), Some("stripe-live"));
        }
        assert_eq!((source_of(b""), source_of(b"r\xff")), (None, None));
        assert_eq!(
            (time_of(b"q"), event_of(b"e"), endpoint_of(b"d")),
            (None, None, None)
        );
    }

    #[test]
    fn the_end_of_a_prefix_is_past_all_that_begin_with_it() {
        assert_eq!(*end_of(b"ab"), *b"ac");
        assert_eq!(*end_of(&[b'd', 0xff]), *b"e");
        assert!(queued(EndpointNo(u32::MAX), u64::MAX, EventId(u128::MAX)) < end_of(b"q"));
    }
}
