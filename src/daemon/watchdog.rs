//! The watchdog of the service manager (`WatchdogSec=`): it gets a keep-alive only while both the
//! dispatcher and the writer make progress.
//!
//! This task sends each of them a question, which they answer between two pieces of work. The
//! dispatcher runs on the same thread as this task, so when it hangs no keep-alive is sent either.
//! While the writer rebuilds the index it answers nothing; then the number of log frames that it
//! has read shows its progress.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::systemd::{self, NotifyState};
use crate::dispatch::Questions;
use crate::outbox::Outbox;

/// How often the status text is sent.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Sends keep-alives and the status text until the future is dropped.
pub(super) async fn run(outbox: Outbox, questions: Questions) {
    if !systemd::is_there() {
        return;
    }
    let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    // sd_watchdog_enabled(3) recommends half of the limit; a third leaves time for a late answer.
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
            // The index cannot be read while it is rebuilt.
            if let Ok(Some(text)) = timeout(every, status(&outbox)).await {
                systemd::tell(&[NotifyState::Status(&text)]).await;
            }
        }
    }
}

/// Tells whether the dispatcher and the writer make progress.
struct Progress {
    outbox: Outbox,
    /// How many log frames the writer had read for rebuilds at the last check.
    frames: u64,
}

impl Progress {
    fn new(outbox: Outbox) -> Progress {
        Progress {
            frames: outbox.rebuilt_frames(),
            outbox,
        }
    }

    /// Whether both answered within `patience`, or the writer went on with a rebuild.
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
