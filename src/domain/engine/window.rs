//! A lane's window: the next of its pending deliveries. They are enough that the lane never
//! waits for the index, and few enough that memory does not grow with the backlog.
//!
//! The index holds every pending delivery under (due, event). The window holds all of
//! them below its *horizon* except those in flight or settling; what is on or past the
//! horizon is in the index only. Without a horizon the window holds everything. A refill
//! moves the horizon up, shedding moves it down to the least key that was shed.
//!
//! The answer to a refill may come late, from a read that is older than inputs which came in
//! between. While a refill is under way the window also keeps what is queued past the horizon
//! and records every event that changes: for those the answer is ignored. If the window sheds
//! below the place that the refill reads from, the answer would leave a gap and is discarded.
//!
//! Within the window deliveries are ordered by their deadline on the monotonic clock,
//! which is not always the order of the keys: the wall clock may have jumped. A sorted
//! deque does all this in little memory: deliveries mostly come at its end and leave at
//! its front, and with at most 256 of them what must be searched is soon searched.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::message::{Entry, Key};
use crate::domain::event::EventId;
use crate::domain::time::Timestamp;

/// A window never holds more.
pub const LANE_WINDOW: usize = 256;
/// What the first refill asks for; each next one asks for twice that, up to the above.
pub const FIRST_REFILL: usize = 32;
/// A refill during which more events change is repeated.
const MAX_TOUCHED: usize = 4096;
/// A refill that failed is repeated after this.
const REFILL_AGAIN: Duration = Duration::from_secs(1);

/// A delivery and when it is to be attempted.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub deadline: Duration,
    pub entry: Entry,
}

#[derive(Debug)]
pub struct Window {
    /// By deadline, then key.
    waiting: VecDeque<Waiting>,
    horizon: Option<Key>,
    refill: Option<Box<Refill>>,
    refill_size: usize,
    refill_not_before: Duration,
    /// No event in the window is newer; new ones need not be looked for in it.
    newest: EventId,
}

/// A refill under way.
#[derive(Debug, Default)]
struct Refill {
    useless: bool,
    touched: HashSet<EventId>,
    /// Chains of which something has changed.
    doubted: HashSet<u64>,
    /// The least key past the horizon that was queued meanwhile and not kept.
    shed: Option<Key>,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            waiting: VecDeque::new(),
            horizon: None,
            refill: None,
            refill_size: FIRST_REFILL,
            refill_not_before: Duration::ZERO,
            newest: EventId(0),
        }
    }
}

impl Window {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing is waiting here, nor in the index.
    pub fn is_exhausted(&self) -> bool {
        self.waiting.is_empty() && self.horizon.is_none() && self.refill.is_none()
    }

    /// Whether everything pending is here.
    pub fn is_complete(&self) -> bool {
        self.horizon.is_none()
    }

    /// The first deadline.
    pub fn first(&self) -> Option<Duration> {
        self.waiting.front().map(|waiting| waiting.deadline)
    }

    /// Takes the first delivery if its deadline has come.
    pub fn pop_due(&mut self, mono: Duration) -> Option<Entry> {
        if self.first()? > mono {
            return None;
        }
        self.waiting.pop_front().map(|waiting| waiting.entry)
    }

    /// All that is pending may be in the index only.
    pub fn forget(&mut self) {
        self.waiting = VecDeque::new();
        self.horizon = Some((Timestamp::default(), EventId(0)));
        self.newest = EventId(0);
        if let Some(refill) = &mut self.refill {
            refill.useless = true;
        }
    }

    /// Whether a delivery with this key belongs here.
    pub fn takes(&self, key: Key) -> bool {
        self.refill.as_ref().is_some_and(|refill| !refill.useless)
            || self.horizon.is_none_or(|horizon| key < horizon)
    }

    /// Adds a delivery that the window [takes](Self::takes). At `capacity` or past it the
    /// last by key is shed for it.
    pub fn insert(&mut self, added: Waiting, capacity: usize) {
        let most = capacity.max(self.waiting.len());
        self.place(added);
        self.shed(most);
    }

    /// What was known of a delivery that is not waiting here no longer holds.
    pub fn touch(&mut self, event: EventId) {
        if let Some(refill) = &mut self.refill {
            refill.touch(event);
        }
    }

    /// The delivery is no longer pending, or has changed. Returns the entry that waited here.
    pub fn remove(&mut self, event: EventId) -> Option<Entry> {
        self.touch(event);
        let index = self.position(event)?;
        self.waiting.remove(index).map(|waiting| waiting.entry)
    }

    /// What was known of this chain no longer holds.
    pub fn doubt(&mut self, chain: u64) {
        if let Some(refill) = &mut self.refill
            && !refill.useless
        {
            refill.doubted.insert(chain);
        }
    }

    /// Whether the answer to the refill under way is to be ignored for this chain.
    pub fn doubts(&self, chain: u64) -> bool {
        let refill = self.refill.as_ref();
        refill.is_some_and(|refill| refill.doubted.contains(&chain))
    }

    /// The delivery waiting here that `is_it`.
    pub fn find(&self, is_it: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let mut entries = self.waiting.iter().map(|waiting| waiting.entry);
        entries.find(is_it)
    }

    /// Nothing that is wanted here is in the index only.
    pub fn complete(&mut self) {
        self.horizon = None;
    }

    /// A reading failed: the next one is after a while.
    pub fn wait(&mut self, mono: Duration) {
        self.refill_not_before = mono.saturating_add(REFILL_AGAIN);
    }

    /// When the index may be read again after a failure; past if it may now.
    pub fn not_before(&self) -> Duration {
        self.refill_not_before
    }

    /// Where to read the index on from, and how many, if the window runs low.
    pub fn wants_refill(&mut self, capacity: usize, mono: Duration) -> Option<(Key, usize)> {
        let from = self.horizon?;
        let size = self.refill_size.min(capacity);
        let low = self.waiting.len() < size.div_ceil(4);
        if !low || self.refill.is_some() || mono < self.refill_not_before {
            return None;
        }
        self.refill = Some(Box::default());
        self.refill_size = (self.refill_size * 2).min(LANE_WINDOW);
        Some((from, size - self.waiting.len()))
    }

    /// When a refill that failed may be asked for again.
    pub fn refill_not_before(&self) -> Option<Duration> {
        let wanted = self.horizon.is_some() && self.refill.is_none() && self.waiting.is_empty();
        wanted.then_some(self.refill_not_before)
    }

    /// Takes the answer to a refill. `busy` are the events in flight or settling.
    pub fn refilled(
        &mut self,
        entries: Vec<Entry>,
        next: Option<Key>,
        mono: Duration,
        busy: impl Fn(EventId) -> bool,
        mut deadline: impl FnMut(&Entry) -> Duration,
    ) {
        let (Some(refill), Some(from)) = (self.refill.take(), self.horizon) else {
            return;
        };
        let failed = next == Some(from);
        if failed {
            self.wait(mono);
        }
        if failed || refill.useless {
            self.keep_below(from);
            return;
        }
        let horizon = match (next, refill.shed) {
            (Some(next), Some(shed)) => Some(next.min(shed)),
            (next, shed) => next.or(shed),
        };
        for entry in entries {
            let here = from <= entry.key() && horizon.is_none_or(|h| entry.key() < h);
            let known = refill.touched.contains(&entry.event) || busy(entry.event);
            if here && !known && self.position(entry.event).is_none() {
                let deadline = deadline(&entry);
                self.place(Waiting { deadline, entry });
            }
        }
        if let Some(horizon) = horizon {
            self.keep_below(horizon);
        }
        self.horizon = horizon;
        self.shed(LANE_WINDOW);
    }

    /// Draws deadlines nearer, where `deadline` says so.
    pub fn hasten(&mut self, deadline: impl Fn(&Entry) -> Duration) {
        for waiting in &mut self.waiting {
            waiting.deadline = waiting.deadline.min(deadline(&waiting.entry));
        }
        self.waiting
            .make_contiguous()
            .sort_unstable_by_key(Waiting::order);
    }

    fn position(&self, event: EventId) -> Option<usize> {
        if event > self.newest {
            return None;
        }
        self.waiting
            .iter()
            .position(|waiting| waiting.entry.event == event)
    }

    fn place(&mut self, added: Waiting) {
        let index = self
            .waiting
            .partition_point(|waiting| waiting.order() < added.order());
        self.newest = self.newest.max(added.entry.event);
        self.waiting.insert(index, added);
    }

    fn shed(&mut self, most: usize) {
        while self.waiting.len() > most.clamp(1, LANE_WINDOW) {
            let keys = self.waiting.iter().map(|waiting| waiting.entry.key());
            let Some((index, key)) = keys.enumerate().max_by_key(|&(_, key)| key) else {
                return;
            };
            self.waiting.remove(index);
            match (self.horizon, &mut self.refill) {
                (Some(horizon), Some(refill)) if key >= horizon => {
                    refill.shed = Some(refill.shed.map_or(key, |shed| shed.min(key)));
                }
                (_, refill) => {
                    self.horizon = Some(key);
                    if let Some(refill) = refill {
                        refill.useless = true;
                    }
                }
            }
        }
    }

    fn keep_below(&mut self, horizon: Key) {
        self.waiting.retain(|waiting| waiting.entry.key() < horizon);
    }
}

impl Waiting {
    fn order(&self) -> (Duration, Key) {
        (self.deadline, self.entry.key())
    }
}

impl Refill {
    fn touch(&mut self, event: EventId) {
        if self.touched.len() < MAX_TOUCHED {
            self.touched.insert(event);
        } else {
            self.useless = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(due: u64) -> Entry {
        Entry {
            event: EventId(u128::from(due)),
            lsn: 0,
            due: Timestamp::from_millis(due),
            exact: false,
            tries: 0,
            budget_from: Timestamp::from_millis(due),
            chain: 0,
        }
    }

    fn queue(window: &mut Window, entry: Entry) {
        window.remove(entry.event);
        if window.takes(entry.key()) {
            let deadline = Duration::from_millis(entry.due.as_millis());
            window.insert(Waiting { deadline, entry }, LANE_WINDOW);
        }
    }

    fn refill(window: &mut Window, entries: Vec<Entry>, next: Option<u64>) {
        let next = next.map(|due| entry(due).key());
        window.refilled(
            entries,
            next,
            Duration::ZERO,
            |_| false,
            |entry| Duration::from_millis(entry.due.as_millis()),
        );
    }

    fn taken(window: &mut Window) -> Vec<u64> {
        std::iter::from_fn(|| window.pop_due(Duration::MAX))
            .map(|entry| entry.due.as_millis())
            .collect()
    }

    fn wants(window: &mut Window) -> Option<(u64, usize)> {
        let (from, limit) = window.wants_refill(LANE_WINDOW, Duration::ZERO)?;
        Some((from.0.as_millis(), limit))
    }

    #[test]
    fn what_is_shed_is_read_again_later() {
        let mut window = Window::default();
        for due in (1..=300).rev() {
            queue(&mut window, entry(due));
        }
        queue(&mut window, entry(400));
        assert_eq!((window.len(), window.is_complete()), (LANE_WINDOW, false));
        assert_eq!(taken(&mut window), (1..=256).collect::<Vec<u64>>());
        assert_eq!(wants(&mut window), Some((257, FIRST_REFILL)));
        refill(&mut window, (257..=288).map(entry).collect(), Some(289));
        assert_eq!(taken(&mut window), (257..=288).collect::<Vec<u64>>());
        assert_eq!(wants(&mut window), Some((289, 2 * FIRST_REFILL)));
    }

    #[test]
    fn news_during_a_refill_is_believed_before_the_reading() {
        let mut window = Window::default();
        window.forget();
        assert!(wants(&mut window).is_some());
        let read = vec![entry(1), entry(2), entry(3)];
        window.remove(entry(2).event);
        queue(&mut window, entry(4));
        let due = Timestamp::from_millis(9);
        queue(&mut window, Entry { due, ..entry(3) });
        refill(&mut window, read, None);
        assert_eq!(taken(&mut window), [1, 4, 9]);
        assert!(window.is_exhausted());
    }

    #[test]
    fn what_is_shed_during_a_refill_bounds_what_the_window_knows() {
        let mut window = Window::default();
        window.forget();
        assert!(wants(&mut window).is_some());
        for due in 1000..1000 + LANE_WINDOW as u64 + 44 {
            queue(&mut window, entry(due));
        }
        for due in 1000..1010 {
            let started = window.pop_due(Duration::MAX);
            assert_eq!(started, Some(entry(due)));
        }
        // Read before any of those was there.
        refill(&mut window, vec![entry(1), entry(5000)], None);
        assert!(!window.is_complete(), "44 and more are in the index only");
        let all = taken(&mut window);
        assert_eq!((all.len(), all[0], all[246]), (247, 1, 1255));
        assert_eq!(wants(&mut window).map(|(from, _)| from), Some(1256));
    }

    #[test]
    fn an_answer_that_would_leave_a_gap_is_not_used() {
        let mut window = Window::default();
        queue(&mut window, entry(5));
        window.forget();
        assert!(wants(&mut window).is_some());
        window.forget();
        assert_eq!(wants(&mut window), None, "one at a time");
        refill(&mut window, vec![entry(5)], None);
        assert_eq!((window.len(), window.is_complete()), (0, false));
        assert!(wants(&mut window).is_some());
        refill(&mut window, Vec::new(), Some(0));
        assert_eq!(wants(&mut window), None, "it failed, and waits");
        assert_eq!(window.refill_not_before(), Some(REFILL_AGAIN));
    }
}
