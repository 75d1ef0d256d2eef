//! What an endpoint may ask of its requests: the URL they go to, and static headers.
//!
//! The same rules hold for the operator's endpoints and for those made by the API.
//! Which addresses may be dialled is judged at each attempt, not here. Nothing here
//! repeats a URL or a header's value in a fault: both often hold a secret.

use http::header::{HeaderMap, HeaderName, HeaderValue};

pub use crate::domain::http_url::{BadUrl, MAX_URL, parse_proxy, parse_url};

use crate::domain::extras;

/// The most static headers of one endpoint.
pub const MAX_HEADERS: usize = 64;
/// The longest value of a static header, in bytes.
pub const MAX_HEADER_VALUE: usize = 8 * 1024;

/// Why a static header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    #[error("this is not a header name")]
    Name,
    #[error("outboxd sets this header itself")]
    Reserved,
    #[error("the header's value is not visible ASCII, or begins or ends with a space")]
    Value,
    #[error("the header's value is longer than {MAX_HEADER_VALUE} bytes")]
    Length,
    #[error("this header is there twice; names are the same in upper and lower case")]
    Twice,
    #[error("there are more than {MAX_HEADERS} headers")]
    TooMany,
}

impl BadHeader {
    /// What to write instead.
    pub fn fix(self) -> &'static str {
        match self {
            BadHeader::Name => "write letters, digits and hyphens, such as \"x-team\"",
            BadHeader::Reserved | BadHeader::Twice => "remove it",
            BadHeader::Value => "write letters, digits, punctuation and single spaces between",
            BadHeader::Length | BadHeader::TooMany => "shorten it",
        }
    }
}

/// Set by outboxd, or about the connection and so not the operator's to set.
const RESERVED: [&str; 18] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Whether outboxd sets the header itself, or it is about the connection.
pub fn is_reserved(name: &HeaderName) -> bool {
    let ours = ["webhook-", "outboxd-"];
    RESERVED.contains(&name.as_str()) || ours.iter().any(|own| name.as_str().starts_with(own))
}

/// Adds a static header to those that an endpoint has. The value is marked sensitive, so
/// that `Debug` does not show it.
pub fn add_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), BadHeader> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| BadHeader::Name)?;
    if is_reserved(&name) {
        return Err(BadHeader::Reserved);
    }
    if value.len() > MAX_HEADER_VALUE {
        return Err(BadHeader::Length);
    }
    if value.trim() != value || !value.is_ascii() {
        return Err(BadHeader::Value);
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| BadHeader::Value)?;
    value.set_sensitive(true);
    if headers.contains_key(&name) {
        return Err(BadHeader::Twice);
    }
    if headers.len() >= MAX_HEADERS {
        return Err(BadHeader::TooMany);
    }
    // Far below what a map can hold.
    headers.insert(name, value);
    Ok(())
}

/// Why the headers of an event were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEventHeader {
    #[error("{0}")]
    Header(BadHeader),
    #[error("there are more than {} headers", extras::MAX_HEADERS)]
    TooMany,
    #[error(
        "names and values are longer than {} bytes together",
        extras::MAX_HEADER_BYTES
    )]
    Length,
}

/// The headers of an event, by the rules for those of an endpoint.
///
/// # Errors
/// The first one that is refused, and why.
pub fn event_headers(
    pairs: &[(String, String)],
) -> Result<Vec<(HeaderName, HeaderValue)>, (String, BadEventHeader)> {
    if pairs.len() > extras::MAX_HEADERS {
        return Err((String::new(), BadEventHeader::TooMany));
    }
    let mut headers = HeaderMap::new();
    let mut bytes = 0;
    for (name, value) in pairs {
        add_header(&mut headers, name, value)
            .map_err(|bad| (name.clone(), BadEventHeader::Header(bad)))?;
        bytes += name.len() + value.len();
    }
    if bytes > extras::MAX_HEADER_BYTES {
        return Err((String::new(), BadEventHeader::Length));
    }
    // `HeaderMap` iterates in no order that a client knows.
    let named = pairs.iter().filter_map(|(name, _)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = headers.get(&name)?.clone();
        Some((name, value))
    });
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_the_rules_and_hide_their_values() {
        let mut headers = HeaderMap::new();
        for (name, value, why) in [
            ("webhook-id", "1", BadHeader::Reserved),
            ("Webhook-Anything", "1", BadHeader::Reserved),
            ("outboxd-event-type", "1", BadHeader::Reserved),
            ("Host", "h", BadHeader::Reserved),
            ("Content-Length", "1", BadHeader::Reserved),
            ("Transfer-Encoding", "chunked", BadHeader::Reserved),
            ("User-Agent", "me", BadHeader::Reserved),
            ("a b", "1", BadHeader::Name),
            ("", "1", BadHeader::Name),
            ("x-team", "a\r\nb: c", BadHeader::Value),
            ("x-team", "ü", BadHeader::Value),
            ("x-team", " a", BadHeader::Value),
        ] {
            assert_eq!(add_header(&mut headers, name, value), Err(why), "{name}");
        }
        assert_eq!(
            add_header(&mut headers, "Authorization", "Bearer s3cret"),
            Ok(())
        );
        assert_eq!(
            add_header(&mut headers, "AUTHORIZATION", "x"),
            Err(BadHeader::Twice)
        );
        assert!(!format!("{headers:?}").contains("s3cret"));
        for n in 1..MAX_HEADERS {
            assert_eq!(add_header(&mut headers, &format!("x-{n}"), ""), Ok(()));
        }
        assert_eq!(
            add_header(&mut headers, "x-more", ""),
            Err(BadHeader::TooMany)
        );
    }
}
