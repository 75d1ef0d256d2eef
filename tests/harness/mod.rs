//! Drives the real binary over its real interfaces: a daemon in its own directory, a
//! small HTTP client, and a receiver that plays a script.
//!
//! Everything here blocks and waits for events, each wait with a deadline. Nothing is
//! shared between tests: no port, no directory, no order. It never imports the library:
//! what it holds true is what a user would see.
//!
//! `Home` is a directory that outlives daemons, so that one can be killed and started
//! again on the same data:
//!
//! ```ignore
//! let receiver = Receiver::answering(|_| Answer::status(200));
//! let home = Home::new();
//! let daemon = home.start(&endpoint("orders", &receiver.url("/hook"), ""));
//! let event = daemon.send("order.created", r#"{"id": 7}"#);
//! daemon.wait_status(&event, "orders", "delivered");
//! daemon.kill();
//! ```

// Each test binary takes what it needs of this; what one leaves unused another uses.
#![allow(dead_code, unused_imports)]

pub mod daemon;
pub mod http;
pub mod manager;
pub mod namespaces;
pub mod process;
pub mod receiver;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use daemon::*;
pub use receiver::*;

/// How long anything may take before a test calls it broken. Generous: the machine may be
/// busy with other tests. Nobody waits that long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks `what` again until it gives something. For states that can only be read.
///
/// # Panics
/// When `PATIENCE` runs out, with what `stuck` says.
pub fn wait_for<T>(mut what: impl FnMut() -> Option<T>, stuck: impl FnOnce() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(Instant::now() < deadline, "{}", stuck());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How late a machine wakes a thread that is not busy.
const LATE: Duration = Duration::from_millis(10);

/// Looks at something that a machine which wakes threads late can spoil. If the machine was late during a
/// look that found something wrong, it looks again, at most five times in all. `look` can ask how late the
/// machine was.
///
/// # Panics
/// With what was wrong.
#[track_caller]
pub fn unless_late(mut look: impl FnMut(&Lateness) -> Result<(), String>) {
    let mut wrong = Vec::new();
    loop {
        let lateness = Lateness::measure();
        let Err(what) = look(&lateness) else { return };
        let late = lateness.most();
        wrong.push(format!("{what}, with threads up to {late:?} late"));
        assert!(late > LATE && wrong.len() < 5, "{wrong:#?}");
    }
}

/// Measures how late the machine wakes a thread that only sleeps.
pub struct Lateness {
    most_ns: Arc<AtomicU64>,
    /// The thread ends with it.
    _until: std::sync::mpsc::Sender<()>,
}

impl Lateness {
    fn measure() -> Lateness {
        const STEP: Duration = Duration::from_millis(2);
        let most_ns = Arc::new(AtomicU64::new(0));
        let (until, ended) = std::sync::mpsc::channel::<()>();
        let most = most_ns.clone();
        std::thread::spawn(move || {
            loop {
                let begin = Instant::now();
                let waited = ended.recv_timeout(STEP);
                let late = begin.elapsed().saturating_sub(STEP);
                most.fetch_max(late.as_nanos() as u64, Ordering::Relaxed);
                if waited != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Lateness {
            most_ns,
            _until: until,
        }
    }

    /// The most since it began.
    pub fn most(&self) -> Duration {
        Duration::from_nanos(self.most_ns.load(Ordering::Relaxed))
    }
}

/// Waits until the wall clock shows a later millisecond than now: what happens next is
/// told apart from what happened before.
pub fn next_millisecond() {
    let millis = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.expect("it is past 1970").as_millis()
    };
    let now = millis();
    wait_for(
        || (millis() > now).then_some(()),
        || "the clock stands still".to_owned(),
    );
}

/// Whether a file under `dir` holds these bytes.
pub fn is_on_disk(dir: &Path, needle: &[u8]) -> bool {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            // Files come and go.
            let bytes = std::fs::read(&path).unwrap_or_default();
            if memchr::memmem::find(&bytes, needle).is_some() {
                return true;
            }
        }
    }
    false
}
