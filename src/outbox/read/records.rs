//! What the log's records say of an event and of its attempts.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::attempt::Attempt;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::{EventId, EventType, Payload};
use crate::outbox::decide::envelope;
use crate::outbox::log::{self, Body, LogReader, Lsn};
use crate::outbox::record::{EventHead, Record, Rewritten};
use crate::outbox::views::{Content, ReadError};

/// How many attempts of a delivery are kept.
pub const ATTEMPTS_KEPT: usize = crate::outbox::index::ATTEMPTS_KEPT as usize;

/// What to do about attempts that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::outbox) enum Attempts {
    All,
    /// Those up to the damage, newest first.
    WhatIsLeft,
}

/// The last attempts of a delivery, oldest first, going back from where the last one is.
pub(in crate::outbox) fn attempts(
    log: &LogReader,
    id: EventId,
    no: EndpointNo,
    last: u64,
    wanted: Attempts,
) -> Result<Vec<Attempt>, ReadError> {
    let mut found = Vec::new();
    match attempts_since(log, id, no, last, 0, &mut found) {
        Err(error) if wanted == Attempts::All => return Err(error.into()),
        _ => {}
    }
    found.reverse();
    Ok(found)
}

/// Adds the last attempts of a delivery, newest first, going back from `last` to the one at
/// `known`, which is not among them. Up to where it fails they are right.
pub(in crate::outbox) fn attempts_since(
    log: &LogReader,
    id: EventId,
    no: EndpointNo,
    last: u64,
    known: u64,
    found: &mut Vec<Attempt>,
) -> Result<(), log::ReadError> {
    let (mut at, mut buf) = (last, Vec::new());
    while at > known && found.len() < ATTEMPTS_KEPT {
        let record = log.read(Lsn(at), &mut buf)?;
        let body = match record.body {
            Body::Intact(body) => body,
            // What the receiver answered is gone; that there was an attempt is known.
            Body::Erased | Body::Damaged => &[],
        };
        let previous = match Record::decode(record.kind, record.head) {
            Ok(Record::Attempted(attempted))
                if attempted.id == id.0 && attempted.endpoint == no.0 =>
            {
                found.push(attempted.attempt.attempt(body));
                attempted.previous
            }
            Ok(Record::Rewritten(rewritten)) if rewritten.event.id == id.0 => {
                found.extend(rewritten_attempts(&rewritten, no, body).into_iter().rev());
                0
            }
            _ => return Err(log::ReadError::Damaged(Lsn(at))),
        };
        // The chain only ever leads back; anything else is damage.
        at = if previous < at { previous } else { 0 };
    }
    found.truncate(ATTEMPTS_KEPT);
    Ok(())
}

/// The attempts of one delivery in a record's head, oldest first, with their response
/// bodies from the record's body: they follow the event's, in the order of the head.
fn rewritten_attempts(rewritten: &Rewritten<'_>, no: EndpointNo, body: &[u8]) -> Vec<Attempt> {
    let mut rest = body
        .get(rewritten.event.body_len as usize..)
        .unwrap_or_default();
    let mut found = Vec::new();
    for delivery in &rewritten.deliveries {
        for row in &delivery.attempts {
            let (response, after) = rest
                .split_at_checked(row.response as usize)
                .unwrap_or_default();
            rest = after;
            if delivery.endpoint == no.0 {
                found.push(row.attempt(response));
            }
        }
    }
    found
}

/// What an event's record says will be sent, and what was handed in.
fn opened(head: &EventHead<'_>, body: Body<'_>) -> Result<(Content, Payload), ReadError> {
    let unlike = || ReadError::Damaged("the event's record is not what was written".into());
    if head.body_lost {
        return Err(ReadError::Damaged(
            "the event's body was lost to damage of the disk".into(),
        ));
    }
    let event_type = EventType::new(head.event_type).map_err(|_| unlike())?;
    let body = match body {
        // Response bodies may follow it.
        Body::Intact(body) => body
            .get(..head.body_len as usize)
            .map(Bytes::copy_from_slice)
            .ok_or_else(unlike)?,
        Body::Erased => return Err(ReadError::Erased),
        Body::Damaged => {
            return Err(ReadError::Damaged(
                "the event's body fails its checksum".into(),
            ));
        }
    };
    Ok(match head.content_type {
        Some(content_type) => {
            let content_type: Arc<str> = content_type.into();
            let payload = Payload::Opaque {
                content_type: content_type.clone(),
                body: body.clone(),
            };
            (
                Content {
                    event_type,
                    content_type,
                    opaque: true,
                    body,
                },
                payload,
            )
        }
        None => {
            let data = envelope::data_of(&body, head.data_at).ok_or_else(unlike)?;
            (
                Content {
                    event_type,
                    content_type: envelope::json_type(),
                    opaque: false,
                    body,
                },
                Payload::Json(data),
            )
        }
    })
}

/// The event whose record is at `lsn`.
pub(super) fn content(
    log: &LogReader,
    id: EventId,
    lsn: u64,
) -> Result<(Content, Payload), ReadError> {
    let mut buf = Vec::new();
    let record = log.read(Lsn(lsn), &mut buf)?;
    match Record::decode(record.kind, record.head) {
        Ok(Record::Accepted(accepted)) if accepted.event.id == id.0 => {
            opened(&accepted.event, record.body)
        }
        Ok(Record::Rewritten(rewritten)) if rewritten.event.id == id.0 => {
            opened(&rewritten.event, record.body)
        }
        _ => Err(ReadError::Damaged(format!("no record of {id} is at {lsn}"))),
    }
}
