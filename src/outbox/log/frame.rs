//! The bytes of a frame and of its records, spelled here and nowhere else.
//!
//! All numbers are little-endian. All CRCs are CRC-32C over the store's id followed by
//! the bytes named: whoever does not know the id, which never leaves the data directory,
//! cannot write a body that passes for a frame or a record.
//!
//! ```text
//! frame, at a multiple of 64 so that its header never crosses a 512-byte sector
//!  0 magic u32           "oBxF"
//!  4 header_crc u32      of bytes 8..56
//!  8 lsn u64             its own position: a misplaced frame is no frame
//! 16 durable u64         all below was durable when this was written: where its batch begins
//! 24 start u64           first position of the log that still counts
//! 32 prev_crc u32        header_crc of the frame before; 0 none, !0 unknown after damage
//! 36 payload_len u32     bytes of records that follow
//! 40 record_count u32    0: a mark, which only proves what is before it
//! 44 records_crc u32     of bytes 0..24 of every record header, in order
//! 48 epoch u32           who wrote it: rises by one each time the log is opened
//! 52 more u32            frames of the same batch that follow; 0 in its last one
//! 56 records, then zeros up to a multiple of 64
//!
//! record, at a multiple of 8
//!  0 header_crc u32      of its position as u64, then bytes 4..24
//!  4 head_len u32
//!  8 body_len u32
//! 12 kind u8, 3 zeros
//! 16 head_crc u32        of the head
//! 20 body_crc u32        of the body
//! 24 seal u64            0; or, in no CRC, the proof that the body was erased
//! 32 head, body, then zeros up to a multiple of 8
//! ```
//!
//! The header's own CRC lets its length be trusted when the payload is damaged; the
//! CRCs of a record's header, head and body let a flip cost that one part and no more.
//! No CRC but its own covers a body, so a body can be erased and the frame stays valid.
//!
//! What is committed together is a batch: frames one after the other in one segment, written
//! at once and synced once. A frame holds at most 1 MiB of records unless a single one is
//! larger. A batch counts with its last frame, so that all of it counts or none.
//!
//! To change the format: raise `error::VERSION`, keep this layout readable under the
//! old number for as long as stores with it are migrated, and add golden bytes for the new
//! one beside the old ones in `tests/golden.rs`. Never change what a number means.

use super::damage::{Damage, DamageKind};
use super::position::Lsn;

/// Bytes of a frame's header.
pub(super) const FRAME_HEADER: usize = 56;
/// Bytes of a record's header.
pub(super) const RECORD_HEADER: usize = 32;
/// Frames begin at multiples of this.
pub(super) const FRAME_ALIGN: u64 = 64;
/// `prev_crc` of a store's first frame.
pub(super) const CHAIN_START: u32 = 0;
/// `prev_crc` of a frame that follows damage.
pub(super) const CHAIN_BROKEN: u32 = u32::MAX;
/// The largest batch, in bytes: 1 GiB.
pub const MAX_BATCH: usize = 1 << 30;
/// How many bytes of records a frame holds unless a single one is larger: 1 MiB.
pub const FRAME_PAYLOAD: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"oBxF";
/// The polynomial of CRC-32C, the lowest bit first.
const CASTAGNOLI: u32 = 0x82f6_3b78;
/// Longer heads are not mended: with more bits other damage passes for a flipped one too often.
const MENDED_MAX: usize = 4096;
pub(super) const RECORD_ALIGN: usize = 8;
pub(super) const RECORD_SUMMED: usize = 24;
const SEAL_AT: usize = 24;

/// The CRC of this store's bytes: CRC-32C that begins with the store's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt(u32);

impl Salt {
    pub fn new(store_id: &[u8; 16]) -> Self {
        Salt(crc32c::crc32c(store_id))
    }

    /// The CRC of no bytes.
    pub fn begin(self) -> u32 {
        self.0
    }

    pub fn crc(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }

    pub fn record_header_crc(self, lsn: Lsn, header: &[u8; RECORD_HEADER]) -> u32 {
        let at = self.crc(&lsn.0.to_le_bytes());
        crc32c::crc32c_append(at, field::<20>(header, 4).as_slice())
    }

    /// What stands in `seal` once the body of the record at `lsn` was erased.
    pub fn seal(self, lsn: Lsn) -> u64 {
        let at = self.crc(&lsn.0.to_le_bytes());
        let token = crc32c::crc32c_append(at, b"erased");
        u64::from(token) | u64::from(!token) << 32
    }
}

/// `N` bytes at `at`; callers keep `at + N` within the fixed header that they read from.
pub(super) fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(bytes) = header.get(at..at + N) {
        out.copy_from_slice(bytes);
    }
    out
}

pub(super) fn u32_at(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(header, at))
}

pub(super) fn u64_at(header: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(header, at))
}

pub(super) fn put(header: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = header.get_mut(at..at + bytes.len()) {
        to.copy_from_slice(bytes);
    }
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub lsn: Lsn,
    pub durable: Lsn,
    pub start: Lsn,
    pub prev_crc: u32,
    pub payload_len: u32,
    pub record_count: u32,
    pub records_crc: u32,
    pub epoch: u32,
    pub more: u32,
}

impl FrameHeader {
    pub fn encode(&self, salt: Salt) -> [u8; FRAME_HEADER] {
        let mut out = [0; FRAME_HEADER];
        put(&mut out, 0, &MAGIC);
        put(&mut out, 8, &self.lsn.0.to_le_bytes());
        put(&mut out, 16, &self.durable.0.to_le_bytes());
        put(&mut out, 24, &self.start.0.to_le_bytes());
        put(&mut out, 32, &self.prev_crc.to_le_bytes());
        put(&mut out, 36, &self.payload_len.to_le_bytes());
        put(&mut out, 40, &self.record_count.to_le_bytes());
        put(&mut out, 44, &self.records_crc.to_le_bytes());
        put(&mut out, 48, &self.epoch.to_le_bytes());
        put(&mut out, 52, &self.more.to_le_bytes());
        let crc = salt.crc(&field::<48>(&out, 8));
        put(&mut out, 4, &crc.to_le_bytes());
        out
    }

    /// The header at the beginning of `bytes` and its CRC, if it is one of this store's
    /// and belongs at `lsn`.
    pub fn decode(bytes: &[u8], salt: Salt, lsn: Lsn) -> Option<(FrameHeader, u32)> {
        let raw = bytes.first_chunk::<FRAME_HEADER>()?;
        if !raw.starts_with(&MAGIC) || u64_at(raw, 8) != lsn.0 {
            return None;
        }
        let crc = u32_at(raw, 4);
        if crc != salt.crc(&field::<48>(raw, 8)) {
            return None;
        }
        let header = FrameHeader {
            lsn,
            durable: Lsn(u64_at(raw, 16)),
            start: Lsn(u64_at(raw, 24)),
            prev_crc: u32_at(raw, 32),
            payload_len: u32_at(raw, 36),
            record_count: u32_at(raw, 40),
            records_crc: u32_at(raw, 44),
            epoch: u32_at(raw, 48),
            more: u32_at(raw, 52),
        };
        Some((header, crc))
    }

    /// Bytes from this frame to the next.
    pub fn len(&self) -> u64 {
        frame_len(self.payload_len as usize)
    }

    pub fn end(&self) -> Lsn {
        Lsn(self.lsn.0.saturating_add(self.len()))
    }

    pub fn is_mark(&self) -> bool {
        self.record_count == 0 && self.payload_len == 0
    }
}

fn frame_len(payload_len: usize) -> u64 {
    (FRAME_HEADER as u64 + payload_len as u64).next_multiple_of(FRAME_ALIGN)
}

/// Whether a frame could begin with these bytes; cheap, for searching.
pub(super) fn may_begin_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// A record's header, its CRC checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHeader {
    pub kind: u8,
    pub head_len: u32,
    pub body_len: u32,
    head_crc: u32,
    body_crc: u32,
    seal: u64,
}

impl RecordHeader {
    pub fn decode(bytes: &[u8], salt: Salt, lsn: Lsn) -> Option<RecordHeader> {
        let raw = bytes.first_chunk::<RECORD_HEADER>()?;
        if u32_at(raw, 0) != salt.record_header_crc(lsn, raw) {
            return None;
        }
        Some(RecordHeader {
            kind: field::<1>(raw, 12)[0],
            head_len: u32_at(raw, 4),
            body_len: u32_at(raw, 8),
            head_crc: u32_at(raw, 16),
            body_crc: u32_at(raw, 20),
            seal: u64_at(raw, SEAL_AT),
        })
    }

    /// Bytes of header, head and body.
    pub fn used(&self) -> u64 {
        RECORD_HEADER as u64 + u64::from(self.head_len) + u64::from(self.body_len)
    }

    pub fn is_erased(&self, salt: Salt, lsn: Lsn) -> bool {
        self.seal == salt.seal(lsn)
    }

    /// Where `seal` stands, from the beginning of the record.
    pub fn seal_offset() -> u64 {
        SEAL_AT as u64
    }

    /// Where the body stands, from the beginning of the record.
    pub fn body_offset(&self) -> u64 {
        RECORD_HEADER as u64 + u64::from(self.head_len)
    }

    /// The head as it was written, if a single bit of it has flipped since. `bytes` begin with
    /// the record's header.
    ///
    /// A flipped bit changes a CRC by a number that depends only on how far the bit is from the
    /// end, so the difference says which bit it was.
    pub fn mended_head(&self, bytes: &[u8], salt: Salt) -> Option<Vec<u8>> {
        let head = bytes.get(RECORD_HEADER..)?.get(..self.head_len as usize)?;
        if head.len() > MENDED_MAX {
            return None;
        }
        let differs = salt.crc(head) ^ self.head_crc;
        let mut of_bit = 1;
        for from_end in 0..head.len() * 8 {
            of_bit = (of_bit >> 1) ^ if of_bit & 1 == 1 { CASTAGNOLI } else { 0 };
            if of_bit == differs {
                let mut mended = head.to_vec();
                let byte = mended.get_mut(head.len() - 1 - from_end / 8)?;
                *byte ^= 0x80 >> (from_end % 8);
                return Some(mended);
            }
        }
        None
    }

    /// The record in `bytes`, which begin with its header. `None`: the head is damaged.
    pub fn open<'a>(&self, bytes: &'a [u8], salt: Salt, lsn: Lsn) -> Option<Record<'a>> {
        let parts = bytes.get(RECORD_HEADER..)?;
        let (head, parts) = parts.split_at_checked(self.head_len as usize)?;
        if salt.crc(head) != self.head_crc {
            return None;
        }
        let body = match parts.get(..self.body_len as usize) {
            _ if self.is_erased(salt, lsn) => Body::Erased,
            Some(body) if salt.crc(body) == self.body_crc => Body::Intact(body),
            _ => Body::Damaged,
        };
        Some(Record {
            lsn,
            kind: self.kind,
            head,
            body,
        })
    }
}

/// One record as it was read. Kind and head are as written, or it would not be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where its header stands.
    pub lsn: Lsn,
    pub kind: u8,
    pub head: &'a [u8],
    pub body: Body<'a>,
}

/// The second part of a record, which can be erased and can be damaged on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    Intact(&'a [u8]),
    /// Overwritten by [`Log::erase`](super::Log::erase).
    Erased,
    Damaged,
}

impl<'a> Body<'a> {
    /// Its bytes, if they are as they were written.
    pub fn intact(self) -> Option<&'a [u8]> {
        match self {
            Body::Intact(bytes) => Some(bytes),
            Body::Erased | Body::Damaged => None,
        }
    }
}

/// One thing found in a frame's payload.
pub(super) enum Slot<'a> {
    Record(Record<'a>),
    Damage(Damage),
}

/// Goes through the records of a frame, past damaged ones.
pub(super) struct Records<'a> {
    salt: Salt,
    header: FrameHeader,
    payload: &'a [u8],
    at: usize,
    seen: u32,
    records_crc: u32,
    harmed: bool,
    /// A record whose body's damage was reported just before.
    pending: Option<Record<'a>>,
}

impl<'a> Records<'a> {
    /// `payload` may be shorter than the header says where a file was cut off.
    pub fn new(salt: Salt, header: FrameHeader, payload: &'a [u8]) -> Self {
        Records {
            salt,
            header,
            payload,
            at: 0,
            seen: 0,
            records_crc: salt.0,
            harmed: false,
            pending: None,
        }
    }

    /// Whether every record is there, whole (an erased body is) and belongs to this frame.
    pub fn all_intact(mut self) -> bool {
        self.all(|found| matches!(found, Slot::Record(_)))
    }

    fn lsn(&self, at: usize) -> Lsn {
        Lsn(self.header.lsn.0 + FRAME_HEADER as u64 + at as u64)
    }

    fn payload_len(&self) -> usize {
        self.header.payload_len as usize
    }

    fn header_at(&self, at: usize) -> Option<RecordHeader> {
        let bytes = self.payload.get(at..)?;
        let record = RecordHeader::decode(bytes, self.salt, self.lsn(at))?;
        (record.used() <= (self.payload_len() - at) as u64).then_some(record)
    }

    /// The record's header at `at` cannot be trusted: go on at the next one that can.
    fn lost_header(&mut self) -> Slot<'a> {
        let from = self.at;
        let next = (from + RECORD_ALIGN..self.payload.len())
            .step_by(RECORD_ALIGN)
            .find(|at| self.header_at(*at).is_some());
        self.at = next.unwrap_or(self.payload_len()).min(self.payload_len());
        let records = match next {
            Some(_) => 1,
            None => self.header.record_count.saturating_sub(self.seen).max(1),
        };
        self.seen = self.seen.saturating_add(records);
        self.harmed = true;
        self.damage(from, u64::from(records), DamageKind::Record)
    }

    /// Damage from `from` to where it stands.
    fn damage(&self, from: usize, records: u64, kind: DamageKind) -> Slot<'a> {
        Slot::Damage(Damage {
            from: self.lsn(from),
            to: self.lsn(self.at),
            records,
            kind,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Slot<'a>;

    fn next(&mut self) -> Option<Slot<'a>> {
        if let Some(record) = self.pending.take() {
            return Some(Slot::Record(record));
        }
        if self.at >= self.payload_len() {
            // All are whole, but are they the ones this frame was written with?
            let strange = self.seen != self.header.record_count
                || (self.records_crc != self.header.records_crc && self.header.record_count > 0);
            if strange && !self.harmed {
                self.harmed = true;
                return Some(self.damage(0, 1, DamageKind::Record));
            }
            return None;
        }
        let Some(header) = self.header_at(self.at) else {
            return Some(self.lost_header());
        };
        let from = self.at;
        let bytes = self.payload.get(from..).unwrap_or_default();
        let summed = bytes.get(..RECORD_SUMMED).unwrap_or_default();
        self.records_crc = crc32c::crc32c_append(self.records_crc, summed);
        // `used` is at most `payload_len`, so neither sum can overflow.
        self.at = (from + header.used() as usize)
            .next_multiple_of(RECORD_ALIGN)
            .min(self.payload_len());
        self.seen = self.seen.saturating_add(1);
        match header.open(bytes, self.salt, self.lsn(from)) {
            Some(record) if record.body == Body::Damaged => {
                self.pending = Some(record);
                Some(self.damage(from, 1, DamageKind::Body))
            }
            Some(record) => Some(Slot::Record(record)),
            None => Some(self.damage(from, 1, DamageKind::Record)),
        }
    }
}
