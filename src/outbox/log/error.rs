//! Why the log cannot do what it was asked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::position::Lsn;

/// The format of segments, frames and records that is written.
pub(super) const VERSION: u32 = 2;

/// Why the log cannot do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Nothing was written. It may go better once there is space.
    #[error("no space on the disk for a new segment of the log")]
    NoSpace,
    /// Nothing was erased, since a copy of the log is being made. It goes better once that is done.
    #[error("the log is being copied")]
    Copying,
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
    #[error("{} has format {version}, this program reads {}", path.display(), VERSION)]
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
    pub(super) fn failed(doing: &'static str, path: &Path, source: io::Error) -> Self {
        LogError::Failed {
            doing,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        LogError::Read {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}
