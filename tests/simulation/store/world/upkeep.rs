//! The daemon's own work: maintenance, the index, stops, and threads that die.

use outboxd::outbox::maintain::Cut;
use outboxd::outbox::open::supervise;
use outboxd::outbox::request::Request;
use outboxd::outbox::waiting::Turn;

use super::{Violation, World};
use crate::store::machine::Direct;

/// Turns that a stop may take.
const STOP_TURNS: u32 = 64;

impl World {
    pub(super) fn look_after(&mut self, a: u32) -> Result<(), Violation> {
        // What comes between the look and the step.
        for n in 0..a % 3 {
            self.end_attempt(a / 8 + n);
        }
        if a.is_multiple_of(5) {
            self.accept(a / 5, a);
        }
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let store = &mut process.store;
        let mut direct = Direct {
            writer: &mut store.writer,
            failed: None,
            refused: 0,
        };
        let looked = match a.is_multiple_of(3) {
            true => store.bulk.round(&mut direct).map(drop),
            false => store.cleaner.look(&mut direct),
        };
        let (failed, refused) = (direct.failed, direct.refused);
        self.counts.refused_steps += refused;
        if let Some(error) = failed {
            return self.process_ends(&error.to_string());
        }
        match looked {
            Ok(()) | Err(Cut::Stopped | Cut::Log(_) | Cut::Refused(_)) => self.told(),
            Err(cut) => Err(format!("maintenance cannot go on: {cut}")),
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), Violation> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let flushed = process.store.writer.flush_index();
        flushed.map_err(|error| format!("the index cannot be moved: {error}"))?;
        // If that failed, the index is built anew before anything else is done.
        self.turn()
    }

    /// The index cannot be read while the writer takes a turn.
    pub(super) fn index_fails(&mut self, a: u32) -> Result<(), Violation> {
        for n in 0..a % 3 {
            self.end_attempt(a / 8 + n);
        }
        self.accept(a / 5, a);
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        process.store.take_requests();
        self.machine.index.set_unreadable(true);
        let turned = process.store.writer.turn();
        self.machine.index.set_unreadable(false);
        self.counts.index_unreadable += 1;
        if let Err(error) = turned {
            return self.process_ends(&error.to_string());
        }
        // It is built anew before anything else is read.
        self.turn()
    }

    pub(super) fn idle(&mut self) -> Result<(), Violation> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        match process.store.writer.idle() {
            Ok(()) => Ok(()),
            Err(error) => self.process_ends(&error.to_string()),
        }
    }

    /// A stop ends, whatever there is room for.
    pub(super) fn stop(&mut self, must_be_clean: bool) -> Result<(), Violation> {
        if self.without.has("stops") && !must_be_clean {
            return Ok(());
        }
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        process.store.writer.enqueue(Request::Stop);
        for _ in 0..STOP_TURNS {
            let Some(process) = &mut self.process else {
                return Ok(());
            };
            match process.store.writer.turn() {
                Ok(Turn::Stop) => {
                    self.told()?;
                    self.counts.stops += 1;
                    self.leave_doubts();
                    if let Some(process) = self.process.take() {
                        process.store.writer.finish();
                    }
                    return Ok(());
                }
                Ok(Turn::Go) => self.told()?,
                Err(error) => return self.process_ends(&error.to_string()),
            }
        }
        Err(format!("a stop does not end within {STOP_TURNS} turns"))
    }

    /// A thread that dies does not do so in silence.
    pub(super) fn thread_dies(&mut self) -> Result<(), Violation> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let shared = process.store.shared.clone();
        // Unlike a panic this prints nothing.
        let dies = || std::panic::resume_unwind(Box::new("it died"));
        let thread = supervise("cleaner", shared.clone(), dies).unwrap();
        thread.join().unwrap();
        let told = shared.failed.borrow().is_some();
        ensure!(told, "a thread died in silence");
        self.counts.threads_died += 1;
        self.leave_doubts();
        self.process = None;
        self.machine.disk.kill();
        Ok(())
    }
}
