//! Trace context of the request that posts an event, which is kept and sent on.
//! W3C Trace Context, <https://www.w3.org/TR/trace-context/>, 3.2 and 3.3.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::domain::event::NewEvent;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Vendors may drop a longer one.
const MAX_STATE: usize = 512;

/// `traceparent`, and `tracestate` if there is one. Empty: the request has none that is valid.
pub type TraceContext = Vec<(HeaderName, HeaderValue)>;

/// What the request's headers say. What is malformed is ignored, as the specification demands.
pub fn context(headers: &HeaderMap) -> TraceContext {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else {
        return Vec::new();
    };
    if !is_parent(parent.as_bytes()) {
        return Vec::new();
    }
    let mut context = vec![(TRACEPARENT, parent.clone())];
    let states = headers.get_all(TRACESTATE).iter();
    let states: Vec<&[u8]> = states.map(HeaderValue::as_bytes).collect();
    let state = states.join(&b","[..]);
    if !state.is_empty()
        && state.len() <= MAX_STATE
        && let Ok(state) = HeaderValue::from_bytes(&state)
    {
        context.push((TRACESTATE, state));
    }
    context
}

/// Gives the event the request's trace context.
pub fn attach(event: &mut NewEvent, context: &TraceContext) {
    if !context.is_empty() {
        let extras = event.extras.get_or_insert_default();
        Arc::make_mut(extras).trace = context.clone();
    }
}

/// `version-trace_id-parent_id-flags` in lower-case hexadecimal, no id zero.
fn is_parent(text: &[u8]) -> bool {
    let hex = |part: &[u8], len: usize| {
        let digits = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        part.len() == len && part.iter().all(digits)
    };
    let is_zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    let mut parts = text.split(|b| *b == b'-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let is_last = parts.next().is_none();
    hex(version, 2)
        && version != b"ff"
        && (is_last || version != b"00")
        && hex(trace, 32)
        && hex(parent, 16)
        && hex(flags, 2)
        && !is_zero(trace)
        && !is_zero(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_specification_allows_is_kept() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let kept = |parent: &str, state: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, parent.parse().unwrap());
            headers.insert(TRACESTATE, state.parse().unwrap());
            context(&headers).len()
        };
        assert_eq!(kept(parent, "a=1"), 2);
        assert_eq!(kept(parent, ""), 1);
        assert_eq!(kept(parent, &"a".repeat(513)), 1);
        assert_eq!(kept(&parent.replacen("00", "cc", 1), "a=1"), 2);
        assert_eq!(kept(&(parent.replacen("00", "cc", 1) + "-more"), "a=1"), 2);
        for bad in [
            "",
            &parent.to_uppercase(),
            &parent.replacen("00", "ff", 1),
            &(parent.to_owned() + "-more"),
            &parent[1..],
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(kept(bad, "a=1"), 0, "{bad}");
        }
    }
}
