//! A log that is shipped to a directory, copied, and restored.
//!
//! Accepting with shipping beside it is compared with accepting without, in pairs: the CPU that an
//! event costs the whole daemon, shipping included, and how long a lone client waits. A restore and
//! a copy are compared with what the disk needs for the same bytes: files read, written and synced
//! one after the other. `--large` ships and restores 10 GB.

#[path = "rig/cpu.rs"]
mod cpu;
#[path = "rig/daemon.rs"]
mod daemon;
#[path = "rig/fill.rs"]
mod fill;
#[path = "rig/load.rs"]
mod load;
#[path = "rig/report.rs"]
mod report;
#[path = "rig/runtime.rs"]
mod runtime;

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;

use daemon::Daemon;
use report::{Asked, Report, Row};

const PAIRS: usize = 5;
/// Its deliveries are stored and never attempted.
const ENDPOINT: &str =
    "[[endpoint]]\nid = \"held\"\nurl = \"https://example.invalid/\"\nenabled = false\n";
/// What one event takes in the log that is restored, about.
const EVENT: usize = 4096;
const SHIPPING_DEADLINE: Duration = Duration::from_secs(600);

fn main() {
    let asked = Asked::read();
    let report = Report::new("backup", asked);
    beside_accepting(&report, asked);
    let bytes = match (asked.smoke, asked.large) {
        (true, _) => 8 << 20,
        (false, false) => 1_000_000_000,
        (false, true) => 10_000_000_000_u64,
    };
    there_and_back(&report, bytes);
}

fn shipping(to: &Path) -> String {
    format!("[backup]\nto = \"file://{}\"\n", to.display())
}

/// What accepting costs with shipping and without.
fn beside_accepting(report: &Report, asked: Asked) {
    let events = if asked.smoke { 500 } else { 20_000 };
    let (plain_home, shipped_home) = (daemon::home(), daemon::home());
    let plain = daemon::start(plain_home.path(), ENDPOINT);
    let to = shipped_home.path().join("shipped");
    let config = format!("{ENDPOINT}{}", shipping(&to));
    let shipped = daemon::start(shipped_home.path(), &config);
    let mut cpus = Vec::new();
    let mut waits = Vec::new();
    for _ in 0..PAIRS {
        let without = accept(&plain, events);
        let with = accept(&shipped, events);
        cpus.push((with.0, without.0));
        waits.push((with.1, without.1));
    }
    for (measure, pairs) in [
        ("CPU of an event accepted, with shipping", cpus),
        ("p99 of accept, one client, with shipping", waits),
    ] {
        let (value, limit) = median(pairs);
        report.row(&Row {
            measure: measure.to_owned(),
            value: value * 1e6,
            unit: "us",
            limit: Some(("without shipping", limit * 1e6)),
        });
    }
}

/// CPU for each event of 64 clients, and the 99th percentile of a lone client's waits, in seconds.
fn accept(daemon: &Daemon, events: u64) -> (f64, f64) {
    let runtime = runtime::current_thread();
    let body = event(1024);
    let before = cpu::seconds(&daemon.child);
    let limit = (events, Duration::MAX);
    let posted = body.clone();
    let posting = load::post(daemon.address, load::EVENT, 64, limit, move |_| {
        posted.clone()
    });
    runtime.block_on(posting);
    let cpu = (cpu::seconds(&daemon.child) - before) / events as f64;
    let mut waits = runtime.block_on(async {
        let mut connection = load::Connection::open(daemon.address).await;
        let mut waits = Vec::new();
        for _ in 0..events / 20 {
            let began = Instant::now();
            connection.post(load::EVENT, body.clone()).await;
            waits.push(began.elapsed().as_secs_f64());
        }
        waits
    });
    waits.sort_by(f64::total_cmp);
    let p99 = waits.get(waits.len() * 99 / 100).copied();
    (cpu, p99.unwrap_or_default())
}

/// The pair in the middle, by its ratio.
fn median(mut pairs: Vec<(f64, f64)>) -> (f64, f64) {
    pairs.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
    pairs[pairs.len() / 2]
}

/// Ships a log of so many bytes, copies it and restores it.
fn there_and_back(report: &Report, bytes: u64) {
    let home = daemon::home();
    let to = home.path().join("shipped");
    let config = format!("{ENDPOINT}{}", shipping(&to));
    let daemon = daemon::start(home.path(), &config);
    let line = String::from_utf8(event(EVENT).to_vec()).expect("it is text") + "\n";
    let events = (bytes / EVENT as u64).next_multiple_of(1000);
    let began = Instant::now();
    fill::fill(daemon.address, events, &line);
    let filled = began.elapsed();
    wait_shipped(&daemon);
    let shipped = size_of(&to);
    let mega = |took: Duration| shipped as f64 / 1e6 / took.as_secs_f64();
    report.row(&Row {
        measure: format!("{} MB shipped", shipped / 1_000_000),
        value: mega(began.elapsed()),
        unit: "MB/s",
        limit: Some(("accepted", mega(filled))),
    });
    let copy = home.path().join("copy");
    let url = format!("http://{}", daemon.address);
    let copied = run(&["backup", "--url", &url, &copy.display().to_string()]);
    drop(daemon);
    let log = home.path().join("data/log");
    let (copied, bare) = (
        size_of(&copy) as f64 / copied,
        bare_copy(&log, &home.path().join("bare")),
    );
    row(report, "copied by outboxd backup", copied, bare);
    let (from, into) = (
        format!("file://{}", to.display()),
        home.path().join("restored"),
    );
    let into = into.display().to_string();
    let restored = run(&["restore", "--from", &from, "--data-dir", &into]);
    let restored = shipped as f64 / restored;
    row(
        report,
        "restored",
        restored,
        bare_copy(&to, &home.path().join("bare")),
    );
}

fn row(report: &Report, measure: &str, value: f64, limit: f64) {
    report.row(&Row {
        measure: measure.to_owned(),
        value: value / 1e6,
        unit: "MB/s",
        limit: Some(("files copied and synced", limit / 1e6)),
    });
}

/// Runs a command; how many seconds it took.
fn run(args: &[&str]) -> f64 {
    let binary = std::env::var_os("OUTBOXD_BIN");
    let began = Instant::now();
    let status = Command::new(binary.unwrap_or(env!("CARGO_BIN_EXE_outboxd").into()))
        .args(args)
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("it runs").success(), "{args:?}");
    began.elapsed().as_secs_f64()
}

fn wait_shipped(daemon: &Daemon) {
    let began = Instant::now();
    loop {
        let status = daemon::get(daemon.address, "/v1/status");
        let body = status.split_once("\r\n\r\n").map(|(_, body)| body);
        let status: serde_json::Value =
            serde_json::from_str(body.unwrap_or("null")).unwrap_or_default();
        let backup = &status["backup"];
        if backup["behind_s"] == 0.0 && !backup["last_shipped_at"].is_null() {
            return;
        }
        assert!(began.elapsed() < SHIPPING_DEADLINE, "{status}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes a second at which all files below `from` are read, written below `to` and synced. What is
/// written is deleted again.
fn bare_copy(from: &Path, to: &Path) -> f64 {
    std::fs::create_dir_all(to).expect("there is space");
    let began = Instant::now();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    for (number, path) in files(from).iter().enumerate() {
        let mut reader = BufReader::new(File::open(path).expect("it can be read"));
        let mut writer = File::create(to.join(number.to_string())).expect("there is space");
        loop {
            let count = reader.read(&mut buffer).expect("it can be read");
            if count == 0 {
                break;
            }
            writer.write_all(&buffer[..count]).expect("there is space");
            bytes += count;
        }
        writer.sync_all().expect("the disk works");
    }
    let rate = bytes as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_dir_all(to).expect("it was just made");
    rate
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("it is there").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

fn size_of(dir: &Path) -> u64 {
    let sizes = files(dir).into_iter().map(|path| path.metadata());
    sizes.map(|meta| meta.map_or(0, |meta| meta.len())).sum()
}

/// An event of about so many bytes.
fn event(size: usize) -> Bytes {
    let head = r#"{"type":"bench.backup","data":""#;
    let filling = "x".repeat(size - head.len() - 2);
    Bytes::from(format!("{head}{filling}\"}}"))
}
