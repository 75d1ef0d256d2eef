//! The index's lock, as every thread but the writer takes it.
//!
//! A commit waits for every read that holds the lock, and the standard lock makes new
//! readers wait behind a waiting writer. So a read holds it for a bounded number of rows
//! and a bounded time, remembers where it is, and lets go: [`Hold::is_spent`] says when.
//! How long and how wide each hold was is measured, for `/metrics`.
//!
//! The standard lock alone would let a reader that takes it again at once pass the writer
//! that it has just woken. A turnstile prevents that: a writer keeps it while it waits, and a
//! reader goes through it first.
//!
//! sled keeps all reads waiting while it takes a batch in. No hold waits for that: none begins
//! until it is over.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::pages::{Unfreeing, without_freeing};
use super::rows_read::rows_read;
use super::state::State;

/// A hold is spent after so many rows, or after so long. One row can take as long again: sled
/// reads it with its neighbours.
pub const HOLD_ROWS: u64 = 1000;
pub const HOLD_TIME: Duration = Duration::from_micros(250);
/// A hold that took longer counts as long.
const LONG: Duration = Duration::from_millis(2);

thread_local! {
    /// This thread's last hold was spent.
    static SPENT: Cell<bool> = const { Cell::new(false) };
    /// This thread is not to read the index.
    static FORBIDDEN: Cell<bool> = const { Cell::new(false) };
}

/// From now on it is a fault to read the index on this thread: the disk may be slow, and a
/// commit may hold the lock. Debug builds, and so the tests, stop at it.
pub fn forbid_reads_here() {
    FORBIDDEN.set(true);
}

fn most_rows() -> u64 {
    #[cfg(test)]
    if let Some(rows) = pieces::rows() {
        return rows;
    }
    HOLD_ROWS
}

/// The index, shared: one writer thread, any number of readers.
#[derive(Clone, Default)]
pub struct Index {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: RwLock<State>,
    turnstile: Mutex<()>,
    /// Read by each hold, written while sled takes a batch in.
    pages_at_rest: RwLock<()>,
    holds: Holds,
}

impl Index {
    pub fn new(state: State) -> Self {
        Index {
            shared: Arc::new(Shared {
                state: RwLock::new(state),
                ..Shared::default()
            }),
        }
    }

    // A panic under the lock ends the process (see `writer`), so a poisoned lock is
    // only ever seen on the way out.

    /// For the writer and the threads that it waits for. Not measured.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        let state = &self.shared.state;
        state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        let _waiting = self.turn();
        let state = &self.shared.state;
        state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no hold is left, and lets none begin while the guard lives.
    pub fn without_holds(&self) -> RwLockWriteGuard<'_, ()> {
        let at_rest = self.shared.pages_at_rest.write();
        at_rest.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the state out, and leaves an empty one.
    pub fn take(&self) -> State {
        std::mem::take(&mut *self.write())
    }

    fn turn(&self) -> std::sync::MutexGuard<'_, ()> {
        let turnstile = &self.shared.turnstile;
        turnstile.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The index, for every thread but the writer.
#[derive(Clone)]
pub struct Readers(Index);

impl Readers {
    pub fn new(index: Index) -> Readers {
        Readers(index)
    }

    /// The index as its writer needs it.
    pub fn of_writer(&self) -> Index {
        self.0.clone()
    }

    /// Takes the lock. Whoever reads more than a few rows asks [`Hold::is_spent`].
    pub fn read(&self) -> Hold<'_> {
        debug_assert!(!FORBIDDEN.get(), "a read where none is allowed");
        #[cfg(test)]
        pieces::between(&self.0);
        if SPENT.replace(false) {
            // Whoever wants the CPU gets it now, and not while the lock is held.
            std::thread::yield_now();
        }
        let at_rest = self.0.shared.pages_at_rest.read();
        let at_rest = at_rest.unwrap_or_else(PoisonError::into_inner);
        // Not while it waits, which would keep what the flusher frees.
        let unfreeing = without_freeing();
        drop(self.0.turn());
        let state = self.0.read();
        Hold {
            began: Instant::now(),
            cpu_began: cpu_time(),
            first_row: rows_read(),
            holds: &self.0.shared.holds,
            state,
            _at_rest: at_rest,
            _unfreeing: unfreeing,
        }
    }

    /// What reads have held the lock for.
    pub fn holds(&self) -> HoldsView {
        let holds = &self.0.shared.holds;
        HoldsView {
            count: holds.count.load(Relaxed),
            long: holds.long.load(Relaxed),
            longest: Duration::from_nanos(holds.longest_ns.load(Relaxed)),
            longest_cpu: Duration::from_nanos(holds.longest_cpu_ns.load(Relaxed)),
            most_rows: holds.most_rows.load(Relaxed),
        }
    }
}

/// The index's lock, held by a reader.
pub struct Hold<'a> {
    began: Instant,
    cpu_began: Duration,
    first_row: u64,
    holds: &'a Holds,
    state: RwLockReadGuard<'a, State>,
    _at_rest: RwLockReadGuard<'a, ()>,
    /// Let go of last.
    _unfreeing: Unfreeing,
}

impl Hold<'_> {
    /// Whether it is time to let go. Asked once a row or so.
    pub fn is_spent(&self) -> bool {
        let spent = self.rows() >= most_rows() || self.began.elapsed() >= HOLD_TIME;
        SPENT.set(spent);
        spent
    }

    fn rows(&self) -> u64 {
        rows_read().wrapping_sub(self.first_row)
    }
}

impl Deref for Hold<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let cpu = cpu_time().saturating_sub(self.cpu_began);
        self.holds.note(self.began.elapsed(), cpu, self.rows());
    }
}

/// What holds have come to since the start.
#[derive(Default)]
struct Holds {
    count: AtomicU64,
    long: AtomicU64,
    longest_ns: AtomicU64,
    longest_cpu_ns: AtomicU64,
    most_rows: AtomicU64,
}

impl Holds {
    fn note(&self, took: Duration, cpu: Duration, rows: u64) {
        self.count.fetch_add(1, Relaxed);
        if took > LONG {
            self.long.fetch_add(1, Relaxed);
        }
        let nanos = |took: Duration| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        raise(&self.longest_ns, nanos(took));
        raise(&self.longest_cpu_ns, nanos(cpu));
        raise(&self.most_rows, rows);
    }
}

/// Few values are a new maximum, and a load is cheaper than an exchange.
fn raise(most: &AtomicU64, to: u64) {
    if to > most.load(Relaxed) {
        most.fetch_max(to, Relaxed);
    }
}

/// What this thread has had of the CPU.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}

/// How reads have held the index's lock since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldsView {
    pub count: u64,
    /// Of these the ones that took longer than 2 ms.
    pub long: u64,
    pub longest: Duration,
    /// The most CPU time that one hold has taken: the rest of [`HoldsView::longest`] is waiting
    /// for the disk or the CPU.
    pub longest_cpu: Duration,
    /// The most rows that were read under one hold.
    pub most_rows: u64,
}

/// Lets a test say how small pieces are, and change the index between two of them.
#[cfg(test)]
pub mod pieces {
    use std::cell::{Cell, RefCell};

    use super::Index;

    type Change = Box<dyn FnMut(&Index)>;

    thread_local! {
        static ROWS: Cell<Option<u64>> = const { Cell::new(None) };
        static CHANGE: RefCell<Option<Change>> = const { RefCell::new(None) };
    }

    /// Runs `read` on this thread with holds of so many rows, and `change` before each.
    pub fn of<T>(rows: u64, change: impl FnMut(&Index) + 'static, read: impl FnOnce() -> T) -> T {
        ROWS.set(Some(rows));
        CHANGE.set(Some(Box::new(change)));
        let answer = read();
        CHANGE.set(None);
        ROWS.set(None);
        answer
    }

    pub(super) fn rows() -> Option<u64> {
        ROWS.get()
    }

    pub(super) fn between(index: &Index) {
        // What it reads itself is not read in pieces.
        if let Some(mut change) = CHANGE.take() {
            change(index);
            CHANGE.set(Some(change));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows_read::count_row;
    use super::*;

    #[test]
    fn a_hold_is_spent_after_so_many_rows_and_they_are_noted() {
        let readers = Readers::new(Index::default());
        let hold = readers.read();
        let mut rows = 0;
        while !hold.is_spent() && rows < HOLD_ROWS {
            count_row();
            rows += 1;
        }
        assert!(hold.is_spent() && rows > 0);
        drop(hold);
        let view = readers.holds();
        assert_eq!((view.count, view.most_rows), (1, rows));
        // Those of the hold before do not count for the next.
        drop(readers.read());
        assert_eq!(readers.holds().most_rows, rows);
    }

    #[test]
    fn a_reader_that_comes_again_does_not_pass_a_waiting_writer() {
        let readers = Readers::new(Index::default());
        let hold = readers.read();
        let index = readers.of_writer();
        let writer = std::thread::spawn(move || {
            index.write().meta.applied = 7;
        });
        // The writer waits for the lock and keeps the turnstile, which it has from before.
        while readers.0.shared.turnstile.try_lock().is_ok() {
            std::thread::yield_now();
        }
        drop(hold);
        assert_eq!(readers.read().meta.applied, 7);
        writer.join().unwrap();
    }
}
