//! The configuration: raw TOML in, checked values out, all faults at once.
//!
//! Two stages. `reader` walks the spanned TOML tree (raw); `sections` and `endpoints`
//! take each key from it and make the checked types here. No other module sees an
//! unchecked value, and nothing here has side effects: files are read, never written. A secret never reaches a fault or `Debug`.
//! Keys that the environment gives (`variables`) are read in the same walk and win over the file.

mod backup;
mod certificate;
mod defaults;
pub mod definitions;
mod endpoints;
mod environment;
mod fault;
mod files;
mod load;
mod otlp;
pub mod policy;
mod portal;
mod reader;
pub mod request;
mod restart;
mod retry;
pub mod schema;
mod sections;
mod shaping;
pub mod show;
mod sources;
#[cfg(test)]
mod tests;
mod to_json;
mod unknown;
mod values;
mod variables;

pub use backup::{Backup, BackupKey, BackupUrl, S3};
pub use certificate::{BadCertFile, CertFiles};
pub use environment::{Assignment, Environment};
pub use fault::{Fault, Faults};
pub use files::plain_text;
pub use load::{Loaded, load, load_backup, load_listen, parse};
pub use portal::{Accent, Logo, LogoKind, Portal};
pub use reader::nearest;
pub use restart::without_restart;

pub use crate::domain::units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use ipnet::IpNet;
use url::Url;

use crate::domain::endpoint::{Endpoint, Rate};
use crate::domain::inbound::Source;
use crate::domain::retry::RetryPolicy;

/// The configuration in effect. Every value has been checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: Listen,
    pub auth: Auth,
    pub ingest: Ingest,
    pub outbox: OutboxLimits,
    pub retention: Retention,
    pub delivery: DeliveryLimits,
    pub retry: RetryPolicy,
    pub endpoints: Vec<Endpoint>,
    pub sources: Vec<Source>,
    pub log: Logging,
    pub metrics: Metrics,
    pub otlp: Otlp,
    pub portal: Portal,
    pub backup: Backup,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    pub http: Option<SocketAddr>,
    pub unix: Option<PathBuf>,
    /// Permission bits of the socket.
    pub unix_mode: u32,
    /// Further `Host` values let in on TCP, lower case.
    pub hosts: Vec<String>,
    /// The public listener; nothing of the API is there.
    pub inbound: Option<SocketAddr>,
    /// For TLS on it.
    pub inbound_cert: Option<CertFiles>,
    /// How others reach it: as it was written, without slashes at its end.
    pub public_url: Option<String>,
    /// Whose word on the remote address and on https is believed there, and by the pages.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether the operator's pages are served on `http` and `unix`.
    pub ui: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Auth {
    pub tokens: Vec<Token>,
}

/// A bearer token. `Debug` never shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub name: String,
    pub scope: Scope,
    /// The token's SHA-256, so that the token itself is not kept.
    pub sha256: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Ingest,
    Admin,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({}, {:?})", self.name, self.scope)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ingest {
    pub max_event_size: u64,
    pub max_batch_events: usize,
    pub max_batch_size: u64,
    pub rate_limit: Option<Rate>,
    pub idempotency_window: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OutboxLimits {
    pub max_size: u64,
    /// 0 (exclusive) to 1.
    pub endpoint_share: f64,
    pub min_free_disk: u64,
    pub cache_size: u64,
    pub segment_size: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    pub delivered: Duration,
    pub dead: Duration,
    pub held: Duration,
    pub max_size: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryLimits {
    pub max_in_flight: usize,
    pub connect_timeout: Duration,
    pub timeout: Duration,
    pub response_body_limit: u64,
    /// The longest body that a template may make: `ingest.max_event_size`.
    pub longest_body: u64,
    pub allow_networks: Vec<IpNet>,
    pub allow_http: bool,
    pub proxy: Option<Url>,
    /// Extra roots, in PEM; read and checked when the configuration was.
    pub ca_file: Option<PathBuf>,
    /// The SHA-256 of what it held.
    pub ca_digest: Option<[u8; 32]>,
    /// Threads that make attempts; 0: as many as pay on this machine.
    pub threads: usize,
    /// For endpoints that say nothing themselves.
    pub http2: bool,
    /// A kept connection is not used longer.
    pub connection_max_age: Duration,
    pub user_agent: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// How many endpoints, those with the most trouble, have series of their own.
    pub per_endpoint: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Logging {
    /// A level or a `RUST_LOG` style filter.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Traces to a collector; only a build with the feature `otlp` takes an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// Without slashes at its end and without `/v1/traces`. `None`: no traces.
    pub endpoint: Option<String>,
    /// Of each request. Values are marked sensitive.
    pub headers: HeaderMap,
    /// Of each request; after it no repetition begins.
    pub timeout: Duration,
    /// Of the events that came without a trace, the part that is exported: 0 to 1.
    pub sample_ratio: f64,
}
