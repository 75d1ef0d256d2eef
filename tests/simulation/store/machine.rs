//! One machine: its disk, its clocks, the index files, and the process on it, with the real
//! store and the real engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outboxd::clock::Clock;
use outboxd::domain::time::Timestamp;
use outboxd::outbox::Outbox;
use outboxd::outbox::committer::{Parts, WriterError};
use outboxd::outbox::decide::limits::Limits;
use outboxd::outbox::handle::Shared;
use outboxd::outbox::index::open::{Unusable, load};
use outboxd::outbox::index::pages::{MemoryTree, Pages};
use outboxd::outbox::index::{Flusher, Generations, Readers, State};
use outboxd::outbox::log::{Log, LogOptions};
use outboxd::outbox::maintain::{Asked, Bulk, Cleaner, Cut};
use outboxd::outbox::recovery::{self, Recovered, StartFlusher};
use outboxd::outbox::request::{Commits, Placed, Request, Step};
use outboxd::outbox::rules::{Defaults, Keep, LimitRules};
use outboxd::outbox::verify;
use outboxd::outbox::writer::Writer;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::disk::SimDisk;

pub const SEGMENT: u64 = 16 << 10;
const STORE: [u8; 16] = *b"simulated store!";
/// Before one start in so many the store is verified.
const VERIFIED: u64 = 4;
pub const HOUR: Duration = Duration::from_secs(3600);

/// Clocks that stand still until they are moved, in milliseconds.
#[derive(Debug)]
pub struct SimClock {
    pub wall: AtomicU64,
    pub mono: AtomicU64,
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Relaxed))
    }

    fn mono(&self) -> Duration {
        Duration::from_millis(self.mono.load(Relaxed))
    }
}

/// The files of the index: they outlive a process, and no power cut.
#[derive(Default)]
pub struct IndexFiles {
    trees: Mutex<(Option<u64>, BTreeMap<u64, MemoryTree>)>,
    /// New ones cannot be written either.
    is_disk_broken: AtomicBool,
}

impl IndexFiles {
    pub fn lose(&self) {
        *self.trees.lock().unwrap() = (None, BTreeMap::new());
    }

    /// From now on nothing can be written to them, or it can again.
    pub fn set_broken(&self, is_broken: bool) {
        for tree in self.trees.lock().unwrap().1.values() {
            tree.set_broken(is_broken);
        }
    }

    /// From now on nothing can be written to new ones either, or it can again.
    pub fn set_disk_broken(&self, is_broken: bool) {
        self.is_disk_broken.store(is_broken, Relaxed);
        self.set_broken(is_broken);
    }

    /// From now on nothing can be read in them, or it can again.
    pub fn set_unreadable(&self, is_unreadable: bool) {
        for tree in self.trees.lock().unwrap().1.values() {
            tree.set_unreadable(is_unreadable);
        }
    }
}

impl Generations for IndexFiles {
    fn open(&self) -> Result<State, Unusable> {
        let trees = self.trees.lock().unwrap();
        let current = trees.0.and_then(|number| trees.1.get(&number));
        let tree = current.ok_or(Unusable::Missing)?;
        load(Pages::in_memory(tree), STORE)
    }

    fn create(&self) -> Result<(State, u64), Unusable> {
        let mut trees = self.trees.lock().unwrap();
        let number = trees.0.map_or(1, |last| last + 1);
        let tree = MemoryTree::default();
        tree.set_broken(self.is_disk_broken.load(Relaxed));
        trees.1.insert(number, tree.clone());
        let state = State::new(Some(Pages::in_memory(&tree)), STORE);
        Ok((state, number))
    }

    fn adopt(&self, number: u64) -> std::io::Result<()> {
        self.trees.lock().unwrap().0 = Some(number);
        self.discard_older(number)
    }

    fn condemn(&self) {
        self.trees.lock().unwrap().0 = None;
    }

    fn compact(&self, _: &Pages) -> Result<(Pages, u64), Unusable> {
        Err(Unusable::Missing)
    }

    fn discard_older(&self, number: u64) -> std::io::Result<()> {
        self.trees.lock().unwrap().1.retain(|key, _| *key >= number);
        Ok(())
    }

    fn discard_all(&self) -> std::io::Result<()> {
        self.trees.lock().unwrap().1.clear();
        Ok(())
    }
}

/// What outlives a process.
pub struct Machine {
    pub disk: SimDisk,
    pub clock: Arc<SimClock>,
    pub index: Arc<IndexFiles>,
    pub lives: u64,
}

/// The store in a running process.
pub struct Store {
    pub writer: Writer,
    pub outbox: Outbox,
    pub shared: Arc<Shared>,
    pub commits: Commits,
    pub cleaner: Cleaner,
    pub bulk: Bulk,
    /// Kept, as the writer nudges.
    _nudges: Receiver<()>,
    requests: std::sync::mpsc::Receiver<Request>,
}

impl Machine {
    /// Starts a process, which recovers the store.
    pub fn start(&mut self) -> Result<Store, String> {
        self.lives += 1;
        let said = |error: &dyn std::fmt::Display| error.to_string();
        self.verify()?;
        let options = LogOptions::new(SEGMENT)
            .on(Arc::new(self.disk.clone()))
            .with_frames_of(2048);
        let opened = Log::open(Path::new("/store"), options, Some(STORE));
        let (log, found) = opened.map_err(|error| said(&error))?;
        if !found.damage.is_empty() {
            return Err(format!("VIOLATION: damage without any: {:?}", found.damage));
        }
        let generations: Arc<dyn Generations> = self.index.clone();
        let files = self.index.clone();
        let flusher: StartFlusher =
            Arc::new(move |index| Ok(Flusher::manual(index, files.clone())));
        let recovered = recovery::recover(&log, &found, &generations, &flusher);
        let recovered = recovered.map_err(|error| said(&error))?;
        self.assemble(log, generations, recovered, flusher)
            .map_err(|error| said(&error))
    }

    /// However it ended, all that records refer to is there, and nothing is damaged.
    fn verify(&self) -> Result<(), String> {
        if self.disk.is_harmed() || !self.lives.is_multiple_of(VERIFIED) {
            return Ok(());
        }
        let store = verify::Store::on(Path::new("/store"), Arc::new(self.disk.clone()));
        match store.verify_unfinished(&mut |_, _| {}) {
            Ok(report) if !report.is_whole() => Err(format!("VIOLATION: damaged: {report:?}")),
            // There is no log yet.
            _ => Ok(()),
        }
    }

    fn assemble(
        &self,
        log: Log,
        generations: Arc<dyn Generations>,
        recovered: Recovered,
        start_flusher: StartFlusher,
    ) -> Result<Store, WriterError> {
        let Recovered {
            index,
            flusher,
            kind,
            damaged,
            met,
        } = recovered;
        let clock: Arc<dyn Clock> = self.clock.clone();
        let reader = log.reader();
        let limits = Limits::new(&LimitRules {
            max_size: 1 << 20,
            endpoint_share: 1.0,
            min_free_disk: 0,
            idempotency_window: 2 * HOUR,
            max_in_flight: 8,
            segment_size: SEGMENT,
        });
        let shared = Shared::new(
            Readers::new(index.clone()),
            reader,
            generations,
            clock,
            tokio::sync::watch::Sender::new(None),
            (kind, Duration::ZERO),
            met,
        );
        shared.set_rules(limits.rules(Keep {
            delivered: HOUR,
            dead: HOUR,
            // Longer than any jump of the clock.
            held: 1_000_000 * HOUR,
            erased: HOUR,
            max_size: 1 << 30,
            min_free_disk: 0,
            segment_size: SEGMENT,
        }));
        shared.count_damage(damaged);
        let shared = Arc::new(shared);
        let (nudge, nudges) = sync_channel(1);
        let (sender, commits) = tokio::sync::mpsc::unbounded_channel();
        let mut writer = Writer::new(Parts {
            log,
            index,
            flusher,
            start_flusher,
            limits,
            defaults: Defaults::default(),
            shared: shared.clone(),
            commits: sender,
            random: SmallRng::seed_from_u64(self.lives),
            nudge,
        });
        writer.begin(Vec::new())?;
        let (requests, asked) = std::sync::mpsc::channel();
        Ok(Store {
            writer,
            outbox: Outbox::new(shared.clone(), requests),
            cleaner: Cleaner::new(shared.clone()),
            bulk: Bulk::new(shared.clone()),
            shared,
            commits,
            _nudges: nudges,
            requests: asked,
        })
    }
}

impl Store {
    /// Hands on what the handle was asked for.
    pub fn take_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            self.writer.enqueue(request);
        }
    }
}

/// The writer, asked directly. What it could not go on with is kept.
pub struct Direct<'a> {
    pub writer: &'a mut Writer,
    pub failed: Option<WriterError>,
    pub refused: u64,
}

impl Asked for Direct<'_> {
    fn ask(&mut self, step: Step) -> Result<Placed, Cut> {
        // What waits comes between the look and the step.
        if let Err(error) = self.writer.turn() {
            self.failed = Some(error);
            return Err(Cut::Stopped);
        }
        match self.writer.take_step(step) {
            Ok(placed) => {
                self.refused += u64::from(!placed.is_durable());
                Ok(placed)
            }
            Err(error) => {
                self.failed = Some(error);
                Err(Cut::Stopped)
            }
        }
    }
}
