//! Gathers spans and exports them, one request at a time.

use std::pin::Pin;
use std::time::{Duration, Instant};

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::span::Spans;
use crate::dispatch::tail::{Heard, Listener};
use crate::domain::repeats::Repeats;

/// The most spans of one request.
const BATCH: usize = 512;
/// The most spans that wait while a request is under way.
const WAITING: usize = 4 * BATCH;
/// How long the first span of a request waits for others.
const LINGER: Duration = Duration::from_secs(1);

type Request<'e> = Pin<Box<dyn Future<Output = OTelSdkResult> + 'e>>;

/// Exports what the listener hears, until the tail has ended and nothing is left.
pub async fn run(mut listener: Listener, spans: Spans, exporter: &impl SpanExporter) {
    let mut waiting: Vec<SpanData> = Vec::new();
    let mut under_way: Option<(usize, Request<'_>)> = None;
    let mut oldest: Option<Instant> = None;
    let (mut losses, mut ended) = (Losses::new(), false);
    loop {
        let is_due = ended || oldest.is_some_and(|at| at.elapsed() >= LINGER);
        if under_way.is_none() && (waiting.len() >= BATCH || is_due && !waiting.is_empty()) {
            let batch: Vec<SpanData> = waiting.drain(..waiting.len().min(BATCH)).collect();
            oldest = (!waiting.is_empty()).then(Instant::now);
            under_way = Some((batch.len(), Box::pin(exporter.export(batch))));
        }
        if ended && under_way.is_none() {
            return;
        }
        let due = oldest.map(|at| tokio::time::Instant::from_std(at + LINGER));
        let is_free = under_way.is_none();
        let request = async {
            match &mut under_way {
                Some((_, request)) => request.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            result = request => {
                let spans = under_way.take().map_or(0, |(spans, _)| spans);
                if let Err(error) = result {
                    losses.add(spans as u64, &error.to_string());
                }
            }
            () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)),
                if due.is_some() && is_free => {}
            heard = listener.next(), if !ended && waiting.len() < WAITING => match heard {
                Some(Heard::Happened(happened)) => {
                    if let Some(span) = spans.of(&happened) {
                        waiting.push(span);
                        oldest.get_or_insert_with(Instant::now);
                    }
                }
                Some(Heard::Missed(missed)) => {
                    losses.add(missed, "the collector does not take them fast enough");
                }
                None => ended = true,
            },
        }
    }
}

/// Spans that were dropped.
struct Losses {
    since: Instant,
    repeats: Repeats,
    untold: u64,
}

impl Losses {
    fn new() -> Losses {
        Losses {
            since: Instant::now(),
            repeats: Repeats::default(),
            untold: 0,
        }
    }

    fn add(&mut self, spans: u64, error: &str) {
        self.untold = self.untold.saturating_add(spans);
        if self.repeats.happened(self.since.elapsed()).is_some() {
            let spans = std::mem::take(&mut self.untold);
            tracing::warn!(spans, error, "spans were dropped; deliveries go on");
        }
    }
}
