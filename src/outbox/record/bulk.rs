//! Records about many deliveries at once, and about what is erased.

use bincode::{BorrowDecode, Encode};

use super::spelling::{BadRecord, take};
use super::step::StepRow;
use crate::domain::job::JobId;
use crate::domain::time::Timestamp;

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
    /// Deliveries in a second, as the bits of a double; 0 means no limit.
    pub rate: u64,
    /// The job has ended or was cancelled.
    pub done: bool,
    /// When the job began.
    pub created_at: u64,
    /// How many deliveries matched then, and how many the job has processed.
    pub matched: u64,
    pub taken: u64,
}

/// The encoding of [`JobRow`] before jobs were shown.
#[derive(BorrowDecode)]
struct PlainJobRow<'a> {
    no: u32,
    endpoint: u32,
    work: JobWork,
    statuses: Vec<u8>,
    types: Vec<&'a str>,
    since: Option<u64>,
    until: Option<u64>,
    position: u128,
    last: u128,
    rate: u64,
    done: bool,
}

impl<'a> JobRow<'a> {
    /// Reads the encoding from before jobs were shown.
    pub fn plain(kind: u8, head: &'a [u8]) -> Result<Self, BadRecord> {
        let row: PlainJobRow<'_> = take(kind, head)?;
        Ok(JobRow {
            no: row.no,
            endpoint: row.endpoint,
            work: row.work,
            statuses: row.statuses,
            types: row.types,
            since: row.since,
            until: row.until,
            position: row.position,
            last: row.last,
            rate: row.rate,
            done: row.done,
            created_at: 0,
            matched: 0,
            taken: 0,
        })
    }

    pub fn id(&self) -> JobId {
        JobId {
            created_at: Timestamp::from_millis(self.created_at),
            no: self.no,
        }
    }
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

impl JobWork {
    pub fn as_str(self) -> &'static str {
        match self {
            JobWork::Replay => "replay",
            JobWork::Purge => "purge",
            JobWork::Release => "release",
        }
    }
}

/// An event was erased: no answer shows its body or its attempts from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct ErasedRow {
    pub id: u128,
    pub at: u64,
    /// Every copy of its bodies in the log was overwritten.
    pub done: bool,
}
