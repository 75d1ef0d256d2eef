//! The content type of a request.

use http::{HeaderMap, header};

use super::problem::{Kind, Problem};

const MAX_CONTENT_TYPE: usize = 256;

/// The request's content type, which must be there and be one.
pub fn content_type(headers: &HeaderMap) -> Result<&str, Problem> {
    let unsupported = |detail: &'static str| Problem::new(Kind::UnsupportedMediaType, detail);
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    for encoding in encodings {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            return Err(unsupported("a Content-Encoding is not understood here"));
        }
    }
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
        _ => Err(unsupported(
            "the Content-Type is not a type/subtype of at most 256 characters",
        )),
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
