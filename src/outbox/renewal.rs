//! An index that fails while the store runs is built anew from the log, and the store goes on.
//!
//! sled keeps the first error of a write for as long as it is open, refuses all writes from then
//! on, and fails the reads for which it would have to write; of the batch that failed it may
//! show a half. So the writer stops using sled's files as soon as a write or a read fails. While
//! it builds the index, readers and requests wait, and attempts go on.
//!
//! An index that fails again soon is built in memory, which takes about as much as the files did,
//! and is moved to the disk later.

use std::fmt::Display;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::outbox::committer::{Committer, WriterError};
use crate::outbox::index::{Generations, State};
use crate::outbox::recovery::{self, Made};

/// An index that fails within so long after it was built is built in memory; after so long
/// one in memory is tried on the disk.
const AGAIN: Duration = Duration::from_secs(600);
/// How long the writer waits for the old index to be closed.
const CLOSING: Duration = Duration::from_secs(5);

impl Committer {
    /// Builds the index anew if the disk failed it, or if it may have a place on the disk again.
    pub fn look_after_index(&mut self) -> Result<(), WriterError> {
        let (failure, is_in_memory) = {
            let state = self.index.read();
            (state.entries.failure(), state.entries.is_in_memory())
        };
        if let Some(reason) = failure {
            return self.renew(&reason);
        }
        if is_in_memory && !self.was_renewed_lately() {
            self.renewed_at = Some(self.shared.clock.mono());
            if let Some(made) = recovery::create(&self.shared.generations) {
                return self.build(|_| Some(made));
            }
        }
        Ok(())
    }

    /// Builds the index anew after it failed.
    pub fn renew(&mut self, reason: &dyn Display) -> Result<(), WriterError> {
        tracing::warn!(%reason, "the index failed; it is built anew from the log");
        let lately = self.was_renewed_lately();
        self.build(|generations| {
            // What is on the disk is not used again, whatever happens from here on.
            recovery::clear(generations);
            match lately {
                true => None,
                false => recovery::create(generations),
            }
        })
    }

    fn was_renewed_lately(&self) -> bool {
        let now = self.shared.clock.mono();
        let lately = |at: Duration| now.saturating_sub(at) < AGAIN;
        self.renewed_at.is_some_and(lately)
    }

    fn build(
        &mut self,
        make: impl FnOnce(&Arc<dyn Generations>) -> Option<Made>,
    ) -> Result<(), WriterError> {
        let began = Instant::now();
        if !self.flusher.end() {
            return Err(WriterError::SledHangs);
        }
        let index = self.index.clone();
        // No reader sees it half built.
        let mut state = index.write();
        let (store_id, unknown) = (state.meta.store_id, state.unknown);
        close(std::mem::take(&mut *state));
        let generations = &self.shared.generations;
        let start = &self.start_flusher;
        let failed = |error: &dyn Display| WriterError::Renewal(error.to_string());
        let frames = &self.shared.gauges.rebuilt_frames;
        let made = make(generations);
        let built = recovery::rebuild(&self.log, store_id, generations, start, made, frames)
            .map_err(|error| failed(&error))?;
        // What it could not move is moved later.
        built.flusher.stop();
        *state = built.index.take();
        let in_memory = state.entries.is_in_memory();
        // Replaying meets what was forgotten since.
        state.unknown = unknown;
        state.share_out(self.limits.share);
        drop(state);
        self.flusher = start(index).map_err(|error| failed(&error))?;
        self.flusher.in_use();
        self.shared.renewals.renewed();
        let damaged = &self.shared.gauges.damaged_records;
        damaged.fetch_max(built.damaged, Relaxed);
        self.shared.know_damage(built.met);
        self.nudge();
        self.renewed_at = Some(self.shared.clock.mono());
        tracing::info!(
            seconds = format!("{:.3}", began.elapsed().as_secs_f64()),
            in_memory,
            "the index was built anew"
        );
        Ok(())
    }
}

/// Drops an index that failed. sled may take long to close its file, or never return; a new index
/// may need the room.
fn close(state: State) {
    let (done, wait) = mpsc::channel();
    let drop_it = move || {
        drop(state);
        // The writer has stopped waiting if it took too long.
        let _ = done.send(());
    };
    let thread = std::thread::Builder::new().name("index-discard".into());
    // Where no thread can be started, it was dropped with the closure.
    if thread.spawn(drop_it).is_ok() {
        let _ = wait.recv_timeout(CLOSING);
    }
}
