//! Endpoints: made, read, changed, deleted, switched on and off, tried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use serde::Serialize;

use super::definition::Definition;
use super::fields::{body_of, nothing_more};
use super::problem::{Kind, Problem};
use super::query::{Query, malformed};
use super::router::{Named, json, named};
use super::{Api, list, secrets, spell};
use crate::clock;
use crate::config::units::{show_duration, show_rate};
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId};
use crate::domain::event::Tenant;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Timestamp;
use crate::outbox::{Action, Cursor, EndpointState, ReadError};

type Known = (Arc<Endpoint>, EndpointState);

/// What stands for a value that is not shown.
const MASK: &str = "…";
const MASKED_SECRET: &str = "whsec_…";

/// `GET /v1/endpoints`: in order of their ids; `?tenant=` keeps those of one tenant.
pub async fn list(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &["tenant", "limit", "cursor"])?;
    let limit = query.limit()?;
    let tenant: Option<Tenant> = query.read("tenant")?;
    let after = query.cursor()?.as_ref().map(place).transpose()?;
    api.read(move |outbox| {
        let mut page = outbox.endpoints(tenant.as_ref(), after.as_ref(), limit);
        page.next = page.next.map(|Cursor(id)| cursor(&id));
        list::page(&page, Shown::from)
    })
    .await
}

/// What a cursor of this list begins with, before it is encoded: other text is none.
const CURSOR: &str = "endpoint/";

fn cursor(id: &str) -> Cursor {
    Cursor(URL_SAFE_NO_PAD.encode(format!("{CURSOR}{id}")))
}

/// The id that the list goes on after.
fn place(Cursor(text): &Cursor) -> Result<EndpointId, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let id = text.strip_prefix(CURSOR).map(EndpointId::new);
    id.and_then(Result::ok)
        .ok_or_else(|| malformed("cursor", "not one that a list gave"))
}

/// `GET /v1/endpoints/{id}`
pub async fn show(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let known = find(&api, named(&id)?).await?;
    json(StatusCode::OK, &Shown::from(&known))
}

/// The endpoint in force that has this id.
pub async fn find(api: &Api, id: EndpointId) -> Result<Known, Problem> {
    api.read(move |outbox| outbox.endpoint(&id).ok_or(ReadError::NoSuchEndpoint))
        .await
}

/// `POST /v1/endpoints`: 201 with the endpoint and its secret, in the clear for once.
pub async fn create(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let body = body_of(&api, &parts.headers, body).await?;
    let (spec, enabled) = Definition::read(&body, &api.retry)?.into_spec(secrets::new()?)?;
    let secret = spec.secrets.first().map(|newest| newest.secret.reveal());
    let id = new_id()?;
    let action = Action::Create {
        endpoint: id.clone(),
        spec: Box::new(spec),
        enabled,
    };
    api.outbox.act(action).await?;
    let location = HeaderValue::from_str(&format!("/v1/endpoints/{id}"));
    let known = find(&api, id).await?;
    let shown = Shown {
        secret: secret.as_deref(),
        ..Shown::from(&known)
    };
    let mut response = json(StatusCode::CREATED, &shown).map(secrets::not_kept)?;
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `ep_` and a ULID of now.
fn new_id() -> Result<EndpointId, Problem> {
    let random = u128::from_be_bytes(secrets::random()?);
    let ulid = ulid::Ulid::from_parts(clock::now().as_millis(), random);
    let mut text = [0; ulid::ULID_LEN];
    let made = EndpointId::new(&format!("ep_{}", ulid.array_to_str(&mut text)));
    made.map_err(|error| Problem::new(Kind::Internal, error.to_string()))
}

/// `PATCH /v1/endpoints/{id}`: 200 with the endpoint as it is then.
pub async fn change(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let endpoint: EndpointId = named(&id)?;
    let body = body_of(&api, &parts.headers, body).await?;
    let change = Definition::read(&body, &api.retry)?.into_change()?;
    let action = Action::Change {
        endpoint: endpoint.clone(),
        change: Box::new(change),
    };
    api.outbox.act(action).await?;
    json(StatusCode::OK, &Shown::from(&find(&api, endpoint).await?))
}

/// `DELETE /v1/endpoints/{id}`: 204; its open deliveries are dead from then on.
pub async fn delete(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    Query::parse(request.uri(), &[])?;
    let endpoint = named(&id)?;
    api.outbox.act(Action::Delete { endpoint }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/endpoints/{id}/test`: 204; one `outboxd.test` event goes to it.
pub async fn test(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    act(&api, &id, request, |endpoint| Action::Test { endpoint }).await
}

/// `POST /v1/endpoints/{id}/enable`: 204, also if it was enabled.
pub async fn enable(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    act(&api, &id, request, |endpoint| Action::Enable { endpoint }).await
}

/// `POST /v1/endpoints/{id}/disable`: 204, also if it was disabled.
pub async fn disable(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let reason = DisabledReason::Manual;
    let action = |endpoint| Action::Disable { endpoint, reason };
    act(&api, &id, request, action).await
}

/// An action that the path says all about.
async fn act(
    api: &Api,
    id: &str,
    request: Request,
    action: impl FnOnce(EndpointId) -> Action,
) -> Result<StatusCode, Problem> {
    nothing_more(api, request).await?;
    api.outbox.act(action(named(id)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An endpoint, its secrets masked.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a EndpointId,
    tenant: &'a Tenant,
    url: &'a str,
    types: Vec<String>,
    /// `null`: unsigned.
    secret: Option<&'a str>,
    headers: BTreeMap<&'a str, &'static str>,
    max_in_flight: usize,
    rate_limit: Option<String>,
    ordering: &'static str,
    timeout: String,
    retry: ShownRetry,
    description: &'a str,
    /// Whether it takes deliveries now.
    enabled: bool,
    disabled_reason: Option<&'static str>,
    disabled_at: Option<Timestamp>,
    source: &'static str,
    backlog: Backlog,
}

#[derive(Serialize)]
pub struct ShownRetry {
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

impl<'a> From<&'a Known> for Shown<'a> {
    fn from((endpoint, state): &'a Known) -> Self {
        let in_file = (!endpoint.enabled).then_some(DisabledReason::Manual);
        let disabled = in_file.or(state.disabled);
        Shown {
            id: &endpoint.id,
            tenant: &endpoint.tenant,
            url: endpoint.url.as_str(),
            types: endpoint.types.iter().map(ToString::to_string).collect(),
            secret: (!endpoint.secrets.is_empty()).then_some(MASKED_SECRET),
            headers: shown_headers(&endpoint.headers),
            max_in_flight: endpoint.max_in_flight,
            rate_limit: endpoint.rate_limit.map(show_rate),
            ordering: spell::ordering(endpoint.ordering),
            timeout: show_duration(endpoint.timeout),
            retry: ShownRetry::from(&*endpoint.retry),
            description: &endpoint.description,
            enabled: disabled.is_none(),
            disabled_reason: disabled.map(DisabledReason::as_str),
            disabled_at: state.disabled_at,
            source: spell::source(endpoint.source),
            backlog: Backlog {
                pending: state.pending,
                held: state.held,
                dead: state.dead,
            },
        }
    }
}

impl From<&RetryPolicy> for ShownRetry {
    fn from(retry: &RetryPolicy) -> Self {
        ShownRetry {
            first: show_duration(retry.first),
            factor: retry.factor,
            max: show_duration(retry.max),
            jitter: retry.jitter,
            give_up_after: show_duration(retry.give_up_after),
            schedule: retry.schedule.iter().copied().map(show_duration).collect(),
        }
    }
}

/// Static headers by name: their values often let somebody in somewhere.
fn shown_headers(headers: &HeaderMap) -> BTreeMap<&str, &'static str> {
    let names = headers.keys();
    names.map(|name| (name.as_str(), MASK)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::{Ordering, Rate, Source, TypePattern};
    use crate::domain::signature::Secret;
    use http::HeaderValue;
    use std::time::Duration;

    fn known(id: &str) -> Known {
        let mut headers = HeaderMap::new();
        headers.insert("x-team", HeaderValue::from_static("orders"));
        headers.insert("authorization", HeaderValue::from_static("Bearer hunter2"));
        let endpoint = Endpoint {
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
        let shown = serde_json::to_value(Shown::from(&known)).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({
                "id": "orders", "tenant": "default", "url": "https://example.com/hook",
                "types": ["order.*", "*"], "secret": "whsec_…",
                "headers": {"authorization": "…", "x-team": "…"},
                "max_in_flight": 16, "rate_limit": "50/s", "ordering": "key", "timeout": "20s",
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
        let mut endpoint = Endpoint::clone(&endpoint);
        endpoint.enabled = false;
        let known = (Arc::new(endpoint), state);
        let shown = Shown::from(&known);
        assert_eq!(
            (shown.enabled, shown.disabled_reason),
            (false, Some("manual"))
        );
    }
}
