//! A call of a provider, and why it is refused.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Method, StatusCode};

use crate::app::error::Error;
use crate::domain::inbound::Rejection;

/// A call as it came in.
#[derive(Clone, Debug)]
pub struct InboundCall {
    pub method: Method,
    /// Without `?`.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// As the provider wrote it, if that is known.
    pub url: Option<String>,
    /// Of the provider, or of who claims to be it.
    pub remote: IpAddr,
}

impl InboundCall {
    /// The length of the body; if the body was not read, the length that the caller announced, or
    /// `None`.
    pub fn body_bytes(&self) -> Option<u64> {
        let has_more = self.headers.contains_key(TRANSFER_ENCODING);
        match (self.body.len(), self.headers.get(CONTENT_LENGTH)) {
            (0, Some(length)) => length.to_str().ok()?.parse().ok(),
            (0, None) if has_more => None,
            (read, _) => Some(read as u64),
        }
    }
}

/// Why a call is not answered as the provider wants. Nothing of it was stored.
#[derive(Debug)]
pub enum CallRefused {
    NoSuchSource,
    Rejected(Rejection),
    /// Over a rate limit; it may be tried again after `wait`.
    RateLimited {
        wait: Duration,
    },
    /// The body is too large.
    TooLarge,
    /// The call has more events or deliveries than one request may store.
    TooMuch,
    /// The body came too slowly.
    TooSlow,
    /// The bodies of other calls take all the room there is.
    NoRoom,
    /// It cannot be stored just now.
    Unavailable(Error),
}

impl CallRefused {
    /// As it is counted and shown.
    pub fn reason(&self) -> &'static str {
        match self {
            CallRefused::NoSuchSource => "no_such_source",
            CallRefused::Rejected(rejection) => rejection.as_str(),
            CallRefused::RateLimited { .. } => "rate_limited",
            CallRefused::TooLarge | CallRefused::TooMuch => "too_large",
            CallRefused::TooSlow => "too_slow",
            CallRefused::NoRoom => "unavailable",
            CallRefused::Unavailable(_) => "unavailable",
        }
    }

    /// For the operator, not for the caller; never holds a secret.
    pub fn detail(&self) -> String {
        match self {
            CallRefused::NoSuchSource => "there is no such source".to_owned(),
            CallRefused::Rejected(rejection) => rejection.detail(),
            CallRefused::RateLimited { .. } => "over rate_limit".to_owned(),
            CallRefused::TooLarge => "the body is over max_event_size".to_owned(),
            CallRefused::TooMuch => {
                "the events of the call make more deliveries or bytes than are stored at once"
                    .to_owned()
            }
            CallRefused::TooSlow => "the body came too slowly".to_owned(),
            CallRefused::NoRoom => "too many large calls at once".to_owned(),
            CallRefused::Unavailable(error) => error.to_string(),
        }
    }

    /// What the caller is answered.
    pub fn status(&self) -> StatusCode {
        match self {
            CallRefused::NoSuchSource => StatusCode::NOT_FOUND,
            CallRefused::Rejected(rejection) => rejection.status(),
            CallRefused::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            CallRefused::TooLarge | CallRefused::TooMuch => StatusCode::PAYLOAD_TOO_LARGE,
            CallRefused::TooSlow => StatusCode::REQUEST_TIMEOUT,
            CallRefused::Unavailable(_) | CallRefused::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the caller did something wrong, rather than the daemon.
    pub fn is_callers_fault(&self) -> bool {
        match self {
            CallRefused::NoSuchSource
            | CallRefused::Rejected(_)
            | CallRefused::TooLarge
            | CallRefused::TooSlow => true,
            CallRefused::RateLimited { .. }
            | CallRefused::TooMuch
            | CallRefused::NoRoom
            | CallRefused::Unavailable(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_length_of_a_body_is_what_was_read_or_announced() {
        let length = (CONTENT_LENGTH, "2000");
        let chunked = (TRANSFER_ENCODING, "chunked");
        for (body, header, expected) in [
            (&b"{}"[..], None, Some(2)),
            (b"{}", Some(chunked.clone()), Some(2)),
            (b"", None, Some(0)),
            (b"", Some(length), Some(2000)),
            (b"", Some((CONTENT_LENGTH, "x")), None),
            (b"", Some(chunked), None),
        ] {
            let headers = header.into_iter();
            let call = InboundCall {
                method: Method::POST,
                query: String::new(),
                headers: headers
                    .map(|(name, value)| (name, HeaderValue::from_static(value)))
                    .collect(),
                body: Bytes::from_static(body),
                url: None,
                remote: IpAddr::from([127, 0, 0, 1]),
            };
            assert_eq!(call.body_bytes(), expected, "{call:?}");
        }
    }
}
