//! Events of 1 KiB to one endpoint over kept connections without TLS, with one thread for
//! attempts, with two, and with as many as the daemon takes by itself.
//!
//! Beside it, in turns in the same run, a bare reqwest loop on one thread.

#[path = "rig/bare.rs"]
mod bare;
#[path = "rig/cpu.rs"]
mod cpu;
#[path = "rig/daemon.rs"]
mod daemon;
#[path = "rig/load.rs"]
mod load;
#[path = "rig/pipeline.rs"]
mod pipeline;
#[path = "rig/report.rs"]
mod report;
#[path = "rig/runtime.rs"]
mod runtime;
#[path = "rig/server.rs"]
mod server;

use std::time::Duration;

use pipeline::Sink;
use report::{Asked, Report, Row};

const ROUNDS: u64 = 3;
const SIZE: usize = 1024;

fn main() {
    let asked = Asked::read();
    let events: u64 = if asked.smoke { 500 } else { 30_000 };
    let report = Report::new("threads", asked);
    let sink = Sink::start();
    let mut bare = Duration::ZERO;
    let mut ours = [1, 2, 0].map(|threads| (threads, Duration::ZERO, 0.0));
    let rounds = asked.rounds(ROUNDS);
    for _ in 0..rounds {
        bare += sink.bare(events, SIZE);
        for (threads, took, cpu) in &mut ours {
            let home = daemon::home();
            let config = format!("[delivery]\nthreads = {threads}\n{}", sink.endpoint("sink"));
            let daemon = daemon::start(home.path(), &config);
            sink.deliver(&daemon, events / 10, 1, SIZE);
            let before = cpu::seconds(&daemon.child);
            *took += sink.deliver(&daemon, events, 1, SIZE);
            *cpu += cpu::seconds(&daemon.child) - before;
        }
    }
    let all = (events * rounds) as f64;
    for (threads, took, cpu) in ours {
        let name = match threads {
            0 => "automatic".to_owned(),
            number => format!("threads = {number}"),
        };
        report.row(&Row {
            measure: format!("events delivered, {name}"),
            value: all / took.as_secs_f64(),
            unit: "1/s",
            limit: Some(("bare reqwest loop", all / bare.as_secs_f64())),
        });
        report.row(&Row {
            measure: format!("CPU for 10,000 delivered, {name}"),
            value: cpu / all * 10_000.0,
            unit: "s",
            limit: None,
        });
    }
}
