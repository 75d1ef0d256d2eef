//! A connection, and what decides whether it takes one more request.
//!
//! A connection of HTTP/1.1 carries one request at a time and belongs to its attempt meanwhile. One
//! of HTTP/2 is shared: it takes as many requests as its peer allows, as long as it is trusted.
//! It is not once an attempt on it timed out, broke off or was refused by the protocol; and a
//! connection on which requests wait and nothing was answered for [`QUIET`] gets no more of them
//! until something is: its peer may have stopped. What is under way on it goes on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::TrySendError;
use hyper::client::conn::{http1, http2};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Stands for the number of streams before the peer's SETTINGS came (RFC 9113, 5.1.2). Until then
/// a connection carries one request.
pub(super) const UNSETTLED: usize = u32::MAX as usize - 1;
/// Requests on one connection, whatever its peer allows.
pub(super) const MAX_STREAMS: usize = 256;
/// A connection on which requests wait is passed over when nothing was answered for so long.
pub(super) const QUIET: Duration = Duration::from_secs(2);

/// How long a connection that is given up has to end in good order.
const GOODBYE: Duration = Duration::from_secs(1);

/// A request as both versions take it.
pub(super) type Outbound = Request<Outgoing>;

/// The body of a request, which can tell whether all of it was taken.
pub(super) struct Outgoing {
    body: Full<Bytes>,
    taken: Option<Arc<AtomicBool>>,
}

impl Outgoing {
    pub(super) fn new(body: Bytes) -> Outgoing {
        Outgoing {
            body: Full::new(body),
            taken: None,
        }
    }

    /// Whether it was taken to its end, for as long as the answer is asked.
    fn watch(&mut self) -> Arc<AtomicBool> {
        self.taken.get_or_insert_default().clone()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(poller)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(taken) = &self.taken {
            taken.store(true, Relaxed);
        }
    }
}

/// Why a request got no answer.
#[derive(Debug)]
pub(super) struct SendFault {
    pub(super) error: hyper::Error,
    /// Nothing of the request was sent.
    pub(super) is_unsent: bool,
}

impl From<TrySendError<Outbound>> for SendFault {
    fn from(mut error: TrySendError<Outbound>) -> Self {
        SendFault {
            is_unsent: error.take_message().is_some(),
            error: error.into_error(),
        }
    }
}

/// A connection of HTTP/1.1.
pub(super) struct Http1 {
    sender: http1::SendRequest<Outgoing>,
    pub(super) address: Option<SocketAddr>,
    pub(super) opened: Instant,
}

impl Http1 {
    pub(super) fn new(sender: http1::SendRequest<Outgoing>, address: Option<SocketAddr>) -> Self {
        Http1 {
            sender,
            address,
            opened: Instant::now(),
        }
    }

    pub(super) async fn send(
        &mut self,
        request: Outbound,
    ) -> Result<Response<Incoming>, SendFault> {
        Ok(self.sender.try_send_request(request).await?)
    }

    /// Whether the next request can be sent: the exchange so far has come to its end.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits for the end of the exchange so far; whether the connection is still of use then.
    pub(super) async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

/// A connection of HTTP/2.
pub(super) struct Http2 {
    sender: http2::SendRequest<Outgoing>,
    pub(super) address: Option<SocketAddr>,
    opened: Instant,
    limit: Arc<Limit>,
    is_trusted: AtomicBool,
    traffic: Mutex<Traffic>,
    running: Running,
}

/// The tasks of a connection of HTTP/2. A peer that answers without ever taking the body keeps one
/// of them, and with it the connection, for as long as it likes.
#[derive(Clone, Default)]
pub(super) struct Running(Arc<Mutex<Vec<AbortHandle>>>);

impl Running {
    pub(super) fn add(&self, task: AbortHandle) {
        let mut tasks = lock(&self.0);
        if tasks.len() >= MAX_STREAMS {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task);
    }
}

impl Drop for Http2 {
    /// No attempt uses it any more: it says goodbye, and is closed.
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut *lock(&self.running.0));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(GOODBYE).await;
                tasks.iter().for_each(AbortHandle::abort);
            });
        }
    }
}

/// How many requests the peer takes at once, as the connection's tasks tell it.
#[derive(Debug)]
pub(super) struct Limit {
    streams: AtomicUsize,
    /// Told when the limit changes or the connection ends.
    changed: Mutex<Option<Arc<Notify>>>,
    /// Of the task that can read the limit, until it has one.
    reader: Mutex<Option<Waker>>,
}

impl Default for Limit {
    fn default() -> Self {
        Limit {
            streams: AtomicUsize::new(UNSETTLED),
            changed: Mutex::default(),
            reader: Mutex::default(),
        }
    }
}

struct Traffic {
    under_way: usize,
    /// When something was last answered or the first of those under way was sent; without any,
    /// when the last one ended.
    since: Instant,
}

impl Limit {
    /// The task of `reader` reads the limit when it is woken.
    pub(super) fn read_by(&self, reader: &Waker) {
        if self.streams.load(Relaxed) == UNSETTLED {
            *lock(&self.reader) = Some(reader.clone());
        }
    }

    /// Something came from the peer, or went to it.
    pub(super) fn has_moved(&self) {
        if self.streams.load(Relaxed) == UNSETTLED
            && let Some(reader) = lock(&self.reader).take()
        {
            reader.wake();
        }
    }

    pub(super) fn set(&self, streams: usize) {
        if self.streams.swap(streams, Relaxed) != streams {
            self.tell();
        }
    }

    pub(super) fn ended(&self) {
        self.streams.store(0, Relaxed);
        self.tell();
    }

    fn tell(&self) {
        if let Some(changed) = lock(&self.changed).as_ref() {
            changed.notify_waiters();
        }
    }
}

impl Http2 {
    pub(super) fn new(
        sender: http2::SendRequest<Outgoing>,
        address: Option<SocketAddr>,
        limit: Arc<Limit>,
        running: Running,
    ) -> Self {
        let now = Instant::now();
        Http2 {
            sender,
            address,
            opened: now,
            limit,
            is_trusted: AtomicBool::new(true),
            traffic: Mutex::new(Traffic {
                under_way: 0,
                since: now,
            }),
            running,
        }
    }

    /// Has `changed` told when the limit changes or the connection ends.
    pub(super) fn tell(&self, changed: Arc<Notify>) {
        *lock(&self.limit.changed) = Some(changed);
    }

    /// Takes a place for one request, which [`leave`](Self::leave) gives back.
    pub(super) fn enter(&self, now: Instant) -> bool {
        let limit = self.streams().unwrap_or(1);
        let mut traffic = self.traffic();
        if traffic.under_way >= limit || traffic.is_quiet(now) {
            return false;
        }
        if traffic.under_way == 0 {
            traffic.since = now;
        }
        traffic.under_way += 1;
        true
    }

    pub(super) fn leave(&self) {
        let mut traffic = self.traffic();
        traffic.under_way = traffic.under_way.saturating_sub(1);
        if traffic.under_way == 0 {
            traffic.since = Instant::now();
        }
    }

    /// How many requests it may carry; `None` while the peer has not said.
    pub(super) fn streams(&self) -> Option<usize> {
        let streams = self.limit.streams.load(Relaxed);
        (streams != UNSETTLED).then_some(streams.min(MAX_STREAMS))
    }

    /// Whether it may become free for more requests soon, as its peer says how many it takes.
    pub(super) fn is_promising(&self, now: Instant) -> bool {
        self.streams().is_none() && !self.traffic().is_quiet(now)
    }

    /// Whether requests may still be sent on it, now or later.
    pub(super) fn is_of_use(&self, now: Instant, max_age: Duration) -> bool {
        self.is_trusted.load(Relaxed)
            && !self.sender.is_closed()
            && now.saturating_duration_since(self.opened) < max_age
    }

    /// For how long nothing has been under way.
    pub(super) fn idle_for(&self, now: Instant) -> Option<Duration> {
        let traffic = self.traffic();
        (traffic.under_way == 0).then(|| now.saturating_duration_since(traffic.since))
    }

    pub(super) fn distrust(&self) {
        self.is_trusted.store(false, Relaxed);
    }

    /// With the answer comes whether the request's body was taken to its end, to be asked later.
    pub(super) async fn send(
        &self,
        mut request: Outbound,
    ) -> Result<(Response<Incoming>, Arc<AtomicBool>), SendFault> {
        let taken = request.body_mut().watch();
        // Clones share the connection.
        let mut sender = self.sender.clone();
        let answer = sender.try_send_request(request).await?;
        self.traffic().since = Instant::now();
        Ok((answer, taken))
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        lock(&self.traffic)
    }
}

impl Traffic {
    fn is_quiet(&self, now: Instant) -> bool {
        self.under_way > 0 && now.saturating_duration_since(self.since) > QUIET
    }
}

/// A panic under a lock changes nothing that it guards by halves.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
