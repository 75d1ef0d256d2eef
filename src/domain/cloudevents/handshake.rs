//! The consent of a receiver before its first delivery (CloudEvents HTTP webhook specification,
//! 4, "Abuse Protection").
//!
//! The request is an OPTIONS to the very URL that events are delivered to. Its status means
//! nothing: many servers answer OPTIONS with 200 and have never heard of webhooks.

use std::num::NonZeroU32;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::fault::shown;

/// Stands in the request for consent, and in every delivery after it.
pub const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// The DNS name under which all senders of a system ask for consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestOrigin {
    name: Box<str>,
    header: HeaderValue,
}

/// The text is not a DNS name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a DNS name such as events.example.com, without scheme, port and path")]
pub struct BadOrigin;

impl Default for RequestOrigin {
    /// For a machine whose name is not one of DNS.
    fn default() -> Self {
        RequestOrigin {
            name: "localhost".into(),
            header: HeaderValue::from_static("localhost"),
        }
    }
}

impl RequestOrigin {
    /// # Errors
    /// `name` is not a DNS name of at most 253 characters (RFC 1123, 2.1).
    pub fn new(name: &str) -> Result<RequestOrigin, BadOrigin> {
        let is_label = |label: &str| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            let ends = label.starts_with('-') || label.ends_with('-');
            (1..=63).contains(&label.len()) && !ends && label.bytes().all(fits)
        };
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(BadOrigin);
        }
        Ok(RequestOrigin {
            name: name.into(),
            header: HeaderValue::from_str(name).map_err(|_| BadOrigin)?,
        })
    }

    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The value of [`REQUEST_ORIGIN`].
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

/// The headers of a request for consent. `rate` is in requests per minute.
pub fn request_headers(
    origin: &RequestOrigin,
    rate: Option<NonZeroU32>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = vec![(REQUEST_ORIGIN, origin.header())];
    headers.extend(rate.map(|rate| (REQUEST_RATE, HeaderValue::from(rate.get()))));
    headers
}

/// The receiver agrees to deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consent {
    /// `None`: it has not said. The specification asks for a statement, yet consent does not
    /// depend on it.
    pub rate: Option<Rate>,
}

/// How often a receiver agrees to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    Unlimited,
    PerMinute(NonZeroU32),
}

/// Why an answer is not a consent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the answer to OPTIONS has no WebHook-Allowed-Origin header; the receiver must answer \
         with `WebHook-Allowed-Origin: {origin}` or `*`"
    )]
    NoOrigin { origin: Box<str> },
    #[error(
        "the answer to OPTIONS has more than one {header} header; the receiver must answer with \
         one"
    )]
    Repeated { header: &'static str },
    #[error(
        "the answer to OPTIONS allows the origin `{found}` and not `{origin}`; the receiver must \
         answer with `WebHook-Allowed-Origin: {origin}` or `*`"
    )]
    OtherOrigin { origin: Box<str>, found: Box<str> },
    #[error(
        "the answer to OPTIONS allows the rate `{found}`; the receiver must answer with a \
         WebHook-Allowed-Rate of at least 1 request per minute or `*`"
    )]
    Rate { found: Box<str> },
}

/// Judges the headers of the answer to a request for consent.
///
/// # Errors
/// What is missing for a consent.
pub fn judge(origin: &RequestOrigin, headers: &HeaderMap) -> Result<Consent, Refusal> {
    let name = || origin.name.clone();
    let found = single(headers, &ALLOWED_ORIGIN, "WebHook-Allowed-Origin")?;
    let found = found.ok_or_else(|| Refusal::NoOrigin { origin: name() })?;
    if found != "*" && !found.eq_ignore_ascii_case(&origin.name) {
        let found = shown(&found).into();
        return Err(Refusal::OtherOrigin {
            origin: name(),
            found,
        });
    }
    let rate = single(headers, &ALLOWED_RATE, "WebHook-Allowed-Rate")?;
    let rate = rate.map(|text| match rate_of(&text) {
        Some(rate) => Ok(rate),
        None => Err(Refusal::Rate {
            found: shown(&text).into(),
        }),
    });
    Ok(Consent {
        rate: rate.transpose()?,
    })
}

fn single(
    headers: &HeaderMap,
    name: &HeaderName,
    header: &'static str,
) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text = String::from_utf8_lossy(value.as_bytes());
            Ok(Some(text.trim().to_owned()))
        }
        (Some(_), Some(_)) => Err(Refusal::Repeated { header }),
    }
}

fn rate_of(text: &str) -> Option<Rate> {
    if text == "*" {
        return Some(Rate::Unlimited);
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Only too many digits fail now.
    let rate = text.parse().unwrap_or(u32::MAX);
    NonZeroU32::new(rate).map(Rate::PerMinute)
}
