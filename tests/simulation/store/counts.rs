//! What a history may leave out, and what was counted over it.

use super::disk::Met;

/// What a history may leave out, to find the smallest that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without(pub u32);

pub const KINDS: [&str; 10] = [
    "power", "kill", "room", "read", "write", "sync", "short", "jumps", "index", "stops",
];

impl Without {
    pub fn has(self, kind: &str) -> bool {
        let at = KINDS.iter().position(|name| *name == kind);
        at.is_some_and(|at| self.0 & (1 << at) != 0)
    }
}

/// What was counted over a history.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub steps: u64,
    pub accepted: u64,
    pub attempts: u64,
    pub delivered: u64,
    pub lives: u64,
    pub jumps: u64,
    pub index_lost: u64,
    pub index_broken: u64,
    pub stops: u64,
    pub threads_died: u64,
    pub refused_steps: u64,
    pub met: Met,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.steps += other.steps;
        self.accepted += other.accepted;
        self.attempts += other.attempts;
        self.delivered += other.delivered;
        self.lives += other.lives;
        self.jumps += other.jumps;
        self.index_lost += other.index_lost;
        self.index_broken += other.index_broken;
        self.stops += other.stops;
        self.threads_died += other.threads_died;
        self.refused_steps += other.refused_steps;
        self.met.no_room += other.met.no_room;
        self.met.read_errors += other.met.read_errors;
        self.met.write_errors += other.met.write_errors;
        self.met.sync_errors += other.met.sync_errors;
        self.met.short_writes += other.met.short_writes;
        self.met.process_crashes += other.met.process_crashes;
        self.met.power_cuts += other.met.power_cuts;
    }
}
