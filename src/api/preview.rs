//! Trying filters and rendering out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;

use super::Api;
use super::dto::preview::{Rendered, Tested};
use super::endpoints::read_type;
use super::fields::{Fields, body_of};
use super::parse;
use super::path::{PathParams, parse_name};
use super::problem::Problem;
use super::query::Query;
use super::reply::json;
use crate::app::Sample;
use crate::app::definition::Given;
use crate::domain::event::{NewEvent, Payload};
use crate::domain::filter::Filter;
use crate::domain::json::Json;

/// `POST /v1/filters/test`: what a filter says of an event.
pub async fn test_filter(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let body = body_of(&api, &parts.headers, body).await?;
    let fields = Fields::parse(&body, &["filter", "event"])?;
    let missing = |name| Problem::bad_request(format!("field `{name}` is missing"));
    let given = fields.json(&["filter"])?.pop();
    let filter = match given {
        Some((_, Given::Value(Json::String(text)))) => Filter::parse_text(&text),
        Some((_, Given::Value(json))) => Filter::parse(&json),
        _ => return Err(missing("filter")),
    };
    let filter = filter.map_err(|fault| fields.fault("filter", fault))?;
    let event = fields.written("event").ok_or_else(|| missing("event"))?;
    let sample = match Json::parse(event) {
        Ok(Json::String(id)) => Sample::Stored(parse_name(&id)?),
        _ => {
            let event = parse::event(&body.slice_ref(event), None);
            let inside = |fault: parse::Fault| fields.fault("event", fault);
            Sample::New(Box::new(event.map_err(inside)?))
        }
    };
    let failed = api.app.previews.judge(filter, sample).await?;
    json(StatusCode::OK, &Tested::from(failed.as_ref()))
}

/// `POST /v1/endpoints/{id}/render`: what the endpoint would be sent; secrets are masked.
pub async fn render(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let endpoint = parse_name(&id)?;
    let body = body_of(&api, &parts.headers, body).await?;
    let fields = Fields::parse(&body, &["event", "type", "data"])?;
    let given = (
        fields.text("event", str::parse)?.value(),
        fields.text("type", read_type)?.value(),
        fields.written("data"),
    );
    let sample = match given {
        (Some(id), None, None) => Sample::Stored(id),
        (None, Some(event_type), Some(data)) => Sample::New(Box::new(NewEvent {
            tenant: Default::default(),
            event_type,
            payload: Payload::Json(Bytes::copy_from_slice(data)),
            key: None,
            idempotency_key: None,
            deliver_at: None,
            extras: None,
        })),
        _ => {
            let detail = "give either `event`, the id of one, or both `type` and `data`";
            return Err(Problem::bad_request(detail));
        }
    };
    let preview = api.app.previews.render(endpoint, sample).await?;
    json(StatusCode::OK, &Rendered::from(&preview))
}
