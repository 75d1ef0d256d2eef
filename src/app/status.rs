//! The state of the daemon at one moment: the outbox, the dispatcher and the counts of ingest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::counters::{Counters, Ingested};
use super::error::Error;
use super::process::{self, ProcessFigures};
use super::reader::Reader;
use crate::backup;
use crate::clock;
use crate::dispatch::{DispatchGauges, Dispatched};
use crate::domain::endpoint::EndpointId;
use crate::domain::time::Timestamp;
use crate::outbox::OutboxStatus;
use crate::server::accept::OpenConnections;

/// `status` lists client certificates that expire within this time.
const SOON: Duration = Duration::from_secs(30 * 86_400);

pub struct Monitor {
    reader: Reader,
    gauges: Arc<DispatchGauges>,
    counters: Arc<Counters>,
    ready: Arc<AtomicBool>,
    started: Instant,
    /// When the process started, if the system says.
    started_at: Option<Timestamp>,
    min_free_disk: AtomicU64,
    /// The connections of clients, by listener.
    pub connections: Connections,
    /// How shipping goes; `None`: nothing is shipped.
    pub shipping: Option<Arc<backup::Figures>>,
}

/// How many connections clients have open. The listeners count them.
#[derive(Debug, Default)]
pub struct Connections {
    pub tcp: OpenConnections,
    pub unix: OpenConnections,
    /// Those of the public listener.
    pub inbound: OpenConnections,
}

/// The figures that only `/metrics` shows.
#[derive(Clone, Debug)]
pub struct Figures {
    pub process: ProcessFigures,
    pub started_at: Option<Timestamp>,
    /// `outbox.min_free_disk`, in bytes.
    pub min_free_disk: u64,
    /// Connections of clients that are open, by listener.
    pub connections: [(&'static str, usize); 3],
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
    pub shipping: Option<backup::Shipping>,
}

impl Monitor {
    pub fn new(
        reader: Reader,
        gauges: Arc<DispatchGauges>,
        counters: Arc<Counters>,
        ready: Arc<AtomicBool>,
        min_free_disk: u64,
    ) -> Monitor {
        Monitor {
            reader,
            gauges,
            counters,
            ready,
            started: Instant::now(),
            started_at: process::started_at(),
            min_free_disk: AtomicU64::new(min_free_disk),
            connections: Connections::default(),
            shipping: None,
        }
    }

    /// Puts another `outbox.min_free_disk` in force.
    pub fn set_min_free_disk(&self, bytes: u64) {
        self.min_free_disk.store(bytes, Ordering::Relaxed);
    }

    /// Whether the outbox is recovered and takes events.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The figures that only `/metrics` shows.
    pub async fn figures(&self) -> Result<Figures, Error> {
        let process = self.reader.read(|_| Ok(ProcessFigures::read())).await?;
        let Connections { tcp, unix, inbound } = &self.connections;
        Ok(Figures {
            process,
            started_at: self.started_at,
            min_free_disk: self.min_free_disk.load(Ordering::Relaxed),
            connections: [
                ("http", tcp.count()),
                ("unix", unix.count()),
                ("inbound", inbound.count()),
            ],
        })
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
            shipping: self.shipping.as_ref().map(|figures| figures.shipping()),
        })
    }
}
