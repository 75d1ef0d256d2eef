//! Erasing in what the log has dropped and shipping still keeps.
//!
//! The log overwrites what it has, and shipping follows. A segment that the log dropped is there in
//! the store alone: it is fetched, what was erased since is overwritten in it with the log's own
//! code, and it is put again. This is rare and takes as much traffic as is kept, so it is done at
//! most once for all that was erased since the last time.
//!
//! Definitions of endpoints and sources, with their secrets, are overwritten in the log before their
//! segment is dropped, and the segment is kept until it was shipped like that. Where the disk was
//! short, or nobody knows because the daemon ended, they are overwritten here.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::cover;
use super::error::ShipError;
use super::names::{Generation, Name, Part};
use super::place::Place;
use super::plan::Shipped;
use crate::outbox::restored::{self, Unwanted};
use crate::outbox::segment_len;

/// Overwrites this in the segment at `base`; whether they had anything there.
pub async fn segment(
    place: &Place,
    generation: Generation,
    shipped: &mut Shipped,
    base: u64,
    unwanted: &Unwanted<'_>,
    aside: &Path,
) -> Result<bool, ShipError> {
    let parts: BTreeSet<Part> = shipped.parts(base).copied().collect();
    if !fetch(place, generation, &parts, base, aside).await? {
        return Ok(false);
    }
    let erasures = restored::erase_in(aside, unwanted).map_err(ShipError::Sweep)?;
    let Some(erasures) = erasures else {
        return Ok(false);
    };
    let path = aside.join(format!("log/{base:016x}.log"));
    let content = fs::read(&path).map_err(|source| failed(&path, source))?;
    let newest = parts.iter().map(|part| part.erasures).max().unwrap_or(0);
    for part in &parts {
        let swept = Part {
            // More than any that is there, whatever was counted where.
            erasures: erasures.max(newest + 1),
            ..*part
        };
        // Two that differ in their count alone become one.
        if shipped.parts(base).all(|there| *there != swept) {
            let bytes = content.get(part.from as usize..part.to as usize);
            let bytes = Bytes::copy_from_slice(bytes.unwrap_or_default());
            place.put_new(generation, Name::Part(swept), bytes).await?;
            shipped.add(swept);
        }
        place.delete(generation, Name::Part(*part)).await?;
        shipped.remove(part);
    }
    Ok(true)
}

/// Puts together in `aside/log` what is there of the segment; of what is missing a restore says that
/// it is damaged. `false`: its header is missing, and nothing of it can be restored.
async fn fetch(
    place: &Place,
    generation: Generation,
    parts: &BTreeSet<Part>,
    base: u64,
    aside: &Path,
) -> Result<bool, ShipError> {
    let dir = aside.join("log");
    let _ = fs::remove_dir_all(aside);
    fs::create_dir_all(&dir).map_err(|source| failed(&dir, source))?;
    let path = dir.join(format!("{base:016x}.log"));
    let mut options = fs::OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    let file = options
        .open(&path)
        .map_err(|source| failed(&path, source))?;
    for (_, pieces) in cover::segments(parts) {
        for piece in pieces {
            let Some(part) = piece.part else {
                continue;
            };
            let content = place.get(generation, Name::Part(part)).await?;
            let (skip, len) = (piece.from - part.from, piece.to - piece.from);
            let bytes = content.get(skip as usize..(skip + len) as usize);
            file.write_all_at(bytes.unwrap_or_default(), piece.from)
                .map_err(|source| failed(&path, source))?;
        }
    }
    let len = segment_len(&file, base).map_err(|source| failed(&path, source))?;
    let Some(len) = len else {
        return Ok(false);
    };
    file.set_len(len).map_err(|source| failed(&path, source))?;
    Ok(true)
}

fn failed(path: &Path, source: std::io::Error) -> ShipError {
    ShipError::Memory {
        path: path.to_owned(),
        source,
    }
}
