//! Reading the log: one record by its position, or all of them in order.
//!
//! A [`LogReader`] is a handle that any thread may have. It sees what is durable and
//! nothing else, holds a bounded number of files open, and changes nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::damage::{Damage, DamageKind, Found};
use super::error::LogError;
use super::frame::{Body, FRAME_HEADER, RECORD_HEADER, Record, RecordHeader, Records, Salt, Slot};
use super::gate::Gate;
use super::options::HEADER;
use super::position::Lsn;
use super::recovery;
use super::segment;
use super::traces::{self, Trace};
use super::walk::{Piece, Step, Until, Walk};
use super::zeros::are_zero;
use crate::outbox::disk::{Access, Disk, DiskFile};

/// Files that are kept open.
const OPEN_FILES: usize = 32;
/// Read at once: most records are smaller, and then this is the only read.
const FIRST_READ: usize = 4096;

/// Why a record could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The position is below the log's start, past its end, or never held a record.
    #[error("the log has no record at {0}")]
    NotThere(Lsn),
    #[error("damaged record at {0}")]
    Damaged(Lsn),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// One thing that a replay comes upon, in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed<'a> {
    Record(Record<'a>),
    /// All records of a frame were delivered; a later replay may begin here.
    FrameEnd {
        end: Lsn,
        /// So was its batch.
        ends_batch: bool,
    },
    /// What should be here is not. A damaged body is reported before its record.
    Damage(Damage),
}

/// Reads what is durable in the log. Clones are cheap and share their files.
#[derive(Clone, Debug)]
pub struct LogReader {
    salt: Salt,
    /// A replay delivers the whole records of damaged frames too.
    strays: bool,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    /// Segments with frames in them, in order.
    pieces: RwLock<Vec<Piece>>,
    end: AtomicU64,
    start: AtomicU64,
    /// By base, the last used last.
    files: Mutex<Vec<(u64, Arc<dyn DiskFile>)>>,
    gate: Gate,
    /// How often bodies in a segment were overwritten, by base, once it was asked.
    erasures: Mutex<BTreeMap<u64, u64>>,
}

impl LogReader {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        salt: Salt,
        pieces: Vec<Piece>,
        start: Lsn,
        end: Lsn,
    ) -> Self {
        LogReader {
            salt,
            strays: false,
            shared: Arc::new(Shared {
                disk,
                pieces: RwLock::new(pieces),
                end: AtomicU64::new(end.0),
                start: AtomicU64::new(start.0),
                files: Mutex::new(Vec::new()),
                gate: Gate::default(),
                erasures: Mutex::default(),
            }),
        }
    }

    /// What keeps copies and erasures apart.
    pub(super) fn gate(&self) -> Gate {
        self.shared.gate.clone()
    }

    pub(super) fn pieces(&self) -> Vec<Piece> {
        let pieces = self.shared.pieces.read();
        pieces.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often bodies in the segment were overwritten. `None`: it was dropped.
    pub(super) fn erasures(&self, piece: &Piece) -> Result<Option<u64>, LogError> {
        let known = self.shared.erasures.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get(&piece.base) {
            return Ok(Some(*count));
        }
        // Beside the files that are kept open: this is asked of every segment once.
        let read = |error| LogError::read(&piece.path, error);
        let file = match self.shared.disk.open(&piece.path, Access::Read) {
            Ok(file) => file,
            Err(_) if piece.end() <= self.start().0 => return Ok(None),
            Err(error) => return Err(read(error)),
        };
        let count = segment::erasures(&*file, self.salt, piece.base).map_err(read)?;
        known.insert(piece.base, count);
        Ok(Some(count))
    }

    /// Bodies in the segment at `base` were overwritten for the `count`th time.
    pub(super) fn erased(&self, base: u64, count: u64) {
        let known = self.shared.erasures.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        known.insert(base, count);
    }

    pub(super) fn with_strays(self, strays: bool) -> Self {
        LogReader { strays, ..self }
    }

    /// Reads the log in `data_dir/log` as it stands, without opening it, and says what opening it
    /// would find. Nothing is changed; nothing may change it meanwhile.
    pub fn look(data_dir: &Path, disk: Arc<dyn Disk>) -> Result<(LogReader, Found), LogError> {
        let (pieces, end, found) = recovery::look(data_dir, &*disk)?;
        let salt = Salt::new(&found.store_id);
        let reader = LogReader::new(disk, salt, pieces, found.start, end);
        Ok((reader, found))
    }

    /// A segment is about to take frames.
    pub(super) fn add(&self, piece: Piece) {
        let mut pieces = self
            .shared
            .pieces
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        pieces.push(piece);
    }

    /// Everything below `end` is durable.
    pub(super) fn publish(&self, end: Lsn) {
        self.shared.end.store(end.0, Ordering::Release);
    }

    /// Forgets the segments below `start`, and returns them.
    pub(super) fn begin_at(&self, start: Lsn) -> Vec<Piece> {
        self.shared.start.store(start.0, Ordering::Release);
        let mut pieces = self
            .shared
            .pieces
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let kept = pieces.partition_point(|piece| piece.end() <= start.0);
        let gone = pieces.drain(..kept).collect();
        let mut files = self
            .shared
            .files
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        files.retain(|(base, _)| *base >= start.0);
        drop(files);
        let erasures = self.shared.erasures.lock();
        let mut erasures = erasures.unwrap_or_else(PoisonError::into_inner);
        erasures.retain(|base, _| *base >= start.0);
        gone
    }

    /// The segments with frames in them, oldest first, as base and length in bytes.
    pub fn segments(&self) -> Vec<(Lsn, u64)> {
        let pieces = self
            .shared
            .pieces
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        pieces
            .iter()
            .map(|piece| (Lsn(piece.base), piece.len))
            .collect()
    }

    /// The name of the segment's file that has the position, and the offset there. Where there is
    /// none, it is the one that would begin there.
    pub fn place_of(&self, lsn: Lsn) -> (String, u64) {
        let segments = self.segments();
        let after = segments.partition_point(|(base, _)| *base <= lsn);
        let before = after.checked_sub(1).and_then(|at| segments.get(at));
        match before.filter(|(base, len)| lsn.0 - base.0 < *len) {
            Some((base, _)) => (segment::file_name(base.0), lsn.0 - base.0),
            None => (segment::file_name(lsn.0), 0),
        }
    }

    /// Segments that are missing, short or without a good header, in order, and whether they are
    /// missing.
    pub fn harmed_segments(&self) -> Vec<(Damage, bool)> {
        let (mut harmed, mut expected) = (Vec::new(), self.start());
        for piece in self.pieces() {
            if piece.base > expected.0 {
                harmed.push((Damage::missing(expected, &piece), true));
            }
            if piece.harmed {
                harmed.push((piece.damage(), false));
            }
            expected = Lsn(piece.end());
        }
        harmed
    }

    /// First position that counts.
    pub fn start(&self) -> Lsn {
        Lsn(self.shared.start.load(Ordering::Acquire))
    }

    /// End of the last durable frame.
    pub fn end(&self) -> Lsn {
        Lsn(self.shared.end.load(Ordering::Acquire))
    }

    /// Reads the record at `lsn` into `buf`, and checks all of it.
    pub fn read<'b>(&self, lsn: Lsn, buf: &'b mut Vec<u8>) -> Result<Record<'b>, ReadError> {
        let (piece, file) = self.segment_of(lsn)?;
        let header = self.fetch(&piece, &*file, lsn, buf)?;
        let (salt, at) = (self.salt, lsn.0 - piece.base);
        // An erasure may have come between header and body. Its seal is written first.
        let torn_by_erasure = {
            let record = header.open(buf, salt, lsn).ok_or(ReadError::Damaged(lsn))?;
            record.body == Body::Damaged
        };
        if torn_by_erasure {
            let head = buf.get_mut(..RECORD_HEADER).unwrap_or_default();
            read_at(&piece, &*file, head, at)?;
        }
        let header = RecordHeader::decode(buf, salt, lsn).ok_or(ReadError::Damaged(lsn))?;
        header.open(buf, salt, lsn).ok_or(ReadError::Damaged(lsn))
    }

    /// Whether nothing is left of the body of a record that reads as erased: a power cut may
    /// come between the seal and the zeros.
    pub fn is_overwritten(&self, lsn: Lsn) -> Result<bool, ReadError> {
        let (piece, file) = self.segment_of(lsn)?;
        let mut buf = Vec::new();
        let header = self.fetch(&piece, &*file, lsn, &mut buf)?;
        // At most the length of a segment, as `fetch` has checked.
        let body = buf.get(header.body_offset() as usize..header.used() as usize);
        let body = body.ok_or(ReadError::Damaged(lsn))?;
        Ok(header.is_erased(self.salt, lsn) && are_zero(body))
    }

    /// The segment of a record and its header.
    pub(super) fn header(&self, lsn: Lsn) -> Result<(Piece, RecordHeader), ReadError> {
        let (piece, file) = self.segment_of(lsn)?;
        let mut raw = [0; RECORD_HEADER];
        let count = read_at(&piece, &*file, &mut raw, lsn.0 - piece.base)?;
        let header = RecordHeader::decode(raw.get(..count).unwrap_or_default(), self.salt, lsn)
            .filter(|header| lsn.0.saturating_add(header.used()) <= piece.end())
            .ok_or(ReadError::Damaged(lsn))?;
        Ok((piece, header))
    }

    /// All of a record into `buf`.
    fn fetch(
        &self,
        piece: &Piece,
        file: &dyn DiskFile,
        lsn: Lsn,
        buf: &mut Vec<u8>,
    ) -> Result<RecordHeader, ReadError> {
        let at = lsn.0 - piece.base;
        buf.resize(FIRST_READ, 0);
        let mut count = read_at(piece, file, buf, at)?;
        buf.truncate(count);
        let header = RecordHeader::decode(buf, self.salt, lsn)
            .filter(|header| lsn.0.saturating_add(header.used()) <= piece.end())
            .ok_or(ReadError::Damaged(lsn))?;
        // At most the length of a segment, by the check above.
        let used = usize::try_from(header.used()).map_err(|_| ReadError::Damaged(lsn))?;
        if used > count {
            buf.resize(used, 0);
            let rest = buf.get_mut(count..).unwrap_or_default();
            count += read_at(piece, file, rest, at + count as u64)?;
            buf.truncate(count);
        }
        Ok(header)
    }

    /// The segment that has the position, if a record can be there.
    fn segment_of(&self, lsn: Lsn) -> Result<(Piece, Arc<dyn DiskFile>), ReadError> {
        if lsn >= self.end() {
            return Err(ReadError::NotThere(lsn));
        }
        let piece = {
            let pieces = self
                .shared
                .pieces
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let after = pieces.partition_point(|piece| piece.base <= lsn.0);
            after.checked_sub(1).and_then(|at| pieces.get(at)).cloned()
        };
        let first = HEADER + FRAME_HEADER as u64;
        let piece = piece
            .filter(|piece| lsn.0 < piece.end() && lsn.0 - piece.base >= first)
            .ok_or(ReadError::NotThere(lsn))?;
        let file = self.file(&piece)?;
        Ok((piece, file))
    }

    pub(super) fn file(&self, piece: &Piece) -> Result<Arc<dyn DiskFile>, ReadError> {
        let mut files = self
            .shared
            .files
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Dropped since the look at the table: a file kept open would keep its space.
        if piece.end() <= self.start().0 {
            return Err(ReadError::NotThere(Lsn(piece.base)));
        }
        let held = files.iter().position(|(base, _)| *base == piece.base);
        let entry = match held {
            Some(at) => files.remove(at),
            None => match self.shared.disk.open(&piece.path, Access::Read) {
                Ok(file) => (piece.base, file),
                Err(error) => return Err(LogError::read(&piece.path, error).into()),
            },
        };
        if files.len() >= OPEN_FILES {
            files.remove(0);
        }
        let file = Arc::clone(&entry.1);
        files.push(entry);
        Ok(file)
    }

    /// Delivers what is left of records from `from` up to `to`, where frames or records are
    /// damaged. What is whole there is what was committed.
    pub fn traces<B>(
        &self,
        from: Lsn,
        to: Lsn,
        mut f: impl FnMut(Trace<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, LogError> {
        let pieces = self.pieces();
        traces::search(&*self.shared.disk, &pieces, self.salt, from..to, &mut f)
    }

    /// Delivers everything from `from` up to `to`, or to the end of the log if that is
    /// earlier, until `f` breaks. `from` is the log's start, the beginning of a segment or
    /// a frame's beginning or end, else: [`LogError::NotAPosition`]. Returns the position
    /// that it got to.
    ///
    /// Segments must not be dropped while it runs.
    pub fn replay<B>(
        &self,
        from: Lsn,
        to: Lsn,
        mut f: impl FnMut(Replayed<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, Lsn>, LogError> {
        // The end first: the segments then are at least those that it needs.
        let end = self.end();
        let pieces = self.pieces();
        // All of the segment is walked: what is before `from` shows that a frame ends there.
        let after = pieces.partition_point(|piece| piece.base <= from.0);
        let first = after.saturating_sub(1);
        let until = Until::Known { end, stop: to };
        let disk = &*self.shared.disk;
        let mut walk = Walk::new(disk, &pieces, self.salt, first, until);
        // Before the first segment only a missing one can be.
        let mut reached = after == 0 && from >= self.start();
        if reached
            && let Some(piece) = pieces.first()
            && let ControlFlow::Break(out) = f(Replayed::Damage(Damage::missing(from, piece)))
        {
            return Ok(ControlFlow::Break(out));
        }
        loop {
            if !reached {
                reached = walk.position() == Some(from) || walk.alias() == Some(from);
                if !reached && walk.position().is_none_or(|at| at > from) {
                    return Err(LogError::NotAPosition(from));
                }
            }
            match walk.step()? {
                Step::End if !reached => return Err(LogError::NotAPosition(from)),
                Step::End => {
                    let at = walk.position().unwrap_or(end).min(end);
                    return Ok(ControlFlow::Continue(at));
                }
                Step::Damage(damage) => {
                    let wanted = reached || damage.kind == DamageKind::Segment;
                    if !wanted || damage.to <= from {
                        continue;
                    }
                    if let ControlFlow::Break(out) = f(Replayed::Damage(damage)) {
                        return Ok(ControlFlow::Break(out));
                    }
                    if self.strays
                        && let ControlFlow::Break(out) = self.strays_in(damage, &mut f)?
                    {
                        return Ok(ControlFlow::Break(out));
                    }
                }
                Step::Frame {
                    header, payload, ..
                } if reached => {
                    let slots = Records::new(self.salt, header, payload).map(|slot| match slot {
                        Slot::Record(record) => Replayed::Record(record),
                        Slot::Damage(damage) => Replayed::Damage(damage),
                    });
                    let end = Replayed::FrameEnd {
                        end: header.end(),
                        ends_batch: header.more == 0,
                    };
                    for replayed in slots.chain([end]) {
                        if let ControlFlow::Break(out) = f(replayed) {
                            return Ok(ControlFlow::Break(out));
                        }
                    }
                }
                Step::Frame { .. } => {}
            }
        }
    }

    /// Delivers the whole records of damaged frames, as those of a frame.
    fn strays_in<B>(
        &self,
        damage: Damage,
        f: &mut impl FnMut(Replayed<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, LogError> {
        if damage.kind != DamageKind::Frames {
            return Ok(ControlFlow::Continue(()));
        }
        let flow = self.traces(damage.from, damage.to, |trace| match trace {
            Trace::Record(record) => f(Replayed::Record(record)),
            Trace::Head { .. } => ControlFlow::Continue(()),
        })?;
        Ok(match flow {
            ControlFlow::Continue(()) => f(Replayed::FrameEnd {
                end: damage.to,
                ends_batch: true,
            }),
            out => out,
        })
    }
}

/// Fills `buf` from the file as far as it goes, and returns how far.
fn read_at(piece: &Piece, file: &dyn DiskFile, buf: &mut [u8], at: u64) -> Result<usize, LogError> {
    file.read_up_to(buf, at)
        .map_err(|error| LogError::read(&piece.path, error))
}
