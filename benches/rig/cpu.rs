//! CPU time of another process.

use std::process::Child;

/// The kernel's unit of CPU time in /proc (proc_pid_stat(5)): USER_HZ, 100 on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process so far, in seconds.
pub fn seconds(process: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id()));
    let stat = stat.expect("it runs");
    // The name, in brackets, may hold spaces. After it the state is field 3.
    let (_, fields) = stat.rsplit_once(')').expect("there is a name");
    let ticks = |field: usize| -> f64 {
        let text = fields.split_whitespace().nth(field - 3);
        text.and_then(|text| text.parse().ok()).expect("a number")
    };
    (ticks(14) + ticks(15)) / TICKS_PER_SECOND
}
