//! The main job end to end: events of 1 KiB handed in by 64 clients, stored, signed and
//! delivered to one endpoint.
//!
//! Beside it, in turns in the same run, the machine's limit: a bare reqwest loop that
//! posts the same number of bodies to the same sink with the same concurrency. Loader,
//! sink and daemon share the machine. Then the time from handing in to arrival at 100
//! events a second, beside what `fdatasync` alone takes at that pace.

#[path = "rig/bare.rs"]
mod bare;
#[path = "rig/cpu.rs"]
mod cpu;
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
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use bare::{CLIENTS, bare_loop};
use daemon::Daemon;
use disk::Disk;
use load::{Connection, EVENT};
use report::{Asked, Report, Row};

const ROUNDS: u64 = 2;
/// Between two events when latency is measured.
const PACE: Duration = Duration::from_millis(10);
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    let asked = Asked::read();
    let (events, paced) = if asked.smoke {
        (1000, 50)
    } else {
        (15_000, 300)
    };
    let report = Report::new("deliver", asked);
    let (tell, arrivals) = mpsc::channel();
    let sink = server::serve(server::ANY, http::StatusCode::OK, move |body| {
        // The bench is over when nobody listens.
        let _ = tell.send((Instant::now(), body));
    });
    let home = daemon::home();
    let daemon = daemon::start(home.path(), &endpoint(sink));
    let runtime = runtime::current_thread();
    let (mut ours, mut bare, mut cpu) = (Duration::ZERO, Duration::ZERO, 0.0);
    let rounds = asked.rounds(ROUNDS);
    for _ in 0..rounds {
        bare += runtime.block_on(bare_loop(sink, events, event));
        assert_eq!(arrivals.try_iter().count() as u64, events);
        let before = cpu::seconds(&daemon.child);
        ours += delivered(&runtime, &daemon, &arrivals, events);
        cpu += cpu::seconds(&daemon.child) - before;
    }
    let all = events as f64 * rounds as f64;
    report.row(&Row {
        measure: format!("events delivered, {CLIENTS} clients"),
        value: all / ours.as_secs_f64(),
        unit: "1/s",
        limit: Some(("bare reqwest loop", all / bare.as_secs_f64())),
    });
    report.row(&Row {
        measure: "daemon's CPU for 10,000 delivered".to_owned(),
        value: cpu / all * 10_000.0,
        unit: "s",
        limit: None,
    });
    let mut sync = synced(home.path(), paced / 2);
    let mut latencies = runtime.block_on(latencies(&daemon, &arrivals, paced));
    sync.extend(synced(home.path(), paced / 2));
    for (name, percent) in [("p50", 50), ("p99", 99)] {
        let millis = |values: &mut [Duration]| percentile(values, percent).as_secs_f64() * 1e3;
        report.row(&Row {
            measure: format!("handing in to arrival at 100/s, {name}"),
            value: millis(&mut latencies),
            unit: "ms",
            limit: Some(("fdatasync at 100/s", millis(&mut sync))),
        });
    }
}

fn endpoint(sink: SocketAddr) -> String {
    format!(
        "[[endpoint]]\nid = \"sink\"\nurl = \"http://{sink}/\"\nmax_in_flight = {CLIENTS}\n\
         secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
         allow_networks = [\"127.0.0.0/8\"]\n"
    )
}

/// An event of 1 KiB that carries its number.
fn event(number: u64) -> Bytes {
    let head = format!(r#"{{"type":"bench.deliver","data":{{"n":"{number:020}","x":""#);
    let filling = "x".repeat(1024 - head.len() - 3);
    Bytes::from(format!("{head}{filling}\"}}}}"))
}

/// The number in an event's body, as it was handed in or delivered.
fn number(body: &[u8]) -> u64 {
    let text = std::str::from_utf8(body).expect("the body is text");
    let (_, rest) = text.split_once(r#""n":""#).expect("it has a number");
    rest[..20].parse().expect("it has twenty digits")
}

/// From the first event handed in until all have arrived, once each.
fn delivered(
    runtime: &tokio::runtime::Runtime,
    daemon: &Daemon,
    arrivals: &mpsc::Receiver<(Instant, Bytes)>,
    events: u64,
) -> Duration {
    let start = Instant::now();
    let limit = (events, Duration::MAX);
    let posting = load::post(daemon.address, EVENT, CLIENTS, limit, event);
    assert_eq!(runtime.block_on(posting).0, events);
    let mut seen = vec![false; events as usize];
    let mut last = start;
    for _ in 0..events {
        let (at, body) = arrivals.recv_timeout(ARRIVAL_DEADLINE).expect("it arrives");
        let number = number(&body) as usize;
        assert!(!seen[number], "{number} came twice");
        seen[number] = true;
        last = last.max(at);
    }
    last - start
}

/// How long each event took from before it was handed in until the sink had it.
async fn latencies(
    daemon: &Daemon,
    arrivals: &mpsc::Receiver<(Instant, Bytes)>,
    count: u64,
) -> Vec<Duration> {
    let mut connection = Connection::open(daemon.address).await;
    let mut ticks = tokio::time::interval(PACE);
    let mut handed = Vec::with_capacity(count as usize);
    for number in 0..count {
        ticks.tick().await;
        handed.push(Instant::now());
        connection.post(EVENT, event(number)).await;
    }
    (0..count)
        .map(|_| {
            let (at, body) = arrivals.recv_timeout(ARRIVAL_DEADLINE).expect("it arrives");
            at - handed[number(&body) as usize]
        })
        .collect()
}

/// How long each append of 1 KiB with `fdatasync` took at the same pace.
fn synced(home: &Path, count: u64) -> Vec<Duration> {
    let (mut disk, body) = (Disk::new(home), event(0));
    (0..count)
        .map(|_| {
            std::thread::sleep(PACE);
            disk.append(&body)
        })
        .collect()
}

fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort();
    values[(values.len() * percent / 100).min(values.len() - 1)]
}
