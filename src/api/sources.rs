//! Sources: made, read, changed, removed and tested; their secrets rotated.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};

use super::Api;
use super::dto::changes::Changes;
use super::dto::source::{Source, TestedSource};
use super::fields::{Fields, body_of};
use super::id_cursor::IdCursors;
use super::path::{PathParams, parse_name};
use super::problem::Problem;
use super::query::Query;
use super::reply::{self, json};
use crate::app::MAX_OVERLAP;
use crate::app::definition::Given as GivenField;
use crate::app::sources::KnownSource;
use crate::domain::event::Tenant;
use crate::domain::inbound::{KEYS, SourceId};
use crate::domain::json::Json;
use crate::outbox::{Cursor, Page};

const CURSORS: IdCursors = IdCursors("source");

/// `GET /v1/sources`: in order of their ids; `?tenant=` keeps those of one tenant.
pub async fn list(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &["tenant", "limit", "cursor"])?;
    let limit = query.limit()?;
    let tenant: Option<Tenant> = query.read("tenant")?;
    let after = query.cursor()?;
    let after = after.as_ref().map(|cursor| CURSORS.place(cursor));
    let after = after.transpose()?;
    let showing = api.clone();
    let show = move |mut page: Page<Arc<KnownSource>>| {
        let sources = &showing.app.sources;
        page.next = page.next.map(|Cursor(id)| CURSORS.after(&id));
        reply::page(&page, |known| Source::in_list(known, sources.url_of(known)))
    };
    api.app.sources.list(tenant, after, limit, show).await?
}

/// `GET /v1/sources/{id}`
pub async fn show(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let sources = &api.app.sources;
    let known = sources.find(&parse_name(&id)?)?;
    json(
        StatusCode::OK,
        &Source::whole(&known, sources.url_of(&known)),
    )
}

/// The fields of a definition, as they were written; `null` for those that are to be gone.
pub type Written = Vec<(&'static str, Option<Json>)>;

fn written(fields: &Fields<'_>) -> Result<Written, Problem> {
    let given = fields.json(&KEYS)?.into_iter();
    let value = |field: GivenField<Json>| match field {
        GivenField::Value(json) => Some(json),
        GivenField::Null | GivenField::Absent => None,
    };
    Ok(given.map(|(name, field)| (name, value(field))).collect())
}

/// Reads the body of a request that makes a source: its id, whether it is applied, and its definition.
///
/// # Errors
/// 400 that names the field.
pub fn read_new(body: &[u8]) -> Result<(Option<SourceId>, bool, Written), Problem> {
    let known = [&["id", "applied"][..], &KEYS].concat();
    let fields = Fields::parse(body, &known)?;
    let id = fields.text("id", SourceId::new)?.value();
    let applied = fields.flag("applied")?.value().unwrap_or(false);
    Ok((id, applied, written(&fields)?))
}

/// Reads the body of a request that changes a source.
///
/// # Errors
/// 400 that names the field.
pub fn read_change(body: &[u8]) -> Result<Written, Problem> {
    written(&Fields::parse(body, &KEYS)?)
}

/// `POST /v1/sources`: 201 with the source. With `?dry_run=true` 200 with its keys; nothing is made.
pub async fn create(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let dry_run = Query::parse(&parts.uri, &["dry_run"])?.flag("dry_run")?;
    let body = body_of(&api, &parts.headers, body).await?;
    let (id, applied, definition) = read_new(&body)?;
    let sources = &api.app.sources;
    if dry_run {
        let changed = sources.would_create(id, definition)?;
        return reply::dry_run(&Changes { changed });
    }
    let known = sources.create(id, definition, applied).await?;
    let shown = Source::whole(&known, sources.url_of(&known));
    let mut response = json(StatusCode::CREATED, &shown)?;
    let location = HeaderValue::from_str(&format!("/v1/sources/{}", known.id()));
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `PATCH /v1/sources/{id}`: 200 with the source as it is then. With `?dry_run=true` 200 with the keys
/// that would change; nothing is changed.
pub async fn change(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let dry_run = Query::parse(&parts.uri, &["dry_run"])?.flag("dry_run")?;
    let id: SourceId = parse_name(&id)?;
    let body = body_of(&api, &parts.headers, body).await?;
    let change = read_change(&body)?;
    let sources = &api.app.sources;
    if dry_run {
        let changed = sources.would_change(&id, change)?;
        return reply::dry_run(&Changes { changed });
    }
    let known = sources.change(&id, change).await?;
    json(
        StatusCode::OK,
        &Source::whole(&known, sources.url_of(&known)),
    )
}

/// `DELETE /v1/sources/{id}`: 204; what came in stays.
pub async fn delete(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    Query::parse(request.uri(), &[])?;
    api.app.sources.remove(&parse_name(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/sources/{id}/rotate`: a new secret counts from now on; those before it count too while
/// they overlap. 200 with the source, and with the secret if it was made here.
pub async fn rotate(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let id: SourceId = parse_name(&id)?;
    let body = body_of(&api, &parts.headers, body).await?;
    let fields = Fields::parse(&body, &["overlap", "secret"])?;
    let overlap = fields.duration("overlap", Duration::ZERO..=MAX_OVERLAP)?;
    let secret = fields.text("secret", |text| Ok::<_, String>(text.to_owned()))?;
    let sources = &api.app.sources;
    let rotated = sources.rotate(&id, secret.value(), overlap.value()).await?;
    let (known, secret) = rotated;
    let mut shown = Source::whole(&known, sources.url_of(&known));
    shown.secret = secret.as_deref();
    json(StatusCode::OK, &shown).map(reply::no_store)
}

/// `POST /v1/sources/{id}/test`: signs a sample as the provider does and hands it in; 200 with what
/// became of it.
pub async fn test(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let id: SourceId = parse_name(&id)?;
    let body = body_of(&api, &parts.headers, body).await?;
    let fields = Fields::parse(&body, &["body"])?;
    let sample = fields.text("body", |text| Ok::<_, String>(Bytes::from(text.to_owned())))?;
    let tested = api.app.sources.test(&id, sample.value()).await?;
    json(StatusCode::OK, &TestedSource::from(&tested))
}
