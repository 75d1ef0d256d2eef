//! Reads of the outbox: beside the runtime's thread, as they may touch the disk, and only a
//! few at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::error::Error;
use crate::outbox::{Outbox, ReadError};

/// Reads at once; more wait their turn.
const MAX_READS: usize = 4;

/// Cheap to clone; clones share the limit.
#[derive(Clone)]
pub struct Reader {
    outbox: Outbox,
    turns: Arc<Semaphore>,
}

impl Reader {
    pub fn new(outbox: Outbox) -> Reader {
        Reader {
            outbox,
            turns: Arc::new(Semaphore::new(MAX_READS)),
        }
    }

    /// Runs `read` on a thread where it may block.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Outbox) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Error> {
        // The semaphore is never closed; if it were, a read without a turn is right.
        let turn = self.turns.clone().acquire_owned().await.ok();
        let outbox = self.outbox.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read(&outbox)
        });
        match read.await {
            Ok(result) => result.map_err(Error::from),
            Err(error) => {
                tracing::error!(%error, "a read of the outbox failed unexpectedly");
                Err(Error::Internal("the read failed; see the log"))
            }
        }
    }
}
