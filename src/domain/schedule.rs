//! The two clocks of the engine.
//!
//! Wall time is what is stored and shown; deadlines run on monotonic time.

use std::time::Duration;

use super::time::Timestamp;

/// This moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// May jump, both ways.
    pub wall: Timestamp,
    /// Since the process started; never runs backwards.
    pub mono: Duration,
}
