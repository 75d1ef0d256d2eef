//! Attempts under way: one task each, which always reports how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinError;

use crate::clock;
use crate::domain::attempt::{Attempt, AttemptError, ErrorKind};
use crate::domain::content::Content;
use crate::domain::endpoint::{Endpoint, EndpointNo};
use crate::domain::engine::Entry;
use crate::domain::event::EventId;
use crate::domain::render::Unrendered;
use crate::domain::shaping::Shaping;
use crate::domain::time::Timestamp;
use crate::outbox::{Outbox, ReadError};
use crate::transport::{Outgoing, Transport};

/// The largest body, in bytes, that a template renders on the thread that makes attempts.
const SMALL: usize = 16 << 10;

/// When a delivery was to be attempted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// This attempt.
    pub this: Timestamp,
    /// The first one, or the first since it was retried or replayed.
    pub first: Timestamp,
    /// The number of this attempt since then, from 1.
    pub number: u32,
}

/// An attempt that has ended.
pub(super) struct Ended {
    pub no: EndpointNo,
    pub event: EventId,
    pub due: Due,
    pub end: End,
    /// What it was made from, if that could be read.
    pub content: Option<Arc<Content>>,
    /// The receiver has consented to deliveries since, perhaps with a rate limit of its own.
    pub has_consent: bool,
}

pub(super) enum End {
    /// The attempt was made: its result decides.
    Made(Attempt),
    /// The event's body is damaged; the attempt to record as the last one.
    Damaged(Attempt),
    /// The request cannot be rendered by this definition; the attempt to record as the last one.
    Unrenderable(Attempt, Arc<Endpoint>),
    /// The event was erased: there is nothing to report.
    Erased,
}

/// Where attempts end.
pub struct Attempts(pub(super) mpsc::UnboundedReceiver<Ended>);

/// Reports the end of an attempt even if its task panics, so that a slot is never lost.
pub(super) struct Guard {
    no: EndpointNo,
    event: EventId,
    due: Due,
    ended: Option<mpsc::UnboundedSender<Ended>>,
}

impl Guard {
    pub fn new(no: EndpointNo, entry: Entry, ended: mpsc::UnboundedSender<Ended>) -> Guard {
        Guard {
            no,
            event: entry.event,
            due: Due {
                this: entry.due,
                first: entry.budget_from,
                number: entry.tries.saturating_add(1),
            },
            ended: Some(ended),
        }
    }

    fn end(mut self, end: End, content: Option<Arc<Content>>, has_consent: bool) {
        self.tell(end, content, has_consent);
    }

    fn tell(&mut self, end: End, content: Option<Arc<Content>>, has_consent: bool) {
        if let Some(ended) = self.ended.take() {
            // The receiver is closed only after a stop.
            let _ = ended.send(Ended {
                no: self.no,
                event: self.event,
                due: self.due,
                end,
                content,
                has_consent,
            });
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let detail = "outboxd ended the attempt before its outcome was known";
        self.tell(End::Made(unsent(detail)), None, false);
    }
}

/// An attempt of an event whose body is in memory.
pub(super) async fn of_kept(
    guard: Guard,
    transport: Transport,
    endpoint: Arc<Endpoint>,
    content: Arc<Content>,
) {
    let has_news = news_of(&endpoint);
    let end = attempt(&transport, endpoint, guard.event, content.clone()).await;
    guard.end(end, Some(content), has_news());
}

/// An attempt of an event whose body is in the log, at `lsn` when it was planned.
pub(super) async fn of_stored(
    guard: Guard,
    transport: Transport,
    endpoint: Arc<Endpoint>,
    outbox: Outbox,
    lsn: u64,
) {
    let (event, has_news) = (guard.event, news_of(&endpoint));
    let read = tokio::task::spawn_blocking(move || outbox.content(event, lsn));
    let mut known = None;
    let end = match read.await {
        Ok(Ok(content)) => {
            let content = known.insert(Arc::new(content)).clone();
            attempt(&transport, endpoint, event, content).await
        }
        Ok(Err(ReadError::Erased | ReadError::NoSuchEvent)) => End::Erased,
        Ok(Err(error @ ReadError::Damaged(_))) => {
            tracing::error!(%event, endpoint = %endpoint.id, %error, "the event's body is damaged: it cannot be sent");
            End::Damaged(unsent(&format!("the event cannot be sent: {error}")))
        }
        Ok(Err(error)) => End::Made(unsent(&format!("outboxd cannot read the event: {error}"))),
        Err(error) => End::Made(unsent(&format!("outboxd cannot read the event: {error}"))),
    };
    guard.end(end, known, has_news());
}

/// Whether the endpoint's receiver has consented since the last check.
fn news_of(endpoint: &Endpoint) -> impl Fn() -> bool + use<> {
    let shaping = endpoint.shaping.as_ref();
    let consents = shaping.and_then(|shaping| shaping.consents.clone());
    move || {
        consents
            .as_ref()
            .is_some_and(|consents| consents.take_news())
    }
}

async fn attempt(
    transport: &Transport,
    endpoint: Arc<Endpoint>,
    id: EventId,
    content: Arc<Content>,
) -> End {
    let outgoing = match &endpoint.shaping {
        None => Outgoing::plain(id, &content),
        Some(shaping) => match rendered(transport, &endpoint, shaping, id, &content).await {
            Ok(Ok(outgoing)) => outgoing,
            Ok(Err(unrendered)) => {
                let attempt = unsent(&unrendered.to_string());
                return End::Unrenderable(attempt, endpoint);
            }
            Err(error) => return End::Made(unsent(&format!("rendering failed: {error}"))),
        },
    };
    End::Made(transport.attempt(&endpoint, &outgoing).await)
}

/// Renders the request. A template that has been fast is rendered here; others, and those of
/// large events, on a thread that may block.
async fn rendered(
    transport: &Transport,
    endpoint: &Arc<Endpoint>,
    shaping: &Arc<Shaping>,
    id: EventId,
    content: &Arc<Content>,
) -> Result<Result<Outgoing, Unrendered>, JoinError> {
    let longest = transport.longest_body();
    let is_fast = content.body.len() <= SMALL && shaping.pace.is_fast();
    if !shaping.has_templates() {
        return Ok(Outgoing::new(endpoint, id, content, longest));
    }
    if is_fast {
        return Ok(timed(endpoint, shaping, id, content, longest));
    }
    let (endpoint, shaping, content) = (endpoint.clone(), shaping.clone(), content.clone());
    let render = move || timed(&endpoint, &shaping, id, &content, longest);
    tokio::task::spawn_blocking(render).await
}

fn timed(
    endpoint: &Endpoint,
    shaping: &Shaping,
    id: EventId,
    content: &Content,
    longest: usize,
) -> Result<Outgoing, Unrendered> {
    let began = Instant::now();
    let outgoing = Outgoing::new(endpoint, id, content, longest);
    if content.body.len() <= SMALL {
        // Larger events are always rendered on another thread.
        shaping.pace.took(began.elapsed());
    }
    outgoing
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
        permanent: false,
    }
}
