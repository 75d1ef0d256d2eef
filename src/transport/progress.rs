//! How far the opening of a connection has come, so that a fault can say what it interrupted.

use std::net::IpAddr;
use std::sync::Mutex;

use tokio::time::Instant;

use super::lock::lock;

/// What an attempt without a connection is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    Resolving,
    /// TCP, then TLS.
    Connecting,
    /// Waiting for room on a connection.
    #[default]
    Waiting,
}

impl Phase {
    /// What an attempt at `target` is doing.
    pub(super) fn describe(self, target: &str) -> String {
        match self {
            Phase::Resolving => format!("resolving {target}"),
            Phase::Connecting => format!("connecting to {target}"),
            Phase::Waiting => format!("waiting for {target}"),
        }
    }
}

/// Written while a connection is opened, and read when the time is up.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    phase: Phase,
    dialled: Option<IpAddr>,
    /// When connecting began.
    since: Option<Instant>,
}

impl Progress {
    pub(super) fn set_resolving(&self) {
        lock(&self.0).phase = Phase::Resolving;
    }

    /// `only` is the address, if there is a single one. Which of several is dialled shows only
    /// when one answers.
    pub(super) fn set_connecting(&self, only: Option<IpAddr>) {
        *lock(&self.0) = State {
            phase: Phase::Connecting,
            dialled: only,
            since: Some(Instant::now()),
        };
    }

    /// When connecting began, if that is the phase.
    pub(super) fn connecting_since(&self) -> Option<Instant> {
        let state = *lock(&self.0);
        state.since.filter(|_| state.phase == Phase::Connecting)
    }

    pub(super) fn phase(&self) -> Phase {
        lock(&self.0).phase
    }

    /// The address that is dialled, if there is a single one.
    pub(super) fn dialled(&self) -> Option<IpAddr> {
        lock(&self.0).dialled
    }
}
