//! Keeps copies of the log and erasures in it apart; see `copying`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Keeps copies and erasures apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    shared: Arc<(Mutex<Through>, Condvar)>,
}

#[derive(Debug, Default)]
struct Through {
    copies: usize,
    is_erasing: bool,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Through> {
        let (through, _) = &*self.shared;
        through.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an erasure under way.
    pub fn copy(&self) -> CopyPermit {
        let (_, ended) = &*self.shared;
        let through = ended.wait_while(self.lock(), |through| through.is_erasing);
        through.unwrap_or_else(PoisonError::into_inner).copies += 1;
        CopyPermit(self.clone())
    }

    /// `None` while a copy is being made.
    pub fn erase(&self) -> Option<ErasePermit> {
        let mut through = self.lock();
        if through.copies > 0 {
            return None;
        }
        through.is_erasing = true;
        Some(ErasePermit(self.clone()))
    }
}

/// Nothing is erased while it lives.
#[derive(Debug)]
pub(super) struct CopyPermit(Gate);

impl Drop for CopyPermit {
    fn drop(&mut self) {
        self.0.lock().copies -= 1;
    }
}

/// No copy begins while it lives.
#[derive(Debug)]
pub(super) struct ErasePermit(Gate);

impl Drop for ErasePermit {
    fn drop(&mut self) {
        self.0.lock().is_erasing = false;
        self.0.shared.1.notify_all();
    }
}
