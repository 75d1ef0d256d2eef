//! Large and small bodies to one endpoint, in bytes a second.
//!
//! Beside it, in turns in the same run, the smaller of what the disk makes durable (appends of
//! 4 MiB with `fdatasync`) and what a bare reqwest loop posts to the same sink; and what is left if a
//! body is posted by such a loop twice, as it comes in and goes out, and appended in between.

#[path = "rig/bare.rs"]
mod bare;
#[path = "rig/daemon.rs"]
mod daemon;
#[path = "rig/disk.rs"]
mod disk;
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
use std::path::Path;
use std::time::Duration;

use disk::Disk;
use pipeline::Sink;
use report::{Asked, Report, Row};

const ROUNDS: u64 = 3;
const MIB: f64 = 1024.0 * 1024.0;
const APPEND: usize = 4 << 20;

fn main() {
    let asked = Asked::read();
    let report = Report::new("bodies", asked);
    let sink = Sink::start();
    for (name, size, events) in [
        ("1 KiB", 1 << 10, 20_000),
        ("64 KiB", 64 << 10, 2_000),
        ("900 KB", 900_000, 200),
    ] {
        let events = if asked.smoke { events / 100 } else { events };
        let (mut bare, mut ours) = (Duration::ZERO, Duration::ZERO);
        let (mut synced, mut appends) = (Duration::ZERO, 0);
        let rounds = asked.rounds(ROUNDS);
        for _ in 0..rounds {
            let home = daemon::home();
            let bytes = size * usize::try_from(events).unwrap_or_default();
            synced += durable(home.path(), bytes, &mut appends);
            bare += sink.bare(events, size);
            let daemon = daemon::start(home.path(), &sink.endpoint("sink"));
            sink.deliver(&daemon, 1 + events / 10, 1, size);
            ours += sink.deliver(&daemon, events, 1, size);
        }
        let posted = (events * rounds) as f64 * size as f64 / MIB;
        let (disk, bare) = (
            f64::from(appends) * APPEND as f64 / MIB / synced.as_secs_f64(),
            posted / bare.as_secs_f64(),
        );
        let limit = match disk < bare {
            true => ("disk", disk),
            false => ("bare reqwest loop", bare),
        };
        let delivered = posted / ours.as_secs_f64();
        // What is taken, stored and sent goes over loopback twice, on the same cores.
        let twice = 1.0 / (2.0 / bare + 1.0 / disk);
        for (measure, limit) in [
            (format!("bodies of {name} delivered"), limit),
            (
                format!("the same, {name}"),
                ("two bare posts and an append", twice),
            ),
        ] {
            report.row(&Row {
                measure,
                value: delivered,
                unit: "MiB/s",
                limit: Some(limit),
            });
        }
    }
}

/// How long appends of that many bytes together take.
fn durable(home: &Path, bytes: usize, appends: &mut u32) -> Duration {
    let (mut disk, data) = (Disk::new(home), vec![b'x'; APPEND]);
    let mut took = Duration::ZERO;
    for _ in 0..bytes.div_ceil(APPEND) {
        took += disk.append(&data);
        *appends += 1;
    }
    took
}
