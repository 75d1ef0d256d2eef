//! HTTP in: the same API on TCP and on the Unix socket.
//!
//! Handlers parse, ask the outbox, and write down what it said; they decide nothing
//! about deliveries. No handler ever answers 202 before the outbox called the event
//! durable, and none touches the disk on the runtime's thread.

mod access;
mod body;
mod bulk;
mod definition;
mod deliveries;
mod endpoints;
mod events;
mod explain;
mod fields;
mod hosts;

mod list;
pub mod listen;
mod media;
mod metrics;
mod parse;
mod problem;
mod query;
mod router;
mod secrets;
pub mod serve;
mod spell;
mod stall;
mod status;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::app::rate_limit::EventRateLimit;
use crate::config::{Config, Ingest};
use crate::dispatch::{DispatchGauges, Questions};
use crate::domain::retry::RetryPolicy;
use crate::outbox::{Outbox, Refused};
use access::Access;
use body::Budget;
use problem::{Kind, Problem};

pub use router::router;

/// Reads that may touch the disk at once; more wait their turn.
const MAX_READS: usize = 4;
/// Room for the bodies of all requests under way, at least.
const MIN_BODY_BUDGET: u64 = 64 * 1024 * 1024;

/// What the handlers work with.
pub struct Api {
    outbox: Outbox,
    access: Access,
    /// What endpoints retry by that say nothing themselves.
    retry: RetryPolicy,
    ingest: Ingest,
    /// `None`: as many events as there is room for.
    intake: Option<Mutex<EventRateLimit>>,
    gauges: Arc<DispatchGauges>,
    questions: Questions,
    /// Set once the outbox is recovered and listening; unset when shutdown begins.
    ready: Arc<AtomicBool>,
    started: Instant,
    bodies: Arc<Budget>,
    reads: Arc<Semaphore>,
    counters: Counters,
}

/// What was handed in since the start.
#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    duplicates: AtomicU64,
    refused_key_reused: AtomicU64,
    refused_full: AtomicU64,
    refused_disk_low: AtomicU64,
    refused_failed: AtomicU64,
    refused_shutting_down: AtomicU64,
    refused_rate_limited: AtomicU64,
}

impl Counters {
    fn refused(&self, refused: &Refused) -> &AtomicU64 {
        match refused {
            Refused::KeyReused { .. } => &self.refused_key_reused,
            Refused::Full => &self.refused_full,
            Refused::DiskLow => &self.refused_disk_low,
            Refused::Failed => &self.refused_failed,
            Refused::ShuttingDown => &self.refused_shutting_down,
        }
    }
}

impl Api {
    pub fn new(
        outbox: Outbox,
        config: &Config,
        gauges: Arc<DispatchGauges>,
        questions: Questions,
        ready: Arc<AtomicBool>,
    ) -> Arc<Self> {
        let ingest = config.ingest.clone();
        let room = MIN_BODY_BUDGET.max(ingest.max_batch_size.saturating_mul(4));
        let started = Instant::now();
        let intake = ingest
            .rate_limit
            .map(|rate| EventRateLimit::new(rate, started));
        Arc::new(Api {
            outbox,
            access: Access::new(&config.auth, &config.listen.hosts),
            retry: config.retry.clone(),
            ingest,
            intake: intake.map(Mutex::new),
            gauges,
            questions,
            ready,
            started,
            bodies: Budget::new(usize::try_from(room).unwrap_or(usize::MAX)),
            reads: Arc::new(Semaphore::new(MAX_READS)),
            counters: Counters::default(),
        })
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whether so many events may be handed in now.
    ///
    /// # Errors
    /// 429; nothing was counted.
    fn let_in(&self, events: usize) -> Result<(), Problem> {
        let Some(intake) = &self.intake else {
            return Ok(());
        };
        // A bucket is right whoever broke down while holding it.
        let mut intake = intake.lock().unwrap_or_else(PoisonError::into_inner);
        intake.take(events, Instant::now()).map_err(|wait| {
            self.counters
                .refused_rate_limited
                .fetch_add(1, Ordering::Relaxed);
            Problem::rate_limited(wait)
        })
    }

    /// Runs `read` where it may touch the disk, a few at a time.
    async fn read<T, E>(
        &self,
        read: impl FnOnce(&Outbox) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        E: Into<Problem> + Send + 'static,
    {
        // The semaphore is never closed; if it were, reading unhindered is right.
        let turn = self.reads.clone().acquire_owned().await.ok();
        let outbox = self.outbox.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read(&outbox)
        });
        match read.await {
            Ok(result) => result.map_err(Into::into),
            Err(error) => {
                tracing::error!(%error, "a read broke down");
                Err(Problem::new(
                    Kind::Internal,
                    "the read broke down; see the log",
                ))
            }
        }
    }
}
