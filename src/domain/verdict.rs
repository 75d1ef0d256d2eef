//! What a response means for its delivery and its endpoint (docs/behaviour.md).
//!
//! The budget is judged here and nowhere else, and only when an attempt has failed: so a
//! delivery whose time ran out while it waited still gets one last attempt, and a next
//! due time past the end of the budget is not drawn forward to it. An attempt that came to
//! nothing through the daemon's own fault is no failure: it does not count, and the delivery
//! is tried again soon however old it is.

use std::time::Duration;

use rand::Rng;

use super::attempt::{Attempt, ErrorKind};
use super::backoff::{jittered, local_delay, retry_delay};
use super::delivery::{Next, Reason};
use super::endpoint::DisabledReason;
use super::retry::RetryPolicy;
use super::time::Timestamp;

/// What of an attempt decides about its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Option<u16>,
    /// `None` is success.
    pub error: Option<ErrorKind>,
    /// What the answer asks to wait, from the end of the attempt.
    pub retry_after: Option<Duration>,
    /// By the endpoint's answer rule another attempt is of no use.
    pub permanent: bool,
}

impl Outcome {
    /// That of an attempt which the daemon's own fault kept from being made.
    pub const LOCAL: Outcome = Outcome {
        status: None,
        error: Some(ErrorKind::Local),
        retry_after: None,
        permanent: false,
    };

    pub fn is_success(&self) -> bool {
        self.error.is_none()
    }

    /// The daemon's own fault: nobody's failure.
    pub fn is_local(&self) -> bool {
        self.error == Some(ErrorKind::Local)
    }
}

impl From<&Attempt> for Outcome {
    fn from(attempt: &Attempt) -> Outcome {
        Outcome {
            status: attempt.status,
            error: attempt.error.as_ref().map(|error| error.kind),
            retry_after: attempt.retry_after,
            permanent: attempt.permanent,
        }
    }
}

/// The retry budget that an attempt was made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Goes on into the next attempt's budget as it is.
    pub from: Timestamp,
    /// The time that has passed since it began.
    pub age: Duration,
    /// Attempts that had failed under it before.
    pub tries: u32,
}

/// What an outcome leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub next: Next,
    /// The endpoint is to be disabled.
    pub disable: Option<DisabledReason>,
    /// The whole endpoint is to be left alone for so long.
    pub pause: Option<Duration>,
}

/// The verdict on an attempt that ended at `wall`.
pub fn judge(
    outcome: Outcome,
    policy: &RetryPolicy,
    budget: Budget,
    wall: Timestamp,
    rng: &mut impl Rng,
) -> Verdict {
    if outcome.is_local() {
        return Verdict {
            next: Next::Retry {
                due: wall + whole_millis(local_delay(budget.age, rng)),
                budget_from: budget.from,
                tries: budget.tries,
            },
            disable: None,
            pause: None,
        };
    }
    let pause = pause(outcome, policy);
    let (next, disable) = if outcome.is_success() {
        (Next::Delivered, None)
    } else if outcome.status == Some(410) {
        let reason = Reason::Gone;
        (Next::Dead { reason }, Some(DisabledReason::Gone))
    } else if outcome.permanent {
        let reason = Reason::Rejected;
        (Next::Dead { reason }, None)
    } else {
        (retry(policy, budget, pause, wall, rng), None)
    };
    Verdict {
        next,
        disable,
        pause,
    }
}

fn pause(outcome: Outcome, policy: &RetryPolicy) -> Option<Duration> {
    let is_gone = outcome.status == Some(410);
    let asked = outcome
        .retry_after
        .filter(|_| !outcome.is_success() && !is_gone);
    asked.map(|wait| wait.min(policy.max))
}

fn retry(
    policy: &RetryPolicy,
    budget: Budget,
    pause: Option<Duration>,
    wall: Timestamp,
    rng: &mut impl Rng,
) -> Next {
    let tries = budget.tries.saturating_add(1);
    let spent = policy.schedule.is_empty() && budget.age >= policy.give_up_after;
    match retry_delay(policy, tries) {
        Some(delay) if !spent => {
            let wait = jittered(delay, policy.jitter, rng).max(pause.unwrap_or_default());
            Next::Retry {
                due: wall + whole_millis(wait),
                budget_from: budget.from,
                tries,
            }
        }
        _ => Next::Dead {
            reason: Reason::Exhausted,
        },
    }
}

/// Rounded up: a stored time is in milliseconds and must not come before what it stands for.
fn whole_millis(span: Duration) -> Duration {
    span.saturating_add(Duration::from_nanos(999_999))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    const WALL: Timestamp = Timestamp::MAX;

    fn now() -> Timestamp {
        WALL.saturating_sub(Duration::from_secs(1 << 30))
    }

    fn status(status: u16) -> Outcome {
        Outcome {
            status: Some(status),
            error: (!(200..300).contains(&status)).then_some(ErrorKind::Status),
            retry_after: None,
            permanent: false,
        }
    }

    fn policy() -> RetryPolicy {
        RetryPolicy {
            jitter: 0.0,
            ..RetryPolicy::default()
        }
    }

    fn judged(outcome: Outcome, policy: &RetryPolicy, age: Duration, tries: u32) -> Verdict {
        let budget = Budget {
            from: now().saturating_sub(age),
            age,
            tries,
        };
        judge(
            outcome,
            policy,
            budget,
            now(),
            &mut SmallRng::seed_from_u64(1),
        )
    }

    fn wait(verdict: Verdict) -> Duration {
        match verdict.next {
            Next::Retry { due, .. } => due.since(now()),
            other => panic!("{other:?}"),
        }
    }

    const EXHAUSTED: Next = Next::Dead {
        reason: Reason::Exhausted,
    };

    #[test]
    fn two_hundreds_are_delivered_whatever_the_budget() {
        let late = Duration::from_secs(1 << 29);
        for code in [200, 204, 299] {
            let verdict = judged(status(code), &policy(), late, 90);
            assert_eq!(
                verdict,
                Verdict {
                    next: Next::Delivered,
                    disable: None,
                    pause: None
                }
            );
        }
    }

    #[test]
    fn gone_disables_the_endpoint_and_kills_the_delivery() {
        let verdict = judged(status(410), &policy(), Duration::ZERO, 0);
        assert_eq!(verdict.disable, Some(DisabledReason::Gone));
        assert_eq!(
            verdict.next,
            Next::Dead {
                reason: Reason::Gone
            }
        );
    }

    #[test]
    fn what_an_answer_rule_calls_permanent_is_dead_at_once() {
        let rejected = Outcome {
            permanent: true,
            ..status(400)
        };
        let verdict = judged(rejected, &policy(), Duration::ZERO, 0);
        let reason = Reason::Rejected;
        assert_eq!(
            (verdict.next, verdict.disable),
            (Next::Dead { reason }, None)
        );
    }

    #[test]
    fn all_else_is_retried_by_the_rule() {
        let foreign = |kind: &ErrorKind| *kind != ErrorKind::Local;
        for kind in ErrorKind::ALL.into_iter().filter(foreign) {
            let outcome = Outcome {
                status: None,
                error: Some(kind),
                retry_after: None,
                permanent: false,
            };
            let verdict = judged(outcome, &policy(), Duration::ZERO, 0);
            assert_eq!(wait(verdict), Duration::from_secs(5), "{kind:?}");
            assert_eq!((verdict.disable, verdict.pause), (None, None));
        }
        for code in [301, 400, 404, 500, 503, 429] {
            let verdict = judged(status(code), &policy(), Duration::ZERO, 2);
            assert_eq!(wait(verdict), Duration::from_secs(45), "{code}");
        }
    }

    #[test]
    fn retry_after_is_a_least_wait_and_pauses_capped_at_max() {
        let after = |code, seconds| Outcome {
            retry_after: Some(Duration::from_secs(seconds)),
            permanent: false,
            ..status(code)
        };
        // That a 500 asks to wait an answer rule says.
        for code in [429, 503, 500] {
            let verdict = judged(after(code, 900), &policy(), Duration::ZERO, 0);
            assert_eq!(wait(verdict), Duration::from_secs(900));
            assert_eq!(verdict.pause, Some(Duration::from_secs(900)));
            let verdict = judged(after(code, 2), &policy(), Duration::ZERO, 0);
            assert_eq!(wait(verdict), Duration::from_secs(5));
            let verdict = judged(after(code, 1 << 40), &policy(), Duration::ZERO, 0);
            assert_eq!(wait(verdict), policy().max);
            let spent = judged(after(code, 60), &policy(), policy().give_up_after, 9);
            assert_eq!(
                (spent.next, spent.pause),
                (EXHAUSTED, Some(Duration::from_secs(60)))
            );
        }
        for code in [200, 410] {
            assert_eq!(
                judged(after(code, 900), &policy(), Duration::ZERO, 0).pause,
                None
            );
        }
        let part = Outcome {
            retry_after: Some(Duration::from_nanos(5_000_000_001)),
            permanent: false,
            ..status(503)
        };
        assert_eq!(
            wait(judged(part, &policy(), Duration::ZERO, 0)),
            Duration::from_millis(5001)
        );
    }

    #[test]
    fn the_budget_is_judged_after_a_failure_and_not_drawn_forward() {
        let short = Duration::from_millis(1);
        let last = policy().give_up_after - short;
        assert_eq!(wait(judged(status(500), &policy(), last, 20)), policy().max);
        let spent = judged(status(500), &policy(), policy().give_up_after, 0);
        assert_eq!(spent.next, EXHAUSTED);
    }

    #[test]
    fn the_daemons_own_fault_costs_nothing_and_is_tried_again_soon() {
        let outcome = Outcome {
            retry_after: Some(Duration::from_secs(900)),
            permanent: false,
            ..Outcome::LOCAL
        };
        let day = Duration::from_secs(86_400);
        for (age, least, most) in [(Duration::ZERO, 500, 1001), (7 * day, 30_000, 60_001)] {
            let verdict = judged(outcome, &policy(), age, 7);
            assert_eq!((verdict.disable, verdict.pause), (None, None));
            let Next::Retry {
                due,
                budget_from,
                tries,
            } = verdict.next
            else {
                panic!("{verdict:?}")
            };
            assert_eq!((now().since(budget_from), tries), (age, 7));
            let wait = due.since(now()).as_millis();
            assert!((least..=most).contains(&wait), "{wait} ms");
        }
    }

    #[test]
    fn a_schedule_rules_alone() {
        let policy = RetryPolicy {
            schedule: vec![Duration::from_secs(1), Duration::from_secs(2)],
            ..policy()
        };
        let late = policy.give_up_after * 2;
        assert_eq!(
            wait(judged(status(500), &policy, late, 1)),
            Duration::from_secs(2)
        );
        assert_eq!(
            judged(status(500), &policy, Duration::ZERO, 2).next,
            EXHAUSTED
        );
    }
}
