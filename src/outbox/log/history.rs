//! A log with the segments that it has dropped, as a restore brings it back, before it is opened.
//!
//! It can be read from its first segment on, and made to end earlier than it does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::Damage;
use super::error::LogError;
use super::frame::{RecordHeader, Salt};
use super::pieces;
use super::position::Lsn;
use super::reader::{LogReader, ReadError};
use super::recovery;
use super::segment;
use super::walk::Piece;
use super::zeros::are_zero;
use crate::outbox::disk::{Access, Disk, DiskFile};

/// How much is overwritten with zeros at once.
const CHUNK: usize = 1 << 20;

/// All that is there of a log.
#[derive(Debug)]
pub struct History {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    salt: Salt,
    pieces: Vec<Piece>,
    start: Lsn,
    end: Lsn,
}

impl History {
    /// Looks at the log in `data_dir/log`. Nothing is changed.
    pub fn read(data_dir: &Path, disk: Arc<dyn Disk>) -> Result<History, LogError> {
        let dir = data_dir.join("log");
        let (store_id, pieces) = pieces::inspect(&*disk, &dir)?;
        let salt = Salt::new(&store_id);
        let (tail, _) = recovery::judge(&*disk, &pieces, salt)?;
        let last = pieces.get(tail.index);
        let end = last.map_or(tail.end.0, |piece| piece.base.saturating_add(tail.offset));
        let (start, end) = (tail.start, Lsn(end));
        Ok(History {
            disk,
            dir,
            salt,
            pieces,
            start,
            end,
        })
    }

    /// A reader of everything, from the first segment on.
    pub fn reader(&self) -> LogReader {
        let start = Lsn(self.pieces.first().map_or(0, |piece| piece.base));
        let pieces = self.pieces.clone();
        LogReader::new(self.disk.clone(), self.salt, pieces, start, self.end)
    }

    /// What is missing before the first segment, of what still counts.
    pub fn missing(&self) -> Option<Damage> {
        let first = self.pieces.first()?;
        (self.start.0 < first.base).then(|| Damage::missing(self.start, first))
    }

    /// Bytes of the longest segment.
    pub fn longest(&self) -> u64 {
        let lengths = self.pieces.iter().map(|piece| piece.len);
        lengths.max().unwrap_or(0)
    }

    /// Overwrites the bodies of these records. How often bodies were overwritten in the last segment
    /// that has any of them.
    pub fn erase(&self, records: &[Lsn]) -> Result<u64, LogError> {
        let reader = self.reader();
        let mut count = 0;
        let mut counted = None;
        for lsn in records {
            let (piece, header) = match reader.header(*lsn) {
                Ok(found) => found,
                Err(ReadError::NotThere(_) | ReadError::Damaged(_)) => continue,
                Err(ReadError::Log(error)) => return Err(error),
            };
            let failed = |error| LogError::failed("erase from", &piece.path, error);
            let file = self.disk.open(&piece.path, Access::ReadWrite);
            let file = file.map_err(failed)?;
            if counted.replace(piece.base) != Some(piece.base) {
                let before = segment::erasures(&*file, self.salt, piece.base).map_err(failed)?;
                count = before.saturating_add(1);
                segment::write_erasures(&*file, self.salt, piece.base, count).map_err(failed)?;
            }
            let at = lsn.0 - piece.base;
            let seal = self.salt.seal(*lsn).to_le_bytes();
            file.write_all_at(&seal, at + RecordHeader::seal_offset())
                .map_err(failed)?;
            let from = at + header.body_offset();
            clear(&*file, from, from + u64::from(header.body_len)).map_err(failed)?;
        }
        Ok(count)
    }

    /// Makes the log end at `end`, which is the end of a batch. Cut short, it can be done again.
    pub fn cut(self, end: Lsn) -> Result<(), LogError> {
        let later = self.pieces.partition_point(|piece| piece.base < end.0);
        // The newest go first: what is left is a log at each moment.
        for piece in self.pieces.get(later..).unwrap_or_default().iter().rev() {
            recovery::unlink(&*self.disk, &self.dir, &piece.path)?;
        }
        let last = later.checked_sub(1).and_then(|at| self.pieces.get(at));
        if let Some(piece) = last {
            let failed = |error| LogError::failed("cut", &piece.path, error);
            let opened = self.disk.open(&piece.path, Access::ReadWrite);
            let file = opened.map_err(failed)?;
            clear(&*file, end.0 - piece.base, piece.len).map_err(failed)?;
        }
        segment::sync_dir(&*self.disk, &self.dir)
    }
}

/// Overwrites what is not zero with zeros.
fn clear(file: &dyn DiskFile, mut from: u64, to: u64) -> io::Result<()> {
    let mut bytes = vec![0; CHUNK];
    let zeros = vec![0; CHUNK];
    while from < to {
        let len = (to - from).min(CHUNK as u64) as usize;
        let chunk = bytes.get_mut(..len).unwrap_or_default();
        let count = file.read_up_to(chunk, from)?;
        let read = chunk.get(..count).unwrap_or_default();
        if !are_zero(read) {
            file.write_all_at(zeros.get(..count).unwrap_or_default(), from)?;
        }
        if count < len {
            break;
        }
        from += len as u64;
    }
    file.sync_all()
}
