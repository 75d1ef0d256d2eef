//! Taking events in: idempotency, the match of subscriptions, limits and ids are decided
//! here, inside the batch, so that nothing can slip in between.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::endpoint::EndpointNo;
use crate::domain::engine::{Entry, chain_of};
use crate::domain::event::{EventId, EventType, NewEvent};
use crate::domain::extras::Extras;
use crate::domain::time::Timestamp;
use crate::outbox::decide::ids::next_id;
use crate::outbox::decide::{Basis, DecideError, Draft, envelope, moved};
use crate::outbox::index::rows::{self, KeyRow};
use crate::outbox::index::{PagesError, keys};
use crate::outbox::judged::{self, Judged, Verdicts};
use crate::outbox::log::MAX_BATCH;
use crate::outbox::record::{Accepted, Record, spell_extras};
use crate::outbox::request::Notice;
use crate::outbox::views::{Receipt, Refused};

/// The most that one request may take in the log, in bytes: it must fit into one batch
/// beside what the batch already holds.
const REQUEST_BYTES: u64 = (MAX_BATCH as u64) / 2;
/// The most deliveries that one request may make, unless it is a single event. All other
/// requests wait while they are made.
pub const REQUEST_DELIVERIES: usize = 100_000;
/// More than an event takes besides its body, names, keys and endpoints: framing.
const FRAMING: u64 = 256;

/// What an idempotency key says of an event.
enum Known {
    /// New, with the fingerprint of its content if it has a key.
    New(Option<[u8; 32]>),
    /// Accepted before, or earlier in this batch.
    Same(Receipt),
    /// The same as an earlier event of this very request.
    Repeated,
    Reused,
}

/// An event of a request, judged.
struct Candidate<'a> {
    event: &'a NewEvent,
    known: Known,
    /// Who wants it, if it is new.
    endpoints: Vec<EndpointNo>,
    /// Its id if it is stored.
    id: EventId,
}

/// Adds all of `events` to the draft, or none. `filters` is what filters said of them before.
pub fn accept(
    basis: &Basis<'_>,
    events: &[NewEvent],
    filters: &Judged,
    draft: &mut Draft,
) -> Result<Result<Vec<Receipt>, Refused>, DecideError> {
    let judged = match judge(basis, events, filters, draft)? {
        Ok(judged) => judged,
        Err(refused) => return Ok(Err(refused)),
    };
    if let Err(refused) = admit(basis, &judged, draft) {
        return Ok(Err(refused));
    }
    let mut receipts = Vec::with_capacity(events.len());
    for Candidate {
        event,
        known,
        endpoints,
        id,
    } in judged
    {
        receipts.push(match known {
            Known::Same(receipt) => receipt,
            Known::New(fingerprint) => store(basis, event, id, fingerprint, endpoints, draft)?,
            Known::Repeated | Known::Reused => match drafted(event, draft) {
                Some((_, receipt)) => Receipt {
                    duplicate: true,
                    ..receipt.clone()
                },
                None => store(basis, event, id, None, endpoints, draft)?,
            },
        });
    }
    Ok(Ok(receipts))
}

/// What becomes of each event, as long as the request fits at all.
fn judge<'a>(
    basis: &Basis<'_>,
    events: &'a [NewEvent],
    filters: &Judged,
    draft: &Draft,
) -> Result<Result<Vec<Candidate<'a>>, Refused>, DecideError> {
    let mut judged = Vec::with_capacity(events.len());
    let mut here = HashMap::new();
    let (mut bytes, mut deliveries) = (0, 0);
    let mut last_id = draft.last_id;
    for (index, event) in events.iter().enumerate() {
        let known = known(basis, event, &mut here, draft)?;
        let id = next_id(last_id, basis.now, draft.random);
        last_id = id.0;
        let endpoints = match known {
            Known::Reused => return Ok(Err(Refused::KeyReused { index })),
            Known::New(_) => wanting(basis, event, filters.of(index), id),
            Known::Same(_) | Known::Repeated => Vec::new(),
        };
        bytes += size_of(event) + 8 * endpoints.len() as u64;
        deliveries += endpoints.len();
        let too_wide = deliveries > REQUEST_DELIVERIES && index > 0;
        if bytes > REQUEST_BYTES || too_wide {
            return Ok(Err(Refused::TooLarge { most: index }));
        }
        judged.push(Candidate {
            event,
            known,
            endpoints,
            id,
        });
    }
    Ok(Ok(judged))
}

/// The endpoints that the event goes to, in order of their numbers.
pub fn wanting(
    basis: &Basis<'_>,
    event: &NewEvent,
    filters: Option<&Verdicts>,
    id: EventId,
) -> Vec<EndpointNo> {
    let mut endpoints = basis.endpoints.matching(event);
    if basis.endpoints.has_filters(&event.tenant) {
        endpoints.retain(|no| {
            let endpoint = basis.endpoints.get(*no);
            endpoint.is_some_and(|one| judged::wants(one, *no, event, filters, id, basis.now))
        });
    }
    endpoints
}

fn size_of(event: &NewEvent) -> u64 {
    let key =
        |key: &Option<crate::domain::event::Key>| key.as_ref().map_or(0, |key| key.as_str().len());
    let names = event.tenant.as_str().len() + event.event_type.as_str().len();
    let keys = key(&event.key) + key(&event.idempotency_key);
    let extras = event.extras.as_deref().map_or(0, Extras::size);
    // The type stands in the envelope, too.
    (event.payload.len() + 2 * names + keys + extras) as u64 + FRAMING
}

/// Whether there is room for those that are new.
fn admit(basis: &Basis<'_>, candidates: &[Candidate<'_>], draft: &Draft) -> Result<(), Refused> {
    let new = || {
        let new = candidates.iter();
        new.filter(|candidate| matches!(candidate.known, Known::New(_)))
    };
    let len = |candidate: &Candidate<'_>| candidate.event.payload.len() as u64;
    if new().next().is_none() {
        return Ok(());
    }
    let open = basis.state.pending_bytes() + draft.open_bytes;
    match basis.limits.admit(open, new().map(len).sum()) {
        // What would be held takes no room from what is pending.
        Err(Refused::Full) => {
            let pending = new().filter(|candidate| {
                let held = beyond_share(basis, &candidate.endpoints, len(candidate), draft);
                held.len() < candidate.endpoints.len()
            });
            match pending.map(len).sum() {
                0 => Ok(()),
                pending => basis.limits.admit(open, pending),
            }
        }
        admitted => admitted,
    }
}

fn known<'a>(
    basis: &Basis<'_>,
    event: &'a NewEvent,
    here: &mut HashMap<(&'a str, &'a str), [u8; 32]>,
    draft: &Draft,
) -> Result<Known, DecideError> {
    let Some(key) = &event.idempotency_key else {
        return Ok(Known::New(None));
    };
    let fingerprint = envelope::fingerprint(event);
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
        None => stored(basis, place)?,
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
    basis: &Basis<'_>,
    place: (&str, &str),
) -> Result<Option<([u8; 32], Receipt)>, DecideError> {
    let entries = &basis.state.entries;
    let Some(bytes) = entries.get(&keys::idempotency(place.0, place.1))? else {
        return Ok(None);
    };
    let row: KeyRow<'_> = rows::decode(&bytes)?;
    let accepted_at = Timestamp::from_millis(row.accepted_at);
    if basis.is_past(place.1, accepted_at) {
        return Ok(None);
    }
    let receipt = Receipt {
        id: EventId(row.id),
        event_type: EventType::new(row.event_type).map_err(|_| PagesError::Damaged)?,
        accepted_at,
        deliveries: row.deliveries,
        duplicate: true,
    };
    Ok(Some((row.content, receipt)))
}

/// Adds an event of the daemon's own and its deliveries to these endpoints. Returns its id.
pub fn store_own(
    basis: &Basis<'_>,
    event: &NewEvent,
    endpoints: impl FnOnce(EventId) -> Vec<EndpointNo>,
    draft: &mut Draft,
) -> Result<EventId, DecideError> {
    let id = next_id(draft.last_id, basis.now, draft.random);
    store(basis, event, id, None, endpoints(id), draft)?;
    Ok(id)
}

/// Adds an event and its deliveries to these endpoints.
fn store(
    basis: &Basis<'_>,
    event: &NewEvent,
    id: EventId,
    fingerprint: Option<[u8; 32]>,
    endpoints: Vec<EndpointNo>,
    draft: &mut Draft,
) -> Result<Receipt, DecideError> {
    let now = basis.now;
    draft.last_id = id.0;
    let content = envelope::content(event, now);
    let extras = content.extras.as_deref().map(spell_extras);
    let extras = extras.unwrap_or_default();
    // Bounded where events are read.
    let extras_len = u32::try_from(extras.len()).unwrap_or(u32::MAX);
    let due = event.deliver_at.map_or(now, |at| at.max(now));
    let head = envelope::head(id, now, event, &content, extras_len, fingerprint);
    let numbers = endpoints.iter().map(|no| no.0).collect();
    let accepted = Accepted {
        event: head,
        due: due.as_millis(),
        endpoints: numbers,
        extras_len,
    };
    draft.expect_deliveries(endpoints.len());
    let len = (content.body.len() + extras.len()) as u64;
    let accepted = Record::Accepted(accepted);
    let offset = match extras.is_empty() {
        true => draft.push(&accepted, &content.body)?,
        false => draft.push(&accepted, &[&content.body[..], &extras].concat())?,
    };
    draft.events += 1;
    let held = beyond_share(basis, &endpoints, len, draft);
    let receipt = Receipt {
        id,
        event_type: event.event_type.clone(),
        accepted_at: now,
        deliveries: endpoints.len() as u32,
        duplicate: false,
    };
    if let (Some(key), Some(fingerprint)) = (&event.idempotency_key, fingerprint) {
        let place = (event.tenant.as_str().to_owned(), key.as_str().to_owned());
        draft.keys.insert(place, (fingerprint, receipt.clone()));
    }
    if held.len() < endpoints.len() {
        draft.open_bytes += len;
    }
    let entry = Entry {
        event: id,
        lsn: 0,
        due,
        exact: event.deliver_at.is_some(),
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
        *draft.pending.entry(no).or_default() += len;
        let content = Some(content.clone());
        let notice = Notice::Queued { no, entry, content };
        draft.queued.push((offset, notice));
    }
    Ok(receipt)
}

/// Those of `endpoints` at which an event of `len` bytes is held: they have their share
/// pending, or something held already, behind which it belongs.
fn beyond_share(
    basis: &Basis<'_>,
    endpoints: &[EndpointNo],
    len: u64,
    draft: &Draft,
) -> Vec<EndpointNo> {
    let is_beyond = |no: &EndpointNo| {
        if draft.backlog.contains_key(no) || basis.state.sums.backlogged.contains(no) {
            return true;
        }
        let known = basis.state.endpoints.get(no);
        let Some(stored) = known.filter(|stored| stored.is_taking()) else {
            return false;
        };
        let drafted = draft.pending.get(no).copied().unwrap_or_default();
        let pending = stored.totals.pending_bytes.saturating_add(drafted);
        pending.saturating_add(len) > basis.limits.share
    };
    endpoints.iter().copied().filter(is_beyond).collect()
}

/// Holds what this draft accepted beyond its endpoints' shares. Its records come after
/// those of the events.
pub fn hold_back(draft: &mut Draft) -> Result<(), DecideError> {
    for (no, ids) in std::mem::take(&mut draft.backlog) {
        moved::push_held(no, ids, draft)?;
    }
    Ok(())
}

/// What an earlier event of this draft stored under the event's idempotency key.
fn drafted<'a>(event: &NewEvent, draft: &'a Draft) -> Option<&'a ([u8; 32], Receipt)> {
    if draft.keys.is_empty() {
        return None;
    }
    let key = event.idempotency_key.as_ref()?;
    draft
        .keys
        .get(&(event.tenant.as_str().to_owned(), key.as_str().to_owned()))
}
