//! Names and values of context attributes (CloudEvents 1.0.2, "Type System").

use std::fmt;

use crate::domain::time::{BadTimestamp, Timestamp};

/// The most extension attributes of an event.
pub const MAX_EXTENSIONS: usize = 32;
/// The most bytes of all values of extension attributes together.
pub const MAX_EXTENSION_BYTES: usize = 4096;
/// The most bytes of `source` and `id` together.
pub const MAX_IDENTITY_BYTES: usize = 1024;
/// The most bytes of `subject` and of `dataschema`.
pub const MAX_TEXT_BYTES: usize = 1024;
/// The most bytes of `type`, `time` and `datacontenttype`.
pub const MAX_NAME_BYTES: usize = 256;
/// The longest name of an attribute.
const MAX_NAME: usize = 20;

/// The name of an attribute: 1 to 20 of `a-z 0-9`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AttributeName(Box<str>);

impl AttributeName {
    /// `None` if `text` is not such a name.
    pub fn new(text: &str) -> Option<AttributeName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| AttributeName(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The value of an extension attribute. `Display` is its canonical text.
///
/// URIs, times and binary values are strings too: only who defined the attribute knows better.
/// In the binary mode every value is a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Boolean(bool),
    Integer(i32),
    String(Box<str>),
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Boolean(_) => "boolean",
            Value::Integer(_) => "number",
            Value::String(_) => "string",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(value) => fmt::Display::fmt(value, f),
            Value::Integer(value) => fmt::Display::fmt(value, f),
            Value::String(value) => f.write_str(value),
        }
    }
}

/// What is wrong with the value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAttribute {
    #[error("it is empty; give it a value or leave it out")]
    Empty,
    #[error("it is required and cannot be null")]
    Null,
    #[error("it is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("it contains U+{0:04X}; control characters and noncharacters are not allowed")]
    Character(u32),
    #[error("its string cannot be read ({0})")]
    Escape(String),
    #[error(
        "not a URI reference such as /sensors/7 or https://example.com/a; percent-encode other \
         characters (RFC 3986)"
    )]
    UriReference,
    #[error("not an absolute URI such as https://example.com/schema (RFC 3986)")]
    Uri,
    #[error("{}", BadTimestamp::Malformed)]
    Time,
    #[error("not a media type such as application/json")]
    MediaType,
    #[error("version `{0}` is not supported; send 1.0")]
    Version(String),
    #[error("invalid type: {found}, expected a string")]
    NotString { found: &'static str },
    #[error(
        "invalid type: {found}, expected a string, an integer or a boolean; structures belong \
         into `data`"
    )]
    NotScalar { found: &'static str },
    #[error("not an integer from -2147483648 to 2147483647; write other numbers as strings")]
    NotInteger,
    #[error("`%` must be followed by two hexadecimal digits; write a percent sign as %25")]
    Percent,
    #[error("not UTF-8 after percent-decoding")]
    NotUtf8,
    #[error("a quoted string does not end where the value ends; write a quote as %22")]
    Quotes,
}

/// Checks what every string of an attribute keeps to.
pub(super) fn check_text(text: &str, limit: usize) -> Result<(), BadAttribute> {
    if text.len() > limit {
        return Err(BadAttribute::TooLong { limit });
    }
    match text.chars().find(|c| c.is_control() || is_noncharacter(*c)) {
        Some(c) => Err(BadAttribute::Character(c.into())),
        None => Ok(()),
    }
}

fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

/// Checks a `source`, one from the configuration as well as one of an event.
///
/// # Errors
/// It is empty, too long or not a URI reference.
pub fn check_source(text: &str) -> Result<(), BadAttribute> {
    if text.is_empty() {
        return Err(BadAttribute::Empty);
    }
    check_text(text, MAX_IDENTITY_BYTES)?;
    match uri_scheme(text) {
        Some(_) => Ok(()),
        None => Err(BadAttribute::UriReference),
    }
}

/// Checks a `dataschema`. One with a fragment passes: JSON schemas are often named so.
pub(super) fn check_uri(text: &str) -> Result<(), BadAttribute> {
    match uri_scheme(text) {
        Some(true) => Ok(()),
        _ => Err(BadAttribute::Uri),
    }
}

/// Checks a `time`. One before 1970 passes: it is not stored as a [`Timestamp`].
pub(super) fn check_time(text: &str) -> Result<(), BadAttribute> {
    match text.parse::<Timestamp>() {
        Err(BadTimestamp::Malformed) => Err(BadAttribute::Time),
        Ok(_) | Err(BadTimestamp::TooEarly | BadTimestamp::TooLate) => Ok(()),
    }
}

/// Whether a URI reference begins with a scheme; `None` if it is not a URI reference. Checks the
/// characters, the percent-encoding, the scheme and the fragment, not the parts between them.
fn uri_scheme(text: &str) -> Option<bool> {
    let mut rest = text.as_bytes();
    let mut fragments = 0;
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => match after {
                [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {}
                _ => return None,
            },
            b'#' => fragments += 1,
            b if b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=".contains(b) => {}
            _ => return None,
        }
    }
    if fragments > 1 {
        return None;
    }
    let segment = text.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((scheme, _)) = segment.split_once(':') else {
        return Some(false);
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    let starts = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    (starts && scheme.bytes().all(fits)).then_some(true)
}
