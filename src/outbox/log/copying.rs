//! Reading the log's bytes as they are, for copies elsewhere.
//!
//! A copy has all bytes of a segment up to the end of what is durable. While a [`Copying`] exists
//! nothing is erased: a copy must not hold a record whose body is half overwritten and whose
//! seal was read before it was written. The log answers [`LogError::Copying`] meanwhile, and
//! the caller erases again later, so no commit ever waits for a copy.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::error::LogError;
use super::position::Lsn;
use super::reader::{LogReader, ReadError};
use super::walk::Piece;

/// Keeps copies and erasures apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    shared: Arc<(Mutex<Through>, Condvar)>,
}

#[derive(Debug, Default)]
struct Through {
    copies: usize,
    is_erasing: bool,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Through> {
        let (through, _) = &*self.shared;
        through.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an erasure under way.
    pub fn copy(&self) -> CopyPermit {
        let (_, ended) = &*self.shared;
        let through = ended.wait_while(self.lock(), |through| through.is_erasing);
        through.unwrap_or_else(PoisonError::into_inner).copies += 1;
        CopyPermit(self.clone())
    }

    /// `None` while a copy is being made.
    pub fn erase(&self) -> Option<ErasePermit> {
        let mut through = self.lock();
        if through.copies > 0 {
            return None;
        }
        through.is_erasing = true;
        Some(ErasePermit(self.clone()))
    }
}

/// Nothing is erased while it lives.
#[derive(Debug)]
pub(super) struct CopyPermit(Gate);

impl Drop for CopyPermit {
    fn drop(&mut self) {
        self.0.lock().copies -= 1;
    }
}

/// No copy begins while it lives.
#[derive(Debug)]
pub(super) struct ErasePermit(Gate);

impl Drop for ErasePermit {
    fn drop(&mut self) {
        self.0.lock().is_erasing = false;
        self.0.shared.1.notify_all();
    }
}

/// A segment as far as copies are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedSegment {
    /// Position of its first byte.
    pub base: Lsn,
    /// Bytes of the file.
    pub len: u64,
    /// Bytes up to the end of its last durable frame, its header included. Of a full segment
    /// this is all of the file: what is zero at its end need not be copied.
    pub used: u64,
    /// No more frames come into it.
    pub is_full: bool,
    /// How often bodies in it were overwritten.
    pub erasures: u64,
}

/// The log while it is copied.
#[derive(Debug)]
pub struct Copying {
    log: LogReader,
    _permit: CopyPermit,
}

impl Copying {
    pub(super) fn new(log: LogReader, permit: CopyPermit) -> Self {
        Copying {
            log,
            _permit: permit,
        }
    }

    /// The segments that hold what is durable below `end`, oldest first. `end` is that of a
    /// commit, such as [`LogReader::end`].
    pub fn segments(&self, end: Lsn) -> Result<Vec<CopiedSegment>, ReadError> {
        let mut found = Vec::new();
        for piece in self.log.pieces() {
            if piece.base >= end.0 {
                break;
            }
            let Some(erasures) = self.log.erasures(&piece)? else {
                continue;
            };
            found.push(CopiedSegment {
                base: Lsn(piece.base),
                len: piece.len,
                used: (end.0 - piece.base).min(piece.len),
                is_full: end.0 >= piece.end(),
                erasures,
            });
        }
        Ok(found)
    }

    /// Fills `buf` with the segment's bytes at `from`, and returns how many there are.
    ///
    /// # Errors
    /// The segment was dropped ([`ReadError::NotThere`]) or cannot be read.
    pub fn read(&self, base: Lsn, from: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let piece = self.piece(base)?;
        let file = self.log.file(&piece)?;
        let read = file.read_up_to(buf, from);
        Ok(read.map_err(|error| LogError::read(&piece.path, error))?)
    }

    /// Bytes of a full segment up to the last that is not zero, rounded up to a multiple of 64.
    pub fn used(&self, base: Lsn) -> Result<u64, ReadError> {
        const PIECE: u64 = 1 << 20;
        let piece = self.piece(base)?;
        let file = self.log.file(&piece)?;
        let mut buf = vec![0; PIECE as usize];
        let mut end = piece.len;
        while end > 0 {
            let from = end.saturating_sub(PIECE);
            let part = buf.get_mut(..(end - from) as usize).unwrap_or_default();
            let count = file
                .read_up_to(part, from)
                .map_err(|error| LogError::read(&piece.path, error))?;
            let part = part.get(..count).unwrap_or_default();
            if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
                return Ok((from + last as u64 + 1).next_multiple_of(64));
            }
            end = from;
        }
        Ok(0)
    }

    fn piece(&self, base: Lsn) -> Result<Piece, ReadError> {
        let mut pieces = self.log.pieces().into_iter();
        let piece = pieces.find(|piece| piece.base == base.0);
        piece.ok_or(ReadError::NotThere(base))
    }
}
