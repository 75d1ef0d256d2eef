//! The programs of `docs/receivers.md`, with the real daemon before them. A language that is not
//! installed is skipped, with a line that says so.

#[path = "harness/mod.rs"]
mod harness;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use harness::http::Interface;
use harness::{Daemon, Home, endpoint, wait_for};
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/receivers");
const BODY: &[u8] = br#"{"type":"a.b","timestamp":"2026-01-01T00:00:00.000Z","data":{"id": 7}}"#;

/// A program that runs. Killed when dropped, with what it has started.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(home: &Home, args: &[&str], secret: &str) -> Program {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let port = address.port().to_string();
        let args: Vec<String> = args.iter().map(|arg| arg.replace("PORT", &port)).collect();
        let mut command = Command::new(&args[0]);
        command
            .args(&args[1..])
            .current_dir(home.path(""))
            .env("PORT", &port)
            .env("WEBHOOK_SECRET", secret)
            .env("DONE_FILE", home.path("done.txt"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(home.path("stderr")).unwrap());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().unwrap();
        let said = || std::fs::read_to_string(home.path("stderr")).unwrap();
        let listens = || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{args:?} ended: {}", said());
            TcpStream::connect(address).ok()
        };
        wait_for(listens, || format!("{args:?} does not listen: {}", said()));
        Program { child, address }
    }

    /// The status of a request that was made by hand.
    fn ask(&self, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        let program = Interface::Tcp(self.address);
        program.request("POST", "/hook", headers, body).status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Whether this command is there.
fn is_installed(args: &[&str]) -> bool {
    let mut command = Command::new(args[0]);
    let ran = command.args(&args[1..]).stdin(Stdio::null()).output();
    ran.is_ok_and(|ran| ran.status.success())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// The ids that the program has worked on.
fn done(home: &Home) -> Vec<String> {
    let text = std::fs::read_to_string(home.path("done.txt")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The headers of a request that is signed with the file `secret`.
fn signed(home: &Home, id: &str, timestamp: u64) -> Vec<(String, String)> {
    let timestamp = timestamp.to_string();
    let args = [
        "sign",
        "--secret-file",
        "secret",
        "--id",
        id,
        "--timestamp",
        &timestamp,
        "--json",
    ];
    let headers = home.run_with(&args, BODY).json();
    let headers = headers.as_object().unwrap().iter();
    headers
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

/// Makes the delivery again, and waits until it was made `attempts` times.
fn repeat(daemon: &Daemon, event: &str, attempts: u64) {
    let path = format!("/v1/events/{event}/deliveries/app/retry");
    assert_eq!(daemon.tcp.post(&path).status, 202);
    daemon.wait_delivery(event, "app", "is made again", |delivery: &Value| {
        delivery["status"] == "delivered" && delivery["attempt_count"] == attempts
    });
}

/// Requests that were made by hand: the timestamp counts, and the whole body, and each header.
fn judges(home: &Home, program: &Program) {
    let ask = |id: &str, timestamp: u64, body: &[u8], but: &str| {
        let headers = signed(home, id, timestamp);
        let headers = headers.iter().filter(|(name, _)| name != but);
        let headers: Vec<(&str, &str)> = headers.map(|(n, v)| (&**n, &**v)).collect();
        program.ask(&headers, body)
    };
    assert_eq!(ask("evt_by_hand", now() - 200, BODY, ""), 204);
    assert_eq!(ask("evt_old", now() - 302, BODY, ""), 401);
    assert_eq!(ask("evt_future", now() + 400, BODY, ""), 401);
    assert_eq!(ask("evt_changed", now(), &[BODY, b" "].concat(), ""), 401);
    for header in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        assert_eq!(
            ask("evt_without", now(), BODY, header),
            401,
            "without {header}"
        );
    }
}

/// `args` start the program; `PORT` in them is its port.
fn receives(home: &Home, args: &[&str]) {
    let secret = home.run(&["keygen"]).stdout.trim().to_owned();
    let other = home.run(&["keygen"]).stdout.trim().to_owned();
    std::fs::write(home.path("secret"), &secret).unwrap();
    let program = Program::start(home, args, &secret);
    let url = format!("http://{}/hook", program.address);
    let secrets =
        |types: &str, secrets: &[&str]| format!("types = [\"{types}\"]\nsecrets = {secrets:?}");
    let config = endpoint("app", &url, &secrets("good.*", &[&secret]))
        + &endpoint("rotated", &url, &secrets("rotated.*", &[&other, &secret]))
        + &endpoint("forged", &url, &secrets("forged.*", &[&other]));
    let daemon = home.start(&config);

    // A genuine event is accepted, and its work done once, however often it comes.
    let event = daemon.send("good.one", r#"{"text": "ünï", "n": 1.50}"#);
    daemon.wait_status(&event, "app", "delivered");
    repeat(&daemon, &event, 2);
    assert_eq!(done(home), std::slice::from_ref(&event));

    // One signature of several is enough.
    let rotated = daemon.send("rotated.one", "1");
    daemon.wait_status(&rotated, "rotated", "delivered");

    // A wrong one is not.
    let forged = daemon.send("forged.one", "1");
    let delivery = daemon.wait_delivery(&forged, "forged", "is refused", |delivery: &Value| {
        delivery["attempt_count"].as_u64() >= Some(1)
    });
    assert_eq!(delivery["attempts"][0]["status"], 401, "{delivery}");
    assert_eq!(done(home), [event.clone(), rotated.clone()]);

    judges(home, &program);
    let all = [event.clone(), rotated, "evt_by_hand".to_owned()];
    assert_eq!(done(home), all);

    // What was done is known after a restart of the program.
    drop(program);
    let again = Program::start(home, args, &secret);
    let headers = signed(home, &event, now());
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(again.ask(&headers, BODY), 204);
    assert_eq!(done(home), all);
}

/// The program's file, in a home of its own.
fn program(home: &Home, name: &str) -> PathBuf {
    let copy = home.path(name);
    std::fs::copy(Path::new(FOLDER).join(name), &copy).unwrap();
    copy
}

/// Compiles a program, before it has to start in time.
fn built(command: &mut Command) {
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
}

/// Skips the test unless the command is there.
macro_rules! needs {
    ($($word:literal),+) => {
        if !is_installed(&[$($word),+]) {
            eprintln!("SKIPPED: {} is not installed", [$($word),+][0]);
            return;
        }
    };
}

#[test]
fn python() {
    needs!("python3", "-c", "import hmac, http.server");
    let home = Home::new();
    let file = program(&home, "receiver.py");
    receives(&home, &["python3", file.to_str().unwrap()]);
}

#[test]
fn node() {
    needs!("node", "--version");
    let home = Home::new();
    let file = program(&home, "receiver.mjs");
    receives(&home, &["node", file.to_str().unwrap()]);
}

#[test]
fn go() {
    needs!("go", "version");
    let home = Home::new();
    let file = program(&home, "receiver.go");
    let binary = home.path("receiver");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).args([&binary, &file]);
    built(build.env("GOCACHE", home.path("go-cache")));
    receives(&home, &[binary.to_str().unwrap()]);
}

#[test]
fn rust() {
    needs!("rustc", "--version");
    let home = Home::new();
    let file = program(&home, "receiver.rs");
    let binary = home.path("receiver");
    let mut build = Command::new("rustc");
    let options = ["--edition=2021", "-D", "warnings", "-o"];
    built(build.args(options).args([&binary, &file]));
    receives(&home, &[binary.to_str().unwrap()]);
}

#[test]
fn ruby() {
    needs!("ruby", "-e", "require 'openssl'");
    let home = Home::new();
    let file = program(&home, "receiver.rb");
    receives(&home, &["ruby", file.to_str().unwrap()]);
}

#[test]
fn php() {
    needs!("php", "--version");
    let home = Home::new();
    let file = program(&home, "receiver.php");
    receives(
        &home,
        &["php", "-S", "127.0.0.1:PORT", file.to_str().unwrap()],
    );
}

#[test]
fn java() {
    needs!("javac", "-version");
    let home = Home::new();
    let file = program(&home, "Receiver.java");
    receives(&home, &["java", file.to_str().unwrap()]);
}
