//! What went wrong, as RFC 9457 `application/problem+json`.
//!
//! `type` is a stable URN that a client may branch on; `title` never varies for a type;
//! `detail` is a sentence for the person who reads it and never holds a secret.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::app;
use crate::outbox::{ActRefused, ReadError, Refused};
use crate::server::body::BodyError;

/// The kinds of problems; each has its URN, its status and its title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    BadRequest,
    Unauthorized,
    Forbidden,
    HostRefused,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    ReadOnly,
    Erased,
    TooLarge,
    UnsupportedMediaType,
    KeyReused,
    Unrendered,
    RateLimited,
    HeadersTooLarge,
    Internal,
    Damaged,
    OutboxFull,
    DiskLow,
    StoreFailed,
    Unreadable,
    ShuttingDown,
    NotReady,
    Busy,
}

impl Kind {
    pub const ALL: [Kind; 25] = [
        Kind::BadRequest,
        Kind::Unauthorized,
        Kind::Forbidden,
        Kind::HostRefused,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::RequestTimeout,
        Kind::Conflict,
        Kind::ReadOnly,
        Kind::Erased,
        Kind::TooLarge,
        Kind::UnsupportedMediaType,
        Kind::KeyReused,
        Kind::Unrendered,
        Kind::RateLimited,
        Kind::HeadersTooLarge,
        Kind::Internal,
        Kind::Damaged,
        Kind::OutboxFull,
        Kind::DiskLow,
        Kind::StoreFailed,
        Kind::Unreadable,
        Kind::ShuttingDown,
        Kind::NotReady,
        Kind::Busy,
    ];

    /// The value of `type`.
    pub fn urn(self) -> String {
        let (slug, _, _) = self.spelled();
        format!("urn:outboxd:problem:{slug}")
    }

    pub fn status(self) -> StatusCode {
        self.spelled().1
    }

    /// The kind in words.
    pub fn title(self) -> &'static str {
        self.spelled().2
    }

    /// The last part of the URN, the status and the title.
    fn spelled(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Kind::BadRequest => ("bad-request", S::BAD_REQUEST, "Bad request"),
            Kind::Unauthorized => ("unauthorized", S::UNAUTHORIZED, "Unauthorized"),
            Kind::Forbidden => ("forbidden", S::FORBIDDEN, "Forbidden"),
            Kind::HostRefused => ("host-refused", S::FORBIDDEN, "Host refused"),
            Kind::NotFound => ("not-found", S::NOT_FOUND, "Not found"),
            Kind::MethodNotAllowed => (
                "method-not-allowed",
                S::METHOD_NOT_ALLOWED,
                "Method not allowed",
            ),
            Kind::RequestTimeout => ("request-timeout", S::REQUEST_TIMEOUT, "Request timeout"),
            Kind::Conflict => ("conflict", S::CONFLICT, "Conflict"),
            Kind::ReadOnly => ("read-only", S::CONFLICT, "Read-only"),
            Kind::Erased => ("erased", S::GONE, "Erased"),
            Kind::TooLarge => ("too-large", S::PAYLOAD_TOO_LARGE, "Content too large"),
            Kind::UnsupportedMediaType => (
                "unsupported-media-type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported media type",
            ),
            Kind::KeyReused => (
                "key-reused",
                S::UNPROCESSABLE_ENTITY,
                "Idempotency key reused",
            ),
            Kind::Unrendered => (
                "unrendered",
                S::UNPROCESSABLE_ENTITY,
                "Event cannot be rendered",
            ),
            Kind::RateLimited => ("rate-limited", S::TOO_MANY_REQUESTS, "Rate limited"),
            Kind::HeadersTooLarge => (
                "headers-too-large",
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request header fields too large",
            ),
            Kind::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Internal error"),
            Kind::Damaged => ("damaged", S::INTERNAL_SERVER_ERROR, "Damaged record"),
            Kind::OutboxFull => ("outbox-full", S::SERVICE_UNAVAILABLE, "Outbox full"),
            Kind::DiskLow => ("disk-low", S::SERVICE_UNAVAILABLE, "Disk low"),
            Kind::StoreFailed => ("store-failed", S::SERVICE_UNAVAILABLE, "Store failed"),
            Kind::Unreadable => ("unreadable", S::SERVICE_UNAVAILABLE, "Store unreadable"),
            Kind::ShuttingDown => ("shutting-down", S::SERVICE_UNAVAILABLE, "Shutting down"),
            Kind::NotReady => ("not-ready", S::SERVICE_UNAVAILABLE, "Not ready"),
            Kind::Busy => ("busy", S::SERVICE_UNAVAILABLE, "Busy"),
        }
    }

    /// Seconds after which trying again may help; for the 503s.
    fn retry_after(self) -> Option<&'static str> {
        match self {
            Kind::OutboxFull => Some("10"),
            Kind::DiskLow => Some("30"),
            Kind::StoreFailed | Kind::Unreadable | Kind::ShuttingDown => Some("5"),
            Kind::NotReady | Kind::Busy => Some("1"),
            _ => None,
        }
    }

    /// Whether the rest of the connection is of no use: the body was not read to its end.
    fn closes(self) -> bool {
        matches!(self, Kind::TooLarge | Kind::RequestTimeout)
    }
}

/// An error answer.
#[derive(Debug)]
pub struct Problem {
    pub kind: Kind,
    pub detail: Cow<'static, str>,
    /// Seconds after which trying again may help, when the kind alone does not tell.
    pub retry_after: Option<u64>,
    /// The field of the request that is wrong, if it is a single one.
    pub field: Option<Box<str>>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem {
            kind,
            detail: detail.into(),
            retry_after: None,
            field: None,
        }
    }

    /// The same problem of this field; of `retry.first` and `types[0]` the part before the sign counts.
    pub fn at(self, field: &str) -> Self {
        let name = field.split(['.', '[']).next().unwrap_or(field);
        Problem {
            field: Some(name.into()),
            ..self
        }
    }

    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::BadRequest, detail)
    }
}

impl From<app::Error> for Problem {
    fn from(error: app::Error) -> Self {
        match error {
            app::Error::Refused(refused) => refused.into(),
            app::Error::Act(refused) => refused.into(),
            app::Error::Read(error) => error.into(),
            app::Error::RateLimited { wait } => Problem {
                // Whole seconds, rounded up.
                retry_after: Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)),
                ..Problem::new(Kind::RateLimited, error.to_string())
            },
            app::Error::Definition(bad) => Problem::bad_request(bad.to_string()).at(bad.field()),
            app::Error::Unrendered(_) | app::Error::Unsigned(_) => {
                Problem::new(Kind::Unrendered, error.to_string())
            }
            app::Error::Source(ref bad) => Problem::bad_request(error.to_string()).at(&bad.key),
            app::Error::ProvidersSecret | app::Error::Unsampled(_) => {
                Problem::bad_request(error.to_string())
            }
            app::Error::NoSuchSource => Problem::new(Kind::NotFound, error.to_string()),
            app::Error::SourceExists | app::Error::TooManySources => {
                Problem::new(Kind::Conflict, error.to_string())
            }
            app::Error::SourceReadOnly => Problem::new(Kind::ReadOnly, error.to_string()),
            app::Error::NoSecret => Problem::new(Kind::NotFound, error.to_string()),
            app::Error::Internal(detail) => Problem::new(Kind::Internal, detail),
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge(_) => Kind::TooLarge,
            BodyError::TooSlow => Kind::RequestTimeout,
            BodyError::BrokeOff => Kind::BadRequest,
            BodyError::NoRoom => Kind::Busy,
        };
        Problem::new(kind, error.to_string())
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let kind = match &refused {
            Refused::KeyReused { .. } => Kind::KeyReused,
            Refused::Full => Kind::OutboxFull,
            Refused::TooLarge { .. } => Kind::TooLarge,
            Refused::DiskLow | Refused::NoInodes | Refused::NoSpare | Refused::IndexBehind => {
                Kind::DiskLow
            }
            Refused::Failed => Kind::StoreFailed,
            Refused::ShuttingDown => Kind::ShuttingDown,
        };
        Problem::new(kind, refused.to_string())
    }
}

impl From<ActRefused> for Problem {
    fn from(refused: ActRefused) -> Self {
        let kind = match &refused {
            ActRefused::NoSuchEvent
            | ActRefused::NoSuchEndpoint
            | ActRefused::NoSuchDelivery
            | ActRefused::NoSuchJob => Kind::NotFound,
            ActRefused::Erased => Kind::Erased,
            ActRefused::Conflict(_)
            | ActRefused::DisabledInFile
            | ActRefused::EndpointExists
            | ActRefused::AppliedAlready
            | ActRefused::ChangedMeanwhile
            | ActRefused::TooManyJobs => Kind::Conflict,
            ActRefused::ReadOnly => Kind::ReadOnly,
            ActRefused::NoRoom(_) => Kind::DiskLow,
            ActRefused::Failed => Kind::StoreFailed,
            ActRefused::ShuttingDown => Kind::ShuttingDown,
        };
        Problem::new(kind, refused.to_string())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::NoSuchEvent
            | ReadError::NoSuchEndpoint
            | ReadError::NoSuchDelivery
            | ReadError::NoSuchJob => Kind::NotFound,
            ReadError::Erased => Kind::Erased,
            ReadError::BadCursor => Kind::BadRequest,
            ReadError::Damaged(_) => {
                tracing::error!(%error, "a stored record could not be read");
                Kind::Damaged
            }
            ReadError::Unreadable(_) => {
                tracing::warn!(%error, "a request was refused");
                Kind::Unreadable
            }
            ReadError::Index(_) => Kind::StoreFailed,
            ReadError::ShuttingDown => Kind::ShuttingDown,
        };
        Problem::new(kind, error.to_string())
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (_, status, title) = self.kind.spelled();
        let body = Shown {
            r#type: &self.kind.urn(),
            title,
            status: status.as_u16(),
            detail: &self.detail,
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        let by_kind = self.kind.retry_after().map(HeaderValue::from_static);
        if let Some(seconds) = self.retry_after.map(HeaderValue::from).or(by_kind) {
            headers.insert(header::RETRY_AFTER, seconds);
        }
        if self.kind == Kind::Unauthorized {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if self.kind.closes() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // Strings and a number always serialise.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        (status, headers, Body::from(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Status;
    use crate::server::body::Limit;
    use http_body_util::BodyExt;

    async fn shown(problem: Problem) -> (StatusCode, HeaderMap, serde_json::Value) {
        let (parts, body) = problem.into_response().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            serde_json::from_slice(&body).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_problem_has_the_four_members_of_rfc_9457_and_no_more() {
        let (status, headers, body) = shown(Problem::bad_request("why \"quoted\"")).await;
        assert_eq!(status, 400);
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(
            body,
            serde_json::json!({"type": "urn:outboxd:problem:bad-request", "title": "Bad request",
                "status": 400, "detail": "why \"quoted\""})
        );
    }

    #[tokio::test]
    async fn what_may_pass_says_when_to_try_again() {
        for refused in [
            Refused::Full,
            Refused::DiskLow,
            Refused::NoInodes,
            Refused::NoSpare,
            Refused::IndexBehind,
            Refused::Failed,
            Refused::ShuttingDown,
        ] {
            let (status, headers, _) = shown(refused.into()).await;
            assert_eq!(status, 503);
            let seconds: u32 = headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds));
        }
    }

    #[tokio::test]
    async fn bodies_that_were_not_read_have_their_status() {
        let limit = Limit {
            bytes: 10,
            key: "ingest.max_event_size",
        };
        for (error, expected, closes) in [
            (BodyError::TooLarge(limit), 413, true),
            (BodyError::TooSlow, 408, true),
            (BodyError::BrokeOff, 400, false),
            (BodyError::NoRoom, 503, false),
        ] {
            let (status, headers, body) = shown(error.into()).await;
            assert_eq!(status, expected);
            assert_eq!(body["detail"], error.to_string());
            assert_eq!(headers.contains_key("connection"), closes);
        }
    }

    #[tokio::test]
    async fn refused_actions_and_reads_have_their_status() {
        let cases: [(Problem, u16); 8] = [
            (ActRefused::NoSuchDelivery.into(), 404),
            (ActRefused::Conflict(Status::Held).into(), 409),
            (ActRefused::DisabledInFile.into(), 409),
            (ActRefused::Erased.into(), 410),
            (ReadError::Erased.into(), 410),
            (ReadError::BadCursor.into(), 400),
            (ReadError::Damaged("crc".into()).into(), 500),
            (
                ReadError::Unreadable("too many open files".into()).into(),
                503,
            ),
        ];
        for (problem, expected) in cases {
            let (status, _, body) = shown(problem).await;
            assert_eq!(status, expected);
            assert_eq!(body["status"], expected);
        }
    }
}
