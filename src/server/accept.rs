//! Accepting: connections, limited in number, and drained at shutdown.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::stall::WriteTimeout;
use crate::domain::repeats::Repeats;

const LEAST_CONNECTIONS: usize = 8;
/// Between two bytes that the client takes of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// From a stop, for the requests that clients of open connections have already sent.
pub const LAST_CALL: Duration = Duration::from_millis(500);
/// Pause after an `accept` that failed for want of something.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A socket that accepts connections.
pub trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection. Nothing is lost when the future is dropped.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Only costs time if it fails.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

/// How many connections are open. Clones share.
#[derive(Clone, Debug, Default)]
pub struct OpenConnections(Arc<AtomicUsize>);

impl OpenConnections {
    pub fn count(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Counts one more until the returned value is dropped.
    fn enter(&self) -> Entered {
        self.0.fetch_add(1, Relaxed);
        Entered(self.0.clone())
    }
}

struct Entered(Arc<AtomicUsize>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How many connections may be open at once; more wait in the kernel's queue. Clones share.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    open: OpenConnections,
}

impl Slots {
    /// At most `most`, and one for each `share` files that the process may open. They are counted
    /// in `open`.
    pub fn new(most: usize, share: usize, open: OpenConnections) -> Slots {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let slots = (files / share).clamp(LEAST_CONNECTIONS, most);
        Slots {
            free: Arc::new(Semaphore::new(slots)),
            open,
        }
    }
}

/// Whether the server is to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Whether [`wait`](Stop::wait) would return at once.
    pub fn is_called(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Resolves when the server is stopped, or its owner is gone.
    pub async fn wait(&mut self) {
        drop(self.0.wait_for(|stopped| *stopped).await);
    }

    /// Resolves [`LAST_CALL`] after that.
    pub async fn last_call(&mut self) {
        self.wait().await;
        tokio::time::sleep(LAST_CALL).await;
    }
}

/// Listeners that are served, and stopped together.
#[derive(Debug)]
pub struct Serving {
    stop: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

impl Serving {
    /// Nothing is served yet.
    pub fn new() -> Serving {
        Serving {
            stop: watch::Sender::new(false),
            accepting: JoinSet::new(),
        }
    }

    /// Serves each connection of `listener` in a task of its own, within `slots`. A client that
    /// takes no byte of an answer for 30 s is cut off.
    pub fn accept<L, C, F>(&mut self, listener: L, slots: &Slots, connection: C)
    where
        L: Listener,
        C: Fn(WriteTimeout<L::Stream>, Stop) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let accepting = accept_from(listener, slots.clone(), self.stop(), connection);
        self.accepting.spawn(accepting);
    }

    /// Tells when it is stopped.
    pub(super) fn stop(&self) -> Stop {
        Stop(self.stop.subscribe())
    }

    /// Goes on until `shutdown` is done; then accepts no connections, gives those that are open
    /// `drain` to end, and closes the rest.
    pub async fn until(mut self, shutdown: impl Future<Output = ()>, drain: Duration) {
        shutdown.await;
        self.stop.send_replace(true);
        let all_gone = async { while self.accepting.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, all_gone).await.is_err() {
            tracing::warn!(?drain, "requests still under way are cut off");
        }
    }
}

impl Default for Serving {
    fn default() -> Self {
        Serving::new()
    }
}

/// Accepts connections until stopped; returns when the last one has ended.
async fn accept_from<L, C, F>(listener: L, slots: Slots, stop: Stop, connection: C)
where
    L: Listener,
    C: Fn(WriteTimeout<L::Stream>, Stop) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut stopped = stop.clone();
    let (began, mut failures) = (Instant::now(), Repeats::default());
    loop {
        let next = async {
            // The semaphore is never closed.
            let slot = slots.free.clone().acquire_owned().await.ok();
            (listener.next().await, slot)
        };
        tokio::select! {
            biased;
            () = stopped.wait() => break,
            Some(_) = connections.join_next() => {}
            (accepted, slot) = next => match accepted {
                Ok(stream) => {
                    let stream = WriteTimeout::new(stream, WRITE_TIMEOUT);
                    let served = connection(stream, stop.clone());
                    let entered = slots.open.enter();
                    connections.spawn(async move {
                        served.await;
                        drop((slot, entered));
                    });
                }
                Err(error) if is_about_one_client(&error) => {}
                Err(error) => {
                    if let Some(times) = failures.happened(began.elapsed()) {
                        tracing::warn!(%error, times, "cannot accept a connection; tried again");
                    }
                    drop(slot);
                    let _ = tokio::time::timeout(BACK_OFF, stopped.wait()).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The client went away while it was being accepted: no reason to wait.
fn is_about_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}
