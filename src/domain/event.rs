//! Events as the application hands them in, and the names and keys that they carry.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

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

/// Idempotency keys that begin so stand for the source and id of a CloudEvent. No client can post
/// such a key.
pub const CLOUDEVENT_KEY: &str = "\u{0}cloudevent:";

/// Idempotency keys that begin so stand for a source and the id that the provider gave a delivery.
/// No client can post such a key.
pub const SOURCE_KEY: &str = "\u{0}source:";

/// The idempotency key of a delivery that a source takes in: in a space of that source alone.
/// `source` is its id, `[A-Za-z0-9_-]{1,64}`. Of a delivery id that is too long for a key it has
/// the SHA-256 instead, as `sha256:` and hexadecimal digits.
pub fn source_key(source: &str, delivery: &str) -> Key {
    let key = |delivery: &str| format!("{SOURCE_KEY}{source}:{delivery}");
    Key::new(&key(delivery)).unwrap_or_else(|_| {
        let hash = Bytes::copy_from_slice(&Sha256::digest(delivery));
        Key(key(&format!("sha256:{hash:x}")).into())
    })
}

/// How long the delivery ids of a source are kept if the source does not set it.
pub const SOURCE_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// The source and the delivery id of an idempotency key, if it is of a source.
pub fn source_of_key(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(SOURCE_KEY)?.split_once(':')
}

/// The most that `max_event_size` may be, of the daemon or of a source, in bytes.
pub const MAX_EVENT_SIZE: u64 = 256 * 1024 * 1024;

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

/// An event that was posted and checked, but has no id and no moment yet.
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
    fn a_delivery_id_is_a_key_in_a_space_of_its_source() {
        let key = source_key("stripe-live", "evt:1");
        assert_eq!(key.as_str(), "\0source:stripe-live:evt:1");
        assert_eq!(source_of_key(key.as_str()), Some(("stripe-live", "evt:1")));
        assert_ne!(key, source_key("stripe", "live:evt:1"));
        for other in ["order-7", "\0cloudevent:a b", "source:a:b"] {
            assert_eq!(source_of_key(other), None, "{other}");
        }
        // The longest that fits, and one more.
        let source = "s".repeat(64);
        let fits = "d".repeat(256 - SOURCE_KEY.len() - source.len() - 1);
        let key = source_key(&source, &fits);
        assert_eq!(key.as_str().len(), 256);
        assert_eq!(source_of_key(key.as_str()), Some((&*source, &*fits)));
        let hashed = source_key(&source, &format!("{fits}d"));
        let (_, delivery) = source_of_key(hashed.as_str()).unwrap();
        assert_eq!(delivery.len(), "sha256:".len() + 64);
        assert!(Key::new(hashed.as_str()).is_ok());
        assert_ne!(hashed, source_key(&source, &format!("{fits}e")));
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
