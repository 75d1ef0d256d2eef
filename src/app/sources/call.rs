//! A call of a provider, and why it is refused.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

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

/// Why a call is not answered as the provider wants. Nothing of it was stored.
#[derive(Debug)]
pub enum CallRefused {
    NoSuchSource,
    Rejected(Rejection),
    /// Over a rate limit; it may be tried again after `wait`.
    RateLimited {
        wait: Duration,
    },
    /// The body, or what becomes of it, is too large.
    TooLarge,
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
            CallRefused::TooLarge => "too_large",
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
            CallRefused::TooSlow => "the body came too slowly".to_owned(),
            CallRefused::NoRoom => "too many large calls at once".to_owned(),
            CallRefused::Unavailable(error) => error.to_string(),
        }
    }
}

impl CallRefused {
    /// What the caller is answered.
    pub fn status(&self) -> StatusCode {
        match self {
            // An address that may not call must not learn that the source exists.
            CallRefused::NoSuchSource | CallRefused::Rejected(Rejection::NotAllowed) => {
                StatusCode::NOT_FOUND
            }
            CallRefused::Rejected(rejection) => rejection.status(),
            CallRefused::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            CallRefused::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
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
            CallRefused::RateLimited { .. } | CallRefused::NoRoom | CallRefused::Unavailable(_) => {
                false
            }
        }
    }
}
