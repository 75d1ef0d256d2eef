//! The files of one log as if they stood in the directory of another.
//!
//! What is opened for writing is copied first, what is deleted is hidden: nothing of the log below
//! ever changes. So a log can be opened, written on and cleaned of its old segments, and only what
//! is new takes space.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::outbox::disk::{Access, Disk, DiskFile, Free};

/// How much is copied at once.
const CHUNK: usize = 1 << 20;

/// The directory `above`, with the segments of `below` in it.
#[derive(Debug)]
pub struct Overlay {
    below: PathBuf,
    reads: Arc<dyn Disk>,
    above: PathBuf,
    writes: Arc<dyn Disk>,
    /// The names of `below` that were deleted.
    hidden: Mutex<BTreeSet<OsString>>,
}

impl Overlay {
    /// `below` is read by `reads`, and `above` written by `writes`.
    pub fn new(
        (below, reads): (PathBuf, Arc<dyn Disk>),
        (above, writes): (PathBuf, Arc<dyn Disk>),
    ) -> Overlay {
        Overlay {
            below,
            reads,
            above,
            writes,
            hidden: Mutex::default(),
        }
    }

    /// Copies what is seen of the log below.
    pub fn copy_rest(&self) -> io::Result<()> {
        for path in self.list(&self.above)? {
            self.copy_up(&path)?;
        }
        self.writes.sync_dir(&self.above)
    }

    fn is_hidden(&self, name: &OsString) -> bool {
        let hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        hidden.contains(name)
    }

    /// The segments of the log below that were not deleted, as if they stood above.
    fn seen_below(&self) -> io::Result<Vec<PathBuf>> {
        let names = self.reads.list(&self.below)?.into_iter();
        let names = names.filter(|path| path.extension().is_some_and(|end| end == "log"));
        let names = names.filter_map(|path| Some(path.file_name()?.to_owned()));
        let seen = names.filter(|name| !self.is_hidden(name));
        Ok(seen.map(|name| self.above.join(name)).collect())
    }

    fn is_above(&self, path: &Path) -> io::Result<bool> {
        Ok(self
            .writes
            .list(&self.above)?
            .iter()
            .any(|found| found == path))
    }

    /// The file below that is seen as `path`.
    fn below(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        if self.is_above(path)? || !self.seen_below()?.iter().any(|found| found == path) {
            return Ok(None);
        }
        Ok(path.file_name().map(|name| self.below.join(name)))
    }

    /// Makes `path` a file of its own.
    fn copy_up(&self, path: &Path) -> io::Result<()> {
        let Some(below) = self.below(path)? else {
            return Ok(());
        };
        let from = self.reads.open(&below, Access::Read)?;
        let mut aside = path.as_os_str().to_owned();
        aside.push(".copy");
        let aside = PathBuf::from(aside);
        let to = self.writes.create(&aside)?;
        to.reserve(from.size()?)?;
        let mut bytes = vec![0; CHUNK];
        let mut at = 0;
        loop {
            let count = from.read_up_to(&mut bytes, at)?;
            if count == 0 {
                break;
            }
            to.write_all_at(bytes.get(..count).unwrap_or_default(), at)?;
            at += count as u64;
        }
        to.sync_all()?;
        self.writes.rename(&aside, path)
    }
}

impl Disk for Overlay {
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        self.writes.make_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = self.writes.list(dir)?;
        if dir == self.above {
            let below = self.seen_below()?.into_iter();
            let below: Vec<_> = below.filter(|path| !found.contains(path)).collect();
            found.extend(below);
        }
        Ok(found)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        match (self.below(path)?, access) {
            (Some(below), Access::Read) => self.reads.open(&below, access),
            (Some(_), Access::ReadWrite) => {
                self.copy_up(path)?;
                self.writes.open(path, access)
            }
            (None, access) => self.writes.open(path, access),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.writes.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.writes.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let is_below = self.below(path)?.is_some();
        if let Some(name) = path.file_name() {
            let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
            hidden.insert(name.to_owned());
        }
        match is_below {
            true => Ok(()),
            false => self.writes.remove(path),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.writes.sync_dir(dir)
    }

    fn free(&self, dir: &Path) -> io::Result<Free> {
        self.writes.free(dir)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::outbox::disk::SystemDisk;

    #[test]
    fn the_log_below_is_seen_and_never_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (below, above) = (dir.path().join("below"), dir.path().join("above"));
        fs::create_dir(&below).unwrap();
        fs::create_dir(&above).unwrap();
        for name in ["0.log", "1.log", "2.log", "3.log.new"] {
            fs::write(below.join(name), name).unwrap();
        }
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        let overlay = Overlay::new((below.clone(), disk.clone()), (above.clone(), disk));
        let seen = || {
            let paths = overlay.list(&above).unwrap().into_iter();
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            let mut names: Vec<String> = paths.map(name).collect();
            names.sort();
            names
        };
        let text = |path: &Path| {
            let file = overlay.open(path, Access::Read).unwrap();
            let mut bytes = vec![0; 64];
            let count = file.read_up_to(&mut bytes, 0).unwrap();
            String::from_utf8(bytes[..count].to_vec()).unwrap()
        };
        assert_eq!(seen(), ["0.log", "1.log", "2.log"]);
        let file = overlay
            .open(&above.join("1.log"), Access::ReadWrite)
            .unwrap();
        file.write_all_at(b"X", 0).unwrap();
        assert_eq!(
            (text(&above.join("1.log")), text(&above.join("2.log"))),
            ("X.log".into(), "2.log".into())
        );
        overlay.remove(&above.join("0.log")).unwrap();
        overlay.remove(&above.join("1.log")).unwrap();
        assert_eq!(seen(), ["2.log"]);
        assert!(overlay.open(&above.join("0.log"), Access::Read).is_err());
        // A new file of a name that was deleted is a file like any other.
        overlay.create(&above.join("0.log")).unwrap();
        overlay.copy_rest().unwrap();
        assert_eq!(seen(), ["0.log", "2.log"]);
        assert_eq!(fs::read(above.join("0.log")).unwrap(), b"");
        assert_eq!(fs::read(above.join("2.log")).unwrap(), b"2.log");
        for name in ["0.log", "1.log", "2.log", "3.log.new"] {
            assert_eq!(fs::read(below.join(name)).unwrap(), name.as_bytes());
        }
    }
}
