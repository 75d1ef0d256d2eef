//! The data directory as such: its names are durable, only its owner may enter it, one daemon
//! at a time has it, and `FORMAT` names its format.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::outbox::index::PagesError;
use crate::outbox::log::LogError;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by another outboxd", .0.display())]
    Locked(PathBuf),
    #[error("{} was written by a newer outboxd (FORMAT says {found:?}); this one reads {FORMAT:?}", dir.display())]
    Newer { dir: PathBuf, found: String },
    #[error("{} is a copy or restore that was not finished: delete it, and make it again", .0.display())]
    Unfinished(PathBuf),
    #[error(
        "{} is damaged: it {what} instead of {FORMAT:?}. The log beside it has checksums of its own \
         and is untouched: restore the file with `printf 'outboxd 1\\n' > '{}'` and start again",
        path.display(), path.display()
    )]
    DamagedFormat { path: PathBuf, what: String },
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

pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        doing,
        path,
        source,
    }
}

/// What `FORMAT` says.
pub const FORMAT: &str = "outboxd 1\n";
/// What `FORMAT` says while a copy of a store, or a restored one, is being made: half of one would be served as if the
/// rest had never been.
const UNFINISHED: &str = "outboxd, an unfinished copy\n";
/// Bytes of it that are shown if they are unknown.
const FORMAT_SHOWN: usize = 64;

/// Makes a directory that only its owner may enter, and what is missing above it.
pub fn make_private(dir: &Path) -> Result<(), OpenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(at("make the directory", dir))
}

/// Makes the names that lead to a new store durable. Whoever made them may not have: a
/// service manager syncs nothing, and an earlier start may have been killed before it did.
/// What may not be opened, or cannot be synced, is as durable as it ever gets.
pub fn sync_way_to(dir: &Path) -> Result<(), OpenError> {
    let dir = dir.canonicalize().map_err(at("find", dir))?;
    for above in dir.ancestors().skip(1) {
        match File::open(above).and_then(|above| above.sync_all()) {
            Err(error) if !is_beyond_us(&error) => {
                return Err(at("sync the directory", above)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_beyond_us(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    let kind = error.kind();
    matches!(
        kind,
        PermissionDenied | InvalidInput | ReadOnlyFilesystem | Unsupported
    )
}

fn sync_dir(dir: &Path) -> Result<(), OpenError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(at("sync the directory", dir))
}

pub fn take_lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("LOCK");
    let options = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let file = options.map_err(at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(at("lock", &path)(error)),
    }
}

/// Keeps daemons from the store for as long as the file is open; several readers may hold it at
/// once. `None`: there is no `LOCK`, and none is made.
pub fn share_lock(dir: &Path) -> Result<Option<File>, OpenError> {
    let path = dir.join("LOCK");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at("open", &path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(at("lock", &path)(error)),
    }
}

/// Whether the store was finished by an outboxd whose format this one knows.
pub fn read_format(dir: &Path) -> Result<bool, OpenError> {
    let path = dir.join("FORMAT");
    let found = match fs::read(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(at("read", &path)(error)),
    };
    if found == FORMAT.as_bytes() {
        return Ok(true);
    }
    if found == UNFINISHED.as_bytes() {
        return Err(OpenError::Unfinished(dir.to_owned()));
    }
    let start = found.get(..FORMAT_SHOWN).unwrap_or(&found);
    let text = String::from_utf8_lossy(start).into_owned();
    Err(if is_newer(&text) {
        OpenError::Newer {
            dir: dir.to_owned(),
            found: text,
        }
    } else {
        let what = match found.is_empty() {
            true => "is empty".to_owned(),
            false => format!("says {text:?}"),
        };
        OpenError::DamagedFormat { path, what }
    })
}

/// Whether it is what an outboxd of a later format writes.
fn is_newer(text: &str) -> bool {
    let number = text
        .strip_prefix("outboxd ")
        .and_then(|rest| rest.strip_suffix('\n'));
    let number = number.and_then(|number| number.parse::<u32>().ok());
    number.is_some_and(|number| number > 1)
}

/// Says, durably, that the store is whole. Written last: a store without it is one whose
/// making was cut short, and holds nothing that anybody was told of.
pub fn write_format(dir: &Path) -> Result<(), OpenError> {
    put_format(dir, FORMAT)
}

/// Says, durably, that the store is a copy in the making, until [`write_format`] says that it is
/// whole.
pub fn mark_unfinished(dir: &Path) -> Result<(), OpenError> {
    put_format(dir, UNFINISHED)
}

fn put_format(dir: &Path, text: &str) -> Result<(), OpenError> {
    let (path, aside) = (dir.join("FORMAT"), dir.join("FORMAT.new"));
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(&aside).map_err(at("make", &aside))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(at("write", &aside))?;
    fs::rename(&aside, &path).map_err(at("make", &path))?;
    sync_dir(dir)
}
