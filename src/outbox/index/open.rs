//! Whether the index on disk can be used, and where a new one goes.
//!
//! `index/CURRENT` names the generation in use, the boot it was written in and the store
//! it belongs to. An index of another boot is never used: sled's file is only sound as
//! long as the page cache that it was written to lives on (see ARCHITECTURE.md). A rebuild
//! fills a new generation aside and names it when it is whole.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::domain::endpoint::EndpointId;
use crate::domain::event::{EventId, Tenant};

use super::keys;
use super::pages::{Pages, PagesError};
use super::rows::{self, ErasedEntry, MetaRow, StoredEndpointRow};
use super::state::State;
use super::stored_endpoint::StoredEndpoint;

/// How long sled may take to open what it has.
const OPEN_DEADLINE: Duration = Duration::from_secs(20);

/// Why the index must be built anew from the log.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("there is none")]
    Missing,
    #[error("it was written before the machine was started")]
    OtherBoot,
    #[error("it belongs to another store or another version")]
    OtherStore,
    #[error("it cannot be read: {0}")]
    Pages(#[from] PagesError),
    #[error("sled panicked while opening it")]
    Panicked,
    #[error("sled did not open it within {} s", OPEN_DEADLINE.as_secs())]
    Hung,
    #[error("it is ahead of the log")]
    AheadOfLog,
}

/// Where the generations of the index are: one is in use, a new one is made aside.
pub trait Generations: Send + Sync {
    /// Opens the index that is there.
    fn open(&self) -> Result<State, Unusable>;
    /// Makes an empty index aside from the one in use. [`adopt`](Self::adopt) it when it is
    /// whole.
    fn create(&self) -> Result<(State, u64), Unusable>;
    /// Names the generation as the one to use from now on, and deletes all others.
    fn adopt(&self, number: u64) -> io::Result<()>;
    /// Makes sure that no later start uses what is there; a failure is logged.
    fn condemn(&self);
    /// Copies what is in use, without its holes, into a new generation and names that as the
    /// one to use. The old one's files are deleted by
    /// [`discard_older`](Self::discard_older).
    fn compact(&self, pages: &Pages) -> Result<(Pages, u64), Unusable>;
    /// Deletes the generations before this one.
    fn discard_older(&self, number: u64) -> io::Result<()>;
    /// Deletes all generations: what was in use has failed, and a new one may need its room.
    fn discard_all(&self) -> io::Result<()>;
}

/// Which index belongs to this store, now.
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
    store_id: [u8; 16],
    /// `None`: unknown, so that no index outlives its process.
    boot_id: Option<String>,
    cache_bytes: u64,
    /// The last number given: no generation of this process has that of another.
    last: Arc<AtomicU64>,
}

impl Place {
    pub fn new(
        dir: PathBuf,
        store_id: [u8; 16],
        boot_id: Option<String>,
        cache_bytes: u64,
    ) -> Self {
        Place {
            dir,
            store_id,
            boot_id,
            cache_bytes,
            last: Arc::default(),
        }
    }

    fn current_file(&self) -> PathBuf {
        self.dir.join("CURRENT")
    }

    fn generation(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:08}"))
    }

    fn stamp(&self, number: u64) -> String {
        let store: String = self
            .store_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let boot = self.boot_id.as_deref().unwrap_or("unknown");
        format!("generation {number}\nboot {boot}\nstore {store}\n")
    }

    /// The generation named by `CURRENT`, whatever else it says.
    fn named(&self) -> Option<(u64, String)> {
        let text = fs::read_to_string(self.current_file()).ok()?;
        let number = text
            .lines()
            .next()?
            .strip_prefix("generation ")?
            .parse()
            .ok()?;
        Some((number, text))
    }

    fn next_generation(&self) -> u64 {
        let named = self.named().map_or(0, |(number, _)| number);
        let next = named.max(self.last.load(Relaxed)).saturating_add(1);
        self.last.store(next, Relaxed);
        next
    }

    fn name(&self, number: u64) -> io::Result<()> {
        let aside = self.dir.join("CURRENT.new");
        fs::write(&aside, self.stamp(number))?;
        fs::rename(&aside, self.current_file())
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Deletes the directories that are not wanted, by the number of the generation.
    fn discard(&self, is_unwanted: impl Fn(Option<u64>) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if entry.path().is_dir() && is_unwanted(number) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Generations for Place {
    fn open(&self) -> Result<State, Unusable> {
        let (number, text) = self.named().ok_or(Unusable::Missing)?;
        let stamp = self.stamp(number);
        let boot = |text: &str| text.lines().nth(1).map(str::to_owned);
        if self.boot_id.is_none() || boot(&text) != boot(&stamp) {
            return Err(Unusable::OtherBoot);
        }
        if text != stamp {
            return Err(Unusable::OtherStore);
        }
        self.last.fetch_max(number, Relaxed);
        let (dir, cache_bytes) = (self.generation(number), self.cache_bytes);
        let store_id = self.store_id;
        guarded(move || load(Pages::open(&dir, cache_bytes)?, store_id))
    }

    fn create(&self) -> Result<(State, u64), Unusable> {
        let number = self.next_generation();
        let (dir, cache_bytes) = (self.generation(number), self.cache_bytes);
        let store_id = self.store_id;
        let state = guarded(move || {
            let pages = make_pages(&dir, cache_bytes)?;
            Ok(State::new(Some(pages), store_id))
        })?;
        Ok((state, number))
    }

    fn compact(&self, pages: &Pages) -> Result<(Pages, u64), Unusable> {
        let number = self.next_generation();
        let fresh = make_pages(&self.generation(number), self.cache_bytes)?;
        pages.copy_into(&fresh)?;
        self.name(number).map_err(io_fault)?;
        Ok((fresh, number))
    }

    fn adopt(&self, number: u64) -> io::Result<()> {
        self.name(number)?;
        self.discard(|found| found != Some(number))
    }

    fn discard_older(&self, number: u64) -> io::Result<()> {
        self.discard(|found| found.is_some_and(|found| found < number))
    }

    fn discard_all(&self) -> io::Result<()> {
        self.discard(|_| true)
    }

    fn condemn(&self) {
        let removed = fs::remove_file(self.current_file());
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(%error, dir = %self.dir.display(), "the damaged index could not be set aside: delete this directory before the next start");
        }
    }
}

fn io_fault(error: io::Error) -> PagesError {
    PagesError::Io(error)
}

/// An empty database at `dir`, whatever was there.
fn make_pages(dir: &Path, cache_bytes: u64) -> Result<Pages, PagesError> {
    if let Err(error) = fs::remove_dir_all(dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(io_fault(error));
    }
    Pages::open(dir, cache_bytes)
}

/// Runs `open` on a thread of its own, as sled may panic or hang for ever on a damaged
/// file. A thread that hangs is left behind.
fn guarded(
    open: impl FnOnce() -> Result<State, Unusable> + Send + 'static,
) -> Result<State, Unusable> {
    let (send, receive) = mpsc::channel();
    let run = move || {
        // Nobody listens any more only if the deadline has passed.
        let _ = send.send(open());
    };
    let spawned = std::thread::Builder::new()
        .name("index-open".into())
        .spawn(run);
    spawned.map_err(io_fault)?;
    match receive.recv_timeout(OPEN_DEADLINE) {
        Ok(opened) => opened,
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(Unusable::Panicked),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(Unusable::Hung),
    }
}

/// The index that `pages` hold, if it is one of this store and version.
pub fn load(pages: Pages, store_id: [u8; 16]) -> Result<State, Unusable> {
    let mut state = State::new(Some(pages), store_id);
    let bytes = state
        .entries
        .get(keys::META)?
        .ok_or(Unusable::Missing)?
        .into_owned();
    let meta: MetaRow = rows::decode(&bytes).map_err(|_| Unusable::OtherStore)?;
    if meta.version != rows::VERSION || meta.store_id != store_id {
        return Err(Unusable::OtherStore);
    }
    let mut endpoints = Vec::new();
    for entry in state
        .entries
        .scan(keys::ENDPOINTS, &keys::end_of(keys::ENDPOINTS), false)
    {
        let (key, value) = entry?;
        let no = keys::endpoint_of(&key).ok_or(PagesError::Damaged)?;
        let row: StoredEndpointRow<'_> = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
        let (Ok(id), Ok(tenant)) = (EndpointId::new(row.id), Tenant::new(row.tenant)) else {
            return Err(PagesError::Damaged.into());
        };
        endpoints.push((
            no,
            Box::new(StoredEndpoint {
                id,
                tenant,
                state: row.state,
                deleted: row.deleted,
                totals: row.totals,
                newest_attempt: u64::MAX,
                outcomes: None,
                open_stats: row.open_stats.into(),
            }),
        ));
    }
    state.by_id = endpoints
        .iter()
        .map(|(no, stored)| (stored.id.clone(), *no))
        .collect();
    state.endpoints = endpoints.into_iter().collect();
    state.meta = meta;
    for (base, rows) in segments(&state)? {
        state.segments.restore(base, rows);
    }
    state.restore_stats()?;
    // Blocks that nobody has looked at since may have no events.
    state.blocks.lost_one();
    state.sums.erasing = erasing(&state)?;
    state.share_out(u64::MAX);
    Ok(state)
}

/// The erased events of which copies may be left.
fn erasing(state: &State) -> Result<BTreeSet<EventId>, PagesError> {
    let mut found = BTreeSet::new();
    for entry in state
        .entries
        .scan(keys::ERASED, &keys::end_of(keys::ERASED), false)
    {
        let (key, value) = entry?;
        let row: ErasedEntry = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
        if !row.done {
            found.insert(keys::event_of(&key).ok_or(PagesError::Damaged)?);
        }
    }
    Ok(found)
}

/// How many rows point into each segment of the log.
fn segments(state: &State) -> Result<Vec<(u64, u64)>, PagesError> {
    let end = keys::end_of(keys::SEGMENTS);
    let entries = state.entries.scan(keys::SEGMENTS, &end, false);
    entries
        .map(|entry| {
            let (key, value) = entry?;
            let rows = rows::decode(&value).map_err(|_| PagesError::Damaged)?;
            Ok((keys::segment_of(&key).ok_or(PagesError::Damaged)?, rows))
        })
        .collect()
}
