//! Ten thousand endpoints of as many customers, made through the API, of which one in ten
//! hangs until its timeout: what that costs the others, in time and memory.
//!
//! First the events of the healthy ones alone, then, at the same pace, events for all, the
//! first minute not counted. Each event goes to one endpoint and carries its number; its
//! time runs from before it is handed in until the receiver has it.
//!
//! The machine's limit for making endpoints is a bare HTTP server on the same machine,
//! asked by the same client as often.

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
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use daemon::Daemon;
use load::{Connection, EVENT, Target};
use report::{Asked, Report, Row};

const CREATE: Target = Target {
    path: "/v1/endpoints",
    content_type: "application/json",
    wanted: 201,
};
const CLIENTS: usize = 16;
/// Who hands events in, and how long each waits between two.
const LOADERS: u64 = 4;
const PACE: Duration = Duration::from_millis(10);
/// Unlike the loaders' pace, so that each of them meets all endpoints.
const STRIDE: u64 = 7919;

/// How much of everything.
#[derive(Clone, Copy)]
struct Size {
    endpoints: u64,
    hanging: u64,
    idle: u64,
    /// Before events are counted: connections are made, breakers open.
    warm_up: Duration,
    settle: Duration,
    measure: Duration,
}

fn main() {
    let asked = Asked::read();
    let size = if asked.smoke {
        Size {
            endpoints: 200,
            hanging: 20,
            idle: 1_000,
            warm_up: Duration::from_secs(1),
            settle: Duration::from_secs(3),
            measure: Duration::from_secs(2),
        }
    } else {
        Size {
            endpoints: 10_000,
            hanging: 1_000,
            idle: 100_000,
            warm_up: Duration::from_secs(10),
            settle: Duration::from_secs(60),
            measure: Duration::from_secs(30),
        }
    };
    let report = Report::new("crowd", asked);
    let runtime = runtime::current_thread();
    let (tell, arrivals) = mpsc::channel();
    let sink = server::serve(server::ANY, http::StatusCode::OK, move |body| {
        // The bench is over when nobody listens.
        let _ = tell.send((Instant::now(), body));
    });
    let silent = silence();
    let home = daemon::home();
    let grant = "[delivery]\nallow_networks = [\"127.0.0.0/8\"]\n";
    let daemon = daemon::start(home.path(), grant);
    let start_bytes = resident(&daemon, "VmRSS:");

    let healthy = size.endpoints - size.hanging;
    let made = runtime.block_on(create(daemon.address, 0, healthy, sink));
    let base = bare(&runtime, size.endpoints);
    let before = measured(&runtime, &daemon, &arrivals, healthy, size, size.warm_up);
    let made = made + runtime.block_on(create(daemon.address, healthy, size.hanging, silent));
    report.row(&Row {
        measure: format!("{} endpoints made through the API", size.endpoints),
        value: made.as_secs_f64(),
        unit: "s",
        limit: Some(("bare HTTP server", base.as_secs_f64())),
    });
    report.row(&Row {
        measure: "memory for an endpoint after its first events".to_owned(),
        value: (resident(&daemon, "VmRSS:") - start_bytes) / size.endpoints as f64 * 1024.0,
        unit: "KiB",
        limit: None,
    });
    let after = measured(
        &runtime,
        &daemon,
        &arrivals,
        size.endpoints,
        size,
        size.settle,
    );
    for (name, percent) in [("p50", 50), ("p99", 99)] {
        report.row(&Row {
            measure: format!("arrival while {} hang, {name}", size.hanging),
            value: percentile(&after, percent),
            unit: "ms",
            limit: Some(("without them", percentile(&before, percent))),
        });
    }
    report.row(&Row {
        measure: "memory at its most".to_owned(),
        value: resident(&daemon, "VmHWM:"),
        unit: "MiB",
        limit: None,
    });
    drop(daemon);
    idle(&runtime, &report, size.idle, sink);
}

/// What endpoints cost that nothing is ever sent to, and what they cost the matching of
/// an event that one of them wants.
fn idle(runtime: &tokio::runtime::Runtime, report: &Report, count: u64, sink: SocketAddr) {
    let home = daemon::home();
    let daemon = daemon::start(home.path(), "");
    let before = resident(&daemon, "VmRSS:");
    let events = |n: u64| {
        let body = move |_| Bytes::from(format!(r#"{{"type":"crowd.n{n}","data":1}}"#));
        let posting = load::post(daemon.address, EVENT, 1, (500, Duration::MAX), body);
        runtime.block_on(posting).1.as_secs_f64() * 1e3 / 500.0
    };
    let alone = events(count);
    runtime.block_on(create(daemon.address, 0, count, sink));
    report.row(&Row {
        measure: format!("memory of {count} idle endpoints"),
        value: resident(&daemon, "VmRSS:") - before,
        unit: "MiB",
        limit: None,
    });
    report.row(&Row {
        measure: format!("an event accepted beside {count} endpoints"),
        value: events(count),
        unit: "ms",
        limit: Some(("beside none", alone)),
    });
}

/// Makes `count` endpoints, each of its own tenant and with its own type.
async fn create(address: SocketAddr, first: u64, count: u64, to: SocketAddr) -> Duration {
    let body = move |n: u64| {
        let n = first + n;
        Bytes::from(format!(
            r#"{{"url":"http://{to}/{n}","tenant":"t{n}","types":["crowd.n{n}"],"timeout":"1s"}}"#
        ))
    };
    let (made, took) = load::post(address, CREATE, CLIENTS, (count, Duration::MAX), body).await;
    assert_eq!(made, count);
    took
}

/// As many requests to a server that does nothing.
fn bare(runtime: &tokio::runtime::Runtime, count: u64) -> Duration {
    let server = server::serve(server::ANY, http::StatusCode::CREATED, |_| ());
    let body = |n: u64| Bytes::from(format!("{n:0>120}"));
    let posting = load::post(server, CREATE, CLIENTS, (count, Duration::MAX), body);
    runtime.block_on(posting).1
}

/// How long events took to arrive, in milliseconds and in order: those for the healthy
/// endpoints that were handed in after `settle`, while events went to the first `endpoints`.
fn measured(
    runtime: &tokio::runtime::Runtime,
    daemon: &Daemon,
    arrivals: &mpsc::Receiver<(Instant, Bytes)>,
    endpoints: u64,
    size: Size,
    settle: Duration,
) -> Vec<f64> {
    let healthy = size.endpoints - size.hanging;
    let begin = Instant::now();
    let end = begin + settle + size.measure;
    let handed = runtime.block_on(async {
        let loaders = (0..LOADERS).map(|n| tokio::spawn(load(daemon.address, n, endpoints, end)));
        let mut handed = Vec::new();
        for loader in loaders.collect::<Vec<_>>() {
            handed.extend(loader.await.expect("no request failed"));
        }
        handed
    });
    let counted: std::collections::HashMap<(u64, u64), Instant> = handed
        .into_iter()
        .filter(|(_, endpoint, at)| *endpoint < healthy && *at >= begin + settle)
        .map(|(number, endpoint, at)| ((number, endpoint), at))
        .collect();
    let mut waiting = counted.len();
    let mut took = Vec::with_capacity(waiting);
    while waiting > 0 {
        let arrived = arrivals.recv_timeout(Duration::from_secs(60));
        let (at, body) = arrived.expect("all events of the healthy arrive");
        if let Some(handed) = numbers(&body).and_then(|key| counted.get(&key)) {
            took.push((at - *handed).as_secs_f64() * 1e3);
            waiting -= 1;
        }
    }
    took.sort_by(f64::total_cmp);
    took
}

/// Hands events in until `end`: number, endpoint and when.
async fn load(
    address: SocketAddr,
    loader: u64,
    endpoints: u64,
    end: Instant,
) -> Vec<(u64, u64, Instant)> {
    let mut connection = Connection::open(address).await;
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut handed = Vec::new();
    let mut number = loader;
    while Instant::now() < end {
        ticks.tick().await;
        let endpoint = number * STRIDE % endpoints;
        handed.push((number, endpoint, Instant::now()));
        let body = format!(
            r#"{{"type":"crowd.n{endpoint}","tenant":"t{endpoint}","data":[{number},{endpoint}]}}"#
        );
        connection.post(EVENT, Bytes::from(body)).await;
        number += LOADERS;
    }
    handed
}

/// An event's number and endpoint, from its delivered body.
fn numbers(body: &[u8]) -> Option<(u64, u64)> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some((body["data"][0].as_u64()?, body["data"][1].as_u64()?))
}

/// A receiver that takes everything and never answers.
fn silence() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.set_nonblocking(true).expect("it is a socket");
    let address = listener.local_addr().expect("it is bound");
    let runtime = runtime::current_thread();
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it is a socket");
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 1024];
                    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
                });
            }
        });
    });
    address
}

/// What the kernel says of the daemon's memory, in MiB.
fn resident(daemon: &Daemon, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id()));
    let status = status.expect("the daemon runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<f64>().ok()).expect("a size") / 1024.0
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
