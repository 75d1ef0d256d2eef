//! What a history may leave out, and what was counted over it.

use std::fmt;

use super::disk::Met;

/// What a history may leave out, to find the smallest that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without(pub u32);

pub const KINDS: [&str; 11] = [
    "power", "kill", "room", "read", "write", "sync", "short", "jumps", "index", "stops", "crowd",
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
    /// Requests of many events, which take many frames.
    pub crowds: u64,
    /// Deliveries that sources took in, those that were repeated, and changes of sources.
    pub taken_in: u64,
    pub repeated: u64,
    pub source_changes: u64,
    /// Secrets that endpoints got.
    pub secrets: u64,
    pub attempts: u64,
    pub delivered: u64,
    pub lives: u64,
    pub jumps: u64,
    pub index_lost: u64,
    pub index_broken: u64,
    pub index_unreadable: u64,
    pub stops: u64,
    pub threads_died: u64,
    pub refused_steps: u64,
    pub met: Met,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.steps += other.steps;
        self.accepted += other.accepted;
        self.crowds += other.crowds;
        self.taken_in += other.taken_in;
        self.repeated += other.repeated;
        self.source_changes += other.source_changes;
        self.secrets += other.secrets;
        self.attempts += other.attempts;
        self.delivered += other.delivered;
        self.lives += other.lives;
        self.jumps += other.jumps;
        self.index_lost += other.index_lost;
        self.index_broken += other.index_broken;
        self.index_unreadable += other.index_unreadable;
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

/// How often each kind of fault was met, in words.
impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} steps, {} starts of the process, {} clean stops, {} events accepted, {} requests \
             of very many events, {} attempts, {} of them delivered",
            self.steps,
            self.lives,
            self.stops,
            self.accepted,
            self.crowds,
            self.attempts,
            self.delivered
        )?;
        writeln!(
            out,
            "{} deliveries taken in by sources, {} more repeated, {} changes of sources, {} \
             secrets of endpoints",
            self.taken_in, self.repeated, self.source_changes, self.secrets
        )?;
        let met = &self.met;
        let kinds = [
            (met.power_cuts, "power cuts"),
            (met.process_crashes, "crashes of the process"),
            (met.no_room, "writes without room"),
            (self.refused_steps, "steps of maintenance refused for room"),
            (met.read_errors, "reads that failed"),
            (met.write_errors, "writes that failed"),
            (met.sync_errors, "syncs that failed"),
            (met.short_writes, "writes cut short"),
            (self.jumps, "jumps of the clock"),
            (self.index_lost, "indexes lost"),
            (self.index_broken, "indexes that could not be written"),
            (self.index_unreadable, "indexes that could not be read"),
            (self.threads_died, "threads that died"),
        ];
        for (count, kind) in kinds {
            writeln!(out, "{count:>8} {kind}")?;
        }
        Ok(())
    }
}
