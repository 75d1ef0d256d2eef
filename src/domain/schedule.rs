//! The two clocks of the engine, and the timers of lanes.
//!
//! Wall time is what is stored and shown; deadlines run on monotonic time. A due time is
//! placed on the monotonic clock once, when it is loaded, so that a wall clock which
//! jumps backwards freezes nothing. When it jumps forward the engine places its due times
//! again; the time that was jumped over does not count towards retry budgets, so that
//! correcting the clock shortly after start-up kills no delivery.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::endpoint::EndpointNo;
use super::time::Timestamp;

/// This moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// May jump, both ways.
    pub wall: Timestamp,
    /// Since the process started; never runs backwards.
    pub mono: Duration,
}

impl Now {
    /// Where a wall time is on the monotonic clock; what is past keeps its order as far
    /// as the process's start.
    pub fn deadline(self, due: Timestamp) -> Duration {
        if due >= self.wall {
            self.mono.saturating_add(due.since(self.wall))
        } else {
            self.mono.saturating_sub(self.wall.since(due))
        }
    }
}

/// A smaller difference between the clocks is drift, not a jump.
const JUMP_MS: i64 = 1000;
/// Older jumps are forgotten; only budgets that began before them would notice.
const MAX_JUMPS: usize = 32;

/// Notices jumps of the wall clock, forward ones with what they jumped over.
#[derive(Debug, Default)]
pub struct WallClock {
    /// Wall minus monotonic time, in milliseconds.
    offset_ms: Option<i64>,
    /// Forward jumps: the wall time before and after, oldest first.
    jumps: VecDeque<(Timestamp, Timestamp)>,
}

impl WallClock {
    /// Whether the wall clock has jumped forward since it was last looked at.
    pub fn jumped_forward(&mut self, now: Now) -> bool {
        let mono_ms = i64::try_from(now.mono.as_millis()).unwrap_or(i64::MAX);
        let wall_ms = i64::try_from(now.wall.as_millis()).unwrap_or(i64::MAX);
        let offset = wall_ms.saturating_sub(mono_ms);
        let before = *self.offset_ms.get_or_insert(offset);
        let jump = offset.saturating_sub(before);
        if jump.saturating_abs() < JUMP_MS {
            return false;
        }
        self.offset_ms = Some(offset);
        if jump > 0 {
            if self.jumps.len() == MAX_JUMPS {
                self.jumps.pop_front();
            }
            let span = Duration::from_millis(jump.unsigned_abs());
            self.jumps
                .push_back((now.wall.saturating_sub(span), now.wall));
        }
        jump > 0
    }

    /// When something that began at `from` would have begun, had the clock been right
    /// all along. Never in the future.
    pub fn corrected(&self, from: Timestamp, now: Now) -> Timestamp {
        let shifted = self.jumps.iter().fold(from, |at, &(before, after)| {
            if at <= before {
                at + after.since(before)
            } else {
                at.max(after)
            }
        });
        shifted.min(now.wall)
    }
}

/// When each lane is to be looked at again: at most one time for each.
#[derive(Debug, Default)]
pub struct Timers {
    queue: BTreeSet<(Duration, EndpointNo)>,
}

impl Timers {
    /// Moves a lane's time from `old` to `new`.
    pub fn set(&mut self, no: EndpointNo, old: Option<Duration>, new: Option<Duration>) {
        if old == new {
            return;
        }
        if let Some(at) = old {
            self.queue.remove(&(at, no));
        }
        if let Some(at) = new {
            self.queue.insert((at, no));
        }
    }

    /// Takes the first lane whose time has come.
    pub fn pop(&mut self, mono: Duration) -> Option<EndpointNo> {
        let &(at, _) = self.queue.first()?;
        if at > mono {
            return None;
        }
        self.queue.pop_first().map(|(_, no)| no)
    }

    pub fn next(&self) -> Option<Duration> {
        self.queue.first().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(wall_s: u64, mono_s: u64) -> Now {
        Now {
            wall: Timestamp::from_millis(wall_s * 1000),
            mono: Duration::from_secs(mono_s),
        }
    }

    fn at(wall_s: u64) -> Timestamp {
        now(wall_s, 0).wall
    }

    #[test]
    fn due_times_find_their_place_on_the_monotonic_clock() {
        let now = now(1000, 50);
        assert_eq!(now.deadline(at(1007)), Duration::from_secs(57));
        assert_eq!(now.deadline(at(1000)), Duration::from_secs(50));
        assert_eq!(now.deadline(at(990)), Duration::from_secs(40));
        assert_eq!(now.deadline(at(1)), Duration::ZERO);
        let late = Now {
            mono: Duration::MAX,
            ..now
        };
        assert_eq!(late.deadline(Timestamp::MAX), Duration::MAX);
    }

    #[test]
    fn jumps_forward_are_told_and_left_out_of_what_has_passed() {
        let mut clock = WallClock::default();
        assert!(!clock.jumped_forward(now(1000, 0)));
        assert!(!clock.jumped_forward(now(1010, 10)));
        assert!(clock.jumped_forward(now(5010, 10)));
        assert!(!clock.jumped_forward(now(5020, 20)));
        let corrected = |from, wall| clock.corrected(at(from), now(wall, 20));
        assert_eq!(corrected(1000, 5020), at(5000), "began before the jump");
        assert_eq!(corrected(1500, 5020), at(5010), "within what never was");
        assert_eq!(corrected(5015, 5020), at(5015), "after it");
        assert_eq!(corrected(9000, 5020), at(5020), "not in the future");
    }

    #[test]
    fn jumps_backwards_and_drift_are_no_news() {
        let mut clock = WallClock::default();
        assert!(!clock.jumped_forward(now(5000, 0)));
        assert!(!clock.jumped_forward(now(1000, 0)));
        assert!(clock.jumped_forward(now(1002, 1)));
        let mut slewed = WallClock::default();
        let times = (0..100u64).map(|s| Now {
            wall: Timestamp::from_millis(s * 1009),
            mono: Duration::from_secs(s),
        });
        assert!(!times.into_iter().any(|now| slewed.jumped_forward(now)));
    }

    #[test]
    fn timers_hold_one_time_for_each_lane() {
        let second = |s| Some(Duration::from_secs(s));
        let mut timers = Timers::default();
        timers.set(EndpointNo(1), None, second(5));
        timers.set(EndpointNo(2), None, second(3));
        timers.set(EndpointNo(1), second(5), second(2));
        assert_eq!(timers.next(), second(2));
        assert_eq!(timers.pop(Duration::from_secs(1)), None);
        assert_eq!(timers.pop(Duration::from_secs(4)), Some(EndpointNo(1)));
        assert_eq!(timers.pop(Duration::from_secs(4)), Some(EndpointNo(2)));
        assert_eq!((timers.pop(Duration::MAX), timers.next()), (None, None));
    }
}
