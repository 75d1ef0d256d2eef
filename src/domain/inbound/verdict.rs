//! What a source says of a request.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::domain::event::EventType;

/// All that a definition says of a request.
#[derive(Clone, Debug)]
pub enum Received {
    /// It is verified. All events are stored, then `answer` is given; none are answered without
    /// storing.
    Events {
        events: Vec<Incoming>,
        answer: Answer,
        verified_by: VerifiedBy,
    },
    /// It is answered and not stored.
    Handshake(Answer),
    Rejected(Rejection),
}

/// An event as it came in.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub event_type: EventType,
    /// The provider's delivery id, or a hash of it or of the body: 1 to [`MAX_DELIVERY_ID`] bytes.
    pub delivery_id: String,
    /// Visible ASCII; `None` if there is none that can be sent on.
    pub content_type: Option<Box<str>>,
    pub body: Bytes,
    /// Kept and sent on. Values are marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The longest delivery id, in bytes. With the name of its source before it, it still is an
/// idempotency key.
pub const MAX_DELIVERY_ID: usize = 170;

/// A response to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl Answer {
    pub(super) fn empty(status: StatusCode) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn of_type(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
        let content_type = HeaderValue::from_static(content_type);
        let nosniff = HeaderValue::from_static("nosniff");
        Answer {
            status: StatusCode::OK,
            headers: vec![
                (CONTENT_TYPE, content_type),
                (http::header::X_CONTENT_TYPE_OPTIONS, nosniff),
            ],
            body: body.into(),
        }
    }
}

/// What verified a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifiedBy {
    /// A secret by its number, from 1, newest first.
    Secret(u32),
    PublicKey,
    /// The token in the URL.
    Token,
    Account,
    /// `verify = "none"`.
    Nothing,
}

impl fmt::Display for VerifiedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifiedBy::Secret(number) => write!(f, "secret {number}"),
            VerifiedBy::PublicKey => f.write_str("public key"),
            VerifiedBy::Token => f.write_str("token"),
            VerifiedBy::Account => f.write_str("account"),
            VerifiedBy::Nothing => f.write_str("nothing"),
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Nothing is there to verify; holds what is missing.
    MissingSignature(String),
    /// What is there is wrong.
    BadSignature(&'static str),
    /// What is signed is of another time.
    Stale(String),
    /// A handshake has the wrong verify token.
    BadToken,
    /// It is of another account or app.
    BadAccount(&'static str),
    /// The address may not call; the caller decides that.
    NotAllowed,
    BadRequest(String),
    /// Holds the methods for `Allow`.
    Method(String),
    Disabled,
}

impl Rejection {
    /// All reasons, as they are counted.
    pub const REASONS: [&'static str; 9] = [
        "missing_signature",
        "bad_signature",
        "stale",
        "bad_token",
        "bad_account",
        "not_allowed",
        "bad_request",
        "method",
        "disabled",
    ];

    /// As it is counted and shown.
    pub fn as_str(&self) -> &'static str {
        match self {
            Rejection::MissingSignature(_) => "missing_signature",
            Rejection::BadSignature(_) => "bad_signature",
            Rejection::Stale(_) => "stale",
            Rejection::BadToken => "bad_token",
            Rejection::BadAccount(_) => "bad_account",
            Rejection::NotAllowed => "not_allowed",
            Rejection::BadRequest(_) => "bad_request",
            Rejection::Method(_) => "method",
            Rejection::Disabled => "disabled",
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Rejection::MissingSignature(_)
            | Rejection::BadSignature(_)
            | Rejection::Stale(_)
            | Rejection::BadAccount(_) => StatusCode::UNAUTHORIZED,
            Rejection::BadToken => StatusCode::FORBIDDEN,
            Rejection::BadRequest(_) => StatusCode::BAD_REQUEST,
            Rejection::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            // Such a caller must not learn that the source exists.
            Rejection::NotAllowed | Rejection::Disabled => StatusCode::NOT_FOUND,
        }
    }

    /// What was wrong, for the operator and not for the caller. Never a secret, nor the signature
    /// that would have been right.
    pub fn detail(&self) -> String {
        match self {
            Rejection::MissingSignature(detail)
            | Rejection::Stale(detail)
            | Rejection::BadRequest(detail) => detail.clone(),
            Rejection::BadSignature(detail) | Rejection::BadAccount(detail) => (*detail).to_owned(),
            Rejection::BadToken => "the verify token is missing or wrong".to_owned(),
            Rejection::NotAllowed => "the address is not in allow_from".to_owned(),
            Rejection::Method(allow) => format!("the method is none of {allow}"),
            Rejection::Disabled => "the source is disabled".to_owned(),
        }
    }
}
