//! Shipping that dies at any step: of the shipper's process, of a request, of an answer.
//!
//! The real shipper ships a real store to one in memory that stops at the `n`th request, before or
//! after it took effect. Then a new shipper goes on, as after a restart. Nothing is ever put twice
//! under one name with other bytes, and what could be restored once can be restored from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path as DirPath;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::cover;
use super::figures::Figures;
use super::names::{Generation, Name, Part};
use super::place::Place;
use super::restore::{self, Wanted};
use super::shipper::{Settings, Shipper};
use crate::config::{BackupUrl, S3};
use crate::domain::event::{EventType, NewEvent, Payload, Tenant};
use crate::outbox::{Action, Keep, Lsn, Opened, Options, Outbox};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// When requests stop.
#[derive(Clone, Copy, Debug)]
enum Death {
    Never,
    /// The request that comes after so many is not made.
    Before(usize),
    /// It is made, and its answer is lost.
    After(usize),
}

/// A store in memory that dies, and judges what is put.
#[derive(Debug)]
struct Dying {
    inner: InMemory,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    death: Death,
    requests: usize,
    /// Everything that was ever put.
    put: BTreeMap<String, Vec<u8>>,
    /// The parts that are there.
    parts: BTreeMap<Generation, BTreeSet<Part>>,
}

impl fmt::Display for Dying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dying")
    }
}

fn dead() -> Error {
    Error::Generic {
        store: "Dying",
        source: "it died".into(),
    }
}

fn parse(path: &Path) -> Option<(Generation, Name)> {
    let (generation, name) = path.as_ref().split_once('/')?;
    Some((Generation::parse(generation)?, Name::parse(name)?))
}

impl Dying {
    fn new() -> Arc<Dying> {
        Arc::new(Dying {
            inner: InMemory::new(),
            state: Mutex::new(State {
                death: Death::Never,
                requests: 0,
                put: BTreeMap::new(),
                parts: BTreeMap::new(),
            }),
        })
    }

    /// From the next request on.
    fn die(&self, death: Death) {
        let mut state = self.state.lock().unwrap();
        (state.death, state.requests) = (death, 0);
    }

    /// Whether a request is made, and whether its answer arrives.
    fn request(&self) -> (bool, bool) {
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        match state.death {
            Death::Never => (true, true),
            Death::Before(most) => (state.requests <= most, state.requests <= most),
            Death::After(most) => (state.requests <= most + 1, state.requests <= most),
        }
    }

    fn judge_put(&self, location: &Path, bytes: Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        let before = state.put.insert(location.to_string(), bytes.clone());
        assert!(
            before.is_none_or(|before| before == bytes),
            "{location} was put with other bytes"
        );
        if let Some((generation, Name::Part(part))) = parse(location) {
            state.parts.entry(generation).or_default().insert(part);
        }
    }

    fn judge_delete(&self, location: &Path) {
        let Some((generation, Name::Part(part))) = parse(location) else {
            return;
        };
        let mut state = self.state.lock().unwrap();
        let parts = state.parts.entry(generation).or_default();
        let before = reach(parts, part.base);
        parts.remove(&part);
        let after = reach(parts, part.base);
        assert!(after >= before, "{location} was still needed");
    }
}

/// How far the segment can be restored.
fn reach(parts: &BTreeSet<Part>, base: u64) -> u64 {
    // The bytes past the end of a full segment are zeros.
    let of_segment = || parts.iter().filter(move |part| part.base == base);
    if of_segment().any(|part| part.is_last) && covered(parts, base) {
        return u64::MAX;
    }
    let segments = cover::segments(parts);
    let pieces = segments.iter().find(|(found, _)| *found == base);
    let pieces = pieces
        .map(|(_, pieces)| pieces.as_slice())
        .unwrap_or_default();
    let there = pieces.iter().take_while(|piece| piece.part.is_some());
    there.last().map_or(0, |piece| piece.to)
}

fn covered(parts: &BTreeSet<Part>, base: u64) -> bool {
    let segments = cover::segments(parts);
    let mut pieces = segments.iter().filter(|(found, _)| *found == base);
    pieces.all(|(_, pieces)| pieces.iter().all(|piece| piece.part.is_some()))
}

#[async_trait]
impl ObjectStore for Dying {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let (is_made, is_answered) = self.request();
        if !is_made {
            return Err(dead());
        }
        let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
        let put = self.inner.put_opts(location, payload, opts).await;
        if put.is_ok() {
            self.judge_put(location, bytes);
        }
        if is_answered { put } else { Err(dead()) }
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(dead())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.request() {
            (true, true) => self.inner.get_opts(location, options).await,
            _ => Err(dead()),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (is_made, is_answered) = self.request();
        if !is_made {
            return stream::once(async { Err(dead()) }).boxed();
        }
        // Only single objects are deleted here, and in memory nothing waits.
        let locations: Vec<_> =
            futures_util::FutureExt::now_or_never(locations.collect::<Vec<_>>())
                .unwrap_or_default();
        for location in locations.iter().flatten() {
            self.judge_delete(location);
        }
        let deleted = self.inner.delete_stream(stream::iter(locations).boxed());
        let answer = move |deleted| if is_answered { deleted } else { Err(dead()) };
        deleted.map(answer).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.request() {
            (true, true) => self.inner.list(prefix),
            _ => stream::once(async { Err(dead()) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.request() {
            (true, true) => self.inner.list_with_delimiter(prefix).await,
            _ => Err(dead()),
        }
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(dead())
    }
}

/// A store whose commits are answered.
struct Store {
    outbox: Outbox,
    dir: tempfile::TempDir,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Store {
    fn open() -> Store {
        let dir = tempfile::tempdir().unwrap();
        let opened = Outbox::open(options(dir.path())).unwrap();
        let Opened {
            outbox,
            mut commits,
            writer,
            ..
        } = opened;
        let answers = std::thread::spawn(move || {
            while let Some(mut commit) = commits.blocking_recv() {
                commit.answer();
            }
        });
        Store {
            outbox,
            dir,
            threads: vec![writer, answers],
        }
    }

    async fn accept(&self, bytes: usize) -> crate::domain::event::EventId {
        let data = format!("\"{}\"", "x".repeat(bytes));
        let event = NewEvent {
            tenant: Tenant::default(),
            event_type: EventType::new("a").unwrap(),
            payload: Payload::Json(data.into()),
            key: None,
            idempotency_key: None,
            deliver_at: None,
            extras: None,
        };
        self.outbox.accept(vec![event]).await.unwrap()[0].id
    }

    /// Waits until nothing of erased events is left in the log.
    fn erased(&self) {
        let began = std::time::Instant::now();
        while self.outbox.is_erasing() {
            assert!(began.elapsed() < 2 * MINUTE, "nothing overwrites it");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn close(self) {
        self.outbox.stop();
        drop(self.outbox);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn options(dir: &DirPath) -> Options {
    Options {
        data_dir: dir.join("data"),
        segment_size: 4 << 20,
        cache_size: 1 << 20,
        max_size: 1 << 30,
        endpoint_share: 1.0,
        min_free_disk: 0,
        idempotency_window: HOUR,
        max_in_flight: 64,
        keep: Keep {
            delivered: 1000 * HOUR,
            dead: 1000 * HOUR,
            held: 1000 * HOUR,
            erased: 1000 * HOUR,
            max_size: 1 << 30,
            min_free_disk: 0,
            segment_size: 4 << 20,
        },
        boot_id: None,
        defaults: Default::default(),
        endpoints: Vec::new(),
    }
}

const SETTINGS: Settings = Settings {
    interval: Duration::from_secs(1),
    retain: HOUR,
};

fn shipper(store: &Store, dying: &Arc<Dying>) -> Shipper {
    let target = (BackupUrl::File("/nowhere".into()), S3::default(), None);
    let data_dir = store.dir.path().join("data");
    let figures = Arc::new(Figures::new(store.outbox.clone()));
    let mut shipper = Shipper::new(store.outbox.clone(), target, &data_dir, figures);
    shipper.place_in(Place::of(dying.clone(), String::new(), None));
    shipper
}

/// Ships with deaths at every step, and goes on until a round ends well.
async fn ship_through_deaths(store: &Store, dying: &Arc<Dying>, death: fn(usize) -> Death) {
    for step in 0.. {
        assert!(step < 1000, "it never ends");
        dying.die(death(step));
        let ended = shipper(store, dying).round(SETTINGS).await;
        if ended.is_ok() {
            break;
        }
    }
    dying.die(Death::Never);
}

/// Restores the newest generation, and compares it with the log.
async fn compare(store: &Store, dying: &Arc<Dying>) {
    let place = Place::of(dying.clone(), String::new(), None);
    let dir = store.dir.path().join("restored");
    let wanted = Wanted::default();
    let progress = Arc::new(|_, _| {});
    let report = restore::restore(&place, "memory", &dir, &wanted, progress).await;
    let report = report.unwrap();
    assert_eq!((report.log.damaged, report.missing.len()), (0, 0));
    // An idle log proves its last batch with a mark, which may have come since.
    const MARK: u64 = 64;
    let end = Lsn(report.log.end);
    assert!(store.outbox.log_end().0 - end.0 <= MARK);
    let copying = store.outbox.copy_log();
    for segment in copying.segments(end).unwrap() {
        let mut here = vec![0; segment.used as usize];
        copying.read(segment.base, 0, &mut here).unwrap();
        let path = dir.join(format!("log/{:016x}.log", segment.base.0));
        let there = std::fs::read(path).unwrap();
        let there = &there[..segment.used as usize];
        let differs = here.iter().zip(there).position(|(a, b)| a != b);
        assert_eq!(differs, None, "in the segment at {}", segment.base);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn dies_at_every_step(death: fn(usize) -> Death) {
    let store = Store::open();
    let dying = Dying::new();
    let mut events = Vec::new();
    for _ in 0..3 {
        for bytes in [10, 900_000, 900_000, 900_000] {
            events.push(store.accept(bytes).await);
            ship_through_deaths(&store, &dying, death).await;
        }
    }
    compare(&store, &dying).await;
    // Another segment each time, as the same one is shipped again only after a while.
    for event in [events[0], events[11]] {
        let action = Action::Erase { event };
        store.outbox.act(action).await.unwrap();
        ship_through_deaths(&store, &dying, death).await;
    }
    // What was being read for shipping is overwritten a little later, and the log says so.
    store.erased();
    ship_through_deaths(&store, &dying, death).await;
    compare(&store, &dying).await;
    assert_eq!(dying.state.lock().unwrap().parts.len(), 1, "one generation");
    store.close();
}

#[tokio::test]
async fn a_death_before_any_request_loses_nothing() {
    dies_at_every_step(Death::Before).await;
}

#[tokio::test]
async fn a_death_before_any_answer_loses_nothing() {
    dies_at_every_step(Death::After).await;
}

#[tokio::test]
async fn two_stores_that_take_themselves_for_one_part_ways() {
    let (one, other) = (Store::open(), Store::open());
    let dying = Dying::new();
    one.accept(10).await;
    other.accept(2000).await;
    shipper(&one, &dying).round(SETTINGS).await.unwrap();
    // The other remembers the generation of the first: a copy of its directory, device and all.
    let [a, b] = [&one, &other].map(|store| store.dir.path().join("data/backup"));
    std::fs::create_dir_all(&b).unwrap();
    let state = std::fs::read_to_string(a.join("STATE")).unwrap();
    let [a, b] = [a, b].map(|dir| {
        use std::os::unix::fs::MetadataExt;
        (std::fs::metadata(&dir).unwrap().ino().to_string(), dir)
    });
    let state = state.replace(&format!(":{}:", a.0), &format!(":{}:", b.0));
    std::fs::write(b.1.join("STATE"), state).unwrap();
    shipper(&other, &dying).round(SETTINGS).await.unwrap();
    assert_eq!(dying.state.lock().unwrap().parts.len(), 2);
    // And the other way round: both go on at once in one generation.
    let mut shippers = [shipper(&one, &dying), shipper(&one, &dying)];
    for shipper in &mut shippers {
        shipper.round(SETTINGS).await.unwrap();
    }
    compare(&other, &dying).await;
    one.close();
    other.close();
}
