//! A lane: an endpoint that has deliveries to attempt, or is failing.
//!
//! A lane knows its deliveries' deadlines, its breaker and how it behaves, and says when
//! it could start an attempt; whether there is a slot for it, [`share`](super::share)
//! decides. An endpoint with nothing pending and nothing to remember has no lane.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::breaker::{Breaker, Gate};
use super::concurrency_limit::{self, ConcurrencyLimit};
use super::local::{self, LocalFaults};
use super::message::{Entry, LanePolicy};
use super::queue::Queue;
use super::share::{Pace, Turn};
use crate::domain::account::Total as _;
use crate::domain::attempt::ErrorKind;
use crate::domain::delivery::Next;
use crate::domain::endpoint::DisabledReason;
use crate::domain::rate::Bucket;
use crate::domain::schedule::{Now, WallClock};
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Outcome, judge};

/// An attempt that takes longer is slow.
pub const SLOW: Duration = Duration::from_secs(1);
/// An endpoint is disabled when all of its last so many attempts, over so long, failed.
const FAILING_ATTEMPTS: u32 = 20;
const FAILING_FOR: Duration = Duration::from_secs(5 * 86_400);
/// What outlives a lane, for as long as the endpoint is configured.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    /// How the last attempt that ended behaved.
    pub last_pace: Pace,
    /// When the rate limit is as if nothing had been attempted.
    pub bucket_full_at: Duration,
    /// Its concurrency limit.
    pub concurrency_limit: usize,
}

impl Default for Remembered {
    fn default() -> Self {
        Remembered {
            last_pace: Pace::New,
            bucket_full_at: Duration::ZERO,
            concurrency_limit: concurrency_limit::FIRST,
        }
    }
}

#[derive(Debug)]
pub struct Lane {
    pub policy: Arc<LanePolicy>,
    /// Its pending deliveries.
    pub queue: Queue,
    pub breaker: Breaker,
    /// The endpoint is deleted; the lane goes with its last outcome.
    pub removed: bool,
    pub paused_until: Duration,
    pub local_faults: LocalFaults,
    pub in_flight: usize,
    /// Outcomes on their way into the index.
    pub settling: usize,
    /// Of those in flight, how many have run for longer than [`SLOW`].
    slow_attempts: usize,
    last_pace: Pace,
    /// The rate limit, if there is one.
    bucket: Option<Bucket>,
    concurrency_limit: ConcurrencyLimit,
    /// Since when, and how often, every attempt has failed.
    failing: Option<(Timestamp, u32)>,
    /// Its place with the scheduler, which alone changes it.
    pub scheduled: Scheduled,
}

/// A lane's place with the scheduler.
#[derive(Debug)]
pub struct Scheduled {
    pub pace: Pace,
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
    /// The delivery as a `retry` left it meanwhile: after a failure that is what it becomes.
    pub retried: Option<Entry>,
    pub outcome: Outcome,
    pub took: Duration,
    /// [`Lane::turned_slow`] was called for it.
    pub counted_slow: bool,
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
    pub fn new(policy: Arc<LanePolicy>, remembered: Remembered, mono: Duration) -> Lane {
        let last_pace = remembered.last_pace;
        let bucket = policy
            .rate_limit
            .map(|rate| Bucket::new(rate, remembered.bucket_full_at, mono));
        Lane {
            queue: Queue::new(policy.ordering),
            policy,
            bucket,
            breaker: Breaker::default(),
            removed: false,
            paused_until: Duration::ZERO,
            local_faults: LocalFaults::default(),
            in_flight: 0,
            settling: 0,
            slow_attempts: 0,
            last_pace,
            concurrency_limit: ConcurrencyLimit::new(remembered.concurrency_limit),
            failing: None,
            scheduled: Scheduled {
                pace: last_pace,
                turn: None,
                timer: None,
                active: false,
                waiting: 0,
                open: false,
            },
        }
    }

    /// Nothing pending and nothing to remember but the last pace.
    pub fn is_idle(&self) -> bool {
        let busy = self.in_flight + self.settling > 0;
        let quiet = !self.queue.held && self.failing.is_none() && self.queue.is_exhausted();
        !busy && !self.queue.is_asking() && (quiet || self.removed)
    }

    pub fn remembered(&self) -> Remembered {
        Remembered {
            last_pace: self.last_pace,
            bucket_full_at: self.bucket_full_at(),
            concurrency_limit: self.concurrency_limit.now(),
        }
    }

    fn bucket_full_at(&self) -> Duration {
        self.bucket
            .map_or(Duration::ZERO, |bucket| bucket.full_at())
    }

    /// The endpoint is configured anew.
    /// `busy` are its deliveries in flight or settling.
    pub fn configure(
        &mut self,
        policy: Arc<LanePolicy>,
        mono: Duration,
        busy: impl Iterator<Item = Entry>,
    ) {
        if policy.ordering != self.policy.ordering {
            self.queue.reorder(policy.ordering, busy);
        }
        let full_at = self.bucket_full_at();
        self.bucket = policy
            .rate_limit
            .map(|rate| Bucket::new(rate, full_at, mono));
        self.policy = policy;
        if self.removed {
            self.removed = false;
            self.queue.held = false;
        }
    }

    /// When the rate limit lets the next attempt through; past if it does now.
    pub fn rate_allows_at(&self) -> Duration {
        self.bucket
            .as_ref()
            .map_or(Duration::ZERO, Bucket::ready_at)
    }

    /// How the lane behaves with the slots that it is given.
    pub fn pace(&self) -> Pace {
        if self.slow_attempts > 0 {
            Pace::Slow
        } else {
            self.last_pace
        }
    }

    /// When the next attempt may start, as far as the lane is concerned.
    pub fn start_at(&self) -> Option<Duration> {
        if self.queue.held {
            return None;
        }
        let first = self.queue.window.first()?.max(self.paused_until);
        let first = first.max(self.local_faults.until());
        let first = first.max(self.rate_allows_at());
        match self.breaker.gate() {
            Gate::Free => Some(first),
            Gate::From(probe_at) => Some(first.max(probe_at)),
            Gate::Shut => None,
        }
    }

    /// Whether the lane may have one more in flight; `share` is what its pace allows.
    pub fn has_room(&self, share: usize) -> bool {
        let most = self.policy.max_in_flight.max(1);
        // Attempts from before the breaker opened do not put off the probe.
        let earned = if self.breaker.is_open() {
            most
        } else if self.local_faults.is_probing() {
            1
        } else {
            self.concurrency_limit.now().min(share)
        };
        self.in_flight < most.min(earned)
    }

    /// How many attempts at once it may have; one while the breaker is open, or while attempts
    /// fail through the daemon's own fault.
    pub fn concurrency_limit(&self) -> usize {
        if self.breaker.is_open() || self.local_faults.is_probing() {
            1
        } else {
            self.concurrency_limit
                .now()
                .min(self.policy.max_in_flight.max(1))
        }
    }

    /// The outcome of an attempt is stored; `again` is what is pending after it.
    pub fn stored(&mut self, entry: &Entry, again: Option<Entry>, now: Now, capacity: usize) {
        self.settling.take_off(1);
        self.queue.stored(entry, again, &self.policy, now, capacity);
    }

    /// Begins an attempt of the first due delivery.
    pub fn start(&mut self, mono: Duration) -> Option<Entry> {
        let entry = self.queue.start(mono)?;
        self.breaker.started(entry.event);
        if let Some(bucket) = &mut self.bucket {
            bucket.take(mono);
        }
        self.in_flight += 1;
        Some(entry)
    }

    /// An attempt has been running for longer than [`SLOW`].
    pub fn turned_slow(&mut self) {
        self.slow_attempts += 1;
    }

    /// An attempt ended: what it leads to.
    pub fn ended(
        &mut self,
        ended: Ended,
        now: Now,
        clock: &WallClock,
        rng: &mut impl Rng,
    ) -> Ruling {
        self.left(&ended);
        if ended.outcome.is_local() {
            self.note_local(&ended, now.mono);
        } else {
            // A request was sent: what hindered the others is over.
            self.local_faults = LocalFaults::default();
            self.note(&ended, now, rng);
        }
        let budget = self.queue.due.budget(&ended.entry, now, clock);
        let verdict = judge(ended.outcome, &self.policy.retry, budget, now.wall, rng);
        if let Some(pause) = verdict.pause {
            self.paused_until = self.paused_until.max(now.mono.saturating_add(pause));
        }
        let failing = || self.failing(now, clock);
        let judged = !ended.outcome.is_local();
        let disable = verdict.disable.or_else(|| failing().filter(|_| judged));
        if disable.is_some() {
            self.queue.hold();
        }
        let mut ruling = Ruling {
            next: verdict.next,
            disable,
            again: None,
        };
        let wanted = ended.retried.filter(|_| verdict.disable.is_none());
        match (ruling.next, wanted) {
            (Next::Delivered, _) | (Next::Dead { .. } | Next::Held { .. }, None) => {}
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

    /// A delivery has nothing to be sent: `next` is what becomes of it, unless it is tried again
    /// on demand. `None`: it is gone.
    pub fn lost(&mut self, ended: &Ended, next: Option<Next>, mono: Duration) -> Option<Ruling> {
        self.left(ended);
        self.breaker.unjudged(ended.entry.event, mono);
        let mut ruling = Ruling {
            next: next?,
            disable: None,
            again: None,
        };
        if let Some(retried) = ended.retried {
            ruling.retry(retried);
        }
        Some(ruling)
    }

    /// An attempt is no longer under way.
    fn left(&mut self, ended: &Ended) {
        self.in_flight.take_off(1);
        self.slow_attempts.take_off(usize::from(ended.counted_slow));
    }

    /// An attempt failed through the daemon's own fault. It says nothing about the endpoint.
    fn note_local(&mut self, ended: &Ended, mono: Duration) {
        let since = mono.saturating_sub(ended.took);
        self.local_faults.happened(since, mono);
        let probe_at = mono.saturating_add(local::FIRST_WAIT);
        self.breaker.unjudged(ended.entry.event, probe_at);
    }

    /// What an attempt says about the endpoint.
    fn note(&mut self, ended: &Ended, now: Now, rng: &mut impl Rng) {
        let timed_out = ended.outcome.error == Some(ErrorKind::Timeout);
        self.last_pace = if timed_out || ended.took > SLOW {
            Pace::Slow
        } else {
            Pace::Prompt
        };
        if self.removed {
            return;
        }
        if ended.outcome.is_success() {
            self.breaker.succeeded();
            self.failing = None;
            self.adjust_concurrency_limit(ended, now);
            return;
        }
        let (since, attempts) = self.failing.unwrap_or((now.wall, 0));
        self.failing = Some((since, attempts.saturating_add(1)));
        self.breaker
            .failed(ended.entry.event, &self.policy.retry, now.mono, rng);
        if self.breaker.is_open() {
            self.concurrency_limit.restart(now.mono);
        } else {
            self.adjust_concurrency_limit(ended, now);
        }
    }

    fn adjust_concurrency_limit(&mut self, ended: &Ended, now: Now) {
        let since = now.mono.saturating_sub(ended.took);
        let (in_flight, most) = (self.in_flight + 1, self.policy.max_in_flight.max(1));
        self.concurrency_limit
            .ended(&ended.outcome, since, now.mono, in_flight, most);
    }

    fn failing(&self, now: Now, clock: &WallClock) -> Option<DisabledReason> {
        let (since, attempts) = self.failing?;
        let long = now.wall.since(clock.corrected(since, now)) >= FAILING_FOR;
        (!self.queue.held && long && attempts >= FAILING_ATTEMPTS)
            .then_some(DisabledReason::Failing)
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
        self.queue.due.released(released_at);
    }

    /// The endpoint is deleted.
    pub fn remove(&mut self) {
        self.queue.hold();
        self.removed = true;
        self.breaker.succeeded();
        self.failing = None;
    }

    /// The endpoint was enabled at `at`.
    pub fn release(&mut self, at: Timestamp, mono: Duration) {
        self.queue.held = false;
        self.concurrency_limit.restart(mono);
        self.breaker.succeeded();
        self.failing = None;
        self.paused_until = Duration::ZERO;
        self.queue.due.released(Some(at));
        self.queue.forget();
    }
}
