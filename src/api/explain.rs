//! Why an event did or did not reach an endpoint, and what comes next.
//!
//! `verdict` decides over what was gathered and knows no store. What is gathered is of
//! one moment or two: an attempt may start while the question is answered.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::deliveries::{self, from_path};
use super::endpoints::ShownRetry;
use super::problem::Problem;
use super::query::Query;
use super::router::{Named, json};
use super::{Api, spell};
use crate::clock;
use crate::config::units::{show_duration, show_rate};
use crate::dispatch::LaneView;
use crate::domain::delivery::{Reason, Status};
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId};
use crate::domain::event::{EventId, EventType, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::{DeliveryView, EndpointState, EventSummary, Outbox, ReadError};

/// `GET /v1/events/{id}/deliveries/{endpoint}/explain`
pub async fn explain(
    State(api): State<Arc<Api>>,
    Named(path): Named<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let (event, id) = from_path(path)?;
    let named = id.clone();
    let stored = api
        .read(move |outbox| Stored::read(outbox, event, &named))
        .await?;
    let live = match (&stored.delivery, api.outbox.number_of(&id)) {
        (Some(delivery), Some(no)) if delivery.status == Status::Pending => Live {
            in_flight: api.questions.is_in_flight(no, event).await,
            lane: api.questions.lane(no).await,
            out_of_space: api.outbox.is_out_of_space(),
        },
        _ => Live::default(),
    };
    let verdict = stored.verdict(&live, clock::now());
    json(StatusCode::OK, &Shown::new(&stored, &live, &verdict, &id))
}

/// What the store knows.
struct Stored {
    event: EventSummary,
    /// `None`: it does not go there.
    delivery: Option<DeliveryView>,
    /// `None`: it is not in force, but was once.
    endpoint: Option<(Arc<Endpoint>, EndpointState)>,
    /// The pending delivery that goes first, as the endpoint's order wants it.
    ahead: Option<DeliveryView>,
}

impl Stored {
    fn read(outbox: &Outbox, event: EventId, id: &EndpointId) -> Result<Stored, ReadError> {
        let delivery = match outbox.delivery(event, id) {
            Ok(delivery) => Some(delivery),
            Err(ReadError::NoSuchDelivery) => None,
            Err(error) => return Err(error),
        };
        let head = match outbox.number_of(id) {
            Some(no) if delivery.is_some() => outbox.ahead_of(no, event)?,
            _ => None,
        };
        Ok(Stored {
            event: outbox.summary(event)?,
            delivery,
            endpoint: outbox.endpoint(id),
            // It may be gone already.
            ahead: head.and_then(|head| outbox.delivery(head, id).ok()),
        })
    }
}

/// What the dispatcher knows of a pending delivery.
#[derive(Default)]
struct Live {
    in_flight: bool,
    lane: Option<LaneView>,
    /// Outcomes could not be stored, so nothing is attempted.
    out_of_space: bool,
}

/// The answer.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// In a word that does not change.
    answer: &'static str,
    /// In a sentence.
    detail: String,
    /// When the next attempt may start, as far as that can be told.
    next_at: Option<Timestamp>,
}

impl Verdict {
    fn new(answer: &'static str, detail: impl Into<String>) -> Verdict {
        Verdict {
            answer,
            detail: detail.into(),
            next_at: None,
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
    fn verdict(&self, live: &Live, now: Timestamp) -> Verdict {
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
            return Verdict::new("not_subscribed", detail);
        };
        if endpoint.tenant != event.tenant {
            let detail = format!(
                "the event is of tenant {}, the endpoint of tenant {}; an event reaches endpoints of its own tenant only",
                event.tenant, endpoint.tenant
            );
            return Verdict::new("other_tenant", detail);
        }
        let wants = |event_type| endpoint.types.iter().any(|one| one.matches(event_type));
        if event.event_type.as_str() == "outboxd.test" {
            let detail = "a test event goes to the endpoint that it tests and to no other";
            return Verdict::new("not_subscribed", detail);
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
            return Verdict::new("not_subscribed", detail);
        }
        match made_at(&endpoint.id) {
            Some(made) if made >= event.accepted_at => Verdict::new(
                "endpoint_newer",
                format!(
                    "the endpoint was made at {made}, the event accepted at {}; endpoints are matched once, at acceptance",
                    event.accepted_at
                ),
            ),
            _ => Verdict::new(
                "not_matched_then",
                "the endpoint wants this type now, but has no delivery of the event: endpoints are matched once, at acceptance, and it was not there then, wanted other types, or the delivery was purged",
            ),
        }
    }

    fn held(&self, delivery: &DeliveryView) -> Verdict {
        let detail = match delivery.reason {
            _ if self.endpoint.is_none() => {
                "the endpoint is gone from the configuration file; its deliveries wait until it is back".to_owned()
            }
            Some(Reason::Backlog) => {
                "the endpoint's backlog is over outbox.endpoint_share; it is released as that drains".to_owned()
            }
            _ => self.disabled(),
        };
        Verdict::new("held", detail)
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
    Verdict::new("delivered", detail)
}

fn dead(delivery: &DeliveryView) -> Verdict {
    let mut detail = match delivery.reason {
        Some(Reason::Exhausted) => "dead: the retry budget is used up",
        Some(Reason::Gone) => "dead: the endpoint answered 410",
        Some(Reason::Cancelled) => "dead: somebody cancelled it",
        Some(Reason::EndpointDeleted) => "dead: the endpoint was deleted",
        Some(Reason::HeldTooLong) => "dead: it was held for longer than retention.held",
        Some(Reason::Space) => "dead: it was held, and its room was needed",
        _ => "dead",
    }
    .to_owned();
    if let Some(at) = delivery.finished_at {
        let _ = write!(detail, ", at {at}");
    }
    Verdict::new("dead", detail + &last(delivery))
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
    Verdict::new("behind", detail)
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
        return Verdict::new("in_flight", format!("attempt {number} is under way"));
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
            let verdict = waiting("breaker_open", detail, probe);
            let next_at = verdict.next_at.filter(|_| lane.probe_at.is_some());
            return Verdict { next_at, ..verdict };
        }
        if let Some(until) = lane.paused_until.filter(|until| *until > now.max(due)) {
            let detail = format!("the endpoint asked for a pause with Retry-After, until {until}");
            return waiting("paused", detail, until);
        }
        if let (Some(until), true) = (lane.rate_limited_until, due <= now) {
            let detail =
                format!("the endpoint's rate limit lets the next attempt start at {until}");
            return waiting("rate_limited", detail, until);
        }
    }
    if due > now {
        return waiting("waiting", format!("it waits for its due time, {due}"), due);
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
    Verdict::new("queued", detail + &tried)
}

#[derive(Serialize)]
struct Shown<'a> {
    event: EventId,
    endpoint: &'a EndpointId,
    tenant: &'a Tenant,
    r#type: &'a EventType,
    /// Whether the event goes there.
    matched: bool,
    answer: &'static str,
    detail: &'a str,
    next_at: Option<Timestamp>,
    /// The event that goes first.
    behind: Option<EventId>,
    policy: Option<Policy<'a>>,
    lane: Option<Lane>,
    delivery: Option<deliveries::Shown<'a>>,
}

/// What is decisive for the endpoint's deliveries, as it is now.
#[derive(Serialize)]
struct Policy<'a> {
    url: &'a str,
    tenant: &'a Tenant,
    types: Vec<String>,
    max_in_flight: usize,
    rate_limit: Option<String>,
    ordering: &'static str,
    timeout: String,
    retry: ShownRetry,
}

/// How the endpoint stands with the dispatcher.
#[derive(Serialize)]
struct Lane {
    in_flight: usize,
    allowance: usize,
    breaker_open: bool,
    probe_at: Option<Timestamp>,
    paused_until: Option<Timestamp>,
    rate_limited_until: Option<Timestamp>,
}

impl<'a> Shown<'a> {
    fn new(stored: &'a Stored, live: &Live, verdict: &'a Verdict, id: &'a EndpointId) -> Self {
        Shown {
            event: stored.event.id,
            endpoint: id,
            tenant: &stored.event.tenant,
            r#type: &stored.event.event_type,
            matched: stored.delivery.is_some(),
            answer: verdict.answer,
            detail: &verdict.detail,
            next_at: verdict.next_at,
            behind: stored.ahead.as_ref().map(|head| head.event),
            policy: stored
                .endpoint
                .as_ref()
                .map(|(one, _)| Policy::from(&**one)),
            lane: live.lane.map(Lane::from),
            delivery: stored.delivery.as_ref().map(deliveries::Shown::from),
        }
    }
}

impl<'a> From<&'a Endpoint> for Policy<'a> {
    fn from(endpoint: &'a Endpoint) -> Self {
        Policy {
            url: endpoint.url.as_str(),
            tenant: &endpoint.tenant,
            types: endpoint.types.iter().map(ToString::to_string).collect(),
            max_in_flight: endpoint.max_in_flight,
            rate_limit: endpoint.rate_limit.map(show_rate),
            ordering: spell::ordering(endpoint.ordering),
            timeout: show_duration(endpoint.timeout),
            retry: ShownRetry::from(&*endpoint.retry),
        }
    }
}

impl From<LaneView> for Lane {
    fn from(lane: LaneView) -> Self {
        Lane {
            in_flight: lane.in_flight,
            allowance: lane.concurrency_limit,
            breaker_open: lane.breaker_open,
            probe_at: lane.probe_at,
            paused_until: lane.paused_until,
            rate_limited_until: lane.rate_limited_until,
        }
    }
}
