//! A CloudEvent in memory, and what makes it unique.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::attribute::{AttributeName, Value};
use super::media;

/// The only version of the specification that is read and written.
pub const SPECVERSION: &str = "1.0";

/// What a member adds to its value: the longest name, quotes and separators.
const MEMBER: usize = 26;

/// An event and its context attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    pub id: Box<str>,
    /// A URI reference (RFC 3986, 4.1).
    pub source: Box<str>,
    pub event_type: Box<str>,
    pub subject: Option<Box<str>>,
    /// RFC 3339, as it was written.
    pub time: Option<Box<str>>,
    /// As it was written. [`CloudEvent::content_type`] fills in what it implies if absent.
    pub datacontenttype: Option<Box<str>>,
    /// An absolute URI.
    pub dataschema: Option<Box<str>>,
    /// In the order in which they were written; no name stands twice.
    pub extensions: Vec<(AttributeName, Value)>,
    pub data: Data,
}

/// What an event carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Data {
    #[default]
    None,
    /// A JSON value, byte for byte as it was written.
    Json(Bytes),
    /// Anything else, as [`CloudEvent::datacontenttype`] declares it.
    Opaque(Bytes),
}

impl Data {
    /// Data of that content type: JSON only if it is declared to be and is.
    pub fn of(content_type: Option<&str>, body: Bytes) -> Data {
        if body.is_empty() {
            Data::None
        } else if content_type.is_some_and(media::is_json) && media::check_json(&body).is_ok() {
            Data::Json(body)
        } else {
            Data::Opaque(body)
        }
    }

    /// The bytes; none if there is no data.
    pub fn bytes(&self) -> Bytes {
        match self {
            Data::None => Bytes::new(),
            Data::Json(bytes) | Data::Opaque(bytes) => bytes.clone(),
        }
    }
}

impl CloudEvent {
    /// The content type of the data: `datacontenttype`, or what its absence stands for.
    pub fn content_type(&self) -> Option<&str> {
        match (&self.datacontenttype, &self.data) {
            (Some(written), _) => Some(written),
            (None, Data::Json(_)) => Some("application/json"),
            (None, Data::Opaque(_)) => Some("application/octet-stream"),
            (None, Data::None) => None,
        }
    }

    /// The value of an extension attribute.
    pub fn extension(&self, name: &str) -> Option<&Value> {
        let mut all = self.extensions.iter();
        all.find(|(own, _)| own.as_str() == name)
            .map(|(_, value)| value)
    }

    /// About how long it is in the JSON event format, in bytes; its data counts as it is.
    pub fn size(&self) -> usize {
        let given = [
            &self.subject,
            &self.time,
            &self.datacontenttype,
            &self.dataschema,
        ];
        let given = given.into_iter().flatten();
        let given = given.map(|value| MEMBER + value.len());
        let extensions = self.extensions.iter().map(|(_, value)| match value {
            Value::String(text) => MEMBER + text.len(),
            // At most as long as `false` or the lowest number.
            Value::Boolean(_) | Value::Integer(_) => MEMBER + 11,
        });
        let required = [&self.id, &self.source, &self.event_type];
        let required = required.into_iter().map(|value| MEMBER + value.len());
        let members = required.chain(given).chain(extensions);
        members.sum::<usize>() + MEMBER + self.data.bytes().len()
    }

    /// The key of the event's identity, [`identity`].
    pub fn identity(&self) -> [u8; 32] {
        identity(&self.source, &self.id)
    }
}

/// A key for `source` and `id` together, which the specification makes unique for each event.
///
/// Both are compared byte for byte; `("a", "bc")` and `("ab", "c")` have different keys. The
/// caller gives the keys a space of their own in each tenant.
pub fn identity(source: &str, id: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"outboxd cloudevent 1\n");
    hash.update((source.len() as u64).to_be_bytes());
    hash.update(source);
    hash.update(id);
    hash.finalize().into()
}
