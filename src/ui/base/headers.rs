//! The headers of every response below the paths of pages.

use axum::response::Response;
use http::header::{self, HeaderName, HeaderValue};

/// Nothing but what this origin serves; no script or style inside a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors";

const SAFE: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer`, browsers send `Origin: null` with a form.
    (header::REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Adds the headers. Only pages of the origins in `frames` may show these pages in a frame. What does
/// not say how long it may be kept is not kept.
pub fn secure(response: &mut Response, frames: &[String]) {
    let headers = response.headers_mut();
    for (name, value) in SAFE {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = match frames {
        [] => format!("{POLICY} 'none'"),
        frames => format!("{POLICY} 'self' {}", frames.join(" ")),
    };
    // The origins were checked when the configuration was read.
    let policy = HeaderValue::from_str(&policy);
    let policy = policy.unwrap_or(HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    if frames.is_empty() {
        let deny = HeaderValue::from_static("DENY");
        headers.insert(header::X_FRAME_OPTIONS, deny);
    }
    let kept = headers.entry(header::CACHE_CONTROL);
    kept.or_insert(HeaderValue::from_static("no-store"));
}
