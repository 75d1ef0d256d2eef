//! What dispatch is doing and has done, for `status` and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::attempts::Due;
use crate::domain::attempt::{Attempt, ErrorKind};
use crate::domain::histogram::{Histogram, HistogramView};
use crate::domain::time::Timestamp;
use crate::transport::{TransportFigures, TransportFiguresView};

/// Counted since the start.
#[derive(Debug)]
pub struct DispatchGauges {
    /// Attempts under way.
    pub in_flight: AtomicU64,
    /// Endpoints whose circuit breaker is open.
    pub breakers_open: AtomicU64,
    /// Attempts that delivered.
    pub attempts_delivered: AtomicU64,
    /// Attempts that failed, in the order of [`ErrorKind::ALL`].
    pub attempts_failed: [AtomicU64; ErrorKind::ALL.len()],
    delivered_took: Histogram,
    failed_took: Histogram,
    waited: Histogram,
    latency: Histogram,
    transport: Arc<TransportFigures>,
}

/// The gauges at one moment.
#[derive(Clone, Debug)]
pub struct Dispatched {
    pub in_flight: u64,
    pub breakers_open: u64,
    pub attempts_delivered: u64,
    /// In the order of [`ErrorKind::ALL`].
    pub attempts_failed: [u64; ErrorKind::ALL.len()],
    /// How long attempts took: those that delivered, and those that failed.
    pub delivered_took: HistogramView,
    pub failed_took: HistogramView,
    /// From when a delivery was due until its attempt began.
    pub waited: HistogramView,
    /// From acceptance, or the due time asked for, until delivered.
    pub latency: HistogramView,
    pub transport: TransportFiguresView,
}

impl Default for DispatchGauges {
    fn default() -> Self {
        DispatchGauges::new(Arc::default())
    }
}

impl DispatchGauges {
    /// Includes the figures of the transports.
    pub fn new(transport: Arc<TransportFigures>) -> DispatchGauges {
        DispatchGauges {
            in_flight: AtomicU64::default(),
            breakers_open: AtomicU64::default(),
            attempts_delivered: AtomicU64::default(),
            attempts_failed: Default::default(),
            delivered_took: Histogram::of_short_durations(),
            failed_took: Histogram::of_short_durations(),
            waited: Histogram::of_long_durations(),
            latency: Histogram::of_long_durations(),
            transport,
        }
    }

    pub fn snapshot(&self) -> Dispatched {
        Dispatched {
            in_flight: self.in_flight.load(Relaxed),
            breakers_open: self.breakers_open.load(Relaxed),
            attempts_delivered: self.attempts_delivered.load(Relaxed),
            attempts_failed: std::array::from_fn(|kind| {
                let counter = self.attempts_failed.get(kind);
                counter.map_or(0, |counter| counter.load(Relaxed))
            }),
            delivered_took: self.delivered_took.view(),
            failed_took: self.failed_took.view(),
            waited: self.waited.view(),
            latency: self.latency.view(),
            transport: self.transport.view(),
        }
    }

    /// Counts an attempt that ended. Durations of attempts that the daemon could not make are left
    /// out.
    pub(super) fn count(&self, attempt: &Attempt, due: Due) {
        let Some(error) = &attempt.error else {
            self.attempts_delivered.fetch_add(1, Relaxed);
            self.delivered_took.took(attempt.duration);
            self.waited.took(attempt.at.since(due.this));
            return;
        };
        let place = ErrorKind::ALL.iter().position(|kind| *kind == error.kind);
        if let Some(counter) = place.and_then(|place| self.attempts_failed.get(place)) {
            counter.fetch_add(1, Relaxed);
        }
        if error.kind != ErrorKind::Local {
            self.failed_took.took(attempt.duration);
            self.waited.took(attempt.at.since(due.this));
        }
    }

    /// Counts a delivery that was delivered at `at`.
    pub(super) fn count_delivered(&self, at: Timestamp, due: Due) {
        self.latency.took(at.since(due.first));
    }
}
