//! Events as the application hands them in, and the names and keys that they carry.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use super::extras::Extras;
use super::name::{BadName, checked_name, is_plain};
use super::time::Timestamp;

/// A ULID; written `evt_` and 26 characters of Crockford's base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

impl EventId {
    /// The milliseconds since 1970 that the ULID begins with.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> 80) as u64)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; ulid::ULID_LEN];
        write!(f, "evt_{}", ulid::Ulid(self.0).array_to_str(&mut text))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for EventId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let ulid = text.strip_prefix("evt_").ok_or(BadName::EventId)?;
        let ulid = ulid::Ulid::from_string(ulid).map_err(|_| BadName::EventId)?;
        Ok(EventId(ulid.0))
    }
}

checked_name!(
    /// An event's type: segments of `[A-Za-z0-9_-]+` joined by `.`, at most 128 bytes.
    EventType,
    BadName::EventType,
    |text| text.len() <= 128 && text.split('.').all(|segment| is_plain(segment, 128))
);

checked_name!(
    /// A namespace of endpoints and events: `[A-Za-z0-9_-]{1,64}`.
    Tenant,
    BadName::Tenant,
    |text| is_plain(text, 64)
);

checked_name!(
    /// An ordering or idempotency key: 1 to 256 bytes of UTF-8.
    Key,
    BadName::Key,
    |text| !text.is_empty() && text.len() <= 256
);

/// Idempotency keys that begin so stand for the source and id of a CloudEvent. No client can hand in
/// such a key.
pub const CLOUDEVENT_KEY: &str = "\u{0}cloudevent:";

/// Types that begin so are the daemon's own.
pub const RESERVED_PREFIX: &str = "outboxd.";

impl EventType {
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED_PREFIX)
    }
}

impl Tenant {
    pub const DEFAULT: &'static str = "default";
}

impl Default for Tenant {
    fn default() -> Self {
        Tenant(Self::DEFAULT.into())
    }
}

/// What an event carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A JSON value, byte for byte as it was written; delivered in the envelope.
    Json(Bytes),
    /// Anything else; delivered verbatim with its content type.
    Opaque { content_type: Arc<str>, body: Bytes },
}

impl Payload {
    pub fn len(&self) -> usize {
        match self {
            Payload::Json(data) => data.len(),
            Payload::Opaque { body, .. } => body.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An event that was handed in and checked, but has no id and no moment yet.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub tenant: Tenant,
    pub event_type: EventType,
    pub payload: Payload,
    /// The ordering key.
    pub key: Option<Key>,
    pub idempotency_key: Option<Key>,
    /// First attempts are due then; now if `None`.
    pub deliver_at: Option<Timestamp>,
    /// Most have none.
    pub extras: Option<Arc<Extras>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_bounds() {
        let long = "a".repeat(129);
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "ä", &long] {
            assert!(EventType::new(bad).is_err(), "{bad}");
        }
        for good in ["a", "order.created", "A_1-x.b", &long[..128]] {
            assert!(EventType::new(good).is_ok(), "{good}");
        }
        assert!(Tenant::new("a.b").is_err() && Tenant::new(&long[..65]).is_err());
        assert!(Tenant::new(&long[..64]).is_ok());
        assert!(Key::new("").is_err() && Key::new(&"k".repeat(257)).is_err());
        assert!(Key::new("ümlaut and spaces").is_ok());
    }

    #[test]
    fn event_ids_are_read_as_they_are_written() {
        let id = EventId(0x0198_0000_0000_1234_5678_9abc_def0_1234);
        assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
        assert_eq!(id.to_string().len(), 30);
        for bad in [
            "",
            "evt_",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "evt_01ARZ3NDEKTSV4RRFFQ69G5FA",
        ] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }
}
