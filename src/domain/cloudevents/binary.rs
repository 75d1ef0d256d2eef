//! The binary mode (HTTP protocol binding, 3.1): attributes in headers, the data as the body.

use std::fmt::Write;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::attribute::{BadAttribute, Value};
use super::draft::Draft;
use super::event::{CloudEvent, Data, SPECVERSION};
use super::fault::{BadCloudEvent, Place, Problem, shown, split_position};
use super::media;

/// What every header of an attribute begins with.
const PREFIX: &str = "ce-";

/// Reads an event whose attributes are headers. Headers without `ce-` are not looked at, the
/// content type excepted.
///
/// # Errors
/// The header at fault, or the place in the body.
pub fn parse_binary(headers: &HeaderMap, body: &Bytes) -> Result<CloudEvent, BadCloudEvent> {
    let at = |header: &str| {
        let place = Place::Header(shown(header).into());
        move |problem| fault(place, problem)
    };
    let mut draft = Draft::default();
    for header in headers.keys() {
        let content_type = *header == CONTENT_TYPE;
        let name = match header.as_str().strip_prefix(PREFIX) {
            _ if content_type => "datacontenttype",
            Some("datacontenttype") => {
                return Err(at(header.as_str())(Problem::DataContentTypeHeader));
            }
            Some("data") => return Err(at(header.as_str())(Problem::DataHeader)),
            Some(name) => name,
            None => continue,
        };
        let mut values = headers.get_all(header).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(at(header.as_str())(Problem::Repeated));
        };
        let text = match content_type {
            // It is a header of HTTP's own, and not percent-encoded.
            true => String::from_utf8(value.as_bytes().to_vec()).map_err(|_| BadAttribute::NotUtf8),
            false => decode(value.as_bytes()),
        };
        text.map_err(Problem::from)
            .and_then(|text| draft.set(name, Value::String(text.into())))
            .map_err(at(header.as_str()))?;
    }
    let mut event = draft
        .finish()
        .map_err(|(name, problem)| at(&format!("{PREFIX}{name}"))(problem))?;
    let json = event.datacontenttype.as_deref().is_some_and(media::is_json);
    event.data = match json {
        _ if body.is_empty() => Data::None,
        false => Data::Opaque(body.clone()),
        true => {
            media::check_json(body).map_err(|error| {
                let (message, position) = split_position(&error);
                fault(Place::Body(position), Problem::DataNotJson(message))
            })?;
            Data::Json(body.clone())
        }
    };
    Ok(event)
}

fn fault(place: Place, problem: Problem) -> BadCloudEvent {
    BadCloudEvent {
        index: None,
        place,
        problem,
    }
}

/// An event in the binary mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The `ce-` headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `None` only if there is no data whose type is known.
    pub content_type: Option<HeaderValue>,
    pub body: Bytes,
}

/// An attribute cannot stand in a header. No event that was read or that
/// [`outgoing`](super::outgoing()) made has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attribute `{attribute}` cannot be sent as a header; send the event as structured")]
pub struct Unsendable {
    pub attribute: Box<str>,
}

/// Writes an event in the binary mode.
///
/// # Errors
/// An attribute that is not checked, as its documentation says.
pub fn binary(event: &CloudEvent) -> Result<Binary, Unsendable> {
    let mut headers = Vec::new();
    let mut put = |name: &str, value: &str| -> Result<(), Unsendable> {
        let unsendable = || Unsendable {
            attribute: name.into(),
        };
        let value = HeaderValue::from_str(&encode(value)).map_err(|_| unsendable())?;
        let name = format!("{PREFIX}{name}");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable())?;
        headers.push((name, value));
        Ok(())
    };
    put("specversion", SPECVERSION)?;
    put("id", &event.id)?;
    put("source", &event.source)?;
    put("type", &event.event_type)?;
    for (name, value) in [
        ("subject", &event.subject),
        ("time", &event.time),
        ("dataschema", &event.dataschema),
    ] {
        if let Some(value) = value {
            put(name, value)?;
        }
    }
    for (name, value) in &event.extensions {
        put(name.as_str(), &value.to_string())?;
    }
    let content_type = event.content_type().map(HeaderValue::from_str);
    Ok(Binary {
        headers,
        content_type: content_type.transpose().map_err(|_| Unsendable {
            attribute: "datacontenttype".into(),
        })?,
        body: event.data.bytes(),
    })
}

/// Percent-encodes the value of a header (HTTP protocol binding, 3.1.3.2).
pub(super) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'"' && byte != b'%' => out.push(byte.into()),
            // To a String: cannot fail.
            _ => write!(out, "%{byte:02X}").unwrap_or_default(),
        }
    }
    out
}

/// The opposite of [`encode`]. Values that older senders put into quotes are read too.
pub(super) fn decode(value: &[u8]) -> Result<String, BadAttribute> {
    let unquoted = match value {
        [b'"', quoted @ ..] => unquote(quoted)?,
        plain => plain.to_vec(),
    };
    let mut out = Vec::with_capacity(unquoted.len());
    let mut rest = unquoted.as_slice();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let [high, low, after @ ..] = after else {
            return Err(BadAttribute::Percent);
        };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(BadAttribute::Percent);
        let byte = digit(*high)? * 16 + digit(*low)?;
        out.push(byte as u8);
        rest = after;
    }
    String::from_utf8(out).map_err(|_| BadAttribute::NotUtf8)
}

/// A quoted string (RFC 9110, 5.6.4) after its first quote.
fn unquote(quoted: &[u8]) -> Result<Vec<u8>, BadAttribute> {
    let mut out = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    loop {
        rest = match rest {
            [b'"'] => return Ok(out),
            [b'"', ..] | [] | [b'\\'] => return Err(BadAttribute::Quotes),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        };
    }
}
