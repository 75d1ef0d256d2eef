//! One block of events, and its filter of attributes; see `blocks`.

use bincode::{BorrowDecode, Encode};

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::record::EventHead;

use super::keys::{self, Key};
use super::pages::PagesError;
use super::rows::{self, Row};

/// How many events a block has when the next one begins. Few in tests, which have few events.
pub(super) const EVENTS: u32 = if cfg!(test) { 8 } else { 1024 };
/// Of a filter: 16 for each of two keys that only one event has, so that one of 400 blocks is read
/// in vain.
const BITS: usize = 1 << 15;
/// How many bits an attribute has in a filter, of 15 bits of its hash each.
const BITS_SET: u32 = 4;

/// What an event has, or an endpoint that it goes to.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    Tenant(&'a str),
    Type(&'a str),
    /// The beginning of a type, with the dot at its end.
    Prefix(&'a str),
    Key(&'a str),
    IdempotencyKey(&'a str),
    Endpoint(EndpointNo),
}

/// The place of an attribute in filters.
#[derive(Clone, Copy, Debug)]
pub struct Place(u64);

impl Attribute<'_> {
    pub fn place(self) -> Place {
        let number;
        let (tag, bytes) = match self {
            Attribute::Tenant(name) => (0, name.as_bytes()),
            Attribute::Type(name) => (1, name.as_bytes()),
            Attribute::Prefix(prefix) => (2, prefix.as_bytes()),
            Attribute::Key(key) => (3, key.as_bytes()),
            Attribute::IdempotencyKey(key) => (4, key.as_bytes()),
            Attribute::Endpoint(no) => {
                number = no.0.to_be_bytes();
                (5, &number[..])
            }
        };
        Place(mixed(crc32c::crc32c_append(crc32c::crc32c(&[tag]), bytes)))
    }
}

/// Spreads a checksum over 64 bits (the finalizer of SplitMix64).
fn mixed(sum: u32) -> u64 {
    let mut mixed = u64::from(sum).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Place {
    /// Its bits, as bytes of the filter and masks.
    pub(super) fn bits(self) -> impl Iterator<Item = (usize, u8)> {
        (0..BITS_SET).map(move |n| {
            let bit = (self.0 >> (15 * n)) as usize % BITS;
            (bit / 8, 1 << (bit % 8))
        })
    }

    pub(super) fn is_in(self, filter: &[u8]) -> bool {
        let is_set = |(at, mask)| filter.get(at).is_none_or(|byte: &u8| byte & mask != 0);
        self.bits().all(is_set)
    }
}

/// The prefixes of a type that a pattern can name.
fn prefixes(event_type: &str) -> impl Iterator<Item = &str> {
    let ends = event_type.match_indices('.').map(|(at, _)| at + 1);
    ends.filter_map(|end| event_type.get(..end))
}

/// A block as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
struct BlockRow<'a> {
    /// The highest id that it was given.
    last: u128,
    /// How many events it was given.
    events: u32,
    filter: &'a [u8],
}

/// A block in memory.
#[derive(Debug)]
pub(super) struct Block {
    pub start: EventId,
    /// Where the next block begins.
    end: Option<EventId>,
    last: EventId,
    events: u32,
    pub filter: Vec<u8>,
    is_stored: bool,
    /// The tenant and the type of the event that was added last, which the next one may have too; empty:
    /// none was.
    tenant: String,
    event_type: String,
    /// The last endpoint of that event.
    endpoint: Option<EndpointNo>,
}

impl Block {
    pub fn new(start: EventId, end: Option<EventId>) -> Block {
        Block {
            start,
            end,
            last: start,
            events: 0,
            filter: vec![0; BITS / 8],
            is_stored: false,
            tenant: String::new(),
            event_type: String::new(),
            endpoint: None,
        }
    }

    /// A full block takes only events between those that it has.
    pub fn takes(&self, id: EventId) -> bool {
        let is_within = self.start <= id && self.end.is_none_or(|end| id < end);
        is_within && (self.events < EVENTS || id <= self.last)
    }

    /// No block is behind this one, which is full: an event with a higher id begins the next.
    pub fn ends_before(&self, id: EventId) -> bool {
        self.end.is_none() && self.events >= EVENTS && self.last < id
    }

    /// Reads a row of this key.
    pub fn read(key: &[u8], value: &[u8], end: Option<EventId>) -> Result<Block, PagesError> {
        let row: BlockRow<'_> = rows::decode(value).map_err(|_| PagesError::Damaged)?;
        Ok(Block {
            start: keys::event_of(key).ok_or(PagesError::Damaged)?,
            end,
            last: EventId(row.last),
            events: row.events,
            filter: row.filter.to_vec(),
            is_stored: true,
            tenant: String::new(),
            event_type: String::new(),
            endpoint: None,
        })
    }

    /// Adds an event with its attributes.
    pub fn add(&mut self, head: &EventHead<'_>, endpoints: impl Iterator<Item = EndpointNo>) {
        self.events = self.events.saturating_add(1);
        self.last = self.last.max(EventId(head.id));
        self.is_stored = false;
        if self.tenant != head.tenant || self.event_type != head.event_type {
            named(head.tenant, head.event_type).for_each(|attribute| self.set(attribute));
            head.tenant.clone_into(&mut self.tenant);
            head.event_type.clone_into(&mut self.event_type);
        }
        let idempotency = head.idempotency.as_ref().map(|idempotency| idempotency.key);
        keyed(head.key, idempotency).for_each(|attribute| self.set(attribute));
        for no in endpoints {
            if self.endpoint != Some(no) {
                self.set(Attribute::Endpoint(no));
                self.endpoint = Some(no);
            }
        }
    }

    fn set(&mut self, attribute: Attribute<'_>) {
        for (at, mask) in attribute.place().bits() {
            if let Some(byte) = self.filter.get_mut(at) {
                *byte |= mask;
            }
        }
    }

    /// The row to write, unless it was written as it is.
    pub fn unwritten(&mut self) -> Option<(Key, Row)> {
        if std::mem::replace(&mut self.is_stored, true) {
            return None;
        }
        let row = BlockRow {
            last: self.last.0,
            events: self.events,
            filter: &self.filter,
        };
        Some((keys::block(self.start), rows::encode(&row)))
    }
}

/// The filter in the value of a row.
pub(super) fn filter_in(value: &[u8]) -> Result<&[u8], PagesError> {
    let row: BlockRow<'_> = rows::decode(value).map_err(|_| PagesError::Damaged)?;
    Ok(row.filter)
}

/// The block in use, and whether others may have no events.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    pub in_use: Option<Block>,
    /// All blocks were looked at, and no event was removed since that began.
    pub are_swept: bool,
    /// An event was removed since the first block was looked at.
    pub have_lost: bool,
}

impl Blocks {
    /// An event was removed.
    pub fn lost_one(&mut self) {
        (self.are_swept, self.have_lost) = (false, true);
    }
}

/// The attributes of an event without its endpoints.
pub(super) fn attributes<'a>(
    tenant: &'a str,
    event_type: &'a str,
    key: Option<&'a str>,
    idempotency_key: Option<&'a str>,
) -> impl Iterator<Item = Attribute<'a>> {
    named(tenant, event_type).chain(keyed(key, idempotency_key))
}

fn named<'a>(tenant: &'a str, event_type: &'a str) -> impl Iterator<Item = Attribute<'a>> {
    let named = [Attribute::Tenant(tenant), Attribute::Type(event_type)];
    let prefixes = prefixes(event_type).map(Attribute::Prefix);
    named.into_iter().chain(prefixes)
}

fn keyed<'a>(
    key: Option<&'a str>,
    idempotency_key: Option<&'a str>,
) -> impl Iterator<Item = Attribute<'a>> {
    let keys = [
        key.map(Attribute::Key),
        idempotency_key.map(Attribute::IdempotencyKey),
    ];
    keys.into_iter().flatten()
}
