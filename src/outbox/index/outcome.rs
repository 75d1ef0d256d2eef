//! One block of an endpoint's attempts: the outcomes in it, and the events; see `outcomes`.

use bincode::{BorrowDecode, Encode};

use crate::domain::event::EventId;

use super::spans::Spans;

/// How many attempts a block has when the next one begins. Few in tests, which have few attempts.
const ATTEMPTS: u32 = if cfg!(test) { 8 } else { 1024 };
/// How many a block has when it is split at a position within it.
const MOST_ATTEMPTS: u32 = 4 * ATTEMPTS;
/// A block with more different outcomes counts as one that has all.
const MOST_OUTCOMES: usize = 64;

/// How an attempt ended, as far as lists look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Outcome {
    /// The number of the error's kind; 0: the attempt delivered.
    pub error: u8,
    /// The status of the response; 0: there was none.
    pub status: u16,
}

/// A block as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BlockRow {
    /// The last position that it was given.
    last: u64,
    /// How many attempts it was given.
    attempts: u32,
    /// The different outcomes; `None`: more than are kept.
    outcomes: Option<Vec<Outcome>>,
    events: Spans,
}

/// A block in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeBlock {
    pub start: u64,
    /// Where the next block begins.
    pub end: Option<u64>,
    /// There is no block before it.
    pub is_first: bool,
    pub row: BlockRow,
    pub is_stored: bool,
}

impl BlockRow {
    pub fn may_have(&self, wanted: impl Fn(Outcome) -> bool) -> bool {
        let outcomes = self.outcomes.as_ref();
        outcomes.is_none_or(|outcomes| outcomes.iter().any(|outcome| wanted(*outcome)))
    }

    /// All events of the attempts, and others.
    pub fn events(&self) -> &Spans {
        &self.events
    }
}

impl OutcomeBlock {
    pub fn new(start: u64, end: Option<u64>, is_first: bool) -> OutcomeBlock {
        OutcomeBlock {
            start,
            end,
            is_first,
            row: BlockRow {
                last: start,
                attempts: 0,
                outcomes: Some(Vec::new()),
                events: Spans::default(),
            },
            // Empty, it is not worth a row.
            is_stored: true,
        }
    }

    /// Whether it is the block of a position.
    pub fn has(&self, at: u64) -> bool {
        self.start <= at && self.end.is_none_or(|end| at < end)
    }

    /// A full block takes only attempts at positions that it has, and not without end: one that began
    /// while the clock was ahead would make the block take all that follow.
    pub fn takes(&self, at: u64) -> bool {
        let most = match at <= self.row.last {
            true => MOST_ATTEMPTS,
            false => ATTEMPTS,
        };
        self.has(at) && self.row.attempts < most
    }

    /// Whether a position is among those that it was given.
    pub fn has_given(&self, at: u64) -> bool {
        self.has(at) && at <= self.row.last
    }

    /// The part of it from a position on, as a block with all its outcomes and events.
    pub fn split_at(&self, at: u64) -> OutcomeBlock {
        OutcomeBlock {
            start: at,
            end: self.end,
            is_first: self.is_first && at == self.start,
            row: BlockRow {
                attempts: 0,
                ..self.row.clone()
            },
            is_stored: true,
        }
    }

    /// Adds an attempt for an event. Whether the block was stored as it was.
    pub fn add(&mut self, at: u64, id: EventId, outcome: Outcome) -> bool {
        self.row.attempts = self.row.attempts.saturating_add(1);
        self.row.last = self.row.last.max(at);
        self.row.events.add(id);
        if let Some(outcomes) = &mut self.row.outcomes
            && !outcomes.contains(&outcome)
        {
            match outcomes.len() < MOST_OUTCOMES {
                true => outcomes.push(outcome),
                false => self.row.outcomes = None,
            }
        }
        std::mem::replace(&mut self.is_stored, false)
    }

    /// The row to write, unless it was written as it is.
    pub fn unwritten(&mut self) -> Option<&BlockRow> {
        match std::mem::replace(&mut self.is_stored, true) {
            true => None,
            false => Some(&self.row),
        }
    }
}
