//! When a lane's deliveries are due on the monotonic clock, and under which retry budget:
//! stored times, corrected for releases and for changes of the wall clock.

use std::time::Duration;

use super::message::{Entry, LanePolicy};
use crate::domain::endpoint::Rate;
use crate::domain::rate;
use crate::domain::schedule::{Now, WallClock};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Budget;

/// How many a second a release lets go, if the endpoint has no rate limit.
const RELEASES: Rate = Rate { per_second: 100.0 };
/// A stored time that is later than the clock by less is not from the future.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Due {
    released_at: Option<Timestamp>,
    /// The next released delivery is due then.
    next_release_at: Duration,
    /// All that lay past now + `retry.max` when it was first seen is due by then.
    capped_at: Option<Duration>,
}

impl Due {
    /// What had begun its budget before is due, with a fresh one.
    pub fn released(&mut self, at: Option<Timestamp>) {
        self.released_at = at;
    }

    /// What waited is read again, the first of it was due then: its turns are free again.
    pub fn forgotten(&mut self, first: Option<Duration>) {
        if let Some(first) = first {
            self.next_release_at = self.next_release_at.min(first);
        }
    }

    /// Nothing is in the index only.
    pub fn all_is_read(&mut self) {
        self.capped_at = None;
    }

    /// The budget that an attempt of the delivery is made under.
    pub fn budget(&self, entry: &Entry, now: Now, clock: &WallClock) -> Budget {
        let fresh = self
            .released_at
            .filter(|&at| started_before(entry, at, now));
        let (from, tries) = fresh.map_or((entry.budget_from, entry.tries), |at| (at, 0));
        let corrected = clock.corrected(from, now);
        Budget {
            // Stored only if correcting it once more would not change it.
            from: if clock.corrected(corrected, now) == corrected {
                fresh.map_or(corrected, |at| corrected.max(at))
            } else {
                from
            },
            age: now.wall.since(corrected),
            tries,
        }
    }

    /// The deadline after a forward jump of the wall clock, if that is earlier.
    pub fn hastened(&self, entry: &Entry, now: Now) -> Duration {
        if is_released(entry, self.released_at, now) {
            self.next_release_at.max(now.mono)
        } else {
            now.deadline(entry.due)
        }
    }

    /// When a delivery is to be attempted. `complete`: nothing is in the index only.
    pub fn deadline(
        &mut self,
        entry: &Entry,
        policy: &LanePolicy,
        now: Now,
        complete: bool,
    ) -> Duration {
        if is_released(entry, self.released_at, now) {
            return self.next_release(policy, now.mono);
        }
        let deadline = now.deadline(entry.due);
        let cap = now.mono.saturating_add(policy.retry.longest());
        if entry.exact || deadline <= cap {
            deadline
        } else if complete {
            cap
        } else {
            // One time for all of them: a cap of its own for each refill would add up.
            *self.capped_at.get_or_insert(cap)
        }
    }

    fn next_release(&mut self, policy: &LanePolicy, mono: Duration) -> Duration {
        let step = rate::step(policy.rate_limit.unwrap_or(RELEASES));
        let due = self.next_release_at.max(mono);
        self.next_release_at = due.saturating_add(step);
        due
    }
}

/// Whether a delivery is due at once because of the release at that time. One that waits
/// for a time that was asked for goes on waiting.
fn is_released(entry: &Entry, released_at: Option<Timestamp>, now: Now) -> bool {
    let asked_for = entry.exact && entry.due > now.wall;
    released_at.is_some_and(|at| started_before(entry, at, now)) && !asked_for
}

/// Whether a delivery had begun its budget before the release at that time. What is in the
/// future is from before the wall clock was set back: such a release would match for
/// ever, such a budget never.
fn started_before(entry: &Entry, released_at: Timestamp, now: Now) -> bool {
    let latest = now.wall + CLOCK_SLACK;
    released_at <= latest && (entry.budget_from < released_at || entry.budget_from > latest)
}
