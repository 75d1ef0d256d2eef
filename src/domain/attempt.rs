//! One HTTP request of a delivery, and what came back.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::endpoint::EndpointId;
use super::event::EventId;
use super::time::Timestamp;

/// `att_` and a ULID: the moment when the attempt began, then 80 bits that its event and endpoint
/// determine. So it need not be stored, is the same wherever the attempt is shown, and rises with
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId(u128);

impl AttemptId {
    pub fn new(at: Timestamp, event: EventId, endpoint: &EndpointId) -> AttemptId {
        let digest = Sha256::new()
            .chain_update(event.0.to_be_bytes())
            .chain_update(endpoint.as_str())
            .finalize();
        let rest = digest
            .first_chunk()
            .map_or(0, |rest| u128::from_be_bytes(*rest));
        AttemptId(ulid::Ulid::from_parts(at.as_millis(), rest).0)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; ulid::ULID_LEN];
        write!(f, "att_{}", ulid::Ulid(self.0).array_to_str(&mut text))
    }
}

impl serde::Serialize for AttemptId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

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

    /// What the kind means, for those who may not see addresses and names of the way.
    pub fn sentence(self) -> &'static str {
        match self {
            ErrorKind::Dns => "the host name of the URL could not be resolved",
            ErrorKind::Connect => "no connection to the URL's host could be opened",
            ErrorKind::Tls => "TLS with the URL's host failed: look at its certificate",
            ErrorKind::Timeout => "the answer did not come within the time that an attempt has",
            ErrorKind::Blocked => "the URL does not lead to a public address",
            ErrorKind::Protocol => "what came back is not HTTP, or breaks off",
            ErrorKind::Status => "the answer is not a success",
            ErrorKind::Local => "the attempt could not be made, through no fault of the endpoint",
            ErrorKind::Auth => "no token for the request could be had",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_with_time_and_differ_by_event_and_endpoint() {
        let id = |at, event, endpoint| {
            let endpoint = EndpointId::new(endpoint).unwrap();
            AttemptId::new(Timestamp::from_millis(at), EventId(event), &endpoint)
        };
        assert_eq!(id(7, 1, "a"), id(7, 1, "a"));
        assert!(id(7, 1, "a") < id(8, 1, "a"));
        assert_ne!(id(7, 1, "a"), id(7, 2, "a"));
        assert_ne!(id(7, 1, "a"), id(7, 1, "b"));
        // Frozen: interfaces have shown it.
        assert_eq!(
            id(1_767_225_600_000, 1, "orders").to_string(),
            "att_01KDVDNA007XY3MNCQFF1HK9E7"
        );
    }
}
