//! Ships the log, on a thread of its own.
//!
//! A round ships what is new, and then ships again what has to be there in another form, a part at
//! a time, as `plan` says. What is there is known from a list of the generation at the start and
//! from what was put since. Nothing of it is on the way of an event: the log is read like any
//! file, and while the store is away only cleaning waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::error::{ShipError, shown};
use super::figures::Figures;
use super::generation::{About, Memory, Swept};
use super::log::{Log, View};
use super::names::{Generation, Name, Part};
use super::place::{Place, PlaceError};
use super::plan::{self, Shipped, Task};
use super::{retention, sweep};
use crate::clock;
use crate::config::{BackupKey, BackupUrl, S3};
use crate::domain::time::Timestamp;
use crate::outbox::Outbox;
use crate::outbox::restored::Unwanted;

/// After a failure the next round waits this long, then twice as long and so on.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long the last round may take when the daemon stops.
const LAST_ROUND: Duration = Duration::from_secs(5);

/// What can be changed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub interval: Duration,
    pub retain: Duration,
}

/// What the daemon does next, as far as shipping is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    On,
    /// Everything durable is in the log: the last round may begin.
    Last,
}

/// A place that can be opened: its URL, how a store there is reached, and the key.
pub type Target = (BackupUrl, S3, Option<BackupKey>);

/// Ships one log to one place.
pub struct Shipper {
    outbox: Outbox,
    target: Target,
    place: Option<Place>,
    memory: Memory,
    data_dir: PathBuf,
    figures: Arc<Figures>,
    log: Log,
    /// Where the log began at the start: what became of the segments before is not known.
    began_at: u64,
    /// The generation, once it is known what is there of it.
    open: Option<Open>,
}

/// A generation that is written.
struct Open {
    generation: Generation,
    shipped: Shipped,
    is_complete: bool,
    /// The start of the log that was told last.
    start: Option<u64>,
    /// A position that waits to be shipped, and since when.
    waiting: Option<(u64, Instant)>,
    pruned: Option<Instant>,
    swept: Swept,
}

impl Shipper {
    /// The place is opened by the first round.
    pub fn new(outbox: Outbox, target: Target, data_dir: &Path, figures: Arc<Figures>) -> Shipper {
        Shipper {
            began_at: outbox.log_start().0,
            outbox,
            place: None,
            memory: Memory::new(data_dir, target.0.to_string()),
            target,
            data_dir: data_dir.to_owned(),
            figures,
            log: Log::default(),
            open: None,
        }
    }

    /// Ships until `running` says that the last round is to begin, and then that round.
    pub async fn run(
        mut self,
        settings: watch::Receiver<Settings>,
        mut running: watch::Receiver<Running>,
    ) {
        let mut pause = PAUSE_FIRST;
        let mut is_away = false;
        let mut stopping = running.clone();
        let over = async move {
            // The sender lives until the thread was waited for.
            let _ = stopping.wait_for(|now| *now == Running::Last).await;
            tokio::time::sleep(LAST_ROUND).await;
        };
        tokio::pin!(over);
        loop {
            let now = *settings.borrow();
            let is_last = *running.borrow() == Running::Last;
            let outcome = tokio::select! {
                outcome = self.round(now) => outcome,
                () = &mut over => {
                    tracing::warn!("the last of the log was not shipped before the stop");
                    return;
                }
            };
            let wait = match outcome {
                Ok(()) => {
                    self.figures.succeeded();
                    if std::mem::take(&mut is_away) {
                        tracing::info!("the log is shipped again, and what was missing too");
                    }
                    pause = PAUSE_FIRST;
                    now.interval / 2
                }
                Err(error) => {
                    self.failed(&error, &mut is_away);
                    let wait = pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                    wait
                }
            };
            if is_last {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = running.wait_for(|running| *running == Running::Last) => {}
            }
        }
    }

    fn failed(&mut self, error: &ShipError, is_away: &mut bool) {
        let text = shown(error);
        if !std::mem::replace(is_away, true) {
            tracing::error!(error = %text, "the log cannot be shipped; outboxd goes on and tries again");
        }
        self.figures.failed(text);
        if let ShipError::Place(PlaceError::Taken(name)) = error {
            tracing::error!(%name, "another store writes into the generation of this one: a new one is begun");
            self.open = None;
            self.memory.forget();
        }
    }

    /// Ships to a place that is open already.
    #[cfg(test)]
    pub fn place_in(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Ships until everything is there as it should be.
    pub(super) async fn round(&mut self, settings: Settings) -> Result<(), ShipError> {
        self.log.set_interval(settings.interval);
        let place = match &self.place {
            Some(place) => place.clone(),
            None => {
                let (url, s3, key) = &self.target;
                let place = Place::open(url, s3, key.clone())?;
                self.place.insert(place).clone()
            }
        };
        if self.open.is_none() {
            let open = self.begin(&place).await?;
            self.figures.begun(&open.generation.to_string());
            self.open = Some(open);
        }
        while self.step(&place).await? {}
        self.prune(&place, settings.retain).await
    }

    /// Does the next task; whether there was one.
    async fn step(&mut self, place: &Place) -> Result<bool, ShipError> {
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        let overwritings = self.outbox.overwritings();
        let view = self.log.look(&self.outbox)?;
        open.look(&view, &self.figures);
        let finished = open.shipped.finished_below(&view.segments);
        self.outbox.set_shipped_below(finished, overwritings);
        let Some(task) = plan::next(&open.shipped, &view.segments) else {
            let start = view.start;
            drop(view);
            // Not before: the frames that moved the start have to be there first.
            open.tell_start(place, start).await?;
            open.tell_complete(place).await?;
            return Ok(false);
        };
        match task {
            Task::ShipNew(part) | Task::ShipAgain(part) => {
                let bytes = view.read(&part)?;
                // Erasures may go on while it is sent.
                drop(view);
                open.put(place, part, bytes, &self.figures).await?;
            }
            Task::Delete(parts) => {
                drop(view);
                for part in parts {
                    let name = Name::Part(part);
                    place.delete(open.generation, name).await?;
                    open.shipped.remove(&part);
                }
            }
        }
        Ok(true)
    }

    /// The generation that this store goes on with, or a new one.
    async fn begin(&mut self, place: &Place) -> Result<Open, ShipError> {
        if let Some((generation, swept)) = self.memory.recall() {
            match self.resume(place, generation).await? {
                Some(open) => return Ok(Open { swept, ..open }),
                None => {
                    tracing::warn!(%generation, "what was shipped is not this store's any more: a new generation is begun");
                }
            }
        }
        let newest = place.generations().await?.last().copied();
        let generation = Generation {
            number: newest.map_or(1, |newest| newest.number.saturating_add(1)),
            random: rand::random(),
        };
        place.ready(generation)?;
        let now = clock::now();
        // What was erased and replaced before is overwritten in the log that is shipped.
        let swept = Swept {
            at: now,
            below: self.outbox.log_start().0,
        };
        let about = About::new(place.key_id(), now);
        let about = serde_json::to_vec_pretty(&about).unwrap_or_default();
        place.put_new(generation, Name::About, about.into()).await?;
        self.remember(generation, swept)?;
        tracing::info!(%generation, "the log is shipped from now on");
        Ok(Open {
            swept,
            ..Open::new(generation)
        })
    }

    fn remember(&self, generation: Generation, swept: Swept) -> Result<(), ShipError> {
        let remembered = self.memory.remember(generation, swept);
        remembered.map_err(|source| ShipError::Memory {
            path: self.data_dir.join("backup"),
            source,
        })
    }

    /// Overwrites in what the log has dropped what was erased since the last time. A segment goes
    /// when it is shipped as it is, with its definitions overwritten, which the log had written again
    /// elsewhere. Where that is not sure, they are overwritten here, and all that was erased ever.
    async fn sweep(&mut self, place: &Place) -> Result<(), ShipError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let start = self.outbox.log_start().0;
        let dropped: Vec<u64> = open.shipped.bases().filter(|base| *base < start).collect();
        let unsure = self.began_at.max(self.outbox.was_cut_below());
        let is_unsure = |base: &u64| *base >= open.swept.below && *base < unsure;
        let began = clock::now();
        let since = match dropped.iter().any(is_unsure) {
            true => Timestamp::from_millis(0),
            false => open.swept.at,
        };
        let erased = self.outbox.erased_since(since)?;
        let aside = self.data_dir.join("backup/sweep");
        for base in dropped {
            let unwanted = Unwanted {
                events: &erased,
                definitions: base >= open.swept.below && base < unsure,
            };
            if unwanted.is_any() {
                let (generation, shipped) = (open.generation, &mut open.shipped);
                sweep::segment(place, generation, shipped, base, &unwanted, &aside).await?;
            }
        }
        // What is left is deleted before the next sweep.
        let _ = std::fs::remove_dir_all(&aside);
        open.swept = Swept {
            at: began,
            below: start,
        };
        let (generation, swept) = (open.generation, open.swept);
        self.remember(generation, swept)
    }

    /// What is there of the generation; `None` if this store cannot go on with it.
    async fn resume(
        &mut self,
        place: &Place,
        generation: Generation,
    ) -> Result<Option<Open>, ShipError> {
        let about = match place.get(generation, Name::About).await {
            Ok(about) => about,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let about: About =
            serde_json::from_slice(&about).map_err(|_| ShipError::About(generation))?;
        if about.key != place.key_id() || about.format != super::generation::FORMAT {
            return Ok(None);
        }
        place.ready(generation)?;
        let mut open = Open::new(generation);
        for object in place.list(generation).await? {
            match object.name {
                Name::Part(part) if place.is_whole(&part, object.size) => {
                    open.shipped.add(part);
                }
                // Cut off on its way: it is shipped anew under the same name.
                Name::Part(_) => place.delete(generation, object.name).await?,
                Name::Start(start) => open.start = open.start.max(Some(start)),
                Name::Complete => open.is_complete = true,
                Name::About => {}
            }
        }
        let is_ours = self.is_ours(place, &open).await?;
        Ok(is_ours.then_some(open))
    }

    /// Whether the last part that is there has the bytes of this log.
    async fn is_ours(&mut self, place: &Place, open: &Open) -> Result<bool, ShipError> {
        let Some(base) = open.shipped.bases().last() else {
            return Ok(true);
        };
        let newest = open.shipped.parts(base).max_by_key(|part| part.to);
        let Some(newest) = newest.copied() else {
            return Ok(true);
        };
        let view = self.log.look(&self.outbox)?;
        let segment = view.segments.iter().find(|segment| segment.base == base);
        let Some(segment) = segment else {
            // Dropped here since: there is nothing to compare with. Past the end it is another's.
            return Ok(base < view.end);
        };
        if !segment.is_full && newest.to > segment.used {
            return Ok(false);
        }
        // Where bodies were overwritten since, the bytes differ.
        if newest.erasures != segment.erasures {
            return Ok(true);
        }
        let here = view.read(&newest)?;
        drop(view);
        let name = Name::Part(newest);
        Ok(place.get(open.generation, name).await? == here)
    }

    /// Deletes what is past its retention, now and then.
    async fn prune(&mut self, place: &Place, retain: Duration) -> Result<(), ShipError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if open
            .pruned
            .is_some_and(|at| at.elapsed() < retention::every(retain))
        {
            return Ok(());
        }
        let objects = place.list(open.generation).await?;
        for name in retention::past(&objects, retain) {
            place.delete(open.generation, name).await?;
            if let Name::Part(part) = name {
                open.shipped.remove(&part);
            }
        }
        open.pruned = Some(Instant::now());
        self.sweep(place).await
    }
}

impl Open {
    fn new(generation: Generation) -> Open {
        Open {
            generation,
            shipped: Shipped::default(),
            is_complete: false,
            start: None,
            waiting: None,
            pruned: None,
            swept: Swept {
                at: Timestamp::from_millis(0),
                below: 0,
            },
        }
    }

    /// Notes how much waits to be shipped.
    fn look(&mut self, view: &View, figures: &Figures) {
        let below = self.shipped.below(&view.segments, view.end);
        if self.waiting.is_some_and(|(end, _)| below >= end) {
            self.waiting = None;
        }
        let now = Instant::now();
        if self.waiting.is_none() && below < view.end {
            self.waiting = Some((view.end, now));
        }
        let since = self.waiting.map_or(now, |(_, since)| since);
        figures.looked(below, since);
    }

    async fn put(
        &mut self,
        place: &Place,
        part: Part,
        bytes: Bytes,
        figures: &Figures,
    ) -> Result<(), ShipError> {
        let len = bytes.len() as u64;
        place
            .put_new(self.generation, Name::Part(part), bytes)
            .await?;
        self.shipped.add(part);
        figures.shipped(len, clock::now());
        Ok(())
    }

    /// Says from when on the log begins where it does, so that what is before may go in time.
    async fn tell_start(&mut self, place: &Place, start: u64) -> Result<(), ShipError> {
        if self.start.is_some_and(|told| told >= start) {
            return Ok(());
        }
        let name = Name::Start(start);
        place.put_new(self.generation, name, Bytes::new()).await?;
        self.start = Some(start);
        Ok(())
    }

    /// Says that the generation can be restored, once.
    async fn tell_complete(&mut self, place: &Place) -> Result<(), ShipError> {
        if !self.is_complete {
            let name = Name::Complete;
            place.put_new(self.generation, name, Bytes::new()).await?;
            self.is_complete = true;
        }
        Ok(())
    }
}
