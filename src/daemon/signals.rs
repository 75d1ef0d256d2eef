//! The signals that the daemon handles.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::dispatch::Stop;

/// SIGTERM, SIGINT and SIGHUP.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Never read: while the signal has a handler, a write past RLIMIT_FSIZE fails with an
    /// error that can be logged, instead of ending the process without a message.
    _file_size: Signal,
}

impl Signals {
    pub fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// The first signal to stop drains; the second ends at once. SIGHUP asks for a reload; signals
    /// that arrive while a reload waits are merged into it.
    pub async fn watch(mut self, stop: watch::Sender<Stop>, reload: mpsc::Sender<()>) {
        let mut next = Stop::Drain;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hang_up.recv() => {
                    // A reload waits already, or the daemon stops.
                    let _ = reload.try_send(());
                    continue;
                }
            }
            if next == Stop::Hurry {
                tracing::warn!(
                    "second request to stop: attempts in flight are ended, and repeated after the next start"
                );
            }
            stop.send_replace(next);
            next = Stop::Hurry;
        }
    }
}
