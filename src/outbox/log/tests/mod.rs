//! What the log must stand, each named after what breaks without it.

mod golden;
mod mutation;
mod random;
mod refused;
mod room;
mod scenarios;
mod traces;

use std::fs::OpenOptions;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use tempfile::TempDir;

use super::frame::{FRAME_HEADER, FrameHeader, Salt};
use super::options::HEADER;
use super::segment;
use super::*;
use crate::outbox::disk::{Access, Disk, DiskFile, Free, SystemDisk};

pub(super) const ID: [u8; 16] = *b"0123456789abcdef";
pub(super) const SEGMENT: u64 = 16 << 10;

/// A record as it was written or read, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rec {
    pub lsn: Lsn,
    pub kind: u8,
    pub head: Vec<u8>,
    /// `None`: erased or damaged.
    pub body: Option<Vec<u8>>,
}

impl Rec {
    pub fn of(record: Record<'_>) -> Self {
        Rec {
            lsn: record.lsn,
            kind: record.kind,
            head: record.head.to_vec(),
            body: match record.body {
                Body::Intact(body) => Some(body.to_vec()),
                Body::Erased | Body::Damaged => None,
            },
        }
    }
}

/// All that a replay says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub records: Vec<Rec>,
    pub ends: Vec<Lsn>,
    pub damage: Vec<Damage>,
}

/// The system's disk with limits: so many bytes of segments may still be made, and as many
/// files opened for that.
#[derive(Debug)]
pub(super) struct SmallDisk {
    pub free: Arc<AtomicU64>,
    pub descriptors: Arc<AtomicU64>,
}

impl SmallDisk {
    pub fn new(free: Arc<AtomicU64>) -> Self {
        SmallDisk {
            free,
            descriptors: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    fn open_one(&self) -> io::Result<()> {
        let less = |left: u64| left.checked_sub(1);
        self.descriptors
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .map_err(|_| Errno::MFILE.into())
            .map(|_| ())
    }
}

impl Disk for SmallDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        SystemDisk.make_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        SystemDisk.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        SystemDisk.open(path, access)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_one()?;
        SystemDisk.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let size = SystemDisk.open(from, Access::Read)?.size()?;
        self.free.fetch_sub(size, Ordering::SeqCst);
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_one()?;
        SystemDisk.sync_dir(dir)
    }

    fn free(&self, _: &Path) -> io::Result<Free> {
        let bytes = self.free.load(Ordering::SeqCst);
        let no_inodes = false;
        Ok(Free { bytes, no_inodes })
    }
}

/// A log in a directory of its own.
pub(super) struct Yard {
    pub dir: TempDir,
    pub options: LogOptions,
}

impl Yard {
    pub fn new() -> Self {
        Yard {
            dir: tempfile::tempdir().unwrap(),
            options: LogOptions::new(SEGMENT),
        }
    }

    pub fn open(&self) -> (Log, Found) {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<(Log, Found), LogError> {
        Log::open(self.dir.path(), self.options.clone(), Some(ID))
    }

    pub fn path(&self, base: u64) -> PathBuf {
        self.dir.path().join("log").join(segment::file_name(base))
    }

    /// The file and offset of a position.
    pub fn place(&self, lsn: Lsn) -> (PathBuf, u64) {
        let files = segment::list(&SystemDisk, &self.dir.path().join("log")).unwrap();
        let (base, path) = files
            .segments
            .into_iter()
            .rev()
            .find(|(base, _)| *base <= lsn.0)
            .unwrap();
        (path, lsn.0 - base)
    }

    pub fn write(&self, lsn: Lsn, bytes: &[u8]) {
        let (path, at) = self.place(lsn);
        open(&path).write_all_at(bytes, at).unwrap();
    }

    pub fn read(&self, lsn: Lsn, count: usize) -> Vec<u8> {
        let (path, at) = self.place(lsn);
        let mut out = vec![0; count];
        open(&path).read_exact_at(&mut out, at).unwrap();
        out
    }

    pub fn flip(&self, lsn: Lsn) {
        let byte = self.read(lsn, 1)[0];
        self.write(lsn, &[byte ^ 0x10]);
    }

    /// The names in the log's directory.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.dir.path().join("log"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub(super) fn open(path: &Path) -> std::fs::File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

pub(super) fn told(log: &Log, from: Lsn) -> Told {
    try_told(log, from, Lsn::MAX).unwrap()
}

pub(super) fn try_told(log: &Log, from: Lsn, to: Lsn) -> Result<Told, LogError> {
    let mut told = Told::default();
    let flow = log.reader().replay(from, to, |replayed| {
        match replayed {
            Replayed::Record(record) => told.records.push(Rec::of(record)),
            Replayed::FrameEnd { end, .. } => told.ends.push(end),
            Replayed::Damage(damage) => told.damage.push(damage),
        }
        ControlFlow::<()>::Continue(())
    })?;
    assert!(flow.is_continue());
    Ok(told)
}

/// Commits a frame with these bodies, each with a small head, and returns its records.
pub(super) fn commit(log: &mut Log, bodies: &[&[u8]]) -> (Committed, Vec<Rec>) {
    let mut frame = log.batch();
    let mut pushed = Vec::new();
    for (n, body) in bodies.iter().enumerate() {
        let head = format!("head {n}").into_bytes();
        let kind = n as u8 + 1;
        let offset = frame.push(kind, &head, body).unwrap();
        pushed.push((offset, kind, head, body.to_vec()));
    }
    let committed = log.commit(&mut frame).unwrap();
    let records = pushed
        .into_iter()
        .map(|(offset, kind, head, body)| Rec {
            lsn: committed.lsn(offset),
            kind,
            head,
            body: Some(body),
        })
        .collect();
    (committed, records)
}

/// The bytes of a valid frame without records for a place in the log.
pub(super) fn mark_bytes(id: &[u8; 16], lsn: Lsn, durable: Lsn) -> Vec<u8> {
    let header = FrameHeader {
        lsn,
        durable,
        start: Lsn(0),
        prev_crc: 0,
        payload_len: 0,
        record_count: 0,
        records_crc: 0,
        epoch: 0,
        more: 0,
    };
    header.encode(Salt::new(id)).to_vec()
}

pub(super) const FIRST: Lsn = Lsn(HEADER);
pub(super) const FIRST_RECORD: Lsn = Lsn(HEADER + FRAME_HEADER as u64);
