//! Bringing the index in line with the log: used as it is, brought up to date, or built anew.
//!
//! The index on disk is used if it is this boot's, opens, and is not ahead of the log; the
//! log after it is replayed. In any other case it is built anew from the whole log, aside.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::outbox::directory::OpenError;
use crate::outbox::disk::allocates_on_overwrite;
use crate::outbox::handle::MET_MAX;
use crate::outbox::index::open::Unusable;
use crate::outbox::index::{Flusher, Generations, Index, PagesError, ROUND_DEADLINE, State};
use crate::outbox::log::{Damage, DamageKind, Found, Log, LogError, Lsn};
use crate::outbox::read_ahead::{self, Met, ReplayError};
use crate::outbox::views::RecoveryKind;

/// Starts what moves the index's overlay along.
pub type StartFlusher = Arc<dyn Fn(Index) -> io::Result<Flusher> + Send + Sync>;

/// Logs what opening the log in `log_dir` found.
pub fn report(found: &Found, log_dir: &Path) {
    if let Some(torn) = &found.torn {
        tracing::info!(at = %torn.at, bytes = torn.bytes, "a write that was never acknowledged was cut off the log's end");
    }
    for damage in &found.damage {
        tracing::error!(%damage, records = damage.records, "the log is damaged: acknowledged data is lost; the rest goes on");
    }
    report_file_system(log_dir);
}

/// Logs what the file system of the log does not do as the log wants it.
fn report_file_system(log_dir: &Path) {
    if let Some(kind) = allocates_on_overwrite(log_dir) {
        tracing::warn!(
            dir = %log_dir.display(),
            "the log is on {kind}, which does not overwrite in place: a full disk or quota can leave no room for outcomes or end the daemon, and erased bytes can stay in old blocks; a `log/` that is made on btrfs with the attribute C (chattr +C), ext4 or XFS has neither"
        );
    }
}

/// An index that is in line with the log.
pub struct Recovered {
    pub index: Index,
    pub flusher: Flusher,
    pub kind: RecoveryKind,
    /// Records of acknowledged data that are damaged.
    pub damaged: u64,
    /// Where damaged records are whose event is known all the same.
    pub met: BTreeSet<u64>,
}

/// Brings the index in line with the log.
pub fn recover(
    log: &Log,
    found: &Found,
    generations: &Arc<dyn Generations>,
    start: &StartFlusher,
) -> Result<Recovered, OpenError> {
    let mut damaged = 0;
    let opened = generations.open().and_then(|state| {
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
        match fill(log, start, state, from, &AtomicU64::default()) {
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
    clear(generations);
    let made = create(generations);
    let mut rebuilt = rebuild(
        log,
        found.store_id,
        generations,
        start,
        made,
        &AtomicU64::default(),
    )?;
    rebuilt.damaged += damaged;
    if found.created {
        rebuilt.kind = RecoveryKind::Created;
    }
    Ok(rebuilt)
}

/// An empty index on the disk, and the number of its generation.
pub type Made = (State, u64);

/// Deletes the files of an index that can no longer be used: a new one may need the room.
pub fn clear(generations: &Arc<dyn Generations>) {
    if let Err(error) = generations.discard_all() {
        tracing::warn!(%error, "the files of the old index could not be deleted");
    }
}

/// Makes an index on the disk, if that is possible; a failure is logged.
pub fn create(generations: &Arc<dyn Generations>) -> Option<Made> {
    let made = generations.create();
    if let Err(reason) = &made {
        tracing::error!(%reason, "no index can be made on the disk");
    }
    made.ok()
}

/// Builds the index from the whole log: in `made`, or in memory if there is none or it cannot
/// be written. A full disk must not stop deliveries. Counts the frames that it has read.
pub fn rebuild(
    log: &Log,
    store_id: [u8; 16],
    generations: &Arc<dyn Generations>,
    start: &StartFlusher,
    made: Option<Made>,
    frames: &AtomicU64,
) -> Result<Recovered, OpenError> {
    if let Some((state, number)) = made {
        match fill(log, start, state, log.start(), frames) {
            Ok(filled) => {
                filled.flusher.settle();
                let Some(reason) = filled.index.read().entries.failure() else {
                    if let Err(error) = generations.adopt(number) {
                        tracing::warn!(%error, "the new index cannot be named; the next start builds it again");
                        generations.condemn();
                    }
                    return Ok(filled.recovered(RecoveryKind::Rebuilt, 0));
                };
                tracing::error!(%reason, "the new index cannot be written");
            }
            Err(FillError::Pages(reason)) => {
                tracing::error!(%reason, "the new index cannot be read");
            }
            Err(error) => return Err(error.into()),
        }
        clear(generations);
    }
    tracing::error!("the index is kept in memory until there can be one on the disk");
    let state = State::new(None, store_id);
    let filled = fill(log, start, state, log.start(), frames)?;
    Ok(filled.recovered(RecoveryKind::Rebuilt, 0))
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

impl From<ReplayError<PagesError>> for FillError {
    fn from(error: ReplayError<PagesError>) -> Self {
        match error {
            ReplayError::Log(error) => FillError::Log(error),
            ReplayError::Refused(error) => FillError::Pages(error),
        }
    }
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

/// Brings `state` from `from` to the log's end, and counts the frames.
fn fill(
    log: &Log,
    start: &StartFlusher,
    mut state: State,
    from: Lsn,
    frames: &AtomicU64,
) -> Result<Filled, FillError> {
    for (base, _) in log.segments() {
        state.segments.begins(base.0);
    }
    let index = Index::new(state);
    let flusher = start(index.clone())?;
    let is_manual = flusher.is_manual();
    let mut filled = Filled {
        index: index.clone(),
        flusher,
        damaged: 0,
        met: BTreeSet::new(),
    };
    // A frame is applied under one lock: the index is never flushed with half of one.
    let mut held = None;
    let each = |met: &Met<'_>| match met {
        Met::Record(lsn, record) => {
            let state = held.get_or_insert_with(|| index.write());
            match record {
                Ok(Some(record)) => state.apply(lsn.0, record),
                // A later record has the definition, or it was reported as damage just before.
                Ok(None) => Ok(()),
                Err(error) => {
                    tracing::error!(%error, at = %lsn, "a damaged record is left out; the rest goes on");
                    filled.damaged += 1;
                    Ok(())
                }
            }
        }
        Met::FrameEnd(end) => {
            let mut state = held.take().unwrap_or_else(|| index.write());
            state.meta.applied = end.0;
            drop(state);
            frames.fetch_add(1, Relaxed);
            filled.flusher.breathe(ROUND_DEADLINE);
            Ok(())
        }
        Met::Damage(damage) => {
            tracing::error!(%damage, records = damage.records, "the log is damaged: acknowledged data is lost; the rest goes on");
            filled.damaged += damage.records.max(1);
            filled.note(damage);
            Ok(())
        }
    };
    // A simulation does everything on one thread.
    let end = match is_manual {
        true => read_ahead::replay(&log.reader(), from, each),
        false => read_ahead::replay_ahead(&log.reader(), from, each),
    }?;
    drop(held);
    index.write().meta.applied = end.0;
    Ok(filled)
}
