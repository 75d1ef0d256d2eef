//! What a target may use: an allocator that counts, and a bound on the time and memory of a call.

pub mod inbound;

use std::time::Duration;

use outboxd::domain::template::{Limits, Names, Output, Template};
use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most that a call may take. Code that is instrumented is several times slower than a release
/// build, so `OUTBOXD_FUZZ_MS` sets another time.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub cpu: Duration,
    pub bytes: usize,
}

impl Bound {
    /// That of a template or a filter: ten milliseconds of a release build, and 16 MiB.
    pub fn new() -> Bound {
        let asked = std::env::var("OUTBOXD_FUZZ_MS").ok();
        let millis = asked.and_then(|text| text.parse().ok()).unwrap_or(100);
        Bound {
            cpu: Duration::from_millis(millis),
            bytes: 16 << 20,
        }
    }

    /// Runs `call`, and panics if it takes more. The time is that of this thread's CPU.
    pub fn hold<T>(self, what: &str, call: impl FnOnce() -> T) -> T {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let start = cpu();
        let found = call();
        let took = cpu().saturating_sub(start);
        let peak = MEMORY.peak_usage().saturating_sub(before);
        assert!(took <= self.cpu, "{what} took {took:?}");
        assert!(peak <= self.bytes, "{what} took {peak} bytes");
        found
    }
}

impl Default for Bound {
    fn default() -> Bound {
        Bound::new()
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Reads a template and renders it, each within its bounds.
pub fn render_within_bounds(source: &str, names: &Names, outputs: &[Output]) {
    let bound = Bound::new();
    let limits = Limits {
        steps: Limits::STEPS,
        output: 1 << 20,
    };
    for output in outputs {
        let Ok(template) = bound.hold("reading", || Template::parse(source, *output)) else {
            continue;
        };
        match bound.hold(source, || template.render(names, limits)) {
            Ok(text) => assert!(text.len() <= limits.output),
            Err(fault) => assert!(fault.message.len() <= 300),
        }
    }
}

/// As a service might want it.
pub fn escape(text: &str, out: &mut String) {
    out.push_str(&text.replace('*', "\\*"));
}
