//! What is done to a delivery by other means than an attempt.

use bincode::{BorrowDecode, Encode};

/// One step of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum StepRow {
    Retry { at: u64 },
    Hold { reason: u8 },
    Release { at: u64 },
    Die { at: u64, reason: u8 },
}
