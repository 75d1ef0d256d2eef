//! The rules of the configuration that the store goes by. They may change while it runs.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::endpoint::{Endpoint, EndpointId, EndpointSpec};
use crate::domain::retry::RetryPolicy;

/// How long what is finished is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    pub delivered: Duration,
    pub dead: Duration,
    /// How long a delivery may be held.
    pub held: Duration,
    /// How long it is known that an event was erased.
    pub erased: Duration,
    /// Bytes of finished, dead and held events; over it the oldest go first.
    pub max_size: u64,
    pub min_free_disk: u64,
    pub segment_size: u64,
}

/// What the threads beside the writer go by.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub keep: Keep,
    /// Bytes of pending bodies that one endpoint may have.
    pub share: u64,
    /// Bytes of pending bodies.
    pub max_size: u64,
}

impl Default for Rules {
    /// Everything is kept, and there is room for all.
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

/// How much is taken in.
#[derive(Clone, Copy, Debug)]
pub struct LimitRules {
    /// Bytes of bodies that are still to be delivered.
    pub max_size: u64,
    /// Of `max_size` for one endpoint, 0 to 1.
    pub endpoint_share: f64,
    pub min_free_disk: u64,
    pub idempotency_window: Duration,
    /// Attempts at once.
    pub max_in_flight: usize,
    pub segment_size: u64,
}

/// What the configuration gives to endpoints that say nothing themselves.
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
