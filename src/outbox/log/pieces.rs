//! Which segments are there, by their names and headers. It only reads.

use std::io::ErrorKind;
use std::path::Path;

use super::error::LogError;
use super::options::HEADER;
use super::segment::{self, BadHeader, SegmentHeader};
use super::walk::Piece;
use crate::outbox::disk::{Access, Disk};

/// The store's id and its segments, in order, none overlapping.
pub(super) fn inspect(disk: &dyn Disk, dir: &Path) -> Result<([u8; 16], Vec<Piece>), LogError> {
    let files = segment::list(disk, dir).map_err(|error| LogError::read(dir, error))?;
    let mut store_id = None;
    let mut headers = Vec::with_capacity(files.segments.len());
    for (base, path) in files.segments {
        let read = |error| LogError::read(&path, error);
        let file = disk.open(&path, Access::Read).map_err(read)?;
        let file_len = file.size().map_err(read)?;
        let mut raw = [0; 64];
        let header = match file.read_exact_at(&mut raw, 0) {
            Ok(()) => SegmentHeader::decode(&raw),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(BadHeader::Damaged),
            Err(error) => return Err(read(error)),
        };
        let header = match header {
            Err(BadHeader::Version(version)) => return Err(LogError::Version { path, version }),
            Err(BadHeader::Damaged) => None,
            // A file under another's name, or of another store, says nothing of itself.
            Ok(header) if header.base != base => None,
            Ok(header) if *store_id.get_or_insert(header.store_id) != header.store_id => None,
            Ok(header) => Some(header),
        };
        headers.push((base, path, file_len, header));
    }
    let store_id = store_id.ok_or_else(|| LogError::Unrecognisable(dir.to_owned()))?;
    let mut pieces: Vec<Piece> = Vec::with_capacity(headers.len());
    let mut bases = headers
        .iter()
        .map(|header| header.0)
        .skip(1)
        .collect::<Vec<_>>();
    bases.push(u64::MAX);
    for ((base, path, file_len, header), next) in headers.into_iter().zip(bases) {
        let len = match header {
            Some(header) if header.base + header.len > next => {
                let other = dir.join(segment::file_name(next));
                return Err(LogError::Overlap(path, other));
            }
            Some(header) => header.len,
            // The best guess: up to the next one, or all of the file.
            None if next < u64::MAX => next - base,
            None => file_len
                .max(1)
                .checked_next_multiple_of(HEADER)
                .unwrap_or(HEADER)
                .min(next - base),
        };
        pieces.push(Piece {
            base,
            len,
            path,
            harmed: header.is_none() || file_len < len,
        });
    }
    Ok((store_id, pieces))
}
