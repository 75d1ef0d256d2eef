//! A disk that fails in places, read all the same: what cannot be read is zeros, and noted.
//!
//! It writes nothing: all that would change a file is refused.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use crate::outbox::disk::{Access, Disk, DiskFile, Free};

/// The unit in which a failed read is tried again.
const SECTOR: u64 = 4096;

/// A part of a file that cannot be read, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub path: PathBuf,
    pub from: u64,
    pub to: u64,
}

type Sectors = Arc<Mutex<BTreeSet<(PathBuf, u64)>>>;

/// Another disk, read with patience.
#[derive(Debug)]
pub struct PatientDisk {
    inner: Arc<dyn Disk>,
    /// Paths and offsets of what could not be read.
    unreadable: Sectors,
}

impl PatientDisk {
    pub fn new(inner: Arc<dyn Disk>) -> PatientDisk {
        PatientDisk {
            inner,
            unreadable: Arc::default(),
        }
    }

    /// What could not be read so far, by file.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        let sectors = self.unreadable.lock();
        let sectors = sectors.unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<Unreadable> = Vec::new();
        for (path, at) in &*sectors {
            match found.last_mut() {
                Some(last) if last.path == *path && last.to == *at => last.to += SECTOR,
                _ => found.push(Unreadable {
                    path: path.clone(),
                    from: *at,
                    to: at + SECTOR,
                }),
            }
        }
        found
    }
}

/// Whether the medium or the file system has lost what was asked for.
pub fn is_rot(error: &io::Error) -> bool {
    let rot = [Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::NODATA];
    let code = error.raw_os_error();
    rot.iter().any(|errno| Some(errno.raw_os_error()) == code)
}

fn refused<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for PatientDisk {
    fn make_dir(&self, _: &Path) -> io::Result<bool> {
        refused()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        if access != Access::Read {
            return refused();
        }
        let inner = match self.inner.open(path, access) {
            Ok(file) => Some(file),
            Err(error) if is_rot(&error) => None,
            Err(error) => return Err(error),
        };
        let file = PatientFile {
            path: path.to_owned(),
            inner,
            unreadable: self.unreadable.clone(),
        };
        if file.inner.is_none() {
            file.note(0);
        }
        Ok(Arc::new(file))
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn free(&self, dir: &Path) -> io::Result<Free> {
        self.inner.free(dir)
    }
}

#[derive(Debug)]
struct PatientFile {
    path: PathBuf,
    /// `None`: it cannot even be opened, and counts as empty.
    inner: Option<Arc<dyn DiskFile>>,
    unreadable: Sectors,
}

impl PatientFile {
    fn note(&self, at: u64) {
        let sectors = self.unreadable.lock();
        let mut sectors = sectors.unwrap_or_else(PoisonError::into_inner);
        sectors.insert((self.path.clone(), at));
    }

    /// Reads sector by sector, and leaves zeros where that fails.
    fn read_around(&self, file: &dyn DiskFile, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let left = usize::try_from(file.size()?.saturating_sub(at)).unwrap_or(usize::MAX);
        let count = buf.len().min(left);
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..count)
            && !rest.is_empty()
        {
            let here = at + filled as u64;
            let sector = (SECTOR - here % SECTOR) as usize;
            let len = rest.len().min(sector);
            let piece = rest.get_mut(..len).unwrap_or_default();
            match file.read_exact_at(piece, here) {
                Ok(()) => {}
                Err(error) if is_rot(&error) => {
                    piece.fill(0);
                    self.note(here - here % SECTOR);
                }
                Err(error) => return Err(error),
            }
            filled += len;
        }
        Ok(filled)
    }
}

impl DiskFile for PatientFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let Some(file) = self.inner.as_deref() else {
            return Ok(0);
        };
        match file.read_at(buf, at) {
            Err(error) if is_rot(&error) => self.read_around(file, buf, at),
            read => read,
        }
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn sync_all(&self) -> io::Result<()> {
        refused()
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.as_deref().map_or(Ok(0), DiskFile::size)
    }
}
