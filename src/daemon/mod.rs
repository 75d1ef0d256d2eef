//! The daemon: opens the store, recovers it, wires the parts together, serves, drains.
//!
//! One thread's runtime has the API and the dispatcher; the store and attempts have threads of
//! their own (see "Threads" in ARCHITECTURE.md).

mod reload;
mod settings;
mod shipping;
mod signals;
mod systemd;
mod traces;
mod watchdog;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::Request;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::api::{Api, Pages, serve};
use crate::app::{App, Sources};
use crate::config::{Config, Listen};
use crate::dispatch::{Dispatch, DispatchGauges, Questions, Stop, Tail, Transports};
use crate::inbound::{Calls, Inbound};
use crate::outbox::{OpenError, Opened, Outbox, ReadError, StoreFailure, forbid_reads_here};
use crate::server::accept::OpenConnections;
use crate::server::listen::{ListenError, Listeners};
use crate::server::public;
use crate::server::remote::TrustedProxies;
use crate::server::tls::{self, Tls, TlsError};
use crate::transport::{TransportError, TransportFigures};
use crate::ui::{AllPages, Operator, Portal, PortalPages, pages};
pub use reload::Reload;
use reload::Reloader;
use shipping::Shipping;
use signals::Signals;
use systemd::NotifyState;
use traces::Traces;

/// How long requests under way may take to finish after a stop was asked for.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);

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
    #[error("traces cannot be exported: {0}")]
    Traces(#[from] traces::TracesError),
    #[error(
        "a file may have at most {limit} bytes here (RLIMIT_FSIZE; `ulimit -f`, LimitFSIZE= of \
         systemd), but outbox.segment_size is {needed}: raise the limit or lower segment_size"
    )]
    FileSize { limit: u64, needed: u64 },
}

impl DaemonError {
    /// Whether every start would fail in the same way until the configuration is changed.
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

/// The addresses at which a running daemon can be reached.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub tcp: Vec<std::net::SocketAddr>,
    pub unix: Vec<std::path::PathBuf>,
    /// Those of the public listener.
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

/// Runs the daemon until a signal ends it. On SIGHUP `reload` reads the configuration again.
pub fn run(config: Config, reload: Reload) -> Result<(), DaemonError> {
    raise_open_files();
    forbid_reads_here();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(cannot("start the runtime"))?;
    let outcome = runtime.block_on(serve_until_stopped(config, reload));
    // Reads that hang on a broken disk must not keep the process from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve_until_stopped(config: Config, reload: Reload) -> Result<(), DaemonError> {
    let signals = Signals::new().map_err(cannot("listen for signals"))?;
    check_file_size(config.outbox.segment_size)?;
    // Before the recovery, so that a port in use is reported at once; no connection is
    // accepted yet.
    let listeners = Listeners::open(&config.listen)?;
    listeners.require_tokens(&config.auth)?;
    let tls = public_tls(&config.listen)?;
    let cores = cores();
    let figures = Arc::<TransportFigures>::default();
    let transports = Transports::new(&config.delivery, cores, figures.clone())?;
    let Opened {
        outbox,
        commits,
        endpoints,
        mut failed,
        writer,
    } = open(&config).await?;
    let exposed = listeners.exposed();
    let addresses = Addresses::of(&listeners);
    let gauges = Arc::new(DispatchGauges::new(figures.clone()));
    let (stop, stopping) = watch::channel(Stop::No);
    let (most, tally) = (
        config.delivery.max_in_flight,
        config.metrics.per_endpoint > 0,
    );
    let dispatch = Dispatch::new(outbox.clone(), transports, most, gauges.clone(), tally);
    let (mut dispatch, attempts) = dispatch.map_err(cannot("start the dispatcher"))?;
    dispatch.begin(&endpoints);
    let (questions, tail) = (dispatch.questions(), dispatch.tail());
    let traces = Traces::start(&config.otlp, tail.clone())?;
    let shipping = Shipping::start(&config, &outbox).map_err(cannot("ship the log"))?;
    let mut dispatching = tokio::spawn(dispatch.run(attempts, commits, stopping.clone()));
    let is_ready = Arc::new(AtomicBool::new(true));
    let parts = (gauges, questions.clone(), tail.clone());
    let mut app = app(&outbox, &config, parts, is_ready.clone()).await?;
    app.monitor.shipping = shipping.figures();
    let made = Interfaces::new(app, tls, &config, &addresses, tail)?;
    let served = tokio::spawn(serve_all(listeners, made.public, made.private, stopping));
    started(&outbox, &addresses).await?;
    systemd::tell(&[NotifyState::Ready]).await;
    let reloader = Reloader {
        reload,
        in_force: config,
        outbox: outbox.clone(),
        questions: questions.clone(),
        operator: made.operator,
        portal: made.portal,
        cores,
        figures,
        exposed,
        shipping: shipping.settings(),
    };
    let (ask, asked_to_reload) = mpsc::channel(1);
    let watching = tokio::spawn(signals.watch(stop.clone(), ask));
    let reloading = tokio::spawn(reloader.run(asked_to_reload));
    let watchdog = tokio::spawn(watchdog::run(outbox, questions));
    until_it_ends(&stop, &mut failed, &mut dispatching).await?;
    is_ready.store(false, Ordering::Release);
    reloading.abort();
    still_sound(&failed)?;
    drain(&stop, served, &mut dispatching).await;
    watching.abort();
    watchdog.abort();
    join(writer, &mut failed).await;
    still_sound(&failed)?;
    shipping.finish().await;
    traces.finish().await;
    tracing::info!("stopped");
    Ok(())
}

async fn open(config: &Config) -> Result<Opened, DaemonError> {
    let options = settings::options(config);
    let opened = tokio::task::spawn_blocking(move || Outbox::open(options)).await;
    Ok(opened.map_err(|error| cannot("open the store")(error.into()))??)
}

/// Waits for a stop, or until a part fails without which the daemon cannot run.
async fn until_it_ends(
    stop: &watch::Sender<Stop>,
    failed: &mut watch::Receiver<Option<StoreFailure>>,
    dispatching: &mut JoinHandle<()>,
) -> Result<(), DaemonError> {
    let mut asked = stop.subscribe();
    tokio::select! {
        _ = asked.wait_for(|stop| *stop > Stop::No) => Ok(()),
        _ = failed.wait_for(Option::is_some) => Ok(()),
        broke = dispatching => match broke {
            Ok(()) => Ok(()),
            Err(error) => Err(cannot("go on delivering")(error.into())),
        },
    }
}

/// The application, with the sources that are stored.
async fn app(
    outbox: &Outbox,
    config: &Config,
    (gauges, questions, tail): (Arc<DispatchGauges>, Questions, Tail),
    is_ready: Arc<AtomicBool>,
) -> Result<App, DaemonError> {
    let reading = outbox.clone();
    let stored = tokio::task::spawn_blocking(move || reading.stored_sources()).await;
    let stored = stored.map_err(|error| cannot("read the sources")(error.into()))??;
    let outbox = outbox.clone();
    Ok(App::new(
        outbox, config, gauges, questions, is_ready, stored, tail,
    ))
}

/// The API, and the pages beside it.
fn people(
    app: App,
    config: &Config,
    addresses: &Addresses,
) -> Result<(Arc<Operator>, Arc<Portal>), DaemonError> {
    let api = Api::new(app, config);
    api.listens_at(&addresses.tcp);
    let portal = Portal::new(api.clone(), config);
    let operator = Operator::new(api, config);
    let both = operator.and_then(|operator| Ok((operator, portal?)));
    both.map_err(|error| cannot("begin sessions")(io::Error::other(error)))
}

/// What people and programs speak to.
struct Interfaces {
    public: Public,
    private: Private,
    operator: Arc<Operator>,
    portal: Arc<Portal>,
}

impl Interfaces {
    fn new(
        app: App,
        tls: Option<Tls>,
        config: &Config,
        addresses: &Addresses,
        tail: Tail,
    ) -> Result<Interfaces, DaemonError> {
        listen_at(&app, tls.is_some(), addresses);
        let sources = app.sources.clone();
        let open = app.monitor.connections.inbound.clone();
        let (operator, portal) = people(app, config, addresses)?;
        let pages = PortalPages::new(portal.clone());
        let public = Public {
            tls,
            proxies: TrustedProxies::new(config.listen.trusted_proxies.clone()),
            sources,
            pages: pages.clone(),
            open,
        };
        let private = Private::new(&operator, pages, config, tail);
        Ok(Interfaces {
            public,
            private,
            operator,
            portal,
        })
    }
}

/// Says where the public listener is.
fn listen_at(app: &App, tls: bool, addresses: &Addresses) {
    let scheme = if tls { "https" } else { "http" };
    // 0.0.0.0 is not an address that a caller can use.
    let mut named = addresses.inbound.iter();
    if let Some(address) = named.find(|address| !address.ip().is_unspecified()) {
        app.sources.listens_at(format!("{scheme}://{address}"));
    }
}

/// Resolves when the daemon must stop accepting connections.
async fn closing(mut stopping: watch::Receiver<Stop>) {
    // The sender exists until the daemon ends, so this never fails.
    let _ = stopping.wait_for(|stop| *stop > Stop::No).await;
}

/// The certificate of the public listener, if it has one.
fn public_tls(listen: &Listen) -> Result<Option<Tls>, TlsError> {
    let files = listen.inbound_cert.clone();
    files.map(|files| Tls::open(files, tls::LOOK)).transpose()
}

/// What the public listener is served with.
struct Public {
    tls: Option<Tls>,
    proxies: TrustedProxies,
    sources: Arc<Sources>,
    pages: PortalPages,
    open: OpenConnections,
}

/// What the private listeners are served with.
struct Private {
    api: Arc<Api>,
    pages: Arc<dyn Pages>,
    tail: Tail,
}

impl Private {
    fn new(operator: &Arc<Operator>, portal: PortalPages, config: &Config, tail: Tail) -> Private {
        let mut all: Vec<Arc<dyn Pages>> = vec![Arc::new(portal)];
        if config.listen.ui {
            all.push(pages(operator.clone()));
        }
        Private {
            api: operator.api.clone(),
            pages: Arc::new(AllPages(all)),
            tail,
        }
    }
}

/// Serves the API, the pages and the public listener until a stop is asked for; then stores the last counts
/// of sources.
async fn serve_all(
    listeners: Listeners,
    public: Public,
    private: Private,
    stopping: watch::Receiver<Stop>,
) {
    let Listeners { tcp, unix, inbound } = listeners;
    let began = stopping.clone();
    let Private { api, pages, tail } = private;
    let stopped = async move {
        closing(began).await;
        tail.close();
    };
    let private = serve::serve(tcp, unix, api, Some(pages), stopped, REQUEST_DEADLINE);
    let sources = public.sources;
    let paths = Arc::new(Inbound::new(Calls::new(sources.clone())));
    let portal = public.pages;
    let answer = move |request: Request<Body>, remote| {
        let (paths, portal) = (paths.clone(), portal.clone());
        async move {
            match PortalPages::has(request.uri().path()) {
                true => portal.answer_public(request, remote).await,
                false => paths.answer(request, remote).await,
            }
        }
    };
    let limits = public::Limits::new(public.proxies, public.open);
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
        () = sources.forget_expired() => {}
    }
    sources.store_counts().await;
}

/// Waits until the writer has made everything durable, or the store has failed.
async fn join(
    writer: std::thread::JoinHandle<()>,
    failed: &mut watch::Receiver<Option<StoreFailure>>,
) {
    let stopped = tokio::task::spawn_blocking(move || writer.join());
    tokio::select! {
        _ = stopped => {}
        // The writer may wait for a disk that hangs.
        _ = failed.wait_for(Option::is_some) => {}
    }
}

/// An error if the store has failed.
fn still_sound(failed: &watch::Receiver<Option<StoreFailure>>) -> Result<(), DaemonError> {
    match failed.borrow().clone() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// Waits for requests and then for attempts under way. In this order the dispatcher still learns
/// of the events that were accepted last.
async fn drain(
    stop: &watch::Sender<Stop>,
    served: JoinHandle<()>,
    dispatching: &mut JoinHandle<()>,
) {
    systemd::tell(&[NotifyState::Stopping]).await;
    tracing::info!("stopping: nothing more is accepted; attempts in flight may finish");
    // If the task panicked instead of ending, the API is closed as well.
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

/// Logs that the daemon is ready.
async fn started(outbox: &Outbox, addresses: &Addresses) -> Result<(), DaemonError> {
    let outbox = outbox.clone();
    let status = tokio::task::spawn_blocking(move || outbox.status()).await;
    let status = status.map_err(|error| cannot("read the store")(error.into()))?;
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
    Ok(())
}
