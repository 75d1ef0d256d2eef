//! The settings of the configuration that apply to the store. They may change while it runs.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::endpoint::{Endpoint, EndpointId, EndpointSpec};
use crate::domain::retry::RetryPolicy;

/// How long finished, dead and held deliveries are kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    pub delivered: Duration,
    pub dead: Duration,
    /// How long a delivery may be held.
    pub held: Duration,
    /// How long the fact that an event was erased is kept.
    pub erased: Duration,
    /// Bytes of finished, dead and held events; beyond that the oldest are removed first.
    pub max_size: u64,
    pub min_free_disk: u64,
    pub segment_size: u64,
}

/// The settings of the threads beside the writer.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub keep: Keep,
    /// Bytes of pending bodies that one endpoint may have.
    pub share: u64,
    /// Bytes of pending bodies.
    pub max_size: u64,
}

impl Default for Rules {
    /// Everything is kept, and nothing is limited.
    fn default() -> Rules {
        Rules {
            keep: Keep {
                delivered: Duration::MAX,
                dead: Duration::MAX,
                held: Duration::MAX,
                erased: Duration::MAX,
                max_size: u64::MAX,
                min_free_disk: 0,
                segment_size: u64::MAX,
            },
            share: u64::MAX,
            max_size: u64::MAX,
        }
    }
}

/// The limits of what the store accepts.
#[derive(Clone, Copy, Debug)]
pub struct LimitRules {
    /// Bytes of bodies that are still to be delivered.
    pub max_size: u64,
    /// The part of `max_size` that one endpoint may use, 0 to 1.
    pub endpoint_share: f64,
    pub min_free_disk: u64,
    pub idempotency_window: Duration,
    /// How many attempts may be under way at once.
    pub max_in_flight: usize,
    pub segment_size: u64,
}

/// The settings of the configuration for endpoints that do not set them themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    pub timeout: Duration,
    pub http2: bool,
    pub retry: Arc<RetryPolicy>,
}

impl Defaults {
    /// The endpoint as `spec` and the configuration define it.
    pub fn endpoint(&self, spec: &EndpointSpec, id: &EndpointId) -> Arc<Endpoint> {
        Arc::new(spec.endpoint(id.clone(), self.timeout, self.http2, &self.retry))
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            timeout: Duration::from_secs(20),
            http2: true,
            retry: Arc::default(),
        }
    }
}
