//! Moves the overlay into the pages: about once a second, or sooner when it has grown.
//!
//! When a write fails, the thread moves nothing more: the pages can no longer be used (see
//! [`Pages`]), and the writer builds the index anew. When a page is damaged, the index is
//! marked unusable, and the process ends.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::hold::Index;
use super::layer::Layer;
use super::open::Generations;
use super::pages::{Pages, PagesError};
use super::state::State;

const INTERVAL: Duration = Duration::from_secs(1);
/// How often sled hands what it buffers to the operating system.
const SYNC_INTERVAL: Duration = Duration::from_secs(2);
/// An overlay of this many bytes is moved at once.
const EAGER_BYTES: usize = 8 << 20;
/// A bulk load waits for the disk at this many bytes.
const FULL_BYTES: usize = 24 << 20;
/// A file below this many bytes is not worth compacting.
const WASTE_MIN: u64 = 64 << 20;
/// About what an event with an idempotency key and a delivery takes in the index, in bytes.
const LIVE_BYTES: u64 = 160;
/// How long a stop waits for sled.
const STOP_DEADLINE: Duration = Duration::from_secs(8);
/// A round that takes longer counts as hung.
pub const ROUND_DEADLINE: Duration = Duration::from_secs(120);
/// How often the watching thread looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The index on disk cannot be used any more; a restart builds it anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the index has failed ({0}); outboxd ends, and its next start rebuilds the index from the log"
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
    fn new(index: Index, generations: Arc<dyn Generations>) -> Arc<Shared> {
        Arc::new(Shared {
            index,
            generations,
            asked: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that moves the overlay into the pages, and the one that watches it: sled may hang
/// on a broken disk, and everything that reads waits for it then.
pub struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// No thread: it is done when [`Flusher::round`] is called.
    is_manual: bool,
}

impl Flusher {
    /// `failed` is called, at most once and from another thread, when the index is damaged or
    /// sled hangs.
    pub fn start(
        index: Index,
        generations: Arc<dyn Generations>,
        failed: impl FnOnce(IndexFailure) + Send + 'static,
    ) -> std::io::Result<Flusher> {
        let failed = Failed(Arc::new(Mutex::new(Some(Box::new(failed)))));
        let shared = Shared::new(index, generations);
        let (watched, hung) = (shared.clone(), failed.clone());
        std::thread::Builder::new()
            .name("index-watch".into())
            .spawn(move || watch(&watched, hung))?;
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
            asked.busy_since = None;
            asked.failed.clone_from(&failure);
            let abandoned = asked.abandoned;
            drop(asked);
            inner.changed.notify_all();
            if let Some(failure) = failure
                && !abandoned
            {
                failed.tell(failure);
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
            shared: Shared::new(index, generations),
            thread: None,
            is_manual: true,
        }
    }

    /// Nothing moves but by [`round`](Self::round).
    pub fn is_manual(&self) -> bool {
        self.is_manual
    }

    /// Moves everything here and now.
    pub fn round(&self) -> Result<(), IndexFailure> {
        let layer = {
            let mut state = self.shared.index.write();
            freeze(&mut state, true);
            state.entries.frozen()
        };
        move_frozen(&self.shared, layer, true).map(drop)
    }

    /// Gives the index up, and waits up to 8 s for the thread to come to its end; whether it
    /// has.
    pub fn end(&self) -> bool {
        let mut asked = self.shared.asked();
        asked.abandoned = true;
        self.shared.changed.notify_all();
        self.is_manual || self.wait_for_end(asked)
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

    /// Moves a large overlay at once. A full one is waited for, for at most so long: that bounds
    /// the memory of a bulk load.
    pub fn breathe(&self, wait: Duration) {
        let bytes = self.shared.index.read().entries.active_bytes();
        if bytes < EAGER_BYTES || self.is_manual {
            return;
        }
        let mut asked = self.shared.asked();
        asked.now = true;
        self.shared.changed.notify_all();
        if bytes >= FULL_BYTES {
            let (round, deadline) = (asked.rounds, Instant::now() + wait);
            while asked.rounds == round && !asked.done && asked.failed.is_none() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return;
                }
                asked = self
                    .shared
                    .changed
                    .wait_timeout(asked, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
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
        let mut asked = self.shared.asked();
        asked.stop = true;
        self.shared.changed.notify_all();
        if !self.wait_for_end(asked) {
            return false;
        }
        if let Some(thread) = self.thread.take() {
            // It has said that it is done, so this does not wait; a panic was caught inside.
            let _ = thread.join();
        }
        let is_whole = self.shared.asked().failed.is_none();
        is_whole && self.shared.index.read().entries.failure().is_none()
    }

    /// Whether the thread said within 8 s that it is done.
    fn wait_for_end(&self, mut asked: MutexGuard<'_, Asked>) -> bool {
        let deadline = Instant::now() + STOP_DEADLINE;
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
        true
    }
}

impl Drop for Flusher {
    /// Without [`stop`](Flusher::stop) the index is given up: its thread ends by itself.
    fn drop(&mut self) {
        self.shared.asked().abandoned = true;
        self.shared.changed.notify_all();
    }
}

type OnFailure = Box<dyn FnOnce(IndexFailure) + Send>;

/// What to call when the index has failed, once.
#[derive(Clone)]
struct Failed(Arc<Mutex<Option<OnFailure>>>);

impl Failed {
    fn tell(&self, failure: IndexFailure) {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(failed) = failed {
            failed(failure);
        }
    }
}

/// Ends with the flusher, or when a round takes too long.
fn watch(shared: &Shared, failed: Failed) {
    let mut asked = shared.asked();
    while !asked.done && !asked.abandoned {
        let hangs = |since: Instant| since.elapsed() >= ROUND_DEADLINE;
        if asked.busy_since.is_some_and(hangs) {
            let seconds = ROUND_DEADLINE.as_secs();
            let failure = IndexFailure(format!("sled has not answered for {seconds} s"));
            asked.failed = Some(failure.clone());
            drop(asked);
            shared.changed.notify_all();
            return failed.tell(failure);
        }
        asked = shared
            .changed
            .wait_timeout(asked, WATCH_INTERVAL)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

fn flush_until_stopped(shared: &Shared) -> Result<(), IndexFailure> {
    let mut compacted = 0;
    let mut synced = Instant::now();
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
        let sync = all || synced.elapsed() >= SYNC_INTERVAL;
        if sync {
            synced = Instant::now();
        }
        if let Some(pages) = move_frozen(shared, layer, sync)?
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

/// Moves a frozen layer into the pages, which are returned if that worked. With `sync` all
/// that sled buffers goes to the operating system.
fn move_frozen(
    shared: &Shared,
    layer: Option<Arc<Layer>>,
    sync: bool,
) -> Result<Option<Pages>, IndexFailure> {
    let Some(pages) = shared.index.read().entries.pages().cloned() else {
        return Ok(None);
    };
    let moved = match &layer {
        Some(layer) => move_layer(shared, layer, &pages),
        None => Ok(()),
    };
    let synced = moved.and_then(|()| if sync { pages.flush() } else { Ok(()) });
    match synced {
        Ok(()) => {
            if layer.is_some() {
                shared.index.write().entries.thawed();
            }
            Ok(layer.map(|_| pages))
        }
        Err(error) if error.is_damage() => Err(IndexFailure(error.to_string())),
        // The pages keep it, and the writer finds it there. No later start uses them.
        Err(_) => {
            shared.generations.condemn();
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
        if let Err(error) = generations.discard_older(number) {
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

fn move_layer(shared: &Shared, layer: &Layer, pages: &Pages) -> Result<(), PagesError> {
    let changes = layer.merged_into(pages)?;
    let changed: Vec<Vec<u8>> = changes.iter().map(|(key, _)| key.clone()).collect();
    {
        let _without_holds = shared.index.without_holds();
        pages.apply(changes)?;
    }
    pages.settle(changed.iter().map(Vec::as_slice))
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
