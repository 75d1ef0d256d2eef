//! A disk that fails where it is told, and loses what a power cut would lose.
//!
//! A write is in the cache at once and on the disk after a sync of its file. A name that was
//! made, renamed or removed is on the disk after a sync of its directory. A power cut keeps of
//! what was not synced any sectors and any names, as the dice say; a killed process loses
//! nothing that was completed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use outboxd::outbox::disk::{Access, Disk, DiskFile, Free};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const SECTOR: usize = 512;
/// What a frame of the log begins with.
const FRAME: &[u8] = b"oBxF";

/// How often each kind of fault was met.
#[derive(Clone, Debug, Default)]
pub struct Met {
    pub no_room: u64,
    pub read_errors: u64,
    pub write_errors: u64,
    pub sync_errors: u64,
    pub short_writes: u64,
    pub process_crashes: u64,
    pub power_cuts: u64,
}

/// What fails next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Read,
    Write,
    Sync,
    /// There is no room for a write that is not of frames, also over what is there, as on file
    /// systems that take new space for it.
    Room,
    /// The process is gone at that call, which may have been half done.
    Crash,
    /// The same, at a call that writes or syncs.
    CrashInWrite,
}

#[derive(Clone, Debug, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that were written since the last sync, and are on the disk or not.
    dirty: BTreeSet<usize>,
    /// Its length was changed since the last sync.
    resized: bool,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<u64, Content>,
    /// Names as a running process sees them, and as they are on the disk.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    next_file: u64,
    /// Bytes that files may still take.
    room: u64,
    /// What fails, and in how many calls of its kind.
    fault: Option<(Fault, u32)>,
    /// Writes are cut short at random.
    short_writes: bool,
    /// The process is gone: nothing works until the disk is started again.
    crashed: bool,
    dice: SmallRng,
    met: Met,
    calls: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub fn new(seed: u64, room: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            next_file: 1,
            room,
            fault: None,
            short_writes: false,
            crashed: false,
            dice: SmallRng::seed_from_u64(seed),
            met: Met::default(),
            calls: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn met(&self) -> Met {
        self.state().met.clone()
    }

    /// After `calls` more of its kind the fault is there, once.
    pub fn plan(&self, fault: Fault, calls: u32) {
        self.state().fault = Some((fault, calls));
    }

    pub fn heal(&self) {
        let mut state = self.state();
        state.fault = None;
        state.short_writes = false;
    }

    pub fn set_short_writes(&self, short: bool) {
        self.state().short_writes = short;
    }

    pub fn set_room(&self, room: u64) {
        self.state().room = room;
    }

    pub fn room(&self) -> u64 {
        self.state().room
    }

    /// The next read may fail.
    pub fn is_harmed(&self) -> bool {
        let state = self.state();
        state.crashed || state.fault.is_some()
    }

    pub fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// The process is gone. What it completed stays in the cache.
    pub fn kill(&self) {
        let mut state = self.state();
        state.met.process_crashes += 1;
        state.restart();
    }

    /// Gives the bytes of each file that has a name.
    pub fn each_file(&self, mut each: impl FnMut(&[u8])) {
        let state = self.state();
        for file in state.names.values() {
            if let Some(content) = state.files.get(file) {
                each(&content.cached);
            }
        }
    }

    /// The machine is gone, and what was not synced with it, or not.
    pub fn cut_power(&self) {
        let mut state = self.state();
        state.met.power_cuts += 1;
        let State {
            files,
            names,
            durable_names,
            dice,
            ..
        } = &mut *state;
        // Each name is as it was or as it is.
        let all: Vec<PathBuf> = durable_names.keys().chain(names.keys()).cloned().collect();
        for path in all {
            if dice.random_bool(0.5) {
                match names.get(&path) {
                    Some(file) => durable_names.insert(path, *file),
                    None => durable_names.remove(&path),
                };
            }
        }
        names.clone_from(durable_names);
        let keep = [0.0, 0.3, 0.7, 1.0][dice.random_range(0..4)];
        for content in files.values_mut() {
            content.lose(keep, dice);
        }
        state.restart();
    }
}

impl Content {
    /// Of what was not synced each sector is kept with that chance.
    fn lose(&mut self, keep: f64, dice: &mut SmallRng) {
        if self.resized && dice.random_bool(0.5) {
            self.durable.resize(self.cached.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            if !dice.random_bool(keep) {
                continue;
            }
            let from = sector * SECTOR;
            let to = (from + SECTOR)
                .min(self.cached.len())
                .min(self.durable.len());
            if from < to {
                self.durable[from..to].copy_from_slice(&self.cached[from..to]);
            }
        }
        self.resized = false;
        self.cached.clone_from(&self.durable);
    }

    /// The kernel says so once and takes the pages for clean, whether they were written or
    /// not.
    fn fail_sync(&mut self, dice: &mut SmallRng) {
        self.durable.resize(self.cached.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(self.cached.len());
            if dice.random_bool(0.5) {
                self.durable[from..to].copy_from_slice(&self.cached[from..to]);
            }
        }
    }

    fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(self.cached.len());
            self.durable[from..to].copy_from_slice(&self.cached[from..to]);
        }
        self.resized = false;
    }
}

impl State {
    fn restart(&mut self) {
        self.crashed = false;
        self.fault = None;
        self.short_writes = false;
        // Files without a name are gone with the last process that had them open.
        let named = self.names.values().chain(self.durable_names.values());
        let named: HashSet<u64> = named.copied().collect();
        let room = &mut self.room;
        self.files.retain(|file, content| {
            let stays = named.contains(file);
            if !stays {
                *room += content.cached.len() as u64;
            }
            stays
        });
    }

    /// Every call comes by here. A write is of the kind `Write` if it is of frames, and else of the
    /// kind `Room`.
    fn call(&mut self, kind: Option<Fault>) -> io::Result<()> {
        self.calls += 1;
        if self.crashed {
            return Err(gone());
        }
        let Some((fault, left)) = &mut self.fault else {
            return Ok(());
        };
        let is_write = matches!(kind, Some(Fault::Write | Fault::Room));
        let is_meant = match *fault {
            Fault::Crash => true,
            Fault::CrashInWrite => is_write || kind == Some(Fault::Sync),
            Fault::Write => is_write,
            other => Some(other) == kind,
        };
        if !is_meant {
            return Ok(());
        }
        if *left > 0 {
            *left -= 1;
            return Ok(());
        }
        let fault = *fault;
        self.fault = None;
        match fault {
            Fault::Read => self.met.read_errors += 1,
            Fault::Write => self.met.write_errors += 1,
            Fault::Sync => self.met.sync_errors += 1,
            Fault::Room => {
                self.met.no_room += 1;
                return Err(ErrorKind::StorageFull.into());
            }
            Fault::Crash | Fault::CrashInWrite => {
                self.crashed = true;
                return Err(gone());
            }
        }
        // EIO.
        Err(io::Error::from_raw_os_error(5))
    }

    fn file_at(&self, path: &Path) -> io::Result<u64> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| ErrorKind::NotFound.into())
    }
}

fn gone() -> io::Error {
    io::Error::other("the process is gone")
}

impl Disk for SimDisk {
    fn make_dir(&self, _: &Path) -> io::Result<bool> {
        self.state().call(None).map(|()| false)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut state = self.state();
        state.call(Some(Fault::Read))?;
        let below = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(below.cloned().collect())
    }

    fn open(&self, path: &Path, _: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.call(Some(Fault::Read))?;
        let file = state.file_at(path)?;
        Ok(Arc::new(SimFile(self.clone(), file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.call(Some(Fault::Write))?;
        let file = state.next_file;
        state.next_file += 1;
        state.files.insert(file, Content::default());
        if let Some(old) = state.names.insert(path.to_owned(), file)
            && let Some(content) = state.files.get(&old)
        {
            state.room += content.cached.len() as u64;
        }
        Ok(Arc::new(SimFile(self.clone(), file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Some(Fault::Write))?;
        let file = state.file_at(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Some(Fault::Write))?;
        let file = state.file_at(path)?;
        state.names.remove(path);
        let freed = state
            .files
            .get(&file)
            .map_or(0, |content| content.cached.len());
        state.room += freed as u64;
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Some(Fault::Sync))?;
        let State {
            names,
            durable_names,
            ..
        } = &mut *state;
        durable_names.retain(|path, _| path.parent() != Some(dir));
        let below = names.iter().filter(|(path, _)| path.parent() == Some(dir));
        durable_names.extend(below.map(|(path, file)| (path.clone(), *file)));
        Ok(())
    }

    fn free(&self, _: &Path) -> io::Result<Free> {
        let state = self.state();
        // As under a quota, which it knows nothing of, every other time.
        let bytes = match state.calls % 2 {
            0 => state.room,
            _ => state.room.max(1 << 30),
        };
        Ok(Free {
            bytes,
            no_inodes: false,
        })
    }
}

#[derive(Debug)]
struct SimFile(SimDisk, u64);

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.0.state();
        state.call(Some(Fault::Read))?;
        let content = state.files.get(&self.1).ok_or_else(gone)?;
        let from = (at as usize).min(content.cached.len());
        let count = buf.len().min(content.cached.len() - from);
        buf[..count].copy_from_slice(&content.cached[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut state = self.0.state();
        let kind = match bytes.starts_with(FRAME) {
            true => Fault::Write,
            false => Fault::Room,
        };
        let failed = state.call(Some(kind));
        let mut count = bytes.len();
        let half = failed.is_err() || (state.short_writes && state.dice.random_bool(0.3));
        if half && count > 1 {
            count = state.dice.random_range(1..count);
        }
        if failed.is_ok() && half {
            state.met.short_writes += 1;
        }
        let gone_at_once = !state.crashed || state.dice.random_bool(0.5);
        // What a failed write leaves: nothing, or a part.
        let failed = match failed {
            Err(error) if gone_at_once => return Err(error),
            failed => failed,
        };
        let file = state.files.get(&self.1).ok_or_else(gone)?;
        let (at, old) = (at as usize, file.cached.len());
        let grows = (at + count).saturating_sub(old) as u64;
        if grows > state.room {
            state.met.no_room += 1;
            return Err(ErrorKind::StorageFull.into());
        }
        state.room -= grows;
        let content = state.files.get_mut(&self.1).ok_or_else(gone)?;
        if at + count > old {
            content.cached.resize(at + count, 0);
            content.resized = true;
        }
        content.cached[at..at + count].copy_from_slice(&bytes[..count]);
        for sector in at / SECTOR..=(at + count - 1) / SECTOR {
            content.dirty.insert(sector);
        }
        failed.map(|()| count)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        let failed = state.call(Some(Fault::Sync));
        let mut dice = SmallRng::seed_from_u64(state.dice.random());
        let content = state.files.get_mut(&self.1).ok_or_else(gone)?;
        if failed.is_err() {
            content.fail_sync(&mut dice);
            return failed;
        }
        content.sync();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn size(&self) -> io::Result<u64> {
        let mut state = self.0.state();
        state.call(Some(Fault::Read))?;
        let content = state.files.get(&self.1).ok_or_else(gone)?;
        Ok(content.cached.len() as u64)
    }
}
