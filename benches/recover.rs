//! Starting again after `kill -9` with many events pending: once with the index as it
//! was left, once without it, when it is rebuilt from the log.
//!
//! The machine's limit for either is to read the log's bytes once and check them
//! (CRC-32C), from the page cache as the daemon does here.

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

use std::path::Path;
use std::time::{Duration, Instant};

use report::{Asked, Report, Row};

/// Nobody listens there, and nothing is tried again before the bench is over.
const ENDPOINT: &str = "[retry]\nfirst = \"6h\"\n\
     [[endpoint]]\nid = \"nobody\"\nurl = \"http://127.0.0.1:1/\"\n\
     allow_networks = [\"127.0.0.0/8\"]\n";

fn main() {
    let asked = Asked::read();
    let events: u64 = if asked.smoke { 5_000 } else { 100_000 };
    let report = Report::new("recover", asked);
    let home = daemon::home();
    let daemon = daemon::start(home.path(), ENDPOINT);
    fill::fill(daemon.address, events, &line());
    drop(daemon);
    let data = home.path().join("data");
    let limit = events as f64 / read_and_checked(&data.join("log")).as_secs_f64();
    for index in ["as it was left", "deleted"] {
        if index == "deleted" {
            std::fs::remove_dir_all(data.join("index")).expect("the index can be deleted");
        }
        let daemon = daemon::start(home.path(), ENDPOINT);
        let status = daemon::get(daemon.address, "/v1/status");
        let (_, body) = status.split_once("\r\n\r\n").expect("an answer");
        let status: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(status["backlog"]["pending"], events, "{status}");
        let recovery = &status["recovery"];
        let kind = recovery["kind"].as_str().expect("a kind");
        let seconds = recovery["seconds"].as_f64().expect("seconds");
        report.row(&Row {
            measure: format!("pending recovered, index {index}: {kind}"),
            value: events as f64 / seconds,
            unit: "1/s",
            limit: Some(("log read and checked", limit)),
        });
        report.row(&Row {
            measure: format!("ready with {events} pending"),
            value: daemon.ready_after.as_secs_f64(),
            unit: "s",
            limit: None,
        });
    }
}

/// An event of 1 KiB.
fn line() -> String {
    let filling = "x".repeat(990);
    format!("{{\"type\":\"bench.recover\",\"data\":\"{filling}\"}}\n")
}

/// How long it takes to read all files of the log and sum them up.
fn read_and_checked(log: &Path) -> Duration {
    let start = Instant::now();
    let mut sum = 0;
    for entry in std::fs::read_dir(log).expect("there is a log") {
        let bytes = std::fs::read(entry.expect("an entry").path());
        sum = crc32c::crc32c_append(sum, &bytes.expect("it can be read"));
    }
    std::hint::black_box(sum);
    start.elapsed()
}
