//! What is shipped next: pure, over what is shipped and what the log has.
//!
//! New bytes come first, oldest segment first, so that a restore loses as little as possible. Then
//! parts of a segment are shipped again: in few large parts once it is full or has many small ones,
//! and whenever bodies in it were overwritten. What those replace is deleted after they are there,
//! never before.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Part;

/// The most bytes of a part; parts of a full segment begin at multiples of it.
pub const PART: u64 = 8 << 20;
/// Of how many parts an unfinished stretch of [`PART`] bytes may consist before they become one.
const SMALL_PARTS: usize = 64;

/// A segment of the log, as far as it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub base: u64,
    /// Bytes to ship. Nothing but zeros follows.
    pub used: u64,
    pub is_full: bool,
    /// What is shipped is to have so many.
    pub erasures: u64,
    /// There were more, which do not count yet.
    pub has_more_erasures: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Bytes that are nowhere yet.
    ShipNew(Part),
    /// Bytes that are there in another form, which this part replaces.
    ShipAgain(Part),
    /// Other parts have all that these have.
    Delete(Vec<Part>),
}

/// The parts that are there, by segment.
#[derive(Clone, Debug, Default)]
pub struct Shipped {
    segments: BTreeMap<u64, BTreeSet<Part>>,
}

impl Shipped {
    pub fn add(&mut self, part: Part) {
        self.segments.entry(part.base).or_default().insert(part);
    }

    pub fn remove(&mut self, part: &Part) {
        if let Some(parts) = self.segments.get_mut(&part.base) {
            parts.remove(part);
            if parts.is_empty() {
                self.segments.remove(&part.base);
            }
        }
    }

    /// The parts of the segment at `base`.
    pub fn parts(&self, base: u64) -> impl Iterator<Item = &Part> {
        self.segments.get(&base).into_iter().flatten()
    }

    /// The segments of which something is there, oldest first.
    pub fn bases(&self) -> impl Iterator<Item = u64> {
        self.segments.keys().copied()
    }

    /// How far the segment is there without a gap, whatever was erased in it since.
    pub fn reach(&self, base: u64) -> u64 {
        let mut reach = 0;
        // Ordered by `from`.
        for part in self.parts(base) {
            if part.from > reach {
                break;
            }
            reach = reach.max(part.to);
        }
        reach
    }

    /// The parts, read with `erasures`, that follow each other from the segment's beginning: at
    /// each place the longest, but one that ends a full segment first.
    fn chain(&self, base: u64, erasures: u64) -> Vec<Part> {
        let mut chain: Vec<Part> = Vec::new();
        loop {
            let at = chain.last().map_or(0, |part| part.to);
            let here = self.parts(base);
            let here = here.filter(|part| part.from == at && part.erasures == erasures);
            match here.max_by_key(|part| (part.is_last, part.to)) {
                Some(part) => chain.push(*part),
                None => return chain,
            }
        }
    }

    /// The position below which all of the log is there, which ends at `end`.
    pub fn below(&self, log: &[Segment], end: u64) -> u64 {
        let mut log = log.iter();
        let missing = log.find_map(|segment| {
            let reach = self.reach(segment.base);
            (reach < segment.used).then_some(segment.base + reach)
        });
        missing.unwrap_or(end)
    }

    /// The position below which all segments are full, and there as they are now.
    pub fn finished_below(&self, log: &[Segment]) -> u64 {
        for segment in log {
            let chain = self.chain(segment.base, segment.erasures);
            let is_there = chain.last().is_some_and(|part| part.to >= segment.used);
            if !segment.is_full || !is_there || segment.has_more_erasures {
                return segment.base;
            }
        }
        log.last().map_or(0, |last| last.base)
    }
}

/// The next task, `None` if everything is there as it should be. `log` is in order.
pub fn next(shipped: &Shipped, log: &[Segment]) -> Option<Task> {
    let new = log.iter().find_map(|segment| new_part(shipped, segment));
    let task = new.map(Task::ShipNew);
    task.or_else(|| log.iter().find_map(|segment| again(shipped, segment)))
}

fn part(segment: &Segment, from: u64) -> Part {
    let to = segment.used.min((from / PART + 1) * PART);
    Part {
        base: segment.base,
        from,
        to,
        erasures: segment.erasures,
        is_last: segment.is_full && to == segment.used,
    }
}

fn new_part(shipped: &Shipped, segment: &Segment) -> Option<Part> {
    let reach = shipped.reach(segment.base);
    (reach < segment.used).then(|| part(segment, reach))
}

fn again(shipped: &Shipped, segment: &Segment) -> Option<Task> {
    let chain = shipped.chain(segment.base, segment.erasures);
    let end = chain.last().map_or(0, |part| part.to);
    if end < segment.used {
        return Some(Task::ShipAgain(part(segment, end)));
    }
    if let Some(from) = to_join(segment, &chain) {
        return Some(Task::ShipAgain(part(segment, from)));
    }
    // What is open when it is shipped may end with zeros, which do not count once it is full.
    let is_all = chain.last().is_some_and(|part| part.is_last);
    let replaced = shipped.parts(segment.base).filter(|part| {
        let is_older = part.erasures <= segment.erasures;
        is_older && (is_all || part.to <= end) && !chain.contains(part)
    });
    let replaced: Vec<Part> = replaced.copied().collect();
    (!replaced.is_empty()).then_some(Task::Delete(replaced))
}

/// Where a stretch of [`PART`] bytes begins that is there in too many parts.
fn to_join(segment: &Segment, chain: &[Part]) -> Option<u64> {
    let mut stretch = (0, 0);
    for found in chain {
        let from = found.from / PART * PART;
        stretch = match stretch {
            (at, count) if at == from => (at, count + 1),
            _ => (from, 1),
        };
        let wanted = part(segment, from);
        let is_whole = segment.is_full || wanted.to == from + PART;
        let is_it = *found == wanted;
        if (is_whole && !is_it) || stretch.1 > SMALL_PARTS {
            return Some(from);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log of one growing and many full segments, and what a restore would read.
    #[derive(Default)]
    struct World {
        log: Vec<Segment>,
        shipped: Shipped,
    }

    const LEN: u64 = 3 * PART + 100;

    impl World {
        fn append(&mut self, bytes: u64) {
            if self.log.last().is_none_or(|last| last.is_full) {
                let base = self.log.len() as u64 * LEN;
                let (used, is_full, erasures) = (64, false, 0);
                self.log.push(Segment {
                    base,
                    used,
                    is_full,
                    erasures,
                    has_more_erasures: false,
                });
                return;
            }
            let last = self.log.last_mut().unwrap();
            last.used += bytes;
            if last.used >= LEN {
                last.used = LEN;
                last.is_full = true;
            }
        }

        fn take(&mut self) -> bool {
            let Some(task) = next(&self.shipped, &self.log) else {
                return false;
            };
            let there = |world: &World| -> Vec<u64> {
                let reach = |s: &Segment| world.shipped.reach(s.base).min(s.used);
                world.log.iter().map(reach).collect()
            };
            let before = there(self);
            match task {
                Task::ShipNew(part) | Task::ShipAgain(part) => {
                    assert!(part.to - part.from <= PART);
                    let is_new = self.shipped.parts(part.base).all(|there| *there != part);
                    assert!(is_new, "{part:?} is shipped twice");
                    self.shipped.add(part);
                }
                Task::Delete(parts) => {
                    for part in &parts {
                        self.shipped.remove(part);
                    }
                }
            }
            let after = there(self);
            assert!(
                before
                    .iter()
                    .zip(after)
                    .all(|(before, after)| *before <= after)
            );
            true
        }

        fn settle(&mut self) {
            let mut tasks = 0;
            while self.take() {
                tasks += 1;
                assert!(tasks < 10_000, "it never ends");
            }
            for segment in &self.log {
                assert!(self.shipped.reach(segment.base) >= segment.used);
                let mut parts = self.shipped.parts(segment.base);
                assert!(parts.all(|part| part.erasures == segment.erasures));
                if segment.is_full {
                    let count = self.shipped.parts(segment.base).count() as u64;
                    assert_eq!(count, segment.used.div_ceil(PART));
                }
            }
        }
    }

    #[test]
    fn many_small_parts_become_few() {
        let mut world = World::default();
        for _ in 0..1000 {
            world.append(64);
            world.settle();
            assert!(world.shipped.parts(0).count() <= SMALL_PARTS + 1);
        }
    }

    #[test]
    fn zeros_at_the_end_of_a_full_segment_are_not_shipped_for_ever() {
        let mut world = World::default();
        world.append(0);
        world.append(640);
        world.settle();
        world.log[0].used -= 64;
        world.log[0].is_full = true;
        world.settle();
        let last: Vec<_> = world.shipped.parts(0).collect();
        assert!(matches!(
            last[..],
            [Part {
                is_last: true,
                to: 640,
                ..
            }]
        ));
    }

    #[test]
    fn what_is_not_there_is_not_below() {
        let mut world = World::default();
        world.append(0);
        world.append(LEN);
        world.append(0);
        world.append(1000);
        let end = LEN + 1064;
        assert_eq!(world.shipped.below(&world.log, end), 0);
        assert_eq!(world.shipped.finished_below(&world.log), 0);
        world.settle();
        assert_eq!(world.shipped.below(&world.log, end), end);
        assert_eq!(world.shipped.finished_below(&world.log), LEN);
        world.log[0].erasures = 1;
        assert_eq!(world.shipped.below(&world.log, end), end);
        assert_eq!(world.shipped.finished_below(&world.log), 0);
    }

    proptest! {
        #[test]
        fn everything_gets_there_and_nothing_is_lost(
            steps in proptest::collection::vec((0_u8..10, any::<prop::sample::Index>(), 1_u64..200_000), 1..200)
        ) {
            let mut world = World::default();
            for (what, which, bytes) in steps {
                match what {
                    0..4 => world.append(bytes * 64),
                    4 if !world.log.is_empty() => {
                        let at = which.index(world.log.len());
                        world.log[at].erasures += 1;
                    }
                    5 => world.settle(),
                    _ => { world.take(); }
                }
            }
            world.settle();
        }
    }
}
