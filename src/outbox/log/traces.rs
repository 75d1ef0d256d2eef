//! What is left of records where frames or records are damaged.
//!
//! A record is recognised without its frame: its header says, under a CRC with the store's id,
//! where it stands. What is found below a proof was committed, since opening the log overwrites
//! what never was.

use std::ops::{ControlFlow, Range};

use super::error::LogError;
use super::frame::{RECORD_ALIGN, RECORD_HEADER, Record, RecordHeader, Salt};
use super::options::HEADER;
use super::position::Lsn;
use super::walk::{Piece, WINDOW, Window};
use crate::outbox::disk::Disk;

/// What is left of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace<'a> {
    /// All of it, but for its body if that says so.
    Record(Record<'a>),
    /// Its header. `mended` is the head as it was written, if only a bit of it has flipped.
    Head {
        lsn: Lsn,
        kind: u8,
        mended: Option<Vec<u8>>,
    },
}

/// Delivers what is left in `range`, in order, until `f` breaks.
pub(super) fn search<B>(
    disk: &dyn Disk,
    pieces: &[Piece],
    salt: Salt,
    range: Range<Lsn>,
    f: &mut impl FnMut(Trace<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, LogError> {
    for piece in pieces {
        let from = range.start.0.max(piece.base.saturating_add(HEADER));
        let to = range.end.0.min(piece.end());
        if from >= to {
            continue;
        }
        let mut window = Window::open(disk, piece, Vec::new())?;
        let mut at = (from - piece.base).next_multiple_of(RECORD_ALIGN as u64);
        let to = to - piece.base;
        while let Some((found, header)) = next(&mut window, piece, salt, at..to)? {
            let lsn = Lsn(piece.base.saturating_add(found));
            let used = usize::try_from(header.used()).unwrap_or(usize::MAX);
            let bytes = window.bytes(found, used)?;
            let trace = match header.open(bytes, salt, lsn) {
                Some(record) => Trace::Record(record),
                None => Trace::Head {
                    lsn,
                    kind: header.kind,
                    mended: header.mended_head(bytes, salt),
                },
            };
            if let ControlFlow::Break(out) = f(trace) {
                return Ok(ControlFlow::Break(out));
            }
            at = found
                .saturating_add(header.used())
                .next_multiple_of(RECORD_ALIGN as u64);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The first record header in `range` of the segment whose record ends in the segment.
fn next(
    window: &mut Window<'_>,
    piece: &Piece,
    salt: Salt,
    range: Range<u64>,
) -> Result<Option<(u64, RecordHeader)>, LogError> {
    let mut offset = range.start;
    while offset < range.end {
        let bytes = window.bytes(offset, WINDOW)?;
        let mut scanned = 0;
        while let Some(rest) = bytes.get(scanned..)
            && rest.len() >= RECORD_HEADER
        {
            let at = offset + scanned as u64;
            if at >= range.end {
                return Ok(None);
            }
            let lsn = Lsn(piece.base.saturating_add(at));
            if let Some(header) = RecordHeader::decode(rest, salt, lsn)
                && lsn.0.saturating_add(header.used()) <= piece.end()
            {
                return Ok(Some((at, header)));
            }
            scanned += RECORD_ALIGN;
        }
        if scanned == 0 {
            return Ok(None);
        }
        offset += scanned as u64;
    }
    Ok(None)
}
