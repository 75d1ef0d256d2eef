//! The daemon's responses, as far as the commands show them. Unknown fields are ignored.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::time::Timestamp;

#[derive(Debug, Deserialize)]
pub struct List<T> {
    pub data: Vec<T>,
    pub next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Accepted {
    pub id: String,
    pub r#type: String,
    pub deliveries: u64,
    pub duplicate: bool,
}

#[derive(Debug, Default, Deserialize)]
pub struct Counts {
    pub pending: u64,
    pub held: u64,
    pub delivered: u64,
    pub dead: u64,
}

#[derive(Debug, Deserialize)]
pub struct Event {
    pub id: String,
    pub r#type: String,
    pub tenant: String,
    pub key: Option<String>,
    pub idempotency_key: Option<String>,
    pub received: Option<Received>,
    pub accepted_at: Timestamp,
    pub deliver_at: Option<Timestamp>,
    #[serde(default)]
    pub delivery_counts: Counts,
    pub data: Option<Box<RawValue>>,
    pub content_type: Option<String>,
    pub body_base64: Option<String>,
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

/// How a source took an event in.
#[derive(Debug, Deserialize)]
pub struct Received {
    pub source: String,
    pub delivery_id: Option<String>,
    pub verified_by: Option<String>,
    pub remote: Option<String>,
}

impl Received {
    /// `by source stripe-live, verified by secret 1, from 203.0.113.7`.
    pub fn in_words(&self) -> String {
        let mut words = format!("by source {}", self.source);
        if let Some(verified_by) = &self.verified_by {
            words += &format!(", verified by {verified_by}");
        }
        if let Some(remote) = &self.remote {
            words += &format!(", from {remote}");
        }
        words
    }
}

#[derive(Debug, Deserialize)]
pub struct Delivery {
    pub event: String,
    pub endpoint: String,
    pub r#type: String,
    pub status: String,
    pub reason: Option<String>,
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    #[serde(default)]
    pub attempts_omitted: bool,
    pub attempt_count: u64,
    pub next_attempt_at: Option<Timestamp>,
    pub accepted_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
pub struct Attempt {
    pub at: Timestamp,
    pub duration_ms: u64,
    pub status: Option<u16>,
    pub error: Option<AttemptFault>,
    #[serde(default)]
    pub response_body: String,
    pub address: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct AttemptFault {
    pub kind: String,
    pub detail: String,
}

#[derive(Debug, Deserialize)]
pub struct Endpoint {
    pub id: String,
    pub tenant: String,
    pub url: String,
    pub types: Vec<String>,
    pub secret: Option<String>,
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    pub max_in_flight: u64,
    pub rate_limit: Option<String>,
    pub ordering: String,
    pub timeout: String,
    #[serde(default = "yes")]
    pub http2: bool,
    pub retry: Retry,
    #[serde(default)]
    pub description: String,
    pub enabled: bool,
    pub disabled_reason: Option<String>,
    pub disabled_at: Option<Timestamp>,
    pub source: String,
    pub backlog: EndpointBacklog,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
pub struct Secret {
    pub secret: String,
}

#[derive(Debug, Deserialize)]
pub struct Retry {
    pub first: String,
    pub factor: f64,
    pub max: String,
    pub give_up_after: String,
    pub schedule: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct EndpointBacklog {
    pub pending: u64,
    pub held: u64,
    pub dead: u64,
}

#[derive(Debug, Deserialize)]
pub struct Status {
    pub version: String,
    pub uptime_s: u64,
    pub backlog: Backlog,
    pub oldest_pending_s: Option<u64>,
    pub disk: Disk,
    pub endpoints: Endpoints,
    #[serde(default)]
    pub expiring_certificates: Vec<Certificate>,
    pub damaged_records: u64,
    pub recovery: Recovery,
    /// Absent where nothing is shipped.
    #[serde(default)]
    pub backup: Option<Shipping>,
    pub totals: Totals,
}

#[derive(Debug, Deserialize)]
pub struct Backlog {
    pub pending: u64,
    pub held: u64,
    pub dead: u64,
    pub in_flight: u64,
}

#[derive(Debug, Deserialize)]
pub struct Disk {
    pub log_bytes: u64,
    pub index_bytes: u64,
    pub free_bytes: u64,
}

#[derive(Debug, Deserialize)]
pub struct Endpoints {
    pub total: u64,
    pub disabled: u64,
    pub breaker_open: u64,
    #[serde(default)]
    pub unrendered: u64,
}

#[derive(Debug, Deserialize)]
pub struct Certificate {
    pub endpoint: String,
    pub not_after: Timestamp,
}

#[derive(Debug, Deserialize)]
pub struct Recovery {
    pub kind: String,
    pub seconds: f64,
}

/// How shipping goes.
#[derive(Debug, Deserialize)]
pub struct Shipping {
    pub behind_s: f64,
    pub last_shipped_at: Option<Timestamp>,
    pub error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Totals {
    pub events_accepted: u64,
    pub attempts_delivered: u64,
    pub attempts_failed: u64,
}
