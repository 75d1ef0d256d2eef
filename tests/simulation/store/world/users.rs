//! Users: they hand in events, act on what is there, and are answered.

use std::time::Duration;

use bytes::Bytes;
use outboxd::domain::delivery::Status;
use outboxd::domain::endpoint::{DisabledReason, EndpointId, EndpointSpec, Ordering, TypePattern};
use outboxd::domain::event::{EventId, EventType, Key, NewEvent, Payload, Tenant};
use outboxd::domain::retry::RetryOverrides;
use outboxd::domain::time::Timestamp;
use outboxd::outbox::record::JobWork;
use outboxd::outbox::request::Request;
use outboxd::outbox::{Action, ReadError, Receipt, Refused, Selection};
use tokio::sync::oneshot;

use super::secrets::signing;
use super::{Acting, Asked, ENDPOINTS, Expected, Violation, World};
use crate::store::machine::HOUR;

/// The most events that one request hands in.
const BATCH: usize = 6;

impl World {
    pub(super) fn accept(&mut self, a: u32, b: u32) {
        if b % 7 == 3 {
            return self.take_in(a, b);
        }
        let count = match a % 4 {
            0 => 1 + b as usize % BATCH,
            _ => 1,
        };
        self.hand_in(count, a, b);
    }

    /// A request of as many events as there may be.
    pub(super) fn accept_many(&mut self, a: u32) {
        self.hand_in(BATCH, a, 1);
    }

    fn hand_in(&mut self, count: usize, a: u32, b: u32) {
        let mut events = Vec::new();
        for n in 0..count {
            let number = self.next_number;
            self.next_number += 1;
            let size = [10, 200, 900, 3000][(a as usize / 4 + n) % 4];
            let body = format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(size));
            let body = Bytes::from(body);
            let key = b
                .is_multiple_of(3)
                .then(|| format!("key-{}", (a as usize + n) % 12));
            let event = NewEvent {
                tenant: Tenant::default(),
                event_type: EventType::new(&format!("n.{number}")).unwrap(),
                payload: Payload::Json(body.clone()),
                key: b
                    .is_multiple_of(2)
                    .then(|| Key::new(&format!("order-{}", b % 5)).unwrap()),
                idempotency_key: key.map(|key| Key::new(&key).unwrap()),
                deliver_at: None,
                extras: None,
            };
            self.submitted.insert(number, body.clone());
            events.push((number, event, body));
        }
        self.submit(events);
    }

    /// One request with all of them.
    pub(super) fn submit(&mut self, events: Vec<(u64, NewEvent, Bytes)>) {
        let Some(process) = &mut self.process else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        let handed = events.iter().map(|(_, event, _)| event.clone()).collect();
        process.store.writer.enqueue(Request::Accept {
            events: handed,
            filters: Default::default(),
            reply,
        });
        process.asked.push(Asked {
            events,
            reply: answer,
        });
    }

    pub(super) fn act(&mut self, a: u32, b: u32) {
        let endpoint = self.endpoints[a as usize % ENDPOINTS].clone();
        let ids: Vec<EventId> = self.sorted_ids();
        let event = ids.get(b as usize % ids.len().max(1)).copied();
        let action = match (a / 16 % 14, event) {
            (0..3, _) => Action::Create {
                endpoint: endpoint.clone(),
                spec: Box::new(spec(b, self.next_secret())),
                enabled: true,
            },
            (12 | 13, _) => return self.rotate(endpoint, b),
            (3, _) => Action::Disable {
                endpoint: endpoint.clone(),
                reason: DisabledReason::Manual,
            },
            (4 | 5, _) => Action::Enable { endpoint },
            (6, Some(event)) => {
                self.mark(event, &endpoint, |expected| expected.may_be_dead = true);
                Action::Cancel { event, endpoint }
            }
            (7 | 8, Some(event)) => Action::Retry { event, endpoint },
            (9, Some(event)) => {
                if let Some(known) = self.known.get_mut(&event) {
                    known.erase_asked = true;
                }
                Action::Erase { event }
            }
            (10, _) => {
                self.begin_job(endpoint, b);
                return;
            }
            (11, _) if b.is_multiple_of(4) => {
                self.mark_all(&endpoint, |expected| expected.may_be_dead = true);
                Action::Delete { endpoint }
            }
            _ => return,
        };
        let Some(process) = &mut self.process else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        process.acting.push(Acting {
            action: action.clone(),
            reply: answer,
        });
        process.store.writer.enqueue(Request::Act { action, reply });
    }

    /// A replay or a purge, begun as the daemon does; its counting is done at once.
    fn begin_job(&mut self, endpoint: EndpointId, b: u32) {
        let purges = b.is_multiple_of(3);
        if purges {
            self.mark_all(&endpoint, |expected| {
                (expected.may_be_dead, expected.may_be_gone) = (true, true);
            });
        }
        let Some(process) = &mut self.process else {
            return;
        };
        let statuses = match (purges, b / 3 % 2) {
            (true, 0) => vec![Status::Dead],
            (true, _) => vec![Status::Pending, Status::Held, Status::Dead],
            (false, _) => vec![Status::Dead],
        };
        let selection = Selection {
            statuses,
            ..Selection::default()
        };
        let work = match purges {
            true => JobWork::Purge,
            false => JobWork::Replay,
        };
        if let Ok(job) = process
            .store
            .outbox
            .job(work, &endpoint, &selection, 1000.0)
        {
            let (reply, _) = oneshot::channel();
            let request = Request::Begin { job, reply };
            process.store.writer.enqueue(request);
        }
    }

    pub(super) fn mark(&mut self, id: EventId, endpoint: &EndpointId, how: impl Fn(&mut Expected)) {
        let known = self.known.get_mut(&id);
        if let Some(expected) = known.and_then(|known| known.deliveries.get_mut(endpoint)) {
            how(expected);
        }
    }

    fn mark_all(&mut self, endpoint: &EndpointId, how: impl Fn(&mut Expected)) {
        for known in self.known.values_mut() {
            if let Some(expected) = known.deliveries.get_mut(endpoint) {
                how(expected);
            }
        }
    }

    fn sorted_ids(&self) -> Vec<EventId> {
        let mut ids: Vec<EventId> = self.known.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn answered(&mut self) -> Result<(), Violation> {
        self.crowd_answered()?;
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let (mut given, mut acted) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < process.asked.len() {
            match process.asked[at].reply.try_recv() {
                Ok(answer) => given.push((process.asked.remove(at), answer)),
                Err(_) => at += 1,
            }
        }
        at = 0;
        while at < process.acting.len() {
            match process.acting[at].reply.try_recv() {
                Ok(answer) => acted.push((process.acting.remove(at).action, answer)),
                Err(_) => at += 1,
            }
        }
        for (asked, answer) in given {
            self.accept_answered(asked, answer)?;
        }
        for (action, answer) in acted {
            match (action, answer) {
                (Action::Erase { event }, Ok(())) => {
                    if let Some(known) = self.known.get_mut(&event) {
                        known.erased = true;
                    }
                }
                (Action::Delete { endpoint }, _) => {
                    self.mark_all(&endpoint, |expected| expected.may_be_dead = true);
                }
                (action, Ok(())) => {
                    self.secret_changed(&action);
                    self.source_changed(&action);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn accept_answered(
        &mut self,
        asked: Asked,
        answer: Result<Vec<Receipt>, Refused>,
    ) -> Result<(), Violation> {
        let now = Timestamp::from_millis(self.now_ms());
        self.latest = self.latest.max(now);
        let in_window = |at: &Timestamp| *at + 2 * HOUR >= now;
        let receipts = match answer {
            Ok(receipts) => receipts,
            Err(refused) => {
                if let Refused::KeyReused { index } = refused {
                    let key = asked.events[index].1.idempotency_key.as_ref();
                    let key = key.map(|key| key.as_str().to_owned()).unwrap_or_default();
                    let earlier = asked.events[..index].iter().any(|(_, event, _)| {
                        let other = event.idempotency_key.as_ref();
                        other.is_some_and(|other| other.as_str() == key)
                    });
                    let known = self
                        .keys
                        .get(&key)
                        .is_some_and(|at| at.iter().any(in_window));
                    ensure!(earlier || known, "{key} is called used and was not");
                }
                self.refused
                    .extend(asked.events.iter().map(|(number, ..)| *number));
                return Ok(());
            }
        };
        ensure!(receipts.len() == asked.events.len(), "a receipt is missing");
        for ((number, event, body), receipt) in asked.events.into_iter().zip(receipts) {
            if self.was_repeated(number, &event, &receipt, now)? {
                continue;
            }
            ensure!(!receipt.duplicate, "{number} is called a duplicate");
            ensure!(
                receipt.accepted_at == now,
                "{number} was accepted at {now} and its receipt says {}",
                receipt.accepted_at
            );
            if let Some(key) = &event.idempotency_key {
                let at = self.keys.get(key.as_str());
                // It may have been forgotten while the clock was ahead.
                let latest = self.latest;
                let used = at.is_some_and(|at| at.iter().any(|at| *at + 2 * HOUR >= latest));
                ensure!(!used, "{} was used within its window", key.as_str());
            }
            let id = receipt.id;
            if receipt.deliveries == 0 && self.is_gone(id) {
                self.has_used(&event, receipt.accepted_at);
                // Wanted nowhere, it was history at once, and short of room that goes.
                continue;
            }
            self.remember(id, number, &event, body, receipt.accepted_at)?;
        }
        Ok(())
    }

    fn is_gone(&self, id: EventId) -> bool {
        let found = self.process.as_ref();
        let found = found.map(|process| process.store.outbox.event(id));
        matches!(found, Some(Err(ReadError::NoSuchEvent)))
    }
}

fn spec(b: u32, secret: u64) -> EndpointSpec {
    EndpointSpec {
        tenant: Tenant::default(),
        url: "https://example.com/".parse().unwrap(),
        types: vec![TypePattern::Any],
        secrets: vec![signing(secret)],
        headers: http::HeaderMap::new(),
        max_in_flight: 1 + b as usize % 4,
        rate_limit: None,
        ordering: [Ordering::None, Ordering::Key, Ordering::Strict][b as usize % 3],
        timeout: None,
        http2: None,
        retry: RetryOverrides {
            schedule: b
                .is_multiple_of(4)
                .then(|| vec![Duration::from_secs(1), Duration::from_secs(5)]),
            ..RetryOverrides::default()
        },
        description: String::new(),
        shaping: None,
        applied_as: None,
    }
}
