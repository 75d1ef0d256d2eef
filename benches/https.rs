//! Deliveries over HTTPS to a server on the same machine: on kept connections, and with a new
//! connection each, whose session is resumed or not.
//!
//! Beside it, in turns in the same run, a bare rustls client loop on one thread that posts the
//! same bodies to the same server. Each with one thread for attempts and with as many as the
//! daemon takes by itself. Then how long an event waits for its 202 at 70 % of the highest rate.

#[path = "rig/cpu.rs"]
mod cpu;
#[path = "rig/daemon.rs"]
mod daemon;
#[path = "rig/load.rs"]
mod load;
#[path = "rig/report.rs"]
mod report;
#[path = "rig/runtime.rs"]
mod runtime;
#[path = "rig/tls.rs"]
mod tls;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use daemon::Daemon;
use load::{Connection, EVENT};
use report::{Asked, Report, Row};
use tls::{After, Server};

const CLIENTS: usize = 64;
const ROUNDS: u64 = 2;
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(60);
/// Clients that load the daemon while another one looks at its answers.
const LOADERS: u32 = 16;
/// How often that one hands in an event.
const PACE: Duration = Duration::from_millis(10);

fn main() {
    let asked = Asked::read();
    let report = Report::new("https", asked);
    for (after, name, events) in [
        (After::Kept, "kept connections", 10_000),
        (After::Resumed, "new connections, resumed", 5_000),
        (After::Full, "new connections, full", 5_000),
    ] {
        let events = if asked.smoke { 300 } else { events };
        measure(&report, after, name, events, asked);
    }
}

struct Totals {
    took: Duration,
    cpu: f64,
}

fn measure(report: &Report, after: After, name: &str, events: u64, asked: Asked) {
    let rounds = asked.rounds(ROUNDS);
    let (tell, arrivals) = mpsc::channel();
    let server = Server::start(after, move |body| {
        // The bench is over when nobody listens.
        let _ = tell.send(body);
    });
    let mut bare = Totals::new();
    let mut ours = [(1, Totals::new()), (0, Totals::new())];
    for _ in 0..rounds {
        let (took, cpu) = tls::bare(&server, after, (events, CLIENTS), event);
        bare.took += took;
        bare.cpu += cpu.as_secs_f64();
        assert_eq!(arrivals.try_iter().count() as u64, events);
        for (threads, totals) in &mut ours {
            let home = daemon::home();
            let daemon = daemon::start(home.path(), &endpoint(&server, *threads));
            delivered(&daemon, &arrivals, events / 10);
            let before = cpu::seconds(&daemon.child);
            totals.took += delivered(&daemon, &arrivals, events);
            totals.cpu += cpu::seconds(&daemon.child) - before;
        }
    }
    let all = events as f64 * rounds as f64;
    let rate = |totals: &Totals| all / totals.took.as_secs_f64();
    for (threads, totals) in &ours {
        let threads = threads_named(*threads);
        report.row(&Row {
            measure: format!("{name}, {threads}"),
            value: rate(totals),
            unit: "1/s",
            limit: Some(("bare rustls loop", rate(&bare))),
        });
        report.row(&Row {
            measure: format!("CPU for 10,000, {threads}"),
            value: totals.cpu / all * 10_000.0,
            unit: "s",
            limit: Some(("bare rustls loop", bare.cpu / all * 10_000.0)),
        });
    }
    if after != After::Full {
        return;
    }
    for (threads, totals) in &ours {
        let home = daemon::home();
        let daemon = daemon::start(home.path(), &endpoint(&server, *threads));
        let span = Duration::from_secs(if asked.smoke { 1 } else { 8 });
        let mut waits = waits(&daemon, rate(totals) * 0.7, span);
        waits.sort();
        report.row(&Row {
            measure: format!("202 at 70 %, p99, {}", threads_named(*threads)),
            value: waits[waits.len() * 99 / 100].as_secs_f64() * 1e3,
            unit: "ms",
            limit: None,
        });
        // What is still on its way does not count for the next one.
        drop(daemon);
        while arrivals.recv_timeout(Duration::from_millis(300)).is_ok() {}
    }
}

fn threads_named(threads: usize) -> &'static str {
    match threads {
        1 => "1 thread",
        _ => "automatic",
    }
}

impl Totals {
    fn new() -> Totals {
        Totals {
            took: Duration::ZERO,
            cpu: 0.0,
        }
    }
}

fn endpoint(server: &Server, threads: usize) -> String {
    // Another binary may be older than the key.
    let threads = match std::env::var_os("OUTBOXD_BIN") {
        Some(_) => String::new(),
        None => format!("threads = {threads}\n"),
    };
    format!(
        "[delivery]\nca_file = {:?}\n{threads}\
         [[endpoint]]\nid = \"sink\"\nurl = \"https://localhost:{}/\"\nmax_in_flight = {CLIENTS}\n\
         secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
         allow_networks = [\"127.0.0.0/8\"]\n",
        server.authority.path(),
        server.address.port(),
    )
}

/// An event of 1 KiB.
fn event(number: u64) -> Bytes {
    let head = format!(r#"{{"type":"bench.https","data":{{"n":"{number:020}","x":""#);
    let filling = "x".repeat(1024 - head.len() - 3);
    Bytes::from(format!("{head}{filling}\"}}}}"))
}

/// From the first event handed in until all have arrived.
fn delivered(daemon: &Daemon, arrivals: &mpsc::Receiver<Bytes>, events: u64) -> Duration {
    let start = Instant::now();
    let limit = (events, Duration::MAX);
    let posting = load::post(daemon.address, EVENT, CLIENTS, limit, event);
    assert_eq!(runtime::current_thread().block_on(posting).0, events);
    for _ in 0..events {
        arrivals.recv_timeout(ARRIVAL_DEADLINE).expect("it arrives");
    }
    start.elapsed()
}

/// How long events waited for their 202, handed in one at a time, while others were at this rate.
fn waits(daemon: &Daemon, rate: f64, span: Duration) -> Vec<Duration> {
    let address = daemon.address;
    runtime::current_thread().block_on(async {
        let between = Duration::from_secs_f64(f64::from(LOADERS) / rate);
        let end = Instant::now() + span;
        for n in 0..LOADERS {
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await;
                tokio::time::sleep(between * n / LOADERS).await;
                let mut ticks = tokio::time::interval(between);
                while Instant::now() < end {
                    ticks.tick().await;
                    connection.post(EVENT, event(0)).await;
                }
            });
        }
        let mut connection = Connection::open(address).await;
        let mut waits = Vec::new();
        let mut ticks = tokio::time::interval(PACE);
        while Instant::now() < end {
            ticks.tick().await;
            let start = Instant::now();
            connection.post(EVENT, event(1)).await;
            waits.push(start.elapsed());
        }
        waits
    })
}
