//! Locks a mutex of this module.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic under one of these locks leaves what it guards whole, so a poisoned one is used on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
