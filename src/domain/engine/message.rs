//! What the engine is told, and what it asks for.

use std::sync::Arc;

use crate::domain::delivery::Next;
use crate::domain::endpoint::{DisabledReason, EndpointNo, Ordering, Rate};
use crate::domain::event::{EventId, Tenant};
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Outcome;

/// Why a delivery that was to be attempted has nothing to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The event was erased, and with it the delivery.
    Erased,
    /// The body fails its checksum, now and for ever.
    Damaged,
    /// Its request cannot be rendered, as long as the endpoint is what it is.
    Unrenderable,
}

/// What the engine needs to know of an endpoint.
#[derive(Clone, Debug)]
pub struct LanePolicy {
    pub tenant: Tenant,
    /// At least 1.
    pub max_in_flight: usize,
    pub retry: Arc<RetryPolicy>,
    pub ordering: Ordering,
    /// Of attempts; also paces what a [`Input::Release`] lets go.
    pub rate_limit: Option<Rate>,
}

/// One pending delivery of an endpoint, as the index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub event: EventId,
    /// Where its body is; opaque to the engine.
    pub lsn: u64,
    /// With `event` its key in the index.
    pub due: Timestamp,
    /// The due time was asked for (`deliver_at`, `Retry-After`): it is not capped at
    /// now + `retry.max` when it is loaded.
    pub exact: bool,
    /// Attempts that count in the present retry budget.
    pub tries: u32,
    /// When the present retry budget began.
    pub budget_from: Timestamp,
    /// That of the event's key, see [`chain_of`](super::chain_of); 0: it has none.
    pub chain: u64,
}

/// A place in an endpoint's part of the index: (due, event).
pub type Key = (Timestamp, EventId);

impl Entry {
    pub fn key(&self) -> Key {
        (self.due, self.event)
    }
}

/// What happened. [`Input::Queued`], [`Input::Withdrawn`] and [`Input::Stored`] are told in
/// the order in which they were applied to the index, and after that.
#[derive(Clone, Debug)]
pub enum Input {
    /// An endpoint is there, or its policy changed. Comes before all else about it;
    /// inputs about an endpoint that is not configured do nothing.
    Configure { no: EndpointNo, policy: LanePolicy },
    /// At start-up, after [`Input::Configure`] (and [`Input::Hold`] if it is disabled) and
    /// before all else: what the store keeps of the endpoint, if anything.
    Restored {
        no: EndpointNo,
        /// Since when every attempt has failed, and how many.
        failing: Option<(Timestamp, u32)>,
        /// The last [`Input::Release`], as not all that it let go may have been attempted.
        released_at: Option<Timestamp>,
        /// The index has pending deliveries of it.
        backlog: bool,
    },
    /// The index was changed in bulk, without word of each pending delivery of this
    /// endpoint: the lane forgets its window and reads it again.
    Backlog { no: EndpointNo },
    /// A delivery is pending: new, retried, replayed or released. One that is waiting
    /// already is replaced.
    Queued { no: EndpointNo, entry: Entry },
    /// A delivery is no longer pending for a reason that is no attempt's. If it is in
    /// flight the attempt ends as usual. `chain` is that of its event's key, if it is
    /// known; only with an ordering by key is it looked at.
    Withdrawn {
        no: EndpointNo,
        event: EventId,
        chain: Option<u64>,
    },
    /// The answer to [`Command::Refill`], now or later: the pending deliveries from `from`
    /// on in key order, at most `limit`, and from where on the index has more. If that is
    /// `from` the reading failed and is asked for again after a second.
    Refilled {
        no: EndpointNo,
        entries: Vec<Entry>,
        next: Option<Key>,
    },
    /// The answer to [`Command::Head`], now or later: the chain's oldest pending delivery.
    Headed {
        no: EndpointNo,
        chain: u64,
        head: Option<Entry>,
    },
    /// The answer to [`Command::Head`] if the reading failed: it is asked for again after a
    /// second.
    Unread { no: EndpointNo, chain: u64 },
    /// An attempt came to its end.
    Ended {
        no: EndpointNo,
        event: EventId,
        outcome: Outcome,
    },
    /// An attempt could not begin. A damaged delivery is dead, one that cannot be rendered is held
    /// ([`Command::Store`] follows); of one that was erased nothing is stored.
    Lost {
        no: EndpointNo,
        event: EventId,
        why: Lost,
    },
    /// The outcome that [`Command::Store`] asked for is applied to the index.
    Stored { no: EndpointNo, event: EventId },
    /// The endpoint is disabled: no more starts; what is in flight ends as usual.
    Hold { no: EndpointNo },
    /// The endpoint was enabled then: its breaker closes, and what had begun its retry
    /// budget before is due, paced, with a fresh budget.
    Release { no: EndpointNo, at: Timestamp },
    /// Somebody wants an attempt now (`retry`, `test`): an open breaker's next probe is due.
    Probe { no: EndpointNo },
    /// The endpoint is deleted. What is in flight ends, and its outcome is stored.
    Remove { no: EndpointNo },
    /// The limit of attempts at once, whole daemon; at least 1.
    Limits { max_in_flight: usize },
    /// Time passed: [`Engine::next_wake`](super::Engine::next_wake) is reached.
    Wake,
    /// Shutting down: no more starts.
    Drain,
}

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Begin an attempt; answered by [`Input::Ended`].
    Start { no: EndpointNo, entry: Entry },
    /// Store an attempt's outcome; answered by [`Input::Stored`].
    Store {
        no: EndpointNo,
        event: EventId,
        next: Next,
        /// The endpoint is to be disabled with it. The engine holds the lane from now on;
        /// [`Input::Hold`] may follow.
        disable: Option<DisabledReason>,
        /// Others of its chain may start only when it is stored.
        awaited: bool,
    },
    /// Read the index; answered by one [`Input::Refilled`]. With `heads` all but the heads
    /// of their chains are left out.
    Refill {
        no: EndpointNo,
        from: Key,
        limit: usize,
        heads: bool,
    },
    /// Read the head of a chain: [`ENDPOINT_CHAIN`](super::ENDPOINT_CHAIN) is that of all
    /// pending deliveries of the endpoint. Answered by one [`Input::Headed`].
    Head { no: EndpointNo, chain: u64 },
    /// For logs and metrics.
    BreakerChanged { no: EndpointNo, open: bool },
}
