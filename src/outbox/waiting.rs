//! What waits for the writer: outcomes, requests and steps of maintenance, each in a separate
//! queue, so that none can hold up the others.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::outbox::request::{Changed, Outcome, Placed, Request, Settings, Step};
use crate::outbox::views::Refused;

/// How long an outcome that no attempt waits for may wait for others to share its batch.
const OUTCOME_WAIT: Duration = Duration::from_millis(20);
/// How long outcomes wait before they are tried again when there was no room for them.
const SPACE_WAIT: Duration = Duration::from_millis(500);
/// How much a batch takes in before it is written.
const BATCH_REQUESTS: usize = 4096;

/// What the writer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Go,
    Stop,
}

type AskedStep = (Step, SyncSender<Placed>);
type AskedSettings = (Box<Settings>, oneshot::Sender<Result<Changed, Refused>>);

/// The queues.
#[derive(Debug)]
pub struct Waiting {
    outcomes: VecDeque<Box<Outcome>>,
    /// To accept, to act, to test and to begin.
    requests: VecDeque<Request>,
    steps: VecDeque<AskedStep>,
    settings: VecDeque<AskedSettings>,
    stop: bool,
    /// Outcomes that other attempts wait for.
    awaited: usize,
    /// When the first of the outcomes came.
    since: Duration,
    /// Outcomes found no room, and are not tried again before that.
    outcomes_from: Duration,
    /// How many outcomes a batch takes: fewer while there is no room.
    most_outcomes: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting {
            outcomes: VecDeque::new(),
            requests: VecDeque::new(),
            steps: VecDeque::new(),
            settings: VecDeque::new(),
            stop: false,
            awaited: 0,
            since: Duration::ZERO,
            outcomes_from: Duration::ZERO,
            most_outcomes: BATCH_REQUESTS,
        }
    }
}

impl Waiting {
    pub fn push(&mut self, request: Request, now: Duration) {
        match request {
            Request::Outcome(outcome) => {
                if self.outcomes.is_empty() {
                    self.since = now;
                }
                self.awaited += usize::from(outcome.awaited);
                self.outcomes.push_back(outcome);
            }
            Request::Maintain { step, done } => self.steps.push_back((step, done)),
            Request::Reconfigure { settings, reply } => self.settings.push_back((settings, reply)),
            Request::Stop => self.stop = true,
            request => self.requests.push_back(request),
        }
    }

    /// Enough for a batch. What comes after a stop is not taken in.
    pub fn is_full(&self) -> bool {
        self.stop || self.outcomes.len() + self.requests.len() >= BATCH_REQUESTS
    }

    pub fn is_empty(&self) -> bool {
        let is_asked = !self.requests.is_empty() || !self.steps.is_empty();
        self.outcomes.is_empty() && self.settings.is_empty() && !is_asked && !self.stop
    }

    pub fn has_outcomes(&self) -> bool {
        !self.outcomes.is_empty()
    }

    /// When a batch is to be made; `None`: nothing waits.
    pub fn due(&self, is_out: bool) -> Option<Duration> {
        let is_asked = !self.requests.is_empty() || !self.steps.is_empty();
        if self.stop || is_asked || !self.settings.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.outcomes.is_empty() {
            return None;
        }
        let hurried = (self.awaited > 0 && !is_out) || self.outcomes.len() >= BATCH_REQUESTS;
        let due = match hurried {
            true => Duration::ZERO,
            false => self.since + OUTCOME_WAIT,
        };
        Some(due.max(self.outcomes_from))
    }

    /// The next outcome for a batch that holds `taken` already.
    pub fn next_outcome(&mut self, taken: usize, now: Duration) -> Option<Box<Outcome>> {
        // A stop tries once more.
        if taken >= self.most_outcomes || (now < self.outcomes_from && !self.stop) {
            return None;
        }
        let outcome = self.outcomes.pop_front()?;
        self.awaited -= usize::from(outcome.awaited);
        Some(outcome)
    }

    pub fn put_back(&mut self, outcome: Box<Outcome>) {
        self.awaited += usize::from(outcome.awaited);
        self.outcomes.push_front(outcome);
    }

    /// Whether these outcomes are stored. Those that found no room are tried again, half as
    /// many at once, or after a while if it was a single one.
    pub fn stored(&mut self, taken: Vec<Outcome>, durable: bool, now: Duration) {
        if durable {
            self.most_outcomes = (self.most_outcomes * 2).min(BATCH_REQUESTS);
            self.since = now;
            self.outcomes_from = Duration::ZERO;
            return;
        }
        if taken.len() > 1 {
            self.most_outcomes = taken.len() / 2;
        } else {
            self.outcomes_from = now + SPACE_WAIT;
        }
        for outcome in taken.into_iter().rev() {
            self.put_back(Box::new(outcome));
        }
    }

    pub fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    pub fn put_back_request(&mut self, request: Request) {
        self.requests.push_front(request);
    }

    pub fn next_settings(&mut self) -> Option<AskedSettings> {
        self.settings.pop_front()
    }

    pub fn next_step(&mut self) -> Option<AskedStep> {
        self.steps.pop_front()
    }

    /// Whether to go on. A stop waits for requests that came before it, and for outcomes as
    /// long as some can be stored; never for room.
    pub fn turn(&self) -> Turn {
        let stuck = self.outcomes.is_empty() || self.outcomes_from > Duration::ZERO;
        match self.stop && self.requests.is_empty() && stuck {
            true => Turn::Stop,
            false => Turn::Go,
        }
    }
}
