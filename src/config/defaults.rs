//! The default configuration. `config.example.toml` shows the same values; a test holds that.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{
    Auth, Backup, Config, DeliveryLimits, Ingest, Listen, LogFormat, Logging, Metrics, Otlp,
    OutboxLimits, Portal, Retention,
};
use crate::domain::retry::RetryPolicy;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(86_400);

/// The product and its version, as receivers see it.
pub(super) const USER_AGENT: &str = concat!("outboxd/", env!("CARGO_PKG_VERSION"));

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: "./outboxd-data".into(),
            listen: Listen::default(),
            auth: Auth::default(),
            ingest: Ingest::default(),
            outbox: OutboxLimits::default(),
            retention: Retention::default(),
            delivery: DeliveryLimits::default(),
            retry: RetryPolicy::default(),
            endpoints: Vec::new(),
            sources: Vec::new(),
            log: Logging::default(),
            metrics: Metrics::default(),
            otlp: Otlp::default(),
            portal: Portal::default(),
            backup: Backup::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7717))),
            unix: None,
            unix_mode: 0o660,
            hosts: Vec::new(),
            inbound: None,
            inbound_cert: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            ui: true,
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Ingest {
            max_event_size: MIB,
            max_batch_events: 1000,
            max_batch_size: 16 * MIB,
            rate_limit: None,
            idempotency_window: DAY,
        }
    }
}

impl Default for OutboxLimits {
    fn default() -> Self {
        OutboxLimits {
            max_size: 10 * GIB,
            endpoint_share: 0.5,
            min_free_disk: 256 * MIB,
            cache_size: 64 * MIB,
            segment_size: 64 * MIB,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            delivered: 7 * DAY,
            dead: 30 * DAY,
            held: 30 * DAY,
            max_size: 5 * GIB,
        }
    }
}

impl Default for DeliveryLimits {
    fn default() -> Self {
        DeliveryLimits {
            max_in_flight: 512,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            response_body_limit: 4 * KIB,
            longest_body: MIB,
            allow_networks: Vec::new(),
            allow_http: false,
            proxy: None,
            ca_file: None,
            ca_digest: None,
            threads: 0,
            http2: true,
            connection_max_age: Duration::from_secs(5 * 60),
            user_agent: USER_AGENT.to_owned(),
        }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Otlp {
            endpoint: None,
            headers: http::HeaderMap::new(),
            timeout: Duration::from_secs(10),
            sample_ratio: 1.0,
        }
    }
}

impl Default for Backup {
    fn default() -> Self {
        Backup {
            to: None,
            interval: Duration::from_secs(1),
            retain: 7 * DAY,
            key: None,
            s3: super::S3::default(),
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Logging {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}
