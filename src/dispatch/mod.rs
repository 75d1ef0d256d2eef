//! Drives the engine: commands out, outcomes in.

use std::sync::atomic::AtomicU64;

use crate::domain::attempt::ErrorKind;

/// What dispatch is doing and has done since the start, for `status` and `/metrics`.
#[derive(Debug, Default)]
pub struct DispatchGauges {
    /// Attempts under way.
    pub in_flight: AtomicU64,
    /// Endpoints whose circuit breaker is open.
    pub breakers_open: AtomicU64,
    /// Attempts that delivered.
    pub attempts_delivered: AtomicU64,
    /// Attempts that failed, in the order of [`ErrorKind::ALL`].
    pub attempts_failed: [AtomicU64; ErrorKind::ALL.len()],
}
