//! The parts of a walk down by event ids that may have what a filter looks for.
//!
//! A part is a block of the index (`index::blocks`), or all that is left where the filter looks for
//! nothing that blocks tell of.

use std::collections::BTreeMap;

use crate::domain::endpoint::{EndpointNo, TypePattern};
use crate::domain::event::EventId;
use crate::outbox::index::{Attribute, AttributePlace, Hold, Spans};
use crate::outbox::views::{EventFilter, ReadError};

/// In so many parts nothing has to be found before spans of events count as ones that may have it.
const PARTS_ASKED: usize = 64;

/// What is looked for, as blocks tell of it.
#[derive(Clone, Debug)]
pub(super) struct Wanted(Vec<AttributePlace>);

impl Wanted {
    /// What events must have to pass the filter, and to go to this endpoint if there is one.
    pub fn new(filter: &EventFilter, endpoint: Option<EndpointNo>) -> Wanted {
        let event_type = match &filter.event_type {
            None | Some(TypePattern::Any) => None,
            Some(TypePattern::Prefix(prefix)) => Some(Attribute::Prefix(prefix)),
            Some(TypePattern::Exact(name)) => Some(Attribute::Type(name.as_str())),
        };
        let tenant = filter.tenant.as_ref();
        let idempotency_key = filter.idempotency_key.as_ref();
        let all = [
            tenant.map(|tenant| Attribute::Tenant(tenant.as_str())),
            event_type,
            filter.key.as_ref().map(|key| Attribute::Key(key.as_str())),
            idempotency_key.map(|key| Attribute::IdempotencyKey(key.as_str())),
            endpoint.map(Attribute::Endpoint),
        ];
        Wanted(all.into_iter().flatten().map(Attribute::place).collect())
    }

    /// The part of the events below `before` that is next: where it begins, not below `floor`, and
    /// whether to read it.
    pub fn part_below(
        &self,
        hold: &Hold<'_>,
        before: EventId,
        floor: EventId,
    ) -> Result<(EventId, bool), ReadError> {
        if self.0.is_empty() {
            return Ok((floor, true));
        }
        Ok(match hold.block_below(before, &self.0)? {
            Some((start, may_have)) => (start.max(floor), may_have),
            None => (floor, true),
        })
    }
}

/// The parts of events that were met, each asked for once.
#[derive(Debug)]
pub(super) struct Met {
    wanted: Wanted,
    /// By where a part begins: the highest event that was met in it, and whether to read it.
    parts: BTreeMap<EventId, (EventId, bool)>,
}

impl Met {
    pub fn new(wanted: Wanted) -> Met {
        let parts = BTreeMap::new();
        Met { wanted, parts }
    }

    /// Where the part of an event begins, and whether it may have what is looked for.
    pub fn part_of(&mut self, hold: &Hold<'_>, id: EventId) -> Result<(EventId, bool), ReadError> {
        let below = self.parts.range(..=id).next_back();
        if let Some((from, (highest, is_read))) = below
            && id <= *highest
        {
            return Ok((*from, *is_read));
        }
        let before = EventId(id.0.saturating_add(1));
        let (from, is_read) = self.wanted.part_below(hold, before, EventId(0))?;
        self.parts.insert(from, (id, is_read));
        Ok((from, is_read))
    }

    /// Whether there may be an event in these spans that has what is looked for.
    pub fn may_be_in(&mut self, hold: &Hold<'_>, spans: &Spans) -> Result<bool, ReadError> {
        let mut asked = 0;
        for (first, last) in spans.falling() {
            let mut next = Some(last);
            while let Some(id) = next.filter(|id| *id >= first) {
                let (from, is_read) = self.part_of(hold, id)?;
                asked += 1;
                if is_read || asked == PARTS_ASKED {
                    return Ok(true);
                }
                next = from.0.checked_sub(1).map(EventId);
            }
        }
        Ok(false)
    }
}

/// A walk down, part by part.
#[derive(Debug)]
pub(super) struct Parts {
    wanted: Wanted,
    floor: EventId,
    before: EventId,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The events with `from <= id < before` are to be read.
    Read {
        from: EventId,
        before: EventId,
    },
    End,
    /// The hold is spent, and there may be more.
    Spent,
}

impl Parts {
    /// Of the events with `floor <= id < before`.
    pub fn new(wanted: Wanted, floor: EventId, before: EventId) -> Parts {
        Parts {
            wanted,
            floor,
            before,
        }
    }

    pub fn next(&mut self, hold: &Hold<'_>) -> Result<Part, ReadError> {
        while self.before > self.floor {
            let before = self.before;
            let (from, is_read) = self.wanted.part_below(hold, before, self.floor)?;
            self.before = from;
            if is_read {
                return Ok(Part::Read { from, before });
            }
            if hold.is_spent() {
                return Ok(Part::Spent);
            }
        }
        Ok(Part::End)
    }
}
