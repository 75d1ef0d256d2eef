//! Queries to the dispatcher: the state of a lane, for `explain` and `status`.
//!
//! The dispatcher answers them between two inputs of the engine, so an answer is consistent.
//! A query changes nothing and never makes the dispatcher wait. New settings come the same way.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::tallies::Tally;
use super::workers::Transports;
use crate::domain::endpoint::EndpointNo;
use crate::domain::engine::{self, Now};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::transport::Transport;

/// How many questions may wait; a caller beyond that waits until there is room.
const WAITING: usize = 64;

/// Asks the dispatcher while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Questions(mpsc::Sender<Question>);

/// The state of a lane. Times are wall-clock times in the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// Attempts under way.
    pub in_flight: usize,
    /// How many attempts at once the endpoint may have now if all slots were free.
    pub concurrency_limit: usize,
    /// No attempt starts: the endpoint is disabled, missing or removed.
    pub held: bool,
    pub breaker_open: bool,
    /// The open breaker's next probe; `None` if it is closed or a probe is under way.
    pub probe_at: Option<Timestamp>,
    /// No attempt starts before, because the endpoint answered with `Retry-After`.
    pub paused_until: Option<Timestamp>,
    /// No attempt starts before, because attempts failed in a row by the daemon's own fault.
    pub local_until: Option<Timestamp>,
    /// No attempt starts before, because of the rate limit.
    pub rate_limited_until: Option<Timestamp>,
}

/// The state of an endpoint, for the metrics of single endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub in_flight: usize,
    pub breaker_open: bool,
    /// Attempts since the start, if they are counted: those that delivered, and those that failed.
    pub delivered: u64,
    pub failed: u64,
}

impl Standing {
    pub(super) fn of(lane: Option<engine::LaneView>, tally: Tally) -> Standing {
        Standing {
            in_flight: lane.map_or(0, |lane| lane.in_flight),
            breaker_open: lane.is_some_and(|lane| lane.breaker_open),
            delivered: tally.delivered,
            failed: tally.failed,
        }
    }
}

#[derive(Debug)]
pub(super) enum Question {
    Lane(EndpointNo, oneshot::Sender<Option<LaneView>>),
    InFlight(EndpointNo, EventId, oneshot::Sender<bool>),
    OpenBreakers(oneshot::Sender<HashSet<EndpointNo>>),
    Standings(Vec<EndpointNo>, oneshot::Sender<Vec<Standing>>),
    Transport(oneshot::Sender<Transport>),
    Reconfigure(Box<Settings>),
}

/// The settings of the dispatcher that can change while it runs.
pub struct Settings {
    /// How many attempts may be under way at once in the whole daemon; at least 1.
    pub max_in_flight: usize,
    /// Whether attempts are counted for each endpoint.
    pub tally: bool,
    /// The transports for new attempts; `None` if the ones in use still fit.
    pub transports: Option<Transports>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Settings({} in flight)", self.max_in_flight)
    }
}

impl Default for Questions {
    /// Questions without a dispatcher: no lane is known.
    fn default() -> Questions {
        Questions::new().0
    }
}

impl Questions {
    pub(super) fn new() -> (Questions, mpsc::Receiver<Question>) {
        let (asking, asked) = mpsc::channel(WAITING);
        (Questions(asking), asked)
    }

    /// The endpoint's lane; `None` if it has no work and no limit is in effect, or the
    /// dispatcher has ended.
    pub async fn lane(&self, no: EndpointNo) -> Option<LaneView> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Question::Lane(no, reply)).await.ok()?;
        answer.await.ok()?
    }

    /// Whether the dispatcher answers.
    pub async fn is_answered(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        let asked = self.0.send(Question::Lane(EndpointNo(0), reply)).await;
        asked.is_ok() && answer.await.is_ok()
    }

    /// Puts new settings in force. Attempts under way end under the old ones.
    pub async fn reconfigure(&self, settings: Settings) {
        // A dispatcher that has ended needs no settings.
        let _ = self.0.send(Question::Reconfigure(Box::new(settings))).await;
    }

    /// The transport in force, for a diagnosis; `None` if the dispatcher has ended.
    pub async fn transport(&self) -> Option<Transport> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Question::Transport(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Whether an attempt of this delivery is under way.
    pub async fn is_in_flight(&self, no: EndpointNo, event: EventId) -> bool {
        let (reply, answer) = oneshot::channel();
        let asked = self.0.send(Question::InFlight(no, event, reply)).await;
        asked.is_ok() && answer.await.unwrap_or(false)
    }

    /// The endpoints whose breaker is open; none if the dispatcher has ended.
    pub async fn open_breakers(&self) -> HashSet<EndpointNo> {
        let (reply, answer) = oneshot::channel();
        match self.0.send(Question::OpenBreakers(reply)).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => HashSet::new(),
        }
    }

    /// The states of these endpoints, in order; `None` if the dispatcher has ended.
    pub async fn standings(&self, endpoints: Vec<EndpointNo>) -> Option<Vec<Standing>> {
        let (reply, answer) = oneshot::channel();
        let question = Question::Standings(endpoints, reply);
        self.0.send(question).await.ok()?;
        answer.await.ok()
    }
}

impl LaneView {
    pub(super) fn of(lane: engine::LaneView, now: Now) -> LaneView {
        let wall = |mono: Duration| now.wall + mono.saturating_sub(now.mono);
        LaneView {
            in_flight: lane.in_flight,
            concurrency_limit: lane.concurrency_limit,
            held: lane.held,
            breaker_open: lane.breaker_open,
            probe_at: lane.probe_at.map(wall),
            paused_until: lane.paused_until.map(wall),
            local_until: lane.local_until.map(wall),
            rate_limited_until: lane.rate_limited_until.map(wall),
        }
    }
}
