//! What was shipped as a disk that can be read: segments put together from their parts on the way.
//!
//! So that what checks a data directory checks a generation as well, without a copy of it. A part is
//! in memory at a time for each open file.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Runtime;

use super::cover::Piece;
use super::names::{Generation, Name, Part};
use super::place::Place;
use super::restore::{self, RestoreError};
use crate::outbox::disk::{Access, Disk, DiskFile, Free};
use crate::outbox::header_len;

/// A generation, as a data directory named `/`.
pub struct Remote {
    shared: Arc<Shared>,
    segments: BTreeMap<u64, Vec<Piece>>,
}

struct Shared {
    place: Place,
    generation: Generation,
    runtime: Mutex<Runtime>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

impl Remote {
    /// Lists a generation; `None` is the newest that is complete. Not to be called, or read from,
    /// within a runtime.
    pub fn open(place: Place, wanted: Option<Generation>) -> Result<Remote, RestoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| RestoreError::Io {
                doing: "start the runtime of",
                path: PathBuf::from("the store"),
                source,
            })?;
        let (generation, segments) = runtime.block_on(restore::find(&place, wanted))?;
        Ok(Remote {
            shared: Arc::new(Shared {
                place,
                generation,
                runtime: Mutex::new(runtime),
            }),
            segments: segments.into_iter().collect(),
        })
    }

    pub fn generation(&self) -> Generation {
        self.shared.generation
    }
}

impl Shared {
    fn get(&self, part: Part) -> io::Result<Vec<u8>> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let got = runtime.block_on(self.place.get(self.generation, Name::Part(part)));
        got.map_err(io::Error::other)
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Remote {
    fn make_dir(&self, _: &Path) -> io::Result<bool> {
        read_only()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let names = self.segments.keys();
        Ok(names
            .map(|base| dir.join(format!("{base:016x}.log")))
            .collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        if access != Access::Read {
            return read_only();
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let base = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok());
        let base = base.ok_or(ErrorKind::NotFound)?;
        let pieces = self.segments.get(&base).ok_or(ErrorKind::NotFound)?;
        let mut file = RemoteFile {
            shared: self.shared.clone(),
            pieces: pieces.clone(),
            len: pieces.last().map_or(0, |piece| piece.to),
            held: Mutex::new(None),
        };
        let mut header = [0; crate::outbox::HEADER_USED];
        if file.read_at(&mut header, 0)? == header.len()
            && let Some(len) = header_len(&header, base)
        {
            file.len = len;
        }
        Ok(Arc::new(file))
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        read_only()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn free(&self, _: &Path) -> io::Result<Free> {
        read_only()
    }
}

struct RemoteFile {
    shared: Arc<Shared>,
    pieces: Vec<Piece>,
    len: u64,
    /// The part that was read last.
    held: Mutex<Option<(Part, Vec<u8>)>>,
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFile").finish_non_exhaustive()
    }
}

impl DiskFile for RemoteFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let left = self.len.saturating_sub(at);
        let count = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buf = buf.get_mut(..count).unwrap_or_default();
        let mut pieces = self.pieces.iter();
        let piece = pieces.find(|piece| piece.from <= at && at < piece.to);
        let Some(Piece { to, part, .. }) = piece.copied() else {
            // Behind the last part there are zeros.
            buf.fill(0);
            return Ok(count);
        };
        let count = count.min(usize::try_from(to - at).unwrap_or(usize::MAX));
        let buf = buf.get_mut(..count).unwrap_or_default();
        let Some(part) = part else {
            // It is nowhere: whoever checks finds no frame there.
            buf.fill(0);
            return Ok(count);
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|(known, _)| *known != part) {
            *held = Some((part, self.shared.get(part)?));
        }
        let content = held.as_ref().map(|(_, content)| content.as_slice());
        let skip = usize::try_from(at - part.from).unwrap_or(usize::MAX);
        let wanted = content.and_then(|content| content.get(skip..skip.saturating_add(count)));
        match wanted {
            Some(wanted) => buf.copy_from_slice(wanted),
            None => buf.fill(0),
        }
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        read_only()
    }

    fn sync_all(&self) -> io::Result<()> {
        read_only()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}
