//! Commands that run until they are asked to stop.

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

/// Ends with SIGINT, SIGTERM, SIGQUIT, or SIGHUP of a terminal that is closed.
pub fn asked_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let on = |kind| {
        signal(kind).map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))
    };
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let (mut quit, mut hangup) = (on(SignalKind::quit())?, on(SignalKind::hangup())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
