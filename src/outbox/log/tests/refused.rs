//! A file system that takes new space for what is overwritten, and has none.

use std::sync::Mutex;

use super::*;

/// The system's disk, whose files take so many more bytes of writes: `None` is any number.
#[derive(Clone, Debug, Default)]
struct Refusing(Arc<Mutex<Left>>);

#[derive(Debug, Default)]
struct Left {
    bytes: Option<usize>,
    /// There is room again after one refusal, as for what is in the cache already.
    refuses_once: bool,
}

#[derive(Debug)]
struct RefusingFile(Arc<dyn DiskFile>, Refusing);

impl Refusing {
    fn limit(&self, bytes: Option<usize>) {
        self.0.lock().unwrap().bytes = bytes;
    }

    fn refuse_once_after(&self, bytes: usize) {
        *self.0.lock().unwrap() = Left {
            bytes: Some(bytes),
            refuses_once: true,
        };
    }
}

impl Disk for Refusing {
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        SystemDisk.make_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        SystemDisk.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = SystemDisk.open(path, access)?;
        Ok(Arc::new(RefusingFile(file, self.clone())))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = SystemDisk.create(path)?;
        Ok(Arc::new(RefusingFile(file, self.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(dir)
    }

    fn free(&self, dir: &Path) -> io::Result<Free> {
        SystemDisk.free(dir)
    }
}

impl DiskFile for RefusingFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buf, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut left = self.1.0.lock().unwrap();
        let Some(bytes_left) = left.bytes else {
            return self.0.write_at(bytes, at);
        };
        if bytes_left == 0 {
            if left.refuses_once {
                left.bytes = None;
            }
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let count = bytes.len().min(bytes_left);
        left.bytes = Some(bytes_left - count);
        self.0.write_at(&bytes[..count], at)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(done: Result<T, LogError>) {
    assert!(matches!(done, Err(LogError::NoSpace)), "{done:?}");
}

/// Wherever in a batch of several frames the file system refuses: nothing of it counts, the
/// log goes on, and what is written over its pieces is not mixed up with them.
#[test]
fn a_batch_that_the_file_system_refuses_leaves_nothing() {
    for left in (0..2400).step_by(40) {
        for goes_on in [false, true] {
            let disk = Refusing::default();
            let mut yard = Yard::new();
            yard.options = yard.options.on(Arc::new(disk.clone())).with_frames_of(600);
            let (mut log, _) = yard.open();
            let mut written = commit(&mut log, &[b"before"]).1;
            disk.limit(Some(left));
            let mut batch = log.batch();
            for _ in 0..4 {
                batch.push(1, b"refused", &[7; 500]).unwrap();
            }
            assert!(batch.disk_len() > 2400, "{}", batch.disk_len());
            let end = log.end();
            assert_refused(log.commit(&mut batch));
            assert_eq!(log.end(), end);
            disk.limit(None);
            if goes_on {
                // Frames of the same sizes, fewer of them.
                written.extend(commit(&mut log, &[&[8; 500], &[9; 500]]).1);
            }
            drop(log);
            let (mut log, found) = yard.open();
            assert_eq!(found.damage, []);
            written.extend(commit(&mut log, &[b"after"]).1);
            let told = told(&log, Lsn(0));
            assert_eq!((told.records, told.damage), (written, vec![]), "{left}");
        }
    }
}

/// A batch that was refused although only zeros were missing, which are there already, does not
/// come into force at the next start.
#[test]
fn a_refused_batch_of_which_only_zeros_are_missing_does_not_count() {
    let disk = Refusing::default();
    let mut yard = Yard::new();
    yard.options = yard.options.on(Arc::new(disk.clone()));
    let (mut log, _) = yard.open();
    let written = commit(&mut log, &[b"before"]).1;
    let mut batch = log.batch();
    batch.push(1, b"refused", &[0; 300]).unwrap();
    disk.refuse_once_after(batch.disk_len() as usize - 256);
    assert_refused(log.commit(&mut batch));
    drop(log);
    let (log, found) = yard.open();
    assert_eq!(found.damage, []);
    assert_eq!(told(&log, Lsn(0)).records, written);
}

/// What is left of a refused batch at the end of a segment does not count either once the log
/// goes on in the next one, however it comes to that.
#[test]
fn a_refused_batch_at_the_end_of_a_segment_leaves_nothing() {
    for left in (40..2400).step_by(40) {
        for is_ended in [false, true] {
            let disk = Refusing::default();
            let mut yard = Yard::new();
            yard.options = yard.options.on(Arc::new(disk.clone())).with_frames_of(600);
            let (mut log, _) = yard.open();
            let mut written = commit(&mut log, &[&[6; 8000]]).1;
            log.next_ready();
            disk.limit(Some(left));
            let mut batch = log.batch();
            for _ in 0..4 {
                batch.push(1, b"refused", &[7; 500]).unwrap();
            }
            assert_refused(log.commit(&mut batch));
            // Nor can what was written be taken back yet.
            disk.limit(Some(0));
            let mut large = log.batch();
            large.push(1, b"", &[8; 9000]).unwrap();
            assert_refused(match is_ended {
                true => log.begin_segment(),
                false => log.commit(&mut large).map(drop),
            });
            disk.limit(None);
            if is_ended {
                log.begin_segment().unwrap();
            }
            written.extend(commit(&mut log, &[&[8; 9000]]).1);
            assert_eq!(log.segments().len(), 2);
            let running = told(&log, Lsn(0));
            assert_eq!((&running.records, running.damage), (&written, vec![]));
            drop(log);
            let (log, found) = yard.open();
            assert_eq!(found.damage, []);
            let told = told(&log, Lsn(0));
            assert_eq!((told.records, told.damage), (written, vec![]), "{left}");
            let bytes = std::fs::read(yard.path(0)).unwrap();
            assert!(!bytes.windows(8).any(|eight| eight == [7; 8]));
        }
    }
}

/// No segment is made behind one that has no frame, because its first was refused: at the next start
/// several without frames are damage.
#[test]
fn a_refused_batch_at_the_beginning_of_a_segment_leaves_nothing() {
    for is_first in [false, true] {
        for next in [0, 9000, 20_000] {
            let disk = Refusing::default();
            let mut yard = Yard::new();
            yard.options = yard.options.on(Arc::new(disk.clone()));
            let (mut log, _) = yard.open();
            let mut written = Vec::new();
            if !is_first {
                written = commit(&mut log, &[&[6; 8000]]).1;
            }
            log.next_ready();
            disk.refuse_once_after(2000);
            let mut batch = log.batch();
            batch.push(1, b"refused", &[7; 5000]).unwrap();
            if !is_first {
                batch.push(1, b"refused", &[7; 4000]).unwrap();
            }
            assert_refused(log.commit(&mut batch));
            log.prepare_spare().unwrap();
            log.next_ready();
            if next > 0 {
                disk.limit(Some(0));
                assert_ne!(log.prepare_spare().unwrap(), SpareState::Making);
                disk.limit(None);
                // What is larger than a segment gets its own.
                written.extend(commit(&mut log, &[&vec![8; next]]).1);
            }
            drop(log);
            let (log, found) = yard.open();
            assert_eq!(found.damage, [], "{is_first} {next}");
            let told = told(&log, Lsn(0));
            assert_eq!((told.records, told.damage), (written, vec![]));
        }
    }
}

/// Erasing is put off and not given up: the body is gone when there is room again.
#[test]
fn an_overwrite_that_the_file_system_refuses_is_repeated() {
    for left in [0, 4, 8, 100] {
        let disk = Refusing::default();
        let mut yard = Yard::new();
        yard.options = yard.options.on(Arc::new(disk.clone()));
        let (mut log, _) = yard.open();
        let (_, written) = commit(&mut log, &[&[7; 500]]);
        disk.limit(Some(left));
        assert_refused(log.erase(&[written[0].lsn]));
        disk.limit(None);
        log.erase(&[written[0].lsn]).unwrap();
        let told = told(&log, Lsn(0));
        assert_eq!((&told.records[0].body, told.damage), (&None, vec![]));
        let (path, _) = yard.place(written[0].lsn);
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(8).any(|eight| eight == [7; 8]));
    }
}
