//! How copies elsewhere read the log, and say what they have.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::handle::{Outbox, Shared};
use crate::outbox::index::rows::{self, ErasedEntry};
use crate::outbox::index::{PagesError, keys};
pub use crate::outbox::log::{
    CopiedSegment, Copying, HEADER_USED, Lsn, ReadError as CopyError, segment_len as header_len,
};
use crate::outbox::views::ReadError;

/// Bytes of the segment that `file` holds the beginning of, as its header says. `None`: it has none,
/// or is not the segment at `base`.
pub fn segment_len(file: &File, base: u64) -> io::Result<Option<u64>> {
    let mut raw = [0; HEADER_USED];
    match file.read_exact_at(&mut raw, 0) {
        Ok(()) => Ok(header_len(&raw, base)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// While it lives, cleaning keeps all of the log.
pub struct BackupHold(Arc<Shared>);

impl Drop for BackupHold {
    fn drop(&mut self) {
        self.0.copies.backups.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Outbox {
    /// Keeps all of the log for a backup.
    pub fn hold_for_backup(&self) -> BackupHold {
        self.shared.copies.backups.fetch_add(1, Ordering::AcqRel);
        BackupHold(self.shared.clone())
    }

    /// Begins to copy the log's bytes; nothing is erased until the answer is dropped. May wait for
    /// an erasure under way.
    pub fn copy_log(&self) -> Copying {
        self.shared.log.copy()
    }

    /// The events that were erased at `since` or later, as far as that is remembered
    /// (`retention.dead`).
    pub fn erased_since(&self, since: Timestamp) -> Result<BTreeSet<EventId>, ReadError> {
        let mut found = BTreeSet::new();
        let (mut from, end) = (keys::ERASED.to_vec(), keys::end_of(keys::ERASED));
        'pieces: loop {
            let state = self.shared.index.read();
            let mut scan = state.entries.scan(&from, &end, false);
            while let Some(entry) = scan.step() {
                let (key, value) = entry?;
                if let Some(value) = value {
                    let row: ErasedEntry = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
                    if row.at >= since.as_millis() {
                        found.insert(keys::event_of(&key).ok_or(PagesError::Damaged)?);
                    }
                }
                if state.is_spent() {
                    from = key.into_owned();
                    from.push(0);
                    continue 'pieces;
                }
            }
            return Ok(found);
        }
    }

    /// The end of what is durable.
    pub fn log_end(&self) -> Lsn {
        self.shared.log.end()
    }

    /// The first position that counts.
    pub fn log_start(&self) -> Lsn {
        self.shared.log.start()
    }

    /// Whether something of erased events may still be in the log.
    #[cfg(test)]
    pub fn is_erasing(&self) -> bool {
        !self.shared.index.read().sums.erasing.is_empty()
    }

    /// How often bodies were overwritten, to be asked for before the log is looked at.
    pub fn overwritings(&self) -> u64 {
        self.shared.copies.overwritings()
    }

    /// Below `shipped` everything is elsewhere, as it was after so many overwritings. From the first
    /// call on, cleaning keeps what is not.
    pub fn set_shipped_below(&self, shipped: u64, overwritings: u64) {
        self.shared.copies.set_shipped(shipped, overwritings);
    }

    /// Below it segments went since the start that may not have been shipped as they were.
    pub fn was_cut_below(&self) -> u64 {
        self.shared.copies.was_cut_below()
    }
}
