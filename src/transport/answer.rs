//! The response of a receiver: as much of its body as is kept, `Retry-After`, and where a
//! redirect leads.
//!
//! Never more than `response_body_limit` is read. A longer body is dropped together with its
//! connection; the status still counts.

use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::Instant;
use url::Url;

use crate::clock;
use crate::domain::time::Timestamp;

/// The longest wait that an answer may ask for; `retry.max` caps it further.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 86_400);

/// How the reading of a body ended.
#[derive(Debug)]
pub(super) enum End {
    /// All of it.
    Read,
    /// As much as is kept; there may be more.
    Cut,
    /// The attempt's time was up.
    TimedOut,
    /// It broke off.
    Broken(hyper::Error),
    /// It ended as if it were whole, and before as many bytes as were declared.
    Short { declared: u64, came: u64 },
}

/// The length of the body that the headers declare (RFC 9110, 8.6).
pub(super) fn declared(status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // These have no body, whatever their headers say (RFC 9112, 6.3).
        return None;
    }
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads at most `limit` bytes, until `deadline`.
pub(super) async fn read(
    body: Incoming,
    declared: Option<u64>,
    limit: usize,
    deadline: Instant,
) -> (Bytes, End) {
    let mut kept = BytesMut::new();
    let reading = fill(body, &mut kept, limit);
    let end = match tokio::time::timeout_at(deadline, reading).await {
        Ok(Ok(came)) => whole(declared, came),
        Ok(Err(error)) => End::Broken(error),
        Err(_) => End::TimedOut,
    };
    (kept.freeze(), end)
}

/// Over HTTP/2 a stream may end in good order and too soon (RFC 9113, 8.1.1), which hyper takes
/// for the end of the body. `came` is `None` if no more was read than is kept.
fn whole(declared: Option<u64>, came: Option<u64>) -> End {
    match (declared, came) {
        (Some(declared), Some(came)) if came < declared => End::Short { declared, came },
        (_, Some(_)) => End::Read,
        (_, None) => End::Cut,
    }
}

/// How many bytes came, if the body came to its end.
async fn fill(
    mut body: Incoming,
    kept: &mut BytesMut,
    limit: usize,
) -> Result<Option<u64>, hyper::Error> {
    let mut came = 0;
    while kept.len() < limit || limit == 0 {
        let Some(frame) = body.frame().await else {
            return Ok(Some(came));
        };
        // Trailers say nothing to us.
        if let Ok(data) = frame?.into_data() {
            came += data.len() as u64;
            let room = limit.saturating_sub(kept.len()).min(data.len());
            // Copied: the frame would hold on to the connection's whole read buffer.
            kept.extend_from_slice(data.get(..room).unwrap_or_default());
            if limit == 0 && !data.is_empty() {
                break;
            }
        }
    }
    Ok(body.is_end_stream().then_some(came))
}

/// A segment of a path that is longer may be a token.
const MAY_BE_TOKEN: usize = 8;

/// Where a redirect leads (RFC 9110, 10.2.2), to be shown: without query and fragment, and without
/// anything that repeats the path of the endpoint's own URL, which may be a secret.
pub(super) fn location(headers: &HeaderMap, from: &Url) -> Option<String> {
    let text = headers.get(LOCATION)?.to_str().ok()?;
    let mut to = from.join(text).ok()?;
    if !to.username().is_empty() || to.password().is_some() {
        return None;
    }
    to.set_query(None);
    to.set_fragment(None);
    let mut segments = from.path_segments()?;
    let is_told = |segment: &str| segment.len() >= MAY_BE_TOKEN && to.path().contains(segment);
    let repeats = from.path().len() > 1 && to.path().contains(from.path());
    if repeats || segments.any(is_told) {
        let origin = to.origin().ascii_serialization();
        return Some(format!("{origin} and a path like this URL's"));
    }
    Some(to.into())
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds or a date. `None` if there is none that can
/// be read; zero for a date that has passed.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    parse_retry_after(text.trim(), clock::now())
}

fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Only too many digits fail now.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        let date = date.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(date.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(millis).since(now)
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp::from_millis(784_111_777_000);
        let wait = |text| parse_retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:51:37 GMT"), Some(120));
        assert_eq!(wait("Sunday, 06-Nov-94 08:51:37 GMT"), Some(120));
        assert_eq!(wait("Sun Nov  6 08:51:37 1994"), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:36 GMT"), Some(0));
        assert_eq!(
            wait("99999999999999999999999"),
            Some(LONGEST_WAIT.as_secs())
        );
        assert_eq!(
            wait("Fri, 31 Dec 9999 23:59:59 GMT"),
            Some(LONGEST_WAIT.as_secs())
        );
        for garbage in [
            "",
            "-1",
            "+1",
            "1.5",
            "1s",
            "soon",
            "Sun, 06 Nov 1994",
            "1994-11-06T08:51:37Z",
        ] {
            assert_eq!(wait(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn a_location_shows_no_query_and_no_path_that_is_secret() {
        let from: Url = "https://a.example/srv/T0/B0/XYZABCDEF?token=1"
            .parse()
            .unwrap();
        let shown = |to: &str| {
            let headers = HeaderMap::from_iter([(LOCATION, to.parse().unwrap())]);
            location(&headers, &from)
        };
        let is = |to: &str, expected: &str| assert_eq!(shown(to).as_deref(), Some(expected));
        is(
            "https://b.example/login?next=%2Fx&token=1#a",
            "https://b.example/login",
        );
        is("/login", "https://a.example/login");
        is("login?token=1", "https://a.example/srv/T0/B0/login");
        is(
            "/a/XYZABCDEF/b",
            "https://a.example and a path like this URL's",
        );
        is("//b.example", "https://b.example/");
        is(
            "https://www.a.example/srv/T0/B0/XYZABCDEF?token=1",
            "https://www.a.example and a path like this URL's",
        );
        is(
            "http://a.example/login/srv/T0/B0/XYZABCDEF",
            "http://a.example and a path like this URL's",
        );
        assert_eq!(shown("https://user:pass@b.example/"), None);
        assert_eq!(shown("https://["), None);
        let bytes = http::HeaderValue::from_bytes(b"\xff").unwrap();
        assert_eq!(
            location(&HeaderMap::from_iter([(LOCATION, bytes)]), &from),
            None
        );
        assert_eq!(location(&HeaderMap::new(), &from), None);
    }

    proptest! {
        #[test]
        fn no_retry_after_makes_it_panic_or_wait_for_ever(text in ".{0,60}", now: u64) {
            let wait = parse_retry_after(&text, Timestamp::from_millis(now));
            prop_assert!(wait.is_none_or(|wait| wait <= LONGEST_WAIT));
        }
    }
}
