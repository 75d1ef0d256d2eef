//! Work on many deliveries: replays and purges, what a deleted endpoint leaves behind,
//! and the release of a backlog.
//!
//! A thread of its own looks and plans, a batch at a time; every batch is a request to
//! the writer, which judges each delivery again and tells the dispatcher. It sleeps until
//! the writer says that there may be work, or a paced job is due.
//! It changes nothing itself, and where it stands is in the log: after a crash it goes on.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::domain::delivery::Reason;
use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::domain::job::JobId;
use crate::outbox::handle::Shared;
use crate::outbox::index::choice::Choice;
use crate::outbox::index::keys::{self, List};
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::index::{PagesError, Readers};
use crate::outbox::maintain::{Asked, Cut, Requests};
use crate::outbox::record::{JobRow, JobWork};
use crate::outbox::request::Step;

/// The most deliveries of one batch.
const BATCH: usize = 256;
/// How often a paced job takes a batch.
const TICK: Duration = Duration::from_millis(100);
/// How long to wait when there was no room for a batch, or too much is pending already.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest rest of a slow job, in seconds.
const REST_MAX: f64 = 30.0 * 86_400.0;
/// How many looks for something to do a job takes before others have their turn.
const LOOKS: usize = 8;

/// How long there is nothing to do, as far as time can tell; `None`: until a nudge.
pub type Rest = Option<Duration>;

fn sooner(a: Rest, b: Rest) -> Rest {
    a.into_iter().chain(b).min()
}

/// What is known of a job besides its row.
#[derive(Clone, Copy)]
struct Pace {
    /// On the store's monotonic clock.
    next: Duration,
    /// How far it has looked without finding anything.
    position: u128,
}

/// The thread for work on many deliveries.
pub struct Bulk {
    shared: Arc<Shared>,
    paces: HashMap<JobId, Pace>,
}

impl Bulk {
    pub fn new(shared: Arc<Shared>) -> Bulk {
        Bulk {
            shared,
            paces: HashMap::new(),
        }
    }

    /// Looks when nudged, and ends when the sender of `nudges` is dropped or the writer is
    /// gone.
    pub fn run(mut self, mut writer: Requests, nudges: &mpsc::Receiver<()>) -> Result<(), Cut> {
        loop {
            let rest = match self.round(&mut writer) {
                Ok(rest) => rest,
                Err(Cut::Stopped) => return Ok(()),
                Err(Cut::Pages(error)) if !error.is_damage() => {
                    tracing::warn!(%error, "bulk work could not read the index; it tries again");
                    Some(PAUSE)
                }
                Err(cut) => return Err(cut),
            };
            let woken = match rest {
                Some(rest) => match nudges.recv_timeout(rest) {
                    Err(mpsc::RecvTimeoutError::Disconnected) => Err(mpsc::RecvError),
                    _ => Ok(()),
                },
                None => nudges.recv(),
            };
            if woken.is_err() {
                return Ok(());
            }
        }
    }

    /// A batch of everything that there is to do.
    pub fn round(&mut self, writer: &mut dyn Asked) -> Result<Rest, Cut> {
        let rest = sooner(self.end_deleted(writer)?, self.release(writer)?);
        Ok(sooner(rest, self.jobs(writer)?))
    }

    /// What a deleted endpoint had open is dead; when none of its deliveries is left,
    /// nothing needs to know it any more.
    fn end_deleted(&self, writer: &mut dyn Asked) -> Result<Rest, Cut> {
        let mut steps = Vec::new();
        let deleted: Vec<EndpointNo> = {
            let state = self.shared.index.read();
            state.sums.deleted.iter().copied().collect()
        };
        for no in deleted {
            let totals = {
                let state = self.shared.index.read();
                state.endpoints.get(&no).map(|stored| stored.totals)
            };
            let Some(totals) = totals else {
                continue;
            };
            if totals.pending + totals.held > 0 {
                let ids = self.shared.index.oldest_of(List::Open, no, BATCH)?;
                steps.push(Step::MakeDead {
                    reason: Reason::EndpointDeleted,
                    deliveries: ids.into_iter().map(|id| (no, id)).collect(),
                });
            } else if totals.delivered + totals.dead == 0 {
                steps.push(Step::ForgetEndpoint { no });
            }
            if steps.len() >= LOOKS {
                break;
            }
        }
        take(steps, writer)
    }

    /// Half of the room for pending bodies is taken.
    fn is_full(&self) -> bool {
        self.shared.index.read().pending_bytes() > self.shared.rules().max_size / 2
    }

    /// Lets go of backlogs, oldest first, of endpoints that have worked off half of their
    /// share; up to the whole share, and while there is room for pending bodies at all.
    fn release(&self, writer: &mut dyn Asked) -> Result<Rest, Cut> {
        let mut steps = Vec::new();
        let rules = self.shared.rules();
        let (backlogged, mut room) = {
            let state = self.shared.index.read();
            let backlogged: Vec<EndpointNo> = state.sums.backlogged.iter().copied().collect();
            (
                backlogged,
                rules.max_size.saturating_sub(state.pending_bytes()),
            )
        };
        for no in backlogged {
            let totals = {
                let state = self.shared.index.read();
                let stored = state.endpoints.get(&no);
                let taking = stored.filter(|stored| stored.is_taking());
                taking.map(|stored| stored.totals)
            };
            let Some(totals) = totals else {
                continue;
            };
            // One always goes when nothing else is under way, however large it is.
            let idle = totals.pending == 0;
            if !idle && totals.pending_bytes > rules.share / 2 {
                continue;
            }
            let most = rules.share.saturating_sub(totals.pending_bytes).min(room);
            let (ids, bytes) = releasable(&self.shared.index, no, most, idle)?;
            if !ids.is_empty() {
                room = room.saturating_sub(bytes);
                steps.push(Step::Release { no, ids });
            }
            if steps.len() >= LOOKS {
                break;
            }
        }
        take(steps, writer)
    }

    fn jobs(&mut self, writer: &mut dyn Asked) -> Result<Rest, Cut> {
        let rows: Vec<Vec<u8>> = {
            let state = self.shared.index.read();
            let jobs = state
                .entries
                .scan(keys::JOBS, &keys::end_of(keys::JOBS), false);
            jobs.map(|entry| Ok(entry?.1.into_owned()))
                .collect::<Result<_, PagesError>>()?
        };
        let mut rest = None;
        let mut live = Vec::with_capacity(rows.len());
        for bytes in &rows {
            let row: JobRow<'_> = rows::decode(bytes)?;
            live.push(row.id());
            rest = sooner(rest, self.job(&row, writer)?);
        }
        self.paces.retain(|id, _| live.contains(id));
        Ok(rest)
    }

    /// One batch of a job, if it is due.
    fn job(&mut self, row: &JobRow<'_>, writer: &mut dyn Asked) -> Result<Rest, Cut> {
        let now = self.shared.clock.mono();
        let known = self.paces.get(&row.id()).copied();
        let mut pace = known.unwrap_or(Pace {
            next: now,
            position: row.position,
        });
        pace.position = pace.position.max(row.position);
        let no = EndpointNo(row.endpoint);
        let is_there = self.is_there(no);
        if pace.next > now && is_there {
            return Ok(Some(pace.next - now));
        }
        let rate = f64::from_bits(row.rate);
        let wanted = match row.work {
            JobWork::Purge => BATCH,
            // What is replayed is pending, and must leave room for new events.
            JobWork::Replay | JobWork::Release if self.is_over_share(no) || self.is_full() => {
                return Ok(Some(PAUSE));
            }
            // Between 1 and 256, also for a rate that is no number.
            JobWork::Replay | JobWork::Release => {
                let wanted = (rate * TICK.as_secs_f64()).ceil() as usize;
                wanted.clamp(1, BATCH)
            }
        };
        let choice = Choice::of(row)?;
        let (mut ids, mut next) = (Vec::new(), Some(pace.position));
        for _ in 0..LOOKS {
            let state = self.shared.index.read();
            let known = state
                .endpoints
                .get(&no)
                .filter(|stored| stored.deleted.is_none());
            let (Some(stored), Some(position)) = (known, next) else {
                next = None;
                break;
            };
            next = choice.walk(&state, stored, position, wanted, &mut ids)?;
            if ids.len() >= wanted {
                break;
            }
        }
        let done = next.is_none();
        let position = next.unwrap_or(row.last);
        let taken = ids.len();
        if taken > 0 || done {
            let step = Step::Job {
                id: row.id(),
                ids,
                position,
                done,
            };
            if !writer.ask(step)?.is_durable() {
                return Ok(Some(PAUSE));
            }
        }
        if done {
            self.paces.remove(&row.id());
            return Ok(None);
        }
        if row.work != JobWork::Purge && rate > 0.0 {
            let due = now.checked_sub(TICK).map_or(now, |by| pace.next.max(by));
            pace.next = due + Duration::from_secs_f64((taken as f64 / rate).min(REST_MAX));
        }
        pace.position = position;
        self.paces.insert(row.id(), pace);
        Ok(Some(pace.next.saturating_sub(self.shared.clock.mono())))
    }

    fn is_there(&self, no: EndpointNo) -> bool {
        let state = self.shared.index.read();
        let stored = state.endpoints.get(&no);
        stored.is_some_and(|stored| stored.deleted.is_none())
    }

    /// Whether the endpoint has its full share pending already.
    fn is_over_share(&self, no: EndpointNo) -> bool {
        let state = self.shared.index.read();
        let stored = state.endpoints.get(&no).filter(|stored| stored.is_taking());
        stored.is_some_and(|stored| stored.totals.pending_bytes >= self.shared.rules().share)
    }
}

/// Takes some steps; when to go on.
fn take(steps: Vec<Step>, writer: &mut dyn Asked) -> Result<Rest, Cut> {
    if steps.is_empty() {
        return Ok(None);
    }
    for step in steps {
        if !writer.ask(step)?.is_durable() {
            return Ok(Some(PAUSE));
        }
    }
    Ok(Some(Duration::ZERO))
}

/// The oldest held deliveries whose bodies come to `most` bytes, and these bytes. With
/// `idle` at least one.
fn releasable(
    index: &Readers,
    no: EndpointNo,
    most: u64,
    idle: bool,
) -> Result<(Vec<EventId>, u64), PagesError> {
    let mut ids = index.oldest_where(List::Held, no, BATCH, |state, id| {
        let row = state.delivery_row(id, no)?;
        let delivery = row.and_then(|row| row.delivery());
        Ok(delivery.is_some_and(|delivery| delivery.reason == Some(Reason::Backlog)))
    })?;
    let state = index.read();
    let (mut bytes, mut fits) = (0, 0);
    for id in &ids {
        let Some(entry) = state.entries.get(&keys::event(*id))? else {
            break;
        };
        let row: EventRow<'_> = rows::decode(&entry).map_err(|_| PagesError::Damaged)?;
        let after = bytes + u64::from(row.body_len);
        if after > most && !(idle && fits == 0) {
            break;
        }
        (bytes, fits) = (after, fits + 1);
    }
    ids.truncate(fits);
    Ok((ids, bytes))
}
