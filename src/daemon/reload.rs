//! SIGHUP: reads the configuration again and puts in force the settings that can change without a
//! restart.
//!
//! Either all of these settings are put in force or none. The steps that can fail come first: the
//! whole file is read, new transports are opened, and the store makes the changes of endpoints
//! durable.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::systemd::{self, NotifyState};
use super::{settings, shipping};
use crate::config::{Config, Faults, Loaded, Logging, without_restart};
use crate::dispatch::{Questions, Settings, Transports};
use crate::outbox::{Changed, Outbox};
use crate::transport::TransportFigures;
use crate::ui::{Operator, Portal};

/// How the configuration is read again, and how the log follows it.
pub struct Reload {
    pub read: Arc<dyn Fn() -> Result<Loaded, Faults> + Send + Sync>,
    /// Sets what is logged, as the configuration says.
    pub log: Box<dyn Fn(&Logging) + Send>,
}

/// Why nothing changed.
#[derive(Debug, thiserror::Error)]
enum Unchanged {
    #[error("{0}")]
    Faults(Faults),
    #[error("{0}")]
    Other(String),
}

/// The parts that a reload changes, and the configuration in force.
pub(super) struct Reloader {
    pub reload: Reload,
    pub in_force: Config,
    pub outbox: Outbox,
    pub questions: Questions,
    pub operator: Arc<Operator>,
    pub portal: Arc<Portal>,
    pub cores: usize,
    pub figures: Arc<TransportFigures>,
    /// A listener of the API that is not loopback.
    pub exposed: Option<SocketAddr>,
    /// How often the log is shipped, and what is kept.
    pub shipping: Arc<watch::Sender<crate::backup::Settings>>,
}

impl Reloader {
    /// Reloads once for each request, until the daemon stops.
    pub async fn run(mut self, mut asked: mpsc::Receiver<()>) {
        while asked.recv().await.is_some() {
            systemd::tell(&systemd::reloading()).await;
            match self.reload().await {
                Ok(()) => {}
                Err(Unchanged::Faults(faults)) => report(&faults),
                Err(Unchanged::Other(error)) => {
                    tracing::error!(error, "the configuration was not reloaded; nothing changed");
                }
            }
            systemd::tell(&[NotifyState::Ready]).await;
        }
    }

    async fn reload(&mut self) -> Result<(), Unchanged> {
        let read = self.reload.read.clone();
        let loaded = tokio::task::spawn_blocking(move || read()).await;
        let loaded = loaded.map_err(|error| Unchanged::Other(error.to_string()))?;
        let new = loaded.map_err(Unchanged::Faults)?.config;
        let (config, take_restart) = without_restart(&self.in_force, new);
        if let Some(address) = self.exposed.filter(|_| config.auth.tokens.is_empty()) {
            return Err(Unchanged::Other(format!(
                "{address} is not loopback, and without a token anyone who reaches it has full access: keep a token under [auth]"
            )));
        }
        let transports = self.transports(&config).map_err(Unchanged::Other)?;
        let changed = self.outbox.reconfigure(settings::of_store(&config)).await;
        let changed = changed.map_err(|refused| Unchanged::Other(refused.to_string()))?;
        let max_in_flight = config.delivery.max_in_flight;
        self.questions
            .reconfigure(Settings {
                max_in_flight,
                tally: config.metrics.per_endpoint > 0,
                transports,
            })
            .await;
        self.operator.api.reconfigure(&config).await;
        self.operator.reconfigure(&config);
        self.portal.reconfigure(&config);
        self.shipping.send_replace(shipping::of(&config.backup));
        if config.log != self.in_force.log {
            (self.reload.log)(&config.log);
        }
        self.in_force = config;
        report_done(changed, &take_restart);
        Ok(())
    }

    /// New transports, if the settings of attempts changed. Idle connections of the old ones are
    /// dropped with them.
    fn transports(&self, config: &Config) -> Result<Option<Transports>, String> {
        let mut old = self.in_force.delivery.clone();
        old.max_in_flight = config.delivery.max_in_flight;
        if old == config.delivery {
            return Ok(None);
        }
        let made = Transports::new(&config.delivery, self.cores, self.figures.clone());
        made.map(Some).map_err(|error| error.to_string())
    }
}

fn report(faults: &Faults) {
    let file = faults.path.as_ref().map(|path| path.display().to_string());
    let file = file.as_deref().unwrap_or("the environment");
    for fault in &faults.list {
        tracing::error!(
            line = fault.line,
            column = fault.column,
            variable = fault.variable.as_deref(),
            key = fault.key,
            endpoint = fault.endpoint.as_deref(),
            problem = fault.problem,
            fix = fault.fix,
            "a fault of the configuration"
        );
    }
    let count = faults.list.len();
    tracing::error!(
        file,
        faults = count,
        "the configuration has faults and was not reloaded; nothing changed"
    );
}

fn report_done(changed: Changed, take_restart: &[&str]) {
    let Changed {
        added,
        changed,
        removed,
    } = changed;
    tracing::info!(
        endpoints_added = added,
        endpoints_changed = changed,
        endpoints_removed = removed,
        "the configuration was reloaded"
    );
    if !take_restart.is_empty() {
        let keys = take_restart.join(", ");
        tracing::warn!(
            keys,
            "changes to these keys take effect only after a restart"
        );
    }
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
    let files = directory.and_then(|directory| std::fs::read_dir(directory).ok());
    let names = files.into_iter().flatten().flatten();
    let mut names: Vec<_> = names
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect();
    if !names.is_empty() {
        names.sort_unstable();
        let files = names.join(", ");
        tracing::info!(
            files,
            "systemd passes credentials only at the start: restart outboxd to use new ones"
        );
    }
}
