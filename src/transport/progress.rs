//! The progress of an attempt, so that a fault can say what it interrupted.
//!
//! reqwest tells neither what it was doing when time ran out nor which address it
//! dialled. The resolver and the connector run inside the attempt's own task, so a
//! task-local takes their notes. A connection that goes on being made for the pool after
//! its attempt found another one runs elsewhere; its notes then go nowhere.

use std::cell::Cell;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};

use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

tokio::task_local! {
    static PROGRESS: Progress;
}

/// What an attempt is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Resolving,
    /// TCP, then TLS.
    Connecting,
    /// The request is on its way, or waits for room on a connection.
    Waiting,
}

struct Progress {
    phase: Cell<(Phase, Instant)>,
    dialled: Cell<Option<IpAddr>>,
}

/// Runs an attempt with its own notes.
pub(super) async fn track<F: Future>(attempt: F) -> F::Output {
    let progress = Progress {
        phase: Cell::new((Phase::Waiting, Instant::now())),
        dialled: Cell::new(None),
    };
    PROGRESS.scope(progress, attempt).await
}

fn note(phase: Phase) {
    // Outside an attempt there is nobody to tell.
    let _ = PROGRESS.try_with(|progress| progress.phase.set((phase, Instant::now())));
}

/// The resolver begins.
pub(super) fn resolving() {
    note(Phase::Resolving);
}

/// These will be dialled; which of several is not known until one answers.
pub(super) fn dialling(only: Option<IpAddr>) {
    note(Phase::Connecting);
    let _ = PROGRESS.try_with(|progress| progress.dialled.set(only));
}

/// What the attempt is doing, and since when.
pub(super) fn phase() -> (Phase, Instant) {
    let unknown = |_| (Phase::Waiting, Instant::now());
    PROGRESS
        .try_with(|progress| progress.phase.get())
        .unwrap_or_else(unknown)
}

/// The address that the attempt dialled, if that is known.
pub(super) fn dialled() -> Option<IpAddr> {
    PROGRESS
        .try_with(|progress| progress.dialled.get())
        .ok()
        .flatten()
}

/// The layer around reqwest's connector that notes where connecting begins and ends.
#[derive(Clone, Copy)]
pub(super) struct ProgressLayer;

impl<S> Layer<S> for ProgressLayer {
    type Service = ProgressConnector<S>;

    fn layer(&self, connector: S) -> ProgressConnector<S> {
        ProgressConnector(connector)
    }
}

#[derive(Clone)]
pub(super) struct ProgressConnector<S>(S);

impl<S, Target> Service<Target> for ProgressConnector<S>
where
    S: Service<Target>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, poller: &mut Poller<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(poller)
    }

    fn call(&mut self, target: Target) -> Self::Future {
        note(Phase::Connecting);
        let connecting = self.0.call(target);
        Box::pin(async move {
            let connection = connecting.await;
            if connection.is_ok() {
                note(Phase::Waiting);
            }
            connection
        })
    }
}
