//! What the kernel says of a running daemon.

use std::time::{Duration, Instant};

use super::Daemon;

impl Daemon {
    fn proc_file(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.pid());
        std::fs::read_to_string(path).expect("it runs")
    }

    /// A number of `/proc/PID/NAME` that stands behind `label`.
    fn proc_number(&self, name: &str, label: &str) -> u64 {
        let text = self.proc_file(name);
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {label} in:\n{text}"))
    }

    /// The most memory that it ever had, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.proc_number("status", "VmHWM:") * 1024
    }

    /// How many bytes it wrote, to files and sockets.
    pub fn written(&self) -> u64 {
        self.proc_number("io", "wchar:")
    }

    /// The CPU time that it has used.
    pub fn cpu_time(&self) -> Duration {
        let text = self.proc_file("stat");
        // The name, in brackets, may hold anything.
        let (_, rest) = text.rsplit_once(')').expect("a name in brackets");
        let ticks: u64 = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("a number of ticks"))
            .sum();
        // A tick is 10 ms for user space on all of Linux.
        Duration::from_millis(ticks * 10)
    }

    /// How much of one core it uses while `wait` waits, from 0 to the number of cores.
    pub fn cpu_share(&self, wait: impl FnOnce()) -> f64 {
        let (began, before) = (Instant::now(), self.cpu_time());
        wait();
        let used = self.cpu_time() - before;
        used.as_secs_f64() / began.elapsed().as_secs_f64()
    }
}
