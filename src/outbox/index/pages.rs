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

/// Past this a page is split; well under sled's blob threshold of about 7 KiB. Only a single
/// entry that is larger makes a larger page: a definition or a replay of up to 128 KiB.
const PAGE_MAX: usize = 4096;
/// Each frees some of the nodes that no reader can reach.
const COLLECTIONS: usize = 64;
/// How full the pages of a split are made: most keys grow at the end.
const PAGE_FILL: usize = 3600;
/// What an entry takes besides its key and value.
const ENTRY_FRAMING: usize = 6;
/// The key of the first page. Every entry's key is larger.
const FIRST: &[u8] = &[0];

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
enum PageBytes {
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

type Page = (Vec<u8>, PageBytes);

/// Pages to put (`Some`) and to remove, all of them or none.
pub type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Tree {
    /// The last page in the range.
    fn last(&self, to: Bound<&[u8]>) -> Result<Option<Page>, PagesError> {
        match self {
            Tree::Sled { tree, .. } => {
                let found = tree.range::<&[u8], _>((Bound::Unbounded, to)).next_back();
                let page = |(key, value): (sled::IVec, _)| (key.to_vec(), PageBytes::Sled(value));
                Ok(found.transpose()?.map(page))
            }
            Tree::Memory(tree) => {
                let tree = tree.readable()?;
                let mut upto = tree.pages.range::<[u8], _>((Bound::Unbounded, to));
                let found = upto.next_back();
                Ok(found.map(|(key, value)| (key.clone(), PageBytes::Memory(value.clone()))))
            }
        }
    }

    /// The value of the last page that begins at or below `key`.
    fn value_at(&self, key: &[u8]) -> Result<Option<PageBytes>, PagesError> {
        match self {
            Tree::Sled { tree, .. } => {
                let found = tree.range(..=key).next_back().transpose()?;
                Ok(found.map(|(_, value)| PageBytes::Sled(value)))
            }
            Tree::Memory(_) => Ok(self.last(Bound::Included(key))?.map(|(_, value)| value)),
        }
    }

    /// The key of the first page after `key`.
    fn next_key(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PagesError> {
        let after = (Bound::Excluded(key), Bound::Unbounded);
        match self {
            Tree::Sled { tree, .. } => {
                let found = tree.range::<&[u8], _>(after).next().transpose()?;
                Ok(found.map(|(key, _)| key.to_vec()))
            }
            Tree::Memory(tree) => {
                let tree = tree.readable()?;
                let found = tree.pages.range::<[u8], _>(after).next();
                Ok(found.map(|(key, _)| key.clone()))
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

type Entry<'a> = Result<(&'a [u8], &'a [u8]), PagesError>;

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
        let Some(value) = self.read(|tree| tree.value_at(key))? else {
            return Ok(None);
        };
        for entry in entries(&value)? {
            let (at, found) = entry?;
            if at == key {
                return Ok(Some(found.to_vec()));
            }
        }
        Ok(None)
    }

    /// All entries of the page in which `key` belongs, and the next page's key, if any.
    pub fn page_from(&self, key: &[u8]) -> Result<(Entries, Option<Vec<u8>>), PagesError> {
        let (value, next) = self.read(|tree| Ok((tree.value_at(key)?, tree.next_key(key)?)))?;
        let found = match value {
            Some(value) => decoded(&value)?,
            None => Vec::new(),
        };
        Ok((found, next))
    }

    /// All entries of the last page that begins below `key`, and that page's own key.
    pub fn page_below(&self, key: &[u8]) -> Result<Option<(Entries, Vec<u8>)>, PagesError> {
        match self.read(|tree| tree.last(Bound::Excluded(key)))? {
            None => Ok(None),
            Some((bound, value)) => Ok(Some((decoded(&value)?, bound))),
        }
    }

    /// What has to change to put (`Some`) and remove (`None`) entries, given in the order of
    /// their keys. It holds until the next [`apply`](Self::apply).
    pub fn merged<'a>(
        &self,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<Changes, PagesError> {
        let mut batch = Changes::new();
        let mut rest = changes.peekable();
        while let Some((first, _)) = rest.peek() {
            let (last, next) =
                self.read(|tree| Ok((tree.last(Bound::Included(first))?, tree.next_key(first)?)))?;
            let (bound, old) = match last {
                Some((bound, value)) => (bound, Some(value)),
                None => (FIRST.to_vec(), None),
            };
            let mut merged: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
            if let Some(value) = &old {
                for entry in entries(value)? {
                    let (key, found) = entry?;
                    merged.insert(key, found);
                }
            }
            let here = |key: &[u8]| next.as_ref().is_none_or(|next| key < next.as_slice());
            while let Some((key, change)) = rest.next_if(|(key, _)| here(key)) {
                match change {
                    Some(value) => merged.insert(key, value),
                    None => merged.remove(key),
                };
            }
            write_pages(&bound, merged, old.is_some(), &mut batch);
        }
        Ok(batch)
    }

    /// Makes the changes: all of them or, after a crash, none. Reads wait meanwhile.
    pub fn apply(&self, changes: Changes) -> Result<(), PagesError> {
        self.write(|tree| tree.apply(changes))
    }

    /// Frees nodes that sled has replaced. Otherwise sled frees them, up to half a megabyte each, in
    /// the middle of a read that holds the index's lock.
    pub fn free_replaced(&self) {
        if let Tree::Sled { .. } = &self.tree {
            for _ in 0..COLLECTIONS {
                crossbeam_epoch::pin().flush();
            }
        }
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
        let mut at = FIRST.to_vec();
        loop {
            if let Some((key, value)) = self.read(|tree| tree.last(Bound::Included(&at)))?
                && key == at
            {
                // What is damaged is not carried over.
                entries(&value)?.try_for_each(|entry| entry.map(drop))?;
                batch.push((key, Some(value.to_vec())));
            }
            if batch.len() >= AT_ONCE {
                let full = std::mem::take(&mut batch);
                fresh.write(|tree| tree.apply(full))?;
            }
            match self.read(|tree| tree.next_key(&at))? {
                Some(next) => at = next,
                None => break,
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

/// Writes what belongs from `bound` on as one page or several; an empty one is removed.
fn write_pages(bound: &[u8], merged: BTreeMap<&[u8], &[u8]>, existed: bool, batch: &mut Changes) {
    if merged.is_empty() {
        if existed {
            batch.push((bound.to_vec(), None));
        }
        return;
    }
    let size: usize = merged
        .iter()
        .map(|(key, value)| key.len() + value.len() + ENTRY_FRAMING)
        .sum();
    let fill = if size + 4 <= PAGE_MAX {
        PAGE_MAX
    } else {
        PAGE_FILL
    };
    let (mut page_key, mut page) = (bound.to_vec(), vec![0; 4]);
    for (key, value) in merged {
        if page.len() > 4 && page.len() + key.len() + value.len() + ENTRY_FRAMING > fill {
            finish_page(&page_key, page, batch);
            (page_key, page) = (key.to_vec(), vec![0; 4]);
        }
        // Names in keys are of a few hundred bytes, and a request makes no row of 4 GiB.
        page.extend_from_slice(&(key.len() as u16).to_le_bytes());
        page.extend_from_slice(&(value.len() as u32).to_le_bytes());
        page.extend_from_slice(key);
        page.extend_from_slice(value);
    }
    finish_page(&page_key, page, batch);
}

/// `page` has room for the CRC at its front.
fn finish_page(key: &[u8], mut page: Vec<u8>, batch: &mut Changes) {
    let crc = crc32c::crc32c(&page[4..]);
    page[..4].copy_from_slice(&crc.to_le_bytes());
    batch.push((key.to_vec(), Some(page)));
}

/// Checks a page and gives its entries in order.
fn entries(page: &[u8]) -> Result<impl Iterator<Item = Entry<'_>>, PagesError> {
    let (crc, mut rest) = page.split_first_chunk::<4>().ok_or(PagesError::Damaged)?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(rest) {
        return Err(PagesError::Damaged);
    }
    Ok(std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = split_entry(rest);
        rest = entry.map_or(&[], |(_, _, rest)| rest);
        Some(
            entry
                .map(|(key, value, _)| (key, value))
                .ok_or(PagesError::Damaged),
        )
    }))
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_len, rest) = bytes.split_first_chunk::<2>()?;
    let (value_len, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key_len).into())?;
    let value_len = u32::from_le_bytes(*value_len) as usize;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((key, value, rest))
}

fn decoded(page: &[u8]) -> Result<Entries, PagesError> {
    entries(page)?
        .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
        .collect()
}
