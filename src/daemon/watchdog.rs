//! The watchdog of the service manager (`WatchdogSec=`): fed while the dispatcher and the writer
//! make progress, and never otherwise.
//!
//! Both are asked something that they answer between two pieces of work. The dispatcher shares its
//! thread with this task, so one that hangs is not asked at all. A writer that works on one long piece,
//! an index that is built anew, counts what it has taken in meanwhile.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::systemd::{self, NotifyState};
use crate::dispatch::Questions;
use crate::outbox::Outbox;

/// How often the status text is made anew.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Feeds the watchdog, and says how the daemon stands, until it is dropped.
pub(super) async fn run(outbox: Outbox, questions: Questions) {
    if !systemd::is_there() {
        return;
    }
    let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    // Half of it is what sd_watchdog_enabled(3) recommends; a third leaves room for a late answer.
    let every = limit
        .map_or(STATUS_EVERY, |limit| limit / 3)
        .max(Duration::from_millis(1));
    let mut ticks = interval(every.min(STATUS_EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = Progress::new(outbox.clone());
    let mut status_due = Instant::now();
    loop {
        ticks.tick().await;
        if limit.is_some() && progress.is_made(&questions, every).await {
            systemd::tell(&[NotifyState::Watchdog]).await;
        }
        if status_due <= Instant::now() {
            status_due = Instant::now() + STATUS_EVERY;
            // While the index is built anew it cannot be read.
            if let Ok(Some(text)) = timeout(every, status(&outbox)).await {
                systemd::tell(&[NotifyState::Status(&text)]).await;
            }
        }
    }
}

/// Whether the dispatcher and the writer go on.
struct Progress {
    outbox: Outbox,
    /// Frames that the writer had taken in for an index when it was looked at last.
    frames: u64,
}

impl Progress {
    fn new(outbox: Outbox) -> Progress {
        Progress {
            frames: outbox.rebuilt_frames(),
            outbox,
        }
    }

    /// Whether both did something within `patience`.
    async fn is_made(&mut self, questions: &Questions, patience: Duration) -> bool {
        let dispatched = timeout(patience, questions.is_answered());
        let written = timeout(patience, self.outbox.is_answered());
        let (dispatched, written) = tokio::join!(dispatched, written);
        let frames = self.outbox.rebuilt_frames();
        let rebuilds = std::mem::replace(&mut self.frames, frames) != frames;
        dispatched == Ok(true) && (written == Ok(true) || rebuilds)
    }
}

/// One line for `systemctl status`.
async fn status(outbox: &Outbox) -> Option<String> {
    let outbox = outbox.clone();
    let status = tokio::task::spawn_blocking(move || outbox.status()).await;
    let deliveries = status.ok()?.deliveries;
    let (pending, held, dead) = (deliveries.pending, deliveries.held, deliveries.dead);
    Some(format!("{pending} pending, {held} held, {dead} dead"))
}
