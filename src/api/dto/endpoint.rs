//! An endpoint, its secrets masked, and the retry rule it follows.

use std::collections::BTreeMap;

use http::header::HeaderMap;
use serde::Serialize;

use crate::app::KnownEndpoint;
use crate::config::units::{show_duration, show_rate};
use crate::domain::endpoint::{DisabledReason, EndpointId};
use crate::domain::event::Tenant;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Timestamp;

/// What stands for a value that is not shown.
const MASK: &str = "…";
const MASKED_SECRET: &str = "whsec_…";

#[derive(Serialize)]
pub struct Endpoint<'a> {
    id: &'a EndpointId,
    tenant: &'a Tenant,
    url: &'a str,
    types: Vec<String>,
    /// `null`: unsigned.
    pub secret: Option<&'a str>,
    headers: BTreeMap<&'a str, &'static str>,
    max_in_flight: usize,
    rate_limit: Option<String>,
    ordering: &'static str,
    timeout: String,
    http2: bool,
    retry: Retry,
    description: &'a str,
    /// Whether it takes deliveries now.
    enabled: bool,
    disabled_reason: Option<&'static str>,
    disabled_at: Option<Timestamp>,
    source: &'static str,
    backlog: Backlog,
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
            url: endpoint.url.as_str(),
            types: endpoint.types.iter().map(ToString::to_string).collect(),
            secret: (!endpoint.secrets.is_empty()).then_some(MASKED_SECRET),
            headers: shown_headers(&endpoint.headers),
            max_in_flight: endpoint.max_in_flight,
            rate_limit: endpoint.rate_limit.map(show_rate),
            ordering: endpoint.ordering.as_str(),
            timeout: show_duration(endpoint.timeout),
            http2: endpoint.http2,
            retry: Retry::from(&*endpoint.retry),
            description: &endpoint.description,
            enabled: disabled.is_none(),
            disabled_reason: disabled.map(DisabledReason::as_str),
            disabled_at: state.disabled_at,
            source: endpoint.source.as_str(),
            backlog: Backlog {
                pending: state.pending,
                held: state.held,
                dead: state.dead,
            },
        }
    }
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
    use crate::domain::endpoint::{self, Ordering, Rate, Source, TypePattern};
    use crate::domain::signature::Secret;
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
                "types": ["order.*", "*"], "secret": "whsec_…",
                "headers": {"authorization": "…", "x-team": "…"},
                "max_in_flight": 16, "rate_limit": "50/s", "ordering": "key", "timeout": "20s",
                "http2": true,
                "retry": {"first": "5s", "factor": 3.0, "max": "6h", "jitter": 0.5,
                    "give_up_after": "3d", "schedule": []},
                "description": "", "enabled": false, "disabled_reason": "gone",
                "disabled_at": null, "source": "toml",
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
