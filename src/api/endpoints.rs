//! Endpoints: made, read, changed, deleted, enabled, disabled and tested.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};

use super::Api;
use super::definition;
use super::dto::changes::Changes;
use super::dto::endpoint::Endpoint;
use super::fields::{Fields, body_of, nothing_more};
use super::id_cursor::IdCursors;
use super::parse::RESERVED;
use super::path::{PathParams, parse_name};
use super::problem::Problem;
use super::query::Query;
use super::reply::{self, json};
use crate::app::KnownEndpoint;
use crate::domain::endpoint::EndpointId;
use crate::domain::event::{EventType, Tenant};
use crate::outbox::{Cursor, Page, TestEvent};

const CURSORS: IdCursors = IdCursors("endpoint");

/// `GET /v1/endpoints`: in order of their ids; `?tenant=` keeps those of one tenant.
pub async fn list(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &["tenant", "limit", "cursor"])?;
    let limit = query.limit()?;
    let tenant: Option<Tenant> = query.read("tenant")?;
    let after = query.cursor()?;
    let after = after.as_ref().map(|cursor| CURSORS.place(cursor));
    let after = after.transpose()?;
    let show = |mut page: Page<KnownEndpoint>| {
        page.next = page.next.map(|Cursor(id)| CURSORS.after(&id));
        reply::page(&page, Endpoint::from)
    };
    api.app.endpoints.list(tenant, after, limit, show).await?
}

/// `GET /v1/endpoints/{id}`
pub async fn show(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let known = api.app.endpoints.find(parse_name(&id)?).await?;
    json(StatusCode::OK, &Endpoint::from(&known))
}

/// `POST /v1/endpoints`: 201 with the endpoint and its secret, in the clear for once. With
/// `?dry_run=true` 200 with the fields that are not the default; nothing is made.
pub async fn create(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let dry_run = Query::parse(&parts.uri, &["dry_run"])?.flag("dry_run")?;
    let body = body_of(&api, &parts.headers, body).await?;
    let endpoints = &api.app.endpoints;
    let definition = definition::read(&body, &endpoints.base_retry())?;
    if dry_run {
        let changed = endpoints.would_create(definition)?;
        return reply::dry_run(&Changes { changed });
    }
    let (known, secret) = endpoints.create(definition).await?;
    let revealed = secret.reveal();
    let mut shown = Endpoint::from(&known);
    // Whoever gave an Ed25519 key has it: the answer does not repeat it.
    if secret.public_key().is_none() {
        shown.secret = Some(&revealed);
    }
    let mut response = json(StatusCode::CREATED, &shown).map(reply::no_store)?;
    let location = HeaderValue::from_str(&format!("/v1/endpoints/{}", known.0.id));
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `PATCH /v1/endpoints/{id}`: 200 with the endpoint as it is then. With `?dry_run=true` 200 with the
/// fields that would change; nothing is changed.
pub async fn change(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let dry_run = Query::parse(&parts.uri, &["dry_run"])?.flag("dry_run")?;
    let endpoint: EndpointId = parse_name(&id)?;
    let body = body_of(&api, &parts.headers, body).await?;
    let endpoints = &api.app.endpoints;
    let definition = definition::read(&body, &endpoints.base_retry())?;
    if dry_run {
        let changed = endpoints.would_change(endpoint, definition).await?;
        return reply::dry_run(&Changes { changed });
    }
    let known = endpoints.change(endpoint, definition).await?;
    json(StatusCode::OK, &Endpoint::from(&known))
}

/// `DELETE /v1/endpoints/{id}`: 204; its open deliveries are dead from then on.
pub async fn delete(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    Query::parse(request.uri(), &[])?;
    api.app.endpoints.delete(parse_name(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/endpoints/{id}/test`: 204; one event goes to it, `outboxd.test` unless the body says
/// `type` and `data`.
pub async fn test(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let body = body_of(&api, &parts.headers, body).await?;
    let fields = Fields::parse(&body, &["type", "data"])?;
    let event = TestEvent {
        event_type: fields.text("type", read_type)?.value(),
        data: fields.written("data").map(Bytes::copy_from_slice),
    };
    api.app.endpoints.test(parse_name(&id)?, event).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The type of an event that is only tried.
pub fn read_type(text: &str) -> Result<EventType, String> {
    let event_type = EventType::new(text).map_err(|bad| bad.to_string())?;
    let is_test = text == "outboxd.test";
    match event_type.is_reserved() && !is_test {
        true => Err(RESERVED.to_owned()),
        false => Ok(event_type),
    }
}

/// `POST /v1/endpoints/{id}/enable`: 204, also if it was enabled.
pub async fn enable(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    nothing_more(&api, request).await?;
    api.app.endpoints.enable(parse_name(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/endpoints/{id}/disable`: 204, also if it was disabled.
pub async fn disable(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    nothing_more(&api, request).await?;
    api.app.endpoints.disable(parse_name(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
