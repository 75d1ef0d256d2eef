//! The threads that look at the store and ask the writer for changes: cleaning, what is held
//! too long, what is left of erased events and of replaced definitions, and work on many
//! deliveries.
//!
//! They change nothing themselves. Every change is a [`Step`] that the writer judges again
//! over an index that is up to date, and whose answer says what was made durable of it. A
//! pass that could not finish is given up, and begins anew later.

mod bulk;
mod cleaning;
mod definitions;
mod erasing;
mod finished;
mod held;
pub(in crate::outbox) mod moving;
mod pace;
mod survey;

use std::sync::mpsc;

use crate::outbox::index::PagesError;
use crate::outbox::log::{LogError, ReadError};
use crate::outbox::record::BadRecord;
use crate::outbox::request::{Placed, Request, Step};

pub use bulk::Bulk;
pub use cleaning::Cleaner;
pub use erasing::is_copy;

/// Why a pass was given up.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    #[error("the writer has ended")]
    Stopped,
    #[error("the writer could not make a step durable: {0:?}")]
    Refused(Placed),
    /// Nothing may be built on what was not seen.
    #[error("the log could not be read: {0}")]
    Log(LogError),
    /// The index is damaged, or sled failed.
    #[error("the index could not be read: {0}")]
    Pages(PagesError),
}

impl From<PagesError> for Cut {
    fn from(error: PagesError) -> Self {
        Cut::Pages(error)
    }
}

impl From<BadRecord> for Cut {
    fn from(_: BadRecord) -> Self {
        Cut::Pages(PagesError::Damaged)
    }
}

impl From<LogError> for Cut {
    fn from(error: LogError) -> Self {
        Cut::Log(error)
    }
}

/// What takes steps: the writer, through its channel or, in a simulation, directly.
pub trait Asked {
    /// What was made durable of the step.
    fn ask(&mut self, step: Step) -> Result<Placed, Cut>;

    /// A step that the pass cannot go on without.
    fn need(&mut self, step: Step) -> Result<(), Cut> {
        match self.ask(step)? {
            Placed::Durable => Ok(()),
            refused => Err(Cut::Refused(refused)),
        }
    }
}

/// The writer's channel, and the wait for its answer.
#[derive(Clone, Debug)]
pub struct Requests(pub mpsc::Sender<Request>);

impl Asked for Requests {
    fn ask(&mut self, step: Step) -> Result<Placed, Cut> {
        let (done, wait) = mpsc::sync_channel(1);
        self.0
            .send(Request::Maintain { step, done })
            .map_err(|_| Cut::Stopped)?;
        wait.recv().map_err(|_| Cut::Stopped)
    }
}

/// What a read of the log means for a pass: damage is an answer, an I/O error is none.
fn answered<T>(read: Result<T, ReadError>) -> Result<Option<T>, Cut> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(ReadError::Damaged(_) | ReadError::NotThere(_)) => Ok(None),
        Err(ReadError::Log(error)) => Err(error.into()),
    }
}
