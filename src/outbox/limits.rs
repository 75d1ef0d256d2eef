//! Whether there is room to accept: judged before anything is accepted, so that the
//! promise is refused and never broken. Outcomes are not asked: their room is the spare
//! segment that the log keeps ahead.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::outbox::log::{Log, LogError, SpareState};
use crate::outbox::recovery::Options;
use crate::outbox::view::Refused;

/// Below so many bytes of certain room nothing is attempted: what is in flight still fits.
const OUTCOME_ROOM: u64 = 256 << 10;
/// How old the last look at the disk may be.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The limits of the outbox and how it stands with them.
#[derive(Debug)]
pub struct Limits {
    /// Bytes of bodies that are still to be delivered.
    pub max_size: u64,
    /// How much of it one endpoint may have. With a share of 1 none is held back: the
    /// outbox is full before.
    pub share: u64,
    pub min_free_disk: u64,
    pub idempotency_window: Duration,
    data_dir: PathBuf,
    free_bytes: u64,
    looked: Option<Instant>,
    no_spare: bool,
    /// Bytes of frames that fit for certain.
    room: u64,
    /// A frame found no room since the last one that did.
    is_full: bool,
}

impl Limits {
    pub fn new(options: &Options) -> Self {
        Limits {
            max_size: options.max_size,
            share: if options.endpoint_share < 1.0 {
                // A double of that size loses some bytes at most.
                (options.max_size as f64 * options.endpoint_share.max(0.0)) as u64
            } else {
                u64::MAX
            },
            min_free_disk: options.min_free_disk,
            idempotency_window: options.idempotency_window,
            data_dir: options.data_dir.clone(),
            free_bytes: u64::MAX,
            looked: None,
            no_spare: false,
            room: u64::MAX,
            is_full: false,
        }
    }

    /// Looks at the disk, if the last look is old.
    pub fn refresh(&mut self, log: &mut Log) -> Result<(), LogError> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        if let Ok(disk) = rustix::fs::statvfs(&self.data_dir) {
            self.free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        }
        self.no_spare = log.prepare_spare()? == SpareState::Missing;
        let room = log.room()?;
        self.room = if self.no_spare { room.here } else { u64::MAX };
        Ok(())
    }

    /// The log had no room: nothing more is accepted until the disk was looked at again.
    /// Whether that is news.
    pub fn no_space(&mut self) -> bool {
        self.no_spare = true;
        !std::mem::replace(&mut self.is_full, true)
    }

    /// The log had room.
    pub fn wrote(&mut self) {
        self.is_full = false;
    }

    /// Outcomes may not fit: nothing should be attempted.
    pub fn is_out(&self) -> bool {
        self.is_full || self.room < OUTCOME_ROOM
    }

    /// Whether so much may come on top of what is open.
    pub fn admit(&self, open_bytes: u64, incoming: u64) -> Result<(), Refused> {
        if self.is_low() || self.no_spare {
            Err(Refused::DiskLow)
        } else if open_bytes.saturating_add(incoming) > self.max_size {
            Err(Refused::Full)
        } else {
            Ok(())
        }
    }

    /// Less than `min_free_disk` is free.
    pub fn is_low(&self) -> bool {
        self.free_bytes < self.min_free_disk
    }

    /// The reserve is in use: response bodies are dropped to make it last.
    pub fn is_tight(&self) -> bool {
        self.no_spare
    }

    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }
}
