//! The response of a receiver: as much of its body as is kept, `Retry-After`, and where a
//! redirect leads.
//!
//! Never more than `response_body_limit` is read. A longer body is dropped together with its
//! connection; the status still counts.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::Instant;
use url::Url;

use crate::clock;
use crate::domain::answer_rule::{Judged, header_delay};

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

/// What an answer means by its status and headers, where no rule says otherwise.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap) -> Judged {
    let asks_to_wait =
        status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
    Judged {
        success: status.is_success(),
        gone: status == StatusCode::GONE,
        retry_after: asks_to_wait
            .then(|| header_delay(headers, clock::now()))
            .flatten(),
        ..Judged::default()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
