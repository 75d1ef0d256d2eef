//! The daemon of the demo: this same program, started as a user would start it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::super::Failure;
use super::super::client::{Client, Reach};
use super::super::paint::plain;

/// Until it answers, and until it has stopped.
const DEADLINE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The longest path that a Unix socket can be bound to, in bytes (unix(7)).
const MAX_SOCKET_PATH: usize = 107;
/// How much of its log is shown when something went wrong, in lines.
const LOG_LINES: usize = 20;

/// A temporary directory, and the daemon that runs in it.
pub struct Daemon {
    home: TempDir,
    child: Option<Child>,
}

impl Daemon {
    /// Makes the directory. Nothing runs yet.
    pub fn new() -> Result<Daemon, Failure> {
        let failed = |error| failed("cannot make a temporary directory", &error);
        let mut home = tempfile::Builder::new();
        let home = home.prefix("outboxd-demo-");
        let mut made = home.tempdir().map_err(failed)?;
        if socket(made.path()).as_os_str().len() > MAX_SOCKET_PATH {
            made = home.tempdir_in("/tmp").map_err(failed)?;
        }
        Ok(Daemon {
            home: made,
            child: None,
        })
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes its configuration: the data directory, the socket and `listen` beside it, and `rest`.
    pub fn configure(&self, listen: &str, rest: &str) -> Result<(), Failure> {
        let quoted = |path: PathBuf| serde_json::Value::from(path.to_string_lossy()).to_string();
        let text = format!(
            "data_dir = {}\n\n[listen]\n{listen}\nunix = {}\n\n{rest}",
            quoted(self.home().join("data")),
            quoted(socket(self.home())),
        );
        let written = std::fs::write(self.config(), text);
        written.map_err(|error| failed("cannot write the configuration", &error))
    }

    fn config(&self) -> PathBuf {
        self.home().join("outboxd.toml")
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) -> Result<Client, Failure> {
        let program = std::env::current_exe();
        let program = program.map_err(|error| failed("cannot find this program", &error))?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(|error| failed("cannot write the daemon's log", &error))?;
        // Nothing of this environment may turn the demo into something else.
        let started = Command::new(program)
            .args(["serve", "--config"])
            .arg(self.config())
            .env_clear()
            .current_dir(self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let started = started.map_err(|error| failed("cannot start the daemon", &error))?;
        self.child = Some(started);
        let reach = Reach {
            unix: Some(socket(self.home())),
            ..Reach::default()
        };
        let client = reach.client(super::super::configured)?;
        let deadline = Instant::now() + DEADLINE;
        while client.get("/readyz").await.is_err() {
            if let Some(status) = self.ended()? {
                return Err(self.explain(&format!("the daemon ended at once ({status})")));
            }
            if Instant::now() > deadline {
                return Err(self.explain("the daemon does not become ready"));
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(client)
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        match &mut self.child {
            Some(child) => child
                .try_wait()
                .map_err(|error| failed("cannot watch the daemon", &error)),
            None => Ok(None),
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It fails only if the process has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        let id = self.child.as_ref().map(Child::id);
        let Some(pid) = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) else {
            return Ok(());
        };
        kill_process(pid, Signal::TERM)
            .map_err(|error| failed("cannot stop the daemon", &error.into()))?;
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.ended()? {
                Some(status) if status.success() => break,
                Some(status) => return Err(self.explain(&format!("the daemon failed ({status})"))),
                None if Instant::now() > deadline => {
                    return Err(self.explain("the daemon does not stop"));
                }
                None => sleep(LOOK_AGAIN).await,
            }
        }
        self.child = None;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.home().join("daemon.log")
    }

    /// A failure with the end of the daemon's log, which goes with its directory.
    pub fn explain(&self, what: &str) -> Failure {
        let mut log = String::new();
        // A log that cannot be read explains nothing.
        let _ = File::open(self.log()).and_then(|mut file| file.read_to_string(&mut log));
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(LOG_LINES)..)
            .unwrap_or_default();
        let mut text = what.to_owned();
        for line in tail {
            text.push_str(&format!("\n  daemon: {}", plain(line)));
        }
        Failure::Failed(text)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn socket(home: &Path) -> PathBuf {
    home.join("outboxd.sock")
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{what}: {error}"))
}
