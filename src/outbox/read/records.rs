//! What the log's records say of an event and of its attempts.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::attempt::Attempt;
use crate::domain::content::Content;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::{EventId, EventType, Key, Payload, Tenant};
use crate::domain::time::Timestamp;
use crate::outbox::decide::envelope;
use crate::outbox::log::{self, Body, LogReader, Lsn};
use crate::outbox::record::{EventHead, Record, Rewritten, read_extras};
use crate::outbox::views::ReadError;

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

/// The last attempt of a delivery, if it can be read.
pub(in crate::outbox) fn last_attempt(
    log: &LogReader,
    id: EventId,
    no: EndpointNo,
    last: u64,
) -> Option<Attempt> {
    let mut found = Vec::new();
    let _ = attempts_since(log, id, no, last, last.saturating_sub(1), &mut found);
    found.into_iter().next()
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
        let previous = match Record::decode(record.kind, record.head, Some(body)) {
            Ok(Some(Record::Attempted(attempted)))
                if attempted.id == id.0 && attempted.endpoint == no.0 =>
            {
                found.push(attempted.attempt.attempt(body));
                attempted.previous
            }
            Ok(Some(Record::Rewritten(rewritten))) if rewritten.event.id == id.0 => {
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

/// What attempts of an event are made from, and what was posted, as its record has it.
fn opened(
    head: &EventHead<'_>,
    extras_len: u32,
    body: Body<'_>,
) -> Result<(Content, Payload), ReadError> {
    let unlike = || ReadError::Damaged("the event's record is not what was written".into());
    if head.body_lost {
        return Err(ReadError::Damaged(
            "the event's body was lost to damage of the disk".into(),
        ));
    }
    let (body, extras) = match body {
        // Response bodies may follow it.
        Body::Intact(body) => {
            let content = head.body_len.checked_sub(extras_len);
            let own = body.get(..head.body_len as usize).ok_or_else(unlike)?;
            own.split_at_checked(content.ok_or_else(unlike)? as usize)
                .ok_or_else(unlike)?
        }
        Body::Erased => return Err(ReadError::Erased),
        Body::Damaged => {
            return Err(ReadError::Damaged(
                "the event's body fails its checksum".into(),
            ));
        }
    };
    let extras = match extras.is_empty() {
        true => None,
        false => Some(Arc::new(read_extras(extras).map_err(|_| unlike())?)),
    };
    let key = head.key.map(Key::new).transpose();
    let content = Content {
        tenant: Tenant::new(head.tenant).map_err(|_| unlike())?,
        event_type: EventType::new(head.event_type).map_err(|_| unlike())?,
        key: key.map_err(|_| unlike())?,
        accepted_at: Timestamp::from_millis(head.accepted_at),
        content_type: head
            .content_type
            .map_or_else(envelope::json_type, Into::into),
        opaque: head.content_type.is_some(),
        body: Bytes::copy_from_slice(body),
        data_at: head.data_at,
        extras,
    };
    let payload = match content.opaque {
        true => Payload::Opaque {
            content_type: content.content_type.clone(),
            body: content.body.clone(),
        },
        false => Payload::Json(content.data().ok_or_else(unlike)?),
    };
    Ok((content, payload))
}

/// The event whose record is at `lsn`.
pub(super) fn content(
    log: &LogReader,
    id: EventId,
    lsn: u64,
) -> Result<(Content, Payload), ReadError> {
    let mut buf = Vec::new();
    let record = log.read(Lsn(lsn), &mut buf)?;
    match Record::decode(record.kind, record.head, record.body.intact()) {
        Ok(Some(Record::Accepted(accepted))) if accepted.event.id == id.0 => {
            opened(&accepted.event, accepted.extras_len, record.body)
        }
        Ok(Some(Record::Rewritten(rewritten))) if rewritten.event.id == id.0 => {
            opened(&rewritten.event, rewritten.extras_len, record.body)
        }
        _ => Err(ReadError::Damaged(format!("no record of {id} is at {lsn}"))),
    }
}
