//! What is left of erased events: copies of their bodies from before they were written
//! again, and of attempts.
//!
//! They are found by a search of the whole log, on the thread that also decides when
//! segments go. That it is finished is a record too, so a crash at any point only makes the
//! search begin anew.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::domain::event::EventId;
use crate::outbox::handle::Shared;
use crate::outbox::log::{self, Body, LogError, Lsn, Replayed};
use crate::outbox::maintain::pace::Pace;
use crate::outbox::record::Record;

/// How many bodies are overwritten in one step.
const BATCH: usize = 256;

/// When the log was last searched for what is left of erased events.
#[derive(Debug, Default)]
pub(super) struct CopySearch {
    pace: Pace,
}

/// What a search found.
pub(super) struct Copies {
    /// Every copy with bodies in it.
    pub records: Vec<Lsn>,
    /// The events of which these are all.
    pub events: Vec<EventId>,
}

impl CopySearch {
    /// Searches the log for copies of erased events, if there are such events and it is time.
    /// No segment may go meanwhile.
    pub fn search(&mut self, shared: &Shared) -> Result<Option<Copies>, LogError> {
        if !self.pace.is_due(shared.clock.mono()) {
            return Ok(None);
        }
        let wanted = shared.index.read().sums.erasing.clone();
        if wanted.is_empty() {
            return Ok(None);
        }
        let began = shared.clock.mono();
        // Whatever is written later is written after the event was gone.
        let end = shared.log.end();
        let mut records = Vec::new();
        if let Some((first, _)) = shared.log.segments().first() {
            let _ = shared.log.replay(*first, end, |replayed| {
                if let Replayed::Record(found) = replayed
                    // One that is sealed may have been cut short before its bytes went.
                    && !matches!(found.body, Body::Intact([]))
                    && is_copy(&wanted, &found)
                {
                    records.push(found.lsn);
                }
                ControlFlow::<()>::Continue(())
            })?;
        }
        self.pace.ended(began, shared.clock.mono());
        Ok(Some(Copies {
            records,
            events: wanted.into_iter().collect(),
        }))
    }
}

/// Whether the record has something of one of these events in its body.
pub fn is_copy(wanted: &BTreeSet<EventId>, found: &log::Record<'_>) -> bool {
    let id = match Record::decode(found.kind, found.head, found.body.intact()) {
        Ok(Some(Record::Accepted(accepted))) => accepted.event.id,
        Ok(Some(Record::Attempted(attempted))) => attempted.id,
        Ok(Some(Record::Rewritten(rewritten))) => rewritten.event.id,
        _ => return false,
    };
    wanted.contains(&EventId(id))
}

/// The records in pieces that one step takes.
pub(super) fn batches(records: &[Lsn]) -> impl Iterator<Item = Vec<Lsn>> {
    records.chunks(BATCH).map(<[Lsn]>::to_vec)
}
