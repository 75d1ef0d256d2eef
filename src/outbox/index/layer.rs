//! Changes in memory, in the order of their keys.
//!
//! Ids rise as events are accepted, and due times as attempts are made, so most keys are higher than all
//! that begin alike. Those are appended to the tail of their run; a tree has the others. What is taken
//! back in the order in which it came, as from a queue, goes from the beginning of the tail.

use std::collections::btree_map::{self, BTreeMap, Entry};
use std::collections::vec_deque::{self, VecDeque};
use std::ops::Bound;

use super::keys::{self, Key};
use super::pages::{Changes, Pages, PagesError};
use super::rows::Row;
use crate::domain::account::Total as _;

/// What a layer says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `fresh`: no older layer and no page has the key.
    Put {
        value: Row,
        fresh: bool,
    },
    Removed,
}

impl Change {
    /// What was put.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Change::Put { value, .. } => Some(value),
            Change::Removed => None,
        }
    }
}

/// About what an entry costs besides its key and value.
const ENTRY_COST: usize = 160;
/// About what a run costs besides its entries.
const RUN_COST: usize = 512;

/// How many entries of a tail that were taken back are kept in any case.
const GONE_MAX: usize = if cfg!(test) { 4 } else { 64 };

fn cost_of(key: &Key) -> usize {
    ENTRY_COST + key.len()
}

/// Changes in the order of their keys.
#[derive(Debug, Default)]
pub struct Layer {
    runs: BTreeMap<u64, Run>,
    bytes: usize,
}

/// Keys that begin alike. None is both in the tail and in the tree.
#[derive(Debug, Default)]
struct Run {
    /// In the order of the keys. `None`: it was taken back; neither the first nor the last one was.
    tail: VecDeque<(Key, Option<Change>)>,
    /// How many of the tail were taken back.
    gone: usize,
    others: BTreeMap<Key, Change>,
}

impl Layer {
    /// About how much memory the layer takes, in bytes. Never less than what was put in
    /// and not taken back while fresh.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn get(&self, key: &[u8]) -> Option<&Change> {
        let run = self.runs.get(&keys::run_of(key))?;
        match run.place_of(key) {
            Some(place) => run.tail.get(place)?.1.as_ref(),
            None => run.others.get(key),
        }
    }

    /// `is_new`: no older layer and no page has the key.
    pub fn put(&mut self, key: Key, value: Row, is_new: bool) {
        self.bytes += value.len();
        // The usual case.
        if let Some(run) = self.runs.get_mut(&keys::run_of(&key))
            && run.is_past_all(&key)
        {
            self.bytes += cost_of(&key);
            let change = Change::Put {
                value,
                fresh: is_new,
            };
            run.tail.push_back((key, Some(change)));
            return;
        }
        self.change(key, |known| {
            let fresh = match known {
                Some(Change::Put { fresh, .. }) => fresh,
                Some(Change::Removed) => false,
                None => is_new,
            };
            Some(Change::Put { value, fresh })
        });
    }

    pub fn remove(&mut self, key: Key) {
        self.change(key, |known| match known {
            Some(Change::Put { fresh: true, .. }) => None,
            _ => Some(Change::Removed),
        });
    }

    /// Replaces what is said of a key; `None`: nothing.
    fn change(&mut self, key: Key, change: impl FnOnce(Option<Change>) -> Option<Change>) {
        let prefix = keys::run_of(&key);
        let Layer { runs, bytes } = self;
        let run = runs.entry(prefix).or_insert_with(|| {
            *bytes += RUN_COST;
            Run::default()
        });
        let replaced = |known: &Option<Change>| {
            let value = known.as_ref().and_then(Change::value);
            value.map_or(0, <[u8]>::len)
        };
        if let Some(place) = run.place_of(&key) {
            if let Some((_, slot)) = run.tail.get_mut(place) {
                bytes.take_off(replaced(slot));
                run.gone.take_off(slot.is_none().into());
                *slot = change(slot.take());
                run.gone += usize::from(slot.is_none());
            }
            bytes.take_off(run.trimmed());
        } else if run.is_past_all(&key) {
            if let Some(change) = change(None) {
                *bytes += cost_of(&key);
                run.tail.push_back((key, Some(change)));
            }
        } else {
            match run.others.entry(key) {
                Entry::Vacant(vacant) => {
                    if let Some(change) = change(None) {
                        *bytes += cost_of(vacant.key());
                        vacant.insert(change);
                    }
                }
                Entry::Occupied(mut occupied) => {
                    let known = Some(std::mem::replace(occupied.get_mut(), Change::Removed));
                    bytes.take_off(replaced(&known));
                    match change(known) {
                        Some(change) => drop(occupied.insert(change)),
                        None => bytes.take_off(cost_of(&occupied.remove_entry().0)),
                    }
                }
            }
        }
        if run.tail.is_empty() && run.others.is_empty() {
            runs.remove(&prefix);
            bytes.take_off(RUN_COST);
        }
    }

    /// What has to change in the pages.
    pub fn merged_into(&self, pages: &Pages) -> Result<Changes, PagesError> {
        let mut changes = Vec::with_capacity(self.bytes / ENTRY_COST);
        for run in self.runs.values() {
            let walk = run.walk((Bound::Unbounded, Bound::Unbounded), false);
            changes.extend(walk.map(|(key, change)| (key, change.value())));
        }
        pages.merged(&changes)
    }

    /// The changes of keys with `from <= key < to`, in order, or from the end if `backward`.
    pub fn walk(&self, from: &[u8], to: &[u8], backward: bool) -> LayerWalk<'_> {
        let runs = match from < to {
            true => self.runs.range(keys::run_of(from)..=keys::run_of(to)),
            false => btree_map::Range::default(),
        };
        LayerWalk {
            runs,
            from: from.into(),
            to: to.into(),
            backward,
            here: None,
        }
    }
}

/// Goes through a part of a layer; see [`Layer::walk`].
pub struct LayerWalk<'a> {
    runs: btree_map::Range<'a, u64, Run>,
    from: Key,
    to: Key,
    backward: bool,
    here: Option<RunWalk<'a>>,
}

impl<'a> Iterator for LayerWalk<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        loop {
            if let Some(walk) = &mut self.here
                && let Some(found) = walk.next()
            {
                return Some(found);
            }
            let (_, run) = match self.backward {
                true => self.runs.next_back()?,
                false => self.runs.next()?,
            };
            let bounds = (Bound::Included(&*self.from), Bound::Excluded(&*self.to));
            self.here = Some(run.walk(bounds, self.backward));
        }
    }
}

type Bounds<'b> = (Bound<&'b [u8]>, Bound<&'b [u8]>);

impl Run {
    /// Where in the tail a key is.
    fn place_of(&self, key: &[u8]) -> Option<usize> {
        let (last, _) = self.tail.back()?;
        match (**last).cmp(key) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(self.tail.len() - 1),
            std::cmp::Ordering::Greater => {
                let place = self.tail.binary_search_by(|(known, _)| (**known).cmp(key));
                place.ok()
            }
        }
    }

    fn is_past_all(&self, key: &[u8]) -> bool {
        let last = self.others.last_key_value();
        self.tail.back().is_none_or(|(last, _)| **last < *key)
            && last.is_none_or(|(last, _)| **last < *key)
    }

    /// Removes what was taken back from the tail's ends, and from all of it when that is most of it: what
    /// that cost, in bytes.
    fn trimmed(&mut self) -> usize {
        let (mut freed, len) = (0, self.tail.len());
        while let Some((key, _)) = self.tail.pop_front_if(|(_, change)| change.is_none()) {
            freed += cost_of(&key);
        }
        while let Some((key, _)) = self.tail.pop_back_if(|(_, change)| change.is_none()) {
            freed += cost_of(&key);
        }
        self.gone.take_off(len - self.tail.len());
        // Behind one that stays any number may go.
        if self.gone > GONE_MAX && self.gone > self.tail.len() / 2 {
            self.tail.retain(|(key, change)| {
                freed += if change.is_none() { cost_of(key) } else { 0 };
                change.is_some()
            });
            self.gone = 0;
        }
        freed
    }

    fn walk(&self, bounds: Bounds<'_>, backward: bool) -> RunWalk<'_> {
        let place = |bound: &[u8]| self.tail.partition_point(|(key, _)| **key < *bound);
        let from = match bounds.0 {
            Bound::Included(from) => place(from),
            _ => 0,
        };
        let to = match bounds.1 {
            Bound::Excluded(to) => place(to),
            _ => self.tail.len(),
        };
        let mut walk = RunWalk {
            tail: self.tail.range(from..to),
            others: self.others.range::<[u8], _>(bounds),
            backward,
            heads: (None, None),
        };
        walk.heads = (walk.next_of_tail(), walk.next_of_others());
        walk
    }
}

type Found<'a> = (&'a [u8], &'a Change);

/// Goes through a run in the order of its keys, or from the end.
struct RunWalk<'a> {
    tail: vec_deque::Iter<'a, (Key, Option<Change>)>,
    others: btree_map::Range<'a, Key, Change>,
    backward: bool,
    /// What comes next of each.
    heads: (Option<Found<'a>>, Option<Found<'a>>),
}

impl<'a> RunWalk<'a> {
    fn next_of_tail(&mut self) -> Option<Found<'a>> {
        loop {
            let (key, change) = match self.backward {
                true => self.tail.next_back()?,
                false => self.tail.next()?,
            };
            if let Some(change) = change {
                return Some((key, change));
            }
        }
    }

    fn next_of_others(&mut self) -> Option<Found<'a>> {
        let (key, change) = match self.backward {
            true => self.others.next_back()?,
            false => self.others.next()?,
        };
        Some((key, change))
    }
}

impl<'a> Iterator for RunWalk<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let is_of_tail = match self.heads {
            (Some((tail, _)), Some((other, _))) => (tail < other) != self.backward,
            (head, _) => head.is_some(),
        };
        if is_of_tail {
            let next = self.next_of_tail();
            std::mem::replace(&mut self.heads.0, next)
        } else {
            let next = self.next_of_others();
            std::mem::replace(&mut self.heads.1, next)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// A key above all others of its run.
        Append(u8),
        /// The first of a run, as from a queue.
        TakeFirst(u8),
        /// One behind the first, which stays.
        TakeSecond(u8),
        Put(u8, u16),
        Remove(u8, u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let run = || 0..3u8;
        let step = prop_oneof![
            6 => run().prop_map(Step::Append),
            3 => run().prop_map(Step::TakeFirst),
            3 => run().prop_map(Step::TakeSecond),
            3 => (run(), 0..60u16).prop_map(|(run, at)| Step::Put(run, at)),
            3 => (run(), 0..60u16).prop_map(|(run, at)| Step::Remove(run, at)),
        ];
        proptest::collection::vec(step, 0..200)
    }

    /// Of two endpoints' queues, and of events.
    fn key(run: u8, at: u16) -> Vec<u8> {
        let prefix: &[u8] = match run {
            0 => b"q\0\0\0\x01",
            1 => b"q\0\0\0\x02",
            _ => b"e",
        };
        [prefix, &at.to_be_bytes()].concat()
    }

    fn put(layer: &mut Layer, model: &mut BTreeMap<Vec<u8>, Change>, key: Vec<u8>, value: u8) {
        let value = Row::from_elem(value, usize::from(value) % 60);
        let fresh = match model.get(&key) {
            Some(Change::Put { fresh, .. }) => *fresh,
            Some(Change::Removed) => false,
            None => true,
        };
        layer.put(key.as_slice().into(), value.clone(), true);
        model.insert(key, Change::Put { value, fresh });
    }

    fn remove(layer: &mut Layer, model: &mut BTreeMap<Vec<u8>, Change>, key: Vec<u8>) {
        layer.remove(key.as_slice().into());
        match model.get(&key) {
            Some(Change::Put { fresh: true, .. }) => drop(model.remove(&key)),
            _ => drop(model.insert(key, Change::Removed)),
        }
    }

    #[test]
    fn what_passes_a_key_that_stays_takes_no_memory_for_ever() {
        let mut layer = Layer::default();
        let entry = |n: u16| (key(0, n), Row::from_elem(1, 8));
        let (first, second) = (entry(0), entry(1));
        for (key, value) in [first, second] {
            layer.put(key.into(), value, true);
        }
        let two = layer.bytes();
        for n in 1..1000 {
            let (key, value) = entry(n + 1);
            layer.put(key.into(), value, true);
            layer.remove(entry(n).0.into());
            assert!(layer.bytes() < 10 * two, "{n}: {} bytes", layer.bytes());
        }
        let left = layer.walk(&key(0, 0), &key(0, u16::MAX), false);
        assert_eq!(left.count(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_layer_is_a_map(steps in steps(), from in (0..4u8, 0..70u16), to in (0..4u8, 0..70u16)) {
            let (mut layer, mut model) = (Layer::default(), BTreeMap::new());
            for (number, step) in steps.iter().enumerate() {
                match *step {
                    Step::Append(run) => {
                        let at = 60 + number as u16;
                        put(&mut layer, &mut model, key(run, at), number as u8);
                    }
                    Step::TakeFirst(run) | Step::TakeSecond(run) => {
                        let place = usize::from(matches!(step, Step::TakeSecond(_)));
                        let taken = model.range(key(run, 0)..key(run, u16::MAX)).nth(place);
                        if let Some(taken) = taken.map(|(key, _)| key.clone()) {
                            remove(&mut layer, &mut model, taken);
                        }
                    }
                    Step::Put(run, at) => put(&mut layer, &mut model, key(run, at), number as u8),
                    Step::Remove(run, at) => remove(&mut layer, &mut model, key(run, at)),
                }
            }
            for run in 0..3 {
                for at in 0..300 {
                    let key = key(run, at);
                    prop_assert_eq!(layer.get(&key), model.get(&key));
                }
            }
            let (from, to) = (key(from.0, from.1), key(to.0, to.1));
            let range = match from < to {
                true => model.range(from.clone()..to.clone()),
                false => Default::default(),
            };
            let wanted: Vec<_> = range.map(|(key, change)| (key.as_slice(), change)).collect();
            let forward: Vec<_> = layer.walk(&from, &to, false).collect();
            let mut backward: Vec<_> = layer.walk(&from, &to, true).collect();
            backward.reverse();
            prop_assert_eq!(&forward, &wanted);
            prop_assert_eq!(&backward, &wanted);
            let costs = model.iter().map(|(key, change)| {
                ENTRY_COST + key.len() + change.value().map_or(0, <[u8]>::len)
            });
            let costs: usize = costs.sum();
            prop_assert!(layer.bytes() >= costs);
            for run in layer.runs.values() {
                let gone = run.tail.iter().filter(|(_, change)| change.is_none()).count();
                prop_assert_eq!(run.gone, gone);
                prop_assert!(gone <= GONE_MAX.max(run.tail.len() / 2));
            }
            let fresh = |change: &Change| matches!(change, Change::Put { fresh: true, .. });
            for key in model.iter().filter(|(_, change)| fresh(change)).map(|(key, _)| key) {
                layer.remove(key.as_slice().into());
            }
            if model.values().all(fresh) {
                prop_assert_eq!((layer.bytes(), layer.is_empty()), (0, true));
            }
        }
    }
}
