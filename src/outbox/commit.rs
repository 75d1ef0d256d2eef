//! What the writer thread is asked, and what it tells the rest of the daemon.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::domain::attempt::Attempt;
use crate::domain::delivery::Next;
use crate::domain::endpoint::{DisabledReason, EndpointNo};
use crate::domain::engine::Entry;
use crate::domain::event::{EventId, NewEvent};
use crate::domain::time::Timestamp;
use crate::outbox::bulk::{BulkStep, NewJob};
use crate::outbox::cleaning::Step;
use crate::outbox::view::{ActRefused, Action, Content, Receipt, Refused};

/// The outcome of an attempt, to be stored.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub event: EventId,
    pub no: EndpointNo,
    pub attempt: Attempt,
    pub ended_at: Timestamp,
    pub next: Next,
    /// The next due time is a `Retry-After`.
    pub exact: bool,
    /// Disable the endpoint with it.
    pub disable: Option<DisabledReason>,
    /// Other attempts wait until it is stored.
    pub awaited: bool,
}

/// Something for the writer to do.
pub(super) enum Request {
    Accept {
        events: Vec<NewEvent>,
        reply: oneshot::Sender<Result<Vec<Receipt>, Refused>>,
    },
    Outcome(Box<Outcome>),
    Act {
        action: Action,
        reply: oneshot::Sender<Result<(), ActRefused>>,
    },
    /// A step of cleaning; `done` is told when it is durable.
    Clean {
        step: Step,
        done: std::sync::mpsc::SyncSender<()>,
    },
    /// A batch of work on many deliveries; `done` is told whether it is durable.
    Bulk {
        step: BulkStep,
        done: std::sync::mpsc::SyncSender<bool>,
    },
    /// A replay or purge; answered with its number.
    Begin {
        job: NewJob,
        reply: oneshot::Sender<Result<u32, ActRefused>>,
    },
    Stop,
}

/// An answer on its way to whoever asked.
pub(super) enum Answer {
    Accept(
        oneshot::Sender<Result<Vec<Receipt>, Refused>>,
        Result<Vec<Receipt>, Refused>,
    ),
    Act(
        oneshot::Sender<Result<(), ActRefused>>,
        Result<(), ActRefused>,
    ),
    Begin(
        oneshot::Sender<Result<u32, ActRefused>>,
        Result<u32, ActRefused>,
    ),
}

impl Answer {
    fn give(self) {
        // Whoever asked may have gone away; what was done stays done.
        match self {
            Answer::Accept(reply, answer) => drop(reply.send(answer)),
            Answer::Act(reply, answer) => drop(reply.send(answer)),
            Answer::Begin(reply, answer) => drop(reply.send(answer)),
        }
    }
}

/// Something that became true, durably unless it is `Stored`.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A delivery is pending. `content` rides along if the event is new.
    Queued {
        no: EndpointNo,
        entry: Entry,
        content: Option<Arc<Content>>,
    },
    /// A delivery is no longer pending for a reason that is no attempt's.
    Withdrawn { no: EndpointNo, event: EventId },
    /// An outcome is in the index.
    Stored { no: EndpointNo, event: EventId },
    /// An endpoint is new, or its definition changed.
    Configured { no: EndpointNo },
    /// The endpoint is deleted.
    Removed { no: EndpointNo },
    /// The endpoint takes no deliveries from now on.
    Held { no: EndpointNo },
    /// The endpoint takes deliveries again; those from before are released.
    Released { no: EndpointNo, at: Timestamp },
    /// Somebody wants an attempt at this endpoint now.
    Wanted { no: EndpointNo },
}

/// One group commit: the answers to give, and what is new for the dispatcher.
#[derive(Default)]
pub struct Commit {
    pub(super) answers: Vec<Answer>,
    /// In the order in which they were applied.
    pub notices: Vec<Notice>,
}

impl Commit {
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.notices.is_empty()
    }

    /// Answers everybody who waits for this commit. Done where the waiting tasks run, so
    /// that a group of any size wakes that thread once.
    pub fn answer(&mut self) {
        self.answers.drain(..).for_each(Answer::give);
    }
}

/// The commits, in order. Ends when the writer has stopped.
pub type Commits = mpsc::UnboundedReceiver<Commit>;
