//! Opens the store: lock, format, log, index; then starts the threads, each under supervision.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::watch;

use crate::clock::{Clock, SystemClock};
use crate::domain::endpoint::{Endpoint, EndpointNo};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::clock_watch;
use crate::outbox::committer::{Parts, WriterError};
use crate::outbox::decide::limits::Limits;
use crate::outbox::directory::{
    OpenError, at, make_private, read_format, sync_way_to, take_lock, write_format,
};
use crate::outbox::handle::{Outbox, Shared, StoreFailure};
use crate::outbox::index::open::Place;
use crate::outbox::index::{Flusher, Generations, Index, IndexFailure, Readers};
use crate::outbox::log::{Found, Log, LogOptions};
use crate::outbox::maintain::{Bulk, Cleaner, Cut, Requests};
use crate::outbox::recovery::{self, Recovered, StartFlusher};
use crate::outbox::request::{Commits, Request};
use crate::outbox::restored::{self, Origin};
use crate::outbox::rules::{Defaults, Keep, LimitRules};
use crate::outbox::views::RecoveryKind;
use crate::outbox::writer::Writer;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    pub data_dir: PathBuf,
    pub segment_size: u64,
    pub cache_size: u64,
    pub max_size: u64,
    /// Of `max_size` for one endpoint, 0 to 1.
    pub endpoint_share: f64,
    pub min_free_disk: u64,
    pub idempotency_window: Duration,
    /// Attempts at once: the outcomes of so many have room kept for them.
    pub max_in_flight: usize,
    pub keep: Keep,
    /// Names this boot of the machine; `None` if it cannot be told.
    pub boot_id: Option<String>,
    /// The endpoints of the configuration.
    pub endpoints: Vec<Endpoint>,
    /// What endpoints made through the API have that say nothing themselves.
    pub defaults: Defaults,
}

/// An endpoint that the dispatcher begins with.
#[derive(Clone, Copy, Debug)]
pub struct EndpointStart {
    pub no: EndpointNo,
    pub holding: bool,
    pub pending: u64,
    pub released_at: Option<Timestamp>,
    /// Since when every attempt failed, and how many.
    pub failing: Option<(Timestamp, u32)>,
}

/// An open store.
pub struct Opened {
    pub outbox: Outbox,
    pub commits: Commits,
    pub endpoints: Vec<EndpointStart>,
    /// Becomes `Some` when the store has failed and the process must end.
    pub failed: watch::Receiver<Option<StoreFailure>>,
    /// Ends when the writer has: after [`Outbox::stop`], or when the store failed.
    pub writer: std::thread::JoinHandle<()>,
}

impl From<WriterError> for OpenError {
    fn from(error: WriterError) -> Self {
        OpenError::Writer(error.to_string())
    }
}

impl Options {
    fn limit_rules(&self) -> LimitRules {
        LimitRules {
            max_size: self.max_size,
            endpoint_share: self.endpoint_share,
            min_free_disk: self.min_free_disk,
            idempotency_window: self.idempotency_window,
            max_in_flight: self.max_in_flight,
            segment_size: self.segment_size,
        }
    }
}

impl Outbox {
    /// Opens the store in `options.data_dir`, recovering what a crash left; makes it if
    /// there is none. Blocks; may take seconds.
    pub fn open(options: Options) -> Result<Opened, OpenError> {
        Outbox::open_at(options, Arc::new(SystemClock::default()))
    }

    /// The same by clocks of the caller's.
    pub(super) fn open_at(options: Options, clock: Arc<dyn Clock>) -> Result<Opened, OpenError> {
        let began = Instant::now();
        let dir = &options.data_dir;
        make_private(dir)?;
        let lock = take_lock(dir)?;
        let origin = restored::origin(dir)?;
        let mut random: SmallRng = rand::make_rng();
        let (log, found) = open_log(&options, &mut random)?;
        let index_dir = dir.join("index");
        make_private(&index_dir)?;
        let generations: Arc<dyn Generations> = Arc::new(Place::new(
            index_dir,
            found.store_id,
            options.boot_id.clone(),
            options.cache_size,
        ));
        let (failed, failure) = watch::channel(None);
        let (kept, told) = (generations.clone(), failed.clone());
        let start: StartFlusher = Arc::new(move |index| start_flusher(index, &kept, &told));
        let Recovered {
            index,
            flusher,
            kind,
            damaged,
            met,
        } = recovery::recover(&log, &found, &generations, &start)?;
        let kind = origin.as_ref().map_or(kind, told_of_restore);
        let shared = Arc::new(Shared::new(
            Readers::new(index.clone()),
            log.reader(),
            generations.clone(),
            clock,
            failed,
            (kind, began.elapsed()),
            met,
        ));
        let limits = Limits::new(&options.limit_rules());
        shared.set_rules(limits.rules(options.keep));
        shared.count_damage(damaged);
        let newest = EventId(shared.index.read().meta.last_id).timestamp();
        clock_watch::report_behind(newest, shared.clock.wall());
        flusher.in_use();
        let (nudge, nudges) = mpsc::sync_channel(1);
        let (sender, commits) = tokio::sync::mpsc::unbounded_channel();
        let writer = Writer::new(Parts {
            log,
            index,
            flusher,
            start_flusher: start,
            limits,
            defaults: options.defaults,
            shared: shared.clone(),
            commits: sender,
            random,
            nudge,
        });
        let writer = begun(writer, options.endpoints, origin.as_ref())?;
        if origin.is_some() {
            restored::begun(dir)?;
        }
        let started = start_threads(writer, nudges, lock)?;
        Ok(Opened {
            outbox: started.outbox,
            commits,
            endpoints: endpoint_starts(&shared),
            failed: failure,
            writer: started.thread,
        })
    }
}

/// Opens the log, or makes it in a directory that has none.
fn open_log(options: &Options, random: &mut SmallRng) -> Result<(Log, Found), OpenError> {
    let dir = &options.data_dir;
    let known = read_format(dir)?;
    if !known {
        sync_way_to(dir)?;
    }
    let new_store_id = (!known).then(|| random.random());
    let (log, found) = Log::open(dir, LogOptions::new(options.segment_size), new_store_id)?;
    if !known {
        write_format(dir)?;
    }
    recovery::report(&found, &dir.join("log"));
    Ok((log, found))
}

/// Logs that the store was restored.
fn told_of_restore(origin: &Origin) -> RecoveryKind {
    tracing::info!(
        from = origin.from,
        generation = origin.generation,
        held = origin.held,
        "this is the first start of a restored store"
    );
    RecoveryKind::Restored
}

/// An index that the first look finds damaged is not used again: every start would find it so.
fn begun(
    mut writer: Writer,
    endpoints: Vec<Endpoint>,
    origin: Option<&Origin>,
) -> Result<Writer, OpenError> {
    let is_held = origin.is_some_and(|origin| origin.held);
    let begun = writer.begin(endpoints).and_then(|()| match is_held {
        true => writer.hold_everything(),
        false => Ok(()),
    });
    if let Err(WriterError::Index(_)) = &begun {
        writer.shared().generations.condemn();
    }
    begun?;
    Ok(writer)
}

/// Starts the thread that moves the index along. When the index is damaged the process ends.
pub fn start_flusher(
    index: Index,
    generations: &Arc<dyn Generations>,
    failed: &watch::Sender<Option<StoreFailure>>,
) -> std::io::Result<Flusher> {
    let (condemned, failed) = (generations.clone(), failed.clone());
    let on_failure = move |failure: IndexFailure| {
        condemned.condemn();
        tracing::error!(%failure, "outboxd ends now; what was acknowledged is safe, and the next start recovers it");
        failed.send_replace(Some(StoreFailure(failure.to_string())));
    };
    Flusher::start(index, generations.clone(), on_failure)
}

struct Started {
    outbox: Outbox,
    thread: std::thread::JoinHandle<()>,
}

fn start_threads(
    writer: Writer,
    nudges: mpsc::Receiver<()>,
    lock: File,
) -> Result<Started, OpenError> {
    let (requests, receiver) = mpsc::channel::<Request>();
    let shared = writer.shared().clone();
    let cleaner = Cleaner::new(shared.clone());
    let bulk = Bulk::new(shared.clone());
    let (stopper, stopped) = mpsc::channel();
    let asked = Requests(requests.clone());
    supervise("cleaner", shared.clone(), move || {
        cleaner.run(asked, &stopped)
    })?;
    let asked = Requests(requests.clone());
    supervise("bulk", shared.clone(), move || bulk.run(asked, &nudges))?;
    let run = move || {
        // Held for as long as the store may be written to.
        let _lock = lock;
        writer.run(&receiver);
        drop(stopper);
    };
    let spawned = std::thread::Builder::new().name("writer".into()).spawn(run);
    let thread = spawned.map_err(|error| OpenError::Writer(error.to_string()))?;
    Ok(Started {
        outbox: Outbox::new(shared, requests),
        thread,
    })
}

/// Starts a thread whose end is never silent: an error or a panic ends the process, and its
/// next start builds the index anew.
pub fn supervise(
    name: &'static str,
    shared: Arc<Shared>,
    run: impl FnOnce() -> Result<(), Cut> + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, OpenError> {
    let dir = PathBuf::from(name);
    let watched = move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        match ended {
            Ok(Ok(()) | Err(Cut::Stopped)) => {}
            Ok(Err(cut)) => shared.index_failed(&format!("the {name} thread cannot go on: {cut}")),
            Err(_) => shared.index_failed(&format!("the {name} thread panicked")),
        }
    };
    let spawned = std::thread::Builder::new().name(name.into()).spawn(watched);
    spawned.map_err(at("start the thread", &dir))
}

/// The endpoints that the dispatcher begins with.
pub fn endpoint_starts(shared: &Shared) -> Vec<EndpointStart> {
    let moment = |millis: u64| Timestamp::from_millis(millis);
    let state = shared.index.read();
    let endpoints = state.endpoints.iter().map(|(no, stored)| EndpointStart {
        no: *no,
        holding: stored.state.is_holding(),
        pending: stored.totals.pending,
        released_at: (stored.state.released_at > 0).then(|| moment(stored.state.released_at)),
        failing: stored
            .state
            .failing
            .map(|(since, attempts)| (moment(since), attempts)),
    });
    endpoints.collect()
}
