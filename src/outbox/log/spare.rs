//! The segment that is ready before it is needed.
//!
//! One is always made ahead, on a thread of its own, so that the writer need not wait for
//! it and outcomes still fit when the disk is full. A spare that could not be made for
//! want of space is tried again when asked; any other failure is the log's failure.

use std::path::Path;
use std::thread::{self, JoinHandle};

use super::error::LogError;
use super::options::LogOptions;
use super::segment::{self, Segment, SegmentHeader};

/// Whether the next segment is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpareState {
    Ready,
    /// A thread makes it.
    Making,
    /// There was no space for it. Refuse new work, and try
    /// [`Log::prepare_spare`](super::Log::prepare_spare).
    Missing,
}

#[derive(Debug)]
pub(super) enum Spare {
    Ready(Segment),
    Making(JoinHandle<Result<Segment, LogError>>),
    Missing,
}

impl Spare {
    /// Makes it here and now. No space is no error: there is no spare then.
    pub fn make(
        dir: &Path,
        options: &LogOptions,
        header: SegmentHeader,
    ) -> Result<Spare, LogError> {
        match segment::make(dir, options, header) {
            Ok(segment) => Ok(Spare::Ready(segment)),
            Err(LogError::NoSpace) => Ok(Spare::Missing),
            Err(error) => Err(error),
        }
    }

    /// Begins to make it on another thread; here and now if there can be no other.
    pub fn begin(
        dir: &Path,
        options: &LogOptions,
        header: SegmentHeader,
    ) -> Result<Spare, LogError> {
        if !options.spare_aside {
            return Spare::make(dir, options, header);
        }
        let (its_dir, its_options) = (dir.to_owned(), options.clone());
        let making = thread::Builder::new()
            .name("log-spare".to_owned())
            .spawn(move || segment::make(&its_dir, &its_options, header));
        match making {
            Ok(thread) => Ok(Spare::Making(thread)),
            Err(_) => Spare::make(dir, options, header),
        }
    }

    /// Takes in what the thread made, waiting for it if `wait`.
    pub fn settle(&mut self, wait: bool) -> Result<SpareState, LogError> {
        *self = match std::mem::replace(self, Spare::Missing) {
            Spare::Making(thread) if wait || thread.is_finished() => match thread.join() {
                Ok(Ok(segment)) => Spare::Ready(segment),
                Ok(Err(LogError::NoSpace)) => Spare::Missing,
                Ok(Err(error)) => return Err(error),
                // It panicked, which `make` never does: no spare, and the next try tells.
                Err(_) => Spare::Missing,
            },
            other => other,
        };
        Ok(match self {
            Spare::Ready(_) => SpareState::Ready,
            Spare::Making(_) => SpareState::Making,
            Spare::Missing => SpareState::Missing,
        })
    }
}
