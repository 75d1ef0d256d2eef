//! One HTTP request of a delivery, and what came back.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::time::Timestamp;

/// Why an attempt was no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    Dns,
    Connect,
    Tls,
    Timeout,
    /// The address may not be dialled.
    Blocked,
    /// What came back is not HTTP, or breaks off.
    Protocol,
    /// An answer that is not a 2xx.
    Status,
    /// The fault is the daemon's own and says nothing about the endpoint.
    Local,
    /// There is no token for the receiver: the fault is the token server's, or the credentials'.
    Auth,
}

impl ErrorKind {
    pub const ALL: [ErrorKind; 9] = [
        ErrorKind::Dns,
        ErrorKind::Connect,
        ErrorKind::Tls,
        ErrorKind::Timeout,
        ErrorKind::Blocked,
        ErrorKind::Protocol,
        ErrorKind::Status,
        ErrorKind::Local,
        ErrorKind::Auth,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Dns => "dns",
            ErrorKind::Connect => "connect",
            ErrorKind::Tls => "tls",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Blocked => "blocked",
            ErrorKind::Protocol => "protocol",
            ErrorKind::Status => "status",
            ErrorKind::Local => "local",
            ErrorKind::Auth => "auth",
        }
    }
}

/// The kind of fault and a sentence for a person. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptError {
    pub kind: ErrorKind,
    pub detail: String,
}

/// What one request came to, as the transport saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    pub duration: Duration,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// `None` is success.
    pub error: Option<AttemptError>,
    /// The first bytes of the response body, at most `delivery.response_body_limit`.
    pub response_body: Bytes,
    /// The address that was dialled.
    pub address: Option<SocketAddr>,
    /// What the answer asks to wait from the end of the attempt: `Retry-After`, or what the
    /// endpoint's answer rule reads.
    pub retry_after: Option<Duration>,
    /// By the endpoint's answer rule another attempt is of no use.
    pub permanent: bool,
}
