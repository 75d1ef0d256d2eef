//! The real binary: a daemon that can be stopped, killed and started again on the same
//! directory, and its other commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http::Interface;
use super::{PATIENCE, wait_for};

/// Tables that a configuration gets when it does not write them itself: loopback may be
/// dialled, retries are quick, and the log's segments are small, so that starting is cheap.
const TABLES: &[(&str, &str)] = &[
    ("outbox", "segment_size = \"4MiB\"\ncache_size = \"4MiB\"\n"),
    ("delivery", "allow_networks = [\"127.0.0.0/8\"]\n"),
    ("retry", "first = \"50ms\"\nfactor = 1.0\n"),
];

/// A directory of a test's own: configuration, data, socket. It outlives the daemons that
/// run in it.
pub struct Home {
    dir: Arc<tempfile::TempDir>,
    env: Vec<(String, String)>,
}

impl Home {
    pub fn new() -> Home {
        let dir = tempfile::Builder::new().prefix("outboxd-").tempdir();
        Home {
            dir: Arc::new(dir.expect("a temporary directory")),
            env: Vec::new(),
        }
    }

    /// Sets a variable for what runs here from now on. Nothing else is inherited.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.env.push((name.to_owned(), value.into()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    pub fn unix(&self) -> Interface {
        Interface::Unix(self.path("api.sock"))
    }

    /// Writes the configuration: `text`, and what it leaves out. It listens on a free TCP
    /// port and on `api.sock`. Keys outside tables are not for `text`.
    pub fn write_config(&self, text: &str) -> PathBuf {
        let mut config = format!("data_dir = {:?}\n", self.data_dir());
        let socket = self.path("api.sock");
        let has = |table: &str| {
            let header = format!("[{table}]");
            text.lines().any(|line| line.trim() == header)
        };
        if !has("listen") {
            config += &format!("[listen]\nhttp = \"127.0.0.1:0\"\nunix = {socket:?}\n");
        }
        if !has("log") {
            config += "[log]\nlevel = \"info\"\nformat = \"json\"\n";
        }
        for (table, lines) in TABLES.iter().filter(|(table, _)| !has(table)) {
            config += &format!("[{table}]\n{lines}");
        }
        let path = self.path("outboxd.toml");
        std::fs::write(&path, config + text).expect("the configuration is written");
        path
    }

    /// Starts a daemon and waits until it is ready.
    #[track_caller]
    pub fn start(&self, config: &str) -> Daemon {
        let mut daemon = self.spawn(config);
        let ready = daemon.wait_log("ready");
        let addresses = |key: &str| -> Vec<SocketAddr> {
            let list = ready[key].as_str().unwrap_or_default();
            serde_json::from_str(&requote(list)).expect("its addresses")
        };
        if let Some(address) = addresses("tcp").first() {
            daemon.tcp = Interface::Tcp(*address);
        }
        daemon.inbound = addresses("inbound").first().copied();
        daemon
    }

    /// Starts a daemon in a way of its own, and waits until its socket says that it is ready.
    /// Only its socket can be used.
    #[track_caller]
    pub fn start_with(&self, config: &str, command: Command, stderr: Stdio) -> Daemon {
        let daemon = self.spawn_with(config, command, stderr);
        wait_for(
            || {
                let asked = daemon.unix.try_request("GET", "/readyz", &[], b"").ok()?;
                (asked.status == 200).then_some(())
            },
            || format!("it is not ready: {}", daemon.log_text()),
        );
        daemon
    }

    /// Starts a daemon without waiting for it. Only its socket can be used.
    pub fn spawn(&self, config: &str) -> Daemon {
        self.spawn_with(config, self.command(), Stdio::piped())
    }

    /// The same by another way to the binary, such as `sh -c 'ulimit …; exec "$0" "$@"'`
    /// with the binary behind it, and with another stderr; only a pipe is followed.
    pub fn spawn_with(&self, config: &str, mut command: Command, stderr: Stdio) -> Daemon {
        let path = self.write_config(config);
        command.arg("serve").arg("--config").arg(path);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the binary runs");
        // It holds our end of what stderr is.
        drop(command);
        let log = Arc::new(Log::default());
        if let Some(stderr) = child.stderr.take() {
            let shared = log.clone();
            std::thread::spawn(move || shared.follow(BufReader::new(stderr)));
        }
        Daemon {
            tcp: self.unix(),
            unix: self.unix(),
            inbound: None,
            child: Some(child),
            log,
            _dir: self.dir.clone(),
        }
    }

    /// The binary by way of a shell that runs `prepare` first, such as `ulimit -n 64`.
    pub fn command_after(&self, prepare: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.env_clear().current_dir(self.dir.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .arg("-c")
            .arg(format!("{prepare}; exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_outboxd"));
        command
    }

    /// The binary with this home as its working directory and nothing of our environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
        command.env_clear().current_dir(self.dir.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    /// Runs a command to its end, with `input` on its stdin.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command();
        command.args(args).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut stdin = child.stdin.take().expect("it is piped");
        // A command that does not want it closes it.
        let _ = stdin.write_all(input);
        drop(stdin);
        let stdout = gather(child.stdout.take().expect("it is piped"));
        let stderr = gather(child.stderr.take().expect("it is piped"));
        let status = wait_exit(&mut child);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let ran = Ran {
            code: status.and_then(|status| status.code()),
            stdout: stdout.join().expect("it is read"),
            stderr: stderr.join().expect("it is read"),
        };
        assert!(status.is_some(), "{args:?} does not end: {ran:?}");
        ran
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// stdout as JSON, once the exit code is 0.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A running daemon. Killed when dropped.
pub struct Daemon {
    /// Its API over TCP (over the socket while it is not ready).
    pub tcp: Interface,
    /// Its API over the Unix socket.
    pub unix: Interface,
    /// Its public listener, once it is ready.
    pub inbound: Option<SocketAddr>,
    child: Option<Child>,
    log: Arc<Log>,
    _dir: Arc<tempfile::TempDir>,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The URL of its API, for the commands.
    pub fn url(&self) -> String {
        match &self.tcp {
            Interface::Tcp(address) => format!("http://{address}"),
            Interface::Unix(path) => panic!("not on TCP but on {}", path.display()),
        }
    }

    /// Its public listener, without TLS.
    #[track_caller]
    pub fn public(&self) -> Interface {
        Interface::Tcp(self.inbound.expect("it has a public listener"))
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_child(self.child.as_ref().expect("it runs"));
        kill_process(pid, Signal::TERM).expect("it takes signals");
    }

    /// Sends SIGHUP, and waits for the line of the log that reports the result.
    #[track_caller]
    pub fn reload(&self) -> Value {
        let said = |lines: &[String]| -> Vec<Value> {
            let lines = lines.iter();
            let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let is_said = |line: &Value| {
                line["message"]
                    .as_str()
                    .is_some_and(|said| said.contains("reloaded"))
            };
            lines.filter(is_said).collect()
        };
        let before = said(&self.log.state.lock().unwrap().lines).len();
        let pid = Pid::from_child(self.child.as_ref().expect("it runs"));
        kill_process(pid, Signal::HUP).expect("it takes signals");
        let found = |lines: &[String]| said(lines).into_iter().nth(before);
        self.log.wait(&found, PATIENCE).unwrap_or_else(|| {
            let text = self.log_text();
            panic!("the log does not report a reload:\n{text}")
        })
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_exit(mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("it runs");
        let Some(status) = wait_exit(child) else {
            panic!("it does not end: {}", self.log_text());
        };
        self.child = None;
        status
    }

    /// SIGTERM, and waits for its end.
    #[track_caller]
    pub fn stop(self) -> ExitStatus {
        self.terminate();
        self.wait_exit()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.end();
    }

    /// Hands in one event over TCP, with `data` as it is, and gives its id.
    #[track_caller]
    pub fn send(&self, kind: &str, data: &str) -> String {
        self.send_with(kind, data, "")
    }

    /// The same with further fields, such as `"tenant": "a"`.
    #[track_caller]
    pub fn send_with(&self, kind: &str, data: &str, fields: &str) -> String {
        let comma = if fields.is_empty() { "" } else { ", " };
        let body = format!("{{\"type\": \"{kind}\", \"data\": {data}{comma}{fields}}}");
        let answer = self.tcp.post_json("/v1/events", body).expect(202);
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// One delivery with its attempts.
    #[track_caller]
    pub fn delivery(&self, event: &str, endpoint: &str) -> Value {
        let path = format!("/v1/events/{event}/deliveries/{endpoint}");
        self.tcp.get(&path).expect(200)
    }

    /// Waits until the delivery is such that `enough`, and gives it.
    #[track_caller]
    pub fn wait_delivery(
        &self,
        event: &str,
        endpoint: &str,
        what: &str,
        enough: impl Fn(&Value) -> bool,
    ) -> Value {
        wait_for(
            || Some(self.delivery(event, endpoint)).filter(&enough),
            || {
                let last = self.delivery(event, endpoint);
                format!("not {what}: {last:#}\n{}", self.log_text())
            },
        )
    }

    /// Waits until the delivery has this status.
    #[track_caller]
    pub fn wait_status(&self, event: &str, endpoint: &str, status: &str) -> Value {
        self.wait_delivery(event, endpoint, status, |delivery| {
            delivery["status"] == status
        })
    }

    /// The endpoint as the API shows it.
    #[track_caller]
    pub fn endpoint(&self, id: &str) -> Value {
        self.tcp.get(&format!("/v1/endpoints/{id}")).expect(200)
    }

    /// `GET /v1/status`.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.tcp.get("/v1/status").expect(200)
    }

    /// A sample of `/metrics` by its name and labels.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.tcp.get("/metrics").text();
        let value = text.lines().find_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            (sample == name).then(|| value.parse().ok())?
        });
        value.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    }

    /// Waits for a line of the log whose message holds `part`, and gives it. Only for a
    /// log in JSON.
    #[track_caller]
    pub fn wait_log(&self, part: &str) -> Value {
        self.wait_log_within(part, PATIENCE)
    }

    /// The same for what takes long.
    #[track_caller]
    pub fn wait_log_within(&self, part: &str, patience: Duration) -> Value {
        let found = |lines: &[String]| {
            lines.iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                line["message"].as_str()?.contains(part).then_some(line)
            })
        };
        self.log.wait(&found, patience).unwrap_or_else(|| {
            let text = self.log_text();
            panic!("the log does not say {part:?}:\n{text}")
        })
    }

    /// All that it wrote to stderr.
    pub fn log_text(&self) -> String {
        self.log.state.lock().unwrap().lines.join("\n")
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}\n---", self.log_text());
        }
    }
}

/// A table `[[endpoint]]`; `more` are further lines of it.
pub fn endpoint(id: &str, url: &str, more: &str) -> String {
    format!("\n[[endpoint]]\nid = \"{id}\"\nurl = \"{url}\"\n{more}\n")
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn follow(&self, stderr: impl BufRead) {
        for line in stderr.lines().map_while(Result::ok) {
            self.state.lock().unwrap().lines.push(line);
            self.changed.notify_all();
        }
        self.state.lock().unwrap().ended = true;
        self.changed.notify_all();
    }

    /// `None` when it does not come, or cannot any more.
    fn wait<T>(&self, found: &dyn Fn(&[String]) -> Option<T>, patience: Duration) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(found) = found(&state.lines) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

fn gather(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is told all the same.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait_exit(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    None
}

/// The log shows addresses as `[127.0.0.1:1]`: makes it JSON.
fn requote(list: &str) -> String {
    let inner = list.trim_start_matches('[').trim_end_matches(']');
    let quoted: Vec<String> = inner
        .split(", ")
        .filter(|address| !address.is_empty())
        .map(|address| format!("\"{address}\""))
        .collect();
    format!("[{}]", quoted.join(","))
}
