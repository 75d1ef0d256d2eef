//! Query parameters: each known by name, each at most once, nothing ignored.

use std::fmt::Display;
use std::str::FromStr;

use http::Uri;

use super::problem::Problem;
use crate::domain::endpoint::TypePattern;
use crate::domain::event::{Key, Tenant};
use crate::domain::extras::{self, Channel};
use crate::domain::time::Timestamp;
use crate::outbox::{Cursor, EventFilter};

/// The longest cursor that is looked at, in bytes.
const MAX_CURSOR: usize = 1024;
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// The parameters of [`event_filter`], and those that every list takes.
pub const EVENT_LIST: [&str; 8] = [
    "type",
    "tenant",
    "key",
    "idempotency_key",
    "since",
    "until",
    "limit",
    "cursor",
];

/// The parameters of one request. An empty value counts as not given.
#[derive(Debug)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    /// # Errors
    /// 400 that names a parameter which is not in `known`, comes twice, or is not UTF-8.
    pub fn parse(uri: &Uri, known: &[&'static str]) -> Result<Self, Problem> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        let pairs = uri.query().unwrap_or("").split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).unwrap_or_else(|| name.to_owned());
            let Some(name) = known.iter().copied().find(|known| *known == name) else {
                return Err(unknown(&name, known));
            };
            if found.iter().any(|(seen, _)| *seen == name) {
                return Err(Problem::bad_request(format!(
                    "query parameter `{name}` is given twice"
                )));
            }
            let value = decode(value).ok_or_else(|| {
                Problem::bad_request(format!("query parameter `{name}` is not UTF-8"))
            })?;
            found.push((name, value));
        }
        Ok(Query(found))
    }

    pub fn text(&self, name: &'static str) -> Option<&str> {
        let value = self.0.iter().find(|(found, _)| *found == name)?.1.as_str();
        (!value.is_empty()).then_some(value)
    }

    /// The value of `name`, read as a `T`.
    pub fn read<T>(&self, name: &'static str) -> Result<Option<T>, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(name)
            .map(|text| text.parse().map_err(|error| malformed(name, error)))
            .transpose()
    }

    /// A type pattern, as endpoints have them.
    pub fn pattern(&self, name: &'static str) -> Result<Option<TypePattern>, Problem> {
        let read = |text: &str| TypePattern::parse(text).map_err(|bad| malformed(name, bad));
        self.text(name).map(read).transpose()
    }

    /// A key of events.
    fn key(&self, name: &'static str) -> Result<Option<Key>, Problem> {
        let read = |text: &str| Key::new(text).map_err(|bad| malformed(name, bad));
        self.text(name).map(read).transpose()
    }

    /// `true` or `false`; false if it is not given.
    pub fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(malformed(name, "neither true nor false")),
        }
    }

    /// A time. A `+` in an offset that was not percent-encoded is understood.
    pub fn time(&self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.parse()
            .or_else(|error| text.replace(' ', "+").parse().map_err(|_| error))
            .map(Some)
            .map_err(|error| malformed(name, error))
    }

    /// Channels, joined by commas.
    pub fn channels(&self) -> Result<Option<Vec<Channel>>, Problem> {
        let read = |names: &str| extras::read_channels(names.split(','));
        let channels = self.text("channels").map(read).transpose();
        channels.map_err(|bad| malformed("channels", bad))
    }

    /// How long a list may be: `limit`, 1 to 1000, 100 if not given.
    pub fn limit(&self) -> Result<usize, Problem> {
        match self.text("limit").map(str::parse) {
            None => Ok(DEFAULT_LIMIT),
            Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            Some(_) => Err(malformed("limit", "not a number from 1 to 1000")),
        }
    }

    pub fn cursor(&self) -> Result<Option<Cursor>, Problem> {
        match self.text("cursor") {
            Some(text) if text.len() > MAX_CURSOR => {
                Err(malformed("cursor", "not one that a list gave"))
            }
            text => Ok(text.map(|text| Cursor(text.to_owned()))),
        }
    }
}

/// The filter that the parameters of an event make.
pub fn event_filter(query: &Query) -> Result<EventFilter, Problem> {
    Ok(EventFilter {
        tenant: query.read::<Tenant>("tenant")?,
        event_type: query.pattern("type")?,
        key: query.key("key")?,
        idempotency_key: query.key("idempotency_key")?,
        since: query.time("since")?,
        until: query.time("until")?,
    })
}

/// 400 that names the parameter.
pub fn malformed(name: &str, error: impl Display) -> Problem {
    Problem::bad_request(format!("query parameter `{name}`: {error}"))
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let name: String = name.chars().take(64).collect();
    if known.is_empty() {
        return Problem::bad_request(format!(
            "unknown query parameter `{name}`; none is taken here"
        ));
    }
    Problem::bad_request(format!(
        "unknown query parameter `{name}`, expected one of `{}`",
        known.join("`, `")
    ))
}

/// `application/x-www-form-urlencoded` decoding; `None` if it is not UTF-8. A `%` that
/// begins no pair of hex digits stands for itself, as in the WHATWG URL standard.
fn decode(text: &str) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = (hex(bytes.get(at + 1)), hex(bytes.get(at + 2)));
        match (byte, pair) {
            // Two hex digits are at most 255.
            (b'%', (Some(high), Some(low))) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::Kind;
    use proptest::prelude::*;

    fn parse(query: &str, known: &[&'static str]) -> Result<Query, Problem> {
        let uri: Uri = format!("/v1/events?{query}").parse().unwrap();
        Query::parse(&uri, known)
    }

    fn refused(query: &str, known: &[&'static str]) -> String {
        let problem = parse(query, known).unwrap_err();
        assert_eq!(problem.kind, Kind::BadRequest);
        problem.detail.into_owned()
    }

    #[test]
    fn values_are_decoded_and_empty_ones_not_given() {
        let query = parse("key=a%20b+c%2B&&tenant=&x=100%", &["key", "tenant", "x"]).unwrap();
        assert_eq!(query.text("key"), Some("a b c+"));
        assert_eq!(query.text("tenant"), None);
        assert_eq!(query.text("x"), Some("100%"));
    }

    #[test]
    fn faults_name_the_parameter() {
        assert!(refused("tpye=a", &["type"]).contains("`tpye`, expected one of `type`"));
        assert!(refused("a=1", &[]).contains("`a`"));
        assert!(refused("type=a&type=b", &["type"]).contains("`type` is given twice"));
        assert!(refused("key=%ff", &["key"]).contains("`key` is not UTF-8"));
    }

    #[test]
    fn times_take_a_plus_that_was_not_encoded() {
        let query = parse("since=2026-01-01T01:00:00+01:00", &["since"]).unwrap();
        let expected: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(query.time("since").unwrap(), Some(expected));
        let bad = parse("since=yesterday", &["since"]).unwrap().time("since");
        assert!(bad.unwrap_err().detail.contains("`since`"));
    }

    #[test]
    fn limits_are_1_to_1000() {
        let limit = |query: &str| parse(query, &["limit"]).unwrap().limit();
        assert_eq!(limit("").unwrap(), 100);
        assert_eq!(limit("limit=1000").unwrap(), 1000);
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit=x"] {
            assert!(limit(bad).unwrap_err().detail.contains("`limit`"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in "\\PC{0,20}") {
            let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
            prop_assert_eq!(decode(&encoded), Some(text));
        }

        #[test]
        fn anything_is_decoded_or_refused(text in ".{0,30}") {
            let _ = decode(&text);
        }
    }
}
