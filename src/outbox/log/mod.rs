//! The append-only log: what is in it is what was promised.
//!
//! A record is a kind, a head and a body; the log knows nothing of what they mean and
//! nothing of the index. Records are committed in batches of frames: one write and one
//! `fdatasync` each, in the space of a segment that was filled with zeros and synced
//! beforehand, so that a commit changes no metadata. Positions ([`Lsn`]) count bytes over all segments,
//! their headers and unused ends included, and never go back.
//!
//! What holds, and what it rests on:
//!
//! 1. A batch is written only after everything before it was synced, across segments too.
//!    So a frame that is there proves all before its batch, and says so (`durable`); a mark
//!    is a frame that does only this. A batch lies in one segment and counts with its last
//!    frame: an unfinished one is cut like any torn tail.
//! 2. What is invalid below a proof is damage to what was promised: it is named and
//!    counted, and the rest goes on. What is invalid with no proof after it is a torn
//!    tail, which nobody was told of: it is cut.
//! 3. Opening zeroes what lies past the cut, and writes and syncs again what no later
//!    frame proves, for it may have been read from the page cache only.
//! 4. An error from a write or sync is terminal. The log then refuses everything, and
//!    never syncs the same pages again.
//! 5. Every frame carries the log's start. Segments go, oldest first, only after a frame
//!    with the new start is durable, so that no power cut brings one back.
//!
//! Where files are damaged as such (a missing or short segment, a bad header) at the end
//! of the log, nothing is cut: all of it is damage, and the log goes on in a new segment
//! whose first frame says that the chain is broken there.
//!
//! It never reads a clock, never compacts, never deletes what it was not told to, and
//! never retries a failed write. One owner appends; any number of [`LogReader`]s read.

mod batch;
mod frame;
mod reader;
mod recovery;
mod segment;
mod spare;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::outbox::disk::{Disk, SystemDisk};

pub use batch::{Batch, Offset, Pushed};
pub use frame::{Body, FRAME_PAYLOAD, MAX_BATCH, Record};
pub use reader::{LogReader, ReadError, Replayed};
pub use spare::SpareState;
pub use writer::{Committed, Log, Room};

/// A position in the log, in bytes from its very beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Past every position.
    pub const MAX: Lsn = Lsn(u64::MAX);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// How the log is laid out.
#[derive(Clone, Debug)]
pub struct LogOptions {
    segment_size: u64,
    disk: Arc<dyn Disk>,
    spare_aside: bool,
    frame_payload: usize,
}

impl LogOptions {
    /// Segments of `segment_size` bytes, rounded up to 4 KiB and to 16 KiB at least.
    /// Segments that are already there keep their size.
    pub fn new(segment_size: u64) -> Self {
        LogOptions {
            segment_size: segment_size
                .clamp(4 * segment::HEADER, 1 << 40)
                .next_multiple_of(segment::HEADER),
            disk: Arc::new(SystemDisk),
            spare_aside: true,
            frame_payload: FRAME_PAYLOAD,
        }
    }

    /// With frames of so many bytes of records, unless a single one is larger.
    pub fn with_frames_of(self, frame_payload: usize) -> Self {
        LogOptions {
            frame_payload,
            ..self
        }
    }

    /// On `disk`, with all that the log does done on the calling thread.
    pub fn on(self, disk: Arc<dyn Disk>) -> Self {
        LogOptions {
            disk,
            spare_aside: false,
            ..self
        }
    }
}

/// What opening the log found.
#[derive(Clone, Debug)]
pub struct Found {
    pub store_id: [u8; 16],
    /// The log was not there and was made.
    pub created: bool,
    /// First position that counts.
    pub start: Lsn,
    /// End of the last good frame. An index that reflects more than this is ahead of the
    /// log: acknowledged data is missing.
    pub end: Lsn,
    /// All below was proven durable by what was found on disk, before it was made so.
    pub proven: Lsn,
    /// Damage seen so far: in the order of files everywhere, in frames from the last
    /// used segment on. A replay meets all from where it begins; see [`Found::damage_below`].
    pub damage: Vec<Damage>,
    /// What was cut off as never acknowledged.
    pub torn: Option<Torn>,
}

impl Found {
    /// Damage that a replay from `from` will not report again.
    pub fn damage_below(&self, from: Lsn) -> impl Iterator<Item = &Damage> {
        self.damage.iter().filter(move |damage| damage.to <= from)
    }
}

/// Acknowledged data that is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub from: Lsn,
    /// Exclusive.
    pub to: Lsn,
    /// Records known to be harmed. More may be, except with [`DamageKind::Body`]; 0 where
    /// files are damaged and it cannot be said.
    pub records: u64,
    pub kind: DamageKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Whole frames, or what cannot be recognised as frames.
    Frames,
    /// Records inside a frame.
    Record,
    /// The body of a record whose head is intact and is delivered.
    Body,
    /// A segment is missing, short or has a bad header. Frames in it may still be good;
    /// those that are not are reported as well.
    Segment,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DamageKind::Frames => "frames",
            DamageKind::Record => "record",
            DamageKind::Body => "body",
            DamageKind::Segment => "segment",
        };
        write!(f, "damaged {what} at {} to {}", self.from, self.to)
    }
}

/// A tail that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    pub at: Lsn,
    /// From the cut to the last byte that was not zero.
    pub bytes: u64,
}

/// Why the log cannot do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Nothing was written. It may go better once there is space.
    #[error("no space on the disk for a new segment of the log")]
    NoSpace,
    /// A write or sync failed. Terminal: every later call gets the same.
    #[error("could not {doing} {}: {source}", path.display())]
    Failed {
        doing: &'static str,
        path: PathBuf,
        source: Arc<io::Error>,
    },
    /// Nothing was changed.
    #[error("could not read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: Arc<io::Error>,
    },
    #[error("there is no log in {}", .0.display())]
    Missing(PathBuf),
    #[error("no segment in {} has a valid header", .0.display())]
    Unrecognisable(PathBuf),
    #[error("{} has format {version}, this program reads {}", path.display(), segment::VERSION)]
    Version { path: PathBuf, version: u32 },
    #[error("{} and {} claim the same positions", .0.display(), .1.display())]
    Overlap(PathBuf, PathBuf),
    #[error("no frame of the log begins or ends at {0}")]
    NotAPosition(Lsn),
    #[error("a batch of {bytes} bytes is larger than the log can hold")]
    TooLarge { bytes: u64 },
    #[error("the batch was made for another log")]
    ForeignBatch,
}

impl LogError {
    fn failed(doing: &'static str, path: &Path, source: io::Error) -> Self {
        LogError::Failed {
            doing,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    fn read(path: &Path, source: io::Error) -> Self {
        LogError::Read {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}
