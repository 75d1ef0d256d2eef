//! Content types of data (RFC 2046), as far as the JSON event format asks for them.

use serde_json::value::RawValue;

/// A content type without its parameters.
pub(super) fn essence(content_type: &str) -> &str {
    let (essence, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    essence.trim()
}

/// Whether it is a type and a subtype, and what follows can stand in a header.
pub(super) fn is_media_type(content_type: &str) -> bool {
    let token = |part: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !part.is_empty() && part.bytes().all(fits)
    };
    let visible = content_type.bytes().all(|b| (b' '..=b'~').contains(&b));
    let parts = essence(content_type).split_once('/');
    visible && parts.is_some_and(|(top, sub)| token(top) && token(sub))
}

/// Whether it declares JSON: `*/json` or `*/*+json` (JSON event format, 3.1.1).
pub(super) fn is_json(content_type: &str) -> bool {
    let (_, sub) = essence(content_type).split_once('/').unwrap_or_default();
    let sub = sub.to_ascii_lowercase();
    sub == "json" || sub.ends_with("+json")
}

/// Whether it is `text/*` in UTF-8.
pub(super) fn is_utf8_text(content_type: &str) -> bool {
    let (top, _) = essence(content_type).split_once('/').unwrap_or_default();
    top.eq_ignore_ascii_case("text") && is_utf8(content_type)
}

/// Whether the charset is UTF-8, as far as it is given.
pub(super) fn is_utf8(content_type: &str) -> bool {
    content_type.split(';').skip(1).all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        let known = ["utf-8", "utf8", "us-ascii"];
        !name.trim().eq_ignore_ascii_case("charset")
            || known.iter().any(|known| value.eq_ignore_ascii_case(known))
    })
}

/// Reads `text` as JSON, whose depth costs no stack.
pub(super) fn check_json(text: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<&RawValue>(text).map(|_| ())
}
