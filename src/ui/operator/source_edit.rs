//! Making and changing a source, by the API's own reader.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use super::state::Operator;
use crate::api::acted::{Way, log};
use crate::api::dto;
use crate::api::path::parse_name;
use crate::api::problem::Problem;
use crate::api::sources::{read_change, read_new};
use crate::app::sources::{KnownSource, Origin};
use crate::domain::inbound::SourceId;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Form;
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::pages::page::{go, shell};
use crate::ui::views::field::{Field, FieldShown, Kind, changes, typed};

const fn field(name: &'static str, label: &'static str, hint: &'static str, kind: Kind) -> Field {
    Field {
        name,
        label,
        hint,
        kind,
    }
}

const FIRST: &[Field] = &[field(
    "id",
    "Id",
    "A part of the URL, such as stripe-live. Empty: one is made",
    Kind::Text,
)];

const FIELDS: &[Field] = &[
    field(
        "preset",
        "Provider",
        "stripe, github, shopify, … (docs/sources.md has all)",
        Kind::Text,
    ),
    field(
        "secrets",
        "Secrets",
        "JSON list; any of them may match. Empty: as they are",
        Kind::Hidden,
    ),
    field("tenant", "Tenant", "Empty: default", Kind::Text),
    field(
        "type",
        "Event type",
        "A template: stripe.{{ type }}. Empty: the preset's",
        Kind::Text,
    ),
    field("description", "Description", "For people", Kind::Text),
    field(
        "forward_headers",
        "Headers to forward",
        "One a line; * for all that may be",
        Kind::Lines,
    ),
    field(
        "tolerance",
        "Tolerance",
        "Of timestamps, such as 5m. Empty: the preset's",
        Kind::Text,
    ),
    field(
        "allow_from",
        "Callers",
        "Networks that may call, one a line. Empty: all",
        Kind::Lines,
    ),
    field(
        "verify_token",
        "Verify token",
        "Of meta. Empty: as it is",
        Kind::Secret,
    ),
    field("app_id", "App id", "Of zalo", Kind::Text),
    field(
        "public_key",
        "Public key",
        "Of providers that sign with Ed25519",
        Kind::Text,
    ),
    field(
        "account",
        "Account",
        "Of salesforce: the OrganizationId",
        Kind::Text,
    ),
    field(
        "token",
        "Token in the URL",
        "For providers that sign nothing. Empty: as it is",
        Kind::Secret,
    ),
    field(
        "split",
        "Split",
        "JSON pointer to an array: one event for each item",
        Kind::Text,
    ),
    field("rate_limit", "Rate limit", "Such as 50/s", Kind::Text),
    field("max_event_size", "Largest body", "Such as 1MiB", Kind::Text),
    field(
        "idempotency_window",
        "Idempotency window",
        "Such as 7d",
        Kind::Text,
    ),
    field("enabled", "Enabled", "", Kind::Flag),
    field(
        "verify",
        "Recipe",
        "JSON: a way of signing of one's own. Empty: as it is",
        Kind::Hidden,
    ),
];

#[derive(Template)]
#[template(path = "source_edit.html")]
struct Page {
    shell: Shell,
    action: String,
    back: String,
    is_new: bool,
    fields: Vec<FieldShown>,
    fault: Option<String>,
}

/// `GET /ui/sources/new`
pub async fn new(State(_): State<Arc<Operator>>, visit: Visit) -> Result<Response, Failed> {
    let mut page = page(&visit, None);
    let fields = FIRST.iter().chain(FIELDS);
    page.fields = fields.map(|field| field.shown(&Value::Null)).collect();
    html(&page)
}

/// `GET /ui/sources/{id}/edit`
pub async fn show(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Result<Response, Failed> {
    let known = known(&operator, &id)?;
    let current = current(&known);
    let mut page = page(&visit, Some(known.id()));
    page.fields = FIELDS.iter().map(|field| field.shown(&current)).collect();
    html(&page)
}

/// `POST /ui/sources`
pub async fn create(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    form: Form,
) -> Result<Response, Failed> {
    let body = changes(FIRST.iter().chain(FIELDS), &form, &Value::Null);
    let made = match read_new(&body) {
        Ok((id, applied, written)) => {
            let sources = &operator.app().sources;
            sources
                .create(id, written, applied)
                .await
                .map_err(Problem::from)
        }
        Err(problem) => Err(problem),
    };
    match made {
        Ok(known) => {
            log(
                "source.create",
                &known.id().to_string(),
                visit.by(),
                Way::Page,
            );
            go(&format!("/ui/sources/{}", known.id()), "source-created")
        }
        Err(problem) => faulty(&visit, None, &form, &problem),
    }
}

/// `POST /ui/sources/{id}/edit`
pub async fn change(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
    form: Form,
) -> Result<Response, Failed> {
    let known = known(&operator, &id)?;
    let body = changes(FIELDS, &form, &current(&known));
    let changed = match read_change(&body) {
        Ok(written) => {
            let sources = &operator.app().sources;
            sources
                .change(known.id(), written)
                .await
                .map_err(Problem::from)
        }
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(_) => {
            log(
                "source.change",
                &known.id().to_string(),
                visit.by(),
                Way::Page,
            );
            go(&format!("/ui/sources/{}", known.id()), "changed")
        }
        Err(problem) => faulty(&visit, Some(known.id()), &form, &problem),
    }
}

fn faulty(
    visit: &Visit,
    id: Option<&SourceId>,
    form: &Form,
    problem: &Problem,
) -> Result<Response, Failed> {
    let mut page = page(visit, id);
    let fault = (
        problem.field.as_deref().unwrap_or_default(),
        &*problem.detail,
    );
    if id.is_none() {
        page.fields = FIRST
            .iter()
            .map(|one| typed(one, form, Some(fault)))
            .collect();
    }
    let fields = FIELDS.iter().map(|one| typed(one, form, Some(fault)));
    page.fields.extend(fields);
    let is_shown = page.fields.iter().any(|field| field.error.is_some());
    page.fault = (!is_shown).then(|| problem.detail.to_string());
    let mut response = html(&page)?;
    *response.status_mut() = problem.kind.status();
    Ok(response)
}

fn page(visit: &Visit, id: Option<&SourceId>) -> Page {
    let (title, action, back) = match id {
        None => (
            "New source".to_owned(),
            "/ui/sources".to_owned(),
            "/ui/sources".to_owned(),
        ),
        Some(id) => (
            format!("Change {id}"),
            format!("/ui/sources/{id}/edit"),
            format!("/ui/sources/{id}"),
        ),
    };
    Page {
        shell: shell(visit, "/sources", title),
        action,
        back,
        is_new: id.is_none(),
        fields: Vec::new(),
        fault: None,
    }
}

/// The source, if it can be changed here.
fn known(operator: &Operator, id: &str) -> Result<Arc<KnownSource>, Failed> {
    let known = operator.app().sources.find(&parse_name(id)?)?;
    match known.origin {
        Origin::File => Err(Failed::new(
            StatusCode::CONFLICT,
            "Read-only",
            "this source comes from the configuration file: change it there, then reload",
        )),
        Origin::Api { .. } => Ok(known),
    }
}

fn current(known: &KnownSource) -> Value {
    serde_json::to_value(dto::source::Source::in_list(known, None)).unwrap_or_default()
}
