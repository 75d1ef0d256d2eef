//! Which events a block of attempts is of, as a few spans of their ids.
//!
//! Most attempts follow the acceptance of their events at once, and the others come in clusters, some
//! time of the schedule of retries later: a few spans cover the events of a block and few others.

use bincode::{BorrowDecode, Encode};

use crate::domain::event::EventId;

/// With one more, the two that are nearest to each other become one.
const MOST: usize = 8;

/// First and last ids, rising; no span touches another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Spans(Vec<(u128, u128)>);

impl Spans {
    pub fn add(&mut self, EventId(id): EventId) {
        let at = self.0.partition_point(|(_, last)| *last < id);
        if self.0.get(at).is_some_and(|(first, _)| *first <= id) {
            return;
        }
        self.0.insert(at, (id, id));
        if self.0.len() > MOST {
            self.join_nearest();
        }
    }

    fn join_nearest(&mut self) {
        let gaps = self.0.iter().zip(self.0.iter().skip(1));
        let gaps = gaps.map(|((_, last), (first, _))| first - last);
        let nearest = gaps.enumerate().min_by_key(|(_, gap)| *gap);
        if let Some((at, _)) = nearest {
            let (_, last) = self.0.remove(at + 1);
            if let Some(joined) = self.0.get_mut(at) {
                joined.1 = last;
            }
        }
    }

    pub fn has(&self, EventId(id): EventId) -> bool {
        let mut spans = self.0.iter();
        spans.any(|(first, last)| *first <= id && id <= *last)
    }

    /// First and last ids, the highest first.
    pub fn falling(&self) -> impl Iterator<Item = (EventId, EventId)> {
        let spans = self.0.iter().rev();
        spans.map(|(first, last)| (EventId(*first), EventId(*last)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(ids: &[u128]) -> Spans {
        let mut spans = Spans::default();
        ids.iter().for_each(|id| spans.add(EventId(*id)));
        spans
    }

    #[test]
    fn clusters_stay_apart() {
        let mut ids: Vec<u128> = (0..100).flat_map(|n| [1_000 + n, 90_000 + n]).collect();
        ids.push(500_000);
        let spans = of(&ids);
        for (id, has_it) in [
            (1_050, true),
            (50_000, false),
            (90_099, true),
            (400_000, false),
        ] {
            assert_eq!(spans.has(EventId(id)), has_it, "{id}");
        }
        let highest = spans.falling().next();
        assert_eq!(highest, Some((EventId(500_000), EventId(500_000))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_added_is_in_few_spans_that_rise(
            ids in proptest::collection::vec(any::<u128>().prop_map(|id| id >> (id % 120)), 1..60),
        ) {
            let spans = of(&ids);
            for id in &ids {
                prop_assert!(spans.has(EventId(*id)));
            }
            let mut falling: Vec<_> = spans.falling().collect();
            prop_assert!(falling.len() <= MOST);
            falling.reverse();
            prop_assert!(falling.iter().all(|(first, last)| first <= last));
            prop_assert!(falling.windows(2).all(|two| two[0].1 < two[1].0));
            // Each begins and ends with an event of the block.
            prop_assert!(falling.iter().all(|(first, last)| ids.contains(&first.0) && ids.contains(&last.0)));
        }
    }
}
