//! Attempts under way: one task each, which always reports how it ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock;
use crate::domain::attempt::{Attempt, AttemptError, ErrorKind};
use crate::domain::endpoint::{Endpoint, EndpointNo};
use crate::domain::event::EventId;
use crate::outbox::{Content, Outbox, ReadError};
use crate::transport::{Outgoing, Transport};

/// An attempt that is under way no more.
pub(super) struct Ended {
    pub no: EndpointNo,
    pub event: EventId,
    pub end: End,
}

pub(super) enum End {
    /// Judged by what came of it.
    Made(Attempt),
    /// The event's body is damaged: what the last attempt ended with.
    Damaged(Attempt),
    /// The event was erased: there is nothing to tell.
    Erased,
}

/// Where attempts end.
pub struct Attempts(pub(super) mpsc::UnboundedReceiver<Ended>);

/// Reports the end of an attempt even if its task panics, so that a slot is never lost.
pub(super) struct Guard {
    no: EndpointNo,
    event: EventId,
    ended: Option<mpsc::UnboundedSender<Ended>>,
}

impl Guard {
    pub fn new(no: EndpointNo, event: EventId, ended: mpsc::UnboundedSender<Ended>) -> Guard {
        Guard {
            no,
            event,
            ended: Some(ended),
        }
    }

    fn end(mut self, end: End) {
        self.tell(end);
    }

    fn tell(&mut self, end: End) {
        if let Some(ended) = self.ended.take() {
            // Nobody listens any more only after a stop.
            let _ = ended.send(Ended {
                no: self.no,
                event: self.event,
                end,
            });
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let detail = "outboxd broke the attempt off before its outcome was known";
        self.tell(End::Made(unsent(detail)));
    }
}

/// An attempt of an event whose body is in memory.
pub(super) async fn of_kept(
    guard: Guard,
    transport: Transport,
    endpoint: Arc<Endpoint>,
    content: Arc<Content>,
) {
    let attempt = attempt(&transport, &endpoint, guard.event, &content).await;
    guard.end(End::Made(attempt));
}

/// An attempt of an event whose body is in the log, at `lsn` when it was planned.
pub(super) async fn of_stored(
    guard: Guard,
    transport: Transport,
    endpoint: Arc<Endpoint>,
    outbox: Outbox,
    lsn: u64,
) {
    let event = guard.event;
    let read = tokio::task::spawn_blocking(move || outbox.content(event, lsn));
    let end = match read.await {
        Ok(Ok(content)) => End::Made(attempt(&transport, &endpoint, event, &content).await),
        Ok(Err(ReadError::Erased | ReadError::NoSuchEvent)) => End::Erased,
        Ok(Err(error @ ReadError::Damaged(_))) => {
            tracing::error!(%event, endpoint = %endpoint.id, %error, "the event's body is damaged: it cannot be sent");
            End::Damaged(unsent(&format!("the event cannot be sent: {error}")))
        }
        Ok(Err(error)) => End::Made(unsent(&format!("outboxd cannot read the event: {error}"))),
        Err(error) => End::Made(unsent(&format!("outboxd cannot read the event: {error}"))),
    };
    guard.end(end);
}

async fn attempt(
    transport: &Transport,
    endpoint: &Endpoint,
    id: EventId,
    content: &Content,
) -> Attempt {
    let outgoing = Outgoing {
        id,
        event_type: content.event_type.clone(),
        content_type: content.content_type.clone(),
        opaque: content.opaque,
        body: content.body.clone(),
    };
    transport.attempt(endpoint, &outgoing).await
}

/// An attempt for which the daemon sent no request, through a fault of its own.
fn unsent(detail: &str) -> Attempt {
    Attempt {
        at: clock::now(),
        duration: Duration::ZERO,
        status: None,
        error: Some(AttemptError {
            kind: ErrorKind::Local,
            detail: detail.to_owned(),
        }),
        response_body: Default::default(),
        address: None,
        retry_after: None,
    }
}
