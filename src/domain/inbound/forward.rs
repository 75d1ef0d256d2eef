//! Which headers of a call are kept and sent on.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::domain::extras::{MAX_HEADER_BYTES, MAX_HEADERS};

/// Never sent on: about the connection or the body's form on it, set by outboxd itself, or a
/// credential.
const NEVER: [&str; 26] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "set-cookie",
    "te",
    "trailer",
    "trailers",
    "traceparent",
    "tracestate",
    "baggage",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-real-ip",
    "x-hook-secret",
];
const NEVER_BEGINS: [&str; 4] = ["webhook-", "outboxd-", "proxy-", "x-forwarded-"];

/// Whether a header may be sent on at all. Secrets that a recipe reads are the caller's to exclude.
pub(super) fn may_be_sent(name: &str) -> bool {
    let begins = NEVER_BEGINS.iter().any(|start| name.starts_with(start));
    !NEVER.contains(&name) && !begins
}

/// Whether a pattern means a header: its name, `*`, or a beginning and `*`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// The headers that are sent on, at most as many as an event may have; what is over that is left out.
/// `is_secret` says from which a secret was read.
pub(super) fn forwarded(
    headers: &HeaderMap,
    patterns: &[Box<str>],
    is_secret: impl Fn(&HeaderName) -> bool,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut kept: Vec<(HeaderName, HeaderValue)> = Vec::new();
    let mut bytes = 0_usize;
    // By pattern first: what is named comes before what a `*` takes.
    for pattern in patterns {
        for name in headers.keys() {
            let wanted = matches(pattern, name.as_str()) && may_be_sent(name.as_str());
            if !wanted || is_secret(name) || kept.iter().any(|(own, _)| own == name) {
                continue;
            }
            let Some(value) = headers.get(name) else {
                continue;
            };
            let visible = value.as_bytes().iter().all(|b| (b' '..=b'~').contains(b));
            let size = name.as_str().len().saturating_add(value.len());
            let fits = bytes.saturating_add(size) <= MAX_HEADER_BYTES && kept.len() < MAX_HEADERS;
            if visible && fits {
                bytes = bytes.saturating_add(size);
                let mut value = value.clone();
                value.set_sensitive(true);
                kept.push((name.clone(), value));
            }
        }
    }
    kept
}
