//! What the making of a connection is doing, so that a fault can say what it interrupted.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    Resolving,
    /// TCP, then TLS.
    Connecting,
    /// The request is on its way, or waits for room on a connection.
    #[default]
    Waiting,
}

impl Phase {
    /// What an attempt at `target` is doing.
    pub(super) fn doing(self, target: &str) -> String {
        match self {
            Phase::Resolving => format!("resolving {target}"),
            Phase::Connecting => format!("connecting to {target}"),
            Phase::Waiting => format!("waiting for {target}"),
        }
    }
}

/// Taken while a connection is made, and read when time runs out.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Note>);

#[derive(Clone, Copy, Debug, Default)]
struct Note {
    phase: Phase,
    dialled: Option<IpAddr>,
}

impl Notes {
    pub(super) fn resolving(&self) {
        self.note().phase = Phase::Resolving;
    }

    /// These are dialled from now on; which of several is not known until one answers.
    pub(super) fn dialling(&self, only: Option<IpAddr>) {
        *self.note() = Note {
            phase: Phase::Connecting,
            dialled: only,
        };
    }

    pub(super) fn phase(&self) -> Phase {
        self.note().phase
    }

    /// The address that is dialled, if there is only one it can be.
    pub(super) fn dialled(&self) -> Option<IpAddr> {
        self.note().dialled
    }

    fn note(&self) -> MutexGuard<'_, Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
