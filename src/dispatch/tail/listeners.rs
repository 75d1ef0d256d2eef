//! Who listens to a tail: a queue for each listener, and what it takes.
//!
//! Whether a listener takes an entry is judged before the entry is made: one that is full, or that has
//! had enough for this second, costs next to nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::entries::{Happened, Heard};
use crate::domain::endpoint::{EndpointId, TypePattern};
use crate::domain::event::{EventType, Tenant};

/// How many entries may wait for a listener of the API.
pub const BEHIND: usize = 1024;
/// The same for listeners of the daemon's own.
const OWN_BEHIND: usize = 4096;
/// How many may wait for all listeners of the API together, which bounds the memory.
const BEHIND_TOGETHER: usize = 8 * BEHIND;
/// The most listeners of the API at once.
pub const LISTENERS: usize = 64;

/// The filters of a listener; an entry must match all of them. An entry that has no endpoint, type
/// or source does not match a filter on that field.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub tenant: Option<Tenant>,
    pub endpoint: Option<EndpointId>,
    pub event_type: Option<TypePattern>,
    pub source: Option<String>,
    /// The most entries in a second; the rest is missed. `None`: all.
    pub most_per_second: Option<u32>,
}

/// What filters judge an entry by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub tenant: &'a Tenant,
    pub endpoint: Option<&'a EndpointId>,
    pub event_type: Option<&'a EventType>,
    pub source: Option<&'a str>,
}

impl Wanted {
    fn fits(&self, facts: &Facts<'_>) -> bool {
        let pattern = self.event_type.as_ref();
        let is_type =
            |pattern: &TypePattern| facts.event_type.is_some_and(|it| pattern.matches(it));
        self.tenant.as_ref().is_none_or(|it| it == facts.tenant)
            && (self.endpoint.is_none() || self.endpoint.as_ref() == facts.endpoint)
            && (self.source.is_none() || self.source.as_deref() == facts.source)
            && pattern.is_none_or(is_type)
    }
}

/// The listeners of one kind.
#[derive(Debug)]
pub struct Listeners {
    queues: Vec<Arc<Queue>>,
    /// How many entries may wait for each.
    room: usize,
    together: Option<Arc<AtomicUsize>>,
    /// The daemon stops: no listener is added.
    is_closed: bool,
}

impl Listeners {
    /// Those of the API.
    pub fn of_api() -> Listeners {
        Listeners {
            queues: Vec::new(),
            room: BEHIND,
            together: Some(Arc::default()),
            is_closed: false,
        }
    }

    /// The daemon's own.
    pub fn own() -> Listeners {
        Listeners {
            queues: Vec::new(),
            room: OWN_BEHIND,
            together: None,
            is_closed: false,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Sends an entry to those that take it. `happened` keeps it once it was made.
    pub fn send(
        &mut self,
        facts: &Facts<'_>,
        happened: &mut Option<Arc<Happened>>,
        make: &mut impl FnMut() -> Happened,
    ) {
        self.queues.retain(|queue| Arc::strong_count(queue) > 1);
        for queue in self.queues.iter().filter(|one| one.wanted.fits(facts)) {
            let mut state = queue.state();
            if queue.takes(&mut state) {
                let entry = happened.get_or_insert_with(|| Arc::new(make()));
                queue.push(&mut state, entry.clone());
            }
        }
    }

    /// A new listener, counted in `listeners` while it lives.
    pub fn add(&mut self, wanted: Wanted, listeners: &Arc<AtomicUsize>) -> Listener {
        self.queues.retain(|queue| Arc::strong_count(queue) > 1);
        let queue = Arc::new(Queue {
            wanted,
            room: self.room,
            together: self.together.clone(),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        self.queues.push(queue.clone());
        listeners.fetch_add(1, Relaxed);
        Listener {
            queue,
            listeners: listeners.clone(),
        }
    }

    /// What was sent is heard, and then the end.
    pub fn close(&mut self) {
        self.is_closed = true;
        for queue in self.queues.drain(..) {
            queue.state().is_closed = true;
            queue.changed.notify_one();
        }
    }
}

/// What waits for one listener.
#[derive(Debug)]
struct Queue {
    wanted: Wanted,
    room: usize,
    /// What waits for all listeners of this kind, where that is bounded.
    together: Option<Arc<AtomicUsize>>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Heard>,
    /// Missed since the last entry that was taken.
    missed: u64,
    /// When the second began in which so many were taken.
    second: Option<(Instant, u32)>,
    is_closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it takes an entry now; else it has missed it.
    fn takes(&self, state: &mut State) -> bool {
        if state.is_closed {
            return false;
        }
        let together = self.together.as_ref();
        let is_full = state.waiting.len() >= self.room
            || together.is_some_and(|waiting| waiting.load(Relaxed) >= BEHIND_TOGETHER);
        let most = self.wanted.most_per_second;
        let takes = !is_full && most.is_none_or(|most| state.is_in_time(most));
        state.missed += u64::from(!takes);
        takes
    }

    fn push(&self, state: &mut State, happened: Arc<Happened>) {
        if state.missed > 0 {
            let missed = std::mem::take(&mut state.missed);
            state.waiting.push_back(Heard::Missed(missed));
        }
        state.waiting.push_back(Heard::Happened(happened));
        if let Some(waiting) = &self.together {
            waiting.fetch_add(1, Relaxed);
        }
        self.changed.notify_one();
    }

    /// Nothing waits here from now on, and nothing more is taken.
    fn leave(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let left = std::mem::take(&mut state.waiting).into_iter();
        let entries = left.filter(|one| matches!(one, Heard::Happened(_))).count();
        if let Some(waiting) = &self.together {
            waiting.fetch_sub(entries, Relaxed);
        }
    }

    /// What is heard next; `Err`: nothing yet, and whether that is the end.
    fn pop(&self) -> Result<Heard, bool> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        if let (Some(Heard::Happened(_)), Some(waiting)) = (&next, &self.together) {
            waiting.fetch_sub(1, Relaxed);
        }
        match next {
            Some(heard) => Ok(heard),
            None if state.missed > 0 => Ok(Heard::Missed(std::mem::take(&mut state.missed))),
            None => Err(state.is_closed),
        }
    }
}

impl State {
    /// Counts an entry of this second, if there may be another one.
    fn is_in_time(&mut self, most: u32) -> bool {
        let now = Instant::now();
        let (_, taken) = match &mut self.second {
            Some(second) if now.duration_since(second.0) < Duration::from_secs(1) => second,
            second => second.insert((now, 0)),
        };
        let is_in_time = *taken < most;
        *taken += u32::from(is_in_time);
        is_in_time
    }
}

/// One listener.
#[derive(Debug)]
pub struct Listener {
    queue: Arc<Queue>,
    /// How many there are.
    listeners: Arc<AtomicUsize>,
}

impl Listener {
    /// The next entry that matches the filters; `None` once the daemon stops. The future may be
    /// dropped while it waits.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            match self.queue.pop() {
                Ok(heard) => return Some(heard),
                Err(true) => return None,
                // What comes in between leaves a permit.
                Err(false) => self.queue.changed.notified().await,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.queue.leave();
        self.listeners.fetch_sub(1, Relaxed);
    }
}
