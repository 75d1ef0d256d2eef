//! `outboxd serve`: the daemon.

use std::backtrace::Backtrace;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, reload};

use crate::config::{self, Environment, LogFormat, Logging};
use crate::daemon::{self, Reload};
use crate::stderr::{self, JournalLines, Stderr};

/// How long the last lines may take to reach stderr, after all else has ended.
const LAST_LINES: Duration = Duration::from_secs(1);

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
    if let Err(error) = stderr::start() {
        // Best effort: the exit status says it as well.
        let _ = writeln!(io::stderr(), "outboxd: cannot start a thread: {error}");
        return ExitCode::FAILURE;
    }
    let status = serve(args);
    stderr::flush(LAST_LINES);
    ExitCode::from(status)
}

fn serve(args: &Serve) -> u8 {
    let loaded = match config::load(args.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(faults) => {
            // Lines for stderr never fail.
            let _ = Stderr.write_all(format!("{faults}\n").as_bytes());
            return 2;
        }
    };
    let set_log = start_logging(&loaded.config.log);
    log_panics();
    let path = args.config.clone();
    let read = move || config::load(path.as_deref(), &Environment::of_process());
    let reload = Reload {
        read: Arc::new(read),
        log: set_log,
    };
    match daemon::run(loaded.config, reload) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(%error, "outboxd cannot go on");
            if error.is_of_configuration() { 2 } else { 1 }
        }
    }
}

/// What is logged. `RUST_LOG` takes precedence over `log.level`.
fn level(logging: &Logging) -> Targets {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let filter = filter.and_then(|text| text.parse().ok());
    // The level was checked with the configuration.
    let filter = filter.or_else(|| logging.level.parse().ok());
    filter.unwrap_or_else(|| Targets::new().with_default(tracing::Level::ERROR))
}

/// Starts logging to stderr, or to the journal if it is behind stderr. The returned function changes the level.
pub fn start_logging(logging: &Logging) -> Box<dyn Fn(&Logging) + Send> {
    let (filter, handle) = reload::Layer::new(level(logging));
    let lines = fmt::layer()
        .with_writer(|| Stderr)
        .with_ansi(io::stderr().is_terminal())
        // It would print to stderr itself, and panic if that fails.
        .log_internal_errors(false);
    let lines = match (logging.format, stderr::is_journal()) {
        (LogFormat::Text, false) => lines.with_target(false).boxed(),
        (LogFormat::Json, false) => lines.json().flatten_event(true).boxed(),
        // The journal has the time, the level and the target of an entry beside its message.
        (LogFormat::Text, true) => {
            let line = fmt::format().without_time().with_level(false);
            let line = line.with_target(false);
            let shows_level = false;
            lines
                .event_format(JournalLines { line, shows_level })
                .boxed()
        }
        (LogFormat::Json, true) => {
            let line = fmt::format().json().flatten_event(true);
            let shows_level = true;
            lines
                .event_format(JournalLines { line, shows_level })
                .boxed()
        }
    };
    // A second start in one process keeps the first.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    // It fails only where logging was not started.
    Box::new(move |logging| drop(handle.reload(level(logging))))
}

/// What panics says so in the log. The hook that Rust comes with writes to stderr itself,
/// and waits for it.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let payload = panic.payload();
        let said = payload.downcast_ref::<&str>().copied();
        let said = said.or_else(|| payload.downcast_ref().map(String::as_str));
        let said = said.unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            place = place.as_deref().unwrap_or("unknown"),
            backtrace = %Backtrace::capture(),
            "a thread panicked: {said}"
        );
    }));
}
