//! The commands, one file each.

mod answers;
mod apply;
pub mod backup;
pub mod check;
pub mod client;
pub mod completions;
pub mod config_schema;
pub mod dead;
mod define;
pub mod deliveries;
pub mod demo;
pub mod doctor;
pub mod endpoints;
pub mod events;
pub mod explain;
mod filter;
pub mod filter_test;
mod forward;
pub mod health;
pub mod jobs;
pub mod keygen;
pub mod listen;
mod listen_source;
pub mod login;
pub mod man;
mod overview;
pub mod paint;
pub mod receiver;
pub mod render;
pub mod replay;
pub mod restore;
mod sample;
pub mod secrets;
mod selection;
pub mod send;
pub mod serve;
mod shape;
mod show;
pub mod sign;
pub mod sources;
pub mod status;
mod stop;
pub mod table;
pub mod tail;
mod target;
pub mod timeline;
pub mod verify;
pub mod verify_store;
mod watch;
pub use crate::domain::when;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config;

/// The most that a command reads as a body.
const MAX_BODY: u64 = 64 << 20;

/// Why a command failed. The text is for a person.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was asked for something that makes no sense: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// It went wrong: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Whoever read our output has gone. That is their choice, not a failure.
    #[error("nobody reads the output any more")]
    OutputClosed,
}

impl Failure {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Failed(_) => ExitCode::from(1),
            Failure::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

/// The exit status of a command. What went wrong is said on stderr.
pub fn exit(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::OutputClosed) {
                // If stderr fails, the exit status says it still.
                let _ = writeln!(io::stderr(), "outboxd: {failure}");
            }
            failure.exit_code()
        }
    }
}

/// Prints what clap has to say: to stdout what was asked for (help, the version), to stderr
/// what is wrong with the arguments.
pub fn refuse_or_help(said: &clap::Error) -> ExitCode {
    let printed = said.print().and_then(|()| io::stdout().flush());
    if said.use_stderr() {
        return ExitCode::from(2);
    }
    exit(printed.map_err(unprinted))
}

/// What it means that stdout did not take a result.
fn unprinted(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Failed(format!("cannot write to stdout: {error}")),
    }
}

/// Runs a client command to its end.
pub fn wait(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(command)
}

/// Where the configuration says that the daemon listens, for the client commands.
pub fn configured(path: Option<&Path>) -> Result<config::Listen, Failure> {
    config::load_listen(path, &config::Environment::of_process())
        .map_err(|faults| Failure::Usage(faults.to_string()))
}

/// Writes a result to stdout.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(unprinted)
}

/// One line of JSON to stdout.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value);
    let line = line.map_err(|error| Failure::Failed(format!("cannot write JSON: {error}")))?;
    print(&(line + "\n"))
}

/// The answer as it came, or as `readable` has it.
fn answered(
    json: bool,
    answer: &[u8],
    readable: impl FnOnce() -> Result<String, Failure>,
) -> Result<(), Failure> {
    match json {
        true => print(&format!("{}\n", String::from_utf8_lossy(answer))),
        false => print(&readable()?),
    }
}

/// The body in a file, or on stdin for `-`. At most 64 MiB.
fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_BODY + 1).read_to_end(&mut body)
    } else {
        let file = std::fs::File::open(path);
        file.and_then(|file| file.take(MAX_BODY + 1).read_to_end(&mut body))
    };
    match read {
        Err(error) => Err(Failure::Failed(format!("{}: {error}", shown(path)))),
        Ok(length) if length as u64 > MAX_BODY => Err(Failure::Failed(format!(
            "{}: more than 64 MiB",
            shown(path)
        ))),
        Ok(_) => Ok(body),
    }
}

fn shown(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "stdin".to_owned(),
        _ => path.display().to_string(),
    }
}

/// The body of a signed message.
#[derive(clap::Args)]
pub struct BodyArg {
    /// The file with the body, byte for byte; - reads stdin
    #[arg(value_name = "FILE", default_value = "-")]
    body: PathBuf,
}

impl BodyArg {
    fn read(&self) -> Result<Vec<u8>, Failure> {
        read_body(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    enum Commands {
        Sign(sign::Sign),
        Verify(verify::Verify),
        Keygen(keygen::Keygen),
        Listen(listen::Listen),
    }

    #[test]
    fn the_arguments_make_sense_to_clap() {
        Commands::command().debug_assert();
        let parse = |line: &str| Commands::try_parse_from(line.split(' '));
        assert!(parse("outboxd listen --port 0 --status 503").is_ok());
        assert!(parse("outboxd listen --status 99").is_err());
        assert!(parse("outboxd listen --forward http://localhost:1/ --status 200").is_err());
        assert!(parse("outboxd verify --id a --timestamp 1 --signature v1,x body.json").is_ok());
        assert!(parse("outboxd verify --id a --timestamp 1").is_err());
    }

    fn ran(line: &[&str]) -> Result<(), Failure> {
        match Commands::try_parse_from(line).unwrap() {
            Commands::Sign(args) => sign::run(&args),
            Commands::Verify(args) => verify::run(&args),
            Commands::Keygen(args) => keygen::run(&args),
            Commands::Listen(args) => wait(listen::run(args, configured)),
        }
    }

    #[test]
    fn the_official_vector_verifies_but_for_its_age() {
        let mut body = tempfile::NamedTempFile::new().unwrap();
        body.write_all(b"{\"test\": 2432232314}").unwrap();
        let body = body.path().to_str().unwrap();
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let verify = |signature: &str, tolerance: &str| {
            #[rustfmt::skip]
            let line = [
                "outboxd", "verify", "--secret", secret, "--id", "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "--timestamp", "1614265330", "--signature", signature, "--tolerance", tolerance, body,
            ];
            ran(&line)
        };
        let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert!(verify(right, "1000000h").is_ok());
        for (signature, tolerance, reason) in [
            (right, "5m", "in the past"),
            ("v1,AAAA", "1000000h", "no signature matches"),
        ] {
            let failure = verify(signature, tolerance).unwrap_err();
            assert!(matches!(failure, Failure::Failed(_)));
            assert!(failure.to_string().contains(reason), "{failure}");
        }
        let unread = ran(&["outboxd", "sign", "--secret", secret, "/nonexistent/body"]);
        assert!(matches!(unread, Err(Failure::Failed(_))));
    }
}
