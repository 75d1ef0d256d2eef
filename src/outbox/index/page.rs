//! What one page is made of: a CRC of its key and of what follows, where the next page begins, how long
//! its entries are, then the entries in the order of their keys, as one block of LZ4 where that is shorter.
//!
//! The pages cover all keys without a gap: each says its own key, by its CRC, and the next one's. So a key
//! of a page that was changed on the disk is noticed wherever something is looked for.
//!
//! An entry says how many bytes its key shares with the key before it in the page, and how long the rest
//! of the key and the value are (LEB128); then come that rest and the value. Keys begin with what many
//! have in common, so that more than half of their bytes are shared. LZ4 finds what values have in common.

use std::borrow::Cow;
use std::ops::{Deref, Range};

/// Past this, before it is made shorter, a page is split; well under sled's blob threshold of about 7 KiB.
/// Only a single entry that is larger makes a larger page: a definition or a replay of up to 128 KiB.
const PAGE_MAX: usize = 4096;
/// How full the pages of a split are made: most keys grow at the end.
const PAGE_FILL: usize = 3600;
/// About what the smallest entries of a page take.
const SMALL_ENTRY: usize = 16;
/// Decompressing makes a block of LZ4 fewer times longer than this.
const LZ4_MOST: usize = 256;

/// A page fails its checksum, or is none.
#[derive(Clone, Copy, Debug)]
pub struct Damaged;

/// Pages to put (`Some`) and to remove, all of them or none.
pub type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Writes what belongs from `bound` on, up to `end`, in the order of the keys, as one page or several.
pub fn write_pages(
    bound: &[u8],
    end: Option<&[u8]>,
    merged: &[(&[u8], &[u8])],
    batch: &mut Changes,
) {
    let mut last: &[u8] = &[];
    let mut size = 4 + end.map_or(0, <[u8]>::len) + 1;
    for (key, value) in merged {
        size += entry_len(shared(last, key), key, value);
        if size > PAGE_MAX {
            break;
        }
        last = key;
    }
    let fill = match size <= PAGE_MAX {
        true => PAGE_MAX,
        false => PAGE_FILL,
    };
    let (mut page_key, mut page) = (bound, Vec::with_capacity(PAGE_MAX));
    last = &[];
    for (key, value) in merged {
        let mut shared = shared(last, key);
        if !page.is_empty() && page.len() + entry_len(shared, key, value) > fill {
            batch.push((
                page_key.to_vec(),
                Some(finished(page_key, Some(key), &page)),
            ));
            page_key = key;
            page.clear();
            shared = 0;
        }
        page.push(shared);
        let rest = key.get(usize::from(shared)..).unwrap_or_default();
        put_number(rest.len(), &mut page);
        put_number(value.len(), &mut page);
        page.extend_from_slice(rest);
        page.extend_from_slice(value);
        last = key;
    }
    batch.push((page_key.to_vec(), Some(finished(page_key, end, &page))));
}

/// The page with these entries.
fn finished(key: &[u8], end: Option<&[u8]>, entries: &[u8]) -> Vec<u8> {
    let shorter = lz4_flex::block::compress(entries);
    match shorter.len() < entries.len() {
        true => assembled(key, end, entries.len(), &shorter),
        false => assembled(key, end, entries.len(), entries),
    }
}

/// The page with these entries, given as they are stored, which are so long in full.
fn assembled(key: &[u8], end: Option<&[u8]>, full_len: usize, stored: &[u8]) -> Vec<u8> {
    let end = end.unwrap_or_default();
    let mut page = Vec::with_capacity(4 + 4 + end.len() + stored.len());
    page.extend_from_slice(&[0; 4]);
    put_number(end.len(), &mut page);
    page.extend_from_slice(end);
    put_number(full_len, &mut page);
    page.extend_from_slice(stored);
    let crc = crc_of(key, &page[4..]);
    page[..4].copy_from_slice(&crc.to_le_bytes());
    page
}

fn crc_of(key: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), rest)
}

/// What an entry takes that shares so much of its key.
fn entry_len(shared: u8, key: &[u8], value: &[u8]) -> usize {
    let rest = key.len() - usize::from(shared);
    1 + number_len(rest) + number_len(value.len()) + rest + value.len()
}

/// How many bytes two keys share, as far as an entry can say.
fn shared(last: &[u8], key: &[u8]) -> u8 {
    let most = last.len().min(key.len()).min(u8::MAX.into());
    let (last, last_rest) = last[..most].as_chunks();
    let (key, key_rest) = key[..most].as_chunks();
    let mut count = 0;
    for (last, key) in last.iter().zip(key) {
        let differing = u64::from_le_bytes(*last) ^ u64::from_le_bytes(*key);
        if differing != 0 {
            return count + (differing.trailing_zeros() / 8) as u8;
        }
        count += 8;
    }
    let both = last_rest.iter().zip(key_rest);
    count + both.take_while(|(last, key)| last == key).count() as u8
}

fn put_number(mut number: usize, page: &mut Vec<u8>) {
    while number >= 0x80 {
        page.push(number as u8 | 0x80);
        number >>= 7;
    }
    page.push(number as u8);
}

fn number_len(number: usize) -> usize {
    1 + number.checked_ilog2().map_or(0, |bits| bits as usize / 7)
}

fn take_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (mut number, mut rest) = (0, bytes);
    for shift in [0, 7, 14, 21, 28] {
        let (byte, behind) = rest.split_first()?;
        number |= usize::from(byte & 0x7f) << shift;
        rest = behind;
        if byte & 0x80 == 0 {
            return Some((number, rest));
        }
    }
    None
}

/// An entry as it is written.
struct Entry<'a> {
    shared: usize,
    /// The rest of the key.
    key: &'a [u8],
    value: &'a [u8],
}

/// The first entry, and what follows.
fn split_entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (shared, rest) = bytes.split_first()?;
    let (key_len, rest) = take_number(rest)?;
    let (value_len, rest) = take_number(rest)?;
    let (key, rest) = rest.split_at_checked(key_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    let shared = usize::from(*shared);
    Some((Entry { shared, key, value }, rest))
}

/// A page as it is stored.
struct Stored<'a> {
    /// Where the next page begins.
    end: Option<&'a [u8]>,
    /// How long the entries are in full.
    full_len: usize,
    entries: &'a [u8],
}

impl<'a> Stored<'a> {
    fn of(key: &[u8], page: &'a [u8]) -> Result<Stored<'a>, Damaged> {
        let (crc, rest) = page.split_first_chunk::<4>().ok_or(Damaged)?;
        match u32::from_le_bytes(*crc) == crc_of(key, rest) {
            true => Stored::unchecked(page),
            false => Err(Damaged),
        }
    }

    /// Of a page whose checksum was found to be right.
    fn unchecked(page: &'a [u8]) -> Result<Stored<'a>, Damaged> {
        let (_, rest) = page.split_first_chunk::<4>().ok_or(Damaged)?;
        let (end_len, rest) = take_number(rest).ok_or(Damaged)?;
        let (end, rest) = rest.split_at_checked(end_len).ok_or(Damaged)?;
        let (full_len, entries) = take_number(rest).ok_or(Damaged)?;
        Ok(Stored {
            // No key is empty.
            end: (!end.is_empty()).then_some(end),
            full_len,
            entries,
        })
    }

    /// The entries in full.
    fn entries(&self) -> Result<Cow<'a, [u8]>, Damaged> {
        if self.entries.len() == self.full_len {
            return Ok(self.entries.into());
        }
        if self.full_len / LZ4_MOST > self.entries.len() {
            return Err(Damaged);
        }
        let full = lz4_flex::block::decompress(self.entries, self.full_len);
        match full {
            Ok(full) if full.len() == self.full_len => Ok(full.into()),
            _ => Err(Damaged),
        }
    }
}

/// A page whose checksum is right, with its entries in full.
pub struct Page<B> {
    page: B,
    entries: Vec<u8>,
}

impl<B: Deref<Target = [u8]>> Page<B> {
    pub fn of(key: &[u8], page: B) -> Result<Page<B>, Damaged> {
        let entries = Stored::of(key, &page)?.entries()?.into_owned();
        Ok(Page { page, entries })
    }

    /// The key of the next page; `None`: it is the last one.
    fn end(&self) -> Option<&[u8]> {
        let stored = Stored::unchecked(&self.page).ok()?;
        stored.end
    }

    /// Whether it was made of these bytes at this place in memory.
    pub fn is_of(&self, page: &[u8]) -> bool {
        std::ptr::eq(&*self.page, page)
    }

    /// The value of a key that belongs in the page.
    pub fn find(&self, wanted: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        if self.end().is_some_and(|end| wanted >= end) {
            return Err(Damaged);
        }
        Ok(find_in(&self.entries, wanted)?.map(<[u8]>::to_vec))
    }
}

fn find_in<'a>(mut rest: &'a [u8], wanted: &[u8]) -> Result<Option<&'a [u8]>, Damaged> {
    // Of the entry before, whose key is smaller than the wanted one: how much they share.
    let mut matched = 0;
    while !rest.is_empty() {
        let (entry, behind) = split_entry(rest).ok_or(Damaged)?;
        rest = behind;
        if entry.shared > matched {
            // It differs from the wanted one where the key before does.
            continue;
        }
        if entry.shared < matched {
            return Ok(None);
        }
        let left = wanted.get(matched..).unwrap_or_default();
        let equal = left.iter().zip(entry.key);
        let equal = equal.take_while(|(left, key)| left == key).count();
        match (left.get(equal), entry.key.get(equal)) {
            (None, None) => return Ok(Some(entry.value)),
            (Some(left), Some(key)) if left > key => {}
            (Some(_), None) => {}
            _ => return Ok(None),
        }
        // An entry says no more of what it shares.
        matched = (matched + equal).min(u8::MAX.into());
    }
    Ok(None)
}

/// The entries of a page, in order, to be taken from either end.
pub struct PageEntries<B> {
    key: B,
    page: Page<B>,
    /// All keys, one after the other.
    keys: Vec<u8>,
    /// Where in these each key is, and where in the entries its value.
    places: Vec<(Range<usize>, Range<usize>)>,
    /// Those of them that are left.
    left: Range<usize>,
}

impl<B: Deref<Target = [u8]>> PageEntries<B> {
    pub fn of((key, page): (B, B)) -> Result<PageEntries<B>, Damaged> {
        let page = Page::of(&key, page)?;
        let entries = page.entries.as_slice();
        let mut rest = entries;
        let mut keys = Vec::with_capacity(rest.len());
        let mut places = Vec::with_capacity(rest.len() / SMALL_ENTRY);
        let mut last = 0..0;
        while !rest.is_empty() {
            let (entry, behind) = split_entry(rest).ok_or(Damaged)?;
            rest = behind;
            if entry.shared > last.len() {
                return Err(Damaged);
            }
            let start = keys.len();
            keys.extend_from_within(last.start..last.start + entry.shared);
            keys.extend_from_slice(entry.key);
            last = start..keys.len();
            let value_end = entries.len() - rest.len();
            let value = value_end - entry.value.len()..value_end;
            places.push((last.clone(), value));
        }
        let left = 0..places.len();
        Ok(PageEntries {
            key,
            page,
            keys,
            places,
            left,
        })
    }

    pub fn key(&self) -> &[u8] {
        &self.key
    }

    pub fn bytes(&self) -> &[u8] {
        &self.page.page
    }

    /// The key of the next page; `None`: it is the last one.
    pub fn end(&self) -> Option<&[u8]> {
        self.page.end()
    }

    /// The page with another end.
    pub fn with_end(&self, end: Option<&[u8]>) -> Vec<u8> {
        finished(&self.key, end, &self.page.entries)
    }

    /// Leaves those with `from <= key < to`.
    pub fn within(mut self, from: &[u8], to: &[u8]) -> PageEntries<B> {
        let place = |bound: &[u8]| {
            let key = |place: &Range<usize>| self.keys.get(place.clone()).unwrap_or_default();
            self.places.partition_point(|(place, _)| key(place) < bound)
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
        let (key, value) = self.at(self.places.get(index)?)?;
        Some((key.to_vec(), value.to_vec()))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places.iter().filter_map(|place| self.at(place))
    }

    fn at(&self, (key, value): &(Range<usize>, Range<usize>)) -> Option<(&[u8], &[u8])> {
        Some((
            self.keys.get(key.clone())?,
            self.page.entries.get(value.clone())?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    fn find(key: &[u8], page: &[u8], wanted: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        Page::of(key, page)?.find(wanted)
    }

    /// Keys of few different bytes, so that they share much; some are long.
    fn maps() -> impl Strategy<Value = Map> {
        let key = prop_oneof![
            10 => proptest::collection::vec(0..3u8, 1..12),
            // As many idempotency keys, the first of these share more than an entry can say.
            3 => (240..300usize, proptest::collection::vec(0..2u8, 1..4)).prop_map(|(len, end)| {
                let mut key = vec![1; len];
                key.extend(end);
                key
            }),
        ];
        let value = proptest::collection::vec(any::<u8>(), 0..300);
        proptest::collection::btree_map(key, value, 1..120)
    }

    fn pages_of(map: &Map) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut batch = Changes::new();
        let borrowed = map.iter();
        let borrowed = borrowed.map(|(key, value)| (key.as_slice(), value.as_slice()));
        let borrowed: Vec<_> = borrowed.collect();
        write_pages(&[0], Some(&[9]), &borrowed, &mut batch);
        let pages = batch.into_iter();
        pages.filter_map(|(key, page)| Some((key, page?))).collect()
    }

    fn entries(key: &[u8], page: &[u8]) -> Result<PageEntries<Vec<u8>>, Damaged> {
        PageEntries::of((key.to_vec(), page.to_vec()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pages_have_the_entries_that_were_written(map in maps(), other in proptest::collection::vec(0..3u8, 0..12)) {
            let pages = pages_of(&map);
            let (mut read, mut next) = (Map::new(), vec![0]);
            for (key, page) in &pages {
                prop_assert!(page.len() <= PAGE_MAX + 700, "{}", page.len());
                prop_assert_eq!(key, &next);
                let entries = entries(key, page).unwrap();
                next = entries.end().unwrap().to_vec();
                for (at, value) in entries.iter() {
                    let found = find(key, page, at).unwrap();
                    prop_assert_eq!(found.as_deref(), Some(value));
                    read.insert(at.to_vec(), value.to_vec());
                }
                let long = [vec![1; 256], other.clone()].concat();
                for wanted in [&other, &long] {
                    if key <= wanted && *wanted < next {
                        prop_assert_eq!(find(key, page, wanted).unwrap().is_some(), map.contains_key(wanted));
                    }
                }
                prop_assert!(find(key, page, &next).is_err());
                let moved = entries.with_end(None);
                prop_assert_eq!(entries.iter().count(), self::entries(key, &moved).unwrap().iter().count());
            }
            prop_assert_eq!(next, [9]);
            prop_assert_eq!(read, map);
        }

        /// Bytes with a right checksum that are no page are refused or read, and nothing else.
        #[test]
        fn no_bytes_are_read_past_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..200), key in proptest::collection::vec(any::<u8>(), 0..8)) {
            let mut page = crc_of(b"k", &bytes).to_le_bytes().to_vec();
            page.extend_from_slice(&bytes);
            let _: Result<_, Damaged> = find(b"k", &page, &key);
            if let Ok(entries) = entries(b"k", &page) {
                let read: usize = entries.iter().map(|(_, value)| value.len()).sum();
                prop_assert!(read <= bytes.len());
            }
        }
    }

    #[test]
    fn keys_that_share_more_than_an_entry_can_say_are_found() {
        let keys: Vec<Vec<u8>> = (0..50)
            .map(|n| [vec![1; 250 + n / 10], vec![2, n as u8]].concat())
            .collect();
        let map: Map = keys
            .iter()
            .map(|key| (key.clone(), b"v".to_vec()))
            .collect();
        for (key, page) in pages_of(&map) {
            for (at, value) in entries(&key, &page).unwrap().iter() {
                assert_eq!(find(&key, &page, at).unwrap().as_deref(), Some(value));
            }
        }
    }

    #[test]
    fn a_flipped_bit_of_a_page_or_its_key_is_damage() {
        let map = Map::from([(b"key".to_vec(), b"value".to_vec())]);
        let (key, page) = pages_of(&map).remove(0);
        let both = [key.as_slice(), &page].concat();
        for bit in 0..both.len() * 8 {
            let mut both = both.clone();
            both[bit / 8] ^= 1 << (bit % 8);
            let (key, page) = both.split_at(key.len());
            assert!(entries(key, page).is_err(), "{bit}");
            assert!(find(key, page, b"key").is_err(), "{bit}");
        }
    }

    /// What is on disk is this, until `rows::VERSION` says otherwise.
    #[test]
    fn the_bytes_of_a_page() {
        let map = Map::from([(b"ab1".to_vec(), b"x".to_vec()), (b"ab2".to_vec(), vec![7])]);
        let (key, page) = pages_of(&map).remove(0);
        assert_eq!(key, [0]);
        let (crc, rest) = page.split_at(4);
        assert_eq!(crc, crc32c::crc32c(&[&key, rest].concat()).to_le_bytes());
        // Too few to be shorter as a block of LZ4.
        assert_eq!(rest, b"\x01\x09\x0c\x00\x03\x01ab1x\x02\x01\x012\x07");

        // A block can be written in several ways, and is read in one.
        let map = Map::from([
            (b"ab1".to_vec(), b"x".to_vec()),
            (b"ab2".to_vec(), vec![7; 130]),
        ]);
        let rest = b"\x01\x09\x8e\x01\xdf\x00\x03\x01ab1x\x02\x01\x82\x012\x07\x01\x00h`\x07\x07\x07\x07\x07\x07";
        let mut page = crc_of(&[0], rest).to_le_bytes().to_vec();
        page.extend_from_slice(rest);
        for page in [page, pages_of(&map).remove(0).1] {
            assert_eq!(page.len(), 4 + rest.len());
            let entries = entries(&[0], &page).unwrap();
            let read = entries.iter();
            let read = read.map(|(key, value)| (key.to_vec(), value.to_vec()));
            assert_eq!(read.collect::<Map>(), map);
            assert_eq!(entries.end(), Some(&[9][..]));
        }
    }
}
