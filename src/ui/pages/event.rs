//! One event: its body, what it carries, where it goes and how far that is.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use serde_json::Value;

use super::page::{go, shell};
use crate::api::Api;
use crate::api::dto;
use crate::api::path::parse_name;
use crate::clock;
use crate::domain::cloudevents;
use crate::domain::endpoint::EndpointId;
use crate::domain::event::{EventId, Payload};
use crate::domain::time::Timestamp;
use crate::outbox::EventView;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Asked;
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::body::{BodyShown, Form, printable};
use crate::ui::views::delivery::{self, DeliveryShown, name_endpoints};
use crate::ui::views::moment::Moment;
use crate::ui::views::sight::Sight;

#[derive(Template)]
#[template(path = "event.html")]
struct Page {
    shell: Shell,
    id: String,
    event_type: String,
    tenant: String,
    accepted: Moment,
    deliver_at: Option<Moment>,
    /// Other facts, by name.
    facts: Vec<(&'static str, String)>,
    headers: Vec<(String, String)>,
    content_type: String,
    body: BodyShown,
    /// The forms of the body, the shown one marked.
    forms: Vec<(&'static str, bool)>,
    deliveries: Vec<DeliveryShown>,
}

/// `GET …/events/{id}`
pub async fn show(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let id: EventId = parse_name(&id)?;
    let form = Form::named(asked.text("body").unwrap_or_default());
    let now = clock::now();
    let frame = shell(&visit, "/events", id.to_string());
    let sight = visit.view.sight.clone();
    let shown = move |event: &EventView| page(frame, event, form, now, &sight);
    let mut page = api.app().events.show(id, shown).await?;
    name_endpoints(&mut page.deliveries, api.app());
    html(&page)
}

fn page(frame: Shell, event: &EventView, form: Form, now: Timestamp, sight: &Sight) -> Page {
    let summary = &event.summary;
    let (content_type, bytes, is_json) = match &event.payload {
        Payload::Json(data) => ("application/json", data, true),
        Payload::Opaque { content_type, body } => (&**content_type, body, false),
    };
    let is_json = is_json || content_type.contains("json");
    let moment = |at| Moment::new(at, now);
    let deliveries = event.deliveries.iter();
    Page {
        shell: frame,
        id: summary.id.to_string(),
        event_type: summary.event_type.to_string(),
        tenant: summary.tenant.to_string(),
        accepted: moment(summary.accepted_at),
        deliver_at: summary.deliver_at.map(moment),
        facts: facts(event, sight),
        headers: headers(event),
        content_type: content_type.to_owned(),
        body: BodyShown::new(bytes, is_json, form),
        forms: Form::ALL.map(|one| (one.as_str(), one == form)).to_vec(),
        deliveries: deliveries
            .map(|one| DeliveryShown::new(one, None, now, sight))
            .collect(),
    }
}

/// What the event carries besides its body and headers.
fn facts(event: &EventView, sight: &Sight) -> Vec<(&'static str, String)> {
    let summary = &event.summary;
    let mut facts = Vec::new();
    let mut add = |name, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.push((name, printable(&value)));
        }
    };
    add(
        "Key",
        summary.key.as_ref().map(|key| key.as_str().to_owned()),
    );
    // The API's own forms leave out what stands for others; neither holds the body.
    let shown = serde_json::to_value(dto::event::Summary::from(summary)).unwrap_or_default();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let extras = event.extras.as_deref();
    let channels = extras.map_or(&[][..], |extras| &extras.channels);
    let channels: Vec<&str> = channels.iter().map(|one| one.as_str()).collect();
    add("Channels", Some(channels.join(", ")));
    let cloudevent = extras.and_then(|extras| extras.cloudevent.as_ref());
    let cloudevent = cloudevent.map(cloudevents::structured);
    add(
        "CloudEvent",
        cloudevent.map(|text| String::from_utf8_lossy(&text).into_owned()),
    );
    if !sight.setup {
        return facts;
    }
    add("Idempotency key", text(shown.get("idempotency_key")));
    let received = dto::received::Received::of(extras, summary.idempotency_key.as_ref());
    let received = serde_json::to_value(received).unwrap_or_default();
    add("Source", text(received.get("source")));
    add(
        "Delivery id of the provider",
        text(received.get("delivery_id")),
    );
    add("Verified by", text(received.get("verified_by")));
    add("Received from", text(received.get("remote")));
    facts
}

fn headers(event: &EventView) -> Vec<(String, String)> {
    let extras = event.extras.as_deref();
    let headers = extras.map_or(&[][..], |extras| &extras.headers).iter();
    let shown = headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), printable(&value))
    });
    shown.collect()
}

/// `GET …/events/{id}/body`: the bytes, to be saved and never shown by the browser.
pub async fn body(
    State(api): State<Arc<Api>>,
    _: Visit,
    Names(id): Names<String>,
) -> Result<Response, Failed> {
    let id: EventId = parse_name(&id)?;
    let bytes = |event: &EventView| -> Bytes {
        match &event.payload {
            Payload::Json(body) | Payload::Opaque { body, .. } => Bytes::copy_from_slice(body),
        }
    };
    let bytes = api.app().events.show(id, bytes).await?;
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    let saved = format!("attachment; filename=\"{id}.bin\"");
    if let Ok(saved) = HeaderValue::from_str(&saved) {
        headers.insert(header::CONTENT_DISPOSITION, saved);
    }
    Ok(response)
}

/// `GET …/events/{id}/why?endpoint=`: leads to the page that explains the two.
pub async fn why(
    State(_): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let id: EventId = parse_name(&id)?;
    let endpoint: EndpointId = parse_name(asked.text("endpoint").unwrap_or_default())?;
    go(
        &delivery::path(visit.base(), &id.to_string(), endpoint.as_str()),
        "",
    )
}
