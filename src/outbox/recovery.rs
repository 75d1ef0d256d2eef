//! Opening the store: lock, format, log, index; then the writer.
//!
//! The index on disk is used if it is this boot's, opens, and is not ahead of the log; the
//! log after it is replayed. In any other case it is built anew from the whole log, aside.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::watch;

use crate::domain::endpoint::{Endpoint, EndpointNo};
use crate::domain::time::Timestamp;
use crate::outbox::bulk::Bulk;
use crate::outbox::cleaning::{Cleaner, Keep};
use crate::outbox::commit::{Commits, Request};
use crate::outbox::directory::{
    FORMAT, make_private, read_format, sync_way_to, take_lock, write_format,
};
use crate::outbox::index::open::{Place, Unusable};
use crate::outbox::index::{Flusher, Index, IndexFailure, PagesError, State};
use crate::outbox::limits::Limits;
use crate::outbox::log::{Damage, DamageKind, Found, Log, LogError, LogOptions, Lsn, Replayed};
use crate::outbox::record::Record;
use crate::outbox::view::RecoveryKind;
use crate::outbox::writer::{Heads, Writer, WriterError};
use crate::outbox::{Defaults, Gauges, MET_MAX, Outbox, Shared, StoreFailure};

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
pub struct LaneStart {
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
    pub lanes: Vec<LaneStart>,
    /// Becomes `Some` when the store has failed and the process must end.
    pub failed: watch::Receiver<Option<StoreFailure>>,
    /// Ends when the writer has: after [`Outbox::stop`], or when the store failed.
    pub writer: std::thread::JoinHandle<()>,
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by another outboxd", .0.display())]
    Locked(PathBuf),
    #[error("{} was written by a newer outboxd (FORMAT says {found:?}); this one reads {FORMAT:?}", dir.display())]
    Newer { dir: PathBuf, found: String },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the index cannot be built: {0}")]
    Index(#[from] PagesError),
    #[error("the store cannot be recovered: {0}")]
    Writer(String),
}

impl From<WriterError> for OpenError {
    fn from(error: WriterError) -> Self {
        OpenError::Writer(error.to_string())
    }
}

pub(super) fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        doing,
        path,
        source,
    }
}

impl Outbox {
    /// Opens the store in `options.data_dir`, recovering what a crash left; makes it if
    /// there is none. Blocks; may take seconds.
    pub fn open(options: Options) -> Result<Opened, OpenError> {
        let began = Instant::now();
        let dir = &options.data_dir;
        make_private(dir)?;
        let lock = take_lock(dir)?;
        let known = read_format(dir)?;
        if !known {
            sync_way_to(dir)?;
        }
        let mut random: SmallRng = rand::make_rng();
        let new_store_id = (!known).then(|| random.random());
        let (log, found) = Log::open(dir, LogOptions::new(options.segment_size), new_store_id)?;
        if !known {
            write_format(dir)?;
        }
        report(&found);
        let place = Place::new(
            dir.join("index"),
            found.store_id,
            options.boot_id.clone(),
            options.cache_size,
        );
        make_private(place.dir())?;
        let (failed, failure) = watch::channel(None);
        let recovered = recover(&log, &found, &place, &failed)?;
        let shared = Arc::new(Shared {
            index: recovered.index,
            log: log.reader(),
            place,
            endpoints: RwLock::default(),
            failed,
            gauges: Gauges::default(),
            met: Mutex::new(recovered.met),
            recovery: (recovered.kind, began.elapsed()),
            jobs_ended: watch::Sender::new(0),
        });
        shared.count_damage(recovered.damaged);
        let (nudge, nudges) = mpsc::sync_channel(1);
        let (sender, commits) = tokio::sync::mpsc::unbounded_channel();
        let writer = Writer {
            frame: log.frame(),
            heads: Heads::default(),
            log,
            index: shared.index.clone(),
            flusher: recovered.flusher,
            limits: Limits::new(&options),
            defaults: options.defaults,
            shared: shared.clone(),
            commits: sender,
            random,
            nudge,
            stated_in: None,
        };
        let started = start(writer, options.endpoints, options.keep, nudges, lock)?;
        Ok(Opened {
            outbox: started.outbox,
            commits,
            lanes: lanes(&shared),
            failed: failure,
            writer: started.thread,
        })
    }
}

struct Started {
    outbox: Outbox,
    thread: std::thread::JoinHandle<()>,
}

/// Brings endpoints in line with the configuration and starts the threads.
fn start(
    mut writer: Writer,
    endpoints: Vec<Endpoint>,
    keep: Keep,
    nudges: mpsc::Receiver<()>,
    lock: File,
) -> Result<Started, OpenError> {
    let (requests, receiver) = mpsc::channel::<Request>();
    let shared = writer.shared.clone();
    let (share, max_size) = (writer.limits.share, writer.limits.max_size);
    shared.index.write().share_out(share);
    writer.reconcile(endpoints)?;
    writer.flusher.in_use();
    let dir = shared.place.dir().to_owned();
    let stopper = Cleaner::start(keep, shared.clone(), requests.clone())
        .map_err(at("start the cleaner for", &dir))?;
    let (asked, room) = (requests.clone(), (share, max_size));
    Bulk::start(shared.clone(), asked, nudges, room)
        .map_err(at("start the bulk thread for", &dir))?;
    let run = move || {
        // Held for as long as the store may be written to.
        let _lock = lock;
        writer.run(&receiver);
        drop(stopper);
    };
    let spawned = std::thread::Builder::new().name("writer".into()).spawn(run);
    let thread = spawned.map_err(at("start the writer for", &dir))?;
    Ok(Started {
        outbox: Outbox { shared, requests },
        thread,
    })
}

fn lanes(shared: &Shared) -> Vec<LaneStart> {
    let moment = |millis: u64| Timestamp::from_millis(millis);
    let state = shared.index.read();
    let lanes = state.lanes.iter().map(|(no, lane)| LaneStart {
        no: *no,
        holding: lane.state.is_holding(),
        pending: lane.totals.pending,
        released_at: (lane.state.released_at > 0).then(|| moment(lane.state.released_at)),
        failing: lane
            .state
            .failing
            .map(|(since, attempts)| (moment(since), attempts)),
    });
    lanes.collect()
}

fn report(found: &Found) {
    if let Some(torn) = &found.torn {
        tracing::info!(at = %torn.at, bytes = torn.bytes, "a write that was never acknowledged was cut off the log's end");
    }
    for damage in &found.damage {
        tracing::error!(%damage, records = damage.records, "the log is damaged: acknowledged data is lost; the rest goes on");
    }
}

struct Recovered {
    index: Index,
    flusher: Flusher,
    kind: RecoveryKind,
    damaged: u64,
    /// Where damaged records are whose event is known all the same.
    met: BTreeSet<u64>,
}

fn recover(
    log: &Log,
    found: &Found,
    place: &Place,
    failed: &watch::Sender<Option<StoreFailure>>,
) -> Result<Recovered, OpenError> {
    let mut damaged = 0;
    let opened = place.open().and_then(|state| {
        let applied = Lsn(state.meta.applied);
        if applied > found.end {
            tracing::error!(index = %applied, log = %found.end, "the log is damaged: it ends before what the index has seen; acknowledged data is lost");
            damaged += 1;
            return Err(Unusable::AheadOfLog);
        }
        if applied < found.start { Err(Unusable::Missing) } else { Ok(state) }
    });
    if let Ok(state) = opened {
        let from = Lsn(state.meta.applied);
        match fill(log, place, failed, state, from) {
            Ok(mut filled) => {
                let mut below = 0;
                for damage in found.damage_below(from) {
                    below += damage.records.max(1);
                    filled.note(damage);
                }
                let kind = if from == found.end {
                    RecoveryKind::Clean
                } else {
                    RecoveryKind::Replayed
                };
                return Ok(filled.recovered(kind, damaged + below));
            }
            Err(reason @ (FillError::Log(LogError::NotAPosition(_)) | FillError::Pages(_))) => {
                tracing::info!(%reason, "the index is built anew from the log");
            }
            Err(error) => return Err(error.into()),
        }
    } else if let Err(reason) = &opened
        && !found.created
    {
        tracing::info!(%reason, "the index is built anew from the log");
    }
    let (state, number) = match place.create() {
        Ok((state, number)) => (state, Some(number)),
        // A full disk, most likely: no reason not to deliver what there is.
        Err(reason) => {
            tracing::error!(%reason, "no index can be made on the disk: it is kept in memory, and the next start tries again");
            (State::new(None, found.store_id), None)
        }
    };
    let filled = fill(log, place, failed, state, found.start)?;
    filled.flusher.settle();
    if let Some(Err(error)) = number.map(|number| place.adopt(number)) {
        tracing::warn!(%error, dir = %place.dir().display(), "the new index cannot be named; the next start builds it again");
        place
            .condemn()
            .map_err(at("set aside the old index in", place.dir()))?;
    }
    let kind = if found.created {
        RecoveryKind::Created
    } else {
        RecoveryKind::Rebuilt
    };
    Ok(filled.recovered(kind, damaged))
}

/// An index that is up to date with the log.
struct Filled {
    index: Index,
    flusher: Flusher,
    damaged: u64,
    met: BTreeSet<u64>,
}

impl Filled {
    /// Remembers a damaged body, which will be met again when it is wanted.
    fn note(&mut self, damage: &Damage) {
        if damage.kind == DamageKind::Body && self.met.len() < MET_MAX {
            self.met.insert(damage.from.0);
        }
    }

    /// `damaged`: what was counted besides.
    fn recovered(self, kind: RecoveryKind, damaged: u64) -> Recovered {
        Recovered {
            index: self.index,
            flusher: self.flusher,
            kind,
            damaged: damaged + self.damaged,
            met: self.met,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum FillError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Pages(#[from] PagesError),
    #[error("cannot start the index's thread: {0}")]
    Thread(#[from] io::Error),
}

impl From<FillError> for OpenError {
    fn from(error: FillError) -> Self {
        match error {
            FillError::Log(error) => OpenError::Log(error),
            FillError::Pages(error) => OpenError::Index(error),
            FillError::Thread(error) => OpenError::Writer(error.to_string()),
        }
    }
}

/// Brings `state` from `from` to the log's end.
fn fill(
    log: &Log,
    place: &Place,
    failed: &watch::Sender<Option<StoreFailure>>,
    state: State,
    from: Lsn,
) -> Result<Filled, FillError> {
    let index = Index::new(state);
    let (to_condemn, failed) = (place.clone(), failed.clone());
    let flusher = Flusher::start(
        index.clone(),
        place.clone(),
        move |failure: IndexFailure| {
            let place = to_condemn;
            if let Err(error) = place.condemn() {
                tracing::error!(%error, dir = %place.dir().display(), "the damaged index could not be set aside: delete this directory before the next start");
            }
            tracing::error!(%failure, "outboxd ends now; what was acknowledged is safe, and the next start recovers it");
            failed.send_replace(Some(StoreFailure(failure.to_string())));
        },
    )?;
    let mut filled = Filled {
        index: index.clone(),
        flusher,
        damaged: 0,
        met: BTreeSet::new(),
    };
    // A frame is applied under one lock: the index is never flushed with half of one.
    let mut held = None;
    let outcome = log.reader().replay(from, Lsn::MAX, |replayed| {
        let applied = match replayed {
            Replayed::Record(found) => {
                let state = held.get_or_insert_with(|| index.write());
                match Record::decode(found.kind, found.head) {
                    Ok(record) => state.apply(found.lsn.0, &record),
                    Err(error) => {
                        tracing::error!(%error, at = %found.lsn, "a damaged record is left out; the rest goes on");
                        filled.damaged += 1;
                        Ok(())
                    }
                }
            }
            Replayed::FrameEnd(end) => {
                let mut state = held.take().unwrap_or_else(|| index.write());
                state.meta.applied = end.0;
                drop(state);
                filled.flusher.breathe(true);
                Ok(())
            }
            Replayed::Damage(damage) => {
                tracing::error!(%damage, records = damage.records, "the log is damaged: acknowledged data is lost; the rest goes on");
                filled.damaged += damage.records.max(1);
                filled.note(&damage);
                Ok(())
            }
        };
        match applied {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    })?;
    drop(held);
    match outcome {
        ControlFlow::Break(error) => Err(error.into()),
        ControlFlow::Continue(end) => {
            index.write().meta.applied = end.0;
            Ok(filled)
        }
    }
}
