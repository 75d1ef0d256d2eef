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
use super::state::Operator;
use super::tester::{Trial, trial};
use crate::api::acted::{Way, log};
use crate::api::definition;
use crate::api::dto;
use crate::api::path::parse_name;
use crate::api::problem::Problem;
use crate::app::KnownEndpoint;
use crate::domain::endpoint::{EndpointId, Source};
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Form;
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::field::{Field, FieldShown, Kind, changes, typed};

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

/// `GET /ui/endpoints/new`
pub async fn new(State(_): State<Arc<Operator>>, visit: Visit) -> Result<Response, Failed> {
    let default = serde_json::json!({"ordering": "none", "format": "standard", "method": "POST"});
    let mut page = page(&visit, None);
    page.groups = groups(true, |fields| {
        fields.iter().map(|one| one.shown(&default)).collect()
    });
    html(&page)
}

/// `GET /ui/endpoints/{id}/edit`
pub async fn show(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Result<Response, Failed> {
    let known = known(&operator, &id).await?;
    let current = current(&known);
    let mut page = page(&visit, Some(&known.0.id));
    page.groups = groups(false, |fields| {
        fields.iter().map(|one| one.shown(&current)).collect()
    });
    html(&page)
}

/// `POST /ui/endpoints`
pub async fn create(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    form: Form,
) -> Result<Response, Failed> {
    if form.is_ticked("try") {
        return tried(&operator, &visit, None, &form).await;
    }
    let lists = [FIRST, MAIN, PACE, SHAPE, KEYS];
    let body = without_nulls(&changes(&lists, &form, &Value::Null));
    let endpoints = &operator.app().endpoints;
    let made = match definition::read(&body, &endpoints.base_retry()) {
        Ok(definition) => endpoints.create(definition).await.map_err(Problem::from),
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
            go(&format!("/ui/endpoints/{}", endpoint.id), "created")
        }
        Err(problem) => faulty(&visit, None, &form, problem),
    }
}

/// `POST /ui/endpoints/{id}/edit`
pub async fn change(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
    form: Form,
) -> Result<Response, Failed> {
    let known = known(&operator, &id).await?;
    let id = known.0.id.clone();
    if form.is_ticked("try") {
        return tried(&operator, &visit, Some(&id), &form).await;
    }
    let body = changes(&[MAIN, PACE, SHAPE, KEYS], &form, &current(&known));
    let endpoints = &operator.app().endpoints;
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
            go(&format!("/ui/endpoints/{id}"), "changed")
        }
        Err(problem) => faulty(&visit, Some(&id), &form, problem),
    }
}

/// The form again, with what its types and filter say of the sample.
async fn tried(
    operator: &Operator,
    visit: &Visit,
    id: Option<&EndpointId>,
    form: &Form,
) -> Result<Response, Failed> {
    let trial = trial(operator, form).await;
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
    page.groups = groups(id.is_none(), |fields| typed(fields, form, fault));
    page.sample_type = form.raw("sample_type").unwrap_or_default().to_owned();
    page.sample_data = form.raw("sample_data").unwrap_or_default().to_owned();
    page
}

fn groups(
    is_new: bool,
    show: impl Fn(&'static [Field]) -> Vec<FieldShown>,
) -> Vec<(&'static str, Vec<FieldShown>)> {
    let mut groups: Vec<_> = GROUPS
        .iter()
        .map(|(title, fields)| (*title, show(fields)))
        .collect();
    if let Some((_, main)) = groups.first_mut().filter(|_| is_new) {
        main.extend(show(FIRST));
    }
    groups
}

fn page(visit: &Visit, id: Option<&EndpointId>) -> Page {
    let (title, action, back) = match id {
        None => (
            "New endpoint".to_owned(),
            "/ui/endpoints".to_owned(),
            "/ui/endpoints".to_owned(),
        ),
        Some(id) => (
            format!("Change {id}"),
            format!("/ui/endpoints/{id}/edit"),
            format!("/ui/endpoints/{id}"),
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
async fn known(operator: &Operator, id: &str) -> Result<KnownEndpoint, Failed> {
    let known = operator.app().endpoints.find(parse_name(id)?).await?;
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
