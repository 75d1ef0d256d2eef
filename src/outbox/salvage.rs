//! Copies what is whole of a damaged store into a new one.
//!
//! The damaged log is opened under an overlay, so nothing of it changes, and cleaned as the daemon
//! cleans: what is still wanted of the segments up to the last damaged one is written again at the
//! log's head, and those segments go. Later ones are copied as they are. What cleaning makes of
//! damage is what the daemon makes of it: an event without its body stays listed, and its open
//! deliveries are dead, reason `damaged`. Whole records in damaged frames, which a daemon does not
//! read, are read here.
//!
//! The copy is marked as unfinished until it has been read again and found whole, so half of one is
//! never served.

mod overlay;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::sync::watch;

use crate::clock::{Clock, SystemClock};
use crate::domain::delivery::{Reason, Status};
use crate::domain::event::EventId;
use crate::outbox::committer::{Committer, Parts, WriterError};
use crate::outbox::decide::limits::Limits;
use crate::outbox::directory::{
    OpenError, at, make_private, mark_unfinished, sync_way_to, take_lock, write_format,
};
use crate::outbox::disk::{Disk, SystemDisk, is_full};
use crate::outbox::handle::Shared;
use crate::outbox::index::open::Place;
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::{Generations, PagesError, Readers, keys};
use crate::outbox::log::{Log, LogError, LogOptions, Lsn};
use crate::outbox::maintain::{Asked, Cleaner, Cut};
use crate::outbox::open::start_flusher;
use crate::outbox::record::{DeliveryRow, Record};
use crate::outbox::recovery::{self, Recovered, StartFlusher};
use crate::outbox::request::{Placed, Step};
use crate::outbox::rules::{Defaults, LimitRules};
use crate::outbox::verify::{Harm, Later, Part, Report, Store, VerifyError};

use overlay::Overlay;

/// What the index may keep in memory.
const CACHE_BYTES: u64 = 64 << 20;
/// How many events one record forgets.
const FORGOTTEN_AT_ONCE: usize = 4096;

/// Why there is no finished copy.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} is in the store itself", .0.display())]
    Inside(PathBuf),
    #[error("there is no room for the copy: {} is unfinished, and no daemon opens it", .0.display())]
    NoRoom(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Writer(#[from] WriterError),
    #[error(transparent)]
    Cut(#[from] Cut),
    #[error("the copy cannot be read: {0}")]
    Verify(#[from] VerifyError),
    /// A fault of this program, or of the disk that the copy is on.
    #[error("the copy in {} is damaged itself", .0.display())]
    NotWhole(PathBuf),
}

/// What has become of a damaged event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All of it that is still wanted is in the copy.
    Saved,
    /// It is in the copy, without some of its attempts or of what receivers answered.
    SavedInPart,
    /// It is in the copy without its body: so many open deliveries are dead.
    WithoutBody { dead: u64 },
    /// It is not in the copy.
    Lost,
}

/// What was saved.
#[derive(Clone, Debug)]
pub struct Salvaged {
    /// The damaged events, in the report's order.
    pub fates: Vec<(EventId, Fate)>,
    /// The copy, as it was read again.
    pub copy: Report,
}

/// Copies what is whole of `store`, of which `report` was just made, into `into`: absent or empty.
/// `progress` is that of [`Store::verify`] while the copy is read again.
///
/// # Errors
/// There is no finished copy; what is there is marked, and no daemon opens it. `store` is as it was.
pub fn salvage(
    store: &Store,
    report: &Report,
    into: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Salvaged, SalvageError> {
    copy(store, report, into, progress).map_err(|error| match is_of_room(&error) {
        true => SalvageError::NoRoom(into.to_owned()),
        false => error,
    })
}

fn copy(
    store: &Store,
    report: &Report,
    into: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Salvaged, SalvageError> {
    prepare(store, into)?;
    let lock = take_lock(into)?;
    let overlay = Arc::new(Overlay::new(
        (store.dir().join("log"), store.disk()),
        (into.join("log"), Arc::new(SystemDisk)),
    ));
    let mut copying = Copying::begin(into, overlay.clone(), report.segment_size)?;
    if let Some(until) = report.damaged_below {
        copying.leave_behind(Lsn(until))?;
    }
    let fates = copying.fates(report)?;
    let lost = fates.iter().filter(|(_, fate)| *fate == Fate::Lost);
    copying.forget(lost.map(|(id, _)| id.0).collect())?;
    copying.end()?;
    let log = into.join("log");
    overlay.copy_rest().map_err(at("copy the log to", &log))?;
    // A start builds it anew.
    let index = into.join("index");
    std::fs::remove_dir_all(&index).map_err(at("remove", &index))?;
    drop(lock);
    let copy = Store::open(into)?.verify_unfinished(progress)?;
    if !copy.is_whole() {
        return Err(SalvageError::NotWhole(into.to_owned()));
    }
    write_format(into)?;
    sync_way_to(into)?;
    Ok(Salvaged { fates, copy })
}

/// Makes the directory, of which the first file says that it is unfinished.
fn prepare(store: &Store, into: &Path) -> Result<(), SalvageError> {
    let outside = store.dir().canonicalize();
    let outside = outside.map_err(at("find", store.dir()))?;
    let full = std::path::absolute(into).map_err(at("find", into))?;
    // What is not there yet is in no directory of the store's either.
    let mut there = full
        .ancestors()
        .filter_map(|above| above.canonicalize().ok());
    if there.next().is_some_and(|above| above.starts_with(outside)) {
        return Err(SalvageError::Inside(into.to_owned()));
    }
    make_private(into)?;
    let mut names = std::fs::read_dir(into).map_err(at("list", into))?;
    if names.next().is_some() {
        return Err(SalvageError::NotEmpty(into.to_owned()));
    }
    let owner_only = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(into, owner_only).map_err(at("protect", into))?;
    Ok(mark_unfinished(into)?)
}

/// Whether it failed for want of space.
fn is_of_room(error: &SalvageError) -> bool {
    let of_log = |error: &LogError| match error {
        LogError::NoSpace => true,
        LogError::Failed { source, .. } => is_full(source),
        _ => false,
    };
    match error {
        SalvageError::Cut(Cut::Refused(placed)) => *placed == Placed::NoRoom,
        SalvageError::Log(error)
        | SalvageError::Writer(WriterError::Log(error))
        | SalvageError::Cut(Cut::Log(error))
        | SalvageError::Open(OpenError::Log(error)) => of_log(error),
        SalvageError::Open(OpenError::Io { source, .. }) => is_full(source),
        _ => false,
    }
}

/// A store without a dispatcher and without threads of its own but the index's: it is cleaned, and
/// nothing else.
struct Copying {
    committer: Committer,
}

impl Copying {
    fn begin(into: &Path, disk: Arc<dyn Disk>, segment_size: u64) -> Result<Self, SalvageError> {
        disk.make_dir(&into.join("log"))
            .map_err(at("make the directory", &into.join("log")))?;
        let options = LogOptions::new(segment_size).on(disk).with_strays();
        let (log, found) = Log::open(into, options, None)?;
        let index_dir = into.join("index");
        make_private(&index_dir)?;
        let generations: Arc<dyn Generations> =
            Arc::new(Place::new(index_dir, found.store_id, None, CACHE_BYTES));
        let (failed, _) = watch::channel(None);
        let (kept, told) = (generations.clone(), failed.clone());
        let start: StartFlusher = Arc::new(move |index| start_flusher(index, &kept, &told));
        let Recovered {
            index,
            flusher,
            kind,
            met,
            ..
        } = recovery::recover(&log, &found, &generations, &start)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let shared = Arc::new(Shared::new(
            Readers::new(index.clone()),
            log.reader(),
            generations,
            clock,
            failed,
            (kind, Duration::ZERO),
            met,
        ));
        // Nothing is refused, and no idempotency key is past its window: the daemon that opens the
        // copy judges that.
        let limits = Limits::new(&LimitRules {
            max_size: u64::MAX,
            endpoint_share: 1.0,
            min_free_disk: 0,
            idempotency_window: Duration::MAX,
            max_in_flight: 0,
            segment_size,
        });
        // Both receivers are dropped: nothing is dispatched, and no bulk work is done.
        let (nudge, _) = mpsc::sync_channel(1);
        let (commits, _) = tokio::sync::mpsc::unbounded_channel();
        let random: SmallRng = rand::make_rng();
        Ok(Copying {
            committer: Committer::new(Parts {
                log,
                index,
                flusher,
                start_flusher: start,
                limits,
                defaults: Defaults::default(),
                shared,
                commits,
                random,
                nudge,
            }),
        })
    }

    /// Writes again what is wanted of the segments with something below `until`, and drops them.
    fn leave_behind(&mut self, until: Lsn) -> Result<(), SalvageError> {
        let log = &mut self.committer.log;
        if until.0 > log.current_base() {
            log.begin_segment()?;
        }
        let segments = log.segments();
        let mut kept = segments.iter().map(|(base, _)| *base);
        let start = kept.find(|base| *base >= until);
        let start = start.unwrap_or(Lsn(log.current_base()));
        let cleaner = Cleaner::new(self.committer.shared.clone());
        let mut steps = Steps {
            committer: &mut self.committer,
            failed: None,
        };
        let cleared = cleaner.clear_below(start, &mut steps);
        match steps.failed {
            Some(error) => Err(error.into()),
            None => Ok(cleared?),
        }
    }

    /// What has become of the events that are damaged.
    fn fates(&self, report: &Report) -> Result<Vec<(EventId, Fate)>, SalvageError> {
        let mut fates = Vec::with_capacity(report.events.len());
        for event in &report.events {
            let fate = self.fate(event.id).map_err(WriterError::Index)?;
            let is_of_attempts = |part| matches!(part, Part::Attempt | Part::Response | Part::Step);
            let is_in_part = event
                .hits
                .iter()
                .any(|hit| hit.harm != Harm::Stray && is_of_attempts(hit.part));
            let fate = match fate {
                Fate::Lost if event.later == Later::Forgotten => Fate::Saved,
                Fate::Saved if is_in_part => Fate::SavedInPart,
                fate => fate,
            };
            fates.push((event.id, fate));
        }
        Ok(fates)
    }

    fn fate(&self, id: EventId) -> Result<Fate, PagesError> {
        let state = self.committer.index.read();
        if state.erased_entry(id)?.is_some() {
            return Ok(Fate::Saved);
        }
        let Some(bytes) = state.entries.get(&keys::event(id))? else {
            return Ok(Fate::Lost);
        };
        let row: EventRow<'_> = rows::decode(&bytes).map_err(|_| PagesError::Damaged)?;
        if !row.body_lost {
            return Ok(Fate::Saved);
        }
        let deliveries = state.delivery_rows(id)?;
        let is_dead = |row: DeliveryRow| {
            row.delivery().is_some_and(|found| {
                found.status == Status::Dead && found.reason == Some(Reason::Damaged)
            })
        };
        let dead = deliveries.iter().filter(|(_, row)| is_dead(*row)).count() as u64;
        Ok(Fate::WithoutBody { dead })
    }

    /// Says of events that nothing more is known of them: later records may name them.
    fn forget(&mut self, ids: Vec<u128>) -> Result<(), SalvageError> {
        for ids in ids.chunks(FORGOTTEN_AT_ONCE) {
            let placed = self.committer.push_one(|_, draft| {
                draft.push(&Record::Forgotten(ids.to_vec()), &[])?;
                Ok(())
            })?;
            if !placed.is_durable() {
                return Err(Cut::Refused(placed).into());
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), SalvageError> {
        self.committer.log.mark()?;
        // What it leaves is deleted.
        let _ = self.committer.flusher.stop();
        Ok(())
    }
}

/// Takes the cleaner's steps at once.
struct Steps<'a> {
    committer: &'a mut Committer,
    failed: Option<WriterError>,
}

impl Asked for Steps<'_> {
    fn ask(&mut self, step: Step) -> Result<Placed, Cut> {
        self.committer.take_step(step).map_err(|error| {
            self.failed = Some(error);
            Cut::Stopped
        })
    }
}
