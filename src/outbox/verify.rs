//! Reads a store that no daemon has open, all of it, and says what of it is damaged: by event
//! where an event is known, else by place.
//!
//! It writes nothing, and needs no index: the log is the truth. What is judged is a data directory,
//! wherever it comes from.

mod judge;
mod known;
mod patient;
mod report;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::outbox::directory::{OpenError, read_format, share_lock};
use crate::outbox::disk::{Disk, SystemDisk};
use crate::outbox::log::{Damage, DamageKind, Found, LogError, LogReader, Lsn, Replayed, Trace};

use judge::{Judge, Judged, RawEvent, RawPlace};
use patient::is_rot;

pub use patient::{PatientDisk, Unreadable};
pub use report::{
    Counts, DamagedEvent, DamagedPlace, Harm, Hit, Later, Part, Place, PlaceKind, Report,
};

/// Why a store could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{} is not the data directory of a store: it has no segment of a log", .0.display())]
    NotAStore(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A store on which no daemon can start for as long as this lives.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    disk: Arc<PatientDisk>,
    _lock: Option<File>,
}

impl Store {
    /// # Errors
    /// There is no store, a daemon has it open, or it is of a kind that this version cannot read.
    pub fn open(dir: &Path) -> Result<Store, VerifyError> {
        let lock = share_lock(dir)?;
        let disk = Arc::new(SystemDisk);
        let names = match disk.list(&dir.join("log")) {
            Ok(names) => names,
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) =>
            {
                return Err(VerifyError::NotAStore(dir.to_owned()));
            }
            Err(source) => {
                let (doing, path) = ("list", dir.join("log"));
                return Err(OpenError::Io {
                    doing,
                    path,
                    source,
                }
                .into());
            }
        };
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "log");
        if !names.iter().any(is_segment) {
            return Err(VerifyError::NotAStore(dir.to_owned()));
        }
        Ok(Store {
            _lock: lock,
            ..Store::on(dir, disk)
        })
    }

    /// The store in `dir` of any disk, such as a simulated one. Nothing may change it meanwhile.
    pub fn on(dir: &Path, disk: Arc<dyn Disk>) -> Store {
        Store {
            dir: dir.to_owned(),
            disk: Arc::new(PatientDisk::new(disk)),
            _lock: None,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its files, as far as they can be read. Nothing can be written.
    pub fn disk(&self) -> Arc<PatientDisk> {
        self.disk.clone()
    }

    /// Reads everything. `progress` hears how many bytes of the log are done, and of how many.
    ///
    /// # Errors
    /// Nothing can be said: another format, no segment with a valid header, a file that may not
    /// be read.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, VerifyError> {
        let format = self.format()?;
        let mut report = self.verify_unfinished(progress)?;
        // A store without it is one in the making, in which nothing was acknowledged yet.
        report
            .places
            .extend(format.filter(|_| report.counts.records > 0));
        Ok(report)
    }

    /// Reads everything but `FORMAT`, of a copy that has yet to be finished.
    ///
    /// # Errors
    /// See [`Store::verify`].
    pub fn verify_unfinished(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Report, VerifyError> {
        let (reader, found) = LogReader::look(&self.dir, self.disk.clone())?;
        let judged = judge_log(&reader, &found, progress)?;
        let mut report = reported(judged, &reader, &found);
        self.add_unreadable(&mut report);
        Ok(report)
    }

    /// What is wrong with `FORMAT`.
    fn format(&self) -> Result<Option<DamagedPlace>, VerifyError> {
        let detail = match read_format(&self.dir) {
            Ok(true) => return Ok(None),
            Ok(false) => "it is missing".to_owned(),
            Err(OpenError::DamagedFormat { what, .. }) => format!("it {what}"),
            Err(OpenError::Io { source, .. }) if is_rot(&source) => source.to_string(),
            Err(error) => return Err(error.into()),
        };
        let place = Place {
            file: "FORMAT".to_owned(),
            offset: 0,
            position: None,
        };
        Ok(Some(DamagedPlace {
            kind: PlaceKind::Format,
            place,
            bytes: 0,
            detail,
        }))
    }

    fn add_unreadable(&self, report: &mut Report) {
        for Unreadable { path, from, to } in self.disk.unreadable() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let base = name.strip_suffix(".log");
            let base = base.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let below = base.map(|base| base.saturating_add(to));
            report.damaged_below = report.damaged_below.max(below);
            report.places.push(DamagedPlace {
                kind: PlaceKind::Unreadable,
                place: Place {
                    file: format!("log/{name}"),
                    offset: from,
                    position: base.map(|base| base.saturating_add(from)),
                },
                bytes: to - from,
                detail: "the disk does not give it".to_owned(),
            });
        }
    }
}

/// Gives a judge all of the log.
fn judge_log(
    reader: &LogReader,
    found: &Found,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Judged, LogError> {
    let mut judge = Judge::new(found.start);
    let total = reader.end().0.saturating_sub(found.start.0);
    for (damage, is_missing) in reader.harmed_segments() {
        judge.segment(damage, is_missing);
    }
    let flow = reader.replay(found.start, Lsn::MAX, |replayed| {
        let judged = match replayed {
            Replayed::Record(record) => {
                judge.record(&record);
                Ok(())
            }
            Replayed::FrameEnd { end, .. } => {
                judge.frame();
                progress(end.0.saturating_sub(found.start.0), total);
                Ok(())
            }
            Replayed::Damage(damage) => judge_damage(reader, &mut judge, damage),
        };
        match judged {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    })?;
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(_) => Ok(judge.finish()),
    }
}

/// Looks closer at what is damaged: records stand there that name their events.
fn judge_damage(reader: &LogReader, judge: &mut Judge, damage: Damage) -> Result<(), LogError> {
    let mut is_attributed = false;
    if matches!(damage.kind, DamageKind::Frames | DamageKind::Record) {
        let _ = reader.traces(damage.from, damage.to, |trace| {
            match trace {
                // Those of a frame that is whole otherwise are delivered with it.
                Trace::Record(record) if damage.kind == DamageKind::Frames => judge.stray(&record),
                Trace::Record(_) => {}
                Trace::Head { lsn, kind, mended } => {
                    is_attributed |= judge.harmed_head(lsn, kind, mended.as_deref());
                }
            }
            ControlFlow::<()>::Continue(())
        })?;
    }
    judge.damage(damage, is_attributed);
    Ok(())
}

fn reported(mut judged: Judged, reader: &LogReader, found: &Found) -> Report {
    let segments = reader.segments();
    judged.places.sort_by_key(|place| place.from);
    let place = |at: Lsn| {
        let (file, offset) = reader.place_of(at);
        Place {
            file: format!("log/{file}"),
            offset,
            position: Some(at.0),
        }
    };
    let hits = judged.events.iter().flat_map(|event| &event.hits);
    let hits = hits.filter(|hit| hit.harm != Harm::Missing);
    let ends = hits.map(|hit| hit.at.0.saturating_add(1));
    let ends = ends.chain(judged.places.iter().map(|place| place.to.0));
    let damaged_below = ends.max();
    let name = |no: Option<u32>| {
        let known = |no: u32| judged.endpoints.get(&no).cloned();
        no.map(|no| known(no).unwrap_or_else(|| format!("number {no}")))
    };
    let event = |event: RawEvent| DamagedEvent {
        id: event.id,
        event_type: event.event_type,
        tenant: event.tenant,
        hits: event
            .hits
            .into_iter()
            .map(|hit| Hit {
                part: hit.part,
                harm: hit.harm,
                endpoint: name(hit.endpoint),
                place: place(hit.at),
            })
            .collect(),
        later: event.later,
    };
    let damaged = |found: RawPlace| DamagedPlace {
        kind: found.kind,
        place: place(found.from),
        bytes: found.to.0.saturating_sub(found.from.0),
        detail: found.detail,
    };
    Report {
        counts: Counts {
            segments: segments.len() as u64,
            bytes: segments.iter().map(|(_, len)| len).sum(),
            ..judged.counts
        },
        start: found.start.0,
        end: reader.end().0,
        torn: found.torn.map(|torn| (torn.at.0, torn.bytes)),
        events: judged.events.into_iter().map(event).collect(),
        places: judged.places.into_iter().map(damaged).collect(),
        damaged_below,
        segment_size: segments.last().map_or(0, |(_, len)| *len),
    }
}
