//! Moves the overlay into the pages: about once a second, or sooner when it has grown.
//!
//! When the disk fails, the overlay keeps what it has, and the next start replays the log from
//! where the pages are. When a page is damaged, the index must be built anew: it is marked
//! unusable, and the process ends.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::hold::Index;
use super::open::Generations;
use super::overlay::Layer;
use super::pages::{Pages, PagesError};
use super::state::State;

const INTERVAL: Duration = Duration::from_secs(1);
/// An overlay of this many bytes is moved at once.
const EAGER_BYTES: usize = 8 << 20;
/// A bulk load waits for the disk at this many bytes.
const FULL_BYTES: usize = 16 << 20;
/// A file below this many bytes is not worth compacting.
const WASTE_MIN: u64 = 64 << 20;
/// About what an event takes in the index, in bytes.
const LIVE_BYTES: u64 = 512;
/// How long a stop waits for sled.
const STOP_DEADLINE: Duration = Duration::from_secs(8);

/// The index on disk cannot be used any more; a restart builds it anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the index is damaged ({0}); outboxd ends, and its next start rebuilds the index from the log"
)]
pub struct IndexFailure(pub String);

#[derive(Default)]
struct Asked {
    now: bool,
    /// With the log's end, and down to the operating system.
    all: bool,
    /// The index is the one in use: its file may be compacted.
    in_use: bool,
    stop: bool,
    /// This index is no longer used.
    abandoned: bool,
    done: bool,
    rounds: u64,
    /// That it cannot be written was logged, and it could not since.
    is_logged: bool,
    /// Since when a round is under way.
    busy_since: Option<Instant>,
    failed: Option<IndexFailure>,
}

struct Shared {
    index: Index,
    generations: Arc<dyn Generations>,
    asked: Mutex<Asked>,
    changed: Condvar,
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that moves the overlay into the pages.
pub struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// No thread: it is done when [`Flusher::round`] is called.
    is_manual: bool,
}

impl Flusher {
    /// `failed` is called at most once, from the thread, when the index is damaged.
    pub fn start(
        index: Index,
        generations: Arc<dyn Generations>,
        failed: impl FnOnce(IndexFailure) + Send + 'static,
    ) -> std::io::Result<Flusher> {
        let shared = Arc::new(Shared {
            index,
            generations,
            asked: Mutex::default(),
            changed: Condvar::new(),
        });
        let inner = shared.clone();
        let run = move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                flush_until_stopped(&inner)
            }));
            let failure = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure),
                Err(_) => Some(IndexFailure("sled panicked".into())),
            };
            let mut asked = inner.asked();
            asked.done = true;
            asked.failed.clone_from(&failure);
            let abandoned = asked.abandoned;
            drop(asked);
            inner.changed.notify_all();
            if let Some(failure) = failure
                && !abandoned
            {
                failed(failure);
            }
        };
        let thread = std::thread::Builder::new()
            .name("index-flush".into())
            .spawn(run)?;
        Ok(Flusher {
            shared,
            thread: Some(thread),
            is_manual: false,
        })
    }

    /// Without a thread, for simulations: nothing moves but by [`round`](Self::round).
    pub fn manual(index: Index, generations: Arc<dyn Generations>) -> Flusher {
        Flusher {
            shared: Arc::new(Shared {
                index,
                generations,
                asked: Mutex::default(),
                changed: Condvar::new(),
            }),
            thread: None,
            is_manual: true,
        }
    }

    /// Moves everything here and now. What cannot be written stays in memory.
    pub fn round(&self) -> Result<(), IndexFailure> {
        let layer = {
            let mut state = self.shared.index.write();
            freeze(&mut state, true);
            state.entries.frozen()
        };
        move_frozen(&self.shared, layer, true).map(drop)
    }

    /// How long the round under way has taken: sled may hang on a broken disk.
    pub fn busy_for(&self) -> Duration {
        let since = self.shared.asked().busy_since;
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Moves everything now and hands it to the operating system: a `kill -9` from here on
    /// leaves an index that opens. Gives up after 8 s: sled may hang on a full disk, and
    /// what is not moved is replayed.
    pub fn settle(&self) {
        if self.is_manual {
            // What cannot be moved is replayed.
            let _ = self.round();
            return;
        }
        let deadline = Instant::now() + STOP_DEADLINE;
        let mut asked = self.shared.asked();
        // The round under way may have begun before what is to be moved.
        let wanted = asked.rounds + 2;
        while asked.rounds < wanted && !asked.done {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (asked.now, asked.all) = (true, true);
            self.shared.changed.notify_all();
            let (again, _) = self
                .shared
                .changed
                .wait_timeout(asked, left)
                .unwrap_or_else(PoisonError::into_inner);
            asked = again;
        }
    }

    /// Moves a large overlay at once. With `wait`, a full one is waited for: that bounds
    /// the memory of a bulk load.
    pub fn breathe(&self, wait: bool) {
        let bytes = self.shared.index.read().entries.active_bytes();
        if bytes < EAGER_BYTES || self.is_manual {
            return;
        }
        let mut asked = self.shared.asked();
        asked.now = true;
        self.shared.changed.notify_all();
        if wait && bytes >= FULL_BYTES {
            let round = asked.rounds;
            while asked.rounds == round && !asked.done {
                asked = self
                    .shared
                    .changed
                    .wait(asked)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The index is whole and named as the one in use: from now on its file is looked after.
    pub fn in_use(&self) {
        self.shared.asked().in_use = true;
    }

    /// Moves everything, hands it to the operating system and ends the thread. Gives up
    /// after 8 s: what is not moved is replayed at the next start.
    pub fn stop(mut self) -> bool {
        if self.is_manual {
            return self.round().is_ok();
        }
        let deadline = Instant::now() + STOP_DEADLINE;
        let mut asked = self.shared.asked();
        asked.stop = true;
        self.shared.changed.notify_all();
        while !asked.done {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            asked = self
                .shared
                .changed
                .wait_timeout(asked, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let clean = asked.failed.is_none();
        drop(asked);
        if let Some(thread) = self.thread.take() {
            // It has said that it is done, so this does not wait; a panic was caught inside.
            let _ = thread.join();
        }
        clean
    }
}

impl Drop for Flusher {
    /// Without [`stop`](Flusher::stop) the index is given up: its thread ends by itself.
    fn drop(&mut self) {
        self.shared.asked().abandoned = true;
        self.shared.changed.notify_all();
    }
}

fn flush_until_stopped(shared: &Shared) -> Result<(), IndexFailure> {
    let mut compacted = 0;
    loop {
        let Some(stop) = wait(shared) else {
            return Ok(());
        };
        let all = {
            let mut asked = shared.asked();
            asked.busy_since = Some(Instant::now());
            std::mem::take(&mut asked.all) || stop
        };
        let layer = {
            let mut state = shared.index.write();
            freeze(&mut state, all);
            state.entries.frozen()
        };
        if let Some(pages) = move_frozen(shared, layer, all)?
            && !stop
        {
            compact_if_wasteful(shared, &pages, &mut compacted);
        }
        let mut asked = shared.asked();
        asked.rounds += 1;
        asked.busy_since = None;
        drop(asked);
        shared.changed.notify_all();
        if stop {
            return Ok(());
        }
    }
}

/// Moves a frozen layer into the pages, which are returned if that worked. One that cannot
/// be written stays frozen, and the next round tries it again.
fn move_frozen(
    shared: &Shared,
    layer: Option<Arc<Layer>>,
    all: bool,
) -> Result<Option<Pages>, IndexFailure> {
    let pages = shared.index.read().entries.pages().cloned();
    let (Some(layer), Some(pages)) = (layer, pages) else {
        return Ok(None);
    };
    match move_layer(&layer, &pages, all) {
        Ok(()) => {
            shared.index.write().entries.thawed();
            if std::mem::take(&mut shared.asked().is_logged) {
                tracing::info!("the index can be written again");
            }
            Ok(Some(pages))
        }
        Err(error) if error.is_damage() => Err(IndexFailure(error.to_string())),
        Err(error) => {
            // It is tried again every second.
            if std::mem::replace(&mut shared.asked().is_logged, true) {
                return Ok(None);
            }
            tracing::warn!(%error, "the index cannot be written; it stays in memory, and the next start replays the log");
            Ok(None)
        }
    }
}

/// sled's file never shrinks: when it is mostly holes what is left is copied into a new one.
/// Nobody else changes the pages meanwhile. `last` is what it came to the last time.
fn compact_if_wasteful(shared: &Shared, pages: &Pages, last: &mut u64) {
    let live = shared.index.read().meta.events.saturating_mul(LIVE_BYTES);
    let enough = WASTE_MIN
        .max(live.saturating_mul(4))
        .max(last.saturating_mul(2));
    if !shared.asked().in_use || pages.size_on_disk() < enough {
        return;
    }
    let (fresh, number) = match shared.generations.compact(pages) {
        Ok(fresh) => fresh,
        Err(error) => {
            tracing::warn!(%error, "the index's file cannot be compacted; it is used as it is");
            *last = enough;
            return;
        }
    };
    *last = fresh.size_on_disk();
    let old = shared.index.write().entries.replace_pages(fresh);
    let (pages, generations) = (pages.clone(), shared.generations.clone());
    // sled takes its time to let go of a file, and nothing waits for that.
    let discard = move || {
        drop((old, pages));
        if let Err(error) = generations.discard_others(number) {
            tracing::warn!(%error, "the index's old file could not be deleted; the next start does it");
        }
    };
    if let Err(error) = std::thread::Builder::new()
        .name("index-discard".into())
        .spawn(discard)
    {
        tracing::warn!(%error, "the index's old file stays until the next rebuild");
    }
}

fn move_layer(layer: &Layer, pages: &Pages, all: bool) -> Result<(), PagesError> {
    layer.merge_into(pages)?;
    if all { pages.flush() } else { Ok(()) }
}

/// Waits for the interval to pass or for somebody to ask; whether to stop. `None`: there
/// is nothing more to do.
fn wait(shared: &Shared) -> Option<bool> {
    let deadline = Instant::now() + INTERVAL;
    let mut asked = shared.asked();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if asked.abandoned {
            return None;
        }
        if asked.stop || asked.now || left.is_zero() {
            asked.now = false;
            return Some(asked.stop);
        }
        asked = shared
            .changed
            .wait_timeout(asked, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

/// Freezes what has changed, unless something is frozen already. With `all` the mere end of
/// the log counts as a change: after a clean stop there is nothing to replay.
fn freeze(state: &mut State, all: bool) {
    let unchanged = state.entries.active_bytes() == 0 && state.touched.is_empty();
    if !state.entries.is_freezing() && (all || !unchanged) {
        state.settle();
        state.entries.freeze();
    }
}
