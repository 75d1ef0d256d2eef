//! Commands that run until they are asked to stop.

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

/// Ends with SIGINT or SIGTERM.
pub fn asked_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let on = |kind| {
        signal(kind).map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))
    };
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
