//! A sorted map of small entries, kept in sled as pages of many entries each.
//!
//! One key in or out of sled costs 10 to 15 us of CPU and 170 to 300 bytes on disk
//! whatever its size, so entries share: a page holds all entries from its key (a lower
//! bound) up to the next page's key. A page carries its own CRC, as sled's flipped bits
//! are silent. A batch is applied whole or not at all, also across a `kill -9`.
//!
//! This is the only module that knows sled. It never promises durability: what it holds
//! can be had again from the log.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::failure::Failure;
pub use super::page::Changes;
use super::page::{self, Damaged, Page, write_pages};

/// Each frees some of the nodes that no reader can reach.
const COLLECTIONS: usize = 64;
/// Rows of an event, of its delivery and of its idempotency key, and another one.
const RECENT: usize = 4;
/// The key of the first page. Every entry's key is larger.
const FIRST: &[u8] = &[0];

/// Lets no garbage of sled's be freed on this thread while it lives. Otherwise one of 128 reads frees
/// what other reads and writes have left, a millisecond's worth and more.
pub struct Unfreeing {
    _pinned: crossbeam_epoch::Guard,
}

/// What is due is freed here, before it begins. It has to end soon: no thread frees what is
/// replaced meanwhile.
pub fn without_freeing() -> Unfreeing {
    Unfreeing {
        _pinned: crossbeam_epoch::pin(),
    }
}

/// Why the pages cannot be used. They must then be built anew from the log.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    #[error("the index's file: {0}")]
    Io(#[from] io::Error),
    #[error("a page of the index fails its checksum")]
    Damaged,
    /// An earlier write or read has failed.
    #[error("the index's file has failed: {0}")]
    Failed(String),
}

impl From<Damaged> for PagesError {
    fn from(_: Damaged) -> Self {
        PagesError::Damaged
    }
}

impl PagesError {
    /// The bytes are wrong: asking again gives the same.
    pub fn is_damage(&self) -> bool {
        match self {
            PagesError::Damaged => true,
            PagesError::Io(_) | PagesError::Failed(_) => false,
            PagesError::Sled(error) => matches!(error, sled::Error::Corruption { .. }),
        }
    }
}

/// The pages of one sled database, or of a simulated one.
///
/// Once the disk has failed a write or a read they can be neither read nor written: sled keeps
/// such an error for as long as it is open, and may show a part of the write.
#[derive(Clone)]
pub struct Pages {
    tree: Tree,
    failure: Arc<Failure>,
    recent: Arc<Mutex<Recent>>,
}

/// The pages that entries were found in last: deliveries in order look into the same ones.
#[derive(Default)]
struct Recent {
    pages: [Option<Page<PageBytes>>; RECENT],
    /// The one that gives way next.
    next: usize,
}

#[derive(Clone)]
enum Tree {
    Sled { db: sled::Db, tree: sled::Tree },
    Memory(MemoryTree),
}

/// Pages in memory, for simulations: what a clone of it holds outlives a [`Pages`] as a
/// file outlives a process.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree(Arc<Mutex<InMemory>>);

#[derive(Debug, Default)]
struct InMemory {
    pages: BTreeMap<Vec<u8>, Arc<[u8]>>,
    is_broken: bool,
    is_unreadable: bool,
}

impl MemoryTree {
    fn lock(&self) -> MutexGuard<'_, InMemory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readable(&self) -> Result<MutexGuard<'_, InMemory>, PagesError> {
        let tree = self.lock();
        match tree.is_unreadable {
            true => Err(io::Error::other("a read was made to fail").into()),
            false => Ok(tree),
        }
    }

    /// From now on changes fail as on a disk with errors, which takes half of the first; or
    /// they work again.
    pub fn set_broken(&self, is_broken: bool) {
        self.lock().is_broken = is_broken;
    }

    /// From now on reads fail, as sled's do when it cannot write, or work again.
    pub fn set_unreadable(&self, is_unreadable: bool) {
        self.lock().is_unreadable = is_unreadable;
    }
}

/// What a page's value is kept in.
pub enum PageBytes {
    Sled(sled::IVec),
    Memory(Arc<[u8]>),
}

impl std::ops::Deref for PageBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            PageBytes::Sled(bytes) => bytes,
            PageBytes::Memory(bytes) => bytes,
        }
    }
}

/// A key and its page.
type Found = (PageBytes, PageBytes);
pub type PageEntries = page::PageEntries<PageBytes>;

impl Tree {
    /// The last page in the range.
    fn last(&self, to: Bound<&[u8]>) -> Result<Option<Found>, PagesError> {
        match self {
            Tree::Sled { tree, .. } => {
                let found = tree.range::<&[u8], _>((Bound::Unbounded, to)).next_back();
                let page = |(key, page)| (PageBytes::Sled(key), PageBytes::Sled(page));
                Ok(found.transpose()?.map(page))
            }
            Tree::Memory(tree) => {
                let tree = tree.readable()?;
                let mut upto = tree.pages.range::<[u8], _>((Bound::Unbounded, to));
                let page = |(key, page): (&Vec<u8>, &Arc<[u8]>)| {
                    let key = PageBytes::Memory(key.as_slice().into());
                    (key, PageBytes::Memory(page.clone()))
                };
                Ok(upto.next_back().map(page))
            }
        }
    }

    fn apply(&self, changes: Changes) -> Result<(), PagesError> {
        match self {
            Tree::Sled { tree, .. } => {
                let mut batch = sled::Batch::default();
                for (key, value) in changes {
                    match value {
                        Some(value) => batch.insert(key, value),
                        None => batch.remove(key),
                    }
                }
                tree.apply_batch(batch)?;
            }
            Tree::Memory(tree) => {
                let mut tree = tree.lock();
                let taken = match tree.is_broken {
                    true => changes.len() / 2,
                    false => changes.len(),
                };
                for (key, value) in changes.into_iter().take(taken) {
                    match value {
                        Some(value) => tree.pages.insert(key, value.into()),
                        None => tree.pages.remove(&key),
                    };
                }
                if tree.is_broken {
                    return Err(io::Error::from(io::ErrorKind::StorageFull).into());
                }
            }
        }
        Ok(())
    }
}

/// Keys and values, in order.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

impl Pages {
    /// Opens or makes the database at `dir`. sled may panic or hang on a damaged file;
    /// the caller guards against both.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Pages, PagesError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::HighThroughput)
            // The flusher does, and notices if it hangs.
            .flush_every_ms(None);
        let db = config.open()?;
        let tree = db.open_tree(b"pages")?;
        Ok(Pages::of(Tree::Sled { db, tree }))
    }

    /// Pages in memory.
    pub fn in_memory(tree: &MemoryTree) -> Pages {
        Pages::of(Tree::Memory(tree.clone()))
    }

    fn of(tree: Tree) -> Pages {
        Pages {
            tree,
            failure: Arc::default(),
            recent: Arc::default(),
        }
    }

    /// What the disk has failed with, if it has.
    pub fn failure(&self) -> Option<String> {
        match self.failure.is_there() {
            true => self.failure.of_read().clone(),
            false => None,
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Tree) -> Result<T, PagesError>) -> Result<T, PagesError> {
        let failure = self.failure.of_read();
        if let Some(reason) = &*failure {
            return Err(PagesError::Failed(reason.clone()));
        }
        let found = read(&self.tree);
        drop(failure);
        self.noted(found)
    }

    /// Takes note of what the disk has failed with.
    fn noted<T>(&self, done: Result<T, PagesError>) -> Result<T, PagesError> {
        if let Err(error) = &done
            && !error.is_damage()
        {
            let mut failure = self.failure.of_write();
            self.failure.note(&mut failure, error.to_string());
        }
        done
    }

    /// Runs a write; no read sees a part of one that fails.
    fn write(&self, write: impl FnOnce(&Tree) -> Result<(), PagesError>) -> Result<(), PagesError> {
        let mut failure = self.failure.of_write();
        if let Some(reason) = &*failure {
            return Err(PagesError::Failed(reason.clone()));
        }
        let written = write(&self.tree);
        if let Err(error) = &written {
            self.failure.note(&mut failure, error.to_string());
        }
        written
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PagesError> {
        let Some((bound, page)) = self.read(|tree| tree.last(Bound::Included(key)))? else {
            return Ok(None);
        };
        // A thread that has the lock may not be running, so no other one waits for it.
        let Ok(mut recent) = self.recent.try_lock() else {
            return Ok(Page::of(&bound, page)?.find(key)?);
        };
        let known = recent.pages.iter().flatten();
        if let Some(known) = known.into_iter().find(|known| known.is_of(&page)) {
            return Ok(known.find(key)?);
        }
        let page = Page::of(&bound, page)?;
        let found = page.find(key)?;
        let next = recent.next % RECENT;
        if let Some(slot) = recent.pages.get_mut(next) {
            *slot = Some(page);
        }
        recent.next = next + 1;
        Ok(found)
    }

    /// The page in which `key` belongs; `None`: there are no pages.
    pub fn page_at(&self, key: &[u8]) -> Result<Option<PageEntries>, PagesError> {
        let Some(found) = self.read(|tree| tree.last(Bound::Included(key)))? else {
            return Ok(None);
        };
        let page = PageEntries::of(found)?;
        match page.end().is_none_or(|end| key < end) {
            true => Ok(Some(page)),
            false => Err(PagesError::Damaged),
        }
    }

    /// The last page that begins below `key`.
    pub fn page_below(&self, key: &[u8]) -> Result<Option<PageEntries>, PagesError> {
        let Some(found) = self.read(|tree| tree.last(Bound::Excluded(key)))? else {
            return Ok(None);
        };
        let page = PageEntries::of(found)?;
        match page.end().is_none_or(|end| key <= end) {
            true => Ok(Some(page)),
            false => Err(PagesError::Damaged),
        }
    }

    /// What has to change to put (`Some`) and remove (`None`) entries, given in the order of
    /// their keys. It holds until the next [`apply`](Self::apply).
    pub fn merged(&self, changes: &[(&[u8], Option<&[u8]>)]) -> Result<Changes, PagesError> {
        let mut batch = Changes::new();
        let mut rest = changes.iter().peekable();
        while let Some((first, _)) = rest.peek() {
            let page = self.page_at(first)?;
            let bound = page.as_ref().map_or(FIRST, PageEntries::key);
            let end = page.as_ref().and_then(PageEntries::end);
            let mut known = page.iter().flat_map(PageEntries::iter).peekable();
            let mut merged = Vec::with_capacity(known.size_hint().0);
            let here = |key: &[u8]| end.is_none_or(|end| key < end);
            while let Some((key, change)) = rest.next_if(|(key, _)| here(key)) {
                while let Some(entry) = known.next_if(|(known, _)| known < key) {
                    merged.push(entry);
                }
                known.next_if(|(known, _)| known == key);
                merged.extend(change.map(|value| (*key, value)));
            }
            merged.extend(known);
            // The first page stays, so that the pages cover all keys.
            if merged.is_empty() && bound != FIRST {
                self.join(bound, end, &mut batch)?;
            } else {
                write_pages(bound, end, &merged, &mut batch);
            }
        }
        Ok(batch)
    }

    /// Removes an empty page: the one before it ends where this one did.
    fn join(
        &self,
        bound: &[u8],
        end: Option<&[u8]>,
        batch: &mut Changes,
    ) -> Result<(), PagesError> {
        let last = batch.iter_mut().rev();
        let last = last.filter_map(|(key, page)| Some((key, page.as_mut()?)));
        if let Some((key, page)) = { last }.next() {
            let before = page::PageEntries::of((key.as_slice(), page.as_slice()))?;
            if before.end() == Some(bound) {
                *page = before.with_end(end);
                batch.push((bound.to_vec(), None));
                return Ok(());
            }
        }
        let before = self.page_below(bound)?.ok_or(PagesError::Damaged)?;
        if before.end() != Some(bound) {
            return Err(PagesError::Damaged);
        }
        batch.push((before.key().to_vec(), Some(before.with_end(end))));
        batch.push((bound.to_vec(), None));
        Ok(())
    }

    /// Makes the changes: all of them or, after a crash, none. Reads wait meanwhile.
    pub fn apply(&self, changes: Changes) -> Result<(), PagesError> {
        self.write(|tree| tree.apply(changes))
    }

    /// Does what sled leaves to the reads that come after [`apply`](Self::apply), which hold the index's
    /// lock: splits the nodes that have grown at these pages, and frees those that were replaced.
    pub fn settle<'a>(&self, changed: impl Iterator<Item = &'a [u8]>) -> Result<(), PagesError> {
        let Tree::Sled { tree, .. } = &self.tree else {
            return Ok(());
        };
        for key in changed {
            self.read(|_| Ok(tree.contains_key(key)?))?;
        }
        for _ in 0..COLLECTIONS {
            crossbeam_epoch::pin().flush();
        }
        Ok(())
    }

    /// Hands what sled still buffers to the operating system. It may take long, and reads go on.
    pub fn flush(&self) -> Result<(), PagesError> {
        let Tree::Sled { db, .. } = &self.tree else {
            return Ok(());
        };
        if let Some(reason) = self.failure() {
            return Err(PagesError::Failed(reason));
        }
        let flushed = db.flush().map(drop).map_err(PagesError::from);
        self.noted(flushed)
    }

    /// Copies all pages into `fresh`, which is empty, and hands them to the operating system.
    pub fn copy_into(&self, fresh: &Pages) -> Result<(), PagesError> {
        const AT_ONCE: usize = 256;
        let mut batch = Changes::new();
        let mut at = Some(FIRST.to_vec());
        while let Some(key) = at
            && let Some(page) = self.page_at(&key)?
        {
            at = page.end().map(<[u8]>::to_vec);
            // What is damaged is not carried over.
            if page.key() != key {
                return Err(PagesError::Damaged);
            }
            batch.push((key, Some(page.bytes().to_vec())));
            if batch.len() >= AT_ONCE {
                let full = std::mem::take(&mut batch);
                fresh.write(|tree| tree.apply(full))?;
            }
        }
        fresh.write(|tree| tree.apply(batch))?;
        fresh.flush()
    }

    pub fn size_on_disk(&self) -> u64 {
        match &self.tree {
            Tree::Sled { db, .. } => db.size_on_disk().unwrap_or(0),
            Tree::Memory(_) => 0,
        }
    }
}
