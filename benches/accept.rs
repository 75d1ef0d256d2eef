//! Durable ingest: events of 1 KiB handed in one by one, each answered when it is on
//! stable storage, at concurrency 1, 16 and 64.
//!
//! Beside it, in turns in the same run, the machine's two limits: a bare HTTP server that
//! reads the body and answers, and a bare loop that appends as many events at once as
//! there are clients and calls `fdatasync`. The daemon does both for each event.

#[path = "rig/daemon.rs"]
mod daemon;
#[path = "rig/disk.rs"]
mod disk;
#[path = "rig/load.rs"]
mod load;
#[path = "rig/report.rs"]
mod report;
#[path = "rig/runtime.rs"]
mod runtime;
#[path = "rig/server.rs"]
mod server;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use disk::Disk;
use report::{Asked, Report, Row};

const ROUNDS: usize = 2;
/// Its deliveries are stored and never attempted.
const ENDPOINT: &str =
    "[[endpoint]]\nid = \"held\"\nurl = \"https://example.invalid/\"\nenabled = false\n";

fn main() {
    let asked = Asked::read();
    let span = Duration::from_millis(if asked.smoke { 100 } else { 600 });
    let report = Report::new("accept", asked);
    let home = daemon::home();
    let daemon = daemon::start(home.path(), ENDPOINT);
    let bare = server::serve(server::ANY, http::StatusCode::ACCEPTED, drop);
    let mut disk = Disk::new(home.path());
    let runtime = runtime::current_thread();
    let body = event();
    let rate = |address: SocketAddr, clients: usize| {
        let body = body.clone();
        let limit = (u64::MAX, span);
        let posting = load::post(address, load::EVENT, clients, limit, move |_| body.clone());
        let (posted, took) = runtime.block_on(posting);
        posted as f64 / took.as_secs_f64()
    };
    for clients in [1, 16, 64] {
        let (mut ours, mut http, mut sync) = (0.0, 0.0, 0.0);
        for _ in 0..ROUNDS {
            ours += rate(daemon.address, clients);
            http += rate(bare, clients);
            sync += appended(&mut disk, &body.repeat(clients), span / 2) * clients as f64;
        }
        for (name, limit) in [("bare HTTP server", http), ("append + fdatasync", sync)] {
            report.row(&Row {
                measure: format!("events accepted, {clients} clients"),
                value: ours / ROUNDS as f64,
                unit: "1/s",
                limit: Some((name, limit / ROUNDS as f64)),
            });
        }
    }
}

/// An event of 1 KiB.
fn event() -> Bytes {
    let head = r#"{"type":"bench.accept","data":""#;
    let filling = "x".repeat(1024 - head.len() - 2);
    Bytes::from(format!("{head}{filling}\"}}"))
}

/// How often a second `bytes` can be appended and made durable.
fn appended(disk: &mut Disk, bytes: &[u8], span: Duration) -> f64 {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < span {
        disk.append(bytes);
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}
