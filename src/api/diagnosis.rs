//! Diagnoses of endpoints.
//!
//! A diagnosis may take as long as the network lets it. Until it is done the response consists of
//! spaces, one a second, which JSON allows before a value: so the daemon notices that a client is
//! gone, and ends the diagnosis.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::sync::mpsc;

use super::Api;
use super::access::Caller;
use super::acted;
use super::dto::diagnosis::Diagnosis;
use super::fields::{Fields, body_of};
use super::path::{PathParams, parse_name};
use super::problem::Problem;
use super::query::Query;
use super::reply::Pieces;
use crate::app::KnownEndpoint;
use crate::domain::endpoint::EndpointId;

/// How often a client shows that it is there.
const SPACE_AFTER: Duration = Duration::from_secs(1);

/// `POST /v1/endpoints/{id}/diagnose`: 200 with the steps, whether they are well or not.
pub async fn diagnose(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let endpoint: EndpointId = parse_name(&id)?;
    let body = body_of(&api, &parts.headers, body).await?;
    let send = Fields::parse(&body, &["send"])?.flag("send")?;
    let send = send.value().unwrap_or(false);
    let known = api.app.endpoints.find(endpoint).await?;
    let caller = parts.extensions.get::<Caller>().cloned();
    let (text, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = spaces(&text) => {}
            answer = answer(&api, known, send, caller) => {
                // The client may have gone away.
                let _ = text.send(answer).await;
            }
        }
    });
    let mut response = Response::new(Body::new(Pieces(pieces)));
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let uncached = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, uncached);
    Ok(response)
}

/// Sends a space now and then, until the client is gone.
async fn spaces(text: &mpsc::Sender<Bytes>) {
    loop {
        tokio::select! {
            () = text.closed() => return,
            () = tokio::time::sleep(SPACE_AFTER) => {
                if text.send(Bytes::from_static(b" ")).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn answer(api: &Api, known: KnownEndpoint, send: bool, caller: Option<Caller>) -> Bytes {
    let id = known.0.id.clone();
    let sent = |_| acted::tested(&id, caller.as_ref());
    let diagnosis = api.app.doctor.diagnose(known, send, sent).await;
    match serde_json::to_vec(&Diagnosis::from(&diagnosis)) {
        Ok(json) => json.into(),
        Err(error) => {
            // The client finds a response that is not JSON.
            tracing::error!(%error, "a diagnosis could not be written");
            Bytes::new()
        }
    }
}
