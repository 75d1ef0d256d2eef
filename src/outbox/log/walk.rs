//! Going through frames in order, over tears and damage.
//!
//! The one place that decides whether bytes are a frame of this log, and what to make of
//! those that are not. It only reads. Memory is bounded by a window of 1 MiB or by the
//! largest frame.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::damage::{Damage, DamageKind};
use super::error::LogError;
use super::frame::{
    self, CHAIN_BROKEN, CHAIN_START, FRAME_ALIGN, FRAME_HEADER, FrameHeader, Records, Salt,
    may_begin_frame,
};
use super::options::HEADER;
use super::position::Lsn;
use crate::outbox::disk::{Access, Disk, DiskFile};

/// How much is read at once.
pub(super) const WINDOW: usize = 1 << 20;

/// A segment as far as reading is concerned.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub base: u64,
    pub len: u64,
    pub path: PathBuf,
    /// It is shorter than `len`, or its header is bad.
    pub harmed: bool,
}

impl Piece {
    /// Position of the first byte after it.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.len)
    }

    pub fn damage(&self) -> Damage {
        Damage {
            from: Lsn(self.base),
            to: Lsn(self.end()),
            records: 0,
            kind: DamageKind::Segment,
        }
    }
}

impl Damage {
    /// Nothing is there before `piece` though it should be.
    pub(super) fn missing(from: Lsn, piece: &Piece) -> Damage {
        Damage {
            from,
            to: Lsn(piece.base),
            records: 1,
            kind: DamageKind::Segment,
        }
    }
}

/// A part of a file in memory.
pub(super) struct Window<'a> {
    piece: &'a Piece,
    file: Arc<dyn DiskFile>,
    bytes: Vec<u8>,
    /// Offset in the file of `bytes`.
    from: u64,
    /// How many of `bytes` were read.
    filled: usize,
}

impl<'a> Window<'a> {
    pub fn open(disk: &dyn Disk, piece: &'a Piece, bytes: Vec<u8>) -> Result<Self, LogError> {
        let file = disk
            .open(&piece.path, Access::Read)
            .map_err(|error| LogError::read(&piece.path, error))?;
        Ok(Window {
            piece,
            file,
            bytes,
            from: 0,
            filled: 0,
        })
    }

    /// `count` bytes at `offset`, or fewer where the segment or its file ends.
    pub fn bytes(&mut self, offset: u64, count: usize) -> Result<&[u8], LogError> {
        let left = self.piece.len.saturating_sub(offset);
        let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        let held = offset >= self.from
            && offset.saturating_add(count as u64) <= self.from + self.filled as u64;
        if !held {
            self.read(offset, count.max(WINDOW))
                .map_err(|error| LogError::read(&self.piece.path, error))?;
        }
        // `offset` is at least `from` now, and at most a window past it.
        let at = usize::try_from(offset - self.from).unwrap_or(usize::MAX);
        let held = self.bytes.get(at..self.filled).unwrap_or_default();
        Ok(held.get(..count).unwrap_or(held))
    }

    fn read(&mut self, offset: u64, count: usize) -> io::Result<()> {
        let kept = match offset.checked_sub(self.from).map(usize::try_from) {
            Some(Ok(at)) if at < self.filled => {
                self.bytes.copy_within(at..self.filled, 0);
                self.filled - at
            }
            _ => 0,
        };
        (self.from, self.filled) = (offset, kept);
        if self.bytes.len() < count {
            self.bytes.resize(count, 0);
        }
        let rest = self.bytes.get_mut(kept..).unwrap_or_default();
        self.filled += self.file.read_up_to(rest, offset + kept as u64)?;
        Ok(())
    }

    /// The frame header at `offset`, if there is one and its frame ends in this segment.
    fn header(&mut self, offset: u64, salt: Salt) -> Result<Option<(FrameHeader, u32)>, LogError> {
        let lsn = Lsn(self.piece.base.saturating_add(offset));
        let end = self.piece.end();
        let found = FrameHeader::decode(self.bytes(offset, FRAME_HEADER)?, salt, lsn);
        Ok(found.filter(|(header, _)| header.end().0 <= end))
    }

    /// The first frame at or after `offset` that was written when `proven` was durable.
    fn search(
        &mut self,
        mut offset: u64,
        salt: Salt,
        proven: Lsn,
    ) -> Result<Option<(u64, FrameHeader)>, LogError> {
        loop {
            let bytes = self.bytes(offset, WINDOW)?;
            if bytes.len() < FRAME_HEADER {
                return Ok(None);
            }
            let slots = bytes.chunks(FRAME_ALIGN as usize);
            let mut candidates = Vec::new();
            for (at, slot) in (offset..).step_by(FRAME_ALIGN as usize).zip(slots) {
                if may_begin_frame(slot) {
                    candidates.push(at);
                }
            }
            let next = offset + (bytes.len() as u64).next_multiple_of(FRAME_ALIGN);
            for at in candidates {
                if let Some((header, _)) = self.header(at, salt)?
                    && header.durable > proven
                {
                    return Ok(Some((at, header)));
                }
            }
            offset = next;
        }
    }
}

/// How far the log goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// To be found out: what is invalid and has no proof after it is the end.
    Unknown,
    /// Known: what is invalid before `end` is damage. The walk stops at `stop`.
    Known { end: Lsn, stop: Lsn },
}

/// What comes next.
pub(super) enum Step<'w> {
    /// A frame that counts. Its records are for the caller to check.
    Frame {
        header: FrameHeader,
        crc: u32,
        payload: &'w [u8],
    },
    Damage(Damage),
    End,
}

/// A walk over the frames of `pieces`.
pub(super) struct Walk<'a> {
    disk: &'a dyn Disk,
    pieces: &'a [Piece],
    salt: Salt,
    until: Until,
    index: usize,
    offset: u64,
    /// CRC of the frame before; `None` if that is not known.
    chain: Option<u32>,
    window: Option<Window<'a>>,
    /// Pieces below this one were looked at for harm.
    announced: usize,
    /// Frames below this are of a batch that was found whole.
    whole: Lsn,
}

impl<'a> Walk<'a> {
    /// Begins with the first frame of the piece at `index`.
    pub fn new(
        disk: &'a dyn Disk,
        pieces: &'a [Piece],
        salt: Salt,
        index: usize,
        until: Until,
    ) -> Self {
        Walk {
            disk,
            pieces,
            salt,
            until,
            index,
            offset: HEADER,
            chain: None,
            window: None,
            announced: index,
            whole: Lsn(0),
        }
    }

    /// The piece it is in and the offset there.
    pub fn place(&self) -> (usize, u64) {
        (self.index, self.offset)
    }

    /// Where it stands: everything before was reported. `None` past the last piece.
    pub fn position(&self) -> Option<Lsn> {
        let piece = self.pieces.get(self.index)?;
        Some(Lsn(piece.base.saturating_add(self.offset)))
    }

    /// The same position as the end of the segment before, if it stands at a segment's
    /// first frame.
    pub fn alias(&self) -> Option<Lsn> {
        let piece = self.pieces.get(self.index)?;
        (self.offset == HEADER).then_some(Lsn(piece.base))
    }

    pub fn step(&mut self) -> Result<Step<'_>, LogError> {
        loop {
            let (Some(here), Some(piece)) = (self.position(), self.pieces.get(self.index)) else {
                return Ok(Step::End);
            };
            if let Until::Known { end, stop } = self.until
                && here >= end.min(stop)
            {
                return Ok(Step::End);
            }
            if self.announced <= self.index {
                self.announced = self.index + 1;
                if piece.harmed {
                    return Ok(Step::Damage(piece.damage()));
                }
            }
            if let Some((header, crc)) = self.frame_here()? {
                if !self.counts(header, crc)? {
                    return Ok(Step::End);
                }
                return self.take(header, crc);
            }
            if self.follow_chain()? {
                continue;
            }
            return Ok(match self.resume(here)? {
                Some(damage) => Step::Damage(damage),
                None => Step::End,
            });
        }
    }

    fn window(&mut self) -> Result<Option<&mut Window<'a>>, LogError> {
        let Some(piece) = self.pieces.get(self.index) else {
            return Ok(None);
        };
        if self
            .window
            .as_ref()
            .is_none_or(|w| w.piece.base != piece.base)
        {
            let bytes = self.window.take().map(|w| w.bytes).unwrap_or_default();
            self.window = Some(Window::open(self.disk, piece, bytes)?);
        }
        Ok(self.window.as_mut())
    }

    fn frame_here(&mut self) -> Result<Option<(FrameHeader, u32)>, LogError> {
        let (offset, salt, chain) = (self.offset, self.salt, self.chain);
        let Some(window) = self.window()? else {
            return Ok(None);
        };
        let found = window.header(offset, salt)?;
        Ok(found.filter(|(header, _)| chain.is_none_or(|crc| header.prev_crc == crc)))
    }

    /// Whether the frame whose header is here is more than a torn tail: its batch is whole,
    /// or something later proves it.
    fn counts(&mut self, header: FrameHeader, crc: u32) -> Result<bool, LogError> {
        if matches!(self.until, Until::Known { .. }) || header.lsn < self.whole {
            return Ok(true);
        }
        match self.whole_from(header, crc)? {
            Some(end) => {
                self.whole = end;
                Ok(true)
            }
            // All frames of a batch say where it begins.
            None => Ok(self.proof_after(header.durable)?.is_some()),
        }
    }

    /// The end of the batch if all its frames from this one on, which is here, are whole.
    fn whole_from(
        &mut self,
        mut header: FrameHeader,
        mut crc: u32,
    ) -> Result<Option<Lsn>, LogError> {
        let (mut offset, salt) = (self.offset, self.salt);
        loop {
            let Some(window) = self.window()? else {
                return Ok(None);
            };
            let payload = payload(window, offset, &header)?;
            if !Records::new(salt, header, payload).all_intact() {
                return Ok(None);
            }
            offset = offset.saturating_add(header.len());
            if header.more == 0 {
                return Ok(Some(header.end()));
            }
            let next = window.header(offset, salt)?;
            let follows = |next: &FrameHeader| {
                next.prev_crc == crc
                    && next.durable == header.durable
                    && next.more == header.more - 1
            };
            match next.filter(|(next, _)| follows(next)) {
                Some(next) => (header, crc) = next,
                None => return Ok(None),
            }
        }
    }

    fn take(&mut self, header: FrameHeader, crc: u32) -> Result<Step<'_>, LogError> {
        let offset = self.offset;
        self.offset = offset.saturating_add(header.len());
        self.chain = Some(crc);
        let payload = match self.window()? {
            Some(window) => payload(window, offset, &header)?,
            None => &[],
        };
        Ok(Step::Frame {
            header,
            crc,
            payload,
        })
    }

    /// Goes on to the next segment if its first frame follows the last one seen: then
    /// there is nothing between them, whatever the bytes are.
    fn follow_chain(&mut self) -> Result<bool, LogError> {
        let (Some(piece), Some(next)) = (
            self.pieces.get(self.index),
            self.pieces.get(self.index.saturating_add(1)),
        ) else {
            return Ok(false);
        };
        if piece.end() != next.base {
            return Ok(false);
        }
        // A first segment stays empty if the very first frame was too large for it.
        let chain = match self.chain {
            Some(crc) => crc,
            None if self.offset == HEADER => CHAIN_START,
            None => return Ok(false),
        };
        let first = Window::open(self.disk, next, Vec::new())?.header(HEADER, self.salt)?;
        if first.is_none_or(|(header, _)| header.prev_crc != chain) {
            return Ok(false);
        }
        (self.index, self.offset) = (self.index + 1, HEADER);
        Ok(true)
    }

    /// Goes on behind what is invalid at `here`, and says what was lost. `None`: it is
    /// the end.
    fn resume(&mut self, here: Lsn) -> Result<Option<Damage>, LogError> {
        self.chain = None;
        let offset = self.offset;
        let blank = match self.window()? {
            Some(window) => window.bytes(offset, FRAME_HEADER)?.iter().all(|b| *b == 0),
            None => true,
        };
        let mut proof = self.proof_after(here)?;
        if blank
            && let (Until::Unknown, Some((index, _, header))) = (self.until, &proof)
            && self.continues_first_batch(*index, header)
            && self.proof_after(header.durable)?.is_none()
        {
            proof = None;
        }
        let (to, follows) = match (proof, self.until) {
            (Some((index, offset, header)), _) => {
                (self.index, self.offset) = (index, offset);
                (header.lsn, header.prev_crc != CHAIN_BROKEN)
            }
            (None, Until::Unknown) => return Ok(None),
            (None, Until::Known { end, .. }) => {
                self.index = self.pieces.len();
                (end, false)
            }
        };
        Ok(Some(Damage {
            from: here,
            to,
            // The next frame follows one that is gone; or else something was here.
            records: u64::from(follows || !blank),
            kind: DamageKind::Frames,
        }))
    }

    /// Whether the frame belongs to the first batch of the piece at `index`, and does not begin
    /// it. Where nothing was written at the end of the piece before, it proves nothing there: a
    /// power cut may have kept it and lost the frame that follows the piece before.
    fn continues_first_batch(&self, index: usize, header: &FrameHeader) -> bool {
        let piece = self.pieces.get(index).filter(|_| index > self.index);
        let begins = piece.map(|piece| Lsn(piece.base.saturating_add(HEADER)));
        begins == Some(header.durable) && header.lsn != header.durable
    }

    /// The next frame that was written when `lsn`, which is here, was durable.
    fn proof_after(&mut self, lsn: Lsn) -> Result<Option<(usize, u64, FrameHeader)>, LogError> {
        let (salt, index) = (self.salt, self.index);
        let offset = self.offset.saturating_add(FRAME_ALIGN);
        let Some(window) = self.window()? else {
            return Ok(None);
        };
        if let Some((offset, header)) = window.search(offset, salt, lsn)? {
            return Ok(Some((index, offset, header)));
        }
        for (index, piece) in self.pieces.iter().enumerate().skip(index.saturating_add(1)) {
            let mut window = Window::open(self.disk, piece, Vec::new())?;
            if let Some((offset, header)) = window.search(HEADER, salt, lsn)? {
                return Ok(Some((index, offset, header)));
            }
        }
        Ok(None)
    }
}

fn payload<'w>(
    window: &'w mut Window<'_>,
    offset: u64,
    header: &FrameHeader,
) -> Result<&'w [u8], LogError> {
    let at = offset.saturating_add(frame::FRAME_HEADER as u64);
    window.bytes(at, header.payload_len as usize)
}
