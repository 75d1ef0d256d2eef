//! Sources in a store of their own: definitions, counts, and the keys of their deliveries.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::domain::event::{EventType, NewEvent, Payload, Tenant, source_key};
use crate::domain::extras::{Extras, Received};
use crate::domain::time::Timestamp;
use crate::outbox::index::keys;
use crate::outbox::log::Lsn;
use crate::outbox::maintain::{Cleaner, Requests};
use crate::outbox::request::{Request, Step, Wanted};
use crate::outbox::{
    ActRefused, Action, Keep, KeyBytes, Options, Outbox, Receipt, RecoveryKind, Refused,
    SourceDefinition, StoredSource,
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A wall clock that stands still until it is moved.
#[derive(Debug)]
struct Still(AtomicU64);

impl Clock for Still {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(SeqCst))
    }

    fn mono(&self) -> Duration {
        Duration::ZERO
    }
}

fn put(id: &str, definition: &str, changed_at: Timestamp) -> Action {
    Action::PutSource {
        id: id.to_owned(),
        definition: SourceDefinition {
            changed_at,
            bytes: KeyBytes(definition.into()),
        },
    }
}

fn options(dir: &Path) -> Options {
    Options {
        data_dir: dir.to_owned(),
        segment_size: 4 << 20,
        cache_size: 1 << 20,
        max_size: 1 << 30,
        endpoint_share: 1.0,
        min_free_disk: 0,
        idempotency_window: HOUR,
        max_in_flight: 64,
        // What is finished goes when the test says so.
        keep: Keep {
            delivered: 1000 * DAY,
            dead: 1000 * DAY,
            held: 1000 * DAY,
            erased: 1000 * DAY,
            max_size: 1 << 30,
            min_free_disk: 0,
            segment_size: 4 << 20,
        },
        boot_id: None,
        defaults: Default::default(),
        endpoints: Vec::new(),
    }
}

struct Store {
    outbox: Outbox,
    clock: Arc<Still>,
    writer: std::thread::JoinHandle<()>,
    listener: std::thread::JoinHandle<()>,
    runtime: tokio::runtime::Runtime,
    boot: u32,
}

impl Store {
    fn open(dir: &Path) -> Store {
        Store::open_with(options(dir))
    }

    fn open_with(options: Options) -> Store {
        Store::open_at(options, Arc::new(Still(1_767_225_600_000.into())), 0)
    }

    fn open_at(mut options: Options, clock: Arc<Still>, boot: u32) -> Store {
        options.boot_id = Some(format!("boot {boot}"));
        let opened = Outbox::open_at(options, clock.clone()).unwrap();
        let mut commits = opened.commits;
        let listener = std::thread::spawn(move || {
            while let Some(mut commit) = commits.blocking_recv() {
                commit.answer();
            }
        });
        Store {
            outbox: opened.outbox,
            clock,
            writer: opened.writer,
            listener,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
            boot,
        }
    }

    fn stop(self) {
        self.outbox.shared.index.read().check().unwrap();
        self.outbox.stop();
        self.writer.join().unwrap();
        self.listener.join().unwrap();
    }

    /// The same store after another start, with an index that is built from the log.
    fn rebuilt(self, dir: &Path) -> Store {
        let (clock, boot) = (self.clock.clone(), self.boot + 1);
        let before = self.outbox.stored_sources().unwrap();
        self.stop();
        let store = Store::open_at(options(dir), clock, boot);
        assert_eq!(store.outbox.status().recovery, RecoveryKind::Rebuilt);
        assert_eq!(store.outbox.stored_sources().unwrap(), before);
        store
    }

    fn act(&self, action: Action) -> Result<(), ActRefused> {
        self.runtime.block_on(self.outbox.act(action))
    }

    fn put(&self, id: &str, definition: &str) {
        let action = put(id, definition, self.clock.wall());
        self.act(action).unwrap();
    }

    fn count(&self, counts: &[(&str, &str)]) {
        let owned = |(id, text): &(&str, &str)| ((*id).to_owned(), text.as_bytes().to_vec());
        let counts = counts.iter().map(owned).collect();
        self.act(Action::PutSourceCounts { counts }).unwrap();
    }

    fn remove(&self, id: &str) {
        self.act(Action::RemoveSource { id: id.into() }).unwrap();
    }

    /// A delivery that the source took in.
    fn take_in(&self, source: &str, delivery: &str, body: &str) -> Receipt {
        let events = vec![of_source(source, delivery, body)];
        let accepted = self.runtime.block_on(self.outbox.accept(events));
        accepted.unwrap().remove(0)
    }

    fn step(&self, step: Step) {
        let (done, wait) = sync_channel(1);
        let request = Request::Maintain { step, done };
        self.outbox.requests.send(request).unwrap();
        assert!(wait.recv().unwrap().is_durable());
    }

    fn pass(&self, span: Duration) {
        self.clock.0.fetch_add(span.as_millis() as u64, SeqCst);
    }

    fn say_windows(&self, windows: &[(&str, Duration)]) {
        let windows = windows.iter().map(|(id, window)| ((*id).into(), *window));
        self.outbox.set_source_windows(windows.collect());
    }

    /// How many idempotency keys the index has.
    fn keys(&self) -> usize {
        let state = self.outbox.shared.index.read();
        let rows = state
            .entries
            .scan(keys::KEYS, &keys::end_of(keys::KEYS), false);
        rows.count()
    }

    /// Writes keys again as the dropping of their segment does.
    fn keep(&self, names: &[(&str, &str)]) {
        let start = self.outbox.shared.log.segments()[0].0;
        let key = |source: &str, delivery: &str| {
            let key = source_key(source, delivery);
            (Tenant::default().to_string(), key.to_string())
        };
        let keys = names.iter().map(|(source, delivery)| key(source, delivery));
        let wanted = Wanted {
            keys: keys.collect(),
            ..Wanted::default()
        };
        self.step(Step::Drop {
            start,
            wanted,
            also_needed: false,
        });
    }
}

fn of_source(source: &str, delivery: &str, body: &str) -> NewEvent {
    NewEvent {
        tenant: Tenant::default(),
        event_type: EventType::new("a.b").unwrap(),
        payload: Payload::Opaque {
            content_type: "text/plain".into(),
            body: body.as_bytes().to_vec().into(),
        },
        key: None,
        idempotency_key: Some(source_key(source, delivery)),
        deliver_at: None,
        extras: Some(Arc::new(Extras {
            source: Some(source.into()),
            received: Some(Received {
                verified_by: "secret 1".into(),
                remote: "203.0.113.7".into(),
            }),
            ..Extras::default()
        })),
    }
}

fn stored(source: &StoredSource) -> (&str, Option<&[u8]>, Option<&[u8]>) {
    let definition = source.definition.as_ref();
    let definition = definition.map(|definition| &definition.bytes.0[..]);
    (&source.id, definition, source.counts.as_deref())
}

#[test]
fn definitions_and_counts_are_there_until_the_source_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    store.put("b", "1");
    store.put("a", "2");
    store.count(&[("b", "one"), ("file", "two")]);
    store.pass(HOUR);
    store.put("b", "3");
    let store = store.rebuilt(dir.path());
    let sources = store.outbox.stored_sources().unwrap();
    let seen: Vec<_> = sources.iter().map(stored).collect();
    let expected = [
        ("a", Some(&b"2"[..]), None),
        ("b", Some(&b"3"[..]), Some(&b"one"[..])),
        ("file", None, Some(&b"two"[..])),
    ];
    assert_eq!(seen, expected);
    let changed = |at: usize| sources[at].definition.as_ref().unwrap().changed_at;
    assert_eq!(changed(1).since(changed(0)), HOUR);
    for id in ["b", "file", "never there"] {
        store.remove(id);
    }
    let store = store.rebuilt(dir.path());
    assert_eq!(store.outbox.stored_sources().unwrap(), sources[..1]);
    // One of that name may come again, and has counted nothing.
    store.put("b", "4");
    let store = store.rebuilt(dir.path());
    let again = store.outbox.stored_sources().unwrap();
    assert_eq!(stored(&again[1]), ("b", Some(&b"4"[..]), None));
    store.stop();
}

#[test]
fn changes_of_one_source_that_come_at_once_are_made_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let put = |definition| put("a", definition, store.clock.wall());
    let counts = Action::PutSourceCounts {
        counts: vec![("a".into(), b"1".to_vec())],
    };
    let remove = Action::RemoveSource { id: "a".into() };
    store.runtime.block_on(async {
        let act = |action| store.outbox.act(action);
        let all = tokio::join!(act(put("1")), act(counts), act(remove), act(put("2")));
        assert_eq!(all, (Ok(()), Ok(()), Ok(()), Ok(())));
    });
    let sources = store.outbox.stored_sources().unwrap();
    assert_eq!(stored(&sources[0]), ("a", Some(&b"2"[..]), None));
    store.stop();
}

#[test]
fn what_is_stored_of_a_source_is_written_again_before_its_segment_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    store.put("a", "1");
    store.count(&[("a", "2")]);
    let before = store.outbox.stored_sources().unwrap();
    let row = |store: &Store| {
        let state = store.outbox.shared.index.read();
        let source = state.source_entry("a").unwrap().unwrap();
        (
            source.lsn,
            state.source_counts_entry("a").unwrap().unwrap().lsn,
        )
    };
    let (source, counts) = row(&store);
    store.pass(HOUR);
    let wanted = Wanted {
        sources: ["a".to_owned(), "gone".to_owned()].into(),
        source_counts: ["a".to_owned(), "gone".to_owned()].into(),
        ..Wanted::default()
    };
    let start = store.outbox.shared.log.segments()[0].0;
    store.step(Step::Drop {
        start,
        wanted,
        also_needed: false,
    });
    let (moved, moved_counts) = row(&store);
    assert!(moved > counts && moved_counts > moved && counts > source);
    // Of the definition one copy is left.
    let body_at = |lsn: u64| {
        let mut buf = Vec::new();
        let read = store.outbox.shared.log.read(Lsn(lsn), &mut buf);
        read.unwrap().body.intact().map(<[u8]>::to_vec)
    };
    assert_eq!(body_at(source), None);
    assert_eq!(body_at(moved).as_deref(), Some(&b"1"[..]));
    assert_eq!(store.outbox.stored_sources().unwrap(), before);
    store.rebuilt(dir.path()).stop();
}

#[test]
fn a_delivery_that_is_repeated_is_stored_once_within_the_window_of_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    store.say_windows(&[("short", 2 * HOUR)]);
    let first = store.take_in("long", "1", "body");
    let short = store.take_in("short", "1", "body");
    assert!(!first.duplicate && !short.duplicate && first.id != short.id);
    // What it says is not compared.
    let again = store.take_in("long", "1", "other body");
    assert_eq!((again.id, again.duplicate), (first.id, true));
    // Longer than `ingest.idempotency_window`, for those that finish at once too.
    store.pass(2 * HOUR);
    store.step(Step::Forget(vec![first.id, short.id]));
    for (source, receipt) in [("long", &first), ("short", &short)] {
        assert!(store.outbox.event(receipt.id).is_err());
        let again = store.take_in(source, "1", "body");
        assert_eq!((again.id, again.duplicate), (receipt.id, true));
    }
    store.pass(HOUR);
    store.keep(&[("long", "1"), ("short", "1")]);
    let store = store.rebuilt(dir.path());
    store.say_windows(&[("short", 2 * HOUR)]);
    assert_eq!(store.keys(), 1);
    let again = store.take_in("short", "1", "body");
    assert!(!again.duplicate && again.id != short.id);
    store.pass(7 * DAY - 3 * HOUR);
    assert!(store.take_in("long", "1", "body").duplicate);
    store.pass(Duration::from_millis(1));
    let later = store.take_in("long", "1", "body");
    assert!(!later.duplicate);
    // Nothing of either is left when the window of the last is over.
    store.pass(8 * DAY);
    store.step(Step::Forget(vec![again.id, later.id]));
    assert_eq!(store.keys(), 0);
    store.stop();
}

#[test]
fn no_key_of_a_source_is_forgotten_before_the_windows_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let first = store.take_in("slow", "1", "body");
    store.step(Step::Forget(vec![first.id]));
    store.pass(20 * DAY);
    let store = store.rebuilt(dir.path());
    store.keep(&[("slow", "1")]);
    store.say_windows(&[("slow", 30 * DAY)]);
    let again = store.take_in("slow", "1", "body");
    assert_eq!((again.id, again.duplicate), (first.id, true));
    // Removed by now, it has the default window.
    store.say_windows(&[]);
    store.keep(&[("slow", "1")]);
    assert_eq!(store.keys(), 0);
    store.stop();
}

#[test]
fn several_events_of_one_delivery_are_stored_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    store.say_windows(&[]);
    let split = |ids: &[&str]| {
        let events = ids.iter().map(|id| of_source("meta", id, "body"));
        let accepted = store.outbox.accept(events.collect());
        store.runtime.block_on(accepted).unwrap()
    };
    let first = split(&["1.0", "1.1", "1.1"]);
    let flags: Vec<bool> = first.iter().map(|receipt| receipt.duplicate).collect();
    assert_eq!(flags, [false, false, true]);
    let again = split(&["1.0", "1.1", "1.2"]);
    let flags: Vec<bool> = again.iter().map(|receipt| receipt.duplicate).collect();
    assert_eq!(flags, [true, true, false]);
    let shown = store.outbox.event(first[0].id).unwrap();
    let received = shown.extras.unwrap().received.clone().unwrap();
    assert_eq!(received.remote, "203.0.113.7");
    store.stop();
}

#[test]
fn counts_are_refused_while_no_event_would_be_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(Options {
        min_free_disk: u64::MAX,
        ..options(dir.path())
    });
    store.put("a", "1");
    let counts = vec![("a".to_owned(), b"1".to_vec())];
    let refused = store.act(Action::PutSourceCounts { counts });
    assert_eq!(refused, Err(ActRefused::NoRoom(Refused::DiskLow)));
    let sources = store.outbox.stored_sources().unwrap();
    assert_eq!(stored(&sources[0]), ("a", Some(&b"1"[..]), None));
    store.stop();
}

#[test]
fn a_damaged_definition_does_not_keep_its_segment_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let small = || Options {
        segment_size: 16 << 10,
        ..options(dir.path())
    };
    let store = Store::open_with(small());
    store.put("a", "of the source a");
    store.count(&[("a", "counted by the source a")]);
    let first = store.outbox.shared.log.segments()[0].0;
    let file = std::fs::read_dir(dir.path().join("log")).unwrap();
    let file = file.map(|entry| entry.unwrap().path()).min().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let file = File::options().write(true).open(&file).unwrap();
    for text in ["of the source a", "counted by the source a"] {
        let at = memchr::memmem::find(&bytes, text.as_bytes());
        file.write_all_at(b"?", at.unwrap() as u64).unwrap();
    }
    let before = store.outbox.stored_sources().unwrap();
    let ids = (0..40).map(|n| store.take_in("a", &n.to_string(), &"x".repeat(3000)).id);
    store.step(Step::Forget(ids.collect()));
    let shared = store.outbox.shared.clone();
    let mut rules = shared.rules();
    rules.keep.segment_size = 16 << 10;
    shared.set_rules(rules);
    let mut cleaner = Cleaner::new(shared);
    let mut writer = Requests(store.outbox.requests.clone());
    cleaner.look(&mut writer).unwrap();
    assert!(store.outbox.shared.log.segments()[0].0 > first);
    assert_eq!(store.outbox.stored_sources().unwrap(), before);
    store.rebuilt(dir.path()).stop();
}

/// Puts another byte where `text` stands in the log.
fn damage(dir: &Path, text: &str) {
    let file = std::fs::read_dir(dir.join("log")).unwrap();
    let file = file.map(|entry| entry.unwrap().path()).min().unwrap();
    let at = place_of(&file, text).expect("it is there");
    let file = File::options().write(true).open(&file).unwrap();
    file.write_all_at(b"?", at as u64).unwrap();
}

fn place_of(file: &Path, text: &str) -> Option<usize> {
    let bytes = std::fs::read(file).unwrap();
    memchr::memmem::find(&bytes, text.as_bytes())
}

fn is_in_log(dir: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(dir.join("log")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    files.any(|file| place_of(&file, text).is_some())
}

/// Waits until a text is gone from the log. The store has a cleaner of its own, which may have begun the
/// search that is waited for.
#[track_caller]
fn wait_gone(dir: &Path, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while is_in_log(dir, text) {
        assert!(Instant::now() < deadline, "{text:?} stays in the log");
    }
}

#[test]
fn a_definition_that_a_backup_may_need_is_overwritten_after_the_backup() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let look = || {
        let mut cleaner = Cleaner::new(store.outbox.shared.clone());
        let mut writer = Requests(store.outbox.requests.clone());
        (0..3).for_each(|_| cleaner.look(&mut writer).unwrap());
    };
    look();
    store.put("a", "the former one");
    let backup = store.outbox.hold_for_backup();
    store.put("a", "the latter one");
    look();
    assert!(is_in_log(dir.path(), "the former one"));
    drop(backup);
    look();
    wait_gone(dir.path(), "the former one");
    assert!(is_in_log(dir.path(), "the latter one"));
    store.stop();
}

#[test]
fn a_damaged_definition_is_damage_and_is_overwritten_only_when_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let is_there = |text: &str| is_in_log(dir.path(), text);
    // Another boot each time, so that the index is built from the log.
    let again = |store: Store| {
        let (clock, boot) = (store.clock.clone(), store.boot + 1);
        store.stop();
        let store = Store::open_at(options(dir.path()), clock, boot);
        let damaged = store.outbox.status().damaged_records;
        let mut cleaner = Cleaner::new(store.outbox.shared.clone());
        let mut writer = Requests(store.outbox.requests.clone());
        (0..3).for_each(|_| cleaner.look(&mut writer).unwrap());
        (store, damaged)
    };
    let store = Store::open(dir.path());
    store.put("a", "the former one");
    store.put("a", "the latter one");
    damage(dir.path(), "the latter one");
    let (store, damaged) = again(store);
    // The former one was overwritten, and does not come back.
    assert_eq!(
        (store.outbox.stored_sources().unwrap(), damaged),
        (Vec::new(), 1)
    );
    wait_gone(dir.path(), "he former one");
    assert!(is_there("?he latter one"));
    store.put("a", "the newest one");
    let (store, damaged) = again(store);
    let sources = store.outbox.stored_sources().unwrap();
    assert_eq!(
        stored(&sources[0]),
        ("a", Some(&b"the newest one"[..]), None)
    );
    assert_eq!(damaged, 1);
    wait_gone(dir.path(), "he latter one");
    let (store, damaged) = again(store);
    assert_eq!(store.outbox.stored_sources().unwrap(), sources);
    assert_eq!(damaged, 0);
    store.stop();
}
