//! `outboxd serve`: the daemon.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::config::{self, Environment, LogFormat, Logging};
use crate::daemon;

/// Run the daemon.
///
/// Exit status: 0 stopped as asked, 1 it could not go on, 2 the configuration has faults.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Serve {
    /// The file; else $OUTBOXD_CONFIG, else /etc/outboxd/outboxd.toml if it is there
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

pub fn run(args: &Serve) -> ExitCode {
    let loaded = match config::load(args.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(faults) => {
            // A reader that went away is no reason to panic.
            let _ = writeln!(std::io::stderr(), "{faults}");
            return ExitCode::from(2);
        }
    };
    start_logging(&loaded.config.log);
    match daemon::run(loaded.config, |_| {}) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "outboxd cannot go on");
            ExitCode::from(if error.is_of_configuration() { 2 } else { 1 })
        }
    }
}

/// Logs go to stderr. `RUST_LOG` wins over `log.level`.
pub fn start_logging(logging: &Logging) {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let filter = filter.and_then(|text| EnvFilter::try_new(text).ok());
    // The level was checked with the configuration.
    let filter = filter.unwrap_or_else(|| EnvFilter::new(&logging.level));
    let start = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start in one process keeps the first.
    let _ = match logging.format {
        LogFormat::Text => start.with_target(false).try_init(),
        LogFormat::Json => start.json().flatten_event(true).try_init(),
    };
}
