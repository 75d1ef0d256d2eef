//! What has been seen of events and attempts, in little memory: a log of 10 GiB may have ten
//! million of each.

use std::collections::HashSet;

/// A new id is looked for among so many of the last ones without an order, at least.
const RECENT_MIN: usize = 4096;
/// So many attempts have one mark.
const MARK_EVERY: usize = 256;

/// Spreads the bits of an id over 64 bits.
fn fingerprint(id: u128) -> u64 {
    let mut mixed = (id >> 64) as u64;
    for half in [id as u64, 0] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= (mixed >> 31) ^ half;
    }
    mixed
}

/// A set of event ids. It keeps 64 bits of each, 9 bytes with what is in transit: of ten million
/// ids one in a million sets takes one for another.
#[derive(Debug, Default)]
pub struct Ids {
    sorted: Vec<u64>,
    recent: HashSet<u64>,
}

impl Ids {
    /// Whether it is new.
    pub fn insert(&mut self, id: u128) -> bool {
        let print = fingerprint(id);
        if self.has(print) {
            return false;
        }
        self.recent.insert(print);
        if self.recent.len() > RECENT_MIN.max(self.sorted.len() / 8) {
            let mut recent: Vec<u64> = self.recent.drain().collect();
            recent.sort_unstable();
            self.sorted.append(&mut recent);
            // Two runs in order: a stable sort merges them.
            self.sorted.sort();
        }
        true
    }

    pub fn contains(&self, id: u128) -> bool {
        self.has(fingerprint(id))
    }

    fn has(&self, print: u64) -> bool {
        self.recent.contains(&print) || self.sorted.binary_search(&print).is_ok()
    }
}

/// Where attempts stand, in the order of the log, and a part of their event's fingerprint: 3 to 5
/// bytes each.
#[derive(Debug, Default)]
pub struct AttemptPlaces {
    /// For each its distance from the one before in units of 8 bytes, seven bits a byte and the
    /// lowest first, then two bytes of the fingerprint.
    bytes: Vec<u8>,
    /// Where every [`MARK_EVERY`]th stands, in the log and in `bytes`.
    marks: Vec<(u64, usize)>,
    count: usize,
    last: u64,
}

impl AttemptPlaces {
    /// Adds one that stands behind all others.
    pub fn push(&mut self, position: u64, id: u128) {
        if self.count.is_multiple_of(MARK_EVERY) {
            self.marks.push((position, self.bytes.len()));
            self.last = position;
        }
        let mut distance = position.saturating_sub(self.last) / 8;
        while distance >= 0x80 {
            self.bytes.push(distance as u8 | 0x80);
            distance >>= 7;
        }
        self.bytes.push(distance as u8);
        self.bytes.extend(short(id));
        self.last = position;
        self.count += 1;
    }

    /// Whether an attempt of this event stands there.
    pub fn contains(&self, position: u64, id: u128) -> bool {
        let after = self.marks.partition_point(|(first, _)| *first <= position);
        let marks = self.marks.get(after.saturating_sub(1)..);
        let Some([(first, from), rest @ ..]) = marks else {
            return false;
        };
        let to = rest.first().map_or(self.bytes.len(), |(_, to)| *to);
        let mut bytes = self.bytes.get(*from..to).unwrap_or_default().iter();
        let mut at = *first;
        loop {
            let (mut distance, mut shift) = (0, 0);
            loop {
                let Some(byte) = bytes.next() else {
                    return false;
                };
                distance |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            at += distance * 8;
            let print = [bytes.next(), bytes.next()].map(|byte| byte.copied().unwrap_or_default());
            if at >= position {
                return at == position && print == short(id);
            }
        }
    }
}

fn short(id: u128) -> [u8; 2] {
    (fingerprint(id) as u16).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_set_of_ids_knows_those_that_were_put_in() {
        let mut ids = Ids::default();
        let id = |n: u128| (n << 80) | (n * 0x9e37_79b9);
        for n in 0..50_000 {
            assert!(ids.insert(id(n)), "{n}");
        }
        assert!(ids.sorted.len() > 40_000, "{}", ids.sorted.len());
        assert!((0..50_000).all(|n| ids.contains(id(n)) && !ids.insert(id(n))));
        assert!((50_000..100_000).all(|n| !ids.contains(id(n))));
        // Ids of one millisecond differ in their low half alone, others in both.
        assert!(!ids.contains(id(7) + 1));
        assert!(!ids.contains(id(7) ^ (1 << 127)));
    }

    proptest! {
        #[test]
        fn attempts_are_found_where_they_stand(
            steps in proptest::collection::vec((1..5000_u64, 0..3_u128), 0..900),
            first in 0..1_u64 << 40,
        ) {
            let mut places = AttemptPlaces::default();
            let (mut at, mut known) = (first * 8, BTreeMap::new());
            for (step, id) in steps {
                at += step * 8;
                places.push(at, id);
                known.insert(at, id);
            }
            for (at, id) in &known {
                for other in 0..3 {
                    prop_assert_eq!(places.contains(*at, other), other == *id);
                }
                for beside in [at - 8, at + 8] {
                    let there = known.get(&beside).copied();
                    prop_assert_eq!(places.contains(beside, *id), there == Some(*id));
                }
            }
            prop_assert!(!places.contains(0, 0));
        }
    }
}
