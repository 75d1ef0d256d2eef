//! How many rows of the index a thread has read: what a hold of its lock is bounded by.

use std::cell::Cell;

thread_local! {
    /// Those included that turned out to be removed.
    static ROWS: Cell<u64> = const { Cell::new(0) };
}

/// Counts a row that this thread has read.
pub fn count_row() {
    ROWS.with(|rows| rows.set(rows.get().wrapping_add(1)));
}

/// What this thread has counted so far; it wraps around.
pub(super) fn rows_read() -> u64 {
    ROWS.with(Cell::get)
}
