//! What the writer is asked, what it answers, and what it tells the dispatcher. No logic.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::domain::attempt::Attempt;
use crate::domain::content::Content;
use crate::domain::delivery::{Next, Reason};
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointId, EndpointNo};
use crate::domain::engine::Entry;
use crate::domain::event::{EventId, NewEvent};
use crate::domain::job::JobId;
use crate::domain::time::Timestamp;
use crate::outbox::index::choice::Choice;
use crate::outbox::judged::Judged;
use crate::outbox::log::Lsn;
use crate::outbox::record::{Defined, JobWork};
use crate::outbox::rules::{Defaults, Keep, LimitRules};
use crate::outbox::views::{ActRefused, Action, Receipt, Refused, TestEvent};

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
    /// The definition by which it could not be rendered, if it could not.
    pub unrendered_by: Option<Arc<Endpoint>>,
}

/// Something for the writer to do.
#[derive(Debug)]
pub enum Request {
    Accept {
        events: Vec<NewEvent>,
        filters: Judged,
        reply: oneshot::Sender<Result<Vec<Receipt>, Refused>>,
    },
    Outcome(Box<Outcome>),
    Act {
        action: Action,
        reply: oneshot::Sender<Result<(), ActRefused>>,
    },
    Test(Box<Test>),
    /// A replay or purge; answered with its name.
    Begin {
        job: NewJob,
        reply: oneshot::Sender<Result<JobId, ActRefused>>,
    },
    /// The configuration changed.
    Reconfigure {
        settings: Box<Settings>,
        reply: oneshot::Sender<Result<Changed, Refused>>,
    },
    /// Answered without any work, to show that the writer makes progress.
    Ping(oneshot::Sender<()>),
    /// A step of maintenance; `done` gets what was made durable of it.
    Maintain {
        step: Step,
        done: std::sync::mpsc::SyncSender<Placed>,
    },
    /// Commit the requests received before, and end.
    Stop,
}

/// One event to this endpoint alone, whatever it subscribes to and filters; answered with its id.
#[derive(Debug)]
pub struct Test {
    pub endpoint: EndpointId,
    pub event: TestEvent,
    pub reply: oneshot::Sender<Result<EventId, ActRefused>>,
}

/// The settings of the store that can change while it runs.
#[derive(Debug)]
pub struct Settings {
    pub limits: LimitRules,
    pub keep: Keep,
    pub defaults: Defaults,
    /// All endpoints of the file.
    pub endpoints: Vec<Endpoint>,
}

/// How many endpoints of the file a change of the configuration touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// How many endpoints are new, or were missing and are defined again.
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
}

/// What the writer made durable of a step. Nothing may be built on a step that is not.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// All of the step is durable, or there was nothing to do.
    Durable,
    /// Not all of it: there was no room in the log, or the index failed. What is durable of it
    /// changes nothing that the next try would not do again.
    NoRoom,
    /// Rows of the index still point below the new start of the log, so nothing was dropped.
    StillWanted,
}

impl Placed {
    pub fn is_durable(self) -> bool {
        self == Placed::Durable
    }
}

/// One step of maintenance. The writer judges each again, over an index that is up to date.
#[derive(Debug)]
pub enum Step {
    /// Forget these events, those of them that are finished.
    Forget(Vec<EventId>),
    /// Write these events again at the log's head, unless their records moved meanwhile.
    Rewrite(Vec<Moving>),
    /// Overwrite the bodies of these records.
    Overwrite(Vec<Lsn>),
    /// Overwrite these definitions, those of them that were replaced.
    OverwriteReplaced(Vec<(Lsn, Defined)>),
    /// Write the definitions of these endpoints again, without the secrets that are past their
    /// time.
    Expire(Vec<EndpointNo>),
    /// Nothing is left of these erased events.
    Erased(Vec<EventId>),
    /// Write again what else is wanted of the segments below `start`, then let the log begin
    /// there. `also_needed`: even if a copy elsewhere still needs them.
    Drop {
        start: Lsn,
        wanted: Wanted,
        also_needed: bool,
    },
    /// These deliveries take the job's step; it goes on at `position`, or is done.
    Job {
        id: JobId,
        ids: Vec<EventId>,
        position: u128,
        done: bool,
    },
    /// Held for the backlog, and pending from now on.
    Release { no: EndpointNo, ids: Vec<EventId> },
    /// Open, and dead from now on.
    MakeDead {
        reason: Reason,
        deliveries: Vec<(EndpointNo, EventId)>,
    },
    /// Forget a deleted endpoint of which no delivery is left.
    ForgetEndpoint { no: EndpointNo },
}

/// What of old segments is wanted besides events.
#[derive(Debug, Default)]
pub struct Wanted {
    pub endpoints: BTreeSet<EndpointNo>,
    /// Of these endpoints the definitions too.
    pub specs: BTreeSet<EndpointNo>,
    /// Idempotency keys: tenant, key.
    pub keys: Vec<(String, String)>,
    /// Erased events.
    pub erased: BTreeSet<EventId>,
    /// Of these sources the definitions.
    pub sources: BTreeSet<String>,
    /// Of these sources the counts.
    pub source_counts: BTreeSet<String>,
}

impl Wanted {
    /// How many of these have a row in the index that says where their record is.
    pub fn rows(&self) -> usize {
        let of_sources = self.sources.len() + self.source_counts.len();
        self.specs.len() + self.erased.len() + of_sources
    }
}

/// An event that is to be written again, as it was read from the log.
#[derive(Debug)]
pub struct Moving {
    pub id: EventId,
    /// Where its record was when it was read.
    pub lsn: u64,
    pub record: MovingRecord,
    /// Its deliveries with their attempts, oldest first.
    pub deliveries: Vec<MovingDelivery>,
}

/// What the log still has of an event.
#[derive(Debug)]
pub enum MovingRecord {
    /// Its head and its own body, verbatim.
    Whole {
        kind: u8,
        head: Vec<u8>,
        body: Vec<u8>,
    },
    /// Its body was erased; the record that said so was lost.
    Erased,
    /// It fails its checksums.
    Damaged,
}

#[derive(Debug)]
pub struct MovingDelivery {
    pub no: EndpointNo,
    /// Where its last attempt was when they were read; 0 if there was none.
    pub last_attempt: u64,
    pub attempts: Vec<Attempt>,
}

/// A replay or purge that is to begin.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub work: JobWork,
    pub choice: Choice,
    /// The first event that counts.
    pub first: u128,
    /// Deliveries in a second; 0 means no limit.
    pub rate: f64,
    /// How many deliveries match now.
    pub matched: u64,
}

/// An answer, and the channel to the client that waits for it.
#[derive(Debug)]
pub(in crate::outbox) enum Answer {
    Accept(
        oneshot::Sender<Result<Vec<Receipt>, Refused>>,
        Result<Vec<Receipt>, Refused>,
    ),
    Act(
        oneshot::Sender<Result<(), ActRefused>>,
        Result<(), ActRefused>,
    ),
    Test(
        oneshot::Sender<Result<EventId, ActRefused>>,
        Result<EventId, ActRefused>,
    ),
    Begin(
        oneshot::Sender<Result<JobId, ActRefused>>,
        Result<JobId, ActRefused>,
    ),
}

impl Answer {
    fn give(self) {
        // The client may have gone away; what was done stays done.
        match self {
            Answer::Accept(reply, answer) => drop(reply.send(answer)),
            Answer::Act(reply, answer) => drop(reply.send(answer)),
            Answer::Test(reply, answer) => drop(reply.send(answer)),
            Answer::Begin(reply, answer) => drop(reply.send(answer)),
        }
    }

    /// Says why there was no room for it.
    pub(in crate::outbox) fn refuse(&mut self, why: &Refused) {
        match self {
            Answer::Accept(_, answer) => *answer = Err(why.clone()),
            Answer::Act(_, answer) => *answer = Err(ActRefused::NoRoom(why.clone())),
            Answer::Test(_, answer) => *answer = Err(ActRefused::NoRoom(why.clone())),
            Answer::Begin(_, answer) => *answer = Err(ActRefused::NoRoom(why.clone())),
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
    /// A delivery is no longer pending, and no attempt is the reason.
    Withdrawn {
        no: EndpointNo,
        event: EventId,
        /// That of the event's key; 0: it has none.
        chain: u64,
    },
    /// An outcome is in the index.
    Stored { no: EndpointNo, event: EventId },
    /// An endpoint is new, or its definition changed.
    Configured { no: EndpointNo },
    /// The endpoint is deleted.
    Removed { no: EndpointNo },
    /// The endpoint takes no deliveries from now on.
    Held {
        no: EndpointNo,
        reason: DisabledReason,
    },
    /// The endpoint takes deliveries again; those from before are released.
    Released { no: EndpointNo, at: Timestamp },
    /// A client asks for an attempt at this endpoint now.
    Wanted { no: EndpointNo },
}

/// One group commit: the answers to give, and what is new for the dispatcher.
#[derive(Debug, Default)]
pub struct Commit {
    pub(in crate::outbox) answers: Vec<Answer>,
    /// In the order in which they were applied.
    pub notices: Vec<Notice>,
}

impl Commit {
    pub(in crate::outbox) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.notices.is_empty()
    }

    /// Gives the answers to the requests of this commit. Done where the waiting tasks run, so
    /// that a group of any size wakes that thread once.
    pub fn answer(&mut self) {
        self.answers.drain(..).for_each(Answer::give);
    }
}

/// The commits, in order. Ends when the writer has stopped.
pub type Commits = mpsc::UnboundedReceiver<Commit>;
