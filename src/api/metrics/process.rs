//! The process and its connections.

use std::fmt;

use super::exposition::Exposition;
use crate::app::{Figures, Status};

pub(super) fn write(out: &mut Exposition<'_>, status: &Status, figures: &Figures) -> fmt::Result {
    let process = &figures.process;
    if let Some(cpu) = process.cpu {
        let help = "Total user and system CPU time spent in seconds.";
        out.counter("process_cpu_seconds_total", help, cpu)?;
    }
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            process.resident_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            process.virtual_bytes,
        ),
        (
            "process_open_fds",
            "Number of open file descriptors.",
            process.open_files,
        ),
        (
            "process_max_fds",
            "Maximum number of open file descriptors.",
            process.most_files,
        ),
        (
            "process_threads",
            "Number of OS threads in the process.",
            process.threads,
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            out.gauge(name, help, value)?;
        }
    }
    if let Some(started) = figures.started_at {
        out.gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            started.as_millis() as f64 / 1000.0,
        )?;
    }
    out.gauges(
        "outboxd_connections_open",
        "Connections of clients and providers that are open, by listener.",
        "listener",
        figures.connections,
    )?;
    out.gauge(
        "outboxd_outgoing_connections_kept",
        "Connections to receivers that are kept: idle ones of HTTP/1.1, and all of HTTP/2.",
        status.dispatched.transport.kept,
    )
}
