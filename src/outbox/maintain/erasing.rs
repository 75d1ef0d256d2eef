//! What is left of erased events: copies of their bodies from before they were written
//! again, and of attempts.
//!
//! They are found by a search of the whole log, on the thread that also decides when
//! segments go. That it is finished is a record too, so a crash at any point only makes the
//! search begin anew.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::domain::event::EventId;
use crate::outbox::handle::Shared;
use crate::outbox::log::{Body, LogError, Lsn, Replayed};
use crate::outbox::record::Record;

/// Between two searches: so many times as long as the last one took, within these bounds.
const REST: u32 = 20;
const REST_MIN: Duration = Duration::from_secs(2);
const REST_MAX: Duration = Duration::from_secs(600);
/// How many bodies are overwritten in one step.
const BATCH: usize = 256;

/// When the log was last searched for what is left of erased events.
#[derive(Debug, Default)]
pub(super) struct CopySearch {
    /// When it ended, and how long it took.
    last: Option<(Duration, Duration)>,
}

/// What a search found.
pub(super) struct Copies {
    /// Every copy with bodies in it.
    pub records: Vec<Lsn>,
    /// The events of which these are all.
    pub events: Vec<EventId>,
}

impl CopySearch {
    fn is_due(&self, now: Duration) -> bool {
        self.last.is_none_or(|(at, took)| {
            now.saturating_sub(at) >= took.saturating_mul(REST).clamp(REST_MIN, REST_MAX)
        })
    }

    /// Searches the log for copies of erased events, if there are such events and it is time.
    /// No segment may go meanwhile.
    pub fn search(&mut self, shared: &Shared) -> Result<Option<Copies>, LogError> {
        if !self.is_due(shared.clock.mono()) {
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
                    && is_copy(&wanted, found.kind, found.head)
                {
                    records.push(found.lsn);
                }
                ControlFlow::<()>::Continue(())
            })?;
        }
        let ended = shared.clock.mono();
        self.last = Some((ended, ended.saturating_sub(began)));
        Ok(Some(Copies {
            records,
            events: wanted.into_iter().collect(),
        }))
    }
}

/// Whether the record has something of one of these events in its body.
pub fn is_copy(wanted: &BTreeSet<EventId>, kind: u8, head: &[u8]) -> bool {
    let id = match Record::decode(kind, head) {
        Ok(Record::Accepted(accepted)) => accepted.event.id,
        Ok(Record::Attempted(attempted)) => attempted.id,
        Ok(Record::Rewritten(rewritten)) => rewritten.event.id,
        _ => return false,
    };
    wanted.contains(&EventId(id))
}

/// The records in pieces that one step takes.
pub(super) fn batches(records: &[Lsn]) -> impl Iterator<Item = Vec<Lsn>> {
    records.chunks(BATCH).map(<[Lsn]>::to_vec)
}
