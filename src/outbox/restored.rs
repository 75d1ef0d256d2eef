//! A data directory that a restore brings back: made to end where it should, and begun.
//!
//! What was shipped is a log, with segments that it had dropped since. Where the restore goes back
//! in time, the log is cut after the last batch of that time, what was erased later is erased in it
//! as well, and definitions that were overwritten since are replaced (`definitions`). The file
//! `RESTORED` tells the first start where the store comes from.

mod definitions;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::event::EventId;
use crate::domain::time::Timestamp;
use crate::outbox::directory::{self, OpenError};
use crate::outbox::disk::SystemDisk;
use crate::outbox::log::{
    Body, Damage, History, Log, LogError, LogOptions, Lsn, Record as Raw, Replayed,
};
use crate::outbox::maintain::is_copy;
use crate::outbox::record::{Defined, ErasedRow, Record};

use definitions::{Definitions, Mended};

/// The file that the first start looks for.
const FILE: &str = "RESTORED";
/// Of how many damaged places each is named.
const DAMAGE_NAMED: usize = 1000;

/// Where a restored store comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub from: String,
    pub generation: String,
    pub restored_at: String,
    /// Every endpoint is disabled before anything is delivered.
    pub held: bool,
}

/// What a restore brought back.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Where the log ends.
    pub end: u64,
    /// The newest moment that is in it.
    pub last_at: Option<Timestamp>,
    /// Acceptances in it, whatever became of the events since.
    pub accepted: u64,
    /// Events that were erased after the log's end, and are erased in it too.
    pub erased: u64,
    /// Endpoints and sources with a later definition than they had, and those that are deleted:
    /// what they had was overwritten since.
    pub definitions: Mended,
    /// What is missing or does not match its checksums: the first thousand places.
    pub damage: Vec<Damage>,
    /// All of them.
    pub damaged: u64,
}

/// Why a restored directory cannot be finished.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Directory(#[from] OpenError),
    #[error("nothing that was shipped is as old as {until}; the oldest is of {oldest}")]
    TooEarly { until: Timestamp, oldest: Timestamp },
    #[error("nothing that was shipped says when it was")]
    NoTime,
}

/// Makes the log in `data_dir/log` end after the last batch of `until`, checks every frame of it,
/// and erases what was erased later.
pub fn finish(data_dir: &Path, until: Option<Timestamp>) -> Result<Restored, RestoreError> {
    let disk = Arc::new(SystemDisk);
    let history = History::read(data_dir, disk)?;
    let options = LogOptions::new(history.longest());
    let mut walk = Survey::new(until);
    walk.all(&history)?;
    let end = match until {
        None => None,
        Some(until) => Some(walk.end_of(until)?),
    };
    let mut restored = walk.restored(end);
    let amends = match end {
        None => Amends {
            definitions: walk.definitions,
            ..Amends::default()
        },
        Some(end) => {
            let amends = Amends::find(&history, walk.erased_from(end), end)?;
            history.cut(end)?;
            amends
        }
    };
    if !amends.erased.is_empty() || !amends.definitions.are_whole() {
        restored.erased = amends.erased.len() as u64;
        restored.definitions = amends.push(data_dir, options)?;
    }
    Ok(restored)
}

/// What a walk over the whole log finds.
#[derive(Default)]
struct Survey {
    until: Option<Timestamp>,
    /// The newest moment of the batch that is being read.
    batch_at: Option<u64>,
    batch_accepted: u64,
    oldest: Option<u64>,
    /// The end of the last batch that counts, what it and those before have, and when it was.
    end: Option<Lsn>,
    accepted: u64,
    last_at: Option<u64>,
    /// All acceptances, whether they count or not.
    all_accepted: u64,
    all_last_at: Option<u64>,
    log_end: Lsn,
    erased: Vec<(Lsn, ErasedRow)>,
    definitions: Definitions,
    damage: Vec<Damage>,
    damaged: u64,
}

impl Survey {
    fn new(until: Option<Timestamp>) -> Survey {
        Survey {
            until,
            ..Survey::default()
        }
    }

    fn all(&mut self, history: &History) -> Result<(), LogError> {
        if let Some(missing) = history.missing() {
            self.damage(missing);
        }
        let reader = history.reader();
        let _ = reader.replay(reader.start(), Lsn::MAX, |replayed| {
            match replayed {
                Replayed::Record(found) => self.record(&found),
                Replayed::FrameEnd { end, ends_batch } => {
                    if ends_batch {
                        self.batch(end);
                    }
                }
                Replayed::Damage(damage) => self.damage(damage),
            }
            ControlFlow::<()>::Continue(())
        })?;
        Ok(())
    }

    fn record(&mut self, found: &Raw<'_>) {
        self.definitions.note(found, Lsn::MAX);
        let Ok(Some(record)) = Record::decode(found.kind, found.head, found.body.intact()) else {
            return;
        };
        if let Record::Accepted(_) = &record {
            self.batch_accepted += 1;
        }
        if let Record::Erased(row) = &record {
            self.erased.push((found.lsn, *row));
        }
        self.batch_at = self.batch_at.max(moment_of(&record));
    }

    fn batch(&mut self, end: Lsn) {
        self.log_end = end;
        let (at, accepted) = (
            self.batch_at.take(),
            std::mem::take(&mut self.batch_accepted),
        );
        self.all_accepted += accepted;
        self.all_last_at = self.all_last_at.max(at);
        let Some(at) = at else {
            return;
        };
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        let counts = self.until.is_none_or(|until| at <= until.as_millis());
        if counts {
            // Batches without a time, or with a later one because a clock was wrong, are between.
            self.end = Some(end);
            self.accepted = self.all_accepted;
            self.last_at = self.last_at.max(Some(at));
        }
    }

    fn damage(&mut self, damage: Damage) {
        self.damaged += 1;
        if self.damage.len() < DAMAGE_NAMED {
            self.damage.push(damage);
        }
    }

    /// Where the log of `until` ends.
    fn end_of(&self, until: Timestamp) -> Result<Lsn, RestoreError> {
        self.end.ok_or_else(|| match self.oldest {
            Some(oldest) => RestoreError::TooEarly {
                until,
                oldest: Timestamp::from_millis(oldest),
            },
            None => RestoreError::NoTime,
        })
    }

    fn restored(&self, end: Option<Lsn>) -> Restored {
        let cut = end.unwrap_or(Lsn::MAX);
        let counts = |damage: &&Damage| damage.from < cut;
        let damage: Vec<_> = self.damage.iter().filter(counts).copied().collect();
        let (accepted, last_at) = match end {
            Some(_) => (self.accepted, self.last_at),
            None => (self.all_accepted, self.all_last_at),
        };
        Restored {
            end: end.unwrap_or(self.log_end).0,
            last_at: last_at.map(Timestamp::from_millis),
            accepted,
            erased: 0,
            definitions: Mended::default(),
            damaged: match end {
                Some(_) => damage.len() as u64,
                None => self.damaged,
            },
            damage,
        }
    }

    /// What was erased from `end` on.
    fn erased_from(&self, end: Lsn) -> BTreeMap<EventId, ErasedRow> {
        let later = self.erased.iter().filter(|(lsn, _)| *lsn >= end);
        later.map(|(_, row)| (EventId(row.id), *row)).collect()
    }
}

/// When what a record says was, if it says so.
fn moment_of(record: &Record<'_>) -> Option<u64> {
    match record {
        Record::Accepted(accepted) => Some(accepted.event.accepted_at),
        Record::Attempted(attempted) => Some(attempted.ended_at),
        Record::Erased(row) => Some(row.at),
        Record::EndpointSpec(row) => Some(row.changed_at),
        Record::EndpointDeleted(deleted) => Some(deleted.at),
        _ => None,
    }
}

/// What is to be overwritten in a log.
#[derive(Clone, Copy, Debug)]
pub struct Unwanted<'a> {
    /// The bodies of these events.
    pub events: &'a BTreeSet<EventId>,
    /// All definitions of endpoints and sources.
    pub definitions: bool,
}

impl Unwanted<'_> {
    /// Whether anything is.
    pub fn is_any(&self) -> bool {
        !self.events.is_empty() || self.definitions
    }

    /// Whether the record has some of it in its body.
    fn is_in(&self, found: &Raw<'_>) -> bool {
        if matches!(found.body, Body::Intact([]) | Body::Erased) {
            return false;
        }
        (self.definitions && Defined::by(found.kind, found.head).is_some())
            || (!self.events.is_empty() && is_copy(self.events, found))
    }
}

/// Shows `take` all records of a log.
fn each_record(history: &History, mut take: impl FnMut(&Raw<'_>)) -> Result<(), LogError> {
    let reader = history.reader();
    let _ = reader.replay(reader.start(), Lsn::MAX, |replayed| {
        if let Replayed::Record(found) = replayed {
            take(&found);
        }
        ControlFlow::<()>::Continue(())
    })?;
    Ok(())
}

/// What a restored log is made to say at its end.
#[derive(Default)]
struct Amends {
    erased: BTreeMap<EventId, ErasedRow>,
    /// Where the bodies of these events are.
    copies: Vec<Lsn>,
    definitions: Definitions,
}

impl Amends {
    /// What a log that will end at `end` needs, where these events were erased later.
    fn find(
        history: &History,
        erased: BTreeMap<EventId, ErasedRow>,
        end: Lsn,
    ) -> Result<Amends, LogError> {
        let events = erased.keys().copied().collect();
        let unwanted = Unwanted {
            events: &events,
            definitions: false,
        };
        let (mut copies, mut definitions) = (Vec::new(), Definitions::default());
        each_record(history, |found| {
            definitions.note(found, end);
            if found.lsn < end && unwanted.is_in(found) {
                copies.push(found.lsn);
            }
        })?;
        Ok(Amends {
            erased,
            copies,
            definitions,
        })
    }

    /// Says in the log that the events are erased, then overwrites their bodies, and mends
    /// definitions.
    fn push(&self, data_dir: &Path, options: LogOptions) -> Result<Mended, RestoreError> {
        let (mut log, _) = Log::open(data_dir, options, None)?;
        if !self.erased.is_empty() {
            let mut batch = log.batch();
            for row in self.erased.values() {
                let record = Record::Erased(ErasedRow {
                    done: false,
                    ..*row
                });
                batch.push_with(record.kind(), |out| record.encode(out), &[])?;
            }
            log.commit(&mut batch)?;
            log.erase(&self.copies)?;
        }
        Ok(self.definitions.push(&mut log)?)
    }
}

/// Overwrites this in a log of one segment below `data_dir`. How often bodies in it were overwritten
/// then; `None`: it has nothing of it.
pub fn erase_in(data_dir: &Path, unwanted: &Unwanted<'_>) -> Result<Option<u64>, RestoreError> {
    let history = History::read(data_dir, Arc::new(SystemDisk))?;
    let mut found = Vec::new();
    each_record(&history, |record| {
        if unwanted.is_in(record) {
            found.push(record.lsn);
        }
    })?;
    if found.is_empty() {
        return Ok(None);
    }
    Ok(Some(history.erase(&found)?))
}

/// Says where the store comes from, and then that it is whole. A directory without `FORMAT` is one
/// whose restore was cut short.
pub fn begin(data_dir: &Path, origin: &Origin) -> Result<(), OpenError> {
    let path = data_dir.join(FILE);
    let text = serde_json::to_vec_pretty(origin).unwrap_or_default();
    let write = || -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&path)?;
        file.write_all(&text)?;
        file.sync_all()
    };
    write().map_err(directory::at("write", &path))?;
    directory::write_format(data_dir)
}

/// Where the store comes from, until its first start is over.
pub fn origin(data_dir: &Path) -> Result<Option<Origin>, OpenError> {
    let path = data_dir.join(FILE);
    match fs::read(&path) {
        Ok(text) => {
            let origin = serde_json::from_slice(&text).map_err(io::Error::other);
            origin.map(Some).map_err(directory::at("read", &path))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(directory::at("read", &path)(error)),
    }
}

/// The first start is over: what it had to do is durable.
pub fn begun(data_dir: &Path) -> Result<(), OpenError> {
    let path = data_dir.join(FILE);
    fs::remove_file(&path)
        .and_then(|()| fs::File::open(data_dir)?.sync_all())
        .map_err(directory::at("remove", &path))
}
