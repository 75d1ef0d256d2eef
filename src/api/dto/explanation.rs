//! Why an event did or did not reach an endpoint.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::delivery::Delivery;
use super::endpoint::Retry;
use super::received::Received;
use crate::app;
use crate::config::units::{show_duration, show_rate};
use crate::dispatch::LaneView;
use crate::domain::endpoint::{Endpoint, EndpointId};
use crate::domain::event::{EventId, EventType, Tenant};
use crate::domain::filter::Failed;
use crate::domain::time::Timestamp;

#[derive(Serialize)]
pub struct Explanation<'a> {
    event: EventId,
    endpoint: &'a EndpointId,
    tenant: &'a Tenant,
    r#type: &'a EventType,
    /// Whether the event goes there.
    matched: bool,
    answer: &'static str,
    detail: &'a str,
    next_at: Option<Timestamp>,
    /// The condition of the filter that does not hold.
    failed: Option<FailedCondition<'a>>,
    /// The event that goes first.
    behind: Option<EventId>,
    policy: Option<Policy<'a>>,
    lane: Option<Lane>,
    /// How a source took the event in.
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<Received<'a>>,
    delivery: Option<Delivery<'a>>,
}

/// A condition of a filter that does not hold.
#[derive(Serialize)]
pub struct FailedCondition<'a> {
    path: &'a str,
    operator: &'a str,
    expected: Option<Box<RawValue>>,
    /// The type of what is there, or `missing`.
    found: &'static str,
}

impl<'a> From<&'a Failed> for FailedCondition<'a> {
    fn from(failed: &'a Failed) -> Self {
        FailedCondition {
            path: &failed.path,
            operator: &failed.operator,
            expected: RawValue::from_string(failed.expected.to_string()).ok(),
            found: failed.found,
        }
    }
}

/// What is decisive for the endpoint's deliveries, as it is now.
#[derive(Serialize)]
struct Policy<'a> {
    url: Cow<'a, str>,
    tenant: &'a Tenant,
    types: Vec<String>,
    max_in_flight: usize,
    rate_limit: Option<String>,
    ordering: &'static str,
    timeout: String,
    retry: Retry,
}

/// How the endpoint stands with the dispatcher.
#[derive(Serialize)]
struct Lane {
    in_flight: usize,
    concurrency_limit: usize,
    breaker_open: bool,
    probe_at: Option<Timestamp>,
    paused_until: Option<Timestamp>,
    rate_limited_until: Option<Timestamp>,
}

impl<'a> Explanation<'a> {
    pub fn new(explained: &'a app::Explanation, id: &'a EndpointId) -> Self {
        let app::Explanation {
            stored,
            live,
            verdict,
        } = explained;
        let content = stored.content.as_ref();
        let extras = content.and_then(|content| content.extras.as_deref());
        Explanation {
            event: stored.event.id,
            endpoint: id,
            tenant: &stored.event.tenant,
            r#type: &stored.event.event_type,
            matched: stored.delivery.is_some(),
            answer: verdict.answer.as_str(),
            detail: &verdict.detail,
            next_at: verdict.next_at,
            failed: verdict.failed.as_ref().map(FailedCondition::from),
            behind: stored.ahead.as_ref().map(|head| head.event),
            policy: stored
                .endpoint
                .as_ref()
                .map(|(one, _)| Policy::from(&**one)),
            lane: live.lane.map(Lane::from),
            received: Received::of(extras, stored.event.idempotency_key.as_ref()),
            delivery: stored.delivery.as_ref().map(Delivery::from),
        }
    }
}

impl<'a> From<&'a Endpoint> for Policy<'a> {
    fn from(endpoint: &'a Endpoint) -> Self {
        Policy {
            url: endpoint.shown_url(),
            tenant: &endpoint.tenant,
            types: endpoint.types.iter().map(ToString::to_string).collect(),
            max_in_flight: endpoint.max_in_flight,
            rate_limit: endpoint.rate_limit.map(show_rate),
            ordering: endpoint.ordering.as_str(),
            timeout: show_duration(endpoint.timeout),
            retry: Retry::from(&*endpoint.retry),
        }
    }
}

impl From<LaneView> for Lane {
    fn from(lane: LaneView) -> Self {
        Lane {
            in_flight: lane.in_flight,
            concurrency_limit: lane.concurrency_limit,
            breaker_open: lane.breaker_open,
            probe_at: lane.probe_at,
            paused_until: lane.paused_until,
            rate_limited_until: lane.rate_limited_until,
        }
    }
}
