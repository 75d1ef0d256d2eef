//! What one page is made of: a CRC, then entries in the order of their keys.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};

/// Past this a page is split; well under sled's blob threshold of about 7 KiB. Only a single
/// entry that is larger makes a larger page: a definition or a replay of up to 128 KiB.
const PAGE_MAX: usize = 4096;
/// How full the pages of a split are made: most keys grow at the end.
const PAGE_FILL: usize = 3600;
/// What an entry takes besides its key and value.
const ENTRY_FRAMING: usize = 6;
/// About what the smallest entries of a page take.
const SMALL_ENTRY: usize = 32;

/// A page fails its checksum, or is none.
#[derive(Clone, Copy, Debug)]
pub struct Damaged;

/// Pages to put (`Some`) and to remove, all of them or none.
pub type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

type Entry<'a> = Result<(&'a [u8], &'a [u8]), Damaged>;

/// Writes what belongs from `bound` on as one page or several; an empty one is removed.
pub fn write_pages(
    bound: &[u8],
    merged: BTreeMap<&[u8], &[u8]>,
    existed: bool,
    batch: &mut Changes,
) {
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
pub fn entries(page: &[u8]) -> Result<impl Iterator<Item = Entry<'_>>, Damaged> {
    let mut rest = checked(page)?;
    Ok(std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = split_entry(rest);
        rest = entry.map_or(&[], |(_, _, rest)| rest);
        Some(entry.map(|(key, value, _)| (key, value)).ok_or(Damaged))
    }))
}

/// What follows the CRC, if it is right.
fn checked(page: &[u8]) -> Result<&[u8], Damaged> {
    let (crc, rest) = page.split_first_chunk::<4>().ok_or(Damaged)?;
    match u32::from_le_bytes(*crc) == crc32c::crc32c(rest) {
        true => Ok(rest),
        false => Err(Damaged),
    }
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_len, rest) = bytes.split_first_chunk::<2>()?;
    let (value_len, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key_len).into())?;
    let value_len = u32::from_le_bytes(*value_len) as usize;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((key, value, rest))
}

/// The entries of a page, in order, to be taken from either end. Only what is taken is copied.
pub struct PageEntries<B> {
    page: B,
    /// Where each begins.
    starts: Vec<u32>,
    /// Those of them that are left.
    left: Range<usize>,
}

impl<B: Deref<Target = [u8]>> PageEntries<B> {
    pub fn of(page: B) -> Result<PageEntries<B>, Damaged> {
        let end = page.len();
        let mut rest = checked(&page)?;
        let mut starts = Vec::with_capacity(rest.len() / SMALL_ENTRY);
        while !rest.is_empty() {
            // No page has 4 GiB.
            starts.push((end - rest.len()) as u32);
            (_, _, rest) = split_entry(rest).ok_or(Damaged)?;
        }
        let left = 0..starts.len();
        Ok(PageEntries { page, starts, left })
    }

    /// Leaves those with `from <= key < to`.
    pub fn within(mut self, from: &[u8], to: &[u8]) -> PageEntries<B> {
        let place = |bound: &[u8]| {
            let key = |start| self.at(start).map_or(&[][..], |(key, _)| key);
            self.starts.partition_point(|start| key(*start) < bound)
        };
        self.left = place(from)..place(to);
        self
    }

    /// The next one of those that are left, or the last if `backward`.
    pub fn take(&mut self, backward: bool) -> Option<(Vec<u8>, Vec<u8>)> {
        let index = match backward {
            true => self.left.next_back()?,
            false => self.left.next()?,
        };
        let (key, value) = self.at(*self.starts.get(index)?)?;
        Some((key.to_vec(), value.to_vec()))
    }

    fn at(&self, start: u32) -> Option<(&[u8], &[u8])> {
        let (key, value, _) = split_entry(self.page.get(start as usize..)?)?;
        Some((key, value))
    }
}
