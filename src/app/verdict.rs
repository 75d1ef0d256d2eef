//! Why an event did or did not reach an endpoint, and what comes next: decided over what is
//! known, without a store, a dispatcher or a clock.

use std::fmt::Write;
use std::sync::Arc;

use crate::dispatch::LaneView;
use crate::domain::content::Content;
use crate::domain::delivery::{Reason, Status};
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId};
use crate::domain::extras::Channel;
use crate::domain::filter::Failed;
use crate::domain::shaping::Root;
use crate::domain::time::Timestamp;
use crate::outbox::{DeliveryView, EndpointState, EventSummary};

/// What the store knows.
#[derive(Debug)]
pub struct Stored {
    pub event: EventSummary,
    /// `None`: the event does not go to the endpoint.
    pub delivery: Option<DeliveryView>,
    /// The event's content, if it does not go there or a source took it in, and it can be read.
    pub content: Option<Content>,
    /// `None`: the endpoint is not in force, but was once.
    pub endpoint: Option<(Arc<Endpoint>, EndpointState)>,
    /// The pending delivery that goes first, as the endpoint's order demands.
    pub ahead: Option<DeliveryView>,
}

/// What the dispatcher knows of a pending delivery.
#[derive(Debug, Default)]
pub struct Live {
    pub in_flight: bool,
    pub lane: Option<LaneView>,
    /// Outcomes could not be stored, so nothing is attempted.
    pub out_of_space: bool,
}

/// The answer in a word. The words are part of the API and do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No subscription of the endpoint matches the event.
    NotSubscribed,
    /// Event and endpoint belong to different tenants.
    OtherTenant,
    /// The endpoint was made after the event was accepted.
    EndpointNewer,
    /// Event and endpoint have no channel in common.
    OtherChannel,
    /// The endpoint's filter does not let the event through.
    Filtered,
    /// The endpoint matches now; it did not when the event was accepted.
    NotMatchedThen,
    Held,
    Delivered,
    Dead,
    /// An earlier event goes first, as the endpoint's order demands.
    Behind,
    /// An attempt is under way.
    InFlight,
    BreakerOpen,
    /// The endpoint asked for a pause.
    Paused,
    /// The daemon itself could not make the endpoint's last attempts.
    LocalFault,
    RateLimited,
    /// For its due time.
    Waiting,
    /// It is due and waits for a slot.
    Queued,
}

impl Answer {
    pub fn as_str(self) -> &'static str {
        match self {
            Answer::NotSubscribed => "not_subscribed",
            Answer::OtherTenant => "other_tenant",
            Answer::EndpointNewer => "endpoint_newer",
            Answer::OtherChannel => "other_channel",
            Answer::Filtered => "filtered",
            Answer::NotMatchedThen => "not_matched_then",
            Answer::Held => "held",
            Answer::Delivered => "delivered",
            Answer::Dead => "dead",
            Answer::Behind => "behind",
            Answer::InFlight => "in_flight",
            Answer::BreakerOpen => "breaker_open",
            Answer::Paused => "paused",
            Answer::LocalFault => "local_fault",
            Answer::RateLimited => "rate_limited",
            Answer::Waiting => "waiting",
            Answer::Queued => "queued",
        }
    }
}

#[derive(Debug, PartialEq)]
pub struct Verdict {
    pub answer: Answer,
    /// The answer in a sentence.
    pub detail: String,
    /// When the next attempt may start, as far as that can be told.
    pub next_at: Option<Timestamp>,
    /// The condition of the filter that does not hold.
    pub failed: Option<Failed>,
}

impl Verdict {
    fn new(answer: Answer, detail: impl Into<String>) -> Verdict {
        Verdict {
            answer,
            detail: detail.into(),
            next_at: None,
            failed: None,
        }
    }

    fn next_at(self, at: Timestamp) -> Verdict {
        Verdict {
            next_at: Some(at),
            ..self
        }
    }
}

impl Stored {
    /// Judges over what was gathered.
    pub fn verdict(&self, live: &Live, now: Timestamp) -> Verdict {
        let Some(delivery) = &self.delivery else {
            return self.unwanted();
        };
        match delivery.status {
            Status::Delivered => delivered(delivery),
            Status::Dead => dead(delivery),
            Status::Held => self.held(delivery),
            Status::Pending => pending(delivery, self.ahead.as_ref(), live, now),
        }
    }

    /// Why the event does not go to the endpoint.
    fn unwanted(&self) -> Verdict {
        let event = &self.event;
        let Some((endpoint, _)) = &self.endpoint else {
            let detail = "the endpoint is gone from the configuration file, and had no delivery of this event";
            return Verdict::new(Answer::NotSubscribed, detail);
        };
        if endpoint.tenant != event.tenant {
            let detail = format!(
                "the event is of tenant {}, the endpoint of tenant {}; an event reaches endpoints of its own tenant only",
                event.tenant, endpoint.tenant
            );
            return Verdict::new(Answer::OtherTenant, detail);
        }
        let wants = |event_type| endpoint.types.iter().any(|one| one.matches(event_type));
        if event.event_type.as_str() == "outboxd.test" {
            let detail = "a test event goes to the endpoint that it tests and to no other";
            return Verdict::new(Answer::NotSubscribed, detail);
        }
        if !wants(&event.event_type) {
            let types: Vec<String> = endpoint.types.iter().map(ToString::to_string).collect();
            let mut detail = format!(
                "the event's type is {}, the endpoint wants {}",
                event.event_type,
                types.join(", ")
            );
            if event.event_type.is_reserved() {
                detail.push_str(
                    "; types that begin with outboxd. are matched only by patterns that begin so",
                );
            }
            return Verdict::new(Answer::NotSubscribed, detail);
        }
        match made_at(&endpoint.id) {
            Some(made) if made >= event.accepted_at => Verdict::new(
                Answer::EndpointNewer,
                format!(
                    "the endpoint was made at {made}, the event accepted at {}; endpoints are matched once, at acceptance",
                    event.accepted_at
                ),
            ),
            _ => self.unshaped(endpoint).unwrap_or_else(|| {
                let detail = "the endpoint wants this event now, but has no delivery of it: endpoints are matched once, at acceptance, and it was not there then, wanted other types, channels or values, or the delivery was purged";
                Verdict::new(Answer::NotMatchedThen, detail)
            }),
        }
    }

    /// What of the endpoint's channels and filter keeps the event from it, as they are now.
    fn unshaped(&self, endpoint: &Endpoint) -> Option<Verdict> {
        let (content, shaping) = (self.content.as_ref()?, endpoint.shaping.as_ref()?);
        let extras = content.extras.as_deref();
        if !endpoint.takes_channels(extras) {
            let names = |channels: &[Channel]| {
                let names: Vec<&str> = channels.iter().map(Channel::as_str).collect();
                names.join(", ")
            };
            let of_event = match extras.map_or(&[][..], |extras| &extras.channels) {
                [] => "none".to_owned(),
                channels => names(channels),
            };
            let wanted = names(&shaping.channels);
            let detail =
                format!("the event's channels are {of_event}, the endpoint wants one of {wanted}");
            return Some(Verdict::new(Answer::OtherChannel, detail));
        }
        let root = Root::of(self.event.id, content);
        let failed = shaping.filter.as_ref()?.judge(root.json()).err()?;
        let place = match failed.path.as_str() {
            "" => "the event",
            path => path,
        };
        let detail = format!(
            "the endpoint's filter does not hold at {place}: {} {}, and what is there is {}",
            failed.operator, failed.expected, failed.found
        );
        Some(Verdict {
            failed: Some(failed),
            ..Verdict::new(Answer::Filtered, detail)
        })
    }

    fn held(&self, delivery: &DeliveryView) -> Verdict {
        let detail = match delivery.reason {
            _ if self.endpoint.is_none() => {
                "the endpoint is gone from the configuration file; its deliveries wait until it is back".to_owned()
            }
            Some(Reason::Template) => {
                let why = delivery.attempts.last().and_then(|last| last.error.as_ref());
                let why = why.map_or("", |error| error.detail.as_str());
                format!("its request cannot be rendered: {why}; changing the endpoint releases it")
            }
            Some(Reason::Backlog) => {
                "the endpoint's backlog is over outbox.endpoint_share; it is released as that drains".to_owned()
            }
            _ => self.disabled(),
        };
        Verdict::new(Answer::Held, detail)
    }

    fn disabled(&self) -> String {
        let state = self.endpoint.as_ref();
        let in_file = state.is_some_and(|(endpoint, _)| !endpoint.enabled);
        let reason = match state.and_then(|(_, state)| state.disabled) {
            _ if in_file => "enabled = false in the configuration file",
            Some(DisabledReason::Gone) => "it answered 410",
            Some(DisabledReason::Failing) => "every attempt failed for days",
            _ => "by hand",
        };
        let since = state.and_then(|(_, state)| state.disabled_at);
        let since = since.map(|at| format!(" since {at}")).unwrap_or_default();
        format!("the endpoint is disabled{since} ({reason}); enabling it releases what it holds")
    }
}

/// When an endpoint made through the API was made: its id says so.
fn made_at(id: &EndpointId) -> Option<Timestamp> {
    let ulid = ulid::Ulid::from_string(id.as_str().strip_prefix("ep_")?).ok()?;
    Some(Timestamp::from_millis(ulid.timestamp_ms()))
}

fn delivered(delivery: &DeliveryView) -> Verdict {
    let mut detail = "delivered".to_owned();
    if let Some(at) = delivery.finished_at {
        let _ = write!(detail, " at {at}"); // To a String: cannot fail.
    }
    let _ = write!(detail, " by attempt {}", delivery.attempt_count);
    if let Some(status) = delivery.attempts.last().and_then(|attempt| attempt.status) {
        let _ = write!(detail, ", answered with {status}");
    }
    Verdict::new(Answer::Delivered, detail)
}

fn dead(delivery: &DeliveryView) -> Verdict {
    let mut detail = match delivery.reason {
        Some(Reason::Exhausted) => "dead: the retry budget is used up",
        Some(Reason::Gone) => "dead: the endpoint answered 410",
        Some(Reason::Rejected) => {
            "dead: by the endpoint's answer rule another attempt is of no use"
        }
        Some(Reason::Cancelled) => "dead: somebody cancelled it",
        Some(Reason::EndpointDeleted) => "dead: the endpoint was deleted",
        Some(Reason::HeldTooLong) => "dead: it was held for longer than retention.held",
        Some(Reason::Space) => "dead: it was held, and its room was needed",
        Some(Reason::Damaged) => "dead: its stored body is damaged and cannot be sent",
        _ => "dead",
    }
    .to_owned();
    if let Some(at) = delivery.finished_at {
        let _ = write!(detail, ", at {at}");
    }
    Verdict::new(Answer::Dead, detail + &last(delivery))
}

/// How the last attempt failed, as the end of a sentence.
fn last(delivery: &DeliveryView) -> String {
    let count = delivery.attempt_count;
    match delivery.attempts.last() {
        None => "; there was no attempt".to_owned(),
        Some(attempt) => match &attempt.error {
            None => format!("; attempt {count} at {} succeeded", attempt.at),
            Some(error) => format!(
                "; attempt {count} at {} failed: {}: {}",
                attempt.at,
                error.kind.as_str(),
                error.detail
            ),
        },
    }
}

fn behind(head: &DeliveryView) -> Verdict {
    let event = head.event;
    let mut detail = format!("{event} goes first: the endpoint takes its events in order");
    if let Some(at) = head.next_attempt_at {
        let _ = write!(detail, "; that one is due at {at}");
    }
    if head.attempt_count > 0 {
        detail.push_str(&last(head));
    }
    Verdict::new(Answer::Behind, detail)
}

fn pending(
    delivery: &DeliveryView,
    ahead: Option<&DeliveryView>,
    live: &Live,
    now: Timestamp,
) -> Verdict {
    let tried = match delivery.attempt_count {
        0 => String::new(),
        _ => last(delivery),
    };
    if live.in_flight {
        let number = delivery.attempt_count.saturating_add(1);
        return Verdict::new(Answer::InFlight, format!("attempt {number} is under way"));
    }
    if let Some(head) = ahead {
        return behind(head);
    }
    let due = delivery.next_attempt_at.unwrap_or(now);
    let waiting = |answer, detail: String, at: Timestamp| {
        Verdict::new(answer, detail + &tried).next_at(at.max(due))
    };
    if let Some(lane) = live.lane {
        let probe = lane.probe_at.unwrap_or(now);
        if lane.breaker_open && due <= probe.max(now) {
            let when = match lane.probe_at {
                Some(at) if at > now => format!("the next is tried at {at}"),
                _ => "one is being tried now".to_owned(),
            };
            let detail = format!(
                "the endpoint failed several times in a row, so one delivery at a time is tried until one succeeds; {when}"
            );
            let verdict = waiting(Answer::BreakerOpen, detail, probe);
            let next_at = verdict.next_at.filter(|_| lane.probe_at.is_some());
            return Verdict { next_at, ..verdict };
        }
        if let Some(until) = lane.paused_until.filter(|until| *until > now.max(due)) {
            let detail = format!("the endpoint asked for a pause with Retry-After, until {until}");
            return waiting(Answer::Paused, detail, until);
        }
        if let Some(until) = lane.local_until.filter(|until| *until > now.max(due)) {
            let detail = format!(
                "outboxd could not make the last attempts, through no fault of the endpoint; the next may start at {until}"
            );
            return waiting(Answer::LocalFault, detail, until);
        }
        if let (Some(until), true) = (lane.rate_limited_until, due <= now) {
            let detail =
                format!("the endpoint's rate limit lets the next attempt start at {until}");
            return waiting(Answer::RateLimited, detail, until);
        }
    }
    if due > now {
        return waiting(
            Answer::Waiting,
            format!("it waits for its due time, {due}"),
            due,
        );
    }
    let detail = match live.lane {
        _ if live.out_of_space => {
            "it is due, but the disk is full: nothing is attempted until there is room".to_owned()
        }
        Some(lane) => format!(
            "it is due and waits for its turn: {} in flight to this endpoint, of {} that it may have now",
            lane.in_flight, lane.concurrency_limit
        ),
        None => "it is due and about to be tried".to_owned(),
    };
    Verdict::new(Answer::Queued, detail + &tried)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{EventType, Tenant};
    use crate::outbox::StatusCounts;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000)
    }

    fn later() -> Timestamp {
        Timestamp::from_millis(1_767_225_660_000)
    }

    fn pending_delivery(event: &str, due: Timestamp) -> DeliveryView {
        DeliveryView {
            event: event.parse().unwrap(),
            endpoint: EndpointId::new("orders").unwrap(),
            tenant: Tenant::default(),
            event_type: EventType::new("a").unwrap(),
            status: Status::Pending,
            reason: None,
            attempts: Vec::new(),
            attempts_omitted: false,
            attempt_count: 0,
            next_attempt_at: Some(due),
            accepted_at: now(),
            finished_at: None,
        }
    }

    fn stored(due: Timestamp) -> Stored {
        let delivery = pending_delivery("evt_01ARZ3NDEKTSV4RRFFQ69G5FAV", due);
        Stored {
            event: EventSummary {
                id: delivery.event,
                tenant: Tenant::default(),
                event_type: delivery.event_type.clone(),
                key: None,
                idempotency_key: None,
                accepted_at: now(),
                deliver_at: None,
                counts: StatusCounts::default(),
            },
            delivery: Some(delivery),
            content: None,
            endpoint: None,
            ahead: None,
        }
    }

    fn lane() -> LaneView {
        LaneView {
            in_flight: 1,
            concurrency_limit: 4,
            held: false,
            breaker_open: false,
            probe_at: None,
            paused_until: None,
            local_until: None,
            rate_limited_until: None,
        }
    }

    fn judged(stored: &Stored, lane: Option<LaneView>) -> (Answer, Option<Timestamp>) {
        let live = Live {
            lane,
            ..Live::default()
        };
        let verdict = stored.verdict(&live, now());
        (verdict.answer, verdict.next_at)
    }

    #[test]
    fn a_pending_delivery_waits_for_what_lets_it_go_last() {
        let (due, early) = (stored(now()), stored(later()));
        assert_eq!(judged(&due, None), (Answer::Queued, None));
        assert_eq!(judged(&due, Some(lane())), (Answer::Queued, None));
        assert_eq!(judged(&early, None), (Answer::Waiting, Some(later())));
        let open = LaneView {
            breaker_open: true,
            probe_at: Some(later()),
            ..lane()
        };
        assert_eq!(
            judged(&due, Some(open)),
            (Answer::BreakerOpen, Some(later()))
        );
        let probing = LaneView {
            probe_at: None,
            ..open
        };
        assert_eq!(judged(&due, Some(probing)), (Answer::BreakerOpen, None));
        let paused = LaneView {
            paused_until: Some(later()),
            ..lane()
        };
        assert_eq!(judged(&due, Some(paused)), (Answer::Paused, Some(later())));
        assert_eq!(
            judged(&early, Some(paused)),
            (Answer::Waiting, Some(later()))
        );
        let starved = LaneView {
            local_until: Some(later()),
            ..lane()
        };
        assert_eq!(
            judged(&due, Some(starved)),
            (Answer::LocalFault, Some(later()))
        );
        let limited = LaneView {
            rate_limited_until: Some(later()),
            ..lane()
        };
        assert_eq!(
            judged(&due, Some(limited)),
            (Answer::RateLimited, Some(later()))
        );
    }

    #[test]
    fn an_attempt_under_way_and_an_earlier_event_go_before_all_else() {
        let mut stored = stored(later());
        stored.ahead = Some(pending_delivery("evt_01ARZ3NDEKTSV4RRFFQ69G5FAA", now()));
        let live = Live {
            in_flight: true,
            ..Live::default()
        };
        assert_eq!(stored.verdict(&live, now()).answer, Answer::InFlight);
        assert_eq!(judged(&stored, None), (Answer::Behind, None));
    }

    #[test]
    fn without_a_delivery_the_endpoint_is_not_subscribed() {
        let mut stored = stored(now());
        stored.delivery = None;
        assert_eq!(judged(&stored, None), (Answer::NotSubscribed, None));
    }
}
