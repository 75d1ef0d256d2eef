//! The pending deliveries of one lane: which of them wait in its window, in which order,
//! and when each is due. [`ordered`](super::ordered) documents how order is kept.

use std::time::Duration;

use super::due::Due;
use super::message::{Entry, Key, LanePolicy};
use super::ordered::{Chains, ENDPOINT_CHAIN};
use super::window::{Waiting, Window};
use crate::domain::endpoint::Ordering;
use crate::domain::event::EventId;
use crate::domain::schedule::Now;

#[derive(Debug)]
pub struct Queue {
    pub window: Window,
    /// With an ordering: what keeps it.
    pub chains: Option<Box<Chains>>,
    pub due: Due,
    /// No starts, and nothing is read: the endpoint is disabled, missing or removed.
    pub held: bool,
}

impl Queue {
    pub fn new(ordering: Ordering) -> Queue {
        let ordered = ordering != Ordering::None;
        let chains = ordered.then(|| Box::new(Chains::new(ordering, std::iter::empty())));
        Queue {
            window: Window::default(),
            chains,
            due: Due::default(),
            held: false,
        }
    }

    /// Nothing is pending.
    pub fn is_exhausted(&self) -> bool {
        self.window.is_exhausted()
    }

    /// Whether the index is asked for the head of a chain.
    pub fn is_asking(&self) -> bool {
        let chains = self.chains.as_ref();
        chains.is_some_and(|chains| !chains.is_quiet())
    }

    /// No more starts; what waits is left to the index.
    pub fn hold(&mut self) {
        self.held = true;
        self.forget();
        if let Some(chains) = &mut self.chains {
            chains.drop_questions();
        }
    }

    /// Takes out the first delivery if it is due: its attempt begins.
    pub fn start(&mut self, mono: Duration) -> Option<Entry> {
        let entry = self.window.pop_due(mono)?;
        if let Some(chains) = &mut self.chains {
            chains.started(&entry);
        }
        Some(entry)
    }

    /// A delivery is pending, whatever it was before.
    pub fn queued(&mut self, entry: Entry, policy: &LanePolicy, now: Now, capacity: usize) {
        self.window.remove(entry.event);
        if self.chains.is_none() || self.may_enter(&entry) {
            self.enter(entry, policy, now, capacity);
        }
    }

    /// The index was asked for the head of a chain, and this is it.
    pub fn headed(
        &mut self,
        chain: u64,
        head: Option<Entry>,
        policy: &LanePolicy,
        now: Now,
        capacity: usize,
    ) {
        if self.answered(chain)
            && let Some(head) = head
        {
            self.enter(head, policy, now, capacity);
        }
    }

    /// The outcome of an attempt is stored; `again` is what is pending after it.
    pub fn stored(
        &mut self,
        entry: &Entry,
        again: Option<Entry>,
        policy: &LanePolicy,
        now: Now,
        capacity: usize,
    ) {
        self.window.touch(entry.event);
        let next_in_chain = self.chains.is_some() && self.next_in_chain(entry, again.is_some());
        if let Some(entry) = again.filter(|_| !next_in_chain) {
            self.enter(entry, policy, now, capacity);
        }
    }

    /// Takes a delivery into the window, unless it lies past it.
    fn enter(&mut self, entry: Entry, policy: &LanePolicy, now: Now, capacity: usize) {
        if self.window.takes(entry.key()) {
            let complete = self.window.is_complete();
            let deadline = self.due.deadline(&entry, policy, now, complete);
            self.window.insert(Waiting { deadline, entry }, capacity);
        }
    }

    /// Takes the answer to a refill.
    pub fn refilled(
        &mut self,
        entries: Vec<Entry>,
        next: Option<Key>,
        policy: &LanePolicy,
        now: Now,
        busy: impl Fn(EventId) -> bool,
    ) {
        let entries = self.up_to_date(entries);
        let mut window = std::mem::take(&mut self.window);
        window.refilled(entries, next, now.mono, busy, |entry| {
            self.due.deadline(entry, policy, now, false)
        });
        self.window = window;
        if self.window.is_complete() {
            self.due.all_is_read();
        }
    }

    /// The wall clock jumped forward.
    pub fn hasten(&mut self, now: Now) {
        let due = &self.due;
        self.window.hasten(|entry| due.hastened(entry, now));
    }

    /// The chain that a delivery belongs to, if to any.
    fn chain(&self, entry: &Entry) -> Option<u64> {
        self.chains.as_ref()?.chain(entry.chain)
    }

    /// The delivery of this chain that waits here.
    fn waiting_in(&self, chain: u64) -> Option<Entry> {
        let chains = self.chains.as_ref()?;
        self.window
            .find(|entry| chains.chain(entry.chain) == Some(chain))
    }

    /// Whether another of the chain is busy, or the index is asked about it.
    fn is_taken(&self, chain: u64) -> bool {
        let chains = self.chains.as_ref();
        chains.is_some_and(|chains| chains.is_running(chain) || chains.is_asked(chain))
    }

    /// The index may have anything.
    pub fn forget(&mut self) {
        self.due.forgotten(self.window.first());
        self.window.forget();
        if let Some(chains) = &mut self.chains {
            chains.doubt_all();
        }
    }

    /// The ordering changes, with these in flight or settling.
    pub fn reorder(&mut self, ordering: Ordering, busy: impl Iterator<Item = Entry>) {
        match &mut self.chains {
            Some(chains) => chains.change(ordering, busy),
            None => self.chains = Some(Box::new(Chains::new(ordering, busy))),
        }
        self.forget();
    }

    /// A delivery is pending: whether it comes into the window, as far as order goes.
    fn may_enter(&mut self, entry: &Entry) -> bool {
        let enters = self.goes_first(entry);
        if !enters && let Some(chains) = &mut self.chains {
            chains.hidden = true;
        }
        enters
    }

    fn goes_first(&mut self, entry: &Entry) -> bool {
        let Some(chain) = self.chain(entry) else {
            return true;
        };
        self.doubt(chain);
        if self.is_taken(chain) {
            return false;
        }
        if let Some(head) = self.waiting_in(chain) {
            if head.event < entry.event {
                return false;
            }
            // It is found again when its turn comes.
            self.window.remove(head.event);
            if let Some(chains) = &mut self.chains {
                chains.hidden = true;
            }
            return true;
        }
        if self.window.is_complete() {
            return true;
        }
        // Past the horizon it is met later on; of a whole endpoint the head is asked for.
        if chain != ENDPOINT_CHAIN && self.window.takes(entry.key()) {
            self.look_for(chain);
        }
        false
    }

    /// The outcome of a delivery is stored, and `again` if it is still pending: whether the
    /// chain it belongs to, if to any, says what comes next.
    fn next_in_chain(&mut self, stored: &Entry, again: bool) -> bool {
        let Some(chain) = self.chain(stored) else {
            return false;
        };
        self.doubt(chain);
        if let Some(chains) = &mut self.chains {
            chains.stored(chain);
        }
        if !self.is_taken(chain) && (again || self.may_hide()) {
            self.look_for(chain);
        }
        true
    }

    /// Whether there may be anything pending that is neither in the window nor busy. Mostly
    /// there is not, and the index need not be asked.
    fn may_hide(&self) -> bool {
        let hidden = self.chains.as_ref().is_some_and(|chains| chains.hidden);
        hidden || !self.window.is_complete()
    }

    /// A delivery that is not busy is no longer pending.
    pub fn withdrawn(&mut self, event: EventId, chain: Option<u64>) {
        let waited = self.window.remove(event);
        let Some(chains) = &self.chains else { return };
        let known = waited.map(|entry| entry.chain).or(chain);
        let chain = match known.or(chains.is_strict().then_some(ENDPOINT_CHAIN)) {
            Some(known) => chains.chain(known),
            None if chains.by_key() => return self.forget(),
            None => None,
        };
        if let Some(chain) = chain {
            self.doubt(chain);
            if !self.is_taken(chain) && self.waiting_in(chain).is_none() {
                self.look_for(chain);
            }
        }
    }

    /// The heads of a refill that are up to date. The index is asked about the chains for
    /// which inputs came meanwhile.
    fn up_to_date(&mut self, mut heads: Vec<Entry>) -> Vec<Entry> {
        if self.chains.is_none() {
            return heads;
        }
        heads.retain(|entry| {
            let Some(chain) = self.chain(entry) else {
                return true;
            };
            if self.is_taken(chain) || self.waiting_in(chain).is_some() {
                return false;
            }
            let doubted = self.window.doubts(chain);
            if doubted {
                self.look_for(chain);
            }
            !doubted
        });
        heads
    }

    /// The index answered: whether the chain's head, if there is one, comes into the window.
    fn answered(&mut self, chain: u64) -> bool {
        let Some(doubtful) = self.answer_to(chain) else {
            return false;
        };
        if doubtful {
            self.look_for(chain);
            return false;
        }
        if chain == ENDPOINT_CHAIN {
            self.window.complete();
        }
        self.waiting_in(chain).is_none()
    }

    /// The index could not be read for the chain's head.
    pub fn unread(&mut self, chain: u64, mono: Duration) {
        if self.answer_to(chain).is_some() {
            self.forget();
            self.window.wait(mono);
        }
    }

    /// Whether an answer about the chain is doubtful; `None` if it is no longer needed.
    fn answer_to(&mut self, chain: u64) -> Option<bool> {
        let chains = self.chains.as_mut()?;
        let doubtful = chains.answered(chain)?;
        let current = chains.chain(chain) == Some(chain) && !chains.is_running(chain);
        (current && !self.held).then_some(doubtful)
    }

    /// Something of the chain has changed.
    fn doubt(&mut self, chain: u64) {
        self.window.doubt(chain);
        if let Some(chains) = &mut self.chains {
            chains.doubt(chain);
        }
    }

    /// The chain's head is to be looked for in the index.
    fn look_for(&mut self, chain: u64) {
        if !self.held
            && let Some(chains) = &mut self.chains
            && !chains.ask(chain)
        {
            self.forget();
        }
    }

    /// The next chain to ask the index about.
    pub fn question(&mut self, mono: Duration) -> Option<u64> {
        let strict = self
            .chains
            .as_ref()
            .is_some_and(|chains| chains.is_strict());
        if strict && self.head_wanted_at().is_some_and(|at| at <= mono) {
            self.look_for(ENDPOINT_CHAIN);
        }
        self.chains.as_mut()?.question()
    }

    /// With `strict`: when the index is to be asked for the head, if it is.
    fn head_wanted_at(&self) -> Option<Duration> {
        let wanted = !self.window.is_complete() && !self.is_taken(ENDPOINT_CHAIN);
        wanted.then_some(self.window.not_before())
    }

    /// How the index is to be read for the window: `None`: not at all, it is asked for
    /// one head; else whether for heads only.
    pub fn reads_heads(&self) -> Option<bool> {
        match &self.chains {
            Some(chains) if chains.is_strict() => None,
            Some(chains) => Some(chains.by_key()),
            None => Some(false),
        }
    }

    /// When to read the index again after a failure.
    pub fn read_again_at(&self) -> Option<Duration> {
        if self.held {
            None
        } else if self.reads_heads().is_none() {
            self.head_wanted_at()
        } else {
            self.window.refill_not_before()
        }
    }
}
