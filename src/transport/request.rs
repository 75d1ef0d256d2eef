//! The request that a receiver gets: its headers, signed for this moment.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use http::{Method, Request, Uri};
use url::{Position, Url};

use super::exchange::{OutboundRequest, RequestBody};
use crate::domain::endpoint::Endpoint;
use crate::domain::event::{EventId, EventType};
use crate::domain::signature;
use crate::domain::time::Timestamp;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const EVENT_TYPE: HeaderName = HeaderName::from_static("outboxd-event-type");

/// What an event's deliveries carry: the same for every endpoint and attempt.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub id: EventId,
    pub event_type: EventType,
    /// `application/json` for JSON.
    pub content_type: Arc<str>,
    /// Not JSON: the type goes in a header, as there is no envelope for it.
    pub opaque: bool,
    pub body: Bytes,
}

/// How a request names its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Path and query, and a `Host` header (RFC 9112, 3.2.1).
    Origin,
    /// The whole URL and a `Host` header: for a proxy (RFC 9112, 3.2.2).
    Absolute,
    /// The whole URL, of which HTTP/2 makes its pseudo-headers (RFC 9113, 8.3.1).
    Http2,
}

/// The request of one attempt that begins `at`. `None` if the URL cannot be written as one.
pub(super) fn build(
    endpoint: &Endpoint,
    outgoing: &Outgoing,
    at: Timestamp,
    form: Form,
    user_agent: &HeaderValue,
) -> Option<OutboundRequest> {
    let mut request = Request::new(RequestBody::new(outgoing.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(&endpoint.url, form)?;
    let headers = request.headers_mut();
    *headers = self::headers(endpoint, outgoing, at);
    if form != Form::Http2 {
        headers.insert(HOST, host(&endpoint.url)?);
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, user_agent.clone());
    }
    Some(request)
}

fn uri(url: &Url, form: Form) -> Option<Uri> {
    let text = match form {
        Form::Origin => &url[Position::BeforePath..Position::AfterQuery],
        Form::Absolute | Form::Http2 => &url[..Position::AfterQuery],
    };
    text.parse().ok()
}

/// Host and port, without the scheme's own port.
fn host(url: &Url) -> Option<HeaderValue> {
    HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).ok()
}

fn headers(endpoint: &Endpoint, outgoing: &Outgoing, at: Timestamp) -> HeaderMap {
    let (id, seconds) = (outgoing.id.to_string(), at.as_secs());
    // Room for the ones that are added.
    let mut headers = HeaderMap::with_capacity(endpoint.headers.len() + 10);
    if !endpoint.secrets.is_empty() {
        let signing = endpoint.secrets.iter().filter(|kept| kept.signs(at));
        let secrets = signing.map(|kept| &kept.secret);
        let signed = signature::header_value(secrets, &id, seconds, &outgoing.body);
        headers.insert(WEBHOOK_SIGNATURE, value(signed));
    }
    headers.insert(CONTENT_TYPE, content_type(&outgoing.content_type));
    if !endpoint.headers.contains_key(ACCEPT_ENCODING) {
        // The response body is stored and shown as it comes.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    headers.insert(WEBHOOK_ID, value(id));
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
    if outgoing.opaque {
        headers.insert(EVENT_TYPE, value(outgoing.event_type.as_str().to_owned()));
    }
    for (name, value) in endpoint.headers.iter() {
        headers.append(name, value.clone());
    }
    headers
}

/// Ids, types and signatures are ASCII that a header may hold.
fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static(""))
}

fn content_type(text: &str) -> HeaderValue {
    if text == "application/json" {
        return HeaderValue::from_static("application/json");
    }
    // It came in a header; should it not fit one, the body still goes out as bytes.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}
