//! Webhooks of others: 1 KiB GitHub calls, verified and made durable, at concurrency 64, beside plain
//! accepts of the same bytes through the API in the same run.
//!
//! Then what bad calls cost: the daemon's CPU for one, beside that for a call that is taken, and what
//! of them is written; and the time that accepts take, through the API and through another source,
//! while bad calls come at 5,000 a second, beside the time without. An address gets 429 after a
//! hundred refused calls in a second, so floods come from one address and from 64.
//!
//! Each figure is the median of pairs that were measured in turns.

#[path = "rig/calls.rs"]
mod calls;
#[path = "rig/cpu.rs"]
mod cpu;
#[path = "rig/daemon.rs"]
mod daemon;
#[path = "rig/report.rs"]
mod report;
#[path = "rig/runtime.rs"]
mod runtime;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use outboxd::clock;
use outboxd::domain::inbound::{Call, Given, Sample, Source, SourceId, read};
use outboxd::domain::json::Json;

use calls::{Caller, Load, load};
use daemon::Daemon;
use report::{Asked, Report, Row};

const CLIENTS: u8 = 64;
/// An address may be refused a hundred times a second.
const UNDER_REFUSALS: Duration = Duration::from_micros(11_000);
const FLOOD_PER_SECOND: u32 = 5_000;
const FLOOD_CONNECTIONS: u8 = 32;
const SECRET: &str = "It's a Secret to Everybody";
/// The counts of calls that were taken are stored by then.
const COUNTS_STORED: Duration = Duration::from_millis(2_500);
/// Every delivery id is new in a run.
static NUMBER: AtomicU64 = AtomicU64::new(0);

fn main() {
    let asked = Asked::read();
    let report = Report::new("inbound", asked);
    let home = daemon::home();
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let inbound = free.expect("there is a free port");
    let daemon = daemon::start(home.path(), &config(inbound));
    let bench = Bench {
        data: home.path().join("data"),
        runtime: runtime::current_thread(),
        signed: Arc::new(Signed::new()),
        smoke: asked.smoke,
        daemon,
        inbound,
        report,
    };
    bench.verifying();
    bench.rates();
    bench.cpu();
    bench.floods();
}

/// Deliveries are stored and never attempted.
fn config(inbound: SocketAddr) -> String {
    let mut text = format!(
        "inbound = \"{inbound}\"\n\
         [[endpoint]]\nid = \"held\"\nurl = \"https://example.invalid/\"\nenabled = false\n"
    );
    for id in ["github", "other", "flooded"] {
        text +=
            &format!("[[source]]\nid = \"{id}\"\npreset = \"github\"\nsecrets = [\"{SECRET}\"]\n");
    }
    text
}

/// A call of GitHub with 1 KiB, signed.
struct Signed {
    source: Source,
    sample: Sample,
}

impl Signed {
    fn new() -> Signed {
        let mut given = Given::new();
        given.insert("preset".into(), Json::from("github"));
        given.insert("secrets".into(), Json::Array(vec![Json::from(SECRET)]));
        let id = SourceId::new("github").expect("it is a name");
        let source = read(id, &given).expect("it is a definition");
        let sample = source.sample(Some(event()), [0; 16], clock::now(), None);
        let sample = sample.expect("it can be signed");
        Signed { source, sample }
    }

    /// The call under a delivery id of its own.
    fn to(&self, path: &str) -> Request<Full<Bytes>> {
        let number = NUMBER.fetch_add(1, Relaxed);
        let mut request = Request::post(path)
            .header("host", "hooks.example.com")
            .body(Full::new(self.sample.body.clone()))
            .expect("the request is well-formed");
        let headers = request.headers_mut();
        headers.extend(self.sample.headers.clone());
        let id = format!("72d3162e-cc78-11e3-81ab-{number:012}");
        headers.insert("x-github-delivery", id.parse().expect("it is a header"));
        headers.insert("x-github-event", "push".parse().expect("it is a header"));
        request
    }

    /// The same with the signature of another body.
    fn forged(&self, path: &str) -> Request<Full<Bytes>> {
        let mut request = self.to(path);
        let other = format!("sha256={}", "0a".repeat(32));
        let other = other.parse().expect("it is a header");
        request.headers_mut().insert("x-hub-signature-256", other);
        request
    }

    /// The same bytes for the API.
    fn plain(&self, with_key: bool) -> Request<Full<Bytes>> {
        let mut request = Request::post("/v1/events/github.push.opened")
            .header("host", "localhost")
            .header("content-type", "application/octet-stream");
        if with_key {
            let number = NUMBER.fetch_add(1, Relaxed);
            request = request.header("idempotency-key", format!("bench-{number:020}"));
        }
        let body = Full::new(self.sample.body.clone());
        request.body(body).expect("the request is well-formed")
    }

    /// How long it takes to judge a call, by itself.
    fn judged(&self, signature: &str, times: u32) -> Duration {
        let mut headers = self.sample.headers.clone();
        let signature = signature.parse().expect("it is a header");
        headers.insert("x-hub-signature-256", signature);
        let call = Call {
            method: &self.sample.method,
            query: "",
            headers: &headers,
            body: &self.sample.body,
            url: None,
        };
        let (start, now) = (Instant::now(), clock::now());
        for _ in 0..times {
            black_box(self.source.receive(black_box(&call), now));
        }
        start.elapsed() / times
    }
}

/// 1 KiB as GitHub writes it.
fn event() -> Bytes {
    let mut text = r#"{"ref":"refs/heads/main","action":"opened","commits":["#.to_owned();
    let end = r#"],"forced":false}"#;
    let mut number = 0;
    while text.len() + 90 + end.len() < 1024 {
        let comma = if number == 0 { "" } else { "," };
        text += &format!(r#"{comma}{{"id":"{number:040x}","distinct":true,"added":["src/a.rs"]}}"#);
        number += 1;
    }
    let rest = 1024 - text.len() - end.len() - 2 - usize::from(number > 0);
    Bytes::from(format!("{text},\"{}\"{end}", "x".repeat(rest)))
}

struct Bench {
    daemon: Daemon,
    /// The public listener.
    inbound: SocketAddr,
    data: std::path::PathBuf,
    runtime: tokio::runtime::Runtime,
    signed: Arc<Signed>,
    report: Report,
    smoke: bool,
}

impl Bench {
    /// What verifying takes of a call, without the daemon.
    fn verifying(&self) {
        let (rounds, times) = if self.smoke { (1, 100) } else { (7, 20_000) };
        let right = self.signed.sample.headers["x-hub-signature-256"].to_str();
        let right = right.expect("it is a text");
        let wrong = format!("sha256={}", "0a".repeat(32));
        let pairs = (0..rounds)
            .map(|_| [&wrong, right].map(|one| self.signed.judged(one, times).as_secs_f64() * 1e6));
        let (value, limit) = median(pairs.map(|[wrong, right]| (wrong, right)).collect());
        self.report.row(&Row {
            measure: "judging a call with a bad signature".to_owned(),
            value,
            unit: "us",
            limit: Some(("a good one", limit)),
        });
    }

    fn rates(&self) {
        let limit = Load {
            calls: u64::MAX,
            span: Duration::from_millis(if self.smoke { 100 } else { 800 }),
            pace: Duration::ZERO,
        };
        let rate = |to, wanted, request: fn(&Signed) -> Request<Full<Bytes>>| {
            let (signed, from) = (self.signed.clone(), addresses(1, CLIENTS));
            let loading = load(to, &from, limit, wanted, move |_| request(&signed));
            let (called, took) = self.runtime.block_on(loading);
            called as f64 / took.as_secs_f64()
        };
        let (mut plain, mut keyed) = (Vec::new(), Vec::new());
        for _ in 0..if self.smoke { 1 } else { 9 } {
            let api = self.daemon.address;
            let without_key = rate(api, 202, |signed| signed.plain(false));
            let ours = rate(self.inbound, 200, |signed| signed.to("/in/github"));
            plain.push((ours, without_key));
            keyed.push((ours, rate(api, 202, |signed| signed.plain(true))));
        }
        for (name, pairs) in [
            ("plain accepts", plain),
            ("accepts with an idempotency key", keyed),
        ] {
            let (value, limit) = median(pairs);
            self.report.row(&Row {
                measure: format!("calls verified and durable, {CLIENTS} clients"),
                value,
                unit: "1/s",
                limit: Some((name, limit)),
            });
        }
    }

    fn cpu(&self) {
        let taken: fn(&Signed) -> Request<Full<Bytes>> = |signed| signed.to("/in/github");
        let bad = [
            (
                "a bad signature",
                401,
                (|signed: &Signed| signed.forged("/in/flooded")) as fn(&Signed) -> _,
            ),
            ("no such source", 404, |signed| signed.forged("/in/nobody")),
        ];
        for (name, wanted, request) in bad {
            let rounds = if self.smoke { 1 } else { 5 };
            let pairs =
                (0..rounds).map(|_| (self.cpu_of(wanted, request), self.cpu_of(200, taken)));
            let pairs = pairs.collect();
            std::thread::sleep(COUNTS_STORED);
            let before = written(&self.data);
            self.cpu_of(wanted, request);
            std::thread::sleep(COUNTS_STORED);
            assert!(
                written(&self.data) == before,
                "{name}: it was written to the log"
            );
            let (value, limit) = median(pairs);
            self.report.row(&Row {
                measure: format!("daemon's CPU for 10,000 calls, {name}"),
                value,
                unit: "s",
                limit: Some(("calls that are taken", limit)),
            });
        }
    }

    /// In seconds for 10,000.
    fn cpu_of(&self, wanted: u16, request: fn(&Signed) -> Request<Full<Bytes>>) -> f64 {
        let limit = Load {
            calls: if self.smoke { 500 } else { 20_000 },
            span: Duration::MAX,
            pace: UNDER_REFUSALS,
        };
        let (signed, from) = (self.signed.clone(), addresses(2, 2 * CLIENTS));
        let before = cpu::seconds(&self.daemon.child);
        let loading = load(self.inbound, &from, limit, wanted, move |_| {
            request(&signed)
        });
        let (called, _) = self.runtime.block_on(loading);
        (cpu::seconds(&self.daemon.child) - before) / called as f64 * 10_000.0
    }

    fn floods(&self) {
        let floods = [
            ("bad signatures, 1 address", "/in/flooded", 1),
            ("bad signatures, 64 addresses", "/in/flooded", 64),
            ("unknown sources, 1 address", "/in/nobody", 1),
            ("unknown sources, 64 addresses", "/in/nobody", 64),
        ];
        for (name, path, count) in floods {
            let (mut api, mut source, mut rates) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..if self.smoke { 1 } else { 5 } {
                let quiet = self.latencies();
                let flood = Flood::start(self.inbound, self.signed.clone(), path, count);
                let flooded = self.latencies();
                rates.push((flood.stop(), f64::from(FLOOD_PER_SECOND)));
                api.push((flooded.api, quiet.api));
                source.push((flooded.source, quiet.source));
            }
            for (measure, pairs) in [("API", api), ("other source", source)] {
                let (value, limit) = median(pairs);
                self.report.row(&Row {
                    measure: format!("p99 {measure}: {name}"),
                    value,
                    unit: "ms",
                    limit: Some(("without the flood", limit)),
                });
            }
            let (value, limit) = median(rates);
            self.report.row(&Row {
                measure: format!("  calls of that flood: {name}"),
                value,
                unit: "1/s",
                limit: Some(("meant", limit)),
            });
        }
    }

    /// Of accepts at 200 a second through the API and as many through another source.
    fn latencies(&self) -> Latencies {
        let span = Duration::from_millis(if self.smoke { 200 } else { 2_500 });
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let paced = |to, wanted, request: fn(&Signed) -> Request<Full<Bytes>>, first| {
            let signed = self.signed.clone();
            async move {
                let mut caller = Caller::open(local, to).await;
                let start = Instant::now() + Duration::from_micros(first);
                let mut took = Vec::new();
                let mut due = start;
                while due < start + span {
                    tokio::time::sleep_until(due.into()).await;
                    let sent = Instant::now();
                    assert_eq!(caller.call(request(&signed)).await, wanted);
                    took.push(sent.elapsed());
                    due += Duration::from_millis(10);
                }
                took
            }
        };
        self.runtime.block_on(async {
            let plain = |first| {
                paced(
                    self.daemon.address,
                    202,
                    |signed| signed.plain(false),
                    first,
                )
            };
            let ours = |first| paced(self.inbound, 200, |signed| signed.to("/in/other"), first);
            let (a, b, c, d) = tokio::join!(plain(0), plain(5_000), ours(2_500), ours(7_500));
            Latencies {
                api: p99([a, b].concat()),
                source: p99([c, d].concat()),
            }
        })
    }
}

/// p99 in milliseconds.
struct Latencies {
    api: f64,
    source: f64,
}

fn p99(mut values: Vec<Duration>) -> f64 {
    values.sort();
    let at = (values.len() * 99 / 100).min(values.len() - 1);
    values[at].as_secs_f64() * 1e3
}

/// Bad calls at a steady rate, on a thread of their own.
struct Flood {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<f64>,
}

impl Flood {
    /// From so many addresses. Returns when they come.
    fn start(to: SocketAddr, signed: Arc<Signed>, path: &'static str, count: u8) -> Flood {
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let (tell, begun) = std::sync::mpsc::channel();
        let calling = async move {
            let connections = FLOOD_CONNECTIONS.max(count);
            let from = addresses(3, count);
            let pace = Duration::from_secs(1) * u32::from(connections) / FLOOD_PER_SECOND;
            let mut callers = Vec::new();
            for from in from.iter().cycle().take(usize::from(connections)) {
                callers.push(Caller::open(*from, to).await);
            }
            // The bench waits for it.
            let _ = tell.send(());
            let start = Instant::now();
            let calling = callers.into_iter().enumerate().map(|(n, mut caller)| {
                let (signed, stop) = (signed.clone(), stop.clone());
                let first = pace * n as u32 / u32::from(connections);
                tokio::spawn(async move {
                    let mut called = 0_u32;
                    while !stop.load(Relaxed) {
                        let due = start + first + pace * called;
                        tokio::time::sleep_until(due.into()).await;
                        let status = caller.call(signed.forged(path)).await;
                        assert!(matches!(status, 401 | 404 | 429), "{status}");
                        called += 1;
                    }
                    called
                })
            });
            let mut called = 0;
            for calling in calling.collect::<Vec<_>>() {
                called += calling.await.expect("no call failed");
            }
            f64::from(called) / start.elapsed().as_secs_f64()
        };
        let thread = std::thread::spawn(move || runtime::current_thread().block_on(calling));
        begun.recv().expect("it runs");
        Flood { over, thread }
    }

    /// How many calls a second it made.
    fn stop(self) -> f64 {
        self.over.store(true, Relaxed);
        self.thread.join().expect("it ends")
    }
}

/// Addresses of loopback, another network for each use.
fn addresses(network: u8, count: u8) -> Vec<IpAddr> {
    let address = |host| IpAddr::V4(Ipv4Addr::new(127, 0, network, host));
    (1..=count).map(address).collect()
}

/// The pair with the median ratio.
fn median(mut pairs: Vec<(f64, f64)>) -> (f64, f64) {
    pairs.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    pairs[pairs.len() / 2]
}

/// The log as it is, byte for byte: its segments are as long as they will be from the start.
fn written(data: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let files = std::fs::read_dir(data.join("log")).expect("there is a log");
    let mut files: Vec<_> = files
        .map(|file| {
            let file = file.expect("it can be listed");
            (
                file.file_name(),
                std::fs::read(file.path()).expect("it can be read"),
            )
        })
        .collect();
    files.sort();
    files
}
