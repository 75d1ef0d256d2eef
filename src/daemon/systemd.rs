//! Messages to the service manager (sd_notify(3)).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(super) use sd_notify::NotifyState;

use crate::domain::repeats::Repeats;

/// How long the service manager may take to receive a message.
const DEADLINE: Duration = Duration::from_secs(1);
/// Failures, from the first one.
static FAILURES: Mutex<Option<(Instant, Repeats)>> = Mutex::new(None);

/// Whether a service manager asked for messages.
pub(super) fn is_there() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some_and(|name| !name.is_empty())
}

/// Sends a message to the service manager, if there is one. A manager that does not read does not
/// delay the daemon.
pub(super) async fn tell(states: &[NotifyState<'_>]) {
    if !is_there() {
        return;
    }
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    let told = tokio::task::spawn_blocking(move || send(message.as_bytes())).await;
    let error = match told {
        Ok(Ok(())) => return,
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            "it does not read its socket".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    if let Some(times) = failed() {
        tracing::warn!(error, times, "the service manager could not be notified");
    }
}

/// Counts a failure: how many there were since the last one that was logged, if one is to be
/// logged now.
fn failed() -> Option<u64> {
    // The count is consistent even if a thread panicked while it held the lock.
    let mut failures = FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
    let (first, repeats) = failures.get_or_insert((Instant::now(), Repeats::default()));
    repeats.happened(first.elapsed())
}

fn send(message: &[u8]) -> io::Result<()> {
    let name = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(DEADLINE))?;
    socket.connect_addr(&address(&name)?)?;
    let sent = socket.send(message)?;
    match sent == message.len() {
        true => Ok(()),
        false => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// A path, or after `@` a name in the abstract namespace, which the crate does not know.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

/// That a reload begins; `READY=1` says that it has ended.
pub(super) fn reloading() -> Vec<NotifyState<'static>> {
    let now = NotifyState::monotonic_usec_now();
    [NotifyState::Reloading].into_iter().chain(now).collect()
}
