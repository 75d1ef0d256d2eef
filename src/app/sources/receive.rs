//! A call of a provider, from its arrival to what it is answered.

use std::sync::Arc;

use http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};

use super::call::{CallRefused, InboundCall};
use super::known::KnownSource;
use super::outcomes::Outcomes;
use super::tally::RejectedCall;
use crate::app::error::Error;
use crate::app::events::Events;
use crate::clock;
use crate::domain::event::{NewEvent, Payload, source_key};
use crate::domain::extras::{self, Extras};
use crate::domain::inbound::{Answer, Call, Incoming, Received, Source, VerifiedBy};
use crate::domain::time::Timestamp;
use crate::outbox::{Receipt, Refused};

/// A body of this length is verified beside the runtime's thread, in bytes.
const LARGE: usize = 64 * 1024;
/// The content type of a body that came without one.
const UNTYPED: &str = "application/octet-stream";
/// How much of the method and of a header is kept of a refused call, in characters.
const SHOWN: usize = 200;

/// Verifies a call and stores what it holds. Counts how it ended.
///
/// # Errors
/// Why it was refused; it leaves no trace but a count then.
pub async fn receive(
    known: &Arc<KnownSource>,
    events: &Events,
    outcomes: &Outcomes,
    call: InboundCall,
) -> Result<(Answer, Vec<Receipt>), CallRefused> {
    let now = clock::now();
    let (call, received) = judge(known.source.clone(), call, now).await;
    let taken = match received {
        Ok(Received::Events {
            events: incoming,
            answer,
            verified_by,
        }) => {
            let new = incoming
                .into_iter()
                .map(|one| event(&known.source, one, verified_by, &call));
            store(events, new.collect())
                .await
                .map(|receipts| (answer, receipts))
        }
        Ok(Received::Handshake(answer)) => {
            outcomes.handshake();
            known.tally.handshake(now);
            return Ok((answer, Vec::new()));
        }
        Ok(Received::Rejected(rejection)) => Err(CallRefused::Rejected(rejection)),
        Err(error) => Err(CallRefused::Unavailable(error)),
    };
    match &taken {
        Ok((_, receipts)) => {
            let duplicates = receipts.iter().filter(|receipt| receipt.duplicate).count();
            let accepted = receipts.len().saturating_sub(duplicates);
            outcomes.received();
            known
                .tally
                .received(accepted as u64, duplicates as u64, now);
        }
        Err(refused) => note_refused(known, outcomes, refused, &call, now),
    }
    taken
}

/// Counts and records a refused call.
pub fn note_refused(
    known: &KnownSource,
    outcomes: &Outcomes,
    refused: &CallRefused,
    call: &InboundCall,
    at: Timestamp,
) {
    outcomes.refused(refused);
    let cut = |text: &str| text.chars().take(SHOWN).collect();
    let header = |name| Some(cut(call.headers.get(name)?.to_str().ok()?));
    let reason = refused.reason();
    tracing::debug!(source = %known.id(), reason, "a call was refused");
    known.tally.rejected(RejectedCall {
        at,
        remote: call.remote,
        method: cut(call.method.as_str()),
        reason,
        detail: refused.detail(),
        content_type: header(CONTENT_TYPE),
        user_agent: header(USER_AGENT),
        body_bytes: call.body_bytes(),
    });
}

/// What the source says of the call; beside the runtime's thread if it is large.
async fn judge(
    source: Arc<Source>,
    call: InboundCall,
    now: Timestamp,
) -> (InboundCall, Result<Received, Error>) {
    let judge = move |call: &InboundCall| {
        let seen = Call {
            method: &call.method,
            query: &call.query,
            headers: &call.headers,
            body: &call.body,
            url: call.url.as_deref(),
        };
        source.receive(&seen, now)
    };
    if call.body.len() < LARGE {
        let received = judge(&call);
        return (call, Ok(received));
    }
    let shared = Arc::new(call);
    let apart = shared.clone();
    let judged = tokio::task::spawn_blocking(move || judge(&apart)).await;
    let judged = judged.map_err(|error| {
        tracing::error!(%error, "verifying a call failed");
        Error::Internal("the call could not be verified; see the log")
    });
    let call = Arc::try_unwrap(shared).unwrap_or_else(|shared| (*shared).clone());
    (call, judged)
}

fn event(
    source: &Source,
    incoming: Incoming,
    verified_by: VerifiedBy,
    call: &InboundCall,
) -> NewEvent {
    let id = source.id.as_str();
    let content_type = incoming.content_type.as_deref().unwrap_or(UNTYPED);
    let mut headers = incoming.headers;
    headers.extend(content_encoding(&call.headers));
    NewEvent {
        tenant: source.tenant.clone(),
        event_type: incoming.event_type,
        payload: Payload::Opaque {
            content_type: content_type.into(),
            body: incoming.body,
        },
        key: None,
        idempotency_key: Some(source_key(id, &incoming.delivery_id)),
        deliver_at: None,
        extras: Some(Arc::new(Extras {
            headers,
            source: Some(id.to_owned()),
            received: Some(extras::Received {
                verified_by: verified_by.to_string(),
                remote: call.remote.to_string(),
            }),
            ..Extras::default()
        })),
    }
}

/// A body is kept as it came, so what it is coded in goes with it.
fn content_encoding(headers: &HeaderMap) -> Option<(HeaderName, HeaderValue)> {
    let value = headers.get(CONTENT_ENCODING)?;
    let is_plain = value.as_bytes().eq_ignore_ascii_case(b"identity");
    (!is_plain).then(|| {
        let mut value = value.clone();
        value.set_sensitive(true);
        (CONTENT_ENCODING, value)
    })
}

async fn store(events: &Events, new: Vec<NewEvent>) -> Result<Vec<Receipt>, CallRefused> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    events.accept(new).await.map_err(|error| match error {
        Error::RateLimited { wait } => CallRefused::RateLimited { wait },
        Error::Refused(Refused::TooLarge { .. }) => CallRefused::TooMuch,
        error => CallRefused::Unavailable(error),
    })
}
