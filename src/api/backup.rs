//! `GET /v1/backup`: a copy of the running store, as a tar archive.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::Frame;
use tokio::sync::mpsc;

use super::Api;
use super::problem::{Kind, Problem};
use super::query::Query;

/// `GET /v1/backup`
pub async fn backup(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    Query::parse(request.uri(), &[])?;
    let pieces = api.app.backups.begin();
    let pieces = pieces
        .ok_or_else(|| Problem::new(Kind::Busy, "another copy of the store is being made"))?;
    let mut response = Response::new(Body::new(Archive(pieces)));
    let headers = response.headers_mut();
    let values = [
        (header::CONTENT_TYPE, "application/x-tar"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"outboxd-backup.tar\"",
        ),
    ];
    for (name, value) in values {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// A body that breaks off if the copy does.
struct Archive(mpsc::Receiver<io::Result<Bytes>>);

impl http_body::Body for Archive {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = self.0.poll_recv(cx);
        next.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
