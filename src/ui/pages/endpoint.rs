//! One endpoint: how it does, what applies to it, what it got last, and all that can be done to it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::page::shell;
use crate::api::Api;
use crate::api::dto;
use crate::api::path::parse_name;
use crate::app::KnownEndpoint;
use crate::clock;
use crate::domain::endpoint::{EndpointId, Source};
use crate::outbox::{AttemptFilter, AttemptView, DeliveryFilter, Page as Listed, StatsOf};
use crate::ui::base::failed::Failed;
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::view::Can;
use crate::ui::base::visit::Visit;
use crate::ui::views::badge::Badge;
use crate::ui::views::chart::{self, Chart, Row};
use crate::ui::views::delivery::DeliveryShown;
use crate::ui::views::endpoint::{is_seen, url_of};
use crate::ui::views::moment::Moment;
use crate::ui::views::sight::Sight;
use crate::ui::views::stats;

/// Minutes of a step of the charts.
const STEP: u32 = 30;
/// Deliveries that are listed.
const DELIVERIES: usize = 20;
/// Attempts whose answers are counted.
const ANSWERS: usize = 200;

#[derive(Template)]
#[template(path = "endpoint.html")]
struct Page {
    shell: Shell,
    id: String,
    tenant: String,
    url: String,
    description: String,
    badge: Badge,
    disabled_at: Option<Moment>,
    is_enabled: bool,
    /// It is disabled by the file, which wins.
    is_off_in_file: bool,
    /// It can be changed and deleted here.
    is_own: bool,
    has_secret: bool,
    pending: u64,
    held: u64,
    dead: u64,
    success: String,
    p50: String,
    p95: String,
    volume: Chart,
    latency: Chart,
    rows: Vec<Row>,
    answers: Vec<Answers>,
    policy: Vec<(String, String)>,
    deliveries: Vec<DeliveryShown>,
    /// What to do next, if something is wrong.
    advice: Option<&'static str>,
}

/// How many of the last attempts had this answer.
struct Answers {
    badge: Badge,
    count: usize,
    /// Out of 100.
    share: usize,
}

/// `GET …/endpoints/{id}`
pub async fn show(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Result<Response, Failed> {
    let (app, now) = (api.app(), clock::now());
    let id: EndpointId = parse_name(&id)?;
    let known = app.endpoints.find(id.clone()).await?;
    let lane = app.health.lane(&id).await;
    let steps = stats::last_day(now, STEP);
    let counts = app.stats.read(StatsOf::Endpoint(id.clone()), steps).await?;
    let filter = AttemptFilter {
        endpoint: Some(id.clone()),
        ..AttemptFilter::default()
    };
    let counted = |page: &Listed<AttemptView>| answers(&page.items);
    let answers = app
        .deliveries
        .attempts(filter, None, ANSWERS, counted)
        .await?;
    let filter = DeliveryFilter {
        endpoint: Some(id.clone()),
        ..DeliveryFilter::default()
    };
    let sight = visit.view.sight.clone();
    let url = is_seen(&known.0, &sight).then(|| known.0.url.clone());
    let shown = move |page: &Listed<_>| {
        let items = page.items.iter();
        let shown = items.map(|one| DeliveryShown::new(one, url.as_ref(), now, &sight));
        shown.collect::<Vec<_>>()
    };
    let deliveries = app.deliveries.list(filter, None, DELIVERIES, shown).await?;
    let badge = Badge::of_endpoint(&known, lane.as_ref(), now);
    let is_open = lane.is_some_and(|lane| lane.breaker_open);
    let can = visit.view.can;
    let sight = &visit.view.sight;
    let advice = advice(&known, is_open, can);
    let is_own = known.0.source != Source::Toml;
    let (endpoint, state) = &known;
    let all = stats::sum(&counts);
    let page = Page {
        shell: shell(&visit, "/endpoints", id.to_string()),
        id: id.to_string(),
        tenant: endpoint.tenant.to_string(),
        url: url_of(endpoint, sight),
        description: endpoint.description.clone(),
        badge,
        disabled_at: state.disabled_at.map(|at| Moment::new(at, now)),
        is_enabled: endpoint.enabled && state.disabled.is_none(),
        is_off_in_file: !endpoint.enabled,
        is_own,
        has_secret: !endpoint.secrets.is_empty() && can.secrets && is_seen(endpoint, sight),
        pending: state.pending,
        held: state.held,
        dead: state.dead,
        success: stats::success(&all),
        p50: stats::took(&all, 50),
        p95: stats::took(&all, 95),
        volume: chart::volume(steps, &counts),
        latency: chart::latency(steps, &counts),
        rows: chart::rows(steps, &counts),
        answers,
        policy: policy(&known, sight),
        deliveries,
        advice,
    };
    html(&page)
}

/// What the last attempts came to, the most frequent first.
fn answers(attempts: &[AttemptView]) -> Vec<Answers> {
    let mut counted: Vec<(Badge, usize)> = Vec::new();
    for view in attempts {
        let attempt = &view.attempt;
        let error = attempt.error.as_ref().map(|error| error.kind.as_str());
        let badge = match (attempt.status, error) {
            (Some(status), None) => Badge::good(status.to_string()),
            (Some(status), Some(_)) => Badge::bad(status.to_string()),
            (None, error) => Badge::bad(error.unwrap_or("none")),
        };
        match counted.iter_mut().find(|(known, _)| *known == badge) {
            Some((_, count)) => *count += 1,
            None => counted.push((badge, 1)),
        }
    }
    counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let all = attempts.len().max(1);
    let shown = counted.into_iter().map(|(badge, count)| Answers {
        badge,
        count,
        share: (count * 100 / all).max(1),
    });
    shown.collect()
}

/// What a customer sees of the rules of an endpoint of theirs.
const FOR_CUSTOMERS: [&str; 17] = [
    "types",
    "filter",
    "channels",
    "format",
    "template",
    "content_type",
    "preset",
    "text",
    "method",
    "headers",
    "secret",
    "public_key",
    "signatures",
    "rate_limit",
    "timeout",
    "retry",
    "disabled_reason",
];

/// What applies to the endpoint, by the names of the API, its secrets masked.
fn policy(known: &KnownEndpoint, sight: &Sight) -> Vec<(String, String)> {
    let shown = serde_json::to_value(dto::endpoint::Endpoint::from(known));
    let Ok(Value::Object(fields)) = shown else {
        return Vec::new();
    };
    // These stand elsewhere on the page.
    let elsewhere = [
        "id",
        "url",
        "tenant",
        "description",
        "backlog",
        "disabled_at",
    ];
    let is_said = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    let is_shown = |name: &str| match (sight.setup, known.0.source) {
        (true, _) => !elsewhere.contains(&name),
        (false, Source::Toml) => name == "types",
        (false, _) => FOR_CUSTOMERS.contains(&name),
    };
    let fields = fields.into_iter();
    let fields = fields.filter(|(name, value)| is_shown(name) && is_said(value));
    fields
        .map(|(name, value)| (name, in_words(&value)))
        .collect()
}

fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items = items.iter().filter_map(Value::as_str);
            items.collect::<Vec<_>>().join(", ")
        }
        Value::Object(members) if members.values().all(|one| !one.is_object()) => {
            let members = members.iter();
            let members = members.map(|(name, value)| format!("{name} {}", in_words(value)));
            members.collect::<Vec<_>>().join("\n")
        }
        other => format!("{other:#}"),
    }
}

fn advice((endpoint, state): &KnownEndpoint, is_open: bool, can: Can) -> Option<&'static str> {
    if state.disabled.is_some() || !endpoint.enabled {
        return Some(
            "Nothing is sent while it is disabled. Repair the receiver, send a test, then enable it: \
             what is held goes out, paced.",
        );
    }
    if is_open && !can.operate {
        return Some(
            "The receiver failed five times in a row. It is probed now and then, and deliveries go on \
             with the first success.",
        );
    }
    if is_open {
        return Some(
            "The receiver failed five times in a row. outboxd probes it by itself and goes on with the \
             first success; “Diagnose” finds out how far a request comes now.",
        );
    }
    if state.dead > 0 {
        return Some(
            "It has dead letters. Once the receiver is repaired, “Replay” sends them again.",
        );
    }
    None
}
