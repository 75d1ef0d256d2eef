//! The model outbox: what is committed, what is on its way, and what the engine was told.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use outboxd::domain::delivery::{Delivery, Move, Next, Reason, Status};
use outboxd::domain::endpoint::EndpointNo;
use outboxd::domain::engine::{ENDPOINT_CHAIN, Entry, Input, Key};
use outboxd::domain::event::EventId;
use outboxd::domain::time::Timestamp;

pub type Id = (EndpointNo, EventId);

/// A record of the log, not yet durable.
#[derive(Clone, Debug)]
pub enum Record {
    Accepted {
        id: Id,
        due: Timestamp,
        exact: bool,
        chain: u64,
    },
    Attempted {
        id: Id,
        at: Timestamp,
        next: Next,
        disable: bool,
        success: bool,
        local: bool,
    },
    Retried {
        id: Id,
        at: Timestamp,
    },
    Cancelled {
        id: Id,
        at: Timestamp,
    },
    Erased(Id),
    Disabled(EndpointNo),
    Enabled(EndpointNo, Timestamp),
    Removed(EndpointNo, Timestamp),
}

#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub delivery: Delivery,
    deliver_at: Option<Timestamp>,
    lsn: u64,
    chain: u64,
}

/// What the store keeps of an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointState {
    pub disabled: bool,
    pub removed: bool,
    pub released_at: Option<Timestamp>,
    pub failing: Option<(Timestamp, u32)>,
}

#[derive(Default)]
pub struct Outbox {
    pub kept: HashMap<Id, Kept>,
    index: BTreeMap<(EndpointNo, Timestamp, EventId), ()>,
    /// What is pending by chain, once as its key's and once as the endpoint's.
    chains: BTreeSet<(EndpointNo, u64, EventId)>,
    pub endpoints: HashMap<EndpointNo, EndpointState>,
    log: VecDeque<(Duration, Record)>,
    /// Applied, and on its way to the engine, in order.
    pub notices: VecDeque<(Duration, Input)>,
    lsn: u64,
}

impl Outbox {
    pub fn append(&mut self, durable_at: Duration, record: Record) {
        let last = self.log.back().map_or(Duration::ZERO, |(at, _)| *at);
        self.log.push_back((durable_at.max(last), record));
    }

    pub fn next_commit(&self) -> Option<Duration> {
        self.log.front().map(|(at, _)| *at)
    }

    pub fn next_notice(&self) -> Option<Duration> {
        self.notices.front().map(|(at, _)| *at)
    }

    /// Applies one record; the engine hears of it at `told_at`.
    pub fn commit(&mut self, told_at: Duration) {
        let Some((_, record)) = self.log.pop_front() else {
            return;
        };
        let told_at = self
            .notices
            .back()
            .map_or(told_at, |(at, _)| told_at.max(*at));
        for input in self.apply(record) {
            self.notices.push_back((told_at, input));
        }
    }

    /// What was not durable is gone, and what nobody was told yet will be read again.
    pub fn crash(&mut self) {
        self.log.clear();
        self.notices.clear();
    }

    fn apply(&mut self, record: Record) -> Vec<Input> {
        match record {
            // The writer decides, and knows that the endpoint is no more.
            Record::Accepted { id, .. } | Record::Retried { id, .. } if self.is_removed(id.0) => {
                Vec::new()
            }
            Record::Disabled(no) | Record::Enabled(no, _) if self.is_removed(no) => Vec::new(),
            Record::Accepted {
                id,
                due,
                exact,
                chain,
            } => {
                self.lsn += 1;
                let kept = Kept {
                    delivery: Delivery::new(due),
                    deliver_at: exact.then_some(due),
                    lsn: self.lsn,
                    chain,
                };
                self.put(id, kept);
                self.queued(id)
            }
            Record::Attempted {
                id,
                at,
                next,
                disable,
                success,
                local,
            } => {
                let stored = Input::Stored {
                    no: id.0,
                    event: id.1,
                };
                self.shift(id, Move::Attempted { at, next });
                let endpoint = self.endpoints.entry(id.0).or_default();
                let (since, attempts) = endpoint.failing.unwrap_or((at, 0));
                if !local {
                    endpoint.failing = (!success).then_some((since, attempts + 1));
                }
                let mut told = vec![stored];
                if disable {
                    told.extend(self.apply(Record::Disabled(id.0)));
                }
                told
            }
            Record::Retried { id, at } => {
                if !self.shift(id, Move::Retry { at }) {
                    return Vec::new();
                }
                self.queued(id)
            }
            Record::Cancelled { id, at } => {
                let reason = Reason::Cancelled;
                if !self.shift(id, Move::Die { at, reason }) {
                    return Vec::new();
                }
                vec![Input::Withdrawn {
                    no: id.0,
                    event: id.1,
                    chain: self.kept.get(&id).map(|kept| kept.chain),
                }]
            }
            Record::Erased(id) => match self.remove(id) {
                Some(kept) => vec![Input::Withdrawn {
                    no: id.0,
                    event: id.1,
                    chain: Some(kept.chain),
                }],
                None => Vec::new(),
            },
            Record::Disabled(no) => {
                self.endpoints.entry(no).or_default().disabled = true;
                vec![Input::Hold { no }]
            }
            Record::Enabled(no, at) => {
                let endpoint = self.endpoints.entry(no).or_default();
                endpoint.disabled = false;
                endpoint.failing = None;
                endpoint.released_at = Some(at);
                vec![Input::Release { no, at }]
            }
            Record::Removed(no, at) => {
                self.endpoints.entry(no).or_default().removed = true;
                let open: Vec<Id> = self.pending(no).map(|entry| (no, entry.event)).collect();
                let reason = Reason::EndpointDeleted;
                for id in open {
                    self.shift(id, Move::Die { at, reason });
                }
                vec![Input::Remove { no }]
            }
        }
    }

    pub fn is_removed(&self, no: EndpointNo) -> bool {
        self.endpoints
            .get(&no)
            .is_some_and(|endpoint| endpoint.removed)
    }

    fn queued(&self, id: Id) -> Vec<Input> {
        let entry = self.entry(id).expect("just made pending");
        vec![Input::Queued { no: id.0, entry }]
    }

    fn remove(&mut self, id: Id) -> Option<Kept> {
        let old = self.kept.remove(&id)?;
        self.index.remove(&(id.0, old.delivery.due, id.1));
        for chain in [ENDPOINT_CHAIN, old.chain] {
            self.chains.remove(&(id.0, chain, id.1));
        }
        Some(old)
    }

    fn put(&mut self, id: Id, kept: Kept) {
        self.remove(id);
        self.kept.insert(id, kept);
        if kept.delivery.status == Status::Pending {
            self.index.insert((id.0, kept.delivery.due, id.1), ());
            for chain in [ENDPOINT_CHAIN, kept.chain] {
                self.chains.insert((id.0, chain, id.1));
            }
        }
    }

    fn shift(&mut self, id: Id, step: Move) -> bool {
        let Some(&kept) = self.kept.get(&id) else {
            return false;
        };
        let Ok(delivery) = kept.delivery.after(step) else {
            return false;
        };
        self.put(id, Kept { delivery, ..kept });
        true
    }

    /// A pending delivery as the engine knows it.
    pub fn entry(&self, id: Id) -> Option<Entry> {
        let kept = self.kept.get(&id)?;
        let delivery = kept.delivery;
        (delivery.status == Status::Pending).then_some(Entry {
            event: id.1,
            lsn: kept.lsn,
            due: delivery.due,
            exact: kept.deliver_at == Some(delivery.due),
            tries: delivery.tries,
            budget_from: delivery.budget_from,
            chain: kept.chain,
        })
    }

    pub fn pending(&self, no: EndpointNo) -> impl Iterator<Item = Entry> {
        self.pending_from(no, (Timestamp::default(), EventId(0)))
    }

    fn pending_from(&self, no: EndpointNo, from: Key) -> impl Iterator<Item = Entry> {
        let start = (no, from.0, from.1);
        let end = (EndpointNo(no.0 + 1), Timestamp::default(), EventId(0));
        self.index
            .range(start..end)
            .filter_map(|(&(no, _, event), ())| self.entry((no, event)))
    }

    pub fn pending_count(&self) -> usize {
        self.index.len()
    }

    /// The answer to a refill, as of now.
    pub fn read(&self, no: EndpointNo, from: Key, limit: usize) -> (Vec<Entry>, Option<Key>) {
        let mut entries: Vec<Entry> = self.pending_from(no, from).take(limit + 1).collect();
        let next = entries.get(limit).map(Entry::key);
        entries.truncate(limit);
        (entries, next)
    }

    /// The answer to a refill with heads only, which passes over some others at most.
    pub fn read_heads(&self, no: EndpointNo, from: Key, limit: usize) -> (Vec<Entry>, Option<Key>) {
        let (mut entries, next) = self.read(no, from, limit.min(40));
        entries.retain(|entry| entry.chain == 0 || self.head(no, entry.chain) == Some(*entry));
        (entries, next)
    }

    /// The oldest pending delivery of a chain.
    pub fn head(&self, no: EndpointNo, chain: u64) -> Option<Entry> {
        let range = (no, chain, EventId(0))..=(no, chain, EventId(u128::MAX));
        let (_, _, event) = self.chains.range(range).next()?;
        self.entry((no, *event))
    }
}
