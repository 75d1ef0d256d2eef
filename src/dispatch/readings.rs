//! Reads of the index for the engine. The engine repeats a read that failed after a second.

use crate::domain::endpoint::{EndpointNo, Ordering};
use crate::domain::engine::{Entry, Input, Key};
use crate::domain::event::EventId;
use crate::outbox::{Outbox, ReadError};

/// A reading of heads to be made: the endpoint, from where, and how many.
pub(super) type Walk = (EndpointNo, Key, usize);

/// The pending deliveries of an endpoint.
pub(super) fn refill(outbox: &Outbox, no: EndpointNo, from: Key, limit: usize) -> Input {
    refilled(no, from, outbox.pending(no, from, limit))
}

/// The same, but of each chain the head only.
pub(super) fn heads(outbox: &Outbox, no: EndpointNo, from: Key, limit: usize) -> Input {
    refilled(no, from, outbox.heads(no, from, limit))
}

fn refilled(
    no: EndpointNo,
    from: Key,
    read: Result<(Vec<Entry>, Option<Key>), ReadError>,
) -> Input {
    let (entries, next) = read.unwrap_or_else(|error| {
        report(no, &error);
        (Vec::new(), Some(from))
    });
    Input::Refilled { no, entries, next }
}

/// The head of a chain.
pub(super) fn head(outbox: &Outbox, no: EndpointNo, chain: u64) -> Input {
    match outbox.head(no, chain) {
        Ok(head) => Input::Headed { no, chain, head },
        Err(error) => {
            report(no, &error);
            Input::Unread { no, chain }
        }
    }
}

/// The chain of a delivery's event, if its endpoint keeps order by key.
pub(super) fn chain_of(outbox: &Outbox, no: EndpointNo, event: EventId) -> Option<u64> {
    let endpoint = outbox.in_force(no)?;
    if endpoint.ordering != Ordering::Key {
        return None;
    }
    outbox.chain_of(event).unwrap_or_else(|error| {
        report(no, &error);
        None
    })
}

fn report(no: EndpointNo, error: &ReadError) {
    tracing::error!(%error, endpoint = no.0, "the pending deliveries cannot be read; tried again in a second");
}
