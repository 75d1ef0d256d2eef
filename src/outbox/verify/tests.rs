//! A log of records that refer to each other is damaged anywhere: what is named was hit, and what
//! was hit is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use proptest::prelude::*;
use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::outbox::directory::write_format;
use crate::outbox::disk::{Access, DiskFile, Free};
use crate::outbox::log::{Batch, Log, LogOptions, Offset};
use crate::outbox::record::{
    Accepted, Acted, AttemptRow, Attempted, DeliveryRow, ErasedRow, EventHead, Moved, MovedStep,
    NextRow, Record, Rewritten, RewrittenDelivery, StepRow,
};

const STORE: [u8; 16] = *b"store to verify!";
const SEGMENT: u64 = 16 << 10;
/// Bytes of the headers of frames and records, and where a record has its seal, which no CRC covers.
const FRAME_HEADER: u64 = 56;
const RECORD_HEADER: u64 = 32;
const SEAL: std::ops::Range<u64> = 24..32;
const STEP: StepRow = StepRow::Hold { reason: 1 };

/// Far apart, so that no flipped bit makes one of another.
fn id(event: usize) -> u128 {
    let event = event as u128 + 1;
    (0x0198 << 112) | (event << 64) | (event * 0x9e37_79b9)
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Accept { body: usize },
    Attempt,
    Act,
    Move,
    Rewrite,
    Erase,
    Forget,
    Commit,
}

/// What is written, and about which of the events that are there.
type Write = (Kind, usize);

fn write() -> impl Strategy<Value = Write> {
    let kind = prop_oneof![
        6 => (0..400_usize).prop_map(|body| Kind::Accept { body }),
        6 => Just(Kind::Attempt),
        2 => Just(Kind::Act),
        1 => Just(Kind::Move),
        2 => Just(Kind::Rewrite),
        1 => Just(Kind::Erase),
        1 => Just(Kind::Forget),
        5 => Just(Kind::Commit),
    ];
    (kind, 0..1000_usize)
}

/// A record as it stands in the log.
#[derive(Clone, Copy, Debug)]
struct Written {
    event: usize,
    kind: Kind,
    at: u64,
    body: u64,
    end: u64,
    /// Of an attempt: where the one before it stands.
    previous: u64,
    /// Where its frame begins.
    frame: u64,
    /// Its batch: where a frame of it is lost, the walk goes on with the next batch.
    batch: (u64, u64),
}

impl Written {
    /// It says what the event is, or that it is gone.
    fn explains(&self) -> bool {
        !matches!(self.kind, Kind::Attempt | Kind::Act | Kind::Move)
    }

    fn is_acceptance(&self) -> bool {
        matches!(self.kind, Kind::Accept { .. } | Kind::Rewrite)
    }

    /// Whether this byte is one that the record cannot do without.
    fn needs(&self, byte: u64) -> bool {
        (self.at..self.body).contains(&byte) && !SEAL.contains(&(byte - self.at))
    }
}

/// A store with a log of some writes.
struct Yard {
    dir: TempDir,
    log: Log,
    written: Vec<Written>,
    /// Where the marks begin that prove all of it.
    end: u64,
    /// Events that may be named, with the lengths of their bodies.
    open: BTreeMap<usize, usize>,
    last_attempt: BTreeMap<usize, u64>,
}

fn head(event: usize, body: usize) -> EventHead<'static> {
    EventHead {
        id: id(event),
        accepted_at: 1_700_000_000_000 + event as u64,
        tenant: "default",
        event_type: "order.created",
        key: None,
        idempotency: None,
        deliver_at: None,
        content_type: Some("text/plain"),
        data_at: 0,
        body_len: body as u32,
        body_lost: false,
    }
}

fn attempt() -> AttemptRow<'static> {
    AttemptRow {
        at: 1_700_000_000_000,
        duration_ms: 12,
        status: Some(503),
        error: None,
        response: 4,
        address: None,
    }
}

fn rewritten(event: usize, body: usize) -> Rewritten<'static> {
    let state = DeliveryRow {
        status: 1,
        reason: 0,
        attempt_count: 1,
        tries: 1,
        due: 1,
        budget_from: 1,
        finished_at: 0,
        exact: false,
        last_attempt: 0,
        attempt_bytes: 0,
    };
    Rewritten {
        event: head(event, body),
        deliveries: vec![RewrittenDelivery {
            endpoint: 1,
            state,
            attempts: vec![attempt()],
        }],
        extras_len: 0,
    }
}

impl Yard {
    fn new(writes: &[Write]) -> Yard {
        let dir = tempfile::tempdir().unwrap();
        write_format(dir.path()).unwrap();
        let options = LogOptions::new(SEGMENT).with_frames_of(700);
        let (log, _) = Log::open(dir.path(), options, Some(STORE)).unwrap();
        let mut yard = Yard {
            dir,
            written: Vec::new(),
            end: 0,
            open: BTreeMap::new(),
            last_attempt: BTreeMap::new(),
            log,
        };
        for writes in writes.split(|(kind, _)| matches!(kind, Kind::Commit)) {
            yard.commit(writes);
        }
        yard.end = yard.log.end().0;
        yard.log.mark().unwrap();
        yard
    }

    fn commit(&mut self, writes: &[Write]) {
        let mut batch = self.log.batch();
        let (mut pushed, mut touched) = (Vec::new(), BTreeSet::new());
        for (kind, at) in writes {
            let event = match kind {
                Kind::Accept { .. } => id_count(&self.open, &touched),
                _ => match self.open.keys().nth(at % self.open.len().max(1)) {
                    Some(event) => *event,
                    None => continue,
                },
            };
            // As in the daemon: what a batch touches it touches once.
            if touched.insert(event) {
                pushed.push((event, *kind, self.push(&mut batch, event, *kind)));
            }
        }
        let committed = self.log.commit(&mut batch).unwrap();
        let ends: Vec<u64> = batch
            .frames()
            .map(|(end, _)| committed.lsn(end).0)
            .collect();
        let heads = batch.frames().flat_map(|(_, records)| records);
        let heads: BTreeMap<u64, u64> = heads
            .map(|pushed| (committed.lsn(pushed.offset).0, pushed.head.len() as u64))
            .collect();
        for (event, kind, (offset, body)) in pushed {
            let at = committed.lsn(offset).0;
            let previous = self.last_attempt.get(&event).copied();
            let index = ends.partition_point(|end| *end <= at);
            let begin = index
                .checked_sub(1)
                .map_or(committed.lsn.0, |before| ends[before]);
            let body_at = at + RECORD_HEADER + heads[&at];
            match kind {
                Kind::Attempt | Kind::Rewrite => drop(self.last_attempt.insert(event, at)),
                Kind::Accept { body } => drop(self.open.insert(event, body)),
                Kind::Erase | Kind::Forget => drop(self.open.remove(&event)),
                _ => {}
            }
            self.written.push(Written {
                event,
                kind,
                at,
                body: body_at,
                end: body_at + body,
                previous: previous
                    .filter(|_| matches!(kind, Kind::Attempt))
                    .unwrap_or_default(),
                frame: begin,
                batch: (committed.lsn.0, committed.end.0),
            });
        }
    }

    /// Adds a record, and gives where it is and how long its body.
    fn push(&self, batch: &mut Batch, event: usize, kind: Kind) -> (Offset, u64) {
        let size = self.open.get(&event).copied().unwrap_or_default();
        let (record, body) = match kind {
            Kind::Accept { body } => {
                let accepted = Accepted {
                    event: head(event, body),
                    due: 1,
                    endpoints: vec![1],
                    extras_len: 0,
                };
                (Record::Accepted(accepted), vec![b'b'; body])
            }
            Kind::Attempt => {
                let attempted = Attempted {
                    id: id(event),
                    endpoint: 1,
                    ended_at: 2,
                    attempt: attempt(),
                    next: NextRow::Delivered,
                    previous: self.last_attempt.get(&event).copied().unwrap_or_default(),
                };
                (Record::Attempted(attempted), b"oops".to_vec())
            }
            Kind::Act => {
                let (id, endpoint) = (id(event), 1);
                let acted = Acted {
                    id,
                    endpoint,
                    step: STEP,
                };
                (Record::Acted(acted), Vec::new())
            }
            Kind::Move => {
                let (endpoint, ids) = (1, vec![id(event)]);
                let step = MovedStep::Take(STEP);
                (
                    Record::Moved(Moved {
                        endpoint,
                        step,
                        ids,
                    }),
                    Vec::new(),
                )
            }
            Kind::Rewrite => {
                let body = [vec![b'b'; size], b"oops".to_vec()].concat();
                (Record::Rewritten(rewritten(event, size)), body)
            }
            Kind::Erase => {
                let (id, at, done) = (id(event), 1, false);
                (Record::Erased(ErasedRow { id, at, done }), Vec::new())
            }
            Kind::Forget | Kind::Commit => (Record::Forgotten(vec![id(event)]), Vec::new()),
        };
        let encode = |out: &mut Vec<u8>| record.encode(out);
        let offset = batch.push_with(record.kind(), encode, &body).unwrap();
        (offset, body.len() as u64)
    }

    /// The segment that has a position, and the offset there.
    fn place(&self, at: u64) -> (PathBuf, u64) {
        let (name, offset) = self.log.reader().place_of(Lsn(at));
        (self.dir.path().join("log").join(name), offset)
    }

    /// Changes some bytes from `at` on, within the segment, and says which have changed.
    fn harm(&self, at: u64, count: usize, how: impl Fn(u8) -> u8) -> BTreeSet<u64> {
        let (path, offset) = self.place(at);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let left = (SEGMENT - offset).min(self.end.saturating_sub(at));
        let mut bytes = vec![0; count.min(left as usize)];
        file.read_exact_at(&mut bytes, offset).unwrap();
        let changed = (at..).zip(&mut bytes).filter_map(|(at, byte)| {
            let old = std::mem::replace(byte, how(*byte));
            (old != *byte).then_some(at)
        });
        let changed = changed.collect();
        file.write_all_at(&bytes, offset).unwrap();
        changed
    }

    fn verify(&self) -> Report {
        let store = Store::open(self.dir.path()).unwrap();
        store.verify(&mut |_, _| {}).unwrap()
    }

    fn is_judged_right(&self, report: &Report, changed: &BTreeSet<u64>) {
        let named: BTreeSet<u128> = report.events.iter().map(|event| event.id.0).collect();
        let any = |from: u64, to: u64| changed.range(from..to).next().is_some();
        let is_near = |record: &Written| any(record.batch.0, record.batch.1);
        // Whose batch was not touched is not named.
        let near = self.written.iter().filter(|record| is_near(record));
        let near: BTreeSet<u128> = near.map(|record| id(record.event)).collect();
        assert!(named.is_subset(&near), "{named:x?} in {near:x?}");
        let is_harmed = |record: &Written| {
            let mut bytes = changed.range(record.at..record.body);
            bytes.any(|at| record.needs(*at))
        };
        let mut is_hit = false;
        for record in &self.written {
            let (frame, event) = (record.frame, record.event);
            let of_frame = any(frame, frame + FRAME_HEADER);
            let (of_head, of_body) = (is_harmed(record), any(record.body, record.end));
            is_hit |= of_frame || of_head || of_body;
            if of_body && !of_head {
                assert!(named.contains(&id(event)), "{record:?} {report:?}");
            }
            // Others that are whole name it, and none says what it is.
            let others = self.written.iter().filter(|other| other.event == event);
            let is_named = others.clone().any(|other| !is_near(other));
            let mut whole = others.filter(|other| !is_harmed(other));
            let is_explained = whole.any(|other| other.explains());
            if record.is_acceptance() && of_head && is_named && !is_explained {
                assert!(named.contains(&id(event)), "{record:?} {report:?}");
            }
        }
        // An attempt that is gone is missed by the next one of its delivery.
        for record in self.written.iter().filter(|record| is_harmed(record)) {
            let mut others = self.written.iter();
            if others.any(|other| other.previous == record.at && !is_near(other)) {
                assert!(named.contains(&id(record.event)), "{record:?} {report:?}");
            }
        }
        assert_eq!(report.is_whole(), !is_hit);
    }
}

/// An id that no event has.
fn id_count(open: &BTreeMap<usize, usize>, touched: &BTreeSet<usize>) -> usize {
    let last = open.keys().chain(touched).max();
    last.map_or(0, |last| last + 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_named_was_hit_and_what_was_hit_is_named(
        writes in proptest::collection::vec(write(), 1..250),
        at in any::<prop::sample::Index>(),
        count in prop_oneof![Just(1_usize), 1..64_usize, 1..6000_usize],
        bit in 0..8_u32,
        zeros in any::<bool>(),
    ) {
        let yard = Yard::new(&writes);
        let report = yard.verify();
        prop_assert!(report.is_whole(), "{report:?}");
        prop_assert_eq!(report.counts.records, yard.written.len() as u64);
        let at = at.index(yard.end.max(1) as usize) as u64;
        let changed = yard.harm(at, count, |byte| if zeros { 0 } else { byte ^ (1 << bit) });
        let of_segment = yard.place(at).1 < 4096;
        let report = yard.verify();
        if !of_segment {
            yard.is_judged_right(&report, &changed);
        }
    }
}

/// Parts of files that cannot be read.
#[derive(Debug)]
struct Rotten(Vec<(PathBuf, std::ops::Range<u64>)>);

#[derive(Debug)]
struct RottenFile(Arc<dyn DiskFile>, Vec<std::ops::Range<u64>>);

impl Disk for Rotten {
    fn make_dir(&self, _: &Path) -> io::Result<bool> {
        unreachable!("nothing is written")
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        SystemDisk.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        assert_eq!(access, Access::Read);
        let ranges = self.0.iter().filter(|(rotten, _)| rotten == path);
        let ranges = ranges.map(|(_, range)| range.clone()).collect();
        Ok(Arc::new(RottenFile(SystemDisk.open(path, access)?, ranges)))
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        unreachable!("nothing is written")
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("nothing is written")
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        unreachable!("nothing is written")
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("nothing is written")
    }

    fn free(&self, dir: &Path) -> io::Result<Free> {
        SystemDisk.free(dir)
    }
}

impl DiskFile for RottenFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let to = at + buf.len() as u64;
        if self
            .1
            .iter()
            .any(|range| range.start < to && at < range.end)
        {
            return Err(Errno::IO.into());
        }
        self.0.read_at(buf, at)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        unreachable!("nothing is written")
    }

    fn sync(&self) -> io::Result<()> {
        unreachable!("nothing is written")
    }

    fn sync_all(&self) -> io::Result<()> {
        unreachable!("nothing is written")
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

/// What the disk does not give is damage of that range, and the rest is read.
#[test]
fn an_unreadable_sector_costs_what_was_in_it() {
    let writes: Vec<Write> = (0..60)
        .flat_map(|_| [(Kind::Accept { body: 350 }, 0), (Kind::Commit, 0)])
        .collect();
    let yard = Yard::new(&writes);
    let (path, _) = yard.place(SEGMENT);
    let rotten = Rotten(vec![(path, 8192..8193)]);
    let store = Store::on(yard.dir.path(), Arc::new(rotten));
    let report = store.verify(&mut |_, _| {}).unwrap();
    let sector = SEGMENT + 8192..SEGMENT + 12288;
    let unreadable: Vec<_> = report
        .places
        .iter()
        .filter(|place| place.kind == PlaceKind::Unreadable)
        .collect();
    assert_eq!(unreadable.len(), 1, "{report:?}");
    assert_eq!(
        (unreadable[0].place.offset, unreadable[0].bytes),
        (8192, 4096)
    );
    assert_eq!(unreadable[0].place.position, Some(sector.start));
    assert_eq!(report.damaged_below, Some(sector.end));
    // All records that are not in it are there.
    let whole = yard
        .written
        .iter()
        .filter(|record| record.end <= sector.start || sector.end <= record.batch.0);
    assert!(report.counts.events >= whole.count() as u64, "{report:?}");
    assert!(report.counts.events < 60);
    // And the copy that a salvage starts from has zeros there.
    let file = store
        .disk()
        .open(&yard.place(SEGMENT).0, Access::Read)
        .unwrap();
    let mut bytes = vec![1; 16 << 10];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[8192..12288].iter().all(|byte| *byte == 0));
    let read = fs::read(yard.place(SEGMENT).0).unwrap();
    assert!(bytes[..8192] == read[..8192] && bytes[12288..] == read[12288..]);
}
