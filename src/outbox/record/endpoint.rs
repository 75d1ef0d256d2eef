//! Records about endpoints.

use bincode::{BorrowDecode, Encode};

/// An endpoint's number, name and state; replaces what was known of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct EndpointRow<'a> {
    pub no: u32,
    pub id: &'a str,
    pub tenant: &'a str,
    pub state: EndpointStateRow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct EndpointStateRow {
    /// Why and since when it is disabled through the API or by an answer.
    pub disabled: Option<(u8, u64)>,
    /// Since when `enabled = false` stands in the file.
    pub off_in_file: Option<u64>,
    /// Since when it is gone from the file.
    pub missing: Option<u64>,
    /// When it last went from holding to taking; 0 if never.
    pub released_at: u64,
    /// Since when every attempt failed, and how many did.
    pub failing: Option<(u64, u32)>,
}

impl EndpointStateRow {
    /// Whether its deliveries are held, whatever the reason.
    pub fn is_holding(&self) -> bool {
        self.disabled.is_some() || self.off_in_file.is_some() || self.missing.is_some()
    }

    /// The state after an attempt that ended then.
    pub fn after_attempt(self, at: u64, delivered: bool) -> Self {
        let failing = match self.failing {
            _ if delivered => None,
            Some((since, attempts)) => Some((since, attempts.saturating_add(1))),
            None => Some((at, 1)),
        };
        EndpointStateRow { failing, ..self }
    }
}

/// An API endpoint's definition; replaces the one before.
#[derive(Clone, Debug, PartialEq, Eq, BorrowDecode)]
pub struct EndpointSpecRow {
    pub no: u32,
    pub changed_at: u64,
    pub spec: SpecRow,
}

/// What its owner said of an endpoint. Its id and tenant are in its [`EndpointRow`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct SpecRow {
    pub url: String,
    pub types: Vec<String>,
    /// Newest first, and until when each signs.
    pub secrets: Vec<(KeyBytes, Option<u64>)>,
    pub headers: Vec<(String, KeyBytes)>,
    pub max_in_flight: u32,
    /// Attempts in a second, as the bits of a double.
    pub rate_limit: Option<u64>,
    pub ordering: u8,
    pub timeout_ms: Option<u64>,
    pub retry: RetryRow,
    pub description: String,
    pub http2: Option<bool>,
    /// The shaping, and the name under which the endpoint was applied: a JSON object, secrets
    /// included. Empty if there is neither.
    pub shaping: KeyBytes,
}

/// The parts of a retry policy that were set. Spans in milliseconds; factor and jitter
/// as the bits of a double.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct RetryRow {
    pub first: Option<u64>,
    pub factor: Option<u64>,
    pub max: Option<u64>,
    pub jitter: Option<u64>,
    pub give_up_after: Option<u64>,
    pub schedule: Option<Vec<u64>>,
}

/// Bytes that nobody sees in a log or a panic.
#[derive(Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyBytes(pub Vec<u8>);

impl From<Vec<u8>> for KeyBytes {
    fn from(bytes: Vec<u8>) -> KeyBytes {
        KeyBytes(bytes)
    }
}

impl std::fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// An API endpoint was deleted: its open deliveries are dead from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct EndpointDeleted {
    pub no: u32,
    pub at: u64,
}
