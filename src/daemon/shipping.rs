//! Shipping of the log, where `[backup]` names a place.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::backup::{Figures, Running, Settings, Shipper};
use crate::config::{Backup, Config};
use crate::outbox::Outbox;

/// The thread that ships, if there is one.
pub(super) struct Shipping {
    figures: Option<Arc<Figures>>,
    settings: Arc<watch::Sender<Settings>>,
    running: watch::Sender<Running>,
    thread: Option<JoinHandle<()>>,
}

impl Shipping {
    pub fn start(config: &Config, outbox: &Outbox) -> std::io::Result<Shipping> {
        let (settings, settings_seen) = watch::channel(of(&config.backup));
        let (running, running_seen) = watch::channel(Running::On);
        let mut shipping = Shipping {
            figures: None,
            settings: Arc::new(settings),
            running,
            thread: None,
        };
        let Some(to) = config.backup.to.clone() else {
            return Ok(shipping);
        };
        // Before anything is shipped, cleaning keeps all of it.
        outbox.set_shipped_below(0, 0);
        let figures = Arc::new(Figures::new(outbox.clone()));
        let backup = &config.backup;
        let shipper = Shipper::new(
            outbox.clone(),
            (to, backup.s3.clone(), backup.key.clone()),
            &config.data_dir,
            figures.clone(),
        );
        let told = figures.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let ship = move || {
            runtime.block_on(shipper.run(settings_seen, running_seen));
            // A directory that hangs does not keep the daemon from ending.
            runtime.shutdown_background();
        };
        let watched = move || {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(ship));
            if ended.is_err() {
                let error = "the thread that ships the log panicked; restart outboxd";
                tracing::error!(error, "the log is not shipped any more");
                told.failed(error.to_owned());
            }
        };
        let thread = std::thread::Builder::new()
            .name("backup".to_owned())
            .spawn(watched)?;
        shipping.figures = Some(figures);
        shipping.thread = Some(thread);
        Ok(shipping)
    }

    /// How it goes; `None`: nothing is shipped.
    pub fn figures(&self) -> Option<Arc<Figures>> {
        self.figures.clone()
    }

    /// Where a reload puts other settings in force.
    pub fn settings(&self) -> Arc<watch::Sender<Settings>> {
        self.settings.clone()
    }

    /// Ships what is left, within a bound. Nothing may be written to the log any more.
    pub async fn finish(self) {
        self.running.send_replace(Running::Last);
        if let Some(thread) = self.thread {
            // It ends by itself, and a panic was told already.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// What of the configuration can change while the log is shipped.
pub(super) fn of(backup: &Backup) -> Settings {
    Settings {
        interval: backup.interval,
        retain: backup.retain,
    }
}
