//! Receivers, which take events or not, and the engine, which is told of it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use outboxd::domain::attempt::{Attempt, AttemptError, ErrorKind};
use outboxd::domain::delivery::Next;
use outboxd::domain::endpoint::{DisabledReason, Endpoint, EndpointNo};
use outboxd::domain::engine::{Command, Input, LanePolicy};
use outboxd::domain::event::EventId;
use outboxd::domain::time::Timestamp;
use outboxd::outbox::request::{Notice, Outcome, Request};

use super::{ENDPOINTS, Violation, World};

impl World {
    pub(super) fn up_or_down(&mut self, a: u32) {
        let endpoint = self.endpoints[a as usize % ENDPOINTS].clone();
        let up = self.up.entry(endpoint).or_insert(true);
        *up = !*up || self.calm;
    }

    pub(super) fn end_attempt(&mut self, a: u32) {
        let now = self.now();
        let Some(process) = &mut self.process else {
            return;
        };
        if process.in_flight.is_empty() {
            return;
        }
        let at = a as usize % process.in_flight.len();
        let (no, entry) = process.in_flight.swap_remove(at);
        let event = entry.event;
        let Some(endpoint) = self.names.get(&no).cloned() else {
            return;
        };
        let up = *self.up.get(&endpoint).unwrap_or(&true);
        let ok = up && (!(a / 64).is_multiple_of(8) || self.calm);
        let content = process.store.outbox.content(event, entry.lsn);
        let status = match &content {
            // What cannot be read now is a local fault; here it is tried again.
            Err(_) => None,
            Ok(_) if ok => Some(200),
            Ok(_) => Some(503),
        };
        if let Ok(content) = &content {
            let sent = content.body.clone();
            if !self.submitted.values().any(|body| match content.opaque {
                true => sent == *body,
                false => is_envelope_of(&sent, body),
            }) {
                self.wrong = Some(format!("{event}: {sent:?} was sent and never handed in"));
            }
        }
        if let Some(known) = self.known.get_mut(&event)
            && let Some(expected) = known.deliveries.get_mut(&endpoint)
        {
            expected.attempts += 1;
            expected.successes += u32::from(status == Some(200));
        }
        self.counts.attempts += 1;
        self.counts.delivered += u64::from(status == Some(200));
        self.ended(no, event, attempt(now.wall, status));
    }

    /// An attempt ended: the engine decides.
    fn ended(&mut self, no: EndpointNo, event: EventId, attempt: Attempt) {
        let outcome = (&attempt).into();
        let commands = self.tell(Input::Ended { no, event, outcome });
        let mut left = Vec::new();
        for command in commands {
            match command {
                Command::Store {
                    no,
                    event,
                    next,
                    disable,
                    awaited,
                } => self.store(no, event, &attempt, next, disable, awaited),
                other => left.push(other),
            }
        }
        self.carry_out(left);
    }

    pub(super) fn store(
        &mut self,
        no: EndpointNo,
        event: EventId,
        attempt: &Attempt,
        next: Next,
        disable: Option<DisabledReason>,
        awaited: bool,
    ) {
        let Some(process) = &mut self.process else {
            return;
        };
        let outcome = Outcome {
            event,
            no,
            attempt: attempt.clone(),
            ended_at: attempt.at,
            next,
            exact: false,
            disable,
            awaited,
            unrendered_by: None,
        };
        let request = Request::Outcome(Box::new(outcome));
        process.store.writer.enqueue(request);
        if let (Next::Dead { .. }, Some(id)) = (next, self.names.get(&no).cloned()) {
            self.mark(event, &id, |expected| expected.may_be_dead = true);
        }
    }

    fn tell(&mut self, input: Input) -> Vec<Command> {
        let now = self.now();
        let mut commands = Vec::new();
        if let Some(process) = &mut self.process {
            let engine = &mut process.engine;
            engine.handle(input, now, &mut self.dice, &mut commands);
        }
        commands
    }

    pub(super) fn carry_out(&mut self, commands: Vec<Command>) {
        let mut waiting: VecDeque<Command> = commands.into();
        while let Some(command) = waiting.pop_front() {
            let Some(process) = &mut self.process else {
                return;
            };
            let outbox = &process.store.outbox;
            let input = match command {
                Command::Start { no, entry } => {
                    process.in_flight.push((no, entry));
                    continue;
                }
                Command::Refill {
                    no,
                    from,
                    limit,
                    heads,
                } => {
                    let read = match heads {
                        true => outbox.heads(no, from, limit),
                        false => outbox.pending(no, from, limit),
                    };
                    let (entries, next) = read.unwrap_or((Vec::new(), Some(from)));
                    Input::Refilled { no, entries, next }
                }
                Command::Head { no, chain } => match outbox.head(no, chain) {
                    Ok(head) => Input::Headed { no, chain, head },
                    Err(_) => Input::Unread { no, chain },
                },
                Command::Store { .. } | Command::BreakerChanged { .. } => continue,
            };
            waiting.extend(self.tell(input));
        }
    }

    fn noticed(&mut self, notice: Notice) {
        let input = match notice {
            Notice::Queued { no, entry, .. } => Input::Queued { no, entry },
            Notice::Withdrawn { no, event, chain } => Input::Withdrawn {
                no,
                event,
                chain: Some(chain),
            },
            Notice::Stored { no, event } => {
                if let Some(id) = self.names.get(&no).cloned() {
                    self.mark(event, &id, |expected| expected.stored += 1);
                }
                Input::Stored { no, event }
            }
            Notice::Configured { no } => {
                let process = self.process.as_ref();
                let endpoint = process.and_then(|process| process.store.outbox.in_force(no));
                let Some(endpoint) = endpoint else { return };
                self.names.insert(no, endpoint.id.clone());
                let policy = policy(&endpoint);
                Input::Configure { no, policy }
            }
            Notice::Removed { no } => Input::Remove { no },
            Notice::Held { no, .. } => Input::Hold { no },
            Notice::Released { no, at } => Input::Release { no, at },
            Notice::Wanted { no } => Input::Probe { no },
        };
        let commands = self.tell(input);
        self.carry_out(commands);
    }

    /// What the writer told: answers and notices.
    pub(super) fn told(&mut self) -> Result<(), Violation> {
        loop {
            let Some(process) = &mut self.process else {
                return Ok(());
            };
            let Ok(mut commit) = process.store.commits.try_recv() else {
                break;
            };
            commit.answer();
            self.answered()?;
            for notice in commit.notices {
                self.noticed(notice);
            }
        }
        self.answered()?;
        let due = self
            .process
            .as_ref()
            .and_then(|process| process.engine.next_wake());
        if due.is_some_and(|due| due <= self.now().mono) {
            let commands = self.tell(Input::Wake);
            self.carry_out(commands);
        }
        match self.wrong.take() {
            Some(wrong) => Err(wrong),
            None => Ok(()),
        }
    }
}

/// Whether `sent` is the envelope around `data`.
fn is_envelope_of(sent: &[u8], data: &[u8]) -> bool {
    let tail = sent.len().checked_sub(data.len() + 1);
    tail.is_some_and(|at| sent[at..sent.len() - 1] == *data)
}

fn attempt(at: Timestamp, status: Option<u16>) -> Attempt {
    let error = match status {
        Some(200) => None,
        Some(_) => Some(ErrorKind::Status),
        None => Some(ErrorKind::Local),
    };
    Attempt {
        at,
        duration: Duration::ZERO,
        status,
        error: error.map(|kind| AttemptError {
            kind,
            detail: "simulated".into(),
        }),
        response_body: Bytes::from_static(b"answer"),
        address: None,
        retry_after: None,
        permanent: false,
    }
}

pub(super) fn policy(endpoint: &Endpoint) -> LanePolicy {
    LanePolicy {
        tenant: endpoint.tenant.clone(),
        max_in_flight: endpoint.max_in_flight,
        retry: endpoint.retry.clone(),
        ordering: endpoint.ordering,
        rate_limit: endpoint.rate_limit,
    }
}
