//! The adaptive concurrency limit of an endpoint (AIMD, RFC 5681): how many attempts it may
//! have at once, within its `max_in_flight`.
//!
//! As with TCP, the capacity of the receiver is unknown and has to be probed. The limit doubles until
//! the first sign of congestion (slow start): with every round trip at a quick receiver, and with
//! every other one elsewhere. Then it grows by an eighth a round trip, by one at least. A timeout, a
//! 429 or a 503 halves it, at most once a round trip: an attempt that started before the last halving
//! does not count. The limit at which an endpoint refused is remembered for a while and not reached
//! again, so that a receiver with a fixed limit does not refuse all the time.
//!
//! A round trip is over when the attempts that were under way at its beginning have ended, and
//! not when as many have succeeded: a receiver may take longer to refuse than to accept.
//!
//! For a receiver that queues instead of refusing, [`Knee`] finds the limit.
//!
//! The limit grows only while it is used: an endpoint that gets one event a second has not
//! shown that it can take sixteen at once.

use std::time::Duration;

use super::knee::{Judged, Knee, Samples};
use crate::domain::attempt::ErrorKind;
use crate::domain::verdict::Outcome;

/// So many attempts at once are allowed at first.
pub const FIRST: usize = 4;
/// For so long no more are tried than were refused.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// A round trip does not wait for a few attempts that take so many times the usual latency.
const STRAGGLES: u32 = 10;
/// The usual latency counts as this at least.
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub struct ConcurrencyLimit {
    /// At least 1.
    now: usize,
    /// What it was before it last changed, and when it did.
    before: usize,
    changed_at: Duration,
    /// No sign of congestion yet.
    doubling: bool,
    round: Option<Round>,
    /// When it was last taken back; attempts from before say nothing new.
    halved_at: Duration,
    /// So many were refused then.
    refused: Option<(usize, Duration)>,
    latency: Samples,
    knee: Knee,
}

/// A round trip under way.
#[derive(Debug)]
struct Round {
    began: Duration,
    /// How many attempts were under way then, and how many of these still are.
    of: usize,
    left: usize,
}

impl ConcurrencyLimit {
    /// What an endpoint begins with that had this limit when it was last busy.
    pub fn new(before: usize) -> ConcurrencyLimit {
        ConcurrencyLimit {
            now: before.clamp(1, FIRST),
            before: before.clamp(1, FIRST),
            changed_at: Duration::ZERO,
            doubling: true,
            round: None,
            halved_at: Duration::ZERO,
            refused: None,
            latency: Samples::default(),
            knee: Knee::default(),
        }
    }

    pub fn now(&self) -> usize {
        self.now
    }

    /// From one on again: after the breaker opened, and when held deliveries are released.
    pub fn restart(&mut self, mono: Duration) {
        *self = ConcurrencyLimit {
            halved_at: mono,
            changed_at: mono,
            ..ConcurrencyLimit::new(1)
        };
    }

    /// An attempt ended that began at `since`, one of `in_flight`; never more than `most`.
    pub fn ended(
        &mut self,
        outcome: &Outcome,
        since: Duration,
        mono: Duration,
        in_flight: usize,
        most: usize,
    ) {
        if let Some(round) = &mut self.round
            && since <= round.began
            && round.left > 0
        {
            round.left -= 1;
        }
        let refused = matches!(outcome.status, Some(429 | 503)) && !outcome.is_success();
        if refused || outcome.error == Some(ErrorKind::Timeout) {
            if refused && since >= self.halved_at {
                let level = match since >= self.changed_at {
                    true => self.now,
                    false => self.before,
                };
                self.refused = Some((level, mono.saturating_add(REFUSED_FOR)));
            }
            self.halve(since, mono);
            return;
        }
        if outcome.status.is_some() && since >= self.halved_at {
            let took = mono.saturating_sub(since);
            self.latency.push(took);
            if since >= self.changed_at {
                self.knee.sample(took);
            }
        }
        // A round begins with the first success of an attempt that the limit as it is now
        // allowed, if the limit is used.
        if self.round.is_none()
            && outcome.is_success()
            && since >= self.changed_at
            && in_flight * 2 >= self.now
        {
            self.round = Some(Round {
                began: mono,
                of: in_flight,
                left: in_flight.saturating_sub(1),
            });
        }
        if self.is_round_over(mono) {
            self.grow(mono, most);
        }
    }

    fn is_round_over(&self, mono: Duration) -> bool {
        self.round.as_ref().is_some_and(|round| {
            let few = (round.of / 8).max(1);
            let long = self.latency.median().max(SHORTEST) * STRAGGLES;
            let lasts = mono.saturating_sub(round.began);
            round.left == 0 || (self.latency.count() > 0 && round.left <= few && lasts > long)
        })
    }

    fn halve(&mut self, since: Duration, mono: Duration) {
        if since < self.halved_at {
            return;
        }
        self.now = (self.now / 2).max(1);
        self.doubling = false;
        self.round = None;
        self.halved_at = mono;
        self.latency.clear();
        self.knee.forget();
    }

    fn grow(&mut self, mono: Duration, most: usize) {
        let refused = self.refused.filter(|&(_, until)| until > mono);
        let own_most = most;
        let most = refused.map_or(most, |(count, _)| most.min(count.saturating_sub(1)));
        self.round = None;
        let wanted = match self.knee.judge(self.now, mono) {
            Judged::Stay => return,
            Judged::To(level) => {
                self.doubling = false;
                level
            }
            Judged::Double => {
                self.doubling = true;
                self.now.saturating_mul(2)
            }
            Judged::Grow if self.doubling => self.now.saturating_mul(2),
            Judged::Grow => self.now.saturating_add((self.now / 8).max(1)),
        };
        let wanted = match wanted > self.now {
            true => wanted.min(most.max(self.now)),
            false => wanted,
        };
        if wanted == self.now && wanted == own_most {
            self.knee.capped(self.now, mono);
        }
        if wanted != self.now {
            self.before = self.now;
            self.now = wanted;
            self.changed_at = mono;
            self.knee.moved(wanted);
        }
    }
}

#[cfg(test)]
#[path = "concurrency_limit_tests.rs"]
mod tests;
