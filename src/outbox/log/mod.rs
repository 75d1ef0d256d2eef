//! The append-only log: what is in it is what was promised.
//!
//! A record is a kind, a head and a body; the log knows nothing of what they mean and
//! nothing of the index. Records are committed in batches of frames: one write and one
//! `fdatasync` each, in the space of a segment that was filled with zeros and synced
//! beforehand, so that a commit changes no metadata. Positions ([`Lsn`]) count bytes over all
//! segments, their headers and unused ends included, and never go back.
//!
//! What holds, and what it rests on:
//!
//! 1. A batch is written only after everything before it was synced, across segments too.
//!    So a frame that is there proves all before its batch, and says so (`durable`); a mark
//!    is a frame that does only this. A batch lies in one segment and counts with its last
//!    frame: an unfinished one is cut like any torn tail.
//! 2. What is invalid below a proof is damage to what was promised: it is named and
//!    counted, and the rest goes on. What is invalid with no proof after it is a torn
//!    tail, which was never acknowledged: it is cut.
//! 3. Opening zeroes what lies past the cut, and writes and syncs again what no later
//!    frame proves, for it may have been read from the page cache only.
//! 4. An error from a write or sync is terminal. The log then refuses everything, and
//!    never syncs the same pages again. The one exception is a write for which the file
//!    system has no space (btrfs, ZFS and the like take new space for old places): it comes
//!    before any sync, and the same place is written again. What was written of a refused
//!    batch never counts: it is overwritten at once, at the latest before the segment ends,
//!    and no segment is made behind one whose first batch was refused.
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
mod copying;
mod damage;
mod error;
mod frame;
mod gate;
mod history;
mod options;
mod pieces;
mod position;
mod reader;
mod recovery;
mod segment;
mod spare;
#[cfg(test)]
mod tests;
mod traces;
mod walk;
mod writer;
mod zeros;

pub use batch::{Batch, Committed, Offset, Pushed};
pub use copying::{CopiedSegment, Copying};
pub use damage::{Damage, DamageKind, Found, Torn};
pub use error::LogError;
pub use frame::{Body, FRAME_PAYLOAD, MAX_BATCH, Record};
pub use history::History;
pub use options::LogOptions;
pub use position::Lsn;
pub use reader::{LogReader, ReadError, Replayed};
pub use segment::{USED as HEADER_USED, segment_len};
pub use spare::SpareState;
pub use traces::Trace;
pub use writer::{Log, Room};
