//! A million events of 200 bytes pending for an endpoint that takes nothing (with `--large` ten
//! million): memory, disk, how soon a start is ready, and how it drains.

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
#[path = "rig/server.rs"]
mod server;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use daemon::Daemon;
use report::{Asked, Report, Row};

const MIB: f64 = 1024.0 * 1024.0;
/// Without an arrival for so long it does not drain.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let asked = Asked::read();
    let events: u64 = match (asked.smoke, asked.large) {
        (true, _) => 5_000,
        (_, false) => 1_000_000,
        (_, true) => 10_000_000,
    };
    let report = Report::new("backlog", asked);
    let row = |measure: &str, value: f64, unit| {
        report.row(&Row {
            measure: measure.to_owned(),
            value,
            unit,
            limit: None,
        });
    };
    let home = daemon::home();
    let (log, index) = (home.path().join("data/log"), home.path().join("data/index"));
    let sink = free_address();
    let daemon = daemon::start(home.path(), &endpoint(sink));
    let start = Instant::now();
    fill::fill(daemon.address, events, &line());
    row(
        "events taken",
        events as f64 / start.elapsed().as_secs_f64(),
        "1/s",
    );
    row("memory at most, loading", peak(&daemon), "MiB");
    row("log", bytes(&log) / MIB, "MiB");
    row("index", bytes(&index) / MIB, "MiB");
    drop(daemon);

    let daemon = daemon::start(home.path(), &endpoint(sink));
    row("ready after kill -9", daemon.ready_after.as_secs_f64(), "s");
    drop(daemon);
    std::fs::remove_dir_all(&index).expect("the index can be deleted");
    let daemon = daemon::start(home.path(), &endpoint(sink));
    row(
        "ready without an index",
        daemon.ready_after.as_secs_f64(),
        "s",
    );
    row("memory at most, building the index", peak(&daemon), "MiB");
    drop(daemon);

    let daemon = daemon::start(home.path(), &endpoint(sink));
    let arrived = Arc::new(AtomicU64::new(0));
    let count = arrived.clone();
    server::serve(sink, http::StatusCode::OK, move |_| {
        count.fetch_add(1, Relaxed);
    });
    let Drained {
        start,
        most,
        at_quarters,
    } = drain(&arrived, events, &index);
    row(
        "drained",
        events as f64 / start.elapsed().as_secs_f64(),
        "1/s",
    );
    row("memory at most, draining", peak(&daemon), "MiB");
    row("index at most, draining", most / MIB, "MiB");
    for (size, part) in at_quarters
        .iter()
        .zip(["a quarter", "half", "three quarters", "all"])
    {
        row(&format!("index, {part} drained"), size / MIB, "MiB");
    }
}

/// How it drained.
struct Drained {
    /// When the first one arrived.
    start: Instant,
    /// The most bytes of the index, and its bytes when each quarter had arrived.
    most: f64,
    at_quarters: Vec<f64>,
}

/// Tries again soon, so that it drains as soon as somebody listens.
fn endpoint(sink: SocketAddr) -> String {
    format!(
        "[retry]\nfirst = \"1s\"\nmax = \"2s\"\n\
         [[endpoint]]\nid = \"sink\"\nurl = \"http://{sink}/\"\nmax_in_flight = 64\n\
         secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
         allow_networks = [\"127.0.0.0/8\"]\n"
    )
}

/// An event of 200 bytes.
fn line() -> String {
    let head = "{\"type\":\"bench.backlog\",\"data\":\"";
    format!("{head}{}\"}}\n", "x".repeat(200 - head.len() - 3))
}

/// Nobody listens there.
fn free_address() -> SocketAddr {
    let free = TcpListener::bind(server::ANY).and_then(|free| free.local_addr());
    free.expect("there is a free port")
}

/// Waits until all have arrived.
fn drain(arrived: &AtomicU64, events: u64, index: &Path) -> Drained {
    let mut drained = Drained {
        start: Instant::now(),
        most: 0.0,
        at_quarters: Vec::new(),
    };
    let mut last = (0, Instant::now());
    loop {
        let now = arrived.load(Relaxed);
        if now != last.0 {
            if last.0 == 0 {
                drained.start = Instant::now();
            }
            last = (now, Instant::now());
        }
        let size = bytes(index);
        drained.most = drained.most.max(size);
        if now * 4 >= events * (drained.at_quarters.len() as u64 + 1) {
            drained.at_quarters.push(size);
        }
        if drained.at_quarters.len() == 4 {
            return drained;
        }
        assert!(last.1.elapsed() < PATIENCE, "{now} of {events} arrived");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The most memory that the process has had.
fn peak(daemon: &Daemon) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let text = line.and_then(|line| line.split_whitespace().next());
    let kib: f64 = text.and_then(|text| text.parse().ok()).expect("a number");
    kib / 1024.0
}

/// What is on disk below a directory; files may go meanwhile.
fn bytes(directory: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes(&entry.path()),
        Ok(data) => (data.blocks() * 512) as f64,
        Err(_) => 0.0,
    };
    entries.map(of).sum()
}
