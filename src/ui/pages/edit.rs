//! Making and changing an endpoint. What is typed becomes the JSON that the API takes, and is read by
//! the API's own reader, so both have the same rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;
use serde_json::value::RawValue;

use super::page::{go, shell};
use super::tester::{Trial, trial};
use crate::api::Api;
use crate::api::acted::{Way, log};
use crate::api::definition;
use crate::api::dto;
use crate::api::path::parse_name;
use crate::api::problem::Problem;
use crate::app::KnownEndpoint;
use crate::app::definition::Given;
use crate::domain::endpoint::{EndpointId, Source};
use crate::domain::event::Tenant;
use crate::outbox;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Form;
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::field::{Field, FieldShown, Kind, changes, typed};

/// Endpoints that a tenant may have before its customers can make no more.
const MOST: usize = 100;

const fn field(name: &'static str, label: &'static str, hint: &'static str, kind: Kind) -> Field {
    Field {
        name,
        label,
        hint,
        kind,
    }
}

/// Given when an endpoint is made, and never changed.
const FIRST: &[Field] = &[field(
    "tenant",
    "Tenant",
    "Events reach endpoints of their own tenant only. Empty: default",
    Kind::Text,
)];

const MAIN: &[Field] = &[
    field("url", "URL", "https://example.com/hook", Kind::Text),
    field(
        "types",
        "Event types",
        "One a line: order.created, order.* or *. Empty: all",
        Kind::Lines,
    ),
    field("description", "Description", "For people", Kind::Text),
];

const PACE: &[Field] = &[
    field(
        "rate_limit",
        "Rate limit",
        "Such as 50/s or 600/m. Empty: none",
        Kind::Text,
    ),
    field(
        "max_in_flight",
        "Attempts at once",
        "Empty: the default",
        Kind::Number,
    ),
    field(
        "ordering",
        "Ordering",
        "none, by the key of events, or strict",
        Kind::Choice(&["none", "key", "strict"]),
    ),
    field(
        "timeout",
        "Timeout",
        "Of a whole attempt, such as 20s. Empty: the configuration's",
        Kind::Text,
    ),
    field("http2", "HTTP/2", "Whether it may be spoken", Kind::Flag),
    field(
        "retry",
        "Retry rule",
        "JSON of what differs from the configuration: {\"max\": \"1h\", \"give_up_after\": \"1d\"}. Empty: as it is. null: the configuration's",
        Kind::Hidden,
    ),
];

const SHAPE: &[Field] = &[
    field(
        "filter",
        "Filter",
        "JSON, such as {\"data\": {\"amount\": {\"$gte\": 100}}}. Empty: every event",
        Kind::Json,
    ),
    field(
        "channels",
        "Channels",
        "One a line. Empty: all",
        Kind::Lines,
    ),
    field(
        "format",
        "Format",
        "What the body is",
        Kind::Choice(&[
            "standard",
            "bare",
            "cloudevents",
            "cloudevents-binary",
            "template",
        ]),
    ),
    field(
        "template",
        "Template",
        "Jinja, with the format template",
        Kind::Long,
    ),
    field(
        "content_type",
        "Content type",
        "Of what the template makes",
        Kind::Text,
    ),
    field(
        "preset",
        "Preset",
        "A service that wants a body of its own",
        Kind::Choice(&[
            "slack",
            "discord",
            "teams",
            "telegram",
            "pagerduty",
            "google_chat",
            "mattermost",
            "ntfy",
        ]),
    ),
    field(
        "text",
        "Text",
        "The message of a preset, a template",
        Kind::Long,
    ),
    field(
        "method",
        "Method",
        "",
        Kind::Choice(&["POST", "PUT", "PATCH"]),
    ),
    field(
        "answer",
        "Answer rule",
        "JSON: what responses mean",
        Kind::Json,
    ),
    field(
        "cloudevents_handshake",
        "CloudEvents handshake",
        "Ask for consent first",
        Kind::Flag,
    ),
    field("cloudevents_source", "CloudEvents source", "", Kind::Text),
];

const KEYS: &[Field] = &[
    field(
        "headers",
        "Headers",
        "JSON: {\"x-team\": \"orders\"}. All of them: they are replaced whole. Empty: as they are. null: none",
        Kind::Hidden,
    ),
    field(
        "secret",
        "Signing secret",
        "whsec_… or whsk_…. Empty: as it is, or a new one",
        Kind::Secret,
    ),
    field(
        "signatures",
        "Signatures",
        "JSON list: [\"v1\", \"github\"]. Empty: as it is. null: the default",
        Kind::Hidden,
    ),
    field(
        "signing_key",
        "Signing key",
        "whsk_…, for v1a. Empty: as it is",
        Kind::Secret,
    ),
    field(
        "auth",
        "Authentication",
        "JSON: {\"type\": \"bearer\", \"token\": \"…\"}. Empty: as it is. null: none",
        Kind::Hidden,
    ),
    field(
        "client_cert",
        "Client certificate",
        "PEM. Empty: as it is",
        Kind::Pem,
    ),
    field(
        "client_key",
        "Key of the certificate",
        "PEM. Empty: as it is",
        Kind::Pem,
    ),
    field(
        "ca",
        "Certificate authority",
        "PEM. Empty: as it is",
        Kind::Pem,
    ),
];

const GROUPS: [(&str, &[Field]); 4] = [
    ("Where and what", MAIN),
    ("Pace and retries", PACE),
    ("Shape", SHAPE),
    ("Keys and credentials", KEYS),
];

/// Fields for the operator alone: whose the endpoint is, what it costs the daemon, and keys that
/// customers seldom have.
const OPERATORS: [&str; 11] = [
    "tenant",
    "max_in_flight",
    "ordering",
    "timeout",
    "http2",
    "retry",
    "signatures",
    "signing_key",
    "client_cert",
    "client_key",
    "ca",
];

#[derive(Template)]
#[template(path = "endpoint_edit.html")]
struct Page {
    shell: Shell,
    action: String,
    back: String,
    is_new: bool,
    groups: Vec<(&'static str, Vec<FieldShown>)>,
    /// A fault that belongs to no field.
    fault: Option<String>,
    sample_type: String,
    sample_data: String,
    trial: Option<Trial>,
}

/// `GET …/endpoints/new`
pub async fn new(State(_): State<Arc<Api>>, visit: Visit) -> Result<Response, Failed> {
    let default = serde_json::json!({"ordering": "none", "format": "standard", "method": "POST"});
    let mut page = page(&visit, None);
    page.groups = groups(&visit, true, |field| field.shown(&default));
    html(&page)
}

/// `GET …/endpoints/{id}/edit`
pub async fn show(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Result<Response, Failed> {
    let known = known(&api, &id).await?;
    let current = current(&known);
    let mut page = page(&visit, Some(&known.0.id));
    page.groups = groups(&visit, false, |field| field.shown(&current));
    html(&page)
}

/// `POST …/endpoints`
pub async fn create(
    State(api): State<Arc<Api>>,
    visit: Visit,
    form: Form,
) -> Result<Response, Failed> {
    if form.is_ticked("try") {
        return tried(&api, &visit, None, &form).await;
    }
    let fields = offered(&visit, true).flat_map(|(_, fields)| fields);
    let body = without_nulls(&changes(fields, &form, &Value::Null));
    let endpoints = &api.app().endpoints;
    let made = match definition::read(&body, &endpoints.base_retry()) {
        Ok(mut definition) => {
            if let Some(tenant) = &visit.view.tenant {
                room_for_one_more(&api, tenant).await?;
                definition.tenant = Given::Value(tenant.clone());
            }
            endpoints.create(definition).await.map_err(Problem::from)
        }
        Err(problem) => Err(problem),
    };
    match made {
        Ok(((endpoint, _), _)) => {
            log(
                "endpoint.create",
                endpoint.id.as_str(),
                visit.by(),
                Way::Page,
            );
            go(
                &visit.path(format_args!("/endpoints/{}", endpoint.id)),
                "created",
            )
        }
        Err(problem) => faulty(&visit, None, &form, problem),
    }
}

/// Refuses a customer's endpoint beyond [`MOST`]. The operator makes more through the API.
async fn room_for_one_more(api: &Api, tenant: &Tenant) -> Result<(), Failed> {
    let endpoints = &api.app().endpoints;
    let count = |page: outbox::Page<KnownEndpoint>| page.items.len();
    let count = endpoints
        .list(Some(tenant.clone()), None, MOST, count)
        .await?;
    match count < MOST {
        true => Ok(()),
        false => Err(Failed::new(
            StatusCode::CONFLICT,
            "Too many endpoints",
            format!("there are {MOST} endpoints already; delete one that is not needed"),
        )),
    }
}

/// `POST …/endpoints/{id}/edit`
pub async fn change(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
    form: Form,
) -> Result<Response, Failed> {
    let known = known(&api, &id).await?;
    let id = known.0.id.clone();
    if form.is_ticked("try") {
        return tried(&api, &visit, Some(&id), &form).await;
    }
    let fields = offered(&visit, false).flat_map(|(_, fields)| fields);
    let body = changes(fields, &form, &current(&known));
    let endpoints = &api.app().endpoints;
    let changed = match definition::read(&body, &endpoints.base_retry()) {
        Ok(definition) => endpoints
            .change(id.clone(), definition)
            .await
            .map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(_) => {
            log("endpoint.change", id.as_str(), visit.by(), Way::Page);
            go(&visit.path(format_args!("/endpoints/{id}")), "changed")
        }
        Err(problem) => faulty(&visit, Some(&id), &form, problem),
    }
}

/// The form again, with what its types and filter say of the sample.
async fn tried(
    api: &Api,
    visit: &Visit,
    id: Option<&EndpointId>,
    form: &Form,
) -> Result<Response, Failed> {
    let trial = trial(api, visit, form).await;
    let mut page = retyped(visit, id, form, None);
    page.trial = Some(trial);
    html(&page)
}

fn faulty(
    visit: &Visit,
    id: Option<&EndpointId>,
    form: &Form,
    problem: Problem,
) -> Result<Response, Failed> {
    let mut page = retyped(
        visit,
        id,
        form,
        problem.field.as_deref().map(|at| (at, &*problem.detail)),
    );
    let all = page.groups.iter().flat_map(|(_, fields)| fields);
    let is_shown = all.into_iter().any(|field| field.error.is_some());
    page.fault = (!is_shown).then(|| problem.detail.to_string());
    let mut response = html(&page)?;
    *response.status_mut() = problem.kind.status();
    Ok(response)
}

fn retyped(
    visit: &Visit,
    id: Option<&EndpointId>,
    form: &Form,
    fault: Option<(&str, &str)>,
) -> Page {
    let mut page = page(visit, id);
    page.groups = groups(visit, id.is_none(), |field| typed(field, form, fault));
    page.sample_type = form.raw("sample_type").unwrap_or_default().to_owned();
    page.sample_data = form.raw("sample_data").unwrap_or_default().to_owned();
    page
}

/// The fields that a visitor is offered, by group. Others that a form has are not read.
fn offered(
    visit: &Visit,
    is_new: bool,
) -> impl Iterator<Item = (&'static str, Vec<&'static Field>)> {
    let can = visit.view.can;
    let is_offered = move |field: &&Field| match field.name {
        "secret" => can.secrets,
        name => can.operate || !OPERATORS.contains(&name),
    };
    GROUPS.iter().enumerate().map(move |(n, (title, fields))| {
        let first = if n == 0 && is_new { FIRST } else { &[] };
        let all = fields.iter().chain(first);
        (*title, all.filter(is_offered).collect())
    })
}

fn groups(
    visit: &Visit,
    is_new: bool,
    show: impl Fn(&'static Field) -> FieldShown,
) -> Vec<(&'static str, Vec<FieldShown>)> {
    let offered = offered(visit, is_new);
    let shown = offered.map(|(title, fields)| (title, fields.into_iter().map(&show).collect()));
    shown.collect()
}

fn page(visit: &Visit, id: Option<&EndpointId>) -> Page {
    let (title, action, back) = match id {
        None => (
            "New endpoint".to_owned(),
            visit.path("/endpoints"),
            visit.path("/endpoints"),
        ),
        Some(id) => (
            format!("Change {id}"),
            visit.path(format_args!("/endpoints/{id}/edit")),
            visit.path(format_args!("/endpoints/{id}")),
        ),
    };
    Page {
        shell: shell(visit, "/endpoints", title),
        action,
        back,
        is_new: id.is_none(),
        groups: Vec::new(),
        fault: None,
        sample_type: String::new(),
        sample_data: String::new(),
        trial: None,
    }
}

/// The endpoint, if it can be changed here.
async fn known(api: &Api, id: &str) -> Result<KnownEndpoint, Failed> {
    let known = api.app().endpoints.find(parse_name(id)?).await?;
    match known.0.source {
        Source::Toml => Err(Failed::new(
            StatusCode::CONFLICT,
            "Read-only",
            "this endpoint comes from the configuration file: change it there, then reload",
        )),
        _ => Ok(known),
    }
}

/// The endpoint as the API shows it.
fn current(known: &KnownEndpoint) -> Value {
    serde_json::to_value(dto::endpoint::Endpoint::from(known)).unwrap_or_default()
}

/// A new endpoint has nothing that `null` could take back.
fn without_nulls(body: &[u8]) -> Vec<u8> {
    let fields: Result<BTreeMap<String, Box<RawValue>>, _> = serde_json::from_slice(body);
    let Ok(mut fields) = fields else {
        return body.to_vec();
    };
    fields.retain(|_, value| value.get() != "null");
    serde_json::to_vec(&fields).unwrap_or_else(|_| body.to_vec())
}
