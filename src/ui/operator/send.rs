//! Handing in an event by hand.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;

use super::state::Operator;
use crate::api::parse;
use crate::api::problem::{Kind, Problem};
use crate::domain::event::{NewEvent, Payload};
use crate::domain::json::Json;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::{Asked, Form};
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::pages::page::{go, shell};
use crate::ui::views::field::{self, Field, FieldShown, changes, typed};

const fn field(
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    kind: field::Kind,
) -> Field {
    Field {
        name,
        label,
        hint,
        kind,
    }
}

const FIELDS: &[Field] = &[
    field("type", "Type", "Such as order.created", field::Kind::Text),
    field(
        "data",
        "Data",
        "JSON; receivers get it byte for byte",
        field::Kind::Long,
    ),
    field("tenant", "Tenant", "Empty: default", field::Kind::Text),
    field("key", "Key", "Of the ordering", field::Kind::Text),
    field(
        "idempotency_key",
        "Idempotency key",
        "The same key again stores nothing new",
        field::Kind::Text,
    ),
    field(
        "deliver_at",
        "Deliver at",
        "A time such as 2030-01-01T00:00:00Z. Empty: now",
        field::Kind::Text,
    ),
    field("channels", "Channels", "One a line", field::Kind::Lines),
    field(
        "headers",
        "Headers",
        "JSON: {\"x-region\": \"eu\"}",
        field::Kind::Json,
    ),
    field(
        "content_type",
        "Content type",
        "For a body that is not JSON: the data is then sent as it is typed. Without headers",
        field::Kind::Text,
    ),
];

#[derive(Template)]
#[template(path = "send.html")]
struct Page {
    shell: Shell,
    fields: Vec<FieldShown>,
    fault: Option<String>,
}

/// `GET /ui/send`: fields of the address are filled in.
pub async fn show(
    State(_): State<Arc<Operator>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    html(&page(&visit, &asked, None))
}

/// `POST /ui/send`
pub async fn send(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    form: Form,
) -> Result<Response, Failed> {
    let (ingest, _) = operator.api.body_rules();
    let sent = match event(&form, ingest.max_event_size) {
        Ok(event) => operator
            .app()
            .events
            .accept(vec![event])
            .await
            .map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match sent {
        Ok(receipts) => {
            let receipt = receipts.first();
            let receipt = receipt.ok_or_else(|| Failed::internal("there is no receipt"))?;
            let said = if receipt.duplicate {
                "duplicate"
            } else {
                "sent"
            };
            go(&format!("/ui/events/{}", receipt.id), said)
        }
        Err(problem) => {
            let mut response = html(&page(&visit, &form, Some(&problem)))?;
            *response.status_mut() = problem.kind.status();
            Ok(response)
        }
    }
}

/// The event of a form.
fn event(form: &Form, longest: u64) -> Result<NewEvent, Problem> {
    let data = form.raw("data").unwrap_or_default();
    if data.len() as u64 > longest {
        let detail = format!("the body is over ingest.max_event_size ({longest} bytes)");
        return Err(Problem::new(Kind::TooLarge, detail).at("data"));
    }
    if let Some(content_type) = form.text("content_type") {
        return opaque(form, content_type, data);
    }
    if let Err(bad) = Json::parse(data.as_bytes()) {
        return Err(Problem::bad_request(format!("not JSON: {bad}")).at("data"));
    }
    let body = with_data(form, data.trim());
    parse::event(&Bytes::from(body), None).map_err(|fault| {
        let detail = fault.to_string();
        let problem = Problem::bad_request(detail.clone());
        // The reader of events names the field in its sentence alone.
        let named = FIELDS
            .iter()
            .find(|field| detail.contains(&format!("`{}`", field.name)));
        match named {
            Some(field) => problem.at(field.name),
            None => problem,
        }
    })
}

/// The JSON of an event: the fields of the form, and its data as it was typed.
fn with_data(form: &Form, data: &str) -> Vec<u8> {
    let others: Vec<&Field> = FIELDS.iter().filter(|field| !is_apart(field)).collect();
    let mut body = Vec::from("{");
    for field in others {
        let one = changes([field], form, &Value::Null);
        // The members between the braces.
        let inside = one.get(1..one.len().saturating_sub(1)).unwrap_or_default();
        if !inside.is_empty() && !inside.ends_with(b":null") {
            body.extend_from_slice(inside);
            body.push(b',');
        }
    }
    body.extend_from_slice(b"\"data\":");
    body.extend_from_slice(data.as_bytes());
    body.push(b'}');
    body
}

fn is_apart(field: &Field) -> bool {
    matches!(field.name, "data" | "content_type")
}

/// An event whose body is not JSON.
fn opaque(form: &Form, content_type: &str, body: &str) -> Result<NewEvent, Problem> {
    let plain = with_data(form, "null");
    let event = parse::event(&Bytes::from(plain), None);
    let event = event.map_err(|fault| Problem::bad_request(fault.to_string()))?;
    let is_typed = content_type.contains('/')
        && content_type
            .bytes()
            .all(|byte| (0x20..0x7f).contains(&byte));
    if !is_typed {
        return Err(
            Problem::bad_request("not a content type such as text/plain").at("content_type"),
        );
    }
    Ok(NewEvent {
        payload: Payload::Opaque {
            content_type: content_type.into(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        },
        ..event
    })
}

fn page(visit: &Visit, form: &Form, problem: Option<&Problem>) -> Page {
    let fault = problem.map(|problem| {
        (
            problem.field.as_deref().unwrap_or_default(),
            &*problem.detail,
        )
    });
    let fields = FIELDS.iter().map(|field| typed(field, form, fault));
    let fields: Vec<FieldShown> = fields.collect();
    let is_shown = fields.iter().any(|field| field.error.is_some());
    Page {
        shell: shell(visit, "/send", "Send an event"),
        fault: fault
            .filter(|_| !is_shown)
            .map(|(_, detail)| detail.to_owned()),
        fields,
    }
}
