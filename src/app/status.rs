//! How the daemon is doing: the outbox, the dispatcher and what was handed in, at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::counters::{Counters, Ingested};
use super::error::Error;
use super::reader::Reader;
use crate::clock;
use crate::dispatch::{DispatchGauges, Dispatched};
use crate::domain::endpoint::EndpointId;
use crate::domain::time::Timestamp;
use crate::outbox::OutboxStatus;

/// `status` lists client certificates that expire within this time.
const SOON: Duration = Duration::from_secs(30 * 86_400);

pub struct Monitor {
    reader: Reader,
    gauges: Arc<DispatchGauges>,
    counters: Arc<Counters>,
    ready: Arc<AtomicBool>,
    started: Instant,
}

/// The daemon at a glance.
#[derive(Clone, Debug)]
pub struct Status {
    pub version: &'static str,
    pub uptime: Duration,
    /// The age of the oldest pending delivery.
    pub oldest_pending: Option<Duration>,
    /// Client certificates that expire soon, or have.
    pub expiring: Vec<(EndpointId, Timestamp)>,
    pub outbox: OutboxStatus,
    pub dispatched: Dispatched,
    pub ingested: Ingested,
}

impl Monitor {
    pub fn new(
        reader: Reader,
        gauges: Arc<DispatchGauges>,
        counters: Arc<Counters>,
        ready: Arc<AtomicBool>,
    ) -> Monitor {
        Monitor {
            reader,
            gauges,
            counters,
            ready,
            started: Instant::now(),
        }
    }

    /// Whether the outbox is recovered and takes events.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub async fn status(&self) -> Result<Status, Error> {
        let outbox = self.reader.read(|outbox| Ok(outbox.status())).await?;
        let now = clock::now();
        let certificates = outbox.certificates.iter();
        let expiring = certificates.filter(|(_, not_after)| not_after.since(now) < SOON);
        let expiring = expiring.cloned().collect();
        Ok(Status {
            expiring,
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.started.elapsed(),
            oldest_pending: outbox.oldest_pending.map(|oldest| now.since(oldest)),
            outbox,
            dispatched: self.gauges.snapshot(),
            ingested: self.counters.snapshot(),
        })
    }
}
