//! The content type of a request, and how its body is coded.

use std::borrow::Cow;

use http::{HeaderMap, header};

use super::problem::{Kind, Problem};
use crate::server::body::odd_coding;

const MAX_CONTENT_TYPE: usize = 256;
/// Characters of a header that a message repeats.
const SHOWN: usize = 64;

/// The beginning of what came, to be shown in a message.
pub fn shown(came: impl AsRef<[u8]>) -> String {
    let text = String::from_utf8_lossy(came.as_ref());
    let start = text.chars().take(SHOWN);
    start
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn unsupported(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Kind::UnsupportedMediaType, detail)
}

/// Refuses a body that is coded: it would be stored and delivered as it is.
pub fn plain_body(headers: &HeaderMap) -> Result<(), Problem> {
    for encoding in headers.get_all(header::CONTENT_ENCODING) {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            let detail = format!(
                "the Content-Encoding `{}` is not understood here; send the body as it is",
                shown(encoding)
            );
            return Err(unsupported(detail));
        }
    }
    match odd_coding(headers) {
        Some(coding) => Err(unsupported(format!(
            "the Transfer-Encoding `{}` is not understood here; only chunked is",
            shown(coding)
        ))),
        None => Ok(()),
    }
}

/// The request's content type, which must be there and be one.
pub fn content_type(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (None, _) => return Err(unsupported("the Content-Type header is missing")),
        (Some(_), Some(_)) => {
            return Err(unsupported("there is more than one Content-Type header"));
        }
    };
    let text = value.to_str().unwrap_or("").trim();
    let token = |part: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !part.is_empty() && part.bytes().all(fits)
    };
    match essence(text).split_once('/') {
        Some((top, sub)) if token(top) && token(sub) && text.len() <= MAX_CONTENT_TYPE => Ok(text),
        _ => Err(unsupported(format!(
            "the Content-Type `{}` is not a type/subtype of at most {MAX_CONTENT_TYPE} characters",
            shown(value)
        ))),
    }
}

/// A content type without its parameters.
fn essence(content_type: &str) -> &str {
    let end = content_type.find(';').unwrap_or(content_type.len());
    content_type.get(..end).unwrap_or_default().trim()
}

/// Whether `content_type` is that media type, in UTF-8 if it says in what.
pub fn is_media_type(content_type: &str, expected: &str) -> bool {
    essence(content_type).eq_ignore_ascii_case(expected) && is_utf_8(content_type)
}

fn is_utf_8(content_type: &str) -> bool {
    content_type.split(';').skip(1).all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        let utf_8 = ["utf-8", "utf8", "us-ascii"];
        !name.trim().eq_ignore_ascii_case("charset")
            || utf_8.iter().any(|known| value.eq_ignore_ascii_case(known))
    })
}
