//! Accidents: what fails, and how the machine goes down.

use std::sync::atomic::Ordering::Relaxed;

use super::{ROOM, Violation, World};
use crate::store::disk::Fault;

impl World {
    pub(super) fn harm(&mut self, a: u32, b: u32) -> Result<(), Violation> {
        let disk = self.machine.disk.clone();
        let soon = b % 24;
        let plan = |kind: &str, fault| {
            if !self.without.has(kind) {
                disk.plan(fault, soon);
            }
        };
        match a % 16 {
            0 | 1 if !self.without.has("room") => disk.set_room(u64::from(b % 40_000)),
            2 if b.is_multiple_of(2) => disk.set_room(ROOM),
            2 => plan("room", Fault::Room),
            3 => plan("read", Fault::Read),
            4 => plan("write", Fault::Write),
            5 => plan("sync", Fault::Sync),
            6 if !self.without.has("kill") => disk.plan(Fault::Crash, soon),
            7 if !self.without.has("kill") => {
                if b % 48 < 24 {
                    // The batch of some large request is torn.
                    self.accept_many(a / 16);
                    disk.plan(Fault::CrashInWrite, soon % 2);
                } else {
                    disk.plan(Fault::CrashInWrite, soon / 3);
                }
            }
            8 if !self.without.has("short") => disk.set_short_writes(true),
            9 => disk.heal(),
            10 if !self.without.has("kill") => self.die(false),
            11 | 12 if !self.without.has("power") => self.die(true),
            13 if !self.without.has("index") => match b % 8 {
                0 | 2 => {
                    self.die(false);
                    self.machine.index.lose();
                    self.counts.index_lost += 1;
                }
                1 | 5 => {
                    self.machine.index.set_broken(true);
                    self.counts.index_broken += 1;
                }
                3 => {
                    self.machine.index.set_disk_broken(true);
                    self.counts.index_broken += 1;
                }
                4 | 6 => self.index_fails(a / 16)?,
                _ => self.machine.index.set_disk_broken(false),
            },
            14 | 15 if !self.without.has("jumps") => {
                let by = [3_600_000, 86_400_000, 315_360_000_000][b as usize % 3];
                let wall = &self.machine.clock.wall;
                let now = wall.load(Relaxed);
                let after = match b / 3 % 2 {
                    0 => now.saturating_add(by).min(4_000_000_000_000),
                    _ => now.saturating_sub(by).max(1_700_000_000_000),
                };
                wall.store(after, Relaxed);
                self.counts.jumps += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn die(&mut self, power: bool) {
        self.leave_doubts();
        self.process = None;
        match power {
            true => self.cut_power(),
            false => self.machine.disk.kill(),
        }
    }
}
