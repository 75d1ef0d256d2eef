//! What is due for the definitions of endpoints and sources: secrets that are past their time go
//! out of those of endpoints, and those that were replaced are overwritten in the log.
//!
//! The writer overwrites a definition as soon as the one that replaces it is durable. If it found
//! no room for that, or a crash came between, a search of the log finds what is left: once after
//! each start, and after each overwriting that failed. It takes one segment at each look, so that
//! nothing waits long for it.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::domain::endpoint::EndpointNo;
use crate::domain::time::Timestamp;
use crate::outbox::handle::Shared;
use crate::outbox::index::rows::{self, SpecEntry};
use crate::outbox::index::{PagesError, keys};
use crate::outbox::log::{self, Body, Lsn, Replayed};
use crate::outbox::maintain::pace::Pace;
use crate::outbox::maintain::survey::each_row;
use crate::outbox::maintain::{Asked, Cut, answered};
use crate::outbox::record::Defined;
use crate::outbox::request::{Placed, Step};

/// How many definitions one step takes.
const STEP: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    expiries: Pace,
    searches: Pace,
    /// The search that is under way: when it began, and where it goes on.
    search: Option<(Duration, Lsn)>,
}

/// What was found in a segment.
#[derive(Debug, Default)]
struct Leftover {
    /// Definitions that are whole, or damaged, and were replaced.
    replaced: Vec<(Lsn, Defined)>,
    /// Definitions whose overwriting has begun.
    begun: Vec<Lsn>,
}

impl Definitions {
    /// Does what is due. What cannot be done for want of room is tried again later.
    pub fn look(&mut self, shared: &Shared, writer: &mut dyn Asked) -> Result<(), Cut> {
        self.expire(shared, writer)?;
        let searched = self.search(shared, writer);
        if !matches!(searched, Ok(Placed::Durable)) {
            shared.leftovers.left();
            self.end_search(shared);
        }
        searched.map(drop)
    }

    /// Has the secrets taken out that are past their time.
    fn expire(&mut self, shared: &Shared, writer: &mut dyn Asked) -> Result<(), Cut> {
        let (began, now) = (shared.clock.mono(), shared.clock.wall());
        if !shared.leftovers.is_expired(now) || !self.expiries.is_due(began) {
            return Ok(());
        }
        shared.leftovers.begin_expiry();
        let expired = expire_all(shared, now, writer);
        if !matches!(expired, Ok(Placed::Durable)) {
            shared.leftovers.expiry_failed();
        }
        self.expiries.ended(began, shared.clock.mono());
        expired.map(drop)
    }

    /// Searches the next segment, if the log has to be searched.
    fn search(&mut self, shared: &Shared, writer: &mut dyn Asked) -> Result<Placed, Cut> {
        let now = shared.clock.mono();
        let (began, from) = match self.search {
            Some(under_way) => under_way,
            None if self.searches.is_due(now) && shared.leftovers.take() => (now, Lsn(0)),
            None => return Ok(Placed::Durable),
        };
        let segments = shared.log.segments();
        let mut left = segments.iter().filter(|(base, _)| *base >= from);
        let Some((base, _)) = left.next() else {
            self.end_search(shared);
            return Ok(Placed::Durable);
        };
        let next = left.next().map_or(Lsn::MAX, |(base, _)| *base);
        self.search = Some((began, next));
        let found = in_segment(shared, *base, next)?;
        for part in found.replaced.chunks(STEP) {
            let placed = writer.ask(Step::OverwriteReplaced(part.to_vec()))?;
            if !placed.is_durable() {
                return Ok(placed);
            }
        }
        for part in found.begun.chunks(STEP) {
            let placed = writer.ask(Step::Overwrite(part.to_vec()))?;
            if !placed.is_durable() {
                return Ok(placed);
            }
        }
        Ok(Placed::Durable)
    }

    fn end_search(&mut self, shared: &Shared) {
        shared.leftovers.searched();
        if let Some((began, _)) = self.search.take() {
            self.searches.ended(began, shared.clock.mono());
        }
    }
}

/// What is left in the segment at `base` of definitions that were replaced. No segment may go
/// meanwhile.
fn in_segment(shared: &Shared, base: Lsn, next: Lsn) -> Result<Leftover, Cut> {
    // What comes later replaces what is known now, and the writer overwrites that itself.
    let applied = Lsn(shared.index.read().meta.applied);
    let end = next.min(applied);
    let mut found = Leftover::default();
    let walked = shared.log.replay(base, end, |replayed| match replayed {
        Replayed::Record(record) if record.lsn < end => match found.note(shared, &record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        },
        _ => ControlFlow::Continue(()),
    })?;
    if let ControlFlow::Break(error) = walked {
        return Err(error.into());
    }
    let begun = std::mem::take(&mut found.begun);
    for lsn in begun {
        if answered(shared.log.is_overwritten(lsn))? == Some(false) {
            found.begun.push(lsn);
        }
    }
    Ok(found)
}

impl Leftover {
    fn note(&mut self, shared: &Shared, record: &log::Record<'_>) -> Result<(), PagesError> {
        let Some(defined) = Defined::by(record.kind, record.head) else {
            return Ok(());
        };
        let lsn = record.lsn;
        let is_replaced = match record.body {
            Body::Erased => {
                self.begun.push(lsn);
                false
            }
            Body::Intact(_) => shared.index.read().is_replaced(&defined, lsn.0)?,
            // If no other is in force, this one was lost, and what is left of it stays.
            Body::Damaged => {
                let at = shared.index.read().definition_at(&defined)?;
                at.is_some_and(|at| lsn.0 < at)
            }
        };
        if is_replaced {
            self.replaced.push((lsn, defined));
        }
        Ok(())
    }
}

/// Takes the secrets that are past their time out of all definitions of endpoints.
fn expire_all(shared: &Shared, now: Timestamp, writer: &mut dyn Asked) -> Result<Placed, Cut> {
    for part in expired(shared, now)?.chunks(STEP) {
        let placed = writer.ask(Step::Expire(part.to_vec()))?;
        if !placed.is_durable() {
            return Ok(placed);
        }
    }
    Ok(Placed::Durable)
}

/// The endpoints whose definitions have secrets that are past their time. When the next ones are
/// is noted.
fn expired(shared: &Shared, now: Timestamp) -> Result<Vec<EndpointNo>, PagesError> {
    let mut found = Vec::new();
    each_row(&shared.index, keys::SPECS, |key, value| {
        let entry: SpecEntry = rows::decode(value).map_err(|_| PagesError::Damaged)?;
        match entry.spec.next_expiry() {
            Some(at) if at <= now => {
                found.push(keys::endpoint_of(key).ok_or(PagesError::Damaged)?);
            }
            Some(at) => shared.leftovers.expires_at(at),
            None => {}
        }
        Ok(())
    })?;
    Ok(found)
}
