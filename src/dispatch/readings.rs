//! What the engine wants to know of the index, read on a thread of its own: the disk may be
//! slow or sick, and the thread that does all network does not wait for it.
//!
//! The dispatcher hands over a batch and takes the answers to all of it before it hands over
//! the next: what is wanted meanwhile shares one wake-up, and nothing piles up on the way.
//! How much can be wanted the engine bounds. A reading that fails is tried again by the
//! engine, after a second.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc as blocking;

use tokio::sync::mpsc;

use crate::domain::endpoint::EndpointNo;
use crate::domain::engine::{Entry, Input, Key};
use crate::outbox::{Outbox, ReadError};

/// So many readings are handed over at once.
const BATCH: usize = 64;

/// A reading to be made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// The pending deliveries of an endpoint, at most so many.
    Pending(EndpointNo, Key, usize),
    /// The same, but of each chain the head only.
    Heads(EndpointNo, Key, usize),
    /// The head of a chain.
    Head(EndpointNo, u64),
}

/// The readings that are still to be made, and the thread that makes them.
pub(super) struct Readings {
    short: VecDeque<Reading>,
    /// Behind a chain that is stuck there may be many of these without any answer: one of
    /// them shares a batch with all others.
    long: VecDeque<Reading>,
    under_way: bool,
    batches: blocking::SyncSender<Vec<Reading>>,
    answers: mpsc::Receiver<Vec<Input>>,
}

impl Readings {
    /// Starts the thread. It ends with the dispatcher.
    pub fn start(outbox: Outbox) -> std::io::Result<Readings> {
        let (batches, asked) = blocking::sync_channel(1);
        let (answering, answers) = mpsc::channel(1);
        let run = move || {
            let reading = AssertUnwindSafe(|| serve(&outbox, &asked, &answering));
            if catch_unwind(reading).is_err() {
                outbox.distrust("the thread that reads for the dispatcher panicked");
            }
        };
        std::thread::Builder::new()
            .name("dispatch-read".into())
            .spawn(run)?;
        Ok(Readings {
            short: VecDeque::new(),
            long: VecDeque::new(),
            under_way: false,
            batches,
            answers,
        })
    }

    pub fn want(&mut self, reading: Reading) {
        match reading {
            Reading::Heads(..) => self.long.push_back(reading),
            Reading::Pending(..) | Reading::Head(..) => self.short.push_back(reading),
        }
    }

    /// Hands over what is wanted, if the thread has nothing to do.
    pub fn hand_over(&mut self) {
        if self.under_way || (self.short.is_empty() && self.long.is_empty()) {
            return;
        }
        let many = self.short.len().min(BATCH);
        let mut batch: Vec<Reading> = self.short.drain(..many).collect();
        batch.extend(self.long.pop_front());
        // It is empty, and without the thread `answers` ends.
        self.under_way = self.batches.try_send(batch).is_ok();
    }

    /// The answers to a batch; `None`: the thread has ended.
    pub async fn answers(&mut self) -> Option<Vec<Input>> {
        let answers = self.answers.recv().await;
        self.under_way = false;
        answers
    }
}

fn serve(
    outbox: &Outbox,
    asked: &blocking::Receiver<Vec<Reading>>,
    answering: &mpsc::Sender<Vec<Input>>,
) {
    while let Ok(batch) = asked.recv() {
        let answers = batch.into_iter().map(|reading| read(outbox, reading));
        if answering.blocking_send(answers.collect()).is_err() {
            return;
        }
    }
}

fn read(outbox: &Outbox, reading: Reading) -> Input {
    match reading {
        Reading::Pending(no, from, limit) => refilled(no, from, outbox.pending(no, from, limit)),
        Reading::Heads(no, from, limit) => refilled(no, from, outbox.heads(no, from, limit)),
        Reading::Head(no, chain) => match outbox.head(no, chain) {
            Ok(head) => Input::Headed { no, chain, head },
            Err(error) => {
                report(no, &error);
                Input::Unread { no, chain }
            }
        },
    }
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

fn report(no: EndpointNo, error: &ReadError) {
    tracing::error!(%error, endpoint = no.0, "the pending deliveries cannot be read; tried again in a second");
}
