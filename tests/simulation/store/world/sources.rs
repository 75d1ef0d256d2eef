//! Sources: they are defined, changed and removed, count, and take in deliveries that providers
//! repeat.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outboxd::domain::event::{
    EventId, EventType, Key, NewEvent, Payload, SOURCE_WINDOW, Tenant, source_key, source_of_key,
};
use outboxd::domain::extras::{Extras, Received};
use outboxd::domain::time::Timestamp;
use outboxd::outbox::request::Request;
use outboxd::outbox::{Action, EventView, KeyBytes, Outbox, Receipt, SourceDefinition};
use tokio::sync::oneshot;

use super::{Acting, Violation, World, secrets};
use crate::store::machine::HOUR;

/// The last one has no window of its own.
const SOURCES: [&str; 3] = ["brief", "slow", "plain"];
/// How many ids the deliveries of a source have.
const DELIVERIES: u32 = 8;

/// What has to be stored of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) definition: Option<Vec<u8>>,
    counts: Option<Vec<u8>>,
}

pub(super) type Sources = BTreeMap<String, Source>;

fn window(source: &str) -> Duration {
    match source {
        // Less than `ingest.idempotency_window`, and more than the default.
        "brief" => HOUR,
        "slow" => 30 * 24 * HOUR,
        _ => SOURCE_WINDOW,
    }
}

/// The key of a delivery that a source takes in, if it is one.
fn delivery(event: &NewEvent) -> Option<(&Key, Duration)> {
    let key = event.idempotency_key.as_ref()?;
    let (source, _) = source_of_key(key.as_str())?;
    Some((key, window(source)))
}

fn received(key: &str) -> Received {
    Received {
        verified_by: "secret 1".into(),
        remote: format!("192.0.2.{}", key.len()),
    }
}

impl World {
    /// A source takes in a delivery, or several events of one.
    pub(super) fn take_in(&mut self, a: u32, b: u32) {
        self.say_windows();
        let source = SOURCES[a as usize % SOURCES.len()];
        let count = 1 + u64::from(b / 8 % 3);
        let mut events = Vec::new();
        for n in 0..count {
            let number = self.next_number;
            self.next_number += 1;
            let id = format!("d-{}.{}", a / 4 % DELIVERIES, n % 2);
            let key = source_key(source, &id);
            let body = Bytes::from(format!("n={number}{}", "&x".repeat(a as usize / 64 % 600)));
            let extras = Extras {
                source: Some(source.into()),
                received: Some(received(key.as_str())),
                ..Extras::default()
            };
            let event = NewEvent {
                tenant: Tenant::default(),
                event_type: EventType::new(&format!("n.{number}")).unwrap(),
                payload: Payload::Opaque {
                    content_type: "application/x-www-form-urlencoded".into(),
                    body: body.clone(),
                },
                key: None,
                idempotency_key: Some(key),
                deliver_at: None,
                extras: Some(Arc::new(extras)),
            };
            self.submitted.insert(number, body.clone());
            events.push((number, event, body));
        }
        self.submit(events);
    }

    /// The application says the windows some time after the start, and before it takes anything
    /// in.
    pub(super) fn say_windows(&mut self) {
        let Some(process) = &self.process else {
            return;
        };
        let named = SOURCES[..2].iter();
        let windows = named.map(|id| ((*id).to_owned(), window(id)));
        process.store.outbox.set_source_windows(windows.collect());
    }

    /// A source is defined, counts or is removed.
    pub(super) fn change_sources(&mut self, a: u32, b: u32) {
        let id = SOURCES[b as usize % SOURCES.len()].to_owned();
        let number = self.next_secret();
        self.hinder_overwriting(b / 16);
        let text = |of: &str| format!("{of} {a}{}", "x".repeat(b as usize / 8 % 900)).into_bytes();
        let action = match a % 8 {
            0..3 => Action::PutSource {
                id,
                definition: SourceDefinition {
                    changed_at: Timestamp::from_millis(a.into()),
                    bytes: KeyBytes(text(&secrets::text(number))),
                },
            },
            3..6 => {
                let some = SOURCES.iter().take(1 + b as usize / 4 % SOURCES.len());
                Action::PutSourceCounts {
                    counts: some.map(|id| ((*id).to_owned(), text("counts"))).collect(),
                }
            }
            6 => Action::RemoveSource { id },
            _ => return self.say_windows(),
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

    /// What was done to a source is true from now on.
    pub(super) fn source_changed(&mut self, action: &Action) {
        if apply(&mut self.sources, action) {
            self.counts.source_changes += 1;
        }
    }

    /// What a crash left unanswered was done, or not.
    pub(super) fn resolve_source_doubts(&mut self) -> Result<(), Violation> {
        let mut possible = vec![self.sources.clone()];
        for action in std::mem::take(&mut self.doubtful_acts) {
            for mut after in possible.clone() {
                if apply(&mut after, &action) && !possible.contains(&after) {
                    possible.push(after);
                }
            }
        }
        let Some(process) = &self.process else {
            return Ok(());
        };
        let found = found(&process.store.outbox)?;
        ensure!(
            possible.contains(&found),
            "the sources are {found:?}, which is none of {possible:?}"
        );
        self.sources = found;
        Ok(())
    }

    pub(super) fn check_sources(&self, outbox: &Outbox) -> Result<(), Violation> {
        let found = found(outbox)?;
        let expected = &self.sources;
        ensure!(
            found == *expected,
            "the sources are {found:?} and should be {expected:?}"
        );
        Ok(())
    }

    /// Whether the receipt is that of a delivery that was stored before. A repeated one is never
    /// stored within its window, and one that was not stored is never called repeated.
    pub(super) fn was_repeated(
        &mut self,
        number: u64,
        event: &NewEvent,
        receipt: &Receipt,
        now: Timestamp,
    ) -> Result<bool, Violation> {
        let Some((key, window)) = delivery(event) else {
            return Ok(false);
        };
        let taken = self.taken.entry(key.to_string()).or_default();
        if !receipt.duplicate {
            // It may have been forgotten while the clock was ahead.
            let latest = self.latest;
            let used = taken.iter().any(|(_, at)| *at + window >= latest);
            ensure!(
                !used,
                "{number} is stored, a delivery repeated within its window"
            );
            taken.push((receipt.id, receipt.accepted_at));
            self.counts.taken_in += 1;
            return Ok(false);
        }
        let first = taken.iter().find(|(id, _)| *id == receipt.id);
        let Some((_, at)) = first else {
            return Err(format!(
                "{number} is called repeated, and no delivery of its id was stored"
            ));
        };
        ensure!(
            *at + window >= now,
            "{number} is called repeated after its window"
        );
        ensure!(
            *at == receipt.accepted_at,
            "{number} has another time than at first"
        );
        self.refused.insert(number);
        self.counts.repeated += 1;
        Ok(true)
    }

    /// Of a request that a crash left unanswered this event is there, or none of it.
    pub(super) fn was_taken_in(&mut self, event: &NewEvent, id: EventId, accepted_at: Timestamp) {
        if let Some((key, _)) = delivery(event) {
            let taken = self.taken.entry(key.to_string()).or_default();
            if !taken.iter().any(|(known, _)| *known == id) {
                taken.push((id, accepted_at));
            }
        }
    }

    /// Whether the event may be missing though others of its request are there: a delivery of its
    /// id was stored before.
    pub(super) fn may_be_repeated(&self, event: &NewEvent) -> bool {
        delivery(event).is_some_and(|(key, _)| self.taken.contains_key(key.as_str()))
    }
}

/// What the store has of sources.
fn found(outbox: &Outbox) -> Result<Sources, Violation> {
    let stored = outbox.stored_sources();
    let stored = stored.map_err(|error| format!("sources cannot be read: {error}"))?;
    let source = |source: outboxd::outbox::StoredSource| {
        let of = Source {
            definition: source.definition.map(|definition| definition.bytes.0),
            counts: source.counts,
        };
        (source.id, of)
    };
    Ok(stored.into_iter().map(source).collect())
}

/// Whether the action is about sources.
pub(super) fn is_of_sources(action: &Action) -> bool {
    apply(&mut Sources::new(), action)
}

fn apply(sources: &mut Sources, action: &Action) -> bool {
    match action {
        Action::PutSource { id, definition } => {
            let source = sources.entry(id.clone()).or_default();
            source.definition = Some(definition.bytes.0.clone());
        }
        Action::PutSourceCounts { counts } => {
            for (id, counts) in counts {
                let source = sources.entry(id.clone()).or_default();
                source.counts = Some(counts.clone());
            }
        }
        Action::RemoveSource { id } => {
            sources.remove(id);
        }
        _ => return false,
    }
    true
}

/// What a source knew of a delivery is shown with its event.
pub(super) fn check_received(key: Option<&str>, view: &EventView) -> Result<(), Violation> {
    let expected = key.filter(|key| source_of_key(key).is_some()).map(received);
    let extras = view.extras.as_deref();
    let shown = extras.and_then(|extras| extras.received.clone());
    ensure!(
        shown == expected,
        "{shown:?} was received, and was {expected:?}"
    );
    Ok(())
}
