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

/// Looks up to five times at something that a machine which is late now and then can spoil: what is wrong
/// is wrong each time.
///
/// # Panics
/// With what was wrong, if it was each time.
#[track_caller]
pub fn one_of_five(mut look: impl FnMut() -> Result<(), String>) {
    let mut wrong = Vec::new();
    while let Err(what) = look() {
        wrong.push(what);
        assert!(wrong.len() < 5, "{wrong:?}");
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
