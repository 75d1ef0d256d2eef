//! How the log is laid out, and on which disk.

use std::sync::Arc;

use super::frame::FRAME_PAYLOAD;
use crate::outbox::disk::{Disk, SystemDisk};

/// Bytes of a segment's header, and the unit of its length.
pub(super) const HEADER: u64 = 4096;

/// How the log is laid out.
#[derive(Clone, Debug)]
pub struct LogOptions {
    pub(super) segment_size: u64,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) spare_aside: bool,
    pub(super) frame_payload: usize,
    pub(super) strays: bool,
}

impl LogOptions {
    /// Segments of `segment_size` bytes, rounded up to 4 KiB and to 16 KiB at least.
    /// Segments that are already there keep their size.
    pub fn new(segment_size: u64) -> Self {
        LogOptions {
            segment_size: segment_size
                .clamp(4 * HEADER, 1 << 40)
                .next_multiple_of(HEADER),
            disk: Arc::new(SystemDisk),
            spare_aside: true,
            frame_payload: FRAME_PAYLOAD,
            strays: false,
        }
    }

    /// With replays that deliver the whole records of damaged frames too, behind the damage.
    pub fn with_strays(self) -> Self {
        LogOptions {
            strays: true,
            ..self
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
