//! What the records of a log, and the damage among them, mean for its events.
//!
//! A judge is given everything in the order of the log. It knows no disk.
//!
//! Records refer to each other. A reference can only lead to nothing where something was lost:
//! what an event is forgotten by stands behind all that names the event, and the log loses its
//! oldest part first. So an event that is named and was neither accepted, written again, erased
//! nor forgotten in this log has lost its acceptance.
//!
//! Memory: about 9 bytes for each event and 5 for each attempt (see `known`), besides what is
//! damaged and what was named before its acceptance came.

use std::collections::HashMap;

use super::known::{AttemptPlaces, Ids};
use super::report::{Counts, Harm, Later, Part, PlaceKind};
use crate::domain::event::EventId;
use crate::outbox::log::{self, Body, Damage, DamageKind, Lsn};
use crate::outbox::record::{Accepted, Attempted, Defined, EventHead, Record, Rewritten};

/// Something that is wrong with an event, in the terms of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawHit {
    pub part: Part,
    pub harm: Harm,
    pub endpoint: Option<u32>,
    pub at: Lsn,
}

/// An event of which something is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    pub id: EventId,
    pub event_type: Option<String>,
    pub tenant: Option<String>,
    pub hits: Vec<RawHit>,
    pub later: Later,
}

/// Damage by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPlace {
    pub kind: PlaceKind,
    pub from: Lsn,
    pub to: Lsn,
    pub detail: String,
}

/// All that was judged.
#[derive(Debug, Default)]
pub struct Judged {
    /// Those that records tell of: frames, records, events and bodies.
    pub counts: Counts,
    pub events: Vec<RawEvent>,
    pub places: Vec<RawPlace>,
    /// The ids of endpoints by their numbers.
    pub endpoints: HashMap<u32, String>,
}

/// Judges a log from its `start` on.
#[derive(Debug)]
pub struct Judge {
    start: Lsn,
    known: Ids,
    attempts: AttemptPlaces,
    /// Events that were named before anything said what they are, and where first.
    named: HashMap<u128, Lsn>,
    /// Where an event is in `judged.events`.
    hit: HashMap<u128, usize>,
    judged: Judged,
}

impl Judge {
    pub fn new(start: Lsn) -> Judge {
        Judge {
            start,
            known: Ids::default(),
            attempts: AttemptPlaces::default(),
            named: HashMap::new(),
            hit: HashMap::new(),
            judged: Judged::default(),
        }
    }

    /// The records of a frame were given.
    pub fn frame(&mut self) {
        self.judged.counts.frames += 1;
    }

    /// A record, whose body may be damaged.
    pub fn record(&mut self, found: &log::Record<'_>) {
        self.judged.counts.records += 1;
        match Record::decode(found.kind, found.head, found.body.intact()) {
            Ok(Some(record)) => self.take(found, &record),
            Ok(None) => self.definition(found),
            Err(_) => self.undecodable(found),
        }
    }

    /// A whole record in a frame that is damaged.
    pub fn stray(&mut self, found: &log::Record<'_>) {
        match Record::decode(found.kind, found.head, found.body.intact()) {
            Ok(Some(record)) => {
                self.take(found, &record);
                self.hit_all(&record, Harm::Stray, found.lsn);
            }
            Ok(None) => self.definition(found),
            Err(_) => self.undecodable(found),
        }
    }

    /// A record whose head is damaged, and that head as it was if that is known. Returns whether
    /// an event of it is known.
    pub fn harmed_head(&mut self, at: Lsn, kind: u8, mended: Option<&[u8]>) -> bool {
        let record = mended.and_then(|head| Record::decode(kind, head, None).ok()?);
        match &record {
            Some(Record::Attempted(Attempted { id, .. })) => self.attempts.push(at.0, *id),
            Some(Record::Rewritten(Rewritten {
                event: EventHead { id, .. },
                ..
            })) => self.attempts.push(at.0, *id),
            _ => {}
        }
        record.is_some_and(|record| self.hit_all(&record, Harm::Damaged, at))
    }

    /// Damage to a segment as a file.
    pub fn segment(&mut self, damage: Damage, is_missing: bool) {
        let detail = match is_missing {
            true => "the segment is missing",
            false => "the segment is short or has a bad header",
        };
        self.place(PlaceKind::Segment, damage, detail);
    }

    /// Damage by its place. `is_attributed`: its records are those of events that were hit.
    pub fn damage(&mut self, damage: Damage, is_attributed: bool) {
        let (kind, detail) = match damage.kind {
            // The record follows, and says so; segments were given before.
            DamageKind::Body | DamageKind::Segment => return,
            DamageKind::Record if is_attributed => return,
            DamageKind::Record => (PlaceKind::Record, "a record is damaged"),
            DamageKind::Frames => (PlaceKind::Frames, "frames are damaged"),
        };
        self.place(kind, damage, detail);
    }

    fn place(&mut self, kind: PlaceKind, damage: Damage, detail: &str) {
        self.judged.places.push(RawPlace {
            kind,
            from: damage.from,
            to: damage.to,
            detail: detail.to_owned(),
        });
    }

    /// Ends the judgement: what is still named and unknown has lost its acceptance.
    pub fn finish(mut self) -> Judged {
        let mut named: Vec<(u128, Lsn)> = self.named.drain().collect();
        named.sort_unstable_by_key(|(_, at)| *at);
        for (id, at) in named {
            let is_listed = self.event(id).is_some_and(|event| {
                let hits = event.hits.iter();
                hits.into_iter().any(|hit| hit.part == Part::Acceptance)
            });
            if !is_listed {
                self.strike(id, Part::Acceptance, Harm::Missing, None, at);
            }
        }
        self.judged
    }

    /// The record of a definition whose body is overwritten or damaged.
    fn definition(&mut self, found: &log::Record<'_>) {
        if let Body::Erased = found.body {
            // Another replaced it.
            self.judged.counts.erased += 1;
            return;
        }
        self.judged.places.push(RawPlace {
            kind: PlaceKind::Record,
            from: found.lsn,
            to: Lsn(found.lsn.0.saturating_add(1)),
            detail: match Defined::by(found.kind, found.head) {
                Some(Defined::Source(id)) => format!("the definition of source {id} is damaged"),
                _ => "the definition of an endpoint is damaged".to_owned(),
            },
        });
    }

    fn undecodable(&mut self, found: &log::Record<'_>) {
        self.judged.places.push(RawPlace {
            kind: PlaceKind::Record,
            from: found.lsn,
            to: Lsn(found.lsn.0.saturating_add(1)),
            detail: format!(
                "this version does not know the record (kind {})",
                found.kind
            ),
        });
    }

    fn take(&mut self, found: &log::Record<'_>, record: &Record<'_>) {
        match record {
            Record::Accepted(accepted) => self.accepted(found, accepted),
            Record::Rewritten(rewritten) => self.rewritten(found, rewritten),
            Record::Attempted(attempted) => self.attempted(found, attempted),
            Record::Acted(acted) => self.names(acted.id, found.lsn),
            Record::Moved(moved) => {
                for id in &moved.ids {
                    self.names(*id, found.lsn);
                }
            }
            Record::Erased(row) => self.ends(row.id, Later::Erased),
            Record::Forgotten(ids) => {
                for id in ids {
                    self.ends(*id, Later::Forgotten);
                }
            }
            Record::Endpoint(row) => {
                self.judged.endpoints.insert(row.no, row.id.to_owned());
            }
            // These name no event, or one that may be gone.
            Record::KeyKept(_)
            | Record::KeysForgotten(_)
            | Record::LastId(_)
            | Record::EndpointSpec(_)
            | Record::EndpointDeleted(_)
            | Record::EndpointForgotten(_)
            | Record::Job(_)
            | Record::Source(_)
            | Record::SourceCounts(_)
            | Record::SourceForgotten(_) => {}
        }
    }

    fn accepted(&mut self, found: &log::Record<'_>, accepted: &Accepted<'_>) {
        let head = &accepted.event;
        self.introduces(head);
        self.body(found, head, accepted.extras_len, 0);
    }

    fn rewritten(&mut self, found: &log::Record<'_>, rewritten: &Rewritten<'_>) {
        let head = &rewritten.event;
        self.introduces(head);
        self.attempts.push(found.lsn.0, head.id);
        let attempts = rewritten.deliveries.iter().flat_map(|row| &row.attempts);
        let responses = attempts.map(|row| u64::from(row.response)).sum();
        let is_whole = self.body(found, head, rewritten.extras_len, responses);
        if is_whole
            && !head.body_lost
            && let Some(event) = self.event(head.id)
        {
            event.later = Later::Whole;
        }
    }

    /// Checks the body of an event's record; whether it is there and as long as it should be.
    fn body(
        &mut self,
        found: &log::Record<'_>,
        head: &EventHead<'_>,
        extras_len: u32,
        responses: u64,
    ) -> bool {
        self.judged.counts.lost += u64::from(head.body_lost);
        let is_whole = match found.body {
            Body::Erased => {
                self.judged.counts.erased += 1;
                return false;
            }
            Body::Damaged => false,
            Body::Intact(body) => {
                let len = u64::from(head.body_len).saturating_add(responses);
                body.len() as u64 == len && extras_len <= head.body_len
            }
        };
        if !is_whole {
            let (id, at) = (head.id, found.lsn);
            self.strike(id, Part::Body, Harm::Damaged, None, at);
            self.describe(head);
        }
        is_whole
    }

    fn attempted(&mut self, found: &log::Record<'_>, attempted: &Attempted<'_>) {
        let (id, at) = (attempted.id, found.lsn);
        let endpoint = Some(attempted.endpoint);
        self.names(id, at);
        let previous = attempted.previous;
        // What stood below the start was written again with its event, or is gone with it.
        if previous >= self.start.0 && previous > 0 && !self.attempts.contains(previous, id) {
            self.strike(id, Part::Attempt, Harm::Missing, endpoint, at);
        }
        self.attempts.push(at.0, id);
        let is_whole = match found.body {
            Body::Erased => {
                self.judged.counts.erased += 1;
                true
            }
            Body::Damaged => false,
            Body::Intact(body) => body.len() as u64 == u64::from(attempted.attempt.response),
        };
        if !is_whole {
            self.strike(id, Part::Response, Harm::Damaged, endpoint, at);
        }
    }

    /// A record stands here that says what the event is.
    fn introduces(&mut self, head: &EventHead<'_>) {
        self.judged.counts.events += u64::from(self.known.insert(head.id));
        self.named.remove(&head.id);
        if self.event(head.id).is_some() {
            self.describe(head);
        }
    }

    /// A record names an event.
    fn names(&mut self, id: u128, at: Lsn) {
        if !self.known.contains(id) {
            self.named.entry(id).or_insert(at);
        }
    }

    /// An event is erased or forgotten.
    fn ends(&mut self, id: u128, later: Later) {
        self.known.insert(id);
        self.named.remove(&id);
        if let Some(event) = self.event(id) {
            event.later = later;
        }
    }

    fn event(&mut self, id: u128) -> Option<&mut RawEvent> {
        let at = *self.hit.get(&id)?;
        self.judged.events.get_mut(at)
    }

    fn describe(&mut self, head: &EventHead<'_>) {
        if let Some(event) = self.event(head.id) {
            event.event_type = Some(head.event_type.to_owned());
            event.tenant = Some(head.tenant.to_owned());
        }
    }

    fn strike(&mut self, id: u128, part: Part, harm: Harm, endpoint: Option<u32>, at: Lsn) {
        let hit = RawHit {
            part,
            harm,
            endpoint,
            at,
        };
        if let Some(event) = self.event(id) {
            if event.later == Later::Whole {
                event.later = Later::Nothing;
            }
            event.hits.push(hit);
            return;
        }
        self.hit.insert(id, self.judged.events.len());
        self.judged.events.push(RawEvent {
            id: EventId(id),
            event_type: None,
            tenant: None,
            hits: vec![hit],
            later: Later::Nothing,
        });
    }

    /// Strikes the events of a record that is itself harmed. Returns whether it has any.
    fn hit_all(&mut self, record: &Record<'_>, harm: Harm, at: Lsn) -> bool {
        let mut strike = |id, part, endpoint| self.strike(id, part, harm, endpoint, at);
        match record {
            Record::Accepted(Accepted { event, .. })
            | Record::Rewritten(Rewritten { event, .. }) => {
                strike(event.id, Part::Acceptance, None);
                self.describe(event);
            }
            Record::Attempted(row) => strike(row.id, Part::Attempt, Some(row.endpoint)),
            Record::Acted(row) => strike(row.id, Part::Step, Some(row.endpoint)),
            Record::Moved(row) => {
                let ids = row.ids.iter();
                ids.for_each(|id| strike(*id, Part::Step, Some(row.endpoint)));
            }
            Record::Erased(row) => strike(row.id, Part::Erasure, None),
            _ => return false,
        }
        true
    }
}
