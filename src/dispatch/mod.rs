//! Drives the engine: what the outbox commits goes in, attempts and outcomes come out.
//!
//! One task owns the engine, the bodies kept in memory and the attempts under way. It
//! never reads the store (`readings` does, on a thread of its own), never decides anything
//! about a delivery (that is the engine's), and never waits for an attempt.

mod answers;
mod attempts;
mod bodies;
mod gauges;
mod policy;
mod questions;
mod readings;
mod reports;
pub mod tail;
mod tallies;
mod workers;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::domain::attempt::Attempt;
use crate::domain::content::Content;
use crate::domain::delivery::Next;
use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointNo};
use crate::domain::engine::{Command, Engine, Entry, Input, Lost, Now};
use crate::domain::event::EventId;
use crate::outbox::{Commit, Commits, EndpointStart, Notice, Outbox, Outcome};
pub use attempts::Attempts;
use attempts::{Due, End, Ended, Guard};
use bodies::Bodies;
pub use gauges::{DispatchGauges, Dispatched};
use policy::policy;
use questions::Question;
pub use questions::{LaneView, Questions, Settings, Standing};
use readings::{Reading, Readings};
use reports::Reports;
pub use tail::Tail;
use tail::{EndpointChange, Made};
use tallies::Tallies;
pub use workers::Transports;
use workers::{Body, Start, Workers};

/// How many bytes of bodies are kept in memory.
const BODY_BUDGET: usize = 64 << 20;
/// How long attempts in flight may take to finish after a stop was asked for.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// How often the free space is checked while no attempt starts because the disk is full.
const SPACE_WAIT: Duration = Duration::from_secs(1);

/// How far a stop has come. The value only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    #[default]
    No,
    /// Start nothing; let attempts in flight finish within [`DRAIN_DEADLINE`].
    Drain,
    /// The API is closed: end as soon as no attempt is in flight.
    Close,
    /// Leave attempts in flight: they are repeated after the restart.
    Hurry,
}

/// An attempt that ended.
struct Judged {
    no: EndpointNo,
    event: EventId,
    attempt: Attempt,
    due: Due,
    /// What the attempt was made from, if it could be read.
    content: Option<Arc<Content>>,
    /// As in [`Outcome`].
    unrendered_by: Option<Arc<Endpoint>>,
}

/// The dispatcher, before and while it runs.
pub struct Dispatch {
    engine: Engine,
    outbox: Outbox,
    workers: Workers,
    bodies: Bodies,
    gauges: Arc<DispatchGauges>,
    random: SmallRng,
    started: Instant,
    ended: mpsc::UnboundedSender<Ended>,
    /// An attempt that ended and whose outcome the engine is deciding.
    judged: Option<Judged>,
    reports: Reports,
    tallies: Tallies,
    asking: Questions,
    asked: mpsc::Receiver<Question>,
    readings: Readings,
    /// Starts held back while outcomes could not be stored.
    parked: Vec<(EndpointNo, Entry)>,
    /// When the free space is checked again for them.
    look_again: Option<Instant>,
    commands: Vec<Command>,
}

impl Dispatch {
    /// Starts the thread that reads the index, and those that make attempts. With `tally` the
    /// attempts at each endpoint are counted.
    pub fn new(
        outbox: Outbox,
        transports: Transports,
        max_in_flight: usize,
        gauges: Arc<DispatchGauges>,
        tally: bool,
    ) -> std::io::Result<(Dispatch, Attempts)> {
        let (ended, attempts) = mpsc::unbounded_channel();
        let (asking, asked) = Questions::new();
        let dispatch = Dispatch {
            engine: Engine::new(max_in_flight),
            readings: Readings::start(outbox.clone())?,
            workers: Workers::start(transports, &outbox)?,
            reports: Reports::new(outbox.clone()),
            outbox,
            bodies: Bodies::new(BODY_BUDGET),
            gauges,
            random: rand::make_rng(),
            started: Instant::now(),
            ended,
            judged: None,
            tallies: Tallies::new(tally),
            asking,
            asked,
            parked: Vec::new(),
            look_again: None,
            commands: Vec::new(),
        };
        Ok((dispatch, Attempts(attempts)))
    }

    /// What listeners of the tail subscribe to.
    pub fn tail(&self) -> Tail {
        self.reports.tail.clone()
    }

    /// A handle that asks questions while the dispatcher runs.
    pub fn questions(&self) -> Questions {
        self.asking.clone()
    }

    /// Tells the engine what the store holds.
    pub fn begin(&mut self, lanes: &[EndpointStart]) {
        for lane in lanes {
            let no = lane.no;
            let Some(endpoint) = self.outbox.in_force(no) else {
                continue;
            };
            let policy = policy(&endpoint);
            self.tell(Input::Configure { no, policy });
            if lane.holding {
                self.tell(Input::Hold { no });
            }
            self.tell(Input::Restored {
                no,
                failing: lane.failing,
                released_at: lane.released_at,
                backlog: lane.pending > 0,
            });
        }
    }

    /// Runs until stopped, and then until the outbox has committed everything.
    pub async fn run(
        mut self,
        mut attempts: Attempts,
        mut commits: Commits,
        mut stop: watch::Receiver<Stop>,
    ) {
        let mut drain_until: Option<tokio::time::Instant> = None;
        let mut stopped = false;
        loop {
            self.show();
            self.readings.hand_over();
            self.workers.hand_over();
            let wake = self.wake_at();
            tokio::select! {
                biased;
                // First, as there is one batch of them at most.
                answers = self.readings.answers() => match answers {
                    Some(answers) => answers.into_iter().for_each(|answer| self.tell(answer)),
                    // The thread has logged why it ended.
                    None => return,
                },
                commit = commits.recv() => match commit {
                    Some(commit) => self.committed(commit, &mut commits),
                    None => return,
                },
                Some(ended) = attempts.0.recv() => self.ended(ended, &mut attempts),
                Some(question) = self.asked.recv() => self.answer(question),
                Ok(()) = stop.changed(), if !stopped => {
                    if drain_until.is_none() {
                        drain_until = Some(tokio::time::Instant::now() + DRAIN_DEADLINE);
                        self.tell(Input::Drain);
                    }
                }
                () = until(wake), if wake.is_some() => self.woken(),
                () = until(drain_until), if drain_until.is_some() && !stopped => {}
            }
            // Attempts that are parked because the disk is full were never sent.
            let under_way = self
                .engine
                .stats()
                .in_flight
                .saturating_sub(self.parked.len());
            let drained = drain_until.is_some_and(|deadline| {
                let asked = *stop.borrow();
                (asked >= Stop::Close && under_way == 0)
                    || asked == Stop::Hurry
                    || deadline <= tokio::time::Instant::now()
            });
            if drained && !stopped {
                stopped = true;
                if under_way > 0 {
                    tracing::warn!(
                        attempts = under_way,
                        "stopping with attempts in flight; they are repeated after the next start"
                    );
                }
                self.outbox.stop();
            }
        }
    }

    fn now(&self) -> Now {
        Now {
            wall: clock::now(),
            mono: self.started.elapsed(),
        }
    }

    fn wake_at(&self) -> Option<tokio::time::Instant> {
        let wake = self.engine.next_wake().map(|mono| self.started + mono);
        wake.into_iter()
            .chain(self.look_again)
            .min()
            .map(Into::into)
    }

    fn woken(&mut self) {
        if self.look_again.is_some_and(|at| at <= Instant::now()) {
            self.look_again = None;
            // An attempt for which there is still no room is parked again.
            for (no, entry) in std::mem::take(&mut self.parked) {
                self.carry_out(Command::Start { no, entry });
            }
        }
        self.tell(Input::Wake);
    }

    /// One input, and all that follows from it.
    fn tell(&mut self, input: Input) {
        self.tell_at(self.now(), input);
    }

    /// The same for one of many inputs that arrive together.
    fn tell_at(&mut self, now: Now, input: Input) {
        let mut commands = std::mem::take(&mut self.commands);
        self.engine
            .handle(input, now, &mut self.random, &mut commands);
        for command in commands.drain(..) {
            self.carry_out(command);
        }
        self.commands = commands;
    }

    fn show(&self) {
        let stats = self.engine.stats();
        self.gauges.in_flight.store(stats.in_flight as u64, Relaxed);
        self.gauges
            .breakers_open
            .store(stats.breakers_open as u64, Relaxed);
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Start { no, entry } => {
                if self.outbox.is_out_of_space() {
                    self.parked.push((no, entry));
                    self.look_again
                        .get_or_insert_with(|| Instant::now() + SPACE_WAIT);
                } else {
                    self.start(no, entry);
                }
            }
            Command::Store {
                no,
                event,
                next,
                disable,
                awaited,
            } => self.store(no, event, next, disable, awaited),
            Command::Refill {
                no,
                from,
                limit,
                heads,
            } => self.readings.want(match heads {
                true => Reading::Heads(no, from, limit),
                false => Reading::Pending(no, from, limit),
            }),
            Command::Head { no, chain } => self.readings.want(Reading::Head(no, chain)),
            Command::BreakerChanged { no, open } => self.reports.breaker(no, open),
        }
    }

    fn start(&mut self, no: EndpointNo, entry: Entry) {
        let event = entry.event;
        let guard = Guard::new(no, entry, self.ended.clone());
        let Some(endpoint) = self.outbox.in_force(no) else {
            return drop(guard);
        };
        let body = match self.bodies.get(event) {
            Some(content) => Body::Kept(content),
            None => Body::Stored(self.outbox.clone(), entry.lsn),
        };
        let start = Start {
            guard,
            endpoint,
            body,
        };
        self.workers.attempt(no, start);
    }

    fn ended(&mut self, first: Ended, attempts: &mut Attempts) {
        let mut next = Some(first);
        let now = self.now();
        while let Some(ended) = next.take() {
            let (no, event) = (ended.no, ended.event);
            if ended.has_consent {
                self.configure(no);
            }
            let lost = |why| Input::Lost { no, event, why };
            let mut unrendered_by = None;
            let (input, attempt) = match ended.end {
                End::Made(attempt) => {
                    let outcome = (&attempt).into();
                    (Input::Ended { no, event, outcome }, Some(attempt))
                }
                End::Damaged(attempt) => (lost(Lost::Damaged), Some(attempt)),
                End::Unrenderable(attempt, endpoint) => {
                    unrendered_by = Some(endpoint);
                    (lost(Lost::Unrenderable), Some(attempt))
                }
                End::Erased => (lost(Lost::Erased), None),
            };
            if let Some(attempt) = &attempt {
                self.gauges.count(attempt, ended.due);
                self.tallies.count(no, attempt.error.is_none());
            }
            self.judged = attempt.map(|attempt| Judged {
                no,
                event,
                attempt,
                due: ended.due,
                content: ended.content,
                unrendered_by,
            });
            self.tell_at(now, input);
            next = attempts.0.try_recv().ok();
        }
    }

    /// Tells the engine the endpoint's policy as it is now.
    fn configure(&mut self, no: EndpointNo) {
        if let Some(endpoint) = self.outbox.in_force(no) {
            let policy = policy(&endpoint);
            self.tell(Input::Configure { no, policy });
        }
    }

    fn store(
        &mut self,
        no: EndpointNo,
        event: EventId,
        next: Next,
        disable: Option<DisabledReason>,
        awaited: bool,
    ) {
        let judged = self.judged.take();
        let Some(judged) = judged.filter(|judged| (judged.no, judged.event) == (no, event)) else {
            return;
        };
        let Judged {
            attempt,
            due,
            content,
            unrendered_by,
            ..
        } = judged;
        let elapsed = self.started.elapsed();
        let made = Made {
            no,
            event,
            attempt: &attempt,
            content: content.as_deref(),
            number: due.number,
        };
        self.reports.attempted(made, next, elapsed);
        if !matches!(next, Next::Retry { .. }) {
            self.bodies.release(event);
        }
        let exact = attempt.retry_after.is_some();
        let ended_at = attempt.at + attempt.duration;
        if matches!(next, Next::Delivered) {
            self.gauges.count_delivered(ended_at, due);
        }
        self.outbox.settle(Outcome {
            event,
            no,
            attempt,
            ended_at,
            next,
            exact,
            disable,
            awaited,
            unrendered_by,
        });
    }

    fn committed(&mut self, first: Commit, commits: &mut Commits) {
        let mut next = Some(first);
        while let Some(mut commit) = next.take() {
            commit.answer();
            let now = self.now();
            for notice in commit.notices {
                self.noticed(notice, now);
            }
            next = commits.try_recv().ok();
        }
    }

    fn noticed(&mut self, notice: Notice, now: Now) {
        match notice {
            Notice::Queued { no, entry, content } => {
                if let Some(content) = content {
                    self.bodies.keep(entry.event, content, now.mono);
                }
                self.tell_at(now, Input::Queued { no, entry });
            }
            Notice::Withdrawn { no, event, chain } => {
                self.bodies.release(event);
                let chain = Some(chain);
                self.tell_at(now, Input::Withdrawn { no, event, chain });
            }
            Notice::Stored { no, event } => self.tell_at(now, Input::Stored { no, event }),
            Notice::Configured { no } => {
                if let Some(endpoint) = self.outbox.in_force(no) {
                    let policy = policy(&endpoint);
                    self.tell_at(now, Input::Configure { no, policy });
                }
            }
            Notice::Removed { no } => {
                self.tell_at(now, Input::Remove { no });
                self.tallies.forget(no);
            }
            Notice::Held { no, reason } => {
                let change = EndpointChange::Disabled(reason);
                self.reports.switched(no, change);
                self.tell_at(now, Input::Hold { no });
            }
            Notice::Released { no, at } => {
                self.reports.switched(no, EndpointChange::Enabled);
                self.tell_at(now, Input::Release { no, at });
            }
            Notice::Wanted { no } => self.tell_at(now, Input::Probe { no }),
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}
