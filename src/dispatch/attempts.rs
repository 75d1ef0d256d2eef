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

/// An attempt that came to its end.
pub(super) struct Ended {
    pub no: EndpointNo,
    pub event: EventId,
    pub attempt: Attempt,
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

    fn end(mut self, attempt: Attempt) {
        self.tell(attempt);
    }

    fn tell(&mut self, attempt: Attempt) {
        if let Some(ended) = self.ended.take() {
            // Nobody listens any more only after a stop.
            let _ = ended.send(Ended {
                no: self.no,
                event: self.event,
                attempt,
            });
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.tell(unsent("the attempt was broken off inside outboxd"));
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
    guard.end(attempt);
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
    let failed = match read.await {
        Ok(Ok(content)) => {
            let attempt = attempt(&transport, &endpoint, event, &content).await;
            return guard.end(attempt);
        }
        Ok(Err(ReadError::Erased | ReadError::NoSuchEvent)) => {
            tracing::debug!(%event, endpoint = %endpoint.id, "the event was erased before this attempt");
            return guard.end(unsent("the event was erased"));
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!(%event, endpoint = %endpoint.id, reason = failed, "the event's damaged body cannot be sent");
    guard.end(unsent(&format!(
        "the event cannot be read from the outbox: {failed}"
    )));
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

/// An attempt for which no request was sent.
fn unsent(detail: &str) -> Attempt {
    Attempt {
        at: clock::now(),
        duration: Duration::ZERO,
        status: None,
        error: Some(AttemptError {
            kind: ErrorKind::Protocol,
            detail: detail.to_owned(),
        }),
        response_body: Default::default(),
        address: None,
        retry_after: None,
    }
}
