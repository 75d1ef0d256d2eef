//! Reads beside commits: ten thousand endpoints with dead and held deliveries, a million
//! finished events, and two clients that read lists and wide events all the time: what that
//! costs those who hand events in. And how long the first page of a list takes when what it is
//! asked for is rare and the oldest of all: next to a page of the newest.
//!
//! Commits are measured in turns in the same run, with and without the readers. How long the
//! longest read held the index, and over how many rows, the daemon says itself. What a machine takes
//! from every thread is in that too, so in further turns a loop that only reads the clocks takes the
//! place of one reader, and its longest step is the limit.

#[path = "rig/daemon.rs"]
mod daemon;
#[path = "rig/load.rs"]
mod load;
#[path = "rig/report.rs"]
mod report;
#[path = "rig/runtime.rs"]
mod runtime;
#[path = "rig/server.rs"]
mod server;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

use daemon::Daemon;
use load::{Connection, EVENT, Target};
use report::{Asked, Report, Row};

const CREATE: Target = Target {
    path: "/v1/endpoints",
    content_type: "application/json",
    wanted: 201,
};
const LINES: Target = Target {
    path: "/v1/events",
    content_type: "application/x-ndjson",
    wanted: 202,
};
/// Events of one NDJSON request.
const BATCH: u64 = 1000;
/// Events to all endpoints: the first is dead everywhere, the others are held.
const WIDE: u64 = 5;
const READERS: usize = 2;
/// Pairs of turns, without readers and with them.
const ROUNDS: u64 = 4;
/// How often each first page is asked for.
const PAGES: usize = 21;
const PATIENCE: Duration = Duration::from_secs(600);

/// How much of everything.
#[derive(Clone, Copy)]
struct Size {
    endpoints: u64,
    finished: u64,
    /// In each turn.
    commits: usize,
}

fn main() {
    let asked = Asked::read();
    let size = if asked.smoke {
        Size {
            endpoints: 200,
            finished: 4 * BATCH,
            commits: 100,
        }
    } else {
        Size {
            endpoints: 10_000,
            finished: 1_000 * BATCH,
            commits: 2_500,
        }
    };
    let report = Report::new("reads", asked);
    let runtime = runtime::current_thread();
    // Each endpoint's first delivery is dead by that, and its others are held.
    let gone = server::serve(server::ANY, http::StatusCode::GONE, drop);
    let home = daemon::home();
    let grant = "[delivery]\nallow_networks = [\"127.0.0.0/8\"]\n";
    let daemon = daemon::start(home.path(), grant);
    let event = runtime.block_on(fill(&daemon, gone, size));

    let paths = [
        "/v1/deliveries?status=dead&limit=1000".to_owned(),
        "/v1/deliveries?status=held".to_owned(),
        "/v1/deliveries?limit=1000".to_owned(),
        "/v1/events?limit=1000".to_owned(),
        "/v1/events?type=reads.wide".to_owned(),
        format!("/v1/events/{event}"),
        "/v1/status".to_owned(),
        "/v1/endpoints?limit=1000".to_owned(),
    ];
    first_pages(&report, &daemon);
    let (mut alone, mut beside, mut read) = (Vec::new(), Vec::new(), 0);
    let mut own = Steps::default();
    for _ in 0..asked.rounds(ROUNDS) {
        alone.extend(runtime.block_on(committed(daemon.address, size.commits)));
        let stop = AtomicBool::new(false);
        let reads = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for first in 0..READERS {
                let (daemon, paths, stop, reads) = (&daemon, &paths, &stop, &reads);
                scope.spawn(move || read_all(daemon, paths, first, stop, reads));
            }
            beside.extend(runtime.block_on(committed(daemon.address, size.commits)));
            stop.store(true, Relaxed);
        });
        read += reads.load(Relaxed);
        stop.store(false, Relaxed);
        own = own.or(std::thread::scope(|scope| {
            let (daemon, paths, stop, reads) = (&daemon, &paths, &stop, &reads);
            scope.spawn(move || read_all(daemon, paths, 0, stop, reads));
            let steps = scope.spawn(move || Steps::of_a_loop(stop));
            runtime.block_on(committed(daemon.address, size.commits));
            stop.store(true, Relaxed);
            steps.join().expect("the loop")
        }));
    }
    show(&report, &daemon, alone, beside, read, own);
}

/// Requests the paths in turn until `stop` is set, and counts the answers.
fn read_all(daemon: &Daemon, paths: &[String], first: usize, stop: &AtomicBool, reads: &AtomicU64) {
    for path in paths.iter().cycle().skip(first * paths.len() / READERS) {
        if stop.load(Relaxed) {
            return;
        }
        let answer = daemon::get(daemon.address, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer:.200}");
        reads.fetch_add(1, Relaxed);
    }
}

/// The longest step of a loop that only reads the clocks, in milliseconds.
#[derive(Clone, Copy, Default)]
struct Steps {
    /// By the clock.
    took: f64,
    /// In CPU time that it was charged with.
    cpu: f64,
}

impl Steps {
    fn of_a_loop(stop: &AtomicBool) -> Steps {
        let mut longest = Steps::default();
        let (mut last, mut last_cpu) = (Instant::now(), cpu_ms());
        while !stop.load(Relaxed) {
            let (now, cpu) = (Instant::now(), cpu_ms());
            longest = longest.or(Steps {
                took: (now - last).as_secs_f64() * 1e3,
                cpu: cpu - last_cpu,
            });
            (last, last_cpu) = (now, cpu);
        }
        longest
    }

    fn or(self, other: Steps) -> Steps {
        Steps {
            took: self.took.max(other.took),
            cpu: self.cpu.max(other.cpu),
        }
    }
}

/// What this thread has had of the CPU.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Each is found among the oldest events, on the first page.
fn first_pages(report: &Report, daemon: &Daemon) {
    let taken = |path: &str| {
        let mut took: Vec<f64> = (0..PAGES)
            .map(|_| {
                let start = Instant::now();
                let answer = daemon::get(daemon.address, path);
                let took = start.elapsed().as_secs_f64() * 1e3;
                let found = body_of(&answer)["data"].as_array().map_or(0, Vec::len);
                assert!(found > 0, "{path}: {answer:.200}");
                took
            })
            .collect();
        took.sort_by(f64::total_cmp);
        percentile(&took, 0.5)
    };
    let newest = taken("/v1/events?limit=5");
    for path in [
        "/v1/events?type=reads.wide",
        "/v1/events?key=reads-1",
        "/v1/events?idempotency_key=reads-1",
        "/v1/deliveries?type=reads.wide&limit=5",
        "/v1/deliveries?type=reads.wide&status=dead&limit=5",
    ] {
        report.row(&Row {
            measure: format!("first page of {path}"),
            value: taken(path),
            unit: "ms",
            limit: Some(("the newest five events", newest)),
        });
    }
}

fn show(
    report: &Report,
    daemon: &Daemon,
    mut alone: Vec<f64>,
    mut beside: Vec<f64>,
    read: u64,
    own: Steps,
) {
    alone.sort_by(f64::total_cmp);
    beside.sort_by(f64::total_cmp);
    let plain = |measure: &str, value, unit| {
        report.row(&Row {
            measure: measure.to_owned(),
            value,
            unit,
            limit: None,
        });
    };
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let (without, with) = (percentile(&alone, share), percentile(&beside, share));
        report.row(&Row {
            measure: format!("a commit beside {READERS} readers, {name}"),
            value: with,
            unit: "ms",
            limit: Some(("without them", without)),
        });
        if name == "p99.9" {
            plain("p99.9 worse by", with - without, "ms");
        }
    }
    plain("reads meanwhile", read as f64, "");
    let held = metric(daemon, "outboxd_index_read_hold_seconds_max");
    report.row(&Row {
        measure: "a read held the index at most".to_owned(),
        value: held * 1e3,
        unit: "ms",
        limit: Some(("a step of a loop that only reads the clocks", own.took)),
    });
    let cpu = metric(daemon, "outboxd_index_read_hold_cpu_seconds_max");
    report.row(&Row {
        measure: "of the CPU it took at most".to_owned(),
        value: cpu * 1e3,
        unit: "ms",
        limit: Some(("such a step", own.cpu)),
    });
    let long = metric(daemon, "outboxd_index_read_holds_long_total");
    let holds = metric(daemon, "outboxd_index_read_holds_total");
    plain(
        "holds longer than 2 ms, of a million",
        long / holds * 1e6,
        "",
    );
    let rows = metric(daemon, "outboxd_index_read_hold_rows_max");
    plain("rows under one hold, at most", rows, "");
}

/// Endpoints with dead and held deliveries, and finished events. Gives a wide event's id.
async fn fill(daemon: &Daemon, to: SocketAddr, size: Size) -> String {
    let body = move |n: u64| {
        let text = format!(r#"{{"url":"http://{to}/{n}","types":["reads.wide"]}}"#);
        Bytes::from(text)
    };
    let count = size.endpoints;
    load::post(daemon.address, CREATE, 16, (count, Duration::MAX), body).await;
    wide(daemon, 0..1).await;
    let begin = Instant::now();
    while backlog(daemon, "dead") < size.endpoints {
        assert!(begin.elapsed() < PATIENCE, "not all endpoints are gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    wide(daemon, 1..WIDE).await;
    assert_eq!(backlog(daemon, "held"), size.endpoints * (WIDE - 1));
    let lines = |n: u64| {
        let line = |m| format!("{{\"type\":\"reads.none\",\"data\":[{n},{m}]}}\n");
        Bytes::from((0..BATCH).map(line).collect::<String>())
    };
    let batches = (size.finished / BATCH, Duration::MAX);
    load::post(daemon.address, LINES, 2, batches, lines).await;
    let listed = body_of(&daemon::get(
        daemon.address,
        "/v1/deliveries?status=held&limit=1",
    ));
    let id = listed["data"][0]["event"].as_str();
    id.expect("there are held ones").to_owned()
}

async fn wide(daemon: &Daemon, which: Range<u64>) {
    let first = which.start;
    let body = move |n| {
        let n = first + n;
        let keys = format!(r#""key":"reads-{n}","idempotency_key":"reads-{n}""#);
        Bytes::from(format!(r#"{{"type":"reads.wide","data":{n},{keys}}}"#))
    };
    load::post(
        daemon.address,
        EVENT,
        1,
        (which.end - first, Duration::MAX),
        body,
    )
    .await;
}

/// How long each of so many commits took, in milliseconds.
async fn committed(address: SocketAddr, count: usize) -> Vec<f64> {
    let mut connection = Connection::open(address).await;
    let mut took = Vec::with_capacity(count);
    for n in 0..count {
        let body = Bytes::from(format!(r#"{{"type":"reads.none","data":{n}}}"#));
        let start = Instant::now();
        connection.post(EVENT, body).await;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    took
}

fn body_of(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
    serde_json::from_str(body).expect("JSON")
}

fn backlog(daemon: &Daemon, status: &str) -> u64 {
    let shown = body_of(&daemon::get(daemon.address, "/v1/status"));
    shown["backlog"][status].as_u64().expect("a count")
}

fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = daemon::get(daemon.address, "/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|value| value.trim().parse().ok());
    value.expect("the daemon measures it")
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share) as usize;
    sorted[place.min(sorted.len() - 1)]
}
