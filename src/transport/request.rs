//! The request that a receiver gets: its headers, signed for this moment.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use http::{Method, Request, Uri};
use url::{Position, Url};

use super::exchange::{OutboundRequest, RequestBody};
use super::fault::Fault;
use crate::domain::attempt::ErrorKind;
use crate::domain::content::Content;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::{EventId, EventType};
use crate::domain::render::{Rendered, Unrendered, render};
use crate::domain::shaping::Format;
use crate::domain::signature::{self, NotSigned, Secret};
use crate::domain::template::RenderFault;
use crate::domain::time::Timestamp;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const EVENT_TYPE: HeaderName = HeaderName::from_static("outboxd-event-type");
const SOURCE: HeaderName = HeaderName::from_static("outboxd-source");

/// What a delivery carries, the same on every attempt.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub id: EventId,
    /// Goes into a header, if the body does not say it.
    pub event_type: Option<EventType>,
    /// `None`: the body has none.
    pub content_type: Option<HeaderValue>,
    /// They replace static ones of the same names.
    pub rendered: Vec<(HeaderName, HeaderValue)>,
    /// Of the event: the endpoint's own win.
    pub event_headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl Outgoing {
    /// That of an event at an endpoint. `longest` bounds a body that a template makes, in bytes.
    ///
    /// # Errors
    /// The event cannot be rendered by the endpoint's definition.
    pub fn new(
        endpoint: &Endpoint,
        id: EventId,
        content: &Content,
        longest: usize,
    ) -> Result<Outgoing, Unrendered> {
        let Some(shaping) = &endpoint.shaping else {
            return Ok(Outgoing::plain(id, content));
        };
        let rendered = render(endpoint, shaping, id, content, longest)?;
        Ok(Outgoing::shaped(id, content, shaping.format, rendered))
    }

    /// That of an event at an endpoint which asks for nothing in particular.
    pub fn plain(id: EventId, content: &Content) -> Outgoing {
        Outgoing {
            id,
            event_type: content.opaque.then(|| content.event_type.clone()),
            content_type: Some(content_type(&content.content_type)),
            rendered: Vec::new(),
            event_headers: event_headers(content),
            body: content.body.clone(),
        }
    }

    /// That of an event as an endpoint wants it.
    fn shaped(id: EventId, content: &Content, format: Format, rendered: Rendered) -> Outgoing {
        let Rendered {
            content_type,
            headers,
            body,
        } = rendered;
        let own_type = match format {
            Format::Standard => content.opaque,
            Format::Bare => true,
            Format::CloudEvents | Format::CloudEventsBinary | Format::Template => false,
        };
        let events_own = format != Format::CloudEventsBinary;
        Outgoing {
            event_type: own_type.then(|| content.event_type.clone()),
            content_type: match content_type {
                None if events_own => Some(self::content_type(&content.content_type)),
                rendered => rendered,
            },
            rendered: headers,
            body,
            ..Outgoing::plain(id, content)
        }
    }
}

fn event_headers(content: &Content) -> Vec<(HeaderName, HeaderValue)> {
    let Some(extras) = &content.extras else {
        return Vec::new();
    };
    let own = &extras.headers;
    let is_own = |name: &HeaderName| own.iter().any(|(one, _)| one == name);
    let trace = extras.trace.iter().filter(|(name, _)| !is_own(name));
    let mut headers: Vec<_> = own.iter().chain(trace).cloned().collect();
    let source = extras.source.as_deref();
    if let Some(source) = source.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.push((SOURCE, source));
    }
    headers
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

/// The signatures of an attempt, in their headers.
pub type Signatures = Vec<(HeaderName, HeaderValue)>;

/// The request of one attempt that begins `at`.
///
/// # Errors
/// The URL cannot be written into a request.
pub(super) fn build(
    endpoint: &Endpoint,
    outgoing: &Outgoing,
    (at, signatures): (Timestamp, &Signatures),
    form: Form,
    user_agent: &HeaderValue,
    authorization: Option<&HeaderValue>,
) -> Result<OutboundRequest, Fault> {
    let mut request = Request::new(RequestBody::new(outgoing.body.clone()));
    *request.method_mut() = match &endpoint.shaping {
        Some(shaping) => shaping.method.method(),
        None => Method::POST,
    };
    *request.uri_mut() = uri(&endpoint.url, form)?;
    let headers = request.headers_mut();
    *headers = self::headers(endpoint, outgoing, at, signatures);
    if form != Form::Http2 {
        headers.insert(HOST, host(&endpoint.url)?);
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, user_agent.clone());
    }
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    Ok(request)
}

/// The headers of a request that begins `at`, but for those of the connection.
///
/// # Errors
/// It cannot be signed.
pub fn described(
    endpoint: &Endpoint,
    outgoing: &Outgoing,
    at: Timestamp,
    user_agent: &str,
) -> Result<HeaderMap, Unsigned> {
    let signatures = sign(endpoint, outgoing, at)?;
    let mut headers = self::headers(endpoint, outgoing, at, &signatures);
    if let (false, Ok(value)) = (headers.contains_key(USER_AGENT), user_agent.parse()) {
        headers.insert(USER_AGENT, value);
    }
    Ok(headers)
}

pub(super) fn uri(url: &Url, form: Form) -> Result<Uri, Fault> {
    let text = match form {
        Form::Origin => &url[Position::BeforePath..Position::AfterQuery],
        Form::Absolute | Form::Http2 => &url[..Position::AfterQuery],
    };
    text.parse().map_err(|_| unwritten())
}

/// Host and port, without the scheme's own port.
pub(super) fn host(url: &Url) -> Result<HeaderValue, Fault> {
    HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).map_err(|_| unwritten())
}

fn unwritten() -> Fault {
    Fault::new(ErrorKind::Local, "the URL cannot be written into a request")
}

fn headers(
    endpoint: &Endpoint,
    outgoing: &Outgoing,
    at: Timestamp,
    signatures: &Signatures,
) -> HeaderMap {
    let (id, seconds) = (outgoing.id.to_string(), at.as_secs());
    // Room for the ones that are added.
    let added = outgoing.event_headers.len() + 10;
    let mut headers = HeaderMap::with_capacity(endpoint.headers.len() + added);
    let is_own = |name: &HeaderName| endpoint.headers.contains_key(name);
    for (name, value) in outgoing
        .event_headers
        .iter()
        .filter(|(name, _)| !is_own(name))
    {
        headers.append(name, value.clone());
    }
    for (name, value) in endpoint.headers.iter() {
        headers.append(name, value.clone());
    }
    for (name, value) in &outgoing.rendered {
        headers.insert(name, value.clone());
    }
    for (name, value) in signatures {
        headers.insert(name, value.clone());
    }
    if let Some(content_type) = &outgoing.content_type {
        headers.insert(CONTENT_TYPE, content_type.clone());
    }
    if !headers.contains_key(ACCEPT_ENCODING) {
        // The response body is stored and shown as it comes.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    headers.insert(WEBHOOK_ID, value(id));
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
    if let Some(event_type) = &outgoing.event_type {
        headers.insert(EVENT_TYPE, value(event_type.as_str().to_owned()));
    }
    headers
}

/// Why a request cannot be signed, for a person. It is not sent then.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be signed: {0}")]
pub struct Unsigned(#[from] NotSigned<RenderFault>);

/// Signs an attempt that begins `at`.
///
/// # Errors
/// An own style of the endpoint makes no header of this body.
pub(super) fn sign(
    endpoint: &Endpoint,
    outgoing: &Outgoing,
    at: Timestamp,
) -> Result<Signatures, Unsigned> {
    let (id, seconds) = (outgoing.id.to_string(), at.as_secs());
    let signing = endpoint.secrets.iter().filter(|kept| kept.signs(at));
    let secrets = signing.map(|kept| &kept.secret);
    match endpoint.shaping.as_deref() {
        Some(shaping) if !shaping.signatures.is_empty() => {
            let secrets: Vec<&Secret> = secrets.collect();
            Ok(shaping.sign(&secrets, &id, seconds, &outgoing.body)?)
        }
        _ if endpoint.secrets.is_empty() => Ok(Vec::new()),
        _ => {
            let signed = signature::header_value(secrets, &id, seconds, &outgoing.body);
            Ok(vec![(WEBHOOK_SIGNATURE, value(signed))])
        }
    }
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
