//! Reading the log's bytes as they are, for copies elsewhere.
//!
//! A copy has all bytes of a segment up to the end of what is durable. While a [`Copying`] exists
//! nothing is erased: a copy must not hold a record whose body is half overwritten and whose
//! seal was read before it was written. The log answers [`LogError::Copying`] meanwhile, and
//! the caller erases again later, so no commit ever waits for a copy.

use super::error::LogError;
use super::gate::CopyPermit;
use super::position::Lsn;
use super::reader::{LogReader, ReadError};
use super::walk::Piece;
use super::zeros::last_other;

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

impl LogReader {
    /// Begins to copy the log's bytes. Waits for an erasure under way; until the answer is
    /// dropped, none begins.
    pub fn copy(&self) -> Copying {
        Copying {
            log: self.clone(),
            _permit: self.gate().copy(),
        }
    }
}

impl Copying {
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
            if let Some(last) = last_other(part) {
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
