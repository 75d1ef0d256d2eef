//! The file system as the log uses it: a dozen calls behind two traits.
//!
//! [`SystemDisk`] is the real one. The simulation has another, which fails where the seed says,
//! and loses what a power cut would lose. Everything above this line is the same code in
//! both, so the seam is here and not above the log: segments, frames, recovery and the order
//! of writes and syncs are what a simulation has to be able to break.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, IFlags};

/// What is free on the file system that holds a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    pub bytes: u64,
    /// The file system can hold no further file, however many bytes are free.
    pub no_inodes: bool,
}

/// A file system.
pub trait Disk: Debug + Send + Sync {
    /// Makes a directory that only its owner may enter, and whose files are overwritten in
    /// place if the file system can be told so; whether it was not there.
    fn make_dir(&self, dir: &Path) -> io::Result<bool>;
    /// The files and directories in `dir`, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Opens an existing file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file that only its owner may read, in place of any of that name.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Atomic. Durable once the directory was synced after it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Durable once the directory was synced after it.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    fn free(&self, dir: &Path) -> io::Result<Free>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// An open file. Offsets and lengths are in bytes.
pub trait DiskFile: Debug + Send + Sync {
    /// Reads at most `buf.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Asks for room for the file's first `len` bytes: the file system gives all of it or
    /// answers that it has none. One that cannot tell says yes.
    fn reserve(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }
    /// Writes at most `bytes.len()` bytes. Durable once the file was synced after it.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;
    /// Makes what was written durable. After an error nothing is known of it.
    fn sync(&self) -> io::Result<()>;
    /// The same with all of its metadata, for a file that is new.
    fn sync_all(&self) -> io::Result<()>;
    fn size(&self) -> io::Result<u64>;
}

impl dyn DiskFile + '_ {
    /// Fills `buf` from `at` on as far as the file goes, and returns how far.
    pub fn read_up_to(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..)
            && !rest.is_empty()
        {
            match self.read_at(rest, at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Fills all of `buf`, or [`ErrorKind::UnexpectedEof`].
    pub fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        match self.read_up_to(buf, at)? {
            count if count == buf.len() => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Writes all of `bytes`.
    pub fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..)
            && !rest.is_empty()
        {
            match self.write_at(rest, at + written as u64) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => {
                overwrite_in_place(dir);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let write = access == Access::ReadWrite;
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn free(&self, dir: &Path) -> io::Result<Free> {
        let disk = rustix::fs::statvfs(dir)?;
        Ok(Free {
            bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
            // Some file systems count no inodes at all.
            no_inodes: disk.f_files > 0 && disk.f_favail == 0,
        })
    }
}

/// Whether it says that the file system, or the owner's quota on it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// Asks btrfs to write the files that will be made in `dir` where they are. Other file
/// systems do so anyway, or refuse to: [`allocates_on_overwrite`] tells.
fn overwrite_in_place(dir: &Path) {
    let Ok(dir) = fs::File::open(dir) else { return };
    if let Ok(flags) = rustix::fs::ioctl_getflags(&dir) {
        let _ = rustix::fs::ioctl_setflags(&dir, flags | IFlags::NOCOW);
    }
}

/// The name of the file system of `dir` if it takes new space for what is overwritten, and
/// leaves the old bytes where they are.
pub fn allocates_on_overwrite(dir: &Path) -> Option<&'static str> {
    const BTRFS: u64 = 0x9123_683e;
    const ZFS: u64 = 0x2fc1_2fc1;
    const BCACHEFS: u64 = 0xca45_1a4e;
    // The type is 32 bits wide; some machines extend its sign.
    let kind = rustix::fs::statfs(dir).ok()?.f_type as u64 & u64::from(u32::MAX);
    match kind {
        BTRFS => {
            let flags = fs::File::open(dir).ok().and_then(|dir| {
                let flags = rustix::fs::ioctl_getflags(&dir);
                flags.ok()
            });
            let is_in_place = flags.is_some_and(|flags| flags.contains(IFlags::NOCOW));
            (!is_in_place).then_some("btrfs")
        }
        ZFS => Some("ZFS"),
        BCACHEFS => Some("bcachefs"),
        _ => None,
    }
}

#[derive(Debug)]
struct SystemFile(fs::File);

impl DiskFile for SystemFile {
    fn reserve(&self, len: u64) -> io::Result<()> {
        let asked = rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len);
        match asked.map_err(io::Error::from) {
            Err(error) if is_full(&error) => Err(error),
            // It cannot tell, or was interrupted: writing will.
            _ => Ok(()),
        }
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buf, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.0.write_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
