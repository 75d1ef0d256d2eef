//! Events of 1 KiB that go to many endpoints: to 10, and to 10,000.
//!
//! Beside it, in turns in the same run, a bare reqwest loop that posts as many bodies.

#[path = "rig/bare.rs"]
mod bare;
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

const ROUNDS: u64 = 2;
const SIZE: usize = 1024;

fn main() {
    let asked = Asked::read();
    let report = Report::new("fanout", asked);
    let sink = Sink::start();
    for (endpoints, events) in [(10, 5_000), (10_000, 5)] {
        let (endpoints, events) = match asked.smoke {
            true => (10, 20),
            false => (endpoints, events),
        };
        let config: String = (0..endpoints)
            .map(|n| sink.endpoint(&format!("e{n}")))
            .collect();
        let (mut bare, mut ours) = (Duration::ZERO, Duration::ZERO);
        let rounds = asked.rounds(ROUNDS);
        for _ in 0..rounds {
            bare += sink.bare(events * endpoints, SIZE);
            let home = daemon::home();
            let daemon = daemon::start(home.path(), &config);
            sink.deliver(&daemon, 1, endpoints, SIZE);
            ours += sink.deliver(&daemon, events, endpoints, SIZE);
        }
        let all = (events * endpoints * rounds) as f64;
        report.row(&Row {
            measure: format!("deliveries, each event to {endpoints}"),
            value: all / ours.as_secs_f64(),
            unit: "1/s",
            limit: Some(("bare reqwest loop", all / bare.as_secs_f64())),
        });
    }
}
