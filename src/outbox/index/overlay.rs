//! The newest entries in memory, in front of the pages.
//!
//! Changes go into the active layer. About once a second it is frozen: a fresh one takes
//! over, and the frozen one is merged into the pages by another thread. Reads look through
//! active, frozen and pages, in that order. What is inserted and removed again while its
//! layer is active leaves no trace at all: that is most of the queue, and most of the speed.

use std::borrow::Cow;
use std::sync::Arc;

use super::keys::Key;
use super::layer::{Change, Layer};
use super::pages::{PageEntries, Pages, PagesError};
use super::rows::Row;
use super::rows_read::count_row;

/// The map: layers over pages. Without pages it lives in memory alone.
#[derive(Default)]
pub struct Overlay {
    active: Layer,
    frozen: Option<Arc<Layer>>,
    pages: Option<Pages>,
}

/// A key and its value, if it was not removed.
pub type Found<'a> = Result<(Cow<'a, [u8]>, Option<Cow<'a, [u8]>>), PagesError>;

impl Overlay {
    pub fn new(pages: Option<Pages>) -> Self {
        Overlay {
            pages,
            ..Overlay::default()
        }
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, PagesError> {
        count_row();
        let frozen = self.frozen.as_deref();
        for layer in [Some(&self.active), frozen].into_iter().flatten() {
            match layer.get(key) {
                Some(Change::Put { value, .. }) => return Ok(Some(Cow::Borrowed(value))),
                Some(Change::Removed) => return Ok(None),
                None => {}
            }
        }
        match &self.pages {
            Some(pages) => Ok(pages.get(key)?.map(Cow::Owned)),
            None => Ok(None),
        }
    }

    pub fn put(&mut self, key: impl Into<Key>, value: impl Into<Row>) {
        self.active.put(key.into(), value.into(), false);
    }

    /// Puts a key that is nowhere in the map yet. Saying so of one that is would bring
    /// its older value back when it is removed.
    pub fn put_new(&mut self, key: impl Into<Key>, value: impl Into<Row>) {
        self.active.put(key.into(), value.into(), true);
    }

    pub fn remove(&mut self, key: impl Into<Key>) {
        self.active.remove(key.into());
    }

    pub fn active_bytes(&self) -> usize {
        self.active.bytes()
    }

    /// What is in memory and not in the pages yet; 0 if there are none to move it to.
    pub fn bytes_behind(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, |frozen| frozen.bytes());
        match self.pages {
            Some(_) => self.active.bytes() + frozen,
            None => 0,
        }
    }

    /// The layer that is being moved.
    pub fn frozen(&self) -> Option<Arc<Layer>> {
        self.frozen.clone()
    }

    /// Freezes the active layer, to be merged into the pages. `None` while another is frozen.
    pub fn freeze(&mut self) -> Option<Arc<Layer>> {
        if self.frozen.is_some() {
            return None;
        }
        let layer = Arc::new(std::mem::take(&mut self.active));
        self.frozen = Some(layer.clone());
        Some(layer)
    }

    /// Forgets the frozen layer, whose changes are in the pages now.
    pub fn thawed(&mut self) {
        self.frozen = None;
    }

    pub fn is_freezing(&self) -> bool {
        self.frozen.is_some()
    }

    /// Takes `fresh`, which holds the same, in place of the pages so far.
    pub fn replace_pages(&mut self, fresh: Pages) -> Option<Pages> {
        self.pages.replace(fresh)
    }

    pub fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    /// There are no pages: all of it lives in memory.
    pub fn is_in_memory(&self) -> bool {
        self.pages.is_none()
    }

    /// What the disk has failed the pages with, if it has.
    pub fn failure(&self) -> Option<String> {
        self.pages.as_ref().and_then(Pages::failure)
    }

    /// Entries with `from <= key < to`, in order, or from the end if `backward`.
    pub fn scan<'a>(&'a self, from: &[u8], to: &[u8], backward: bool) -> Scan<'a> {
        let mut sources = Vec::with_capacity(3);
        if from < to {
            for layer in [Some(&self.active), self.frozen.as_deref()]
                .into_iter()
                .flatten()
            {
                sources.push(Source::new(layer_source(layer, (from, to), backward)));
            }
            if let Some(pages) = &self.pages {
                sources.push(Source::new(Box::new(PageWalk {
                    pages,
                    from: from.to_vec(),
                    to: to.to_vec(),
                    backward,
                    reached: Reached::Nothing,
                })));
            }
        }
        Scan { sources, backward }
    }
}

fn layer_source<'a>(
    layer: &'a Layer,
    (from, to): (&[u8], &[u8]),
    backward: bool,
) -> Box<dyn Iterator<Item = Found<'a>> + 'a> {
    let found = |(key, change): (&'a [u8], &'a Change)| {
        let value = change.value().map(Cow::Borrowed);
        Ok((Cow::Borrowed(key), value))
    };
    Box::new(layer.walk(from, to, backward).map(found))
}

/// The pages' entries with `from <= key < to`, a page at a time. Ends after an error.
struct PageWalk<'a> {
    pages: &'a Pages,
    /// What is still to come; the next page is looked for when it is needed.
    from: Vec<u8>,
    to: Vec<u8>,
    backward: bool,
    reached: Reached,
}

/// How far a walk over pages has come.
enum Reached {
    Nothing,
    Page(PageEntries),
    End,
}

impl PageWalk<'_> {
    // Pages can be split and joined between two reads: what of a page was passed is not taken again.
    fn next_page(&mut self) -> Result<Reached, PagesError> {
        let reached = std::mem::replace(&mut self.reached, Reached::End);
        let found = match (&reached, self.backward) {
            (Reached::End, _) => None,
            (Reached::Nothing, false) => self.pages.page_at(&self.from)?,
            (Reached::Nothing, true) => self.pages.page_below(&self.to)?,
            (Reached::Page(page), false) => match page.end() {
                Some(end) if *end < *self.to => self.pages.page_at(end)?,
                _ => None,
            },
            (Reached::Page(page), true) if *page.key() > *self.from => {
                self.pages.page_below(page.key())?
            }
            (Reached::Page(_), true) => None,
        };
        Ok(match found {
            Some(page) => Reached::Page(page.within(&self.from, &self.to)),
            None => Reached::End,
        })
    }

    fn pass(&mut self, key: &[u8]) {
        let bound = match self.backward {
            true => &mut self.to,
            false => &mut self.from,
        };
        bound.clear();
        bound.extend_from_slice(key);
        if !self.backward {
            bound.push(0);
        }
    }
}

impl<'a> Iterator for PageWalk<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        loop {
            if let Reached::Page(page) = &mut self.reached
                && let Some((key, value)) = page.take(self.backward)
            {
                self.pass(&key);
                return Some(Ok((Cow::Owned(key), Some(Cow::Owned(value)))));
            }
            match self.next_page() {
                Ok(Reached::End) => return None,
                Ok(page) => self.reached = page,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A merged walk over the layers and the pages.
pub struct Scan<'a> {
    /// Newest first: of equal keys the first one counts.
    sources: Vec<Source<'a>>,
    backward: bool,
}

/// One of the walks and what it comes to next.
struct Source<'a> {
    head: Option<Found<'a>>,
    walk: Box<dyn Iterator<Item = Found<'a>> + 'a>,
}

impl<'a> Source<'a> {
    fn new(mut walk: Box<dyn Iterator<Item = Found<'a>> + 'a>) -> Self {
        Source {
            head: walk.next(),
            walk,
        }
    }

    fn key(&self) -> Option<&[u8]> {
        match &self.head {
            Some(Ok((key, _))) => Some(key),
            _ => None,
        }
    }

    fn take(&mut self) -> Option<Found<'a>> {
        std::mem::replace(&mut self.head, self.walk.next())
    }
}

impl<'a> Scan<'a> {
    /// The source whose next key comes first; a failed one comes before all.
    fn first(&self) -> Option<usize> {
        let mut best: Option<(usize, &[u8])> = None;
        for (index, source) in self.sources.iter().enumerate() {
            if matches!(source.head, Some(Err(_))) {
                return Some(index);
            }
            let Some(key) = source.key() else { continue };
            let earlier = |best: &[u8]| {
                if self.backward {
                    key > best
                } else {
                    key < best
                }
            };
            if best.is_none_or(|(_, best)| earlier(best)) {
                best = Some((index, key));
            }
        }
        best.map(|(index, _)| index)
    }
}

impl<'a> Scan<'a> {
    /// The next key, whether it is still in the map (`Some`) or was removed: a walk that
    /// passes over many of the latter has to let go of the lock too.
    pub fn step(&mut self) -> Option<Found<'a>> {
        let index = self.first()?;
        count_row();
        let (key, value) = match self.sources.get_mut(index)?.take()? {
            Ok(found) => found,
            Err(error) => {
                self.sources.clear();
                return Some(Err(error));
            }
        };
        for source in &mut self.sources {
            if source.key() == Some(&*key) {
                source.take();
            }
        }
        Some(Ok((key, value)))
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Result<(Cow<'a, [u8]>, Cow<'a, [u8]>), PagesError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Ok((key, Some(value))) => return Some(Ok((key, value))),
                Ok((_, None)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::pages::MemoryTree;
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(u16, u8),
        Remove(u16),
        Freeze,
        Merge,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..400u16, any::<u8>()).prop_map(|(key, size)| Step::Put(key, size)),
            4 => (0..400u16).prop_map(Step::Remove),
            1 => Just(Step::Freeze),
            1 => Just(Step::Merge),
        ];
        proptest::collection::vec(step, 0..600)
    }

    fn key(number: u16) -> Vec<u8> {
        format!("k{number:05}").into_bytes()
    }

    fn run(overlay: &mut Overlay, model: &mut BTreeMap<Vec<u8>, Vec<u8>>, step: &Step) {
        match step {
            Step::Put(number, size) => {
                let value = vec![*size; usize::from(*size) * 4];
                match model.insert(key(*number), value.clone()) {
                    None => overlay.put_new(key(*number), value),
                    Some(_) => overlay.put(key(*number), value),
                }
            }
            Step::Remove(number) => {
                model.remove(&key(*number));
                overlay.remove(key(*number));
            }
            Step::Freeze => drop(overlay.freeze()),
            Step::Merge => {
                if let Some(layer) = overlay.frozen.clone() {
                    let pages = overlay.pages().unwrap();
                    pages.apply(layer.merged_into(pages).unwrap()).unwrap();
                    overlay.thawed();
                }
            }
        }
    }

    fn collected(scan: Scan<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
        scan.map(|found| {
            found
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .unwrap()
        })
        .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn layers_and_pages_read_like_one_map(steps in steps(), from in 0..400u16, to in 0..400u16) {
            let dir = tempfile::tempdir().unwrap();
            let mut overlay = Overlay::new(Some(Pages::open(dir.path(), 1 << 20).unwrap()));
            let mut model = BTreeMap::new();
            for step in &steps {
                run(&mut overlay, &mut model, step);
            }
            let (from, to) = (key(from), key(to));
            let mut expected: Vec<_> = model.iter().filter(|(key, _)| **key >= from && **key < to)
                .map(|(key, value)| (key.clone(), value.clone())).collect();
            prop_assert_eq!(&collected(overlay.scan(&from, &to, false)), &expected);
            expected.reverse();
            prop_assert_eq!(&collected(overlay.scan(&from, &to, true)), &expected);
            for number in 0..400 {
                let found = overlay.get(&key(number)).unwrap().map(Cow::into_owned);
                prop_assert_eq!(found.as_ref(), model.get(&key(number)));
            }
        }
    }

    /// A walk has read one page, and the next one goes before it comes there.
    #[test]
    fn pages_that_are_joined_under_a_walk_show_nothing_twice() {
        for backward in [false, true] {
            let pages = Pages::in_memory(&MemoryTree::default());
            let value = [7; 100];
            let keys: Vec<_> = (0..400).map(key).collect();
            let all = keys.iter().map(|key| (key.as_slice(), Some(&value[..])));
            let all: Vec<_> = all.collect();
            pages.apply(pages.merged(&all).unwrap()).unwrap();
            let overlay = Overlay::new(Some(pages.clone()));
            let mut scan = overlay.scan(&key(0), &key(999), backward);
            let mut seen = vec![scan.next().unwrap().unwrap().0.into_owned()];
            // The pages in the middle: gone, but for what is joined to the one before.
            let gone = keys[20..380].iter().map(|key| (key.as_slice(), None));
            let gone: Vec<_> = gone.collect();
            pages.apply(pages.merged(&gone).unwrap()).unwrap();
            let back = keys[300..310]
                .iter()
                .map(|key| (key.as_slice(), Some(&value[..])));
            let back: Vec<_> = back.collect();
            pages.apply(pages.merged(&back).unwrap()).unwrap();
            seen.extend(scan.map(|found| found.unwrap().0.into_owned()));
            if backward {
                seen.reverse();
            }
            assert!(
                seen.is_sorted_by(|one, next| one < next),
                "{backward}: {seen:?}"
            );
            assert!(seen.contains(&key(0)) && seen.contains(&key(399)));
        }
    }

    #[test]
    fn an_index_without_pages_is_not_behind_them() {
        let mut overlay = Overlay::default();
        overlay.put_new(b"k".to_vec(), vec![1]);
        assert_eq!(overlay.bytes_behind(), 0);
        let pages = Pages::in_memory(&MemoryTree::default());
        let mut overlay = Overlay::new(Some(pages));
        overlay.put_new(b"k".to_vec(), vec![1]);
        assert!(overlay.bytes_behind() > 0);
        overlay.freeze();
        assert!(overlay.bytes_behind() > 0);
    }

    #[test]
    fn what_comes_and_goes_while_active_leaves_no_trace() {
        let mut overlay = Overlay::default();
        overlay.put_new(b"kq".to_vec(), vec![1]);
        overlay.put(b"kq".to_vec(), vec![2]);
        overlay.remove(b"kq".to_vec());
        assert!(overlay.active.is_empty());
        overlay.put(b"kq".to_vec(), vec![2]);
        overlay.remove(b"kq".to_vec());
        assert!(
            !overlay.active.is_empty(),
            "an older layer may hold it: the removal must stay"
        );
    }
}
