//! Why a CloudEvent is refused: what is wrong, where, and how to fix it.

use std::borrow::Cow;
use std::fmt;

use super::attribute::{BadAttribute, MAX_EXTENSION_BYTES, MAX_EXTENSIONS, MAX_IDENTITY_BYTES};

/// Characters of a name or value that a message repeats.
const SHOWN: usize = 64;

/// A CloudEvent was refused. `Display` names the field or header and the position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCloudEvent {
    /// Of a batch: which event, counted from 0.
    pub index: Option<usize>,
    pub place: Place,
    pub problem: Problem,
}

/// Where the fault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Body(Position),
    /// A member of the JSON object; the name is shortened.
    Field(Box<str>, Position),
    /// A header; the name is shortened.
    Header(Box<str>),
}

/// A place in a body. Both count from 1, columns in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// What the fault is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The JSON parser's own words.
    #[error("{0}")]
    Syntax(String),
    #[error("the body is not UTF-8")]
    NotUtf8,
    #[error("it is missing")]
    Missing,
    #[error("it is given twice")]
    Repeated,
    #[error("the name of an attribute is 1 to 20 of a-z 0-9; rename it or move it into `data`")]
    Name,
    #[error("{0}")]
    Attribute(#[from] BadAttribute),
    #[error("`data` cannot be an attribute; send data as the body")]
    DataHeader,
    #[error("in the binary mode the header `content-type` stands for it; leave it out")]
    DataContentTypeHeader,
    #[error("more than {MAX_EXTENSIONS} extension attributes; move some into `data`")]
    TooManyExtensions,
    #[error(
        "the values of extension attributes are longer than {MAX_EXTENSION_BYTES} bytes \
         together; move some into `data`"
    )]
    ExtensionsTooLong,
    #[error("`source` and `id` are longer than {MAX_IDENTITY_BYTES} bytes together")]
    IdentityTooLong,
    #[error("more than {limit} events; send them in several requests")]
    TooManyEvents { limit: usize },
    #[error("`data` and `data_base64` cannot both be given; keep one")]
    TwoData,
    #[error("not a string of standard base64 with its padding")]
    Base64,
    #[error(
        "invalid type: {found}, expected a string, since `datacontenttype` is not JSON; send a \
         string or `data_base64`"
    )]
    DataNotText { found: &'static str },
    #[error(
        "the charset of `datacontenttype` is not UTF-8; send the encoded bytes as `data_base64`"
    )]
    DataCharset,
    /// The JSON parser's own words.
    #[error("the content type declares JSON, but the data is not JSON ({0})")]
    DataNotJson(String),
}

impl fmt::Display for BadCloudEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(f, "event [{index}]: ")?;
        }
        let (noun, name, position) = match &self.place {
            Place::Body(position) => ("", "", Some(position)),
            Place::Field(name, position) => ("field", &**name, Some(position)),
            Place::Header(name) => ("header", &**name, None),
        };
        match &self.problem {
            problem if name.is_empty() => write!(f, "{problem}")?,
            Problem::Missing => write!(f, "missing {noun} `{name}`")?,
            Problem::Repeated => write!(f, "duplicate {noun} `{name}`")?,
            problem => write!(f, "{noun} `{name}`: {problem}")?,
        }
        match position {
            Some(Position { line, column }) => write!(f, " at line {line} column {column}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BadCloudEvent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Attribute(attribute) => Some(attribute),
            _ => None,
        }
    }
}

/// The beginning of what came, to be shown in a message.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    let controls = text.contains(char::is_control);
    match text.char_indices().nth(SHOWN) {
        None if !controls => text.into(),
        cut => {
            let (start, _) = text.split_at(cut.map_or(text.len(), |(end, _)| end));
            let mut short: String = start
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            if cut.is_some() {
                short.push('…');
            }
            short.into()
        }
    }
}

/// A message of serde_json without the position that it ends with, and the position.
pub(super) fn split_position(error: &serde_json::Error) -> (String, Position) {
    let message = error.to_string();
    let end = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&end).unwrap_or(&message).to_owned();
    let position = Position {
        line: error.line().max(1),
        column: error.column(),
    };
    (message, position)
}
