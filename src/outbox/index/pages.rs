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
use std::ops::Bound;
use std::path::Path;

/// Past this a page is split; well under sled's blob threshold of about 7 KiB.
const PAGE_MAX: usize = 4096;
/// How full the pages of a split are made: most keys grow at the end.
const PAGE_FILL: usize = 3600;
/// The longest entry: four times what the longest row needs.
const ENTRY_MAX: usize = 4096;
/// The key of the first page. Every entry's key is larger.
const FIRST: &[u8] = &[0];

/// Why the pages cannot be used. They must then be built anew from the log.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    #[error("a page of the index fails its checksum")]
    Damaged,
}

impl PagesError {
    /// The bytes are wrong: asking again gives the same.
    pub fn is_damage(&self) -> bool {
        match self {
            PagesError::Damaged => true,
            PagesError::Sled(error) => matches!(error, sled::Error::Corruption { .. }),
        }
    }
}

/// The pages of one sled database.
#[derive(Clone)]
pub struct Pages {
    db: sled::Db,
    tree: sled::Tree,
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
            .flush_every_ms(Some(2000));
        let db = config.open()?;
        let tree = db.open_tree(b"pages")?;
        Ok(Pages { db, tree })
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PagesError> {
        let Some(page) = self.tree.range(..=key).next_back() else {
            return Ok(None);
        };
        let (_, value) = page?;
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
        let found = match self.tree.range(..=key).next_back() {
            Some(page) => decoded(&page?.1)?,
            None => Vec::new(),
        };
        let next = self
            .tree
            .range::<&[u8], _>((Bound::Excluded(key), Bound::Unbounded))
            .next();
        Ok((found, next.transpose()?.map(|(key, _)| key.to_vec())))
    }

    /// All entries of the last page that begins below `key`, and that page's own key.
    pub fn page_below(&self, key: &[u8]) -> Result<Option<(Entries, Vec<u8>)>, PagesError> {
        match self.tree.range(..key).next_back() {
            None => Ok(None),
            Some(page) => {
                let (bound, value) = page?;
                Ok(Some((decoded(&value)?, bound.to_vec())))
            }
        }
    }

    /// Puts (`Some`) and removes (`None`) entries, given in the order of their keys: all of
    /// them or, after a crash, none.
    pub fn merge<'a>(
        &self,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), PagesError> {
        let mut batch = sled::Batch::default();
        let mut rest = changes.peekable();
        while let Some((first, _)) = rest.peek() {
            let (bound, old) = match self.tree.range(..=*first).next_back() {
                Some(page) => page.map(|(bound, value)| (bound.to_vec(), Some(value)))?,
                None => (FIRST.to_vec(), None),
            };
            let after = (Bound::Excluded(*first), Bound::Unbounded);
            let next = self.tree.range::<&[u8], _>(after).next().transpose()?;
            let next = next.map(|(key, _)| key);
            let mut merged: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
            if let Some(value) = &old {
                for entry in entries(value)? {
                    let (key, found) = entry?;
                    merged.insert(key, found);
                }
            }
            let here = |key: &[u8]| next.as_ref().is_none_or(|next| key < &**next);
            while let Some((key, change)) = rest.next_if(|(key, _)| here(key)) {
                match change {
                    Some(value) => merged.insert(key, value),
                    None => merged.remove(key),
                };
            }
            write_pages(&bound, merged, old.is_some(), &mut batch);
        }
        self.tree.apply_batch(batch)?;
        Ok(())
    }

    /// Hands what sled still buffers to the operating system.
    pub fn flush(&self) -> Result<(), PagesError> {
        self.db.flush()?;
        Ok(())
    }

    /// Copies all pages into `fresh`, which is empty, and hands them to the operating system.
    pub fn copy_into(&self, fresh: &Pages) -> Result<(), PagesError> {
        const AT_ONCE: usize = 256;
        let (mut batch, mut count) = (sled::Batch::default(), 0);
        for page in self.tree.iter() {
            let (key, value) = page?;
            // What is damaged is not carried over.
            entries(&value)?.try_for_each(|entry| entry.map(drop))?;
            batch.insert(key, value);
            count += 1;
            if count % AT_ONCE == 0 {
                fresh.tree.apply_batch(std::mem::take(&mut batch))?;
            }
        }
        fresh.tree.apply_batch(batch)?;
        fresh.flush()
    }

    pub fn size_on_disk(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}

/// Writes what belongs from `bound` on as one page or several; an empty one is removed.
fn write_pages(
    bound: &[u8],
    merged: BTreeMap<&[u8], &[u8]>,
    existed: bool,
    batch: &mut sled::Batch,
) {
    if merged.is_empty() {
        if existed {
            batch.remove(bound);
        }
        return;
    }
    let size: usize = merged
        .iter()
        .map(|(key, value)| key.len() + value.len() + 4)
        .sum();
    let fill = if size + 4 <= PAGE_MAX {
        PAGE_MAX
    } else {
        PAGE_FILL
    };
    let (mut page_key, mut page) = (bound.to_vec(), vec![0; 4]);
    for (key, value) in merged {
        if page.len() > 4 && page.len() + key.len() + value.len() + 4 > fill {
            finish_page(&page_key, page, batch);
            (page_key, page) = (key.to_vec(), vec![0; 4]);
        }
        debug_assert!(key.len() + value.len() <= ENTRY_MAX);
        page.extend_from_slice(&(key.len() as u16).to_le_bytes());
        page.extend_from_slice(&(value.len() as u16).to_le_bytes());
        page.extend_from_slice(key);
        page.extend_from_slice(value);
    }
    finish_page(&page_key, page, batch);
}

/// `page` has room for the CRC at its front.
fn finish_page(key: &[u8], mut page: Vec<u8>, batch: &mut sled::Batch) {
    let crc = crc32c::crc32c(&page[4..]);
    page[..4].copy_from_slice(&crc.to_le_bytes());
    batch.insert(key, page);
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
    let (value_len, rest) = rest.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key_len).into())?;
    let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*value_len).into())?;
    Some((key, value, rest))
}

fn decoded(page: &[u8]) -> Result<Entries, PagesError> {
    entries(page)?
        .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
        .collect()
}
