//! A quota that is full: the file system has room, and says so, but not for us.
//!
//! A btrfs image with a limit on one of its subvolumes. btrfs is also the file system that may
//! need space for a write over what is there.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::Home;

/// A subvolume with a limit as the home's data directory. Unmounted when dropped.
pub struct QuotaDisk {
    dir: PathBuf,
    mounted: PathBuf,
}

impl QuotaDisk {
    /// `None`, said aloud, without the tools or the right to mount.
    pub fn mount(home: &Home, limit_mib: u32) -> Option<QuotaDisk> {
        match QuotaDisk::try_mount(home, limit_mib) {
            Ok(disk) => Some(disk),
            Err(refused) => {
                eprintln!("SKIPPED: no btrfs with a quota can be mounted here: {refused}");
                None
            }
        }
    }

    fn try_mount(home: &Home, limit_mib: u32) -> Result<QuotaDisk, String> {
        let (image, mounted) = (home.path("btrfs.image"), home.path("btrfs"));
        File::create(&image).unwrap().set_len(256 << 20).unwrap();
        fs::create_dir(&mounted).unwrap();
        fs::create_dir(home.data_dir()).unwrap();
        run("mkfs.btrfs", &["-q".as_ref(), &image])?;
        run("mount", &["-o".as_ref(), "loop".as_ref(), &image, &mounted])?;
        // From here on it is unmounted, whatever comes.
        let disk = QuotaDisk {
            dir: home.data_dir(),
            mounted: mounted.clone(),
        };
        let volume = mounted.join("data");
        let btrfs = |args: &[&Path]| run("btrfs", args);
        btrfs(&["quota".as_ref(), "enable".as_ref(), &mounted])?;
        btrfs(&["subvolume".as_ref(), "create".as_ref(), &volume])?;
        let limit = format!("{limit_mib}M");
        btrfs(&["qgroup".as_ref(), "limit".as_ref(), limit.as_ref(), &volume])?;
        fs::set_permissions(&volume, Permissions::from_mode(0o700)).unwrap();
        run("mount", &["--bind".as_ref(), &volume, &disk.dir])?;
        Ok(disk)
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Takes all of the quota but so many bytes.
    pub fn fill(&self, but: u64) {
        // Nobody says how much is left: it is tried.
        let taken = self.take(u64::MAX);
        if but > 0 {
            self.free();
            self.take(taken.saturating_sub(but));
        }
    }

    /// Takes so many bytes, or as many as it gets, to the last block.
    fn take(&self, most: u64) -> u64 {
        let mut ballast = File::create(self.ballast()).unwrap();
        let mut taken = 0;
        for size in [64 << 10, 4 << 10] {
            let piece = vec![1; size];
            while taken < most && ballast.write_all(&piece).is_ok() {
                taken += size as u64;
            }
        }
        let _ = ballast.sync_all();
        taken
    }

    /// How many bytes are left of the file system, whatever the quota.
    pub fn left(&self) -> u64 {
        let free = rustix::fs::statvfs(&self.dir).unwrap();
        free.f_bavail * free.f_frsize
    }

    pub fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for QuotaDisk {
    fn drop(&mut self) {
        // Lazily: the daemon of a failed test may still be there.
        for dir in [&self.dir, &self.mounted] {
            let _ = Command::new("umount").arg("-l").arg(dir).output();
        }
    }
}

fn run(command: &str, args: &[&Path]) -> Result<(), String> {
    match Command::new(command).args(args).output() {
        Ok(ran) if ran.status.success() => Ok(()),
        Ok(ran) => Err(format!("{command} {args:?}: {ran:?}")),
        Err(error) => Err(format!("{command}: {error}")),
    }
}
