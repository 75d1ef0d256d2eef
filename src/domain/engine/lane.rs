//! One endpoint with work, or in trouble.
//!
//! A lane knows its deliveries' deadlines, its breaker and how it behaves, and says when
//! it could start an attempt; whether there is a slot for it, [`share`](super::share)
//! decides. An endpoint with nothing pending and nothing to remember has no lane.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::breaker::{Breaker, Gate};
use super::message::{Entry, LanePolicy};
use super::rate::{self, Bucket};
use super::share::{Conduct, Turn};
use super::window::{Waiting, Window};
use crate::domain::attempt::ErrorKind;
use crate::domain::delivery::Next;
use crate::domain::endpoint::{DisabledReason, Rate};
use crate::domain::event::EventId;
use crate::domain::schedule::{Now, WallClock};
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Budget, Outcome, judge};

/// An attempt that takes longer is slow.
pub const SLOW: Duration = Duration::from_secs(1);
/// So many attempts at once are allowed at first; each success allows one more.
pub const FIRST_ALLOWANCE: usize = 4;
/// How many a second a release lets go, if the endpoint has no rate limit.
const RELEASES: Rate = Rate { per_second: 100.0 };
/// An endpoint is disabled when all of its last so many attempts, over so long, failed.
const FAILING_ATTEMPTS: u32 = 20;
const FAILING_FOR: Duration = Duration::from_secs(5 * 86_400);
/// A stored time that is later than the clock by less is not from the future.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// What outlives a lane, for as long as the endpoint is configured.
#[derive(Clone, Copy, Debug)]
pub struct Legacy {
    /// How the last attempt that ended behaved.
    pub standing: Conduct,
    /// When the rate limit is as if nothing had been attempted.
    pub bucket_full_at: Duration,
}

impl Default for Legacy {
    fn default() -> Self {
        Legacy {
            standing: Conduct::New,
            bucket_full_at: Duration::ZERO,
        }
    }
}

#[derive(Debug)]
pub struct Lane {
    pub policy: Arc<LanePolicy>,
    pub window: Window,
    pub breaker: Breaker,
    /// No starts: the endpoint is disabled, missing or removed.
    pub held: bool,
    /// The endpoint is deleted; the lane goes with its last outcome.
    pub removed: bool,
    pub paused_until: Duration,
    pub in_flight: usize,
    /// Outcomes on their way into the index.
    pub settling: usize,
    /// Of those in flight, how many have run for longer than [`SLOW`].
    lingering: usize,
    standing: Conduct,
    /// The rate limit, if there is one.
    bucket: Option<Bucket>,
    /// How many attempts at once it has earned; at most `policy.max_in_flight` count.
    allowance: usize,
    /// Since when, and how often, every attempt has failed.
    failing: Option<(Timestamp, u32)>,
    released_at: Option<Timestamp>,
    /// The next released delivery is due then.
    pace: Duration,
    /// All that lay past now + `retry.max` when it was first seen is due by then.
    capped_at: Option<Duration>,
    /// Where the engine has filed the lane; the engine's alone.
    pub filed: Filed,
}

/// Where a lane stands in the engine's registers.
#[derive(Debug)]
pub struct Filed {
    pub conduct: Conduct,
    /// Its place in the turns.
    pub turn: Option<Turn>,
    pub timer: Option<Duration>,
    /// Counted among the lanes that have or want slots.
    pub active: bool,
    /// What it adds to the totals.
    pub waiting: usize,
    pub open: bool,
}

/// An attempt that came to its end.
#[derive(Debug)]
pub struct Ended {
    pub entry: Entry,
    /// What somebody's `retry` made of the delivery meanwhile: a failure leads to that.
    pub retried: Option<Entry>,
    pub outcome: Outcome,
    pub took: Duration,
    /// It was told to [`Lane::lingers`].
    pub lingered: bool,
}

/// What an ended attempt comes to.
#[derive(Debug)]
pub struct Ruling {
    pub next: Next,
    pub disable: Option<DisabledReason>,
    /// The delivery as it will be pending, if it will.
    pub again: Option<Entry>,
}

impl Ruling {
    fn retry(&mut self, again: Entry) {
        self.next = Next::Retry {
            due: again.due,
            budget_from: again.budget_from,
            tries: again.tries,
        };
        self.again = Some(again);
    }
}

impl Lane {
    pub fn new(policy: Arc<LanePolicy>, legacy: Legacy, mono: Duration) -> Lane {
        let standing = legacy.standing;
        let bucket = policy
            .rate_limit
            .map(|rate| Bucket::new(rate, legacy.bucket_full_at, mono));
        Lane {
            policy,
            bucket,
            window: Window::default(),
            breaker: Breaker::default(),
            held: false,
            removed: false,
            paused_until: Duration::ZERO,
            in_flight: 0,
            settling: 0,
            lingering: 0,
            standing,
            allowance: FIRST_ALLOWANCE,
            failing: None,
            released_at: None,
            pace: Duration::ZERO,
            capped_at: None,
            filed: Filed {
                conduct: standing,
                turn: None,
                timer: None,
                active: false,
                waiting: 0,
                open: false,
            },
        }
    }

    /// Nothing pending and nothing to remember but the standing.
    pub fn is_idle(&self) -> bool {
        let busy = self.in_flight + self.settling > 0;
        let quiet = !self.held && self.failing.is_none() && self.window.is_exhausted();
        !busy && (quiet || self.removed)
    }

    pub fn legacy(&self) -> Legacy {
        Legacy {
            standing: self.standing,
            bucket_full_at: self.bucket_full_at(),
        }
    }

    fn bucket_full_at(&self) -> Duration {
        self.bucket
            .map_or(Duration::ZERO, |bucket| bucket.full_at())
    }

    /// The endpoint is configured anew.
    pub fn configure(&mut self, policy: Arc<LanePolicy>, mono: Duration) {
        let full_at = self.bucket_full_at();
        self.bucket = policy
            .rate_limit
            .map(|rate| Bucket::new(rate, full_at, mono));
        self.policy = policy;
        if self.removed {
            self.removed = false;
            self.held = false;
        }
    }

    /// When the rate limit lets the next attempt through; past if it does now.
    pub fn rate_allows_at(&self) -> Duration {
        self.bucket
            .as_ref()
            .map_or(Duration::ZERO, Bucket::ready_at)
    }

    /// How the lane behaves with the slots that it is given.
    pub fn conduct(&self) -> Conduct {
        if self.lingering > 0 {
            Conduct::Slow
        } else {
            self.standing
        }
    }

    /// When the next attempt may start, as far as the lane is concerned.
    pub fn start_at(&self) -> Option<Duration> {
        if self.held {
            return None;
        }
        let first = self.window.first()?.max(self.paused_until);
        let first = first.max(self.rate_allows_at());
        match self.breaker.gate() {
            Gate::Free => Some(first),
            Gate::From(probe_at) => Some(first.max(probe_at)),
            Gate::Shut => None,
        }
    }

    /// Whether the lane may have one more in flight; `share` is what its conduct allows.
    pub fn has_room(&self, share: usize) -> bool {
        let most = self.policy.max_in_flight.max(1);
        // Attempts from before the breaker opened do not put off the probe.
        let earned = if self.breaker.is_open() {
            most
        } else {
            self.allowance.min(share)
        };
        self.in_flight < most.min(earned)
    }

    /// How many attempts at once it may have; one while the breaker is open.
    pub fn allowance(&self) -> usize {
        if self.breaker.is_open() {
            1
        } else {
            self.allowance.min(self.policy.max_in_flight.max(1))
        }
    }

    /// A delivery is pending, whatever it was before.
    pub fn queued(&mut self, entry: Entry, now: Now, capacity: usize) {
        self.window.remove(entry.event);
        self.enter(entry, now, capacity);
    }

    /// The outcome of an attempt is stored; `again` is what is pending after it.
    pub fn stored(&mut self, event: EventId, again: Option<Entry>, now: Now, capacity: usize) {
        self.settling = self.settling.saturating_sub(1);
        self.window.touch(event);
        if let Some(entry) = again {
            self.enter(entry, now, capacity);
        }
    }

    /// Takes a delivery into the window, unless it lies past it.
    fn enter(&mut self, entry: Entry, now: Now, capacity: usize) {
        if self.window.takes(entry.key()) {
            let deadline = self.deadline(&entry, now, self.window.is_complete());
            self.window.insert(Waiting { deadline, entry }, capacity);
        }
    }

    /// Takes the answer to a refill.
    pub fn refilled(
        &mut self,
        entries: Vec<Entry>,
        more: bool,
        now: Now,
        busy: impl Fn(EventId) -> bool,
    ) {
        let mut window = std::mem::take(&mut self.window);
        window.refilled(entries, more, now.mono, busy, |entry| {
            self.deadline(entry, now, false)
        });
        self.window = window;
        if self.window.is_complete() {
            self.capped_at = None;
        }
    }

    /// Begins an attempt of the first due delivery.
    pub fn start(&mut self, mono: Duration) -> Option<Entry> {
        let entry = self.window.pop_due(mono)?;
        self.breaker.started(entry.event);
        if let Some(bucket) = &mut self.bucket {
            bucket.take(mono);
        }
        self.in_flight += 1;
        Some(entry)
    }

    /// An attempt has been running for longer than [`SLOW`].
    pub fn lingers(&mut self) {
        self.lingering += 1;
    }

    /// An attempt ended: what it leads to.
    pub fn ended(
        &mut self,
        ended: Ended,
        now: Now,
        clock: &WallClock,
        rng: &mut impl Rng,
    ) -> Ruling {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.lingering = self.lingering.saturating_sub(usize::from(ended.lingered));
        self.note(&ended, now, rng);
        let budget = self.budget(&ended.entry, now, clock);
        let verdict = judge(ended.outcome, &self.policy.retry, budget, now.wall, rng);
        if let Some(pause) = verdict.pause {
            self.paused_until = self.paused_until.max(now.mono.saturating_add(pause));
        }
        let disable = verdict.disable.or_else(|| self.failing(now, clock));
        if disable.is_some() {
            self.hold();
        }
        let mut ruling = Ruling {
            next: verdict.next,
            disable,
            again: None,
        };
        let wanted = ended.retried.filter(|_| verdict.disable.is_none());
        match (ruling.next, wanted) {
            (Next::Delivered, _) | (Next::Dead { .. }, None) => {}
            (_, Some(retried)) => ruling.retry(retried),
            (
                Next::Retry {
                    due,
                    budget_from,
                    tries,
                },
                None,
            ) => ruling.retry(Entry {
                due,
                budget_from,
                tries,
                exact: verdict.pause.is_some(),
                ..ended.entry
            }),
        }
        ruling
    }

    /// What an attempt says about the endpoint.
    fn note(&mut self, ended: &Ended, now: Now, rng: &mut impl Rng) {
        let timed_out = ended.outcome.error == Some(ErrorKind::Timeout);
        self.standing = if timed_out || ended.took > SLOW {
            Conduct::Slow
        } else {
            Conduct::Prompt
        };
        if self.removed {
            return;
        }
        if ended.outcome.is_success() {
            self.breaker.succeeded();
            self.failing = None;
            self.allowance = (self.allowance + 1).min(self.policy.max_in_flight.max(1));
            return;
        }
        let (since, attempts) = self.failing.unwrap_or((now.wall, 0));
        self.failing = Some((since, attempts.saturating_add(1)));
        self.breaker
            .failed(ended.entry.event, &self.policy.retry, now.mono, rng);
        if timed_out || self.breaker.is_open() {
            self.allowance = 1;
        }
    }

    fn failing(&self, now: Now, clock: &WallClock) -> Option<DisabledReason> {
        let (since, attempts) = self.failing?;
        let long = now.wall.since(clock.corrected(since, now)) >= FAILING_FOR;
        (!self.held && long && attempts >= FAILING_ATTEMPTS).then_some(DisabledReason::Failing)
    }

    /// What is known from before the start.
    pub fn restore(
        &mut self,
        failing: Option<(Timestamp, u32)>,
        released_at: Option<Timestamp>,
        mono: Duration,
    ) {
        self.failing = failing.filter(|&(_, attempts)| attempts > 0);
        let failures = self.failing.map_or(0, |(_, attempts)| attempts);
        self.breaker = Breaker::after_failures(failures, mono);
        self.released_at = released_at;
    }

    /// No more starts; what waits is left to the index.
    pub fn hold(&mut self) {
        self.held = true;
        self.window.forget();
    }

    /// The endpoint is deleted.
    pub fn remove(&mut self) {
        self.hold();
        self.removed = true;
        self.breaker.succeeded();
        self.failing = None;
    }

    /// The endpoint was enabled at `at`.
    pub fn release(&mut self, at: Timestamp) {
        self.held = false;
        self.breaker.succeeded();
        self.failing = None;
        self.paused_until = Duration::ZERO;
        self.released_at = Some(at);
        self.window.forget();
    }

    /// The wall clock jumped forward.
    pub fn hasten(&mut self, now: Now) {
        let released_at = self.released_at;
        let paced = self.pace.max(now.mono);
        self.window.hasten(|entry| {
            if is_released(entry, released_at, now) {
                paced
            } else {
                now.deadline(entry.due)
            }
        });
    }

    /// The budget that an attempt of the delivery is made under.
    fn budget(&self, entry: &Entry, now: Now, clock: &WallClock) -> Budget {
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

    /// `complete`: nothing is in the index only.
    fn deadline(&mut self, entry: &Entry, now: Now, complete: bool) -> Duration {
        if is_released(entry, self.released_at, now) {
            return self.next_release(now.mono);
        }
        let deadline = now.deadline(entry.due);
        let cap = now.mono.saturating_add(self.policy.retry.longest());
        if entry.exact || deadline <= cap {
            deadline
        } else if complete {
            cap
        } else {
            // One time for all of them: a cap of its own for each refill would add up.
            *self.capped_at.get_or_insert(cap)
        }
    }

    fn next_release(&mut self, mono: Duration) -> Duration {
        let step = rate::step(self.policy.rate_limit.unwrap_or(RELEASES));
        let due = self.pace.max(mono);
        self.pace = due.saturating_add(step);
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
