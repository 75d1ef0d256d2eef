//! A connection of HTTP/2, which several attempts share.
//!
//! It carries as many requests as its peer allows, and a single one until the peer's SETTINGS have
//! arrived. It takes no new request
//!
//! - after an attempt on it timed out, broke off or was refused by the protocol, or got its
//!   response before the peer had accepted the request's body: it is *distrusted*;
//! - while requests wait on it and the peer has answered none for [`QUIET`]: the peer may have
//!   stopped.
//!
//! Requests under way go on in both cases.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::exchange::{OutboundRequest, RequestBody, SendFault, Stream};
use super::lock::lock;
use super::secured::Ended;

/// After so long without a response a connection with requests under way takes no new one.
pub(super) const QUIET: Duration = Duration::from_secs(2);
/// Requests on one connection, whatever its peer allows.
const MAX_STREAMS: usize = 256;
/// Bytes of the headers of a response.
const HEADER_BYTES: u32 = 64 * 1024;
/// Windows for what the peer sends: of a stream, and of the connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// What h2 reports as the peer's limit of streams before the SETTINGS have arrived.
const UNSETTLED: usize = u32::MAX as usize - 1;
/// How long the tasks of a connection without users have to close it in good order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    pub(super) address: Option<SocketAddr>,
    pub(super) ended: Ended,
    opened: Instant,
    limit: Arc<StreamLimit>,
    is_trusted: AtomicBool,
    traffic: Mutex<Traffic>,
    tasks: TaskHandles,
}

struct Traffic {
    under_way: usize,
    /// The time of the last response, or of the first request under way if that is later; without
    /// any under way, when the last one ended.
    since: Instant,
}

impl Http2 {
    /// Starts the connection's tasks. They notify `changed` when the peer changes its limit of
    /// streams and when the connection ends.
    pub(super) async fn open(
        stream: Stream,
        address: Option<SocketAddr>,
        ended: Ended,
        changed: Arc<Notify>,
    ) -> Result<Http2, hyper::Error> {
        let limit = Arc::new(StreamLimit::new(changed));
        let spawner = Spawner {
            limit: limit.clone(),
            tasks: TaskHandles::default(),
        };
        let (sender, mut dispatching) = http2::Builder::new(spawner.clone())
            .max_header_list_size(HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(UNSETTLED)
            .handshake(stream)
            .await?;
        let told = limit.clone();
        tokio::spawn(async move {
            // A fault reaches the requests under way.
            let _ = poll_fn(|poller| {
                let ended = Pin::new(&mut dispatching).poll(poller);
                told.wake_when_settled(poller.waker());
                told.set(dispatching.current_max_send_streams());
                ended
            })
            .await;
            told.set(0);
        });
        let now = Instant::now();
        Ok(Http2 {
            sender,
            address,
            ended,
            opened: now,
            limit,
            is_trusted: AtomicBool::new(true),
            traffic: Mutex::new(Traffic {
                under_way: 0,
                since: now,
            }),
            tasks: spawner.tasks,
        })
    }

    /// Reserves a stream for one request, if the connection takes one now.
    /// [`release`](Self::release) gives it back.
    pub(super) fn reserve(&self, now: Instant) -> bool {
        let most = self.max_streams().unwrap_or(1);
        let mut traffic = lock(&self.traffic);
        if traffic.under_way >= most || traffic.is_quiet(now) {
            return false;
        }
        if traffic.under_way == 0 {
            traffic.since = now;
        }
        traffic.under_way += 1;
        true
    }

    pub(super) fn release(&self) {
        let mut traffic = lock(&self.traffic);
        traffic.under_way = traffic.under_way.saturating_sub(1);
        if traffic.under_way == 0 {
            traffic.since = Instant::now();
        }
    }

    /// How many requests it carries at once; `None` until the peer's SETTINGS have arrived.
    pub(super) fn max_streams(&self) -> Option<usize> {
        let streams = self.limit.streams.load(Relaxed);
        (streams != UNSETTLED).then_some(streams.min(MAX_STREAMS))
    }

    /// Whether it will take more requests soon: the peer's SETTINGS are on their way.
    pub(super) fn awaits_settings(&self, now: Instant) -> bool {
        self.max_streams().is_none() && !lock(&self.traffic).is_quiet(now)
    }

    /// Whether it takes requests, now or later.
    pub(super) fn is_usable(&self, now: Instant, max_age: Duration) -> bool {
        self.is_trusted.load(Relaxed)
            && !self.sender.is_closed()
            && now.saturating_duration_since(self.opened) < max_age
    }

    /// For how long no request has been under way.
    pub(super) fn idle_for(&self, now: Instant) -> Option<Duration> {
        let traffic = lock(&self.traffic);
        (traffic.under_way == 0).then(|| now.saturating_duration_since(traffic.since))
    }

    pub(super) fn distrust(&self) {
        self.is_trusted.store(false, Relaxed);
    }

    /// Sends a request and waits for the head of the response. Returns with it the flag that says
    /// whether the request's body is done.
    pub(super) async fn send(
        &self,
        mut request: OutboundRequest,
    ) -> Result<(Response<Incoming>, Arc<AtomicBool>), SendFault> {
        let body_done = request.body_mut().done_flag();
        // Clones share the connection.
        let mut sender = self.sender.clone();
        let response = sender.try_send_request(request).await?;
        lock(&self.traffic).since = Instant::now();
        Ok((response, body_done))
    }
}

impl Drop for Http2 {
    /// A peer that never accepts a body would keep the task that sends it, and with it the
    /// connection, for ever.
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut *lock(&self.tasks.0));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(CLOSE_TIMEOUT).await;
                tasks.iter().for_each(AbortHandle::abort);
            });
        }
    }
}

impl Traffic {
    fn is_quiet(&self, now: Instant) -> bool {
        self.under_way > 0 && now.saturating_duration_since(self.since) > QUIET
    }
}

/// How many requests the peer allows at once (RFC 9113, 5.1.2). The SETTINGS arrive in a task that
/// hyper spawns, and only the task that dispatches requests can read them.
#[derive(Debug)]
struct StreamLimit {
    streams: AtomicUsize,
    changed: Arc<Notify>,
    /// Of the dispatching task, until the SETTINGS have arrived.
    dispatching: Mutex<Option<Waker>>,
}

impl StreamLimit {
    fn new(changed: Arc<Notify>) -> StreamLimit {
        StreamLimit {
            streams: AtomicUsize::new(UNSETTLED),
            changed,
            dispatching: Mutex::default(),
        }
    }

    fn wake_when_settled(&self, dispatching: &Waker) {
        if self.streams.load(Relaxed) == UNSETTLED {
            *lock(&self.dispatching) = Some(dispatching.clone());
        }
    }

    /// The SETTINGS may have arrived.
    fn wake(&self) {
        if self.streams.load(Relaxed) == UNSETTLED
            && let Some(dispatching) = lock(&self.dispatching).take()
        {
            dispatching.wake();
        }
    }

    fn set(&self, streams: usize) {
        if self.streams.swap(streams, Relaxed) != streams {
            self.changed.notify_waiters();
        }
    }
}

/// The tasks that hyper has spawned for a connection.
#[derive(Clone, Default)]
struct TaskHandles(Arc<Mutex<Vec<AbortHandle>>>);

impl TaskHandles {
    fn add(&self, task: AbortHandle) {
        let mut tasks = lock(&self.0);
        if tasks.len() >= MAX_STREAMS {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task);
    }
}

/// Spawns the tasks of a connection for hyper.
#[derive(Clone)]
struct Spawner {
    limit: Arc<StreamLimit>,
    tasks: TaskHandles,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, task: F) {
        let limit = self.limit.clone();
        let mut task = Box::pin(task);
        let task = tokio::spawn(poll_fn(move |poller| {
            let ended = task.as_mut().poll(poller);
            limit.wake();
            ended
        }));
        self.tasks.add(task.abort_handle());
    }
}
