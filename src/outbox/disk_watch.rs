//! Looking at the disk now and then: what is free, and whether the spare segment can be made.

use std::time::Duration;

use crate::outbox::disk::Free;
use crate::outbox::log::{Log, LogError, Room, SpareState};

/// How old the last look may be.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A spare that could not be made is tried again after this, then after twice as long and so
/// on: under a quota a try takes space away from others before it fails.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// When the disk was looked at, and when a spare is tried again.
#[derive(Debug)]
pub struct DiskWatch {
    looked_at: Option<Duration>,
    try_at: Duration,
    pause: Duration,
    /// It is logged that there is no spare.
    is_logged: bool,
}

/// What a look found.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// `None`: the file system did not say.
    pub free: Option<Free>,
    pub spare: SpareState,
    /// The spare is missing, or there again, since it was last logged.
    pub is_news: bool,
    pub room: Room,
}

impl Default for DiskWatch {
    fn default() -> Self {
        DiskWatch {
            looked_at: None,
            try_at: Duration::ZERO,
            pause: PAUSE_FIRST,
            is_logged: false,
        }
    }
}

impl DiskWatch {
    /// Looks at the disk; `None` if the last look is not old.
    pub fn look(&mut self, log: &mut Log, now: Duration) -> Result<Option<Look>, LogError> {
        let is_fresh = |at: Duration| now.saturating_sub(at) < LOOK_EVERY;
        if self.looked_at.is_some_and(is_fresh) {
            return Ok(None);
        }
        self.looked_at = Some(now);
        let spare = self.spare(log, now)?;
        Ok(Some(Look {
            free: log.free(),
            spare,
            is_news: self.is_news(spare),
            room: log.room()?,
        }))
    }

    fn spare(&mut self, log: &mut Log, now: Duration) -> Result<SpareState, LogError> {
        let mut spare = log.spare()?;
        if spare == SpareState::Missing && now >= self.try_at {
            self.try_at = now + self.pause;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            spare = log.prepare_spare()?;
        }
        if spare == SpareState::Ready {
            self.pause = PAUSE_FIRST;
        }
        Ok(spare)
    }

    fn is_news(&mut self, spare: SpareState) -> bool {
        match spare {
            SpareState::Ready => std::mem::take(&mut self.is_logged),
            SpareState::Missing => !std::mem::replace(&mut self.is_logged, true),
            SpareState::Making => false,
        }
    }
}
