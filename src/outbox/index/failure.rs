//! What the disk has failed the pages with, and the lock that keeps reads away from a write
//! that fails.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[derive(Default)]
pub struct Failure {
    /// There is a reason. Asked for before each batch, which must not wait for a write.
    is_there: AtomicBool,
    reason: RwLock<Option<String>>,
}

impl Failure {
    pub fn is_there(&self) -> bool {
        self.is_there.load(Acquire)
    }

    /// Held by a read for as long as it takes.
    pub fn of_read(&self) -> RwLockReadGuard<'_, Option<String>> {
        self.reason.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by a write for as long as it takes.
    pub fn of_write(&self) -> RwLockWriteGuard<'_, Option<String>> {
        self.reason.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, reason: &mut Option<String>, error: String) {
        *reason = Some(error);
        self.is_there.store(true, Release);
    }
}
