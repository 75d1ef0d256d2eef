//! The one owner of the log: it appends, marks, erases and drops.

use std::io;
use std::path::{Path, PathBuf};

use super::batch::{Batch, Committed};
use super::damage::Found;
use super::error::LogError;
use super::frame::{FrameHeader, RecordHeader, Salt};
use super::options::HEADER;
use super::options::LogOptions;
use super::position::Lsn;
use super::reader::{LogReader, ReadError};
use super::recovery::{self, Recovered};
use super::segment::{self, Segment, SegmentHeader};
use super::spare::{Spare, SpareState};
use super::walk::Piece;
use crate::outbox::disk::{Free, is_full};

/// What only marks may use at the end of a segment, so that an idle moment, a clean stop
/// and the dropping of segments need no new one.
const MARK_ROOM: u64 = 256;

/// The log, open for appending.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    options: LogOptions,
    store_id: [u8; 16],
    salt: Salt,
    reader: LogReader,
    current: Segment,
    /// Where the next frame goes in `current`.
    offset: u64,
    chain: u32,
    /// Where in `current` pieces of refused batches end, if that is past `offset`.
    refused: u64,
    start: Lsn,
    epoch: u32,
    /// The last frame is a mark, or there is none.
    marked: bool,
    spare: Spare,
    mark: Batch,
    failure: Option<LogError>,
}

/// Bytes of frames that fit for certain, without any space on the disk. The two do not
/// add up for one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In the current segment.
    pub here: u64,
    /// In the spare one; 0 while there is none.
    pub spare: u64,
}

impl Log {
    /// Opens the log in `data_dir/log`, which recovers it, or makes it with
    /// `new_store_id` if it has no segment at all; `None` makes that [`LogError::Missing`].
    ///
    /// On return everything that a replay will deliver is durable.
    pub fn open(
        data_dir: &Path,
        options: LogOptions,
        new_store_id: Option<[u8; 16]>,
    ) -> Result<(Log, Found), LogError> {
        let Recovered {
            dir,
            store_id,
            pieces,
            current,
            offset,
            chain,
            start,
            epoch,
            marked,
            spare,
            found,
        } = recovery::recover(data_dir, &options, new_store_id)?;
        let salt = Salt::new(&store_id);
        let disk = options.disk.clone();
        let end = Lsn(current.base + offset);
        let reader = LogReader::new(disk, salt, pieces, start, end);
        let reader = reader.with_strays(options.strays);
        let mut log = Log {
            dir,
            options,
            store_id,
            salt,
            reader,
            current,
            offset,
            chain,
            refused: 0,
            start,
            epoch: epoch.saturating_add(1),
            marked,
            spare,
            mark: Batch::new(salt, 0),
            failure: None,
        };
        match log.mark() {
            // It proves what was just made durable; without it that is so all the same.
            Ok(()) | Err(LogError::NoSpace) => Ok((log, found)),
            Err(error) => Err(error),
        }
    }

    /// An empty batch to fill, for this log only.
    pub fn batch(&self) -> Batch {
        Batch::new(self.salt, self.options.frame_payload)
    }

    /// A handle for reading, also from other threads.
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    pub fn store_id(&self) -> [u8; 16] {
        self.store_id
    }

    /// First position that counts.
    pub fn start(&self) -> Lsn {
        self.start
    }

    /// End of the last frame.
    pub fn end(&self) -> Lsn {
        self.reader.end()
    }

    /// The first position of the segment that is being written.
    pub fn current_base(&self) -> u64 {
        self.current.base
    }

    /// What is free on the disk; `None` if that cannot be told.
    pub fn free(&self) -> Option<Free> {
        self.options.disk.free(&self.dir).ok()
    }

    /// Writes the batch and makes all of it durable. An empty one writes nothing.
    ///
    /// [`LogError::NoSpace`]: nothing was written, and the same batch may be tried again.
    pub fn commit(&mut self, batch: &mut Batch) -> Result<Committed, LogError> {
        self.commit_leaving(batch, 0)
    }

    /// The same, but leaves so many bytes free behind the batch unless there is another segment: they
    /// are for what comes when there is no more space.
    pub fn commit_leaving(&mut self, batch: &mut Batch, left: u64) -> Result<Committed, LogError> {
        self.check()?;
        if !batch.belongs_to(self.salt) {
            return Err(LogError::ForeignBatch);
        }
        if batch.is_empty() {
            let end = self.end();
            return Ok(Committed { lsn: end, end });
        }
        let committed = self.append(batch, MARK_ROOM, left)?;
        self.marked = false;
        Ok(committed)
    }

    /// Proves durable what was committed, so that damage to it will be seen as such.
    /// Does nothing if that is so already.
    pub fn mark(&mut self) -> Result<(), LogError> {
        self.check()?;
        if self.marked {
            return Ok(());
        }
        self.append_mark()
    }

    fn append_mark(&mut self) -> Result<(), LogError> {
        let mut mark = std::mem::replace(&mut self.mark, Batch::new(self.salt, 0));
        let appended = self.append(&mut mark, 0, 0);
        self.mark = mark;
        appended?;
        self.marked = true;
        Ok(())
    }

    fn append(&mut self, batch: &mut Batch, mark: u64, left: u64) -> Result<Committed, LogError> {
        let len = batch.disk_len();
        let end = self.offset + len + mark;
        let switched = end > self.current.len;
        if switched {
            self.begin_current()?;
            self.forget_refused()?;
            self.next_segment(len + left)?;
        } else if end + left > self.current.len && self.settle(true)? == SpareState::Missing {
            return Err(LogError::NoSpace);
        }
        let lsn = Lsn(self.current.base + self.offset);
        let header = FrameHeader {
            lsn,
            // Everything before was synced by its own commit.
            durable: lsn,
            start: self.start,
            prev_crc: self.chain,
            payload_len: 0,
            record_count: 0,
            records_crc: 0,
            epoch: self.epoch,
            more: 0,
        };
        let (bytes, crc) = batch.place(header);
        let Segment { path, file, .. } = self.current.clone();
        let written = self.wrote("write", &path, file.write_all_at(bytes, self.offset));
        if let Err(LogError::NoSpace) = written {
            self.refused = self.refused.max(self.offset + len);
            // It lies past the log's end. It must not count after a crash either, were it whole but
            // for zeros that are there already. Where even this is refused the next batch goes over it.
            let _ = segment::write_zeros(&*file, self.offset, self.refused);
        }
        written?;
        self.terminal("sync", &path, file.sync())?;
        (self.offset, self.chain) = (self.offset + len, crc);
        let end = Lsn(self.current.base + self.offset);
        self.reader.publish(end);
        if switched {
            self.begin_spare()?;
        }
        Ok(Committed { lsn, end })
    }

    /// Overwrites what refused writes left behind the last frame. In the middle of the log it would
    /// pass for a frame that was damaged.
    ///
    /// [`LogError::NoSpace`]: the segment cannot be ended yet.
    fn forget_refused(&mut self) -> Result<(), LogError> {
        if self.refused > self.offset {
            let Segment { path, file, .. } = self.current.clone();
            let cleared = segment::write_zeros(&*file, self.offset, self.refused);
            self.wrote("clear the end of", &path, cleared)?;
            self.terminal("sync", &path, file.sync())?;
        }
        self.refused = 0;
        Ok(())
    }

    /// Gives the current segment its first frame, if that was refused before: at most one segment is
    /// made behind the last one that has any. The log's own first segment may stay without.
    fn begin_current(&mut self) -> Result<(), LogError> {
        if self.offset > HEADER || self.current.base <= self.start.0 {
            return Ok(());
        }
        self.append_mark()
    }

    /// Makes the spare segment the current one, or one of its own for a batch of `len`
    /// bytes that is too large for it.
    fn next_segment(&mut self, len: u64) -> Result<(), LogError> {
        let needed = HEADER + len + MARK_ROOM;
        self.settle(true)?;
        let next = match std::mem::replace(&mut self.spare, Spare::Missing) {
            Spare::Ready(spare) if needed <= spare.len => spare,
            Spare::Missing if needed <= self.options.segment_size => {
                return Err(LogError::NoSpace);
            }
            other => {
                let header = self.next_header(needed.next_multiple_of(HEADER));
                // The spare, which nobody has written to or read from, is replaced by it.
                match segment::make(&self.dir, &self.options, header) {
                    Ok(segment) => segment,
                    Err(LogError::NoSpace) => {
                        self.spare = other;
                        return Err(LogError::NoSpace);
                    }
                    Err(error) => return Err(self.fail(error)),
                }
            }
        };
        self.reader.add(Piece {
            base: next.base,
            len: next.len,
            path: next.path.clone(),
            harmed: false,
        });
        (self.current, self.offset) = (next, HEADER);
        Ok(())
    }

    fn next_header(&self, len: u64) -> SegmentHeader {
        SegmentHeader {
            store_id: self.store_id,
            base: self.current.end(),
            len,
        }
    }

    fn begin_spare(&mut self) -> Result<(), LogError> {
        let header = self.next_header(self.options.segment_size);
        match Spare::begin(&self.dir, &self.options, header) {
            Ok(spare) => {
                self.spare = spare;
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    fn settle(&mut self, wait: bool) -> Result<SpareState, LogError> {
        self.spare.settle(wait).map_err(|error| self.fail(error))
    }

    /// Whether the next segment is ready.
    pub fn spare(&mut self) -> Result<SpareState, LogError> {
        self.check()?;
        self.settle(false)
    }

    /// Begins to make the spare segment again if it is missing.
    pub fn prepare_spare(&mut self) -> Result<SpareState, LogError> {
        if self.spare()? == SpareState::Missing {
            match self.begin_current() {
                Ok(()) => self.begin_spare()?,
                Err(LogError::NoSpace) => return Ok(SpareState::Missing),
                Err(error) => return Err(error),
            }
        }
        self.settle(false)
    }

    /// What fits whatever the disk says. Compare with [`Batch::disk_len`].
    pub fn room(&mut self) -> Result<Room, LogError> {
        self.spare()?;
        let here = self.current.len.saturating_sub(self.offset + MARK_ROOM);
        let spare = match &self.spare {
            Spare::Ready(spare) => spare.len.saturating_sub(HEADER + MARK_ROOM),
            _ => 0,
        };
        Ok(Room { here, spare })
    }

    /// The segments that hold the log, oldest first, as base and length in bytes. The
    /// last is the current one; the spare is not among them.
    pub fn segments(&self) -> Vec<(Lsn, u64)> {
        self.reader.segments()
    }

    /// Ends the current segment here, and begins the next one with a mark.
    pub fn begin_segment(&mut self) -> Result<(), LogError> {
        self.check()?;
        // Where the mark was refused before, the segment has just begun.
        if self.offset > HEADER {
            self.forget_refused()?;
            self.offset = self.current.len;
        }
        self.append_mark()
    }

    /// Overwrites the bodies of these records for good; they read as
    /// [`Body::Erased`](super::Body::Erased) from then on. May be repeated. Positions
    /// below the start, and records whose header is damaged, are passed over.
    ///
    /// The caller's own record that it is to be so is durable already: if power is cut
    /// here, or there is [`LogError::NoSpace`] or [`LogError::Copying`], the caller erases again.
    pub fn erase(&mut self, records: &[Lsn]) -> Result<(), LogError> {
        self.check()?;
        let Some(_erasing) = self.reader.gate().erase() else {
            return Err(LogError::Copying);
        };
        let mut segment: Option<Segment> = None;
        let mut bodies = Vec::new();
        let mut records = records.to_vec();
        records.sort_unstable();
        for lsn in records {
            let (piece, header) = match self.reader.header(lsn) {
                Ok(found) => found,
                Err(ReadError::NotThere(_) | ReadError::Damaged(_)) => continue,
                Err(ReadError::Log(error)) => return Err(error),
            };
            if segment.as_ref().is_none_or(|held| held.base != piece.base) {
                self.erase_in(segment.take(), &bodies)?;
                bodies.clear();
                let opened = Segment::open(&*self.options.disk, piece.base, piece.len, &piece.path);
                segment = Some(opened.map_err(|error| self.fail(error))?);
            }
            bodies.push((lsn, header));
        }
        self.erase_in(segment, &bodies)
    }

    /// The seals are durable before the bodies go: what a power cut leaves in between is
    /// an erased record with some of its body, never a damaged one. The count of erasures rises
    /// with the seals, so no copy from before passes for one from after.
    fn erase_in(
        &mut self,
        segment: Option<Segment>,
        bodies: &[(Lsn, RecordHeader)],
    ) -> Result<(), LogError> {
        let Some(Segment {
            base, path, file, ..
        }) = segment
        else {
            return Ok(());
        };
        let count = segment::erasures(&*file, self.salt, base)
            .map_err(|error| LogError::read(&path, error))?;
        let counted = segment::write_erasures(&*file, self.salt, base, count.saturating_add(1));
        self.wrote("count erasures in", &path, counted)?;
        self.reader.erased(base, count.saturating_add(1));
        for (lsn, _) in bodies {
            let seal = self.salt.seal(*lsn).to_le_bytes();
            let at = lsn.0 - base + RecordHeader::seal_offset();
            self.wrote("seal in", &path, file.write_all_at(&seal, at))?;
        }
        self.terminal("sync", &path, file.sync())?;
        for (lsn, header) in bodies {
            let from = lsn.0 - base + header.body_offset();
            let erased = segment::write_zeros(&*file, from, from + u64::from(header.body_len));
            self.wrote("erase from", &path, erased)?;
        }
        self.terminal("sync", &path, file.sync())
    }

    /// Makes the segment that holds `lsn` the first, and deletes those before it. The
    /// current segment always stays.
    ///
    /// [`LogError::NoSpace`]: nothing was changed.
    pub fn drop_below(&mut self, lsn: Lsn) -> Result<(), LogError> {
        self.check()?;
        let segments = self.segments();
        let kept = segments.iter().rev().find(|(base, _)| *base <= lsn);
        let Some((start, _)) = kept.copied().filter(|(base, _)| *base > self.start) else {
            return Ok(());
        };
        let before = std::mem::replace(&mut self.start, start);
        if let Err(error) = self.append_mark() {
            self.start = before;
            return Err(error);
        }
        for piece in self.reader.begin_at(start) {
            recovery::unlink(&*self.options.disk, &self.dir, &piece.path)
                .map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), LogError> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: LogError) -> LogError {
        self.failure.get_or_insert(error).clone()
    }

    /// A write over what is there may need space on some file systems. When they refuse it
    /// for want of space nothing is lost: it was not synced, and can be written again.
    fn wrote(
        &mut self,
        doing: &'static str,
        path: &Path,
        done: io::Result<()>,
    ) -> Result<(), LogError> {
        match done {
            Err(error) if is_full(&error) => Err(LogError::NoSpace),
            done => self.terminal(doing, path, done),
        }
    }

    fn terminal(
        &mut self,
        doing: &'static str,
        path: &Path,
        done: io::Result<()>,
    ) -> Result<(), LogError> {
        done.map_err(|error| self.fail(LogError::failed(doing, path, error)))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // A thread that still makes the spare would write into a log that may have another
        // owner by then. Its result does not matter: opening looks at what is there.
        let _ = self.spare.settle(true);
    }
}

#[cfg(test)]
impl Log {
    /// Waits until it is known whether there is a spare.
    pub(super) fn next_ready(&mut self) {
        self.settle(true).unwrap();
    }

    /// Takes away the right to write.
    pub(super) fn break_current(
        &mut self,
        read_only: std::sync::Arc<dyn crate::outbox::disk::DiskFile>,
    ) {
        self.current.file = read_only;
    }
}
