//! A delivery: its state in words, and the timeline of its attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::attempt::{Around, AttemptShown, detail};
use super::badge::{Badge, reason};
use super::endpoint::name_of_id;
use super::moment::Moment;
use super::sight::Sight;
use crate::app::App;
use crate::domain::delivery::Status;
use crate::domain::endpoint::EndpointId;
use crate::domain::time::Timestamp;
use crate::outbox::DeliveryView;

/// See the module.
#[derive(Debug)]
pub struct DeliveryShown {
    pub event: String,
    pub endpoint: String,
    /// What people call the endpoint, where the id says nothing.
    pub name: Option<String>,
    pub event_type: String,
    /// `None`: it goes without saying, or may not be seen.
    pub tenant: Option<String>,
    /// The page of the delivery.
    pub path: String,
    pub badge: Badge,
    pub reason: Option<&'static str>,
    pub accepted: Moment,
    pub finished: Option<Moment>,
    pub next: Option<Moment>,
    pub attempt_count: u32,
    /// There are more attempts than are listed.
    pub omitted: bool,
    /// Newest first.
    pub attempts: Vec<AttemptShown>,
    /// What went wrong last.
    pub last_error: Option<String>,
    pub can_retry: bool,
    pub can_cancel: bool,
}

impl DeliveryShown {
    pub fn new(
        delivery: &DeliveryView,
        url: Option<&Url>,
        now: Timestamp,
        sight: &Sight,
    ) -> DeliveryShown {
        let attempts = &delivery.attempts;
        let longest = attempts.iter().map(|attempt| attempt.duration).max();
        let first = delivery
            .attempt_count
            .saturating_sub(u32::try_from(attempts.len()).unwrap_or(u32::MAX));
        let around = |number| Around {
            number,
            accepted_at: delivery.accepted_at,
            longest: longest.unwrap_or(Duration::ZERO),
            url,
            now,
        };
        let mut attempts: Vec<AttemptShown> = (first.saturating_add(1)..)
            .zip(attempts)
            .map(|(number, attempt)| AttemptShown::new(attempt, around(number), sight))
            .collect();
        attempts.reverse();
        let moment = |at: Timestamp| Moment::new(at, now);
        let last = delivery.attempts.last();
        let last_error = last.and_then(|last| last.error.as_ref());
        DeliveryShown {
            event: delivery.event.to_string(),
            endpoint: delivery.endpoint.to_string(),
            name: None,
            event_type: delivery.event_type.to_string(),
            tenant: Some(delivery.tenant.to_string())
                .filter(|name| sight.tenants && name != "default"),
            path: path(
                sight.base,
                &delivery.event.to_string(),
                delivery.endpoint.as_str(),
            ),
            badge: Badge::of_status(delivery.status),
            reason: delivery.reason.map(reason),
            accepted: moment(delivery.accepted_at),
            finished: delivery.finished_at.map(moment),
            next: delivery.next_attempt_at.map(moment),
            attempt_count: delivery.attempt_count,
            omitted: first > 0 || delivery.attempts_omitted,
            attempts,
            last_error: last_error
                .map(|error| format!("{}: {}", error.kind.as_str(), detail(error, sight))),
            can_retry: delivery.status != Status::Held,
            can_cancel: matches!(delivery.status, Status::Pending | Status::Held),
        }
    }
}

/// Says in these rows what people call their endpoints.
pub fn name_endpoints(rows: &mut [DeliveryShown], app: &App) {
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    for row in rows {
        let name = known
            .entry(row.endpoint.clone())
            .or_insert_with(|| name_of_id(app, &EndpointId::new(&row.endpoint).ok()?));
        row.name.clone_from(name);
    }
}

/// The page of a delivery.
pub fn path(base: &str, event: &str, endpoint: &str) -> String {
    format!("{base}/events/{event}/deliveries/{endpoint}")
}
