//! Responses: JSON, pages of lists, and bodies that come in pieces.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};
use http_body::{Body, Frame};
use serde::Serialize;
use tokio::sync::mpsc;

use super::problem::{Kind, Problem};
use crate::outbox::{Cursor, Page};

/// A JSON response.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let json = HeaderValue::from_static("application/json");
            Ok((status, [(header::CONTENT_TYPE, json)], bytes).into_response())
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            Err(Problem::new(
                Kind::Internal,
                "the answer could not be written as JSON",
            ))
        }
    }
}

/// Marks a response to a request that changed nothing, although its method and path would.
#[derive(Clone, Copy, Debug)]
pub struct DryRun;

/// The response to a dry run: 200.
pub fn dry_run(value: &impl Serialize) -> Result<Response, Problem> {
    let mut response = json(StatusCode::OK, value)?;
    response.extensions_mut().insert(DryRun);
    Ok(response)
}

/// A response body of the pieces that a task hands over.
pub struct Pieces(pub mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(cx);
        next.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A page of a list: `{"data": [...], "next": "cursor" | null}`.
#[derive(Serialize)]
struct Listed<'a, T> {
    data: Vec<T>,
    next: Option<&'a str>,
}

/// The response that holds `page`, each item as `show` writes it.
pub fn page<'a, T, S: Serialize>(
    page: &'a Page<T>,
    show: impl Fn(&'a T) -> S,
) -> Result<Response, Problem> {
    let listed = Listed {
        data: page.items.iter().map(show).collect(),
        next: page.next.as_ref().map(|Cursor(text)| text.as_str()),
    };
    json(StatusCode::OK, &listed)
}

/// Says that no cache may keep the response.
pub fn no_store(mut response: Response) -> Response {
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    response
}
