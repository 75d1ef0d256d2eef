//! A received request for a person, or as one line of JSON.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::receiver::{Received, Verdict};
use crate::domain::time::Timestamp;

/// Bytes of a body that are shown to a person.
const SHOWN_BODY: usize = 16 * 1024;

/// What there is to say about one request.
#[derive(Serialize)]
pub struct Shown<'a> {
    at: Timestamp,
    method: &'a str,
    path: &'a str,
    id: Option<&'a str>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// `verified`, `wrong`, `unsigned` or `unchecked`.
    signature: &'static str,
    /// Why it is wrong.
    reason: Option<String>,
    /// What was answered.
    status: u16,
    /// Why it could not be forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_error: Option<&'a str>,
    #[serde(flatten)]
    body: Body<'a>,
}

/// The body of a request.
#[derive(Serialize)]
pub enum Body<'a> {
    /// JSON, as it came but for line ends.
    #[serde(rename = "body")]
    Json(Box<RawValue>),
    #[serde(rename = "body_text")]
    Text(&'a str),
    #[serde(rename = "body_base64")]
    Binary(String),
}

impl<'a> Shown<'a> {
    pub fn new(
        received: &'a Received,
        verdict: Verdict,
        status: StatusCode,
        forward_error: Option<&'a str>,
    ) -> Self {
        let (signature, reason) = match verdict {
            Verdict::Verified => ("verified", None),
            Verdict::Wrong(reason) => ("wrong", Some(reason.to_string())),
            Verdict::Unsigned => ("unsigned", None),
            Verdict::Unchecked => ("unchecked", None),
        };
        Shown {
            at: received.at,
            method: received.method.as_str(),
            path: &received.path,
            id: received.header("webhook-id"),
            event_type: event_type(received),
            signature,
            reason,
            status: status.as_u16(),
            forward_error,
            body: Body::of(&received.body),
        }
    }

    /// Some lines for a person.
    pub fn readable(&self) -> String {
        let mut text = format!("\n{} {} {}\n", self.at, self.method, self.path);
        let verdict = match (self.signature, &self.reason) {
            ("verified", _) => "verified".to_owned(),
            ("wrong", Some(reason)) => format!("WRONG: {reason}"),
            ("unchecked", _) => "unchecked (give --secret-file or --secret)".to_owned(),
            (other, _) => other.to_owned(),
        };
        let mut line = |name: &str, value: &str| {
            // A `String` takes whatever is written to it.
            let _ = writeln!(text, "  {name:<10} {value}");
        };
        line("id", self.id.unwrap_or("-"));
        line("type", self.event_type.as_deref().unwrap_or("-"));
        line("signature", &verdict);
        line("answered", &self.status.to_string());
        if let Some(detail) = self.forward_error {
            line("forward", detail);
        }
        self.body.write_to(&mut text);
        harmless(&text)
    }
}

impl<'a> Body<'a> {
    /// How these bytes are best shown.
    pub fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Err(_) => Body::Binary(STANDARD.encode(bytes)),
            Ok(text) => one_line(text).map_or(Body::Text(text), Body::Json),
        }
    }

    /// Appends lines for a person.
    pub fn write_to(&self, text: &mut String) {
        match self {
            Body::Json(json) => text.push_str(&indent(json.get(), SHOWN_BODY)),
            Body::Text(plain) => {
                for line in cut(plain, SHOWN_BODY).lines() {
                    // A `String` takes whatever is written to it.
                    let _ = writeln!(text, "  {line}");
                }
            }
            Body::Binary(encoded) => {
                let _ = writeln!(text, "  base64 {}", cut(encoded, SHOWN_BODY));
            }
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
}

/// The type that the envelope names, or the header beside an opaque body.
fn event_type(received: &Received) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        #[serde(rename = "type")]
        event_type: String,
    }
    if let Some(named) = received.header("outboxd-event-type") {
        return Some(named.to_owned());
    }
    let envelope = serde_json::from_slice::<Envelope>(&received.body);
    envelope.ok().map(|envelope| envelope.event_type)
}

/// JSON without line ends, which stand between its tokens only; `None` if it is none.
fn one_line(text: &str) -> Option<Box<RawValue>> {
    let json: &RawValue = serde_json::from_str(text).ok()?;
    RawValue::from_string(json.get().replace(['\n', '\r'], " ")).ok()
}

fn cut(text: &str, limit: usize) -> String {
    let mut starts = text.char_indices().map(|(at, _)| at);
    let end = starts.find(|at| *at >= limit).unwrap_or(text.len());
    let (shown, rest) = text.split_at(end);
    match rest.len() {
        0 => shown.to_owned(),
        more => format!("{shown}\n… and {more} bytes more"),
    }
}

/// JSON with a line for each value, otherwise as it came: no number is read, no key is
/// moved. `json` must be valid.
fn indent(json: &str, limit: usize) -> String {
    let (mut out, mut depth, mut in_text, mut escaped) = (String::new(), 1_usize, false, false);
    let mut after_open = false;
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        // Deep nesting must not multiply what is printed.
        out.extend(std::iter::repeat_n("  ", depth.min(32)));
    };
    out.push_str("  ");
    for (at, c) in json.char_indices() {
        if at >= limit {
            let _ = write!(out, "\n… and {} bytes more", json.len().saturating_sub(at));
            break;
        }
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        if after_open != closes && (after_open || closes) {
            new_line(&mut out, depth);
        }
        after_open = matches!(c, '{' | '[');
        out.push(c);
        match c {
            '"' => in_text = true,
            '{' | '[' => depth = depth.saturating_add(1),
            ',' => new_line(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

/// Without anything that a terminal would obey.
pub fn harmless(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => '\u{fffd}',
        // Marks that turn the direction of writing around.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use proptest::prelude::*;

    fn received(body: &[u8]) -> Received {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "evt_1".parse().unwrap());
        Received {
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            method: Method::POST,
            path: "/hook?a=b".to_owned(),
            headers,
            body: Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn a_request_is_readable() {
        let request = received(
            b"{\"type\":\"order.created\",\"data\":{\"b\":1.0,\"a\":[\"x, {\\\"\",[],{}]}}",
        );
        let shown = Shown::new(&request, Verdict::Verified, StatusCode::OK, None);
        let expected = "
2026-01-01T00:00:00.000Z POST /hook?a=b
  id         evt_1
  type       order.created
  signature  verified
  answered   200
  {
    \"type\": \"order.created\",
    \"data\": {
      \"b\": 1.0,
      \"a\": [
        \"x, {\\\"\",
        [],
        {}
      ]
    }
  }
";
        assert_eq!(shown.readable(), expected);
        let line = serde_json::to_string(&shown).unwrap();
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["signature"], "verified");
        assert_eq!(read["body"]["data"]["b"], 1.0);
        assert!(!line.contains('\n'));
    }

    #[test]
    fn other_bodies_are_text_or_base64() {
        let json = |body: &[u8]| {
            let request = received(body);
            let shown = Shown::new(&request, Verdict::Unsigned, StatusCode::OK, Some("gone"));
            serde_json::to_value(&shown).unwrap()
        };
        assert_eq!(json(b"<a/>")["body_text"], "<a/>");
        assert_eq!(json(b"\xff")["body_base64"], "/w==");
        assert_eq!(json(b"")["body_text"], "");
        assert_eq!(json(b"{\r\n\"a\":1}")["body"]["a"], 1);
        assert_eq!(json(b"{\"a\":\"\n\"}")["body_text"], "{\"a\":\"\n\"}");
        assert_eq!(json(b"{}")["forward_error"], "gone");
    }

    #[test]
    fn the_terminal_obeys_nothing_that_came_from_outside() {
        let request = received(b"\x1b[2J\x07 text \xe2\x80\xae \xc2\x9b");
        let shown = Shown::new(&request, Verdict::Unchecked, StatusCode::OK, None).readable();
        assert!(
            shown.chars().all(|c| c == '\n' || !c.is_control()),
            "{shown:?}"
        );
        assert!(!shown.contains('\u{202e}') && shown.contains(" text "));
    }

    proptest! {
        #[test]
        fn indenting_changes_white_space_only(keys in proptest::collection::vec(".{0,9}", 0..5)) {
            let value = serde_json::json!({ "keys": keys, "n": [1, 2.5, null, {"x": {}}] });
            let shown = indent(&value.to_string(), usize::MAX);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), limit in 0usize..50) {
            let text = String::from_utf8_lossy(&bytes);
            let _ = (indent(&text, limit), cut(&text, limit));
            let request = received(&bytes);
            let shown = Shown::new(&request, Verdict::Unsigned, StatusCode::OK, None);
            let _ = (shown.readable(), serde_json::to_string(&shown).unwrap());
        }
    }
}
