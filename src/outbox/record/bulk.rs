//! Records about many deliveries at once, and about what is erased.

use bincode::{BorrowDecode, Encode};

use super::step::StepRow;

/// Many deliveries of one endpoint took the same step.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Moved {
    pub endpoint: u32,
    pub step: MovedStep,
    /// Their events.
    pub ids: Vec<u128>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum MovedStep {
    Take(StepRow),
    /// The delivery is gone; its event and the event's other deliveries stay.
    Remove,
}

/// A piece of work on many deliveries of one endpoint and how far it has come; replaces
/// what was known of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct JobRow<'a> {
    /// Unique among the jobs that are not done.
    pub no: u32,
    pub endpoint: u32,
    pub work: JobWork,
    /// Which deliveries: their statuses as they are shown; all types if none are named.
    pub statuses: Vec<u8>,
    pub types: Vec<&'a str>,
    /// When their events were accepted: from `since` on and before `until`.
    pub since: Option<u64>,
    pub until: Option<u64>,
    /// Only events with an id from `position` up to `last`; it goes on at `position`.
    pub position: u128,
    pub last: u128,
    /// Deliveries in a second, as the bits of a double; 0 is as fast as it goes.
    pub rate: u64,
    /// There is nothing left to do.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum JobWork {
    /// Back to pending, with a fresh retry budget.
    Replay,
    /// What is open dies, what is dead goes.
    Purge,
    /// What could not be rendered is pending again.
    Release,
}

/// An event was erased: no answer shows its body or its attempts from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct ErasedRow {
    pub id: u128,
    pub at: u64,
    /// Every copy of its bodies in the log was overwritten.
    pub done: bool,
}
