//! How long the phases of requests take, and how many connections are kept.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::lock::lock;
use super::progress::Progress;
use crate::domain::histogram::{Histogram, HistogramView};

/// The figures of all transports of the process, since the start. A phase counts however it ends,
/// so that timeouts are included. Requests for tokens and for consent count too.
#[derive(Debug)]
pub struct TransportFigures {
    /// Resolving the name, for each new connection to a name.
    pub(super) dns: Histogram,
    /// Until TCP is connected, for each new connection.
    pub(super) connect: Histogram,
    /// The handshake, for each new connection with TLS.
    pub(super) tls: Histogram,
    /// From sending a request to the head of its response.
    pub(super) first_byte: Histogram,
    /// The connections that each pool keeps. Locked when a pool is made and when they are read.
    kept: Mutex<Vec<Arc<AtomicUsize>>>,
}

/// [`TransportFigures`] at one moment.
#[derive(Clone, Debug, Default)]
pub struct TransportFiguresView {
    /// The phases by their names.
    pub phases: [(&'static str, HistogramView); 4],
    /// Connections that are kept: idle ones of HTTP/1.1, and all of HTTP/2.
    pub kept: usize,
}

impl Default for TransportFigures {
    fn default() -> Self {
        TransportFigures {
            dns: Histogram::of_short_durations(),
            connect: Histogram::of_short_durations(),
            tls: Histogram::of_short_durations(),
            first_byte: Histogram::of_short_durations(),
            kept: Mutex::default(),
        }
    }
}

impl TransportFigures {
    /// The counter of a new pool.
    pub(super) fn kept_by_pool(&self) -> Arc<AtomicUsize> {
        let counter = Arc::default();
        lock(&self.kept).push(Arc::clone(&counter));
        counter
    }

    pub fn view(&self) -> TransportFiguresView {
        TransportFiguresView {
            phases: [
                ("dns", self.dns.view()),
                ("connect", self.connect.view()),
                ("tls", self.tls.view()),
                ("first_byte", self.first_byte.view()),
            ],
            kept: lock(&self.kept).iter().map(|kept| kept.load(Relaxed)).sum(),
        }
    }
}

/// Adds the time from its making to its end, also when the attempt is dropped.
pub(super) struct Phase<'a> {
    histogram: &'a Histogram,
    began: Instant,
}

impl<'a> Phase<'a> {
    pub(super) fn begin(histogram: &'a Histogram) -> Phase<'a> {
        Phase {
            histogram,
            began: Instant::now(),
        }
    }
}

impl Drop for Phase<'_> {
    fn drop(&mut self) {
        self.histogram.took(self.began.elapsed());
    }
}

/// Adds the time that a dial has been connecting, without the resolving before it.
pub(super) struct Connecting<'a> {
    pub(super) histogram: &'a Histogram,
    pub(super) progress: &'a Progress,
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if let Some(began) = self.progress.connecting_since() {
            self.histogram.took(began.elapsed());
        }
    }
}
