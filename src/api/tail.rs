//! `GET /v1/tail`: accepted events, attempts and endpoints' changes as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! A separate task reads the tail and hands the text to the response's body, a few pieces ahead. A
//! client that does not read delays only that task, and is then told how many events it missed.

use std::future::Future;
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
use super::dto::tail;
use super::problem::{Kind, Problem};
use super::query::Query;
use super::reply::Pieces;
use crate::dispatch::tail::{Happened, Heard, Listener, Tail, Wanted};

/// A comment is sent after this long without an event, so that a closed connection is noticed.
const COMMENT_AFTER: Duration = Duration::from_secs(15);
/// How many pieces of text may wait for the client.
const AHEAD: usize = 16;

/// `GET /v1/tail`
pub async fn tail(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &["tenant", "endpoint", "type", "source"])?;
    let wanted = Wanted {
        tenant: query.read("tenant")?,
        endpoint: query.read("endpoint")?,
        event_type: query.pattern("type")?,
        source: query.text("source").map(str::to_owned),
        most_per_second: None,
    };
    let caller = request.extensions().get::<Caller>().cloned();
    // A tail ends when its token is removed.
    let refused = caller.unwrap_or(Caller::Socket).refused();
    stream(&api.app.tail, wanted, Audience::Operator, refused)
}

/// Who reads a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    Operator,
    /// A customer: without addresses, responses, sources and details of faults.
    Tenant,
}

/// The response that follows a tail until `ended`: the rule that admitted the caller is no longer in
/// force.
///
/// # Errors
/// 503 if too many tails are open.
pub fn stream(
    tail: &Tail,
    wanted: Wanted,
    audience: Audience,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Result<Response, Problem> {
    let listener = tail.listen(wanted).ok_or_else(|| {
        Problem::new(
            Kind::Busy,
            "too many tails are open, or outboxd is stopping",
        )
    })?;
    let (text, pieces) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        tokio::select! {
            () = write(listener, text, audience) => {}
            () = ended => {}
        }
    });
    let mut response = Response::new(Body::new(Pieces(pieces)));
    let headers = response.headers_mut();
    let stream = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, stream);
    let uncached = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, uncached);
    Ok(response)
}

/// Writes the events of the listener until the client disconnects or the daemon stops.
async fn write(mut listener: Listener, text: mpsc::Sender<Bytes>, audience: Audience) {
    // The head of the response goes out with the first piece.
    let mut piece = Bytes::from_static(b": tail\n\n");
    loop {
        if text.send(piece).await.is_err() {
            return;
        }
        let heard = tokio::select! {
            heard = tokio::time::timeout(COMMENT_AFTER, listener.next()) => heard,
            () = text.closed() => return,
        };
        piece = match heard {
            Err(_) => Bytes::from_static(b":\n\n"),
            Ok(Some(heard)) => event(&heard, audience),
            Ok(None) => return,
        };
    }
}

/// Writes one server-sent event. The JSON is a single line, so one `data` field holds it.
fn event(heard: &Heard, audience: Audience) -> Bytes {
    let (name, data) = match heard {
        Heard::Happened(happened) => match &**happened {
            Happened::Accepted(event) => match audience {
                Audience::Operator => ("accepted", tail::accepted(event)),
                Audience::Tenant => ("accepted", tail::accepted_for_tenant(event)),
            },
            Happened::Attempt(attempted) => match audience {
                Audience::Operator => ("attempt", tail::attempted(attempted)),
                Audience::Tenant => ("attempt", tail::attempted_for_tenant(attempted)),
            },
            Happened::Endpoint(switched) => ("endpoint", tail::switched(switched)),
        },
        Heard::Missed(missed) => ("missed", missed.to_string()),
    };
    format!("event: {name}\ndata: {data}\n\n").into()
}
