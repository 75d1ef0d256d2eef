//! What an endpoint would be sent, its secrets masked; nothing is sent.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::state::Operator;
use crate::api::dto;
use crate::api::path::parse_name;
use crate::api::problem::Problem;
use crate::domain::endpoint::EndpointId;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::{Asked, Form};
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::pages::page::shell;
use crate::ui::pages::tester::sample;
use crate::ui::views::body::{self, BodyShown, printable};

#[derive(Template)]
#[template(path = "preview.html")]
struct Page {
    shell: Shell,
    id: String,
    sample_event: String,
    sample_type: String,
    sample_data: String,
    fault: Option<String>,
    request: Option<Request>,
}

struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: BodyShown,
}

/// `GET /ui/endpoints/{id}/preview`
pub async fn show(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let id: EndpointId = parse_name(&id)?;
    operator.app().endpoints.find(id.clone()).await?;
    html(&page(&visit, &id, &asked))
}

/// `POST /ui/endpoints/{id}/preview`
pub async fn render(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
    form: Form,
) -> Result<Response, Failed> {
    let id: EndpointId = parse_name(&id)?;
    let mut page = page(&visit, &id, &form);
    match sample(&visit, &form) {
        Err(why) => page.fault = Some(why),
        Ok(sample) => match operator.app().previews.render(id, sample).await {
            Ok(preview) => {
                let shown = serde_json::to_value(dto::preview::Rendered::from(&preview));
                page.request = Some(request(&shown.unwrap_or_default()));
            }
            Err(error) => page.fault = Some(Problem::from(error).detail.into_owned()),
        },
    }
    html(&page)
}

fn page(visit: &Visit, id: &EndpointId, form: &Form) -> Page {
    let typed = |name| form.raw(name).unwrap_or_default().to_owned();
    Page {
        shell: shell(visit, "/endpoints", format!("Preview for {id}")),
        id: id.to_string(),
        sample_event: typed("sample_event"),
        sample_type: typed("sample_type"),
        sample_data: typed("sample_data"),
        fault: None,
        request: None,
    }
}

fn request(shown: &Value) -> Request {
    let text = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
    let headers = shown["headers"].as_object().into_iter().flatten();
    let headers: Vec<(String, String)> = headers
        .map(|(name, value)| (name.clone(), printable(value.as_str().unwrap_or_default())))
        .collect();
    let is_json = headers
        .iter()
        .any(|(name, value)| name == "content-type" && value.contains("json"));
    let bytes = match shown["body"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD.decode(text("body_base64")).unwrap_or_default(),
    };
    let form = match shown["body"].is_string() {
        true => body::Form::Pretty,
        false => body::Form::Hex,
    };
    Request {
        method: text("method"),
        url: printable(&text("url")),
        body: BodyShown::new(&bytes, is_json, form),
        headers,
    }
}
