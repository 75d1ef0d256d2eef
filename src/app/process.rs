//! What the process uses, from `/proc/self`.

use std::time::Duration;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, page_size, ticks_per_second};
use rustix::time::{ClockId, clock_gettime};

use crate::clock;
use crate::domain::time::Timestamp;

/// What the process uses. `None` where the system does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessFigures {
    /// User and system time, in seconds.
    pub cpu: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub threads: Option<u64>,
    pub open_files: Option<u64>,
    /// The soft limit; `None` without a limit too.
    pub most_files: Option<u64>,
}

impl ProcessFigures {
    /// Reads the figures: a few system calls that never wait for a disk.
    pub fn read() -> ProcessFigures {
        let Ok(process) = Process::myself() else {
            return ProcessFigures::default();
        };
        let stat = process.stat().ok();
        let stat = stat.as_ref();
        let ticks = ticks_per_second().max(1) as f64;
        let limit = |limits: procfs::process::Limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(most) => Some(most),
            LimitValue::Unlimited => None,
        };
        ProcessFigures {
            cpu: stat.map(|stat| stat.utime.saturating_add(stat.stime) as f64 / ticks),
            resident_bytes: stat.map(|stat| stat.rss.saturating_mul(page_size())),
            virtual_bytes: stat.map(|stat| stat.vsize),
            threads: stat.and_then(|stat| u64::try_from(stat.num_threads).ok()),
            open_files: process.fd_count().ok().map(|files| files as u64),
            most_files: process.limits().ok().and_then(limit),
        }
    }
}

/// When the process started. From `/proc/self/stat` and the time since the boot, as `/proc/stat`
/// is hidden in many sandboxes.
pub fn started_at() -> Option<Timestamp> {
    let started = started_after_boot().ok()?;
    let boot = clock_gettime(ClockId::Boottime);
    let since_boot = Duration::new(
        u64::try_from(boot.tv_sec).ok()?,
        u32::try_from(boot.tv_nsec).ok()?,
    );
    Some(clock::now().saturating_sub(since_boot.saturating_sub(started)))
}

fn started_after_boot() -> ProcResult<Duration> {
    let ticks = Process::myself()?.stat()?.starttime;
    let millis = ticks.saturating_mul(1000) / ticks_per_second().max(1);
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_this_process_are_plausible() {
        let figures = ProcessFigures::read();
        assert!(figures.resident_bytes.unwrap() > 1 << 20, "{figures:?}");
        assert!(figures.virtual_bytes > figures.resident_bytes);
        assert!(figures.threads.unwrap() >= 1 && figures.cpu.unwrap() >= 0.0);
        assert!(figures.open_files.unwrap() >= 3 && figures.most_files > figures.open_files);
        let age = clock::now().since(started_at().unwrap());
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }
}
