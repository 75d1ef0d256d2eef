//! An endpoint, its secrets masked, and the retry rule it follows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::header::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::app::KnownEndpoint;
use crate::config::units::{show_duration, show_rate};
use crate::domain::endpoint::{self, DisabledReason, EndpointId};
use crate::domain::event::Tenant;
use crate::domain::json::Json;
use crate::domain::retry::RetryPolicy;
use crate::domain::shaping::{Format, Verb};
use crate::domain::signature::{Secret, SecretKind, Style};
use crate::domain::time::Timestamp;

/// What stands for a value that is not shown.
const MASK: &str = "…";

#[derive(Serialize)]
pub struct Endpoint<'a> {
    id: &'a EndpointId,
    tenant: &'a Tenant,
    /// But for its host it is masked if there is a preset.
    url: Cow<'a, str>,
    types: Vec<String>,
    /// `null`: unsigned.
    pub secret: Option<&'a str>,
    /// What verifies `v1a` signatures.
    public_key: Option<String>,
    headers: BTreeMap<&'a str, &'static str>,
    max_in_flight: usize,
    rate_limit: Option<String>,
    ordering: &'static str,
    timeout: String,
    http2: bool,
    retry: Retry,
    description: &'a str,
    #[serde(flatten)]
    shaping: ShapingFields,
    /// Whether it takes deliveries now.
    enabled: bool,
    disabled_reason: Option<&'static str>,
    disabled_at: Option<Timestamp>,
    source: &'static str,
    /// The endpoint's id in the file from which it was applied.
    applied_as: Option<&'a EndpointId>,
    backlog: Backlog,
}

/// What shapes its requests, as it was given; secrets are masked.
#[derive(Serialize)]
struct ShapingFields {
    filter: Option<Raw>,
    channels: Vec<String>,
    format: &'static str,
    template: Option<Raw>,
    content_type: Option<Raw>,
    preset: Option<&'static str>,
    text: Option<Raw>,
    method: &'static str,
    answer: Option<Raw>,
    signatures: Raw,
    auth: Option<Raw>,
    /// Of the client certificate.
    client_cert_not_after: Option<Timestamp>,
    /// Masked; `null` if there is none.
    ca: Option<Raw>,
    cloudevents_handshake: bool,
    cloudevents_source: Option<Raw>,
}

type Raw = Box<RawValue>;

impl ShapingFields {
    fn of(endpoint: &endpoint::Endpoint) -> ShapingFields {
        let shaping = endpoint.shaping.as_deref();
        let given = |key| shaping.and_then(|shaping| shaping.shown(key)).and_then(raw);
        let styles = shaping.map_or(&[][..], |shaping| &shaping.signatures);
        let signatures = match styles {
            [] if endpoint.secrets.is_empty() => Json::Array(Vec::new()),
            [] => Json::Array(vec!["v1".into()]),
            styles => Style::list_to_json(styles),
        };
        let channels = shaping.map_or(&[][..], |shaping| &shaping.channels);
        ShapingFields {
            filter: given("filter"),
            channels: channels.iter().map(ToString::to_string).collect(),
            format: shaping.map_or(Format::Standard, |one| one.format).as_str(),
            template: given("template"),
            content_type: given("content_type"),
            preset: shaping.and_then(|one| one.preset).map(|preset| preset.name),
            text: given("text"),
            method: shaping.map_or(Verb::Post, |one| one.method).as_str(),
            answer: given("answer"),
            signatures: raw(signatures).unwrap_or_default(),
            auth: given("auth"),
            client_cert_not_after: shaping
                .and_then(|one| one.identity.as_ref())
                .map(|identity| identity.not_after()),
            ca: given("ca"),
            cloudevents_handshake: shaping.is_some_and(|one| one.consents.is_some()),
            cloudevents_source: given("cloudevents_source"),
        }
    }
}

fn raw(json: Json) -> Option<Raw> {
    RawValue::from_string(json.to_string()).ok()
}

#[derive(Serialize)]
pub struct Retry {
    first: String,
    factor: f64,
    max: String,
    jitter: f64,
    give_up_after: String,
    schedule: Vec<String>,
}

#[derive(Serialize)]
struct Backlog {
    pending: u64,
    held: u64,
    dead: u64,
}

impl<'a> From<&'a KnownEndpoint> for Endpoint<'a> {
    fn from((endpoint, state): &'a KnownEndpoint) -> Self {
        let in_file = (!endpoint.enabled).then_some(DisabledReason::Manual);
        let disabled = in_file.or(state.disabled);
        Endpoint {
            id: &endpoint.id,
            tenant: &endpoint.tenant,
            url: endpoint.shown_url(),
            types: endpoint.types.iter().map(ToString::to_string).collect(),
            secret: endpoint.secrets.first().map(|kept| masked(&kept.secret)),
            public_key: public_key(endpoint),
            headers: shown_headers(&endpoint.headers),
            max_in_flight: endpoint.max_in_flight,
            rate_limit: endpoint.rate_limit.map(show_rate),
            ordering: endpoint.ordering.as_str(),
            timeout: show_duration(endpoint.timeout),
            http2: endpoint.http2,
            retry: Retry::from(&*endpoint.retry),
            description: &endpoint.description,
            shaping: ShapingFields::of(endpoint),
            enabled: disabled.is_none(),
            disabled_reason: disabled.map(DisabledReason::as_str),
            disabled_at: state.disabled_at,
            source: endpoint.source.as_str(),
            applied_as: endpoint.applied_as.as_ref(),
            backlog: Backlog {
                pending: state.pending,
                held: state.held,
                dead: state.dead,
            },
        }
    }
}

fn masked(secret: &Secret) -> &'static str {
    match secret.kind() {
        SecretKind::Symmetric => "whsec_…",
        SecretKind::Ed25519 => "whsk_…",
    }
}

/// That of the newest key that makes `v1a` signatures.
fn public_key(endpoint: &endpoint::Endpoint) -> Option<String> {
    let mut secrets = endpoint.secrets.iter();
    let of_secret = secrets.find_map(|kept| kept.secret.public_key());
    let of_shaping = || endpoint.shaping.as_ref()?.public_key();
    of_secret.map(|key| key.to_string()).or_else(of_shaping)
}

impl From<&RetryPolicy> for Retry {
    fn from(retry: &RetryPolicy) -> Self {
        Retry {
            first: show_duration(retry.first),
            factor: retry.factor,
            max: show_duration(retry.max),
            jitter: retry.jitter,
            give_up_after: show_duration(retry.give_up_after),
            schedule: retry.schedule.iter().copied().map(show_duration).collect(),
        }
    }
}

/// Static headers by name; their values are often credentials and are masked.
fn shown_headers(headers: &HeaderMap) -> BTreeMap<&str, &'static str> {
    let names = headers.keys();
    names.map(|name| (name.as_str(), MASK)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::{Ordering, Rate, Source, TypePattern};
    use crate::outbox::EndpointState;
    use http::HeaderValue;
    use std::sync::Arc;
    use std::time::Duration;

    fn known(id: &str) -> KnownEndpoint {
        let mut headers = HeaderMap::new();
        headers.insert("x-team", HeaderValue::from_static("orders"));
        headers.insert("authorization", HeaderValue::from_static("Bearer hunter2"));
        let endpoint = endpoint::Endpoint {
            id: EndpointId::new(id).unwrap(),
            tenant: Tenant::default(),
            url: "https://example.com/hook".parse().unwrap(),
            types: vec![TypePattern::parse("order.*").unwrap(), TypePattern::Any],
            secrets: vec![Secret::from_bytes(&[7; 24]).unwrap().into()],
            headers: headers.into(),
            max_in_flight: 16,
            rate_limit: Some(Rate { per_second: 50.0 }),
            ordering: Ordering::Key,
            timeout: Duration::from_secs(20),
            http2: true,
            retry: Arc::new(RetryPolicy::default()),
            allow_networks: Vec::new(),
            enabled: true,
            source: Source::Toml,
            description: String::new(),
            shaping: None,
            applied_as: None,
        };
        (Arc::new(endpoint), EndpointState::default())
    }

    #[test]
    fn an_endpoint_is_shown_without_its_secrets() {
        let (endpoint, mut state) = known("orders");
        state.disabled = Some(DisabledReason::Gone);
        state.held = 3;
        let known = (endpoint, state);
        let shown = serde_json::to_value(Endpoint::from(&known)).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({
                "id": "orders", "tenant": "default", "url": "https://example.com/hook",
                "types": ["order.*", "*"], "secret": "whsec_…", "public_key": null,
                "headers": {"authorization": "…", "x-team": "…"},
                "max_in_flight": 16, "rate_limit": "50/s", "ordering": "key", "timeout": "20s",
                "http2": true,
                "retry": {"first": "5s", "factor": 3.0, "max": "6h", "jitter": 0.5,
                    "give_up_after": "3d", "schedule": []},
                "description": "",
                "filter": null, "channels": [], "format": "standard", "template": null,
                "content_type": null, "preset": null, "text": null, "method": "POST",
                "answer": null, "signatures": ["v1"], "auth": null,
                "client_cert_not_after": null, "ca": null, "cloudevents_handshake": false,
                "cloudevents_source": null, "enabled": false, "disabled_reason": "gone",
                "disabled_at": null, "source": "toml", "applied_as": null,
                "backlog": {"pending": 0, "held": 3, "dead": 0}
            })
        );
        assert!(!shown.to_string().contains("hunter2"));
    }

    #[test]
    fn disabled_in_the_file_is_disabled_by_hand() {
        let (endpoint, state) = known("orders");
        let mut endpoint = endpoint::Endpoint::clone(&endpoint);
        endpoint.enabled = false;
        let known = (Arc::new(endpoint), state);
        let shown = Endpoint::from(&known);
        assert_eq!(
            (shown.enabled, shown.disabled_reason),
            (false, Some("manual"))
        );
    }
}
