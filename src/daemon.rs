//! The daemon: opens the store, recovers it, wires the parts together, serves, drains.
//!
//! One thread's runtime has the API and the dispatcher; the store and attempts have threads of
//! their own (see "Threads" in ARCHITECTURE.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{Api, serve};
use crate::app::{App, Sources, Tail};
use crate::config::{Config, Listen};
use crate::dispatch::{Dispatch, DispatchGauges, Questions, Stop, Transports};
use crate::inbound::{Calls, Inbound};
use crate::outbox::{
    Defaults, Keep, OpenError, Opened, Options, Outbox, OutboxStatus, ReadError, StoreFailure,
    forbid_reads_here,
};
use crate::server::listen::{ListenError, Listeners};
use crate::server::public;
use crate::server::remote::TrustedProxies;
use crate::server::tls::{self, Tls, TlsError};
use crate::transport::TransportError;

/// How long requests under way may take to finish after a stop was asked for.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// How long the service manager may take to be told something.
const MANAGER_DEADLINE: Duration = Duration::from_secs(1);
/// Where the kernel names the present boot.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Why the daemon did not run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the stored sources cannot be read: {0}")]
    Sources(#[from] ReadError),
    #[error("cannot {doing}: {source}")]
    Runtime {
        doing: &'static str,
        source: std::io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreFailure),
    #[error(
        "a file may have at most {limit} bytes here (RLIMIT_FSIZE; `ulimit -f`, LimitFSIZE= of \
         systemd), but outbox.segment_size is {needed}: raise the limit or lower segment_size"
    )]
    FileSize { limit: u64, needed: u64 },
}

impl DaemonError {
    /// Whether it would be the same at every start, until what was asked for is changed.
    pub fn is_of_configuration(&self) -> bool {
        match self {
            DaemonError::Listen(error) => error.is_of_configuration(),
            DaemonError::FileSize { .. } => true,
            _ => false,
        }
    }
}

fn cannot(doing: &'static str) -> impl FnOnce(std::io::Error) -> DaemonError {
    move |source| DaemonError::Runtime { doing, source }
}

/// What a running daemon is reached by.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub tcp: Vec<std::net::SocketAddr>,
    pub unix: Vec<std::path::PathBuf>,
    /// Of the public listener.
    pub inbound: Vec<std::net::SocketAddr>,
}

impl Addresses {
    fn of(listeners: &Listeners) -> Addresses {
        Addresses {
            tcp: listeners.tcp_addresses(),
            unix: listeners.unix_paths(),
            inbound: listeners.inbound_addresses(),
        }
    }
}

/// Runs the daemon until a signal ends it. `ready` is called once, when it accepts and
/// delivers.
pub fn run(config: Config, ready: impl FnOnce(&Addresses)) -> Result<(), DaemonError> {
    raise_open_files();
    forbid_reads_here();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(cannot("start the runtime"))?;
    let outcome = runtime.block_on(serve_until_stopped(config, ready));
    // Reads that hang on a broken disk must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve_until_stopped(
    config: Config,
    ready: impl FnOnce(&Addresses),
) -> Result<(), DaemonError> {
    let signals = Signals::new().map_err(cannot("listen for signals"))?;
    check_file_size(config.outbox.segment_size)?;
    // Before the recovery, so that a port in use is reported at once; no connection is
    // accepted yet.
    let listeners = Listeners::open(&config.listen)?;
    listeners.require_tokens(&config.auth)?;
    let tls = public_tls(&config.listen)?;
    let transports = Transports::new(&config.delivery, cores())?;
    let options = options(&config);
    let opened = tokio::task::spawn_blocking(move || Outbox::open(options)).await;
    let Opened {
        outbox,
        commits,
        endpoints,
        mut failed,
        writer,
    } = opened.map_err(|error| cannot("open the store")(error.into()))??;
    let addresses = Addresses::of(&listeners);
    let gauges = Arc::new(DispatchGauges::default());
    let (stop, stopping) = watch::channel(Stop::No);
    let dispatch = Dispatch::new(
        outbox.clone(),
        transports,
        config.delivery.max_in_flight,
        gauges.clone(),
    );
    let (mut dispatch, attempts) =
        dispatch.map_err(cannot("start the threads of the dispatcher"))?;
    dispatch.begin(&endpoints);
    let questions = dispatch.questions();
    let mut dispatching = tokio::spawn(dispatch.run(attempts, commits, stopping.clone()));
    let is_ready = Arc::new(AtomicBool::new(true));
    let app = app(&outbox, &config, gauges, questions, is_ready.clone()).await?;
    let public = Public::new(tls, &app, &config, &addresses);
    let tail = app.tail.clone();
    let api = Api::new(app, &config);
    let served = tokio::spawn(serve_all(listeners, public, api, tail, stopping));
    let at_start = outbox.clone();
    let status = tokio::task::spawn_blocking(move || at_start.status()).await;
    let status = status.map_err(|error| cannot("read the store")(error.into()))?;
    started(&status, &addresses);
    tell_manager(sd_notify::NotifyState::Ready).await;
    ready(&addresses);
    let watching = tokio::spawn(watch_signals(signals, stop.clone()));
    let mut asked = stop.subscribe();
    tokio::select! {
        _ = asked.wait_for(|stop| *stop > Stop::No) => {}
        _ = failed.wait_for(Option::is_some) => {}
        broke = &mut dispatching => {
            if let Err(error) = broke {
                return Err(cannot("go on delivering")(error.into()));
            }
        }
    }
    is_ready.store(false, Ordering::Release);
    still_sound(&failed)?;
    drain(&stop, served, &mut dispatching).await;
    watching.abort();
    let stopped = tokio::task::spawn_blocking(move || writer.join());
    tokio::select! {
        _ = stopped => {}
        // It waits for a disk that hangs.
        _ = failed.wait_for(Option::is_some) => {}
    }
    still_sound(&failed)?;
    tracing::info!("stopped");
    Ok(())
}

/// The application, with the sources that are stored.
async fn app(
    outbox: &Outbox,
    config: &Config,
    gauges: Arc<DispatchGauges>,
    questions: Questions,
    is_ready: Arc<AtomicBool>,
) -> Result<App, DaemonError> {
    let reading = outbox.clone();
    let stored = tokio::task::spawn_blocking(move || reading.stored_sources()).await;
    let stored = stored.map_err(|error| cannot("read the sources")(error.into()))??;
    let outbox = outbox.clone();
    Ok(App::new(
        outbox, config, gauges, questions, is_ready, stored,
    ))
}

/// Resolves when nothing more is to be accepted.
async fn closing(mut stopping: watch::Receiver<Stop>) {
    // The sender lives until the end.
    let _ = stopping.wait_for(|stop| *stop > Stop::No).await;
}

/// The certificate of the public listener, if it has one.
fn public_tls(listen: &Listen) -> Result<Option<Tls>, TlsError> {
    let files = listen.inbound_cert.clone();
    files.map(|files| Tls::open(files, tls::LOOK)).transpose()
}

/// What the public listener has.
struct Public {
    tls: Option<Tls>,
    proxies: TrustedProxies,
    sources: Arc<Sources>,
    /// Of a body that any source of the file takes, or the daemon does, in bytes.
    longest: u64,
}

impl Public {
    fn new(tls: Option<Tls>, app: &App, config: &Config, addresses: &Addresses) -> Public {
        let scheme = if tls.is_some() { "https" } else { "http" };
        // 0.0.0.0 says nothing of how it is reached.
        let mut named = addresses.inbound.iter();
        if let Some(address) = named.find(|address| !address.ip().is_unspecified()) {
            app.sources.listens_at(format!("{scheme}://{address}"));
        }
        let sources = config.sources.iter();
        let longest = sources.filter_map(|source| source.max_event_size).max();
        Public {
            tls,
            proxies: TrustedProxies::new(config.listen.trusted_proxies.clone()),
            sources: app.sources.clone(),
            longest: longest
                .unwrap_or_default()
                .max(config.ingest.max_event_size),
        }
    }
}

/// Serves the API, and what is public, until nothing more is to be accepted; then stores what was
/// counted last.
async fn serve_all(
    listeners: Listeners,
    public: Public,
    api: Arc<Api>,
    tail: Tail,
    stopping: watch::Receiver<Stop>,
) {
    let Listeners { tcp, unix, inbound } = listeners;
    let began = stopping.clone();
    let stopped = async move {
        closing(began).await;
        tail.close();
    };
    let private = serve::serve(tcp, unix, api, stopped, REQUEST_DEADLINE);
    let sources = public.sources;
    let paths = Arc::new(Inbound::new(Calls::new(sources.clone(), public.longest)));
    let answer = move |request, remote| {
        let paths = paths.clone();
        async move { paths.answer(request, remote).await }
    };
    let limits = public::Limits::new(public.proxies);
    let stopped = closing(stopping);
    let public = public::serve(
        inbound,
        public.tls,
        limits,
        answer,
        stopped,
        REQUEST_DEADLINE,
    );
    tokio::select! {
        _ = async { tokio::join!(private, public) } => {}
        () = sources.keep_counts() => {}
    }
    sources.store_counts().await;
}

/// An error if the store has failed.
fn still_sound(failed: &watch::Receiver<Option<StoreFailure>>) -> Result<(), DaemonError> {
    match failed.borrow().clone() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// Waits for requests and then attempts under way: in this order the dispatcher still hears
/// of the events that were accepted last.
async fn drain(
    stop: &watch::Sender<Stop>,
    served: JoinHandle<()>,
    dispatching: &mut JoinHandle<()>,
) {
    tell_manager(sd_notify::NotifyState::Stopping).await;
    tracing::info!("stopping: nothing more is accepted; attempts in flight may finish");
    // Whether it panicked or not, nobody is served any more.
    let _ = served.await;
    stop.send_if_modified(|stop| std::mem::replace(stop, (*stop).max(Stop::Close)) < Stop::Close);
    if !dispatching.is_finished() {
        let _ = dispatching.await;
    }
}

/// The cores that the process may use: its affinity, and the quota of its cgroup.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn options(config: &Config) -> Options {
    Options {
        data_dir: config.data_dir.clone(),
        segment_size: config.outbox.segment_size,
        cache_size: config.outbox.cache_size,
        max_size: config.outbox.max_size,
        endpoint_share: config.outbox.endpoint_share,
        min_free_disk: config.outbox.min_free_disk,
        idempotency_window: config.ingest.idempotency_window,
        max_in_flight: config.delivery.max_in_flight,
        keep: Keep {
            delivered: config.retention.delivered,
            dead: config.retention.dead,
            held: config.retention.held,
            erased: config.retention.dead.max(config.ingest.idempotency_window),
            max_size: config.retention.max_size,
            min_free_disk: config.outbox.min_free_disk,
            segment_size: config.outbox.segment_size,
        },
        boot_id: boot_id(),
        endpoints: config.endpoints.clone(),
        defaults: Defaults {
            timeout: config.delivery.timeout,
            http2: config.delivery.http2,
            retry: Arc::new(config.retry.clone()),
        },
    }
}

/// Names this boot of the machine: `$OUTBOXD_BOOT_ID_FILE`, else the kernel's.
fn boot_id() -> Option<String> {
    let file = std::env::var_os("OUTBOXD_BOOT_ID_FILE").unwrap_or_else(|| BOOT_ID_FILE.into());
    let text = std::fs::read_to_string(file).ok()?;
    let id = text.trim();
    (!id.is_empty() && !id.contains('\n')).then(|| id.to_owned())
}

/// Raises the soft limit of open files to the hard one: each connection is a file.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        tracing::warn!(%error, ?current, "the limit of open files could not be raised");
    }
}

/// Checks that a segment of the log fits into the size that a file may have here. The index
/// grows with what it holds.
fn check_file_size(segment_size: u64) -> Result<(), DaemonError> {
    use rustix::process::{Resource, getrlimit};
    let Some(limit) = getrlimit(Resource::Fsize).current else {
        return Ok(());
    };
    if limit < segment_size {
        let needed = segment_size;
        return Err(DaemonError::FileSize { limit, needed });
    }
    tracing::warn!(
        limit,
        "the size of files is limited (RLIMIT_FSIZE): outboxd ends when the index, or a large frame of the log, needs a larger one"
    );
    Ok(())
}

fn started(status: &OutboxStatus, addresses: &Addresses) {
    let seconds = status.recovery_took.as_secs_f64();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        tcp = ?addresses.tcp,
        unix = ?addresses.unix,
        inbound = ?addresses.inbound,
        endpoints = status.endpoints,
        pending = status.deliveries.pending,
        recovery = status.recovery.as_str(),
        seconds = format!("{seconds:.3}"),
        "ready"
    );
}

/// Tells the service manager, if there is one. One that does not read does not hold the
/// daemon up.
async fn tell_manager(state: sd_notify::NotifyState<'static>) {
    let telling = tokio::task::spawn_blocking(move || sd_notify::notify(&[state]));
    let told = tokio::time::timeout(MANAGER_DEADLINE, telling).await;
    let error = match told {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not read its socket".to_owned(),
    };
    tracing::warn!(error, "the service manager could not be told");
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Never read: while the signal has a handler, a write past RLIMIT_FSIZE fails with an
    /// error that can be logged, instead of ending the process without a message.
    _file_size: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The first signal drains, the second hurries.
async fn watch_signals(mut signals: Signals, stop: watch::Sender<Stop>) {
    signals.next().await;
    stop.send_replace(Stop::Drain);
    signals.next().await;
    tracing::warn!(
        "asked to stop again: attempts in flight are left, and repeated after the next start"
    );
    stop.send_replace(Stop::Hurry);
}
