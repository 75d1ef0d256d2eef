//! The circuit breaker of an endpoint (docs/behaviour.md).
//!
//! Five failures in a row open it; then one probe at a time, the k-th after `delay(k)` of
//! the retry rule; the first success closes it, a probe's or that of an attempt which
//! began before it opened. A failure of such an earlier attempt says nothing new and
//! does not put the next probe off.

use std::time::Duration;

use rand::Rng;

use crate::domain::backoff::{jittered, probe_delay};
use crate::domain::event::EventId;
use crate::domain::retry::RetryPolicy;

/// So many failures in a row open it.
pub const FAILURES_TO_OPEN: u32 = 5;

#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// Which probe is next or under way, from 1.
    k: u32,
    probe_at: Duration,
    probe: Option<EventId>,
}

/// When the breaker lets the next attempt through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Free,
    From(Duration),
    /// A probe is under way.
    Shut,
}

impl Breaker {
    /// That of an endpoint known to have failed so often in a row before the start: its
    /// first probe is due at once.
    pub fn after_failures(failures: u32, mono: Duration) -> Breaker {
        let open = (failures >= FAILURES_TO_OPEN).then_some(Open {
            k: 1,
            probe_at: mono,
            probe: None,
        });
        Breaker { failures, open }
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub fn gate(&self) -> Gate {
        match &self.open {
            None => Gate::Free,
            Some(open) if open.probe.is_some() => Gate::Shut,
            Some(open) => Gate::From(open.probe_at),
        }
    }

    /// The next probe, if the breaker is open and none is under way.
    pub fn probe_at(&self) -> Option<Duration> {
        match self.gate() {
            Gate::From(probe_at) => Some(probe_at),
            Gate::Free | Gate::Shut => None,
        }
    }

    /// An attempt begins; while the breaker is open it is the probe.
    pub fn started(&mut self, event: EventId) {
        if let Some(open) = &mut self.open {
            open.probe = Some(event);
        }
    }

    pub fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    pub fn failed(
        &mut self,
        event: EventId,
        policy: &RetryPolicy,
        mono: Duration,
        rng: &mut impl Rng,
    ) {
        self.failures = self.failures.saturating_add(1);
        let mut at = |k| mono.saturating_add(jittered(probe_delay(policy, k), policy.jitter, rng));
        match &mut self.open {
            Some(open) if open.probe == Some(event) => {
                open.k = open.k.saturating_add(1);
                open.probe_at = at(open.k);
                open.probe = None;
            }
            Some(_) => {}
            None if self.failures >= FAILURES_TO_OPEN => {
                self.open = Some(Open {
                    k: 1,
                    probe_at: at(1),
                    probe: None,
                });
            }
            None => {}
        }
    }

    /// An attempt says nothing about the endpoint. If it was the probe, another one may come
    /// from `probe_at` on, and the k-th is still to be made.
    pub fn unjudged(&mut self, event: EventId, probe_at: Duration) {
        if let Some(open) = &mut self.open
            && open.probe == Some(event)
        {
            open.probe = None;
            open.probe_at = probe_at;
        }
    }

    /// The next probe need not wait.
    pub fn probe_now(&mut self, mono: Duration) {
        if let Some(open) = &mut self.open {
            open.probe_at = open.probe_at.min(mono);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn second(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn fail(breaker: &mut Breaker, event: u128, at: u64) {
        let policy = RetryPolicy {
            jitter: 0.0,
            schedule: vec![second(10), second(100)],
            ..RetryPolicy::default()
        };
        let mut rng = SmallRng::seed_from_u64(1);
        breaker.failed(EventId(event), &policy, second(at), &mut rng);
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            fail(&mut breaker, 1, 0);
        }
        breaker.succeeded();
        for _ in 0..4 {
            fail(&mut breaker, 1, 0);
        }
        assert_eq!((breaker.is_open(), breaker.gate()), (false, Gate::Free));
        fail(&mut breaker, 1, 7);
        assert_eq!(
            (breaker.is_open(), breaker.gate()),
            (true, Gate::From(second(17)))
        );
    }

    #[test]
    fn probes_go_one_at_a_time_and_only_they_advance_it() {
        let mut breaker = Breaker::default();
        for event in 0..5 {
            fail(&mut breaker, event, 0);
        }
        fail(&mut breaker, 6, 5);
        assert_eq!(breaker.gate(), Gate::From(second(10)), "an earlier attempt");
        breaker.started(EventId(7));
        assert_eq!(breaker.gate(), Gate::Shut);
        fail(&mut breaker, 8, 11);
        assert_eq!(breaker.gate(), Gate::Shut, "still under way");
        fail(&mut breaker, 7, 12);
        assert_eq!(breaker.gate(), Gate::From(second(112)));
        breaker.started(EventId(7));
        fail(&mut breaker, 7, 120);
        assert_eq!(
            breaker.gate(),
            Gate::From(second(220)),
            "the last entry again"
        );
        breaker.probe_now(second(130));
        assert_eq!(breaker.gate(), Gate::From(second(130)));
        breaker.succeeded();
        assert_eq!(breaker.gate(), Gate::Free);
    }

    #[test]
    fn failures_known_from_before_the_start_open_it_with_a_probe_at_once() {
        assert!(!Breaker::after_failures(4, second(3)).is_open());
        let breaker = Breaker::after_failures(5, second(3));
        assert_eq!(breaker.gate(), Gate::From(second(3)));
    }
}
