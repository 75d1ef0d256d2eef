//! Taking events in: idempotency, the match of subscriptions, limits and ids are decided
//! here, inside the frame, so that nothing can slip in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::endpoint::EndpointNo;
use crate::domain::engine::{Entry, chain_of};
use crate::domain::event::{EventId, EventType, NewEvent};
use crate::domain::time::Timestamp;
use crate::outbox::commit::Notice;
use crate::outbox::compose;
use crate::outbox::index::rows::{self, KeyRow};
use crate::outbox::index::{PagesError, keys};
use crate::outbox::log::MAX_PAYLOAD;
use crate::outbox::record::{Accepted, Record};
use crate::outbox::view::{Receipt, Refused};
use crate::outbox::writer::{Draft, Writer, WriterError};

/// The most that one request may take in the log, in bytes: it must fit into one frame
/// beside what the frame already holds. Far over the largest batch that makes sense.
const REQUEST_MAX: u64 = (MAX_PAYLOAD as u64) / 2;
/// More than an event takes besides its body: names, keys and framing, but for its endpoints.
const HEAD_MAX: u64 = 2048;

/// What an idempotency key says of an event.
enum Known {
    /// New, with the fingerprint of its content if it has a key.
    New(Option<[u8; 32]>),
    /// Accepted before, or earlier in this frame.
    Same(Receipt),
    /// The same as an earlier event of this very request.
    Repeated,
    Reused,
}

impl Writer {
    /// Adds all of `events` to the frame, or none.
    pub(super) fn accept(
        &mut self,
        events: &[NewEvent],
        draft: &mut Draft,
    ) -> Result<Result<Vec<Receipt>, Refused>, WriterError> {
        let size = |event: &NewEvent| event.payload.len() as u64 + HEAD_MAX;
        if events.iter().map(size).sum::<u64>() > REQUEST_MAX {
            return Ok(Err(Refused::Full));
        }
        let now = self.now();
        let mut known = Vec::with_capacity(events.len());
        let mut here = HashMap::new();
        let mut incoming = 0;
        for (index, event) in events.iter().enumerate() {
            let found = self.known(event, &mut here, draft, now)?;
            match &found {
                Known::Reused => return Ok(Err(Refused::KeyReused { index })),
                Known::New(_) => incoming += event.payload.len() as u64,
                Known::Same(_) | Known::Repeated => {}
            }
            known.push(found);
        }
        let open_bytes = self.index.read().pending_bytes() + draft.open_bytes;
        if incoming > 0 {
            let admitted = match self.limits.admit(open_bytes, incoming) {
                // What would be held takes no room from what is pending.
                Err(Refused::Full) => match self.pending_part(events, &known, draft) {
                    0 => Ok(()),
                    pending => self.limits.admit(open_bytes, pending),
                },
                admitted => admitted,
            };
            if let Err(refused) = admitted {
                return Ok(Err(refused));
            }
        }
        let mut receipts = Vec::with_capacity(events.len());
        for (event, known) in events.iter().zip(known) {
            receipts.push(match known {
                Known::Same(receipt) => receipt,
                Known::New(fingerprint) => self.match_and_store(event, fingerprint, now, draft)?,
                Known::Repeated | Known::Reused => match drafted(event, draft) {
                    Some((_, receipt)) => Receipt {
                        duplicate: true,
                        ..receipt.clone()
                    },
                    None => self.match_and_store(event, None, now, draft)?,
                },
            });
        }
        Ok(Ok(receipts))
    }

    fn known<'a>(
        &self,
        event: &'a NewEvent,
        here: &mut HashMap<(&'a str, &'a str), [u8; 32]>,
        draft: &Draft,
        now: Timestamp,
    ) -> Result<Known, WriterError> {
        let Some(key) = &event.idempotency_key else {
            return Ok(Known::New(None));
        };
        let fingerprint = compose::fingerprint(event);
        let place = (event.tenant.as_str(), key.as_str());
        if let Some(earlier) = here.get(&place) {
            return Ok(if *earlier == fingerprint {
                Known::Repeated
            } else {
                Known::Reused
            });
        }
        let found = match drafted(event, draft) {
            Some((content, receipt)) => Some((*content, receipt.clone())),
            None => self.stored(place, now)?,
        };
        Ok(match found {
            Some((content, receipt)) if content == fingerprint => Known::Same(Receipt {
                duplicate: true,
                ..receipt
            }),
            Some(_) => Known::Reused,
            None => {
                here.insert(place, fingerprint);
                Known::New(Some(fingerprint))
            }
        })
    }

    /// What the index holds for an idempotency key within its window.
    fn stored(
        &self,
        place: (&str, &str),
        now: Timestamp,
    ) -> Result<Option<([u8; 32], Receipt)>, WriterError> {
        let state = self.index.read();
        let Some(bytes) = state.entries.get(&keys::idempotency(place.0, place.1))? else {
            return Ok(None);
        };
        let row: KeyRow<'_> = rows::decode(&bytes)?;
        let accepted_at = EventId(row.id).timestamp();
        if is_past(accepted_at, self.limits.idempotency_window, now) {
            return Ok(None);
        }
        let event_type = EventType::new(row.event_type).map_err(|_| PagesError::Damaged)?;
        let (id, deliveries) = (EventId(row.id), row.deliveries);
        Ok(Some((
            row.content,
            Receipt {
                id,
                event_type,
                accepted_at,
                deliveries,
                duplicate: true,
            },
        )))
    }

    /// Adds an event and its deliveries to the endpoints that want it.
    pub(super) fn match_and_store(
        &mut self,
        event: &NewEvent,
        fingerprint: Option<[u8; 32]>,
        now: Timestamp,
        draft: &mut Draft,
    ) -> Result<Receipt, WriterError> {
        let endpoints = self
            .shared
            .endpoints()
            .matching(&event.tenant, &event.event_type);
        self.store(event, fingerprint, now, endpoints, draft)
    }

    /// Adds an event and its deliveries to these endpoints.
    pub(super) fn store(
        &mut self,
        event: &NewEvent,
        fingerprint: Option<[u8; 32]>,
        now: Timestamp,
        endpoints: Vec<EndpointNo>,
        draft: &mut Draft,
    ) -> Result<Receipt, WriterError> {
        let id = compose::next_id(draft.last_id, now, self.dice());
        draft.last_id = id.0;
        let (content, data_at) = compose::content(event, id.timestamp());
        let due = event.deliver_at.map_or(now, |at| at.max(now));
        let head = compose::head(id, event, &content, data_at, fingerprint);
        let numbers = endpoints.iter().map(|no| no.0).collect();
        let accepted = Accepted {
            event: head,
            due: due.as_millis(),
            endpoints: numbers,
        };
        let offset = self.push(&Record::Accepted(accepted), &content.body)?;
        let held = self.beyond_share(&endpoints, content.body.len() as u64, draft);
        let receipt = Receipt {
            id,
            event_type: event.event_type.clone(),
            accepted_at: id.timestamp(),
            deliveries: endpoints.len() as u32,
            duplicate: false,
        };
        if let (Some(key), Some(fingerprint)) = (&event.idempotency_key, fingerprint) {
            let place = (event.tenant.as_str().to_owned(), key.as_str().to_owned());
            draft.keys.insert(place, (fingerprint, receipt.clone()));
        }
        if held.len() < endpoints.len() {
            draft.open_bytes += content.body.len() as u64;
        }
        let exact = event.deliver_at.is_some();
        let entry = Entry {
            event: id,
            lsn: 0,
            due,
            exact,
            tries: 0,
            budget_from: due,
            chain: chain_of(event.key.as_ref().map(|key| key.as_str())),
        };
        let content = Arc::new(content);
        for no in &held {
            draft.backlog.entry(*no).or_default().push(id.0);
        }
        // Both are in order.
        let pending = endpoints
            .into_iter()
            .filter(|no| held.binary_search(no).is_err());
        for no in pending {
            *draft.pending.entry(no).or_default() += content.body.len() as u64;
            draft.queued.push((
                offset,
                Notice::Queued {
                    no,
                    entry,
                    content: Some(content.clone()),
                },
            ));
        }
        Ok(receipt)
    }
}

impl Writer {
    /// Which of these endpoints have more than their share pending with `len` bytes more,
    /// or a backlog already: what is new must not overtake it.
    fn beyond_share(&self, endpoints: &[EndpointNo], len: u64, draft: &Draft) -> Vec<EndpointNo> {
        let state = self.index.read();
        let is_beyond = |no: &EndpointNo| {
            if state.sums.backlogged.contains(no) || draft.backlog.contains_key(no) {
                return true;
            }
            let Some(lane) = state.lanes.get(no).filter(|lane| lane.is_taking()) else {
                return false;
            };
            let drafted = draft.pending.get(no).copied().unwrap_or_default();
            let pending = lane.totals.pending_bytes.saturating_add(drafted);
            pending.saturating_add(len) > self.limits.share
        };
        endpoints.iter().copied().filter(is_beyond).collect()
    }

    /// The bytes of those new events that would be pending somewhere.
    fn pending_part(&self, events: &[NewEvent], known: &[Known], draft: &Draft) -> u64 {
        let mut bytes = 0;
        for (event, known) in events.iter().zip(known) {
            if matches!(known, Known::New(_)) {
                let endpoints = self
                    .shared
                    .endpoints()
                    .matching(&event.tenant, &event.event_type);
                let len = event.payload.len() as u64;
                if self.beyond_share(&endpoints, len, draft).len() < endpoints.len() {
                    bytes += len;
                }
            }
        }
        bytes
    }
}

/// What an earlier event of this frame stored under the event's idempotency key.
fn drafted<'a>(event: &NewEvent, draft: &'a Draft) -> Option<&'a ([u8; 32], Receipt)> {
    if draft.keys.is_empty() {
        return None;
    }
    let key = event.idempotency_key.as_ref()?;
    draft
        .keys
        .get(&(event.tenant.as_str().to_owned(), key.as_str().to_owned()))
}

/// Whether more than `window` has passed since `then`.
pub(super) fn is_past(then: Timestamp, window: Duration, now: Timestamp) -> bool {
    now > then + window
}
