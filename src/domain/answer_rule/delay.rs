//! The delay that an answer asks for, in its header or in its body.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::domain::json::Json;
use crate::domain::time::Timestamp;

/// The longest wait that an answer may ask for; `retry.max` caps it further.
pub const LONGEST_WAIT: Duration = Duration::from_secs(366 * 86_400);

/// `Retry-After` (RFC 9110, 10.2.3): seconds or a date. Fractions of seconds are read too, since
/// services send them. `None` if there is none that can be read; zero for a date that has passed.
pub fn header_delay(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = seconds(text).or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        let date = date.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(date.as_millis()).unwrap_or(u64::MAX);
        Some(Timestamp::from_millis(millis).since(now))
    })?;
    Some(wait.min(LONGEST_WAIT))
}

/// The seconds at `path` of a body: a number, or one in a string. `None` if there are none, or
/// they are negative.
pub(super) fn body_delay(body: &Json, path: &str) -> Option<Duration> {
    let wait = match find(body, path)? {
        Json::Number(number) => of_number(number)?,
        Json::String(text) => seconds(text.trim())?,
        _ => return None,
    };
    Some(wait.min(LONGEST_WAIT))
}

/// What stands at a path of names joined by dots. A name that has dots itself wins; in an array
/// a number is an index.
fn find<'a>(body: &'a Json, path: &str) -> Option<&'a Json> {
    let mut at = body;
    let mut rest = path;
    loop {
        if let Some(found) = at.get(rest) {
            return Some(found);
        }
        let (name, after) = match rest.split_once('.') {
            Some((name, after)) => (name, Some(after)),
            None => (rest, None),
        };
        at = match at {
            Json::Array(items) => items.get(name.parse::<usize>().ok()?)?,
            other => other.get(name)?,
        };
        match after {
            Some(after) => rest = after,
            None => return Some(at),
        }
    }
}

/// `3` or `0.43`, and nothing else: no sign, no exponent.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, "0"),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match digits(whole) && digits(fraction) {
        true => of_number(text),
        false => None,
    }
}

/// A number of JSON; too large a one is the longest wait.
fn of_number(number: &str) -> Option<Duration> {
    let seconds: f64 = number.parse().ok().filter(|seconds| *seconds >= 0.0)?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT))
}
