//! Copies of the running store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use crate::backup::archive;
use crate::outbox::Outbox;

/// Pieces of an archive that may wait for the client.
const AHEAD: usize = 4;
/// A client that takes nothing for so long does not hold the log any longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes copies, one at a time.
pub struct Backups {
    outbox: Outbox,
    turn: Arc<Semaphore>,
}

impl Backups {
    pub fn new(outbox: Outbox) -> Backups {
        Backups {
            outbox,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Begins a copy: a tar archive in pieces, the last of which is an error if it was cut short.
    /// `None`: another one is being made.
    pub fn begin(&self) -> Option<mpsc::Receiver<io::Result<Bytes>>> {
        let turn = self.turn.clone().try_acquire_owned().ok()?;
        let (pieces, received) = mpsc::channel(AHEAD);
        let outbox = self.outbox.clone();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let take = |piece| {
                let sent = tokio::time::timeout(PATIENCE, pieces.send(Ok(piece)));
                runtime.block_on(async { matches!(sent.await, Ok(Ok(()))) })
            };
            match archive::write(&outbox, take) {
                Ok(()) => tracing::info!("a copy of the store was made"),
                Err(error) => {
                    tracing::warn!(%error, "a copy of the store was cut short");
                    // The client sees that the response is not whole.
                    let _ = pieces.try_send(Err(io::Error::other("cut short")));
                }
            }
        });
        Some(received)
    }
}
