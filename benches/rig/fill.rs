//! Fills an outbox.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::load::{EVENT, Target, post};
use super::runtime;

/// Events of one NDJSON request.
const BATCH: u64 = 1000;
const BATCHES_AT_ONCE: usize = 4;

/// Hands in `events` copies of a line, a thousand with each request.
pub fn fill(address: SocketAddr, events: u64, line: &str) {
    let batch = Bytes::from(line.repeat(usize::try_from(BATCH).unwrap_or_default()));
    let runtime = runtime::current_thread();
    let limit = (events / BATCH, Duration::MAX);
    let target = Target {
        content_type: "application/x-ndjson",
        ..EVENT
    };
    let posting = post(address, target, BATCHES_AT_ONCE, limit, move |_| {
        batch.clone()
    });
    assert_eq!(runtime.block_on(posting).0, events / BATCH);
}
