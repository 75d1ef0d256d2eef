//! Records that are made durable together, in the bytes that they will have on disk.

use std::ops::Range;

use super::error::LogError;
use super::frame::{
    FRAME_ALIGN, FRAME_HEADER, FrameHeader, MAX_BATCH, RECORD_ALIGN, RECORD_HEADER, RECORD_SUMMED,
    Salt, field, put, u32_at,
};
use super::position::Lsn;

/// A buffer that grew past this for one big batch does not stay that big.
const KEPT_CAPACITY: usize = 4 << 20;

/// Where a record or a frame's end is in its batch, in bytes;
/// [`Committed::lsn`](super::Committed::lsn) makes it a position in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(u32);

impl Offset {
    pub(super) fn within(self, batch: Lsn) -> Lsn {
        Lsn(batch.0 + u64::from(self.0))
    }
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub lsn: Lsn,
    /// Where a replay of what comes later begins.
    pub end: Lsn,
}

impl Committed {
    /// The position of a record, or of a frame's end, of this batch.
    pub fn lsn(&self, offset: Offset) -> Lsn {
        offset.within(self.lsn)
    }
}

/// A frame in a batch.
#[derive(Clone, Copy, Debug)]
struct Frame {
    from: usize,
    /// The place of its first record in `records`.
    first: usize,
    /// Where its payload ends.
    end: usize,
}

/// A batch being collected, so that a body is copied once. Made by
/// [`Log::batch`](super::Log::batch); cleared and used again.
#[derive(Debug)]
pub struct Batch {
    salt: Salt,
    frame_payload: usize,
    bytes: Vec<u8>,
    records: Vec<u32>,
    /// The frames that are full, in order.
    full: Vec<Frame>,
    /// Where the open frame begins, and its first record.
    open: (usize, usize),
}

/// A record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Pushed<'a> {
    pub offset: Offset,
    pub kind: u8,
    pub head: &'a [u8],
    pub body: &'a [u8],
}

impl Batch {
    pub(super) fn new(salt: Salt, frame_payload: usize) -> Self {
        Batch {
            salt,
            frame_payload,
            bytes: vec![0; FRAME_HEADER],
            records: Vec::new(),
            full: Vec::new(),
            open: (0, 0),
        }
    }

    /// Adds a record with a head that `encode` appends. Nothing is added if the batch would
    /// come to more than [`MAX_BATCH`] bytes: [`LogError::TooLarge`].
    pub fn push_with(
        &mut self,
        kind: u8,
        encode: impl FnOnce(&mut Vec<u8>),
        body: &[u8],
    ) -> Result<Offset, LogError> {
        let from = self.bytes.len();
        self.bytes.resize(from + RECORD_HEADER, 0);
        encode(&mut self.bytes);
        let head_len = self.bytes.len() - from - RECORD_HEADER;
        let end = self.bytes.len().saturating_add(body.len());
        // Another frame's header and padding may come before it.
        if end > MAX_BATCH - FRAME_HEADER - 2 * FRAME_ALIGN as usize {
            self.bytes.truncate(from);
            return Err(LogError::TooLarge { bytes: end as u64 });
        }
        let is_over = end - self.open.0 - FRAME_HEADER > self.frame_payload;
        let from = if is_over && self.records.len() > self.open.1 {
            self.move_to_next_frame(from)
        } else {
            from
        };
        self.bytes.extend_from_slice(body);
        let mut header = [0; RECORD_HEADER];
        let head_at = from + RECORD_HEADER;
        let head = self
            .bytes
            .get(head_at..head_at + head_len)
            .unwrap_or_default();
        // Lengths and offset are below 1 GiB, as was just checked.
        put(&mut header, 4, &(head_len as u32).to_le_bytes());
        put(&mut header, 8, &(body.len() as u32).to_le_bytes());
        put(&mut header, 12, &[kind]);
        put(&mut header, 16, &self.salt.crc(head).to_le_bytes());
        put(&mut header, 20, &self.salt.crc(body).to_le_bytes());
        put(&mut self.bytes, from, &header);
        let padded = self.bytes.len().next_multiple_of(RECORD_ALIGN);
        self.bytes.resize(padded, 0);
        self.records.push(from as u32);
        Ok(Offset(from as u32))
    }

    /// Adds a record.
    pub fn push(&mut self, kind: u8, head: &[u8], body: &[u8]) -> Result<Offset, LogError> {
        self.push_with(kind, |out| out.extend_from_slice(head), body)
    }

    /// Closes the open frame and begins another, so that what comes next is applied by
    /// itself. Does nothing while the open one is empty.
    pub fn cut(&mut self) {
        if self.records.len() > self.open.1 {
            let end = self.bytes.len();
            self.move_to_next_frame(end);
        }
    }

    /// Closes the open frame before `at`, moves what is there into a frame of its own, and
    /// returns where that is now.
    fn move_to_next_frame(&mut self, at: usize) -> usize {
        let (from, first) = self.open;
        self.full.push(Frame {
            from,
            first,
            end: at,
        });
        let next = at.next_multiple_of(FRAME_ALIGN as usize);
        let moved = next + FRAME_HEADER;
        let tail = self.bytes.len() - at;
        self.bytes.resize(moved + tail, 0);
        self.bytes.copy_within(at..at + tail, moved);
        if let Some(between) = self.bytes.get_mut(at..moved) {
            between.fill(0);
        }
        self.open = (next, self.records.len());
        moved
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records the batch has.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// Bytes that the batch takes in the log.
    pub fn disk_len(&self) -> u64 {
        (self.frame(self.count() - 1).end as u64).next_multiple_of(FRAME_ALIGN)
    }

    /// Bytes of records in the frame that is being filled.
    pub fn open_frame_bytes(&self) -> usize {
        self.bytes.len() - self.open.0 - FRAME_HEADER
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(FRAME_HEADER, 0);
        self.bytes.shrink_to(KEPT_CAPACITY);
        self.records.clear();
        self.full.clear();
        self.open = (0, 0);
    }

    /// The frames, each with where it ends and its records.
    pub fn frames(&self) -> impl Iterator<Item = (Offset, impl Iterator<Item = Pushed<'_>>)> {
        let count = self.count();
        (0..count).map(move |index| {
            let frame = self.frame(index);
            let end = frame.end.next_multiple_of(FRAME_ALIGN as usize);
            let records = self.records_of(index);
            let records = records.filter_map(|at| Some(self.pushed(*self.records.get(at)?)));
            (Offset(end as u32), records)
        })
    }

    fn pushed(&self, at: u32) -> Pushed<'_> {
        let record = self.bytes.get(at as usize..).unwrap_or_default();
        let (head_len, body_len) = (u32_at(record, 4) as usize, u32_at(record, 8) as usize);
        let parts = record.get(RECORD_HEADER..).unwrap_or_default();
        let (head, parts) = parts.split_at_checked(head_len).unwrap_or_default();
        Pushed {
            offset: Offset(at),
            kind: field::<1>(record, 12)[0],
            head,
            body: parts.get(..body_len).unwrap_or_default(),
        }
    }

    /// How many frames there are. One without records is a mark.
    fn count(&self) -> usize {
        let open = self.records.len() > self.open.1 || self.full.is_empty();
        self.full.len() + usize::from(open)
    }

    fn frame(&self, index: usize) -> Frame {
        let open = Frame {
            from: self.open.0,
            first: self.open.1,
            end: self.bytes.len(),
        };
        self.full.get(index).copied().unwrap_or(open)
    }

    /// The places in `records` of a frame's records.
    fn records_of(&self, index: usize) -> Range<usize> {
        let from = self.frame(index).first;
        let to = if index + 1 < self.count() {
            self.frame(index + 1).first
        } else {
            self.records.len()
        };
        from..to
    }

    pub(super) fn belongs_to(&self, salt: Salt) -> bool {
        self.salt == salt
    }

    /// The finished frames for their place in the log, and the CRC of the last one for the
    /// chain. `template` is the header of the first. The batch stays usable: one that found
    /// no room is placed again later.
    pub(super) fn place(&mut self, template: FrameHeader) -> (&[u8], u32) {
        let count = self.count();
        let mut chain = template.prev_crc;
        for index in 0..count {
            let frame = self.frame(index);
            let (record_count, records_crc) = self.place_records(index, template.lsn);
            let header = FrameHeader {
                lsn: Lsn(template.lsn.0 + frame.from as u64),
                prev_crc: chain,
                payload_len: (frame.end - frame.from - FRAME_HEADER) as u32,
                record_count,
                records_crc,
                more: (count - 1 - index) as u32,
                ..template
            };
            let encoded = header.encode(self.salt);
            put(&mut self.bytes, frame.from, &encoded);
            chain = u32_at(&encoded, 4);
        }
        // A frame that was cut and took nothing more is not one.
        let end = self.frame(count - 1).end;
        (self.bytes.get(..end).unwrap_or_default(), chain)
    }

    /// Gives each record of a frame the CRC of its place; how many there are, and the CRC
    /// over their headers.
    fn place_records(&mut self, index: usize, batch: Lsn) -> (u32, u32) {
        let records = self.records_of(index);
        if records.is_empty() {
            return (0, 0);
        }
        let count = records.len() as u32;
        let mut sum = self.salt.begin();
        for offset in self.records.get(records).unwrap_or_default() {
            let lsn = Offset(*offset).within(batch);
            let rest = self.bytes.get_mut(*offset as usize..).unwrap_or_default();
            if let Some(record) = rest.first_chunk_mut::<RECORD_HEADER>() {
                let crc = self.salt.record_header_crc(lsn, record);
                put(record, 0, &crc.to_le_bytes());
                sum = crc32c::crc32c_append(sum, &field::<RECORD_SUMMED>(record, 0));
            }
        }
        (count, sum)
    }
}
