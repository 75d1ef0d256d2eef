//! Opening the log: what is there, where it ends, and making that so.
//!
//! Only the files' order and the last used segment are read here; all older frames are
//! proven by it, and damage among them is met by a replay or a read. Every step can be
//! cut short and taken again with the same outcome: nothing that proves a frame is
//! overwritten before something else proves it.

use std::io;
use std::path::{Path, PathBuf};

use super::damage::{Damage, DamageKind, Found, Torn};
use super::error::LogError;
use super::frame::{CHAIN_BROKEN, CHAIN_START, FRAME_HEADER, Records, Salt, Slot};
use super::options::{HEADER, LogOptions};
use super::position::Lsn;
use super::segment::{self, Segment, SegmentHeader};
use super::spare::Spare;
use super::walk::{Piece, Step, Until, Walk};
use super::zeros::{BLOCK, are_zero, last_other, zeros};
use crate::outbox::disk::{Access, Disk, DiskFile};

/// How much is compared with zero, or written again, at once.
const CHUNK: usize = 1 << 20;

/// The state that the log goes on from.
pub(super) struct Recovered {
    pub dir: PathBuf,
    pub store_id: [u8; 16],
    /// Those that hold the log, the current one last; no spare.
    pub pieces: Vec<Piece>,
    pub current: Segment,
    /// Where the next frame goes in `current`.
    pub offset: u64,
    pub chain: u32,
    pub start: Lsn,
    pub epoch: u32,
    /// Whether everything is proven by what is on disk.
    pub marked: bool,
    pub spare: Spare,
    pub found: Found,
}

/// Opens the log of `data_dir`, or makes it with `new_store_id`.
pub(super) fn recover(
    data_dir: &Path,
    options: &LogOptions,
    new_store_id: Option<[u8; 16]>,
) -> Result<Recovered, LogError> {
    let disk = &*options.disk;
    let dir = data_dir.join("log");
    let created = prepare(data_dir, &dir, options, new_store_id)?;
    let (store_id, pieces) = super::pieces::inspect(disk, &dir)?;
    let salt = Salt::new(&store_id);
    let (tail, mut damage) = judge(disk, &pieces, salt)?;
    damage.extend(misplaced(&pieces, &tail));
    let mut found = tail.found(store_id, damage);
    found.created = created;
    finish(dir, options, pieces, tail, found)
}

/// What opening the log of `data_dir` would find: the segments that hold it, and the position
/// where its next frame would go. Nothing is changed.
pub(super) fn look(data_dir: &Path, disk: &dyn Disk) -> Result<(Vec<Piece>, Lsn, Found), LogError> {
    let (store_id, mut pieces) = super::pieces::inspect(disk, &data_dir.join("log"))?;
    let (tail, mut damage) = judge(disk, &pieces, Salt::new(&store_id))?;
    damage.extend(misplaced(&pieces, &tail));
    let mut found = tail.found(store_id, damage);
    let ahead = pieces.split_off((tail.index + 1).min(pieces.len()));
    let mut next = tail.end;
    if let Some(current) = pieces.last() {
        next = Lsn(current.base.saturating_add(tail.offset));
        if !tail.sealed {
            found.torn = torn(disk, current, tail.offset, &ahead)?;
        }
    }
    let gone = pieces.partition_point(|piece| piece.end() <= tail.start.0);
    pieces.drain(..gone.min(pieces.len().saturating_sub(1)));
    Ok((pieces, next, found))
}

/// What would be cut off behind the log's end, at `from` in the current segment, and in what was
/// made ahead.
fn torn(
    disk: &dyn Disk,
    current: &Piece,
    from: u64,
    ahead: &[Piece],
) -> Result<Option<Torn>, LogError> {
    let at = current.base.saturating_add(from);
    let mut last = None;
    for (piece, from) in [(current, from)]
        .into_iter()
        .chain(ahead.iter().map(|piece| (piece, HEADER)))
    {
        let read = |error| LogError::read(&piece.path, error);
        let file = disk.open(&piece.path, Access::Read).map_err(read)?;
        each_chunk(&*file, from, piece.len, |offset, bytes| {
            if let Some(found) = last_other(bytes) {
                last = Some(piece.base + offset + found as u64 + 1);
            }
            Ok(())
        })
        .map_err(read)?;
    }
    Ok(last.map(|last| Torn {
        at: Lsn(at),
        bytes: last - at,
    }))
}

/// The directory is there, durable, with a segment in it and nothing unfinished. Returns
/// whether the log was made.
fn prepare(
    data_dir: &Path,
    dir: &Path,
    options: &LogOptions,
    new_store_id: Option<[u8; 16]>,
) -> Result<bool, LogError> {
    let disk = &*options.disk;
    disk.make_dir(dir)
        .map_err(|error| LogError::failed("make", dir, error))?;
    segment::sync_dir(disk, data_dir)?;
    let files = segment::list(disk, dir).map_err(|error| LogError::read(dir, error))?;
    for path in files.unfinished {
        disk.remove(&path)
            .map_err(|error| LogError::failed("delete", &path, error))?;
    }
    // The names there may be no more durable than the process that made them was alive.
    segment::sync_dir(disk, dir)?;
    if !files.segments.is_empty() {
        return Ok(false);
    }
    let store_id = new_store_id.ok_or_else(|| LogError::Missing(dir.to_owned()))?;
    let first = SegmentHeader {
        store_id,
        base: 0,
        len: options.segment_size,
    };
    segment::make(dir, options, first)?;
    Ok(true)
}

/// The end of the log, and what leads up to it.
pub(super) struct Tail {
    /// Walked from the beginning of this piece.
    walked: usize,
    /// The piece in which the log ends, and where there.
    pub index: usize,
    pub offset: u64,
    pub end: Lsn,
    chain: u32,
    pub start: Lsn,
    proven: Lsn,
    /// Of the last frame.
    epoch: u32,
    /// The batch that no later frame proves: its offset in the piece of `index`.
    unproven: Option<u64>,
    /// Anything was ever written.
    used: bool,
    /// The last frame is a mark.
    marked: bool,
    /// Nothing may be cut or written in what is there.
    sealed: bool,
}

impl Tail {
    fn found(&self, store_id: [u8; 16], damage: Vec<Damage>) -> Found {
        Found {
            store_id,
            created: false,
            start: self.start,
            end: self.end,
            proven: self.proven,
            damage,
            torn: None,
        }
    }
}

/// Finds the end, and the damage on the way to it.
pub(super) fn judge(
    disk: &dyn Disk,
    pieces: &[Piece],
    salt: Salt,
) -> Result<(Tail, Vec<Damage>), LogError> {
    let mut judged = None;
    for index in (0..pieces.len()).rev() {
        // Of the later ones, which hold no whole frame, one at most can have a torn one.
        let near = pieces.get(..index + 2).unwrap_or(pieces);
        let (tail, damage) = follow(disk, near, salt, index, Until::Unknown)?;
        if tail.used {
            judged = Some((tail, damage));
            break;
        }
    }
    let (tail, damage) = match judged {
        Some(judged) => judged,
        None => {
            let first = pieces.get(..1).unwrap_or(pieces);
            follow(disk, first, salt, 0, Until::Unknown)?
        }
    };
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else {
        return Ok((tail, damage));
    };
    // At most one segment, sound and in its place, is ever made ahead; and a log that does
    // not begin at 0 has had frames. Where it is not so, acknowledged data is gone.
    let behind = pieces.get(tail.index..).unwrap_or_default();
    let gap = behind
        .windows(2)
        .any(|two| matches!(two, [a, b] if a.end() != b.base));
    let harmed = behind.iter().any(|piece| piece.harmed);
    if !harmed && !gap && behind.len() <= 2 && (tail.used || first.base == 0) {
        return Ok((tail, damage));
    }
    // A blank spare right behind all this is still one.
    let last = match pieces.get(tail.index..).unwrap_or_default() {
        [.., before, last] if before.end() == last.base && is_blank(disk, last)? => before,
        _ => last,
    };
    let end = Lsn(last.end());
    let all = Until::Known { end, stop: end };
    let (mut tail, damage) = follow(disk, pieces, salt, tail.walked, all)?;
    tail.index = pieces.partition_point(|piece| piece.base < last.base);
    tail.offset = last.len;
    (tail.chain, tail.unproven) = (CHAIN_BROKEN, None);
    (tail.used, tail.marked, tail.sealed) = (true, false, true);
    Ok((tail, damage))
}

/// Whether the segment is sound and never took a frame.
fn is_blank(disk: &dyn Disk, piece: &Piece) -> Result<bool, LogError> {
    if piece.harmed {
        return Ok(false);
    }
    let read = |error| LogError::read(&piece.path, error);
    let file = disk.open(&piece.path, Access::Read).map_err(read)?;
    let mut blank = true;
    each_chunk(&*file, HEADER, piece.len, |_, bytes| {
        blank &= are_zero(bytes);
        Ok(())
    })
    .map_err(read)?;
    Ok(blank)
}

/// Walks from the piece at `index` to the end of the log.
fn follow(
    disk: &dyn Disk,
    pieces: &[Piece],
    salt: Salt,
    index: usize,
    until: Until,
) -> Result<(Tail, Vec<Damage>), LogError> {
    let first = pieces.first().map_or(0, |piece| piece.base);
    let base = pieces.get(index).map_or(0, |piece| piece.base);
    let mut tail = Tail {
        walked: index,
        index,
        offset: HEADER,
        end: Lsn(base.saturating_add(HEADER)),
        chain: CHAIN_START,
        start: Lsn(first),
        proven: Lsn(first),
        epoch: 0,
        unproven: None,
        used: false,
        marked: false,
        sealed: false,
    };
    let mut damage = Vec::new();
    let mut walk = Walk::new(disk, pieces, salt, index, until);
    loop {
        let frame = match walk.step()? {
            Step::End => return Ok((tail, damage)),
            Step::Damage(found) => {
                damage.push(found);
                (found.kind == DamageKind::Frames).then_some(None)
            }
            Step::Frame {
                header,
                crc,
                payload,
            } => {
                damage.extend(Records::new(salt, header, payload).filter_map(harm));
                Some(Some((header, crc)))
            }
        };
        let (index, offset) = walk.place();
        match frame {
            // A segment's harm alone moves nothing.
            None => {}
            Some(None) => {
                (tail.chain, tail.unproven, tail.marked) = (CHAIN_BROKEN, None, false);
                (tail.index, tail.offset, tail.used) = (index, offset, true);
            }
            Some(Some((header, crc))) => {
                // A batch is proven as a whole; it lies in one segment.
                let base = pieces.get(index).map_or(0, |piece| piece.base);
                tail.unproven = header.durable.0.checked_sub(base);
                tail.epoch = header.epoch;
                (tail.chain, tail.marked) = (crc, header.is_mark());
                (tail.index, tail.offset, tail.used) = (index, offset, true);
                (tail.start, tail.end) = (header.start, header.end());
                tail.proven = tail.proven.max(header.durable);
            }
        }
    }
}

fn harm(slot: Slot<'_>) -> Option<Damage> {
    match slot {
        Slot::Damage(damage) => Some(damage),
        Slot::Record(_) => None,
    }
}

/// Damage in the files before the walk, and between them.
fn misplaced(pieces: &[Piece], tail: &Tail) -> Vec<Damage> {
    let mut damage = Vec::new();
    let mut expected = tail.start.0;
    for (index, piece) in pieces.iter().enumerate() {
        if index > tail.walked {
            break;
        }
        if piece.end() <= tail.start.0 {
            continue;
        }
        if piece.base > expected {
            damage.push(Damage::missing(Lsn(expected), piece));
        }
        if piece.harmed && index < tail.walked {
            damage.push(piece.damage());
        }
        expected = piece.end();
    }
    damage
}

/// Segments below the start were to go, and a power cut kept them. The frame that says so
/// is durable by now.
fn unlink_below(
    disk: &dyn Disk,
    dir: &Path,
    pieces: &mut Vec<Piece>,
    start: Lsn,
) -> Result<(), LogError> {
    while pieces.len() > 1
        && let Some(first) = pieces.first()
        && first.end() <= start.0
    {
        unlink(disk, dir, &first.path)?;
        pieces.remove(0);
    }
    Ok(())
}

/// Deletes a segment, durably, before anything else is done.
pub(super) fn unlink(disk: &dyn Disk, dir: &Path, path: &Path) -> Result<(), LogError> {
    disk.remove(path)
        .map_err(|error| LogError::failed("delete", path, error))?;
    segment::sync_dir(disk, dir)
}

/// Makes durable what counts, removes what does not, and sees to a spare.
fn finish(
    dir: PathBuf,
    options: &LogOptions,
    mut pieces: Vec<Piece>,
    tail: Tail,
    mut found: Found,
) -> Result<Recovered, LogError> {
    let disk = &*options.disk;
    let ahead = pieces.split_off((tail.index + 1).min(pieces.len()));
    let Some(last) = pieces.last() else {
        return Err(LogError::Missing(dir));
    };
    let current = Segment::open(disk, last.base, last.len, &last.path)?;
    let spare = match ahead.first() {
        Some(piece) => Some(Segment::open(disk, piece.base, piece.len, &piece.path)?),
        None => None,
    };
    if !tail.sealed {
        if let Some(from) = tail.unproven {
            write_again(&current, from, tail.offset)?;
        }
        found.torn = cut(&current, &tail)?;
        if let Some(spare) = &spare
            && let Some(until) = clear(spare, HEADER, spare.len)?
        {
            let at = found.torn.map_or(found.end, |torn| torn.at);
            let bytes = (spare.base + until).saturating_sub(at.0);
            found.torn = Some(Torn { at, bytes });
        }
        unlink_below(disk, &dir, &mut pieces, tail.start)?;
    }
    let spare = match spare {
        Some(spare) => Spare::Ready(spare),
        None => {
            let next = SegmentHeader {
                store_id: found.store_id,
                base: current.end(),
                len: options.segment_size,
            };
            Spare::make(&dir, options, next)?
        }
    };
    Ok(Recovered {
        dir,
        store_id: found.store_id,
        pieces,
        current,
        offset: tail.offset,
        chain: tail.chain,
        start: tail.start,
        epoch: tail.epoch,
        marked: tail.marked || !tail.used,
        spare,
        found,
    })
}

/// Writes the last batch over itself and syncs it. What was read may have been in the page
/// cache only, even after a sync that failed; now it is on the disk.
fn write_again(segment: &Segment, from: u64, to: u64) -> Result<(), LogError> {
    let file = &*segment.file;
    each_chunk(file, from, to, |at, bytes| file.write_all_at(bytes, at))
        .map_err(|error| LogError::failed("write again", &segment.path, error))?;
    file.sync_all()
        .map_err(|error| LogError::failed("sync", &segment.path, error))
}

/// Zeroes what lies past the end in the current segment.
///
/// The header of a torn frame may be all that proves the damage before it. It stays until
/// the mark, which the log appends next, takes its place; one sector holds both.
fn cut(current: &Segment, tail: &Tail) -> Result<Option<Torn>, LogError> {
    let slot = (tail.offset + FRAME_HEADER as u64).min(current.len);
    let mut until = clear(current, slot, current.len)?;
    let mut raw = [0; FRAME_HEADER];
    let raw = raw
        .get_mut(..(slot - tail.offset) as usize)
        .unwrap_or_default();
    current
        .file
        .read_exact_at(raw, tail.offset)
        .map_err(|error| LogError::failed("read", &current.path, error))?;
    if !are_zero(raw) {
        until = until.or(Some(slot));
        if tail.marked || !tail.used {
            clear(current, tail.offset, slot)?;
        }
    }
    Ok(until.map(|until| Torn {
        at: Lsn(current.base + tail.offset),
        bytes: until - tail.offset,
    }))
}

/// Makes `from..to` zero and durably so. Returns where the last byte was that was not.
fn clear(segment: &Segment, from: u64, to: u64) -> Result<Option<u64>, LogError> {
    let mut until = None;
    each_chunk(&*segment.file, from, to, |at, bytes| {
        for (page, bytes) in (at..).step_by(BLOCK).zip(bytes.chunks(BLOCK)) {
            if let Some(last) = last_other(bytes) {
                segment.file.write_all_at(zeros(bytes.len()), page)?;
                until = Some(page + last as u64 + 1);
            }
        }
        Ok(())
    })
    .map_err(|error| LogError::failed("clear", &segment.path, error))?;
    if until.is_some() {
        let synced = segment.file.sync();
        synced.map_err(|error| LogError::failed("sync", &segment.path, error))?;
    }
    Ok(until)
}

/// Reads `from..to` and hands it on piece by piece, with its offset.
fn each_chunk(
    file: &dyn DiskFile,
    from: u64,
    to: u64,
    mut f: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buf = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let count = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
        let bytes = buf.get_mut(..count).unwrap_or_default();
        file.read_exact_at(bytes, at)?;
        f(at, bytes)?;
        at += count as u64;
    }
    Ok(())
}
