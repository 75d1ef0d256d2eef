//! The endpoints with the most trouble.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ops::Bound;

use crate::domain::endpoint::EndpointNo;
use crate::domain::time::Timestamp;
use crate::outbox::handle::Outbox;
use crate::outbox::index::{StoredEndpoint, count_row};
use crate::outbox::views::TroubledEndpoint;

use super::endpoints::endpoint_state;

/// The rank of an endpoint: the greatest has the most trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Trouble {
    /// Whether its breaker is open, or it is disabled or missing and deliveries wait.
    stands_still: bool,
    /// `None` is the least, and an earlier time is more.
    oldest_pending: Option<Reverse<Timestamp>>,
    open: u64,
    dead: u64,
    no: Reverse<EndpointNo>,
}

impl Trouble {
    fn of(no: EndpointNo, stored: &StoredEndpoint, breaker_open: bool) -> Trouble {
        let totals = &stored.totals;
        let open = totals.pending + totals.held;
        Trouble {
            stands_still: breaker_open || (stored.state.is_holding() && open > 0),
            oldest_pending: None,
            open,
            dead: totals.dead,
            no: Reverse(no),
        }
    }
}

// These read the index: callers on the runtime use `spawn_blocking`.
impl Outbox {
    /// The `most` endpoints with the most trouble, worst first: those that are stopped, then those
    /// whose oldest pending delivery is the oldest, then those with the most pending and held
    /// deliveries, then those with the most dead ones. Others follow if there is room. `breakers`
    /// are the endpoints with an open breaker.
    pub fn most_troubled(
        &self,
        most: usize,
        breakers: &HashSet<EndpointNo>,
    ) -> Vec<TroubledEndpoint> {
        let (mut all, waiting) = self.troubles(breakers);
        let oldest = self.oldest_open(&waiting);
        let mut oldest = waiting.into_iter().zip(oldest).peekable();
        // Both are in order of the numbers.
        for trouble in &mut all {
            if let Some((_, accepted)) = oldest.next_if(|(no, _)| *no == trouble.no.0) {
                trouble.oldest_pending = accepted.map(Reverse);
            }
        }
        all.sort_unstable_by_key(|trouble| Reverse(*trouble));
        all.truncate(most);
        let mut found = Vec::with_capacity(all.len());
        let mut all = all.into_iter().peekable();
        while all.peek().is_some() {
            let hold = self.shared.index.read();
            for trouble in all.by_ref() {
                count_row();
                let no = trouble.no.0;
                // The endpoint may have been removed since.
                if let Some(stored) = hold.endpoints.get(&no) {
                    found.push(TroubledEndpoint {
                        no,
                        id: stored.id.clone(),
                        state: endpoint_state(stored),
                        is_missing: stored.state.missing.is_some(),
                        oldest_pending: trouble.oldest_pending.map(|Reverse(at)| at),
                    });
                }
                if hold.is_spent() {
                    break;
                }
            }
        }
        found
    }

    /// Of all endpoints, without the ages; and those with pending deliveries.
    fn troubles(&self, breakers: &HashSet<EndpointNo>) -> (Vec<Trouble>, Vec<EndpointNo>) {
        let (mut all, mut waiting) = (Vec::new(), Vec::new());
        let mut from = Bound::Unbounded;
        loop {
            let hold = self.shared.index.read();
            let mut endpoints = hold.endpoints.range((from, Bound::Unbounded));
            let last = endpoints.find(|(no, stored)| {
                count_row();
                if stored.deleted.is_none() {
                    all.push(Trouble::of(**no, stored, breakers.contains(no)));
                    if stored.totals.pending > 0 && !stored.state.is_holding() {
                        waiting.push(**no);
                    }
                }
                hold.is_spent()
            });
            match last {
                Some((no, _)) => from = Bound::Excluded(*no),
                None => return (all, waiting),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopped_endpoints_are_worst_then_those_that_wait_longest() {
        let trouble = |stands_still, oldest: Option<u64>, open, no| Trouble {
            stands_still,
            oldest_pending: oldest.map(|at| Reverse(Timestamp::from_millis(at))),
            open,
            dead: 0,
            no: Reverse(EndpointNo(no)),
        };
        let mut all = [
            trouble(false, None, 0, 1),
            trouble(false, Some(9), 100, 2),
            trouble(false, Some(5), 1, 3),
            trouble(true, None, 1, 4),
            trouble(false, None, 7, 5),
            trouble(false, None, 0, 6),
        ];
        all.sort_by_key(|trouble| Reverse(*trouble));
        assert_eq!(all.map(|trouble| trouble.no.0.0), [4, 3, 2, 5, 1, 6]);
    }
}
