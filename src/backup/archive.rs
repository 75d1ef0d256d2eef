//! A copy of the running store as a tar archive (ustar, POSIX.1-1988), piece by piece.
//!
//! It has the log up to one position: that of the moment when the copy begins. `FORMAT` comes last,
//! so that what was cut short is not taken for a store. The index is left out, since a start builds
//! it from the log.

use std::io;

use bytes::Bytes;
use tar::{EntryType, Header};

use crate::clock;
use crate::outbox::{CopiedSegment, CopyError, FORMAT, Outbox};

/// How much is read at once.
const PIECE: u64 = 1 << 20;
const BLOCK: u64 = 512;

/// Why a copy was cut short.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the log cannot be read: {0}")]
    Log(#[from] CopyError),
    #[error("a header of the archive cannot be made: {0}")]
    Header(#[from] io::Error),
    /// The reader is gone, or does not read.
    #[error("the copy is not read any more")]
    Unread,
}

/// Gives the archive to `take`, which says whether more is wanted. Blocks for reads of the disk.
/// Cleaning keeps the log meanwhile, and what is erased is overwritten between two segments.
pub fn write(outbox: &Outbox, mut take: impl FnMut(Bytes) -> bool) -> Result<(), ArchiveError> {
    let _hold = outbox.hold_for_backup();
    let end = outbox.log_end();
    let segments = outbox.copy_log().segments(end)?;
    let mut give = |piece: Bytes| match take(piece) {
        true => Ok(()),
        false => Err(ArchiveError::Unread),
    };
    give(header("log/", 0)?)?;
    for segment in segments {
        let name = format!("log/{:016x}.log", segment.base.0);
        give(header(&name, segment.len)?)?;
        copy(outbox, &segment, &mut give)?;
        give(padding(segment.len))?;
    }
    let format = FORMAT.as_bytes();
    give(header("FORMAT", format.len() as u64)?)?;
    give(Bytes::from_static(format))?;
    give(padding(format.len() as u64))?;
    give(Bytes::from(vec![0; 2 * BLOCK as usize]))
}

/// Bytes of a segment as they are while nothing is erased, and zeros up to its length.
fn copy(
    outbox: &Outbox,
    segment: &CopiedSegment,
    give: &mut impl FnMut(Bytes) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let copying = outbox.copy_log();
    let mut from = 0;
    while from < segment.len {
        let len = (segment.len - from).min(PIECE);
        let mut piece = vec![0; len as usize];
        let wanted = segment.used.saturating_sub(from).min(len);
        if let Some(wanted) = piece.get_mut(..wanted as usize) {
            copying.read(segment.base, from, wanted)?;
        }
        give(piece.into())?;
        from += len;
    }
    Ok(())
}

fn header(name: &str, len: u64) -> io::Result<Bytes> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(len);
    header.set_mtime(clock::now().as_secs());
    match name.ends_with('/') {
        true => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o700);
        }
        false => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o600);
        }
    }
    header.set_cksum();
    Ok(Bytes::copy_from_slice(header.as_bytes()))
}

/// Zeros up to the next block.
fn padding(len: u64) -> Bytes {
    vec![0; (len.next_multiple_of(BLOCK) - len) as usize].into()
}
