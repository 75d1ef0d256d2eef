//! Whether there is room to accept: judged before anything is accepted, so that the daemon
//! refuses a promise and never breaks one.
//!
//! Outcomes are never refused here. They have the spare segment that the log keeps ahead. While
//! there is none, also while it is being made, a reserve in the current segment is left to the outcomes
//! of attempts that are in flight: no event is accepted into it, and no attempt is started once the
//! room is below it.

use std::time::Duration;

use crate::outbox::disk::Free;
use crate::outbox::log::{Room, SpareState};
use crate::outbox::rules::{Keep, LimitRules, Rules};
use crate::outbox::views::Refused;

/// What the outcome of an attempt may take in the log while room is short, with the event
/// that reports a death, in bytes.
const OUTCOME_BYTES: u64 = 768;
/// Outcomes that may be on their way besides those in flight.
const OUTCOMES_BESIDE: u64 = 64;
/// The index may be so many bytes ahead of its files before nothing more is accepted.
const INDEX_BEHIND: usize = 256 << 20;

/// How the disk and the index stand.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// `None`: the file system did not say.
    pub free: Option<Free>,
    pub spare: SpareState,
    pub room: Room,
    /// Bytes of the index that are not in its files yet.
    pub index_behind: usize,
}

/// The limits of the outbox and how it stands with them.
#[derive(Debug)]
pub struct Limits {
    pub max_size: u64,
    /// How much of it one endpoint may have. With a share of 1 none is held back: the
    /// outbox is full before.
    pub share: u64,
    pub idempotency_window: Duration,
    min_free_disk: u64,
    /// What is kept for the outcomes of attempts that are in flight, in bytes.
    pub reserve: u64,
    free: Free,
    no_spare: bool,
    index_behind: usize,
    /// Bytes of batches that fit for certain.
    room: u64,
    /// Outcomes found no room since the last batch that did.
    is_full: bool,
    /// That was told since there was a spare segment: smaller batches come and go.
    is_told: bool,
}

impl Limits {
    pub fn new(rules: &LimitRules) -> Self {
        let in_flight = rules.max_in_flight as u64 + OUTCOMES_BESIDE;
        Limits {
            max_size: rules.max_size,
            share: if rules.endpoint_share < 1.0 {
                // A double of that size loses some bytes at most.
                (rules.max_size as f64 * rules.endpoint_share.max(0.0)) as u64
            } else {
                u64::MAX
            },
            idempotency_window: rules.idempotency_window,
            min_free_disk: rules.min_free_disk,
            reserve: (in_flight * OUTCOME_BYTES).min(rules.segment_size / 2),
            free: Free {
                bytes: u64::MAX,
                no_inodes: false,
            },
            no_spare: false,
            index_behind: 0,
            room: u64::MAX,
            is_full: false,
            is_told: false,
        }
    }

    /// The settings of the threads beside the writer.
    pub fn rules(&self, keep: Keep) -> Rules {
        Rules {
            keep,
            share: self.share,
            max_size: self.max_size,
        }
    }

    /// Puts other limits in force. The last measurement of the disk is kept.
    pub fn set_rules(&mut self, rules: &LimitRules) {
        let new = Limits::new(rules);
        self.max_size = new.max_size;
        self.share = new.share;
        self.idempotency_window = new.idempotency_window;
        self.min_free_disk = new.min_free_disk;
        self.reserve = new.reserve;
    }

    /// Takes in how the disk stands now.
    pub fn note(&mut self, standing: Standing) {
        if let Some(free) = standing.free {
            self.free = free;
        }
        self.index_behind = standing.index_behind;
        self.no_spare = standing.spare == SpareState::Missing;
        self.is_told &= standing.spare != SpareState::Ready;
        self.room = if self.no_spare {
            standing.room.here
        } else {
            u64::MAX
        };
    }

    /// The log had no room for a batch without outcomes, which may still fit: nothing more is accepted until
    /// the disk was looked at again. `free` is what is free now.
    pub fn no_space_for_others(&mut self, free: Option<Free>) {
        if let Some(free) = free {
            self.free = free;
        }
        self.no_spare = true;
    }

    /// The log had no room for outcomes: what waits to be stored goes before new attempts. Returns
    /// whether it is the first time since the last write.
    pub fn no_space(&mut self, free: Option<Free>) -> bool {
        self.no_space_for_others(free);
        self.is_full = true;
        !std::mem::replace(&mut self.is_told, true)
    }

    /// The log had room.
    pub fn wrote(&mut self) {
        self.is_full = false;
    }

    /// The reserve may not suffice: nothing should be attempted.
    pub fn is_out(&self) -> bool {
        self.is_full || self.room < self.reserve
    }

    /// Whether so much may come on top of what is open.
    pub fn admit(&self, open_bytes: u64, incoming: u64) -> Result<(), Refused> {
        if self.is_low() || self.no_spare {
            Err(self.refusal())
        } else if self.index_behind > INDEX_BEHIND {
            Err(Refused::IndexBehind)
        } else if open_bytes.saturating_add(incoming) > self.max_size {
            Err(Refused::Full)
        } else {
            Ok(())
        }
    }

    /// What the disk lacks, while it lacks something.
    pub fn refusal(&self) -> Refused {
        if self.is_low() {
            Refused::DiskLow
        } else if self.free.no_inodes {
            Refused::NoInodes
        } else {
            Refused::NoSpare
        }
    }

    /// Less than `min_free_disk` is free.
    fn is_low(&self) -> bool {
        self.free.bytes < self.min_free_disk
    }

    /// There is no spare segment: response bodies are left out, so that the room lasts.
    pub fn is_tight(&self) -> bool {
        self.no_spare
    }

    pub fn free_bytes(&self) -> u64 {
        self.free.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bytes: u64, no_inodes: bool, spare: SpareState) -> Limits {
        let mut limits = Limits::new(&LimitRules {
            max_size: 1000,
            endpoint_share: 1.0,
            min_free_disk: 100,
            idempotency_window: Duration::ZERO,
            max_in_flight: 1,
            segment_size: 4 << 20,
        });
        limits.note(Standing {
            free: Some(Free { bytes, no_inodes }),
            spare,
            room: Room { here: 0, spare: 0 },
            index_behind: 0,
        });
        limits
    }

    #[test]
    fn a_refusal_names_what_the_disk_lacks() {
        use SpareState::{Missing, Ready};
        for (bytes, no_inodes, spare, refusal) in [
            (100, true, Ready, Ok(())),
            (99, false, Ready, Err(Refused::DiskLow)),
            (99, true, Missing, Err(Refused::DiskLow)),
            (100, true, Missing, Err(Refused::NoInodes)),
            (100, false, Missing, Err(Refused::NoSpare)),
        ] {
            assert_eq!(limits(bytes, no_inodes, spare).admit(0, 1), refusal);
        }
        // A batch found no room; the disk was looked at before that.
        let mut refused = limits(100, false, Ready);
        refused.no_space_for_others(None);
        assert_eq!(refused.admit(0, 1), Err(Refused::NoSpare));
        // Nothing waits to be stored, so nothing would show that there is room again.
        assert!(!refused.is_out());
        let mut limits = limits(100, false, Ready);
        let free = Free {
            bytes: 99,
            no_inodes: false,
        };
        assert!(limits.no_space(Some(free)));
        assert_eq!(limits.admit(0, 1), Err(Refused::DiskLow));
        assert!(!limits.no_space(None));
        assert_eq!(limits.refusal(), Refused::DiskLow);
    }
}
