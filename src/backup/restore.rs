//! Bringing a store back from what was shipped.
//!
//! The parts of the newest complete generation, or of a chosen one, become segments again; then
//! `outbox::restored` checks every frame and makes the log end where it should. Until the end
//! `FORMAT` keeps a start from taking the directory for a store.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::cover::{self, Piece};
use super::generation::{About, FORMAT};
use super::names::{Generation, Name, Part};
use super::place::{Listed, Place, PlaceError};
use crate::clock;
use crate::domain::time::Timestamp;
use crate::outbox::restored::{self, Origin, RestoreError as FinishError, Restored};
use crate::outbox::{OpenError, mark_unfinished, segment_len};

/// Parts that are fetched at once.
const FETCHES: usize = 4;

/// What is to be restored.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `None`: the newest that is complete, or if none is, the newest.
    pub generation: Option<Generation>,
    /// `None`: all that was shipped.
    pub until: Option<Timestamp>,
    /// Every endpoint is disabled at the first start.
    pub held: bool,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{} is not empty: name a directory that does not exist or is empty", .0.display())]
    NotEmpty(PathBuf),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("there is no generation there")]
    NoGeneration,
    #[error("there is no generation {0} there")]
    NoSuchGeneration(Generation),
    #[error("generation {0} has nothing of a log")]
    Empty(Generation),
    #[error("generation.json of {0} cannot be read")]
    About(Generation),
    #[error("generation {generation} was written by a newer outboxd (format {format})")]
    Newer { generation: Generation, format: u32 },
    #[error("generation {0} is sealed: name its key with --key-file")]
    NoKey(Generation),
    #[error(
        "generation {generation} is sealed with another key (its id is {wanted}, that of the key given {given})"
    )]
    OtherKey {
        generation: Generation,
        wanted: String,
        given: String,
    },
    #[error("the first bytes of the segment at {base:#x} are missing: it cannot be restored")]
    NoHeader { base: u64 },
    #[error(transparent)]
    Finish(#[from] FinishError),
    #[error(transparent)]
    Directory(#[from] OpenError),
}

/// Bytes of a segment that are nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    pub base: u64,
    pub from: u64,
    pub to: u64,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Report {
    pub generation: Generation,
    /// Whether it had all of the log at least once.
    pub is_complete: bool,
    /// Later ones, which never were complete.
    pub others: Vec<Generation>,
    pub log: Restored,
    pub missing: Vec<Missing>,
    /// Bytes that were fetched.
    pub bytes: u64,
}

/// How far a restore is: bytes fetched, of all.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Restores into `dir`, which must not exist or be empty.
pub async fn restore(
    place: &Place,
    from: &str,
    dir: &Path,
    wanted: &Wanted,
    progress: Progress,
) -> Result<Report, RestoreError> {
    let (generation, others) = choose(place, wanted.generation).await?;
    let is_complete = place.has(generation, Name::Complete).await?;
    check_key(place, generation).await?;
    let objects = place.list(generation).await?;
    let segments = segments(place, &objects, wanted.until);
    if segments.is_empty() {
        return Err(RestoreError::Empty(generation));
    }
    make_empty(dir)?;
    mark_unfinished(dir)?;
    let log_dir = dir.join("log");
    make_dir(&log_dir)?;
    let total = segments.iter().flat_map(|(_, pieces)| pieces);
    let total: u64 = total.filter_map(Piece::len_there).sum();
    let fetch = Fetch {
        place,
        generation,
        dir: &log_dir,
        progress,
        total,
    };
    let (bytes, missing) = fetch.all(&segments).await?;
    let data_dir = dir.to_owned();
    let until = wanted.until;
    let finish = tokio::task::spawn_blocking(move || restored::finish(&data_dir, until));
    let log = finish.await.map_err(|error| RestoreError::Io {
        doing: "check",
        path: log_dir.clone(),
        source: error.into(),
    })??;
    let origin = Origin {
        from: from.to_owned(),
        generation: generation.to_string(),
        restored_at: clock::now().to_string(),
        held: wanted.held,
    };
    restored::begin(dir, &origin)?;
    Ok(Report {
        generation,
        is_complete,
        others,
        log,
        missing,
        bytes,
    })
}

/// A generation, and of what each of its segments is put together.
pub async fn find(
    place: &Place,
    wanted: Option<Generation>,
) -> Result<(Generation, Vec<(u64, Vec<Piece>)>), RestoreError> {
    let (generation, _) = choose(place, wanted).await?;
    check_key(place, generation).await?;
    let objects = place.list(generation).await?;
    let segments = segments(place, &objects, None);
    match segments.is_empty() {
        true => Err(RestoreError::Empty(generation)),
        false => Ok((generation, segments)),
    }
}

/// The generation to restore, and later ones that are left out.
async fn choose(
    place: &Place,
    wanted: Option<Generation>,
) -> Result<(Generation, Vec<Generation>), RestoreError> {
    let all = place.generations().await?;
    if all.is_empty() {
        return Err(RestoreError::NoGeneration);
    }
    if let Some(wanted) = wanted {
        return match all.contains(&wanted) {
            true => Ok((wanted, Vec::new())),
            false => Err(RestoreError::NoSuchGeneration(wanted)),
        };
    }
    let mut later = Vec::new();
    for generation in all.iter().rev() {
        if place.has(*generation, Name::Complete).await? {
            return Ok((*generation, later));
        }
        later.push(*generation);
    }
    // Better the beginning of a log than nothing.
    let newest = all.last().copied().ok_or(RestoreError::NoGeneration)?;
    Ok((newest, Vec::new()))
}

async fn check_key(place: &Place, generation: Generation) -> Result<(), RestoreError> {
    let about = place.get(generation, Name::About).await?;
    let about: About =
        serde_json::from_slice(&about).map_err(|_| RestoreError::About(generation))?;
    if about.format > FORMAT {
        let format = about.format;
        return Err(RestoreError::Newer { generation, format });
    }
    match (about.key, place.key_id()) {
        (Some(_), None) => Err(RestoreError::NoKey(generation)),
        (Some(wanted), Some(given)) if wanted != given => Err(RestoreError::OtherKey {
            generation,
            wanted,
            given,
        }),
        _ => Ok(()),
    }
}

/// What is fetched of each segment. Of those that the log has dropped nothing, unless the restore
/// goes back in time.
fn segments(place: &Place, objects: &[Listed], until: Option<Timestamp>) -> Vec<(u64, Vec<Piece>)> {
    let starts = objects.iter().filter_map(|object| match object.name {
        Name::Start(start) => Some(start),
        _ => None,
    });
    let start = match until {
        Some(_) => 0,
        None => starts.max().unwrap_or(0),
    };
    let parts = objects.iter().filter_map(|object| match object.name {
        Name::Part(part) if place.is_whole(&part, object.size) => Some(part),
        _ => None,
    });
    let parts: BTreeSet<Part> = parts.filter(|part| part.base >= start).collect();
    cover::segments(&parts)
}

/// Makes the directory, or takes an empty one.
fn make_empty(dir: &Path) -> Result<(), RestoreError> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(RestoreError::NotEmpty(dir.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(dir),
        Err(error) => Err(at("read", dir)(error)),
    }
}

fn make_dir(dir: &Path) -> Result<(), RestoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(at("make the directory", dir))
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::Io {
        doing,
        path,
        source,
    }
}

struct Fetch<'a> {
    place: &'a Place,
    generation: Generation,
    dir: &'a Path,
    progress: Progress,
    total: u64,
}

impl Fetch<'_> {
    /// Fetches everything, in order but several parts at once. The bytes, and what is missing.
    async fn all(
        &self,
        segments: &[(u64, Vec<Piece>)],
    ) -> Result<(u64, Vec<Missing>), RestoreError> {
        let (mut bytes, mut missing) = (0, Vec::new());
        let last = segments.last().map(|(base, _)| *base);
        for (base, pieces) in segments {
            let file = Arc::new(self.create(*base)?);
            let mut fetched = stream::iter(pieces.iter().copied())
                .map(|piece| self.piece(*base, file.clone(), piece))
                .buffered(FETCHES);
            while let Some(piece) = fetched.try_next().await? {
                match piece {
                    Fetched::There(len) => {
                        bytes += len;
                        (self.progress)(bytes, self.total);
                    }
                    Fetched::Missing(from, to) => missing.push(Missing {
                        base: *base,
                        from,
                        to,
                    }),
                }
            }
            self.complete(*base, &file, Some(*base) == last).await?;
        }
        let synced = File::open(self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(at("sync the directory", self.dir))?;
        Ok((bytes, missing))
    }

    fn path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:016x}.log"))
    }

    fn create(&self, base: u64) -> Result<File, RestoreError> {
        let path = self.path(base);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        options.open(&path).map_err(at("make", &path))
    }

    async fn piece(
        &self,
        base: u64,
        file: Arc<File>,
        piece: Piece,
    ) -> Result<Fetched, RestoreError> {
        let Some(part) = piece.part else {
            return Ok(Fetched::Missing(piece.from, piece.to));
        };
        let content = match self.place.get(self.generation, Name::Part(part)).await {
            Ok(content) => content,
            // It is damage: the rest is restored all the same.
            Err(error) if error.is_not_found() || matches!(error, PlaceError::Seal { .. }) => {
                tracing::error!(%error, "a part of the log is missing");
                return Ok(Fetched::Missing(piece.from, piece.to));
            }
            Err(error) => return Err(error.into()),
        };
        let (skip, len) = (piece.from - part.from, piece.to - piece.from);
        let path = self.path(base);
        let write = move || {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let bytes = content.get(skip..skip.saturating_add(len));
            file.write_all_at(bytes.unwrap_or_default(), piece.from)
        };
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.unwrap_or_else(|error| Err(error.into()));
        written.map_err(at("write", &path))?;
        Ok(Fetched::There(len))
    }

    /// Gives the segment its length, of zeros where nothing was shipped. Those of the last one are
    /// written, since frames will come there.
    async fn complete(
        &self,
        base: u64,
        file: &Arc<File>,
        is_last: bool,
    ) -> Result<(), RestoreError> {
        let path = self.path(base);
        let file = file.clone();
        let whole = move || -> io::Result<bool> {
            let Some(len) = segment_len(&file, base)? else {
                return Ok(false);
            };
            let there = file.metadata()?.len();
            if is_last {
                let zeros = vec![0; 1 << 20];
                let mut from = there;
                while from < len {
                    let count = (len - from).min(zeros.len() as u64);
                    let piece = zeros.get(..count as usize).unwrap_or_default();
                    file.write_all_at(piece, from)?;
                    from += count;
                }
            } else if there < len {
                file.set_len(len)?;
            }
            file.sync_all()?;
            Ok(true)
        };
        let made = tokio::task::spawn_blocking(whole).await;
        let made = made.unwrap_or_else(|error| Err(error.into()));
        match made.map_err(at("complete", &path))? {
            true => Ok(()),
            // The log has no segment there: what it held is reported as damage.
            false if !is_last => Ok(()),
            false => Err(RestoreError::NoHeader { base }),
        }
    }
}

enum Fetched {
    There(u64),
    Missing(u64, u64),
}
