//! The files of the log: their names, their header, and how one comes to be.
//!
//! A segment is `BASE.log`, BASE being the position of its first byte in 16 hexadecimal
//! digits. It begins with 4 KiB of header and has its full length, all zeros, from before
//! its first frame: it is written as `BASE.log.new`, synced, renamed, and its directory
//! synced. So a `.log` that is short or has a bad header was damaged later, and a `.new`
//! never held anything.
//!
//! ```text
//!  0 magic "outboxd\n"
//!  8 version u32         of the whole format: this, frames and records
//! 12 header_crc u32      CRC-32C of bytes 0..12 and 16..48
//! 16 store_id [u8; 16]
//! 32 base u64
//! 40 len u64             bytes of the file
//! 48 zeros up to 512
//! 512 erasures u64       how often bodies in this segment were overwritten; 0 at first
//! 520 erasures_crc u32   CRC-32C of the store's id, the base and bytes 512..520; 0 at first
//! 524 zeros up to 4096
//! ```
//!
//! A copy that was made elsewhere compares `erasures` to learn that it has to be made again. It
//! stands in a sector of its own, so that a torn write of it cannot harm the header.
//!
//! The recipe for changing it is in [`frame`](super::frame).

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::error::{LogError, VERSION};
use super::frame::{Salt, put, u32_at, u64_at};
use super::options::{HEADER, LogOptions};
use crate::outbox::disk::{Access, Disk, DiskFile, is_full};

const MAGIC: &[u8; 8] = b"outboxd\n";
/// Bytes of the header that say something, but for the count of erasures.
pub const USED: usize = 48;
const ERASURES_AT: u64 = 512;
const ERASURES_LEN: usize = 12;
/// What a count that cannot be read is taken for: more than any that was ever copied.
const ERASURES_UNKNOWN: u64 = 1 << 32;
/// Zeros are written in pieces of this, and synced after each few, so that the commits
/// going on beside it never wait for one great flush.
const PIECE: u64 = 1 << 20;
const SYNC_EVERY: u64 = 4 << 20;

/// How many zeros are written at once, in bytes.
const ZEROS: usize = 1 << 16;

/// A segment that is open for reading and writing.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub base: u64,
    pub len: u64,
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
}

impl Segment {
    pub fn open(disk: &dyn Disk, base: u64, len: u64, path: &Path) -> Result<Segment, LogError> {
        let file = disk
            .open(path, Access::ReadWrite)
            .map_err(|error| LogError::failed("open", path, error))?;
        Ok(Segment {
            base,
            len,
            path: path.to_owned(),
            file,
        })
    }

    /// Position of the first byte after it, where the next one begins.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.len)
    }
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub store_id: [u8; 16],
    pub base: u64,
    pub len: u64,
}

/// Why a header says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Damaged,
    Version(u32),
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; USED] {
        let mut out = [0; USED];
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &VERSION.to_le_bytes());
        put(&mut out, 16, &self.store_id);
        put(&mut out, 32, &self.base.to_le_bytes());
        put(&mut out, 40, &self.len.to_le_bytes());
        let crc = Self::crc(&out);
        put(&mut out, 12, &crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, BadHeader> {
        let raw = bytes.first_chunk::<USED>().ok_or(BadHeader::Damaged)?;
        if !raw.starts_with(MAGIC) || u32_at(raw, 12) != Self::crc(raw) {
            return Err(BadHeader::Damaged);
        }
        let version = u32_at(raw, 8);
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let mut store_id = [0; 16];
        put(&mut store_id, 0, raw.get(16..32).unwrap_or_default());
        let (base, len) = (u64_at(raw, 32), u64_at(raw, 40));
        let sane = len > HEADER && len.is_multiple_of(HEADER) && base.checked_add(len).is_some();
        let header = SegmentHeader {
            store_id,
            base,
            len,
        };
        sane.then_some(header).ok_or(BadHeader::Damaged)
    }

    fn crc(raw: &[u8; USED]) -> u32 {
        let (before, after) = raw.split_at(12);
        let after = after.get(4..).unwrap_or_default();
        crc32c::crc32c_append(crc32c::crc32c(before), after)
    }
}

/// Bytes of the segment at `base`, as its header says. `None`: it is not its header.
pub fn segment_len(header: &[u8; USED], base: u64) -> Option<u64> {
    let header = SegmentHeader::decode(header).ok()?;
    (header.base == base).then_some(header.len)
}

/// How often bodies in the segment at `base` were overwritten.
pub(super) fn erasures(file: &dyn DiskFile, salt: Salt, base: u64) -> io::Result<u64> {
    let mut raw = [0; ERASURES_LEN];
    file.read_up_to(&mut raw, ERASURES_AT)?;
    if raw == [0; ERASURES_LEN] {
        return Ok(0);
    }
    let count = u64_at(&raw, 0);
    let sound = u32_at(&raw, 8) == erasures_crc(salt, base, count);
    Ok(if sound { count } else { ERASURES_UNKNOWN })
}

/// Writes how often bodies in the segment at `base` were overwritten. Durable once the file was
/// synced after it.
pub(super) fn write_erasures(
    file: &dyn DiskFile,
    salt: Salt,
    base: u64,
    count: u64,
) -> io::Result<()> {
    let mut raw = [0; ERASURES_LEN];
    put(&mut raw, 0, &count.to_le_bytes());
    put(&mut raw, 8, &erasures_crc(salt, base, count).to_le_bytes());
    file.write_all_at(&raw, ERASURES_AT)
}

fn erasures_crc(salt: Salt, base: u64, count: u64) -> u32 {
    let of_base = salt.crc(&base.to_le_bytes());
    crc32c::crc32c_append(of_base, &count.to_le_bytes())
}

/// Makes `from..to` zero. Durable once the file was synced after it.
pub(super) fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS.min((to - from) as usize)];
    let mut at = from;
    while at < to {
        let piece = (to - at).min(zeros.len() as u64);
        file.write_all_at(zeros.get(..piece as usize).unwrap_or_default(), at)?;
        at += piece;
    }
    Ok(())
}

pub(super) fn file_name(base: u64) -> String {
    format!("{base:016x}.log")
}

fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let base = u64::from_str_radix(digits, 16).ok()?;
    (file_name(base) == name).then_some(base)
}

/// The files of a log.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// By base, in order.
    pub segments: Vec<(u64, PathBuf)>,
    /// What may be deleted.
    pub unfinished: Vec<PathBuf>,
}

pub(super) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Listing> {
    let mut files = Listing::default();
    for path in disk.list(dir)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if let Some(base) = base_of(name) {
            files.segments.push((base, path));
        } else if name.strip_suffix(".new").and_then(base_of).is_some() {
            files.unfinished.push(path);
        }
    }
    files.segments.sort_unstable();
    Ok(files)
}

pub(super) fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    disk.sync_dir(dir)
        .map_err(|error| LogError::failed("sync", dir, error))
}

/// Makes a segment, complete and durable, in place of any of the same name.
///
/// [`LogError::NoSpace`]: there is none, or no file can be opened now; nothing is left behind.
pub(super) fn make(
    dir: &Path,
    options: &LogOptions,
    header: SegmentHeader,
) -> Result<Segment, LogError> {
    let disk = &*options.disk;
    let path = dir.join(file_name(header.base));
    let unfinished = dir.join(file_name(header.base) + ".new");
    let file = match fill(disk, &unfinished, header) {
        Ok(file) => file,
        Err(error) => {
            // Its absence is what counts; opening the log deletes it if this does not.
            let _ = disk.remove(&unfinished);
            return Err(unmade("make", &unfinished, error));
        }
    };
    if let Err(error) = disk.rename(&unfinished, &path) {
        let _ = disk.remove(&unfinished);
        return Err(unmade("name", &path, error));
    }
    if let Err(error) = disk.sync_dir(dir) {
        // Nothing is in it: it may be there after a crash or not.
        let _ = disk.remove(&path);
        return Err(unmade("sync", dir, error));
    }
    Ok(Segment {
        base: header.base,
        len: header.len,
        path,
        file,
    })
}

/// Why a segment was not made. Want of space, descriptors or memory passes.
fn unmade(verb: &'static str, path: &Path, error: io::Error) -> LogError {
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    let code = error.raw_os_error();
    let passes = passing
        .iter()
        .any(|errno| Some(errno.raw_os_error()) == code);
    match passes || is_full(&error) {
        true => LogError::NoSpace,
        false => LogError::failed(verb, path, error),
    }
}

fn fill(disk: &dyn Disk, path: &Path, header: SegmentHeader) -> io::Result<Arc<dyn DiskFile>> {
    // Without enough room the zeros would take the last bytes from everybody else.
    let room = disk.free(path.parent().unwrap_or(path));
    if room.is_ok_and(|room| room.no_inodes || room.bytes < header.len) {
        return Err(ErrorKind::StorageFull.into());
    }
    let file = disk.create(path)?;
    // A quota is not among what is free: it is asked for all of it at once.
    file.reserve(header.len)?;
    // Not a static: the binary would contain all its bytes.
    let zeros = vec![0; PIECE as usize];
    let mut at = 0;
    while at < header.len {
        let piece = (header.len - at).min(PIECE);
        file.write_all_at(zeros.get(..piece as usize).unwrap_or_default(), at)?;
        at += piece;
        if at.is_multiple_of(SYNC_EVERY) {
            file.sync()?;
        }
    }
    file.write_all_at(&header.encode(), 0)?;
    file.sync_all()?;
    Ok(file)
}
