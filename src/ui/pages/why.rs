//! Why a delivery is as it is: the answer of `explain` for people.

use crate::app::Explanation;
use crate::app::verdict::Answer;
use crate::domain::delivery::Reason;
use crate::domain::endpoint::Source;
use crate::domain::time::Timestamp;
use crate::outbox::DeliveryView;
use crate::ui::views::badge::{self, Badge};
use crate::ui::views::body::printable;
use crate::ui::views::moment::Moment;
use crate::ui::views::sight::Sight;

/// The answer of `explain`, in words.
pub struct Why {
    pub badge: Badge,
    pub detail: String,
    pub next: Option<Moment>,
    /// What to do about it.
    pub advice: Option<&'static str>,
}

pub fn why(explained: &Explanation, now: Timestamp, sight: &Sight) -> Why {
    let verdict = &explained.verdict;
    let word = verdict.answer.as_str().replace('_', " ");
    let detail = beside(&word, &verdict.detail).to_owned();
    let (badge, advice) = match verdict.answer {
        Answer::Delivered => (Badge::good(word), None),
        Answer::Dead => (
            Badge::bad(word),
            Some("Repair the cause first. Retry then sends it again, with a fresh retry budget."),
        ),
        Answer::Held => (
            Badge::warn(word),
            Some("Enable or repair the endpoint: what it holds is then released by itself."),
        ),
        Answer::BreakerOpen => (
            Badge::warn(word),
            Some("Diagnose the endpoint. Retry attempts this delivery now."),
        ),
        Answer::NotSubscribed | Answer::OtherTenant | Answer::OtherChannel | Answer::Filtered => (
            Badge::plain(word),
            Some(
                "Endpoints are matched once, when an event is accepted. Change what the endpoint wants, then hand the event in again.",
            ),
        ),
        Answer::EndpointNewer | Answer::NotMatchedThen => (
            Badge::plain(word),
            Some("Endpoints are matched once, when an event is accepted: hand the event in again."),
        ),
        Answer::Behind => (
            Badge::warn(word),
            Some(
                "The endpoint's order demands that the event before it goes first. Retry or cancel that one.",
            ),
        ),
        Answer::LocalFault => (
            Badge::bad(word),
            Some("The fault is this machine's: look at the log and at the number of open files."),
        ),
        Answer::InFlight
        | Answer::Waiting
        | Answer::Queued
        | Answer::Paused
        | Answer::RateLimited => (Badge::plain(word), None),
    };
    Why {
        badge,
        detail: match sight.addresses {
            true => detail,
            false => for_customers(explained),
        },
        next: verdict.next_at.map(|at| Moment::new(at, now)),
        advice: advice.filter(|_| sight.setup),
    }
}

/// A detail beside a badge that says its first word already.
fn beside<'a>(word: &str, detail: &'a str) -> &'a str {
    let rest = detail.strip_prefix(word);
    let rest = rest.and_then(|rest| rest.strip_prefix(": "));
    rest.unwrap_or(detail)
}

/// The answer without what concerns others: no addresses, no other events, nothing of the daemon and
/// its configuration.
fn for_customers(explained: &Explanation) -> String {
    let (verdict, stored) = (&explained.verdict, &explained.stored);
    let delivery = stored.delivery.as_ref();
    let said = match verdict.answer {
        // These name the event, and what its own endpoint wants.
        Answer::Delivered | Answer::InFlight | Answer::EndpointNewer => {
            return verdict.detail.clone();
        }
        Answer::NotSubscribed | Answer::OtherChannel | Answer::Filtered => {
            let known = stored.endpoint.as_ref();
            let is_own = known.is_some_and(|(endpoint, _)| endpoint.source != Source::Toml);
            return match is_own {
                true => verdict.detail.clone(),
                false => "the endpoint did not want this event".to_owned(),
            };
        }
        Answer::NotMatchedThen => {
            "the endpoint wants this event now, but did not when the event was accepted"
        }
        Answer::OtherTenant => "the endpoint did not want this event",
        Answer::Dead => delivery
            .and_then(|one| one.reason)
            .map_or("dead", badge::reason),
        Answer::Held => return held(explained),
        Answer::Behind => "the endpoint takes its events in order, and one before it goes first",
        Answer::BreakerOpen => {
            "the endpoint failed several times in a row, so one delivery at a time is tried until one \
             succeeds"
        }
        Answer::Paused => "the endpoint asked for a pause with Retry-After",
        Answer::LocalFault => {
            "the last attempts could not be made, through no fault of the endpoint"
        }
        Answer::RateLimited => "the endpoint's rate limit spaces its attempts",
        Answer::Waiting => "it waits for its due time",
        Answer::Queued => "it is due and waits for its turn",
    };
    format!("{said}{}", last(delivery))
}

fn held(explained: &Explanation) -> String {
    let stored = &explained.stored;
    let delivery = stored.delivery.as_ref();
    let reason = delivery.and_then(|one| one.reason);
    let known = stored.endpoint.as_ref();
    let own_template = known.is_some_and(|(endpoint, _)| endpoint.source != Source::Toml);
    let last = delivery.and_then(|one| one.attempts.last());
    match (reason, last.and_then(|last| last.error.as_ref())) {
        // Their own template, and the event that they may read.
        (Some(Reason::Template), Some(error)) if own_template => format!(
            "its request cannot be rendered: {}; changing the endpoint releases it",
            printable(&error.detail)
        ),
        (Some(Reason::Backlog), _) => {
            "too many deliveries wait for the endpoint; it is released as they go out".to_owned()
        }
        (Some(reason), _) => badge::reason(reason).to_owned(),
        (None, _) => "the endpoint is disabled; enabling it releases what it holds".to_owned(),
    }
}

/// How the last attempt failed, as the end of a sentence.
fn last(delivery: Option<&DeliveryView>) -> String {
    let last = delivery.and_then(|delivery| delivery.attempts.last());
    let Some(last) = last else {
        return String::new();
    };
    match (&last.error, last.status) {
        (None, _) => String::new(),
        (Some(_), Some(status)) => {
            format!(
                "; the last attempt, at {}, was answered with {status}",
                last.at
            )
        }
        (Some(error), None) => {
            format!(
                "; of the last attempt, at {}: {}",
                last.at,
                error.kind.sentence()
            )
        }
    }
}
