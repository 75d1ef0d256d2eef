//! What a target may use: an allocator that counts, and a bound on the time and memory of a call.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        taken(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(memory, layout, size) }
    }
}

fn taken(bytes: usize) {
    PEAK.fetch_max(NOW.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

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
        let before = NOW.load(Relaxed);
        PEAK.store(before, Relaxed);
        let start = cpu();
        let found = call();
        let took = cpu().saturating_sub(start);
        let peak = PEAK.load(Relaxed).saturating_sub(before);
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
