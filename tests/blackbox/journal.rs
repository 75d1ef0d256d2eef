//! Log lines as entries of systemd's journal. In namespaces of its own, where the journal's socket
//! is the test's: its path is the same on every machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::namespaces::is_inside;
use crate::harness::{Daemon, Home, PATIENCE, Receiver, endpoint, wait_for};

const NETWORK: &str = "ip link set lo up \
    && mount -t tmpfs none /run && mkdir -p /run/systemd/journal";
const SOCKET: &str = "/run/systemd/journal/socket";
const TEXT: &str = "\n[log]\nlevel = \"debug\"\nformat = \"text\"\n";

type Fields = BTreeMap<String, String>;

/// The stand-in of the journal: its socket.
struct Journal(UnixDatagram);

impl Journal {
    fn open() -> Journal {
        let socket = UnixDatagram::bind(SOCKET).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Journal(socket)
    }

    fn next(&self) -> Fields {
        let mut bytes = vec![0; 1 << 20];
        let read = self.0.recv(&mut bytes).expect("an entry comes");
        parsed(&bytes[..read])
    }

    /// The next entry whose message begins so.
    #[track_caller]
    fn wait(&self, message: &str) -> Fields {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let fields = self.next();
            if fields["MESSAGE"].starts_with(message) {
                return fields;
            }
        }
        panic!("no entry says {message}");
    }
}

/// <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>
fn parsed(mut bytes: &[u8]) -> Fields {
    let mut fields = Fields::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        bytes = &bytes[end + 1..];
        let (name, value) = match head.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let (len, rest) = bytes.split_first_chunk().unwrap();
                let (value, rest) = rest.split_at(u64::from_le_bytes(*len) as usize);
                bytes = rest.strip_prefix(b"\n").unwrap();
                (head, String::from_utf8(value.to_vec()).unwrap())
            }
        };
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(
            name.bytes().all(is_name) && !name.starts_with('_'),
            "{name}"
        );
        assert_eq!(fields.insert(name.to_owned(), value), None, "{name} twice");
    }
    assert!(bytes.is_empty(), "an entry ends with its last field");
    fields
}

/// A stream in the place of stderr, the other end of it, and its name as systemd has it.
fn stream() -> (Stdio, BufReader<UnixStream>, String) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let theirs = File::from(OwnedFd::from(theirs));
    let metadata = theirs.metadata().unwrap();
    let name = format!("{}:{}", metadata.st_dev(), metadata.st_ino());
    (theirs.into(), BufReader::new(ours), name)
}

fn start(home: &Home, config: &str, stderr: Stdio, name: &str) -> Daemon {
    let mut command: Command = home.command();
    command.env("JOURNAL_STREAM", name);
    home.start_with(config, command, stderr)
}

fn lines_lost(daemon: &Daemon) -> f64 {
    let text = daemon.unix.get("/metrics").text();
    let lost = "outboxd_log_lines_lost_total ";
    let sample = text.lines().find_map(|line| line.strip_prefix(lost));
    sample.expect("it is counted").parse().expect("a number")
}

#[test]
fn lines_go_to_the_journal_with_their_fields() {
    const THIS: &str = "journal::lines_go_to_the_journal_with_their_fields";
    if !is_inside(THIS, NETWORK, &[]) {
        return;
    }
    let journal = Journal::open();
    let receiver = Receiver::statuses(&[500]);
    let url = receiver.url("/hook?key=hidden-in-the-url");
    let secret = "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n";
    let config = endpoint("orders", &url, secret) + TEXT;
    let home = Home::new();
    let (stderr, mut lines, name) = stream();
    let daemon = start(&home, &config, stderr, &name);

    let ready = journal.wait("ready");
    assert_eq!(ready["PRIORITY"], "6");
    assert_eq!(ready["SYSLOG_IDENTIFIER"], "outboxd");
    assert_eq!(ready["TARGET"], "outboxd::daemon");
    assert_eq!(ready["CODE_FILE"], "src/daemon/mod.rs");
    assert!(ready["CODE_LINE"].parse::<u32>().is_ok(), "{ready:?}");
    assert_eq!(ready["OUTBOXD_VERSION"], env!("CARGO_PKG_VERSION"));
    assert!(ready["MESSAGE"].contains(" version="), "{ready:?}");

    let event = daemon.send("a", "\"hidden-in-the-body\"");
    let failed = journal.wait("attempt failed");
    assert_eq!(failed["PRIORITY"], "7");
    assert_eq!(failed["OUTBOXD_EVENT"], event);
    assert_eq!(failed["OUTBOXD_ENDPOINT"], "orders");
    assert_eq!(failed["OUTBOXD_ATTEMPT"], "1");
    let path = format!("/v1/events/{event}/deliveries/orders/cancel");
    daemon.unix.request("POST", &path, &[], b"").expect(200);
    let acted = journal.wait("changed through the API");
    assert_eq!(acted["OUTBOXD_ACTION"], "delivery.cancel");
    for entry in [&ready, &failed, &acted] {
        let text = format!("{entry:?}");
        assert!(
            !text.contains("hidden") && !text.contains("whsec_"),
            "{text}"
        );
    }

    // Errors have a priority of their own.
    home.write_config(&format!("{config}no_such_key = 1\n"));
    let pid = Pid::from_raw(daemon.pid() as i32).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let fault = journal.wait("a fault of the configuration");
    assert_eq!(fault["OUTBOXD_KEY"], "log.no_such_key");
    let faults = journal.wait("the configuration has faults");
    assert_eq!(faults["PRIORITY"], "3");
    assert_eq!(faults["OUTBOXD_FAULTS"], "1");

    // Without the socket lines are on stderr.
    std::fs::remove_file(SOCKET).unwrap();
    drop(journal);
    assert_eq!(daemon.stop().code(), Some(0));
    let mut text = String::new();
    lines.read_to_string(&mut text).expect("it ends");
    let begins = |start: &str| text.lines().any(|line| line.starts_with(start));
    assert!(begins("INFO stopping: "), "{text}");
    assert!(begins("INFO stopped"), "{text}");
    let warning = "WARN the journal's socket does not take log lines";
    let warnings = text.lines().filter(|line| line.starts_with(warning));
    assert_eq!(warnings.count(), 1, "{text}");
}

#[test]
fn a_journal_that_does_not_read_holds_nothing_up() {
    const THIS: &str = "journal::a_journal_that_does_not_read_holds_nothing_up";
    if !is_inside(THIS, NETWORK, &[]) {
        return;
    }
    let journal = Journal::open();
    let receiver = Receiver::ok();
    let many = endpoint("many", &receiver.url("/"), "types = [\"a\"]\n");
    let few = endpoint("few", &receiver.url("/"), "types = [\"b\"]\n");
    let config = many + &few + TEXT;
    let home = Home::new();
    let (stderr, _lines, name) = stream();
    let daemon = start(&home, &config, stderr, &name);
    let json = [("content-type", "application/x-ndjson")];
    let batch = "{\"type\":\"a\",\"data\":1}\n".repeat(1000);
    wait_for(
        || {
            let answer = daemon
                .unix
                .request("POST", "/v1/events", &json, batch.as_bytes());
            answer.expect(202);
            (lines_lost(&daemon) > 0.0).then_some(())
        },
        || "the queue of lines has no end".to_owned(),
    );
    // Once the journal reads again, it learns of what was lost.
    let reading = std::thread::spawn(move || {
        journal.wait("log lines were lost");
        journal
    });
    daemon.send("a", "1");
    let journal = reading.join().expect("it says what was lost");
    let event = daemon.send("b", "2");
    daemon.wait_status(&event, "few", "delivered");
    std::thread::spawn(move || while !journal.next()["MESSAGE"].is_empty() {});
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn json_is_the_message_and_another_stderr_is_written_to() {
    const THIS: &str = "journal::json_is_the_message_and_another_stderr_is_written_to";
    if !is_inside(THIS, NETWORK, &[]) {
        return;
    }
    let journal = Journal::open();
    let home = Home::new();
    let (stderr, _lines, name) = stream();
    let json = "\n[log]\nformat = \"json\"\n";
    let daemon = start(&home, json, stderr, &name);
    let entry = journal.next();
    let line: serde_json::Value = serde_json::from_str(&entry["MESSAGE"]).expect("JSON");
    assert!(line["message"].is_string() && line["level"].is_string());
    assert_eq!(entry["PRIORITY"], "6");
    assert_eq!(daemon.stop().code(), Some(0));

    // The variable of a parent, whose stderr was another.
    let (_, _, other) = stream();
    let (stderr, mut lines, _) = stream();
    let daemon = start(&home, TEXT, stderr, &other);
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line comes");
    assert!(line.contains("INFO") || line.contains("DEBUG"), "{line}");
    assert_eq!(daemon.stop().code(), Some(0));
}
