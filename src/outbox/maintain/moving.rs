//! Reads an event that is to be written again, on the cleaner's thread and not on the
//! writer's: it may have ten thousand deliveries of fifty attempts each. The writer adds the
//! attempts that came since.

use crate::domain::event::EventId;
use crate::outbox::handle::Shared;
use crate::outbox::index::keys;
use crate::outbox::index::rows::{self, EventRow};
use crate::outbox::log::{Body, Lsn};
use crate::outbox::maintain::{Cut, answered};
use crate::outbox::read::attempts_since;
use crate::outbox::record::Record;
use crate::outbox::request::{Moving, MovingDelivery, MovingRecord};

/// About what an attempt takes besides its texts.
const ATTEMPT_COST: usize = 64;

impl Moving {
    /// About what it takes in the log.
    pub(super) fn bytes(&self) -> usize {
        let record = match &self.record {
            MovingRecord::Whole { head, body, .. } => head.len() + body.len(),
            MovingRecord::Erased | MovingRecord::Damaged => 0,
        };
        let deliveries = self.deliveries.iter();
        let attempts = deliveries.flat_map(|delivery| &delivery.attempts);
        let attempts = attempts.map(|attempt| {
            let text = attempt.error.as_ref().map_or(0, |error| error.detail.len());
            ATTEMPT_COST + text + attempt.response_body.len()
        });
        record + attempts.sum::<usize>()
    }
}

/// The event as the log has it; `None` if it is gone. An I/O error is no answer.
pub fn read(shared: &Shared, id: EventId) -> Result<Option<Moving>, Cut> {
    let lsn = {
        let state = shared.index.read();
        let Some(bytes) = state.entries.get(&keys::event(id))? else {
            return Ok(None);
        };
        let row: EventRow<'_> = rows::decode(&bytes)?;
        row.lsn
    };
    // The writer compares each delivery with what it is then.
    let rows = shared.index.delivery_rows(id)?;
    let record = read_record(shared, id, lsn)?;
    let mut deliveries = Vec::with_capacity(rows.len());
    for (no, row) in rows {
        let mut attempts = Vec::new();
        let read = attempts_since(&shared.log, id, no, row.last_attempt, 0, &mut attempts);
        // Those up to the damage are kept.
        answered(read)?;
        attempts.reverse();
        deliveries.push(MovingDelivery {
            no,
            last_attempt: row.last_attempt,
            attempts,
        });
    }
    Ok(Some(Moving {
        id,
        lsn,
        record,
        deliveries,
    }))
}

fn read_record(shared: &Shared, id: EventId, lsn: u64) -> Result<MovingRecord, Cut> {
    let mut buf = Vec::new();
    let Some(found) = answered(shared.log.read(Lsn(lsn), &mut buf))? else {
        return Ok(MovingRecord::Damaged);
    };
    let event = match Record::decode(found.kind, found.head, found.body.intact()) {
        Ok(Some(Record::Accepted(accepted))) => accepted.event,
        Ok(Some(Record::Rewritten(rewritten))) => rewritten.event,
        _ => return Ok(MovingRecord::Damaged),
    };
    let body = match found.body {
        Body::Intact(body) => body,
        // The record that said so was lost to damage.
        Body::Erased => return Ok(MovingRecord::Erased),
        Body::Damaged => return Ok(MovingRecord::Damaged),
    };
    // Its own body, without the response bodies of an earlier rewriting.
    let own = body.get(..event.body_len as usize);
    Ok(match own.filter(|_| event.id == id.0) {
        Some(body) => MovingRecord::Whole {
            kind: found.kind,
            head: found.head.to_vec(),
            body: body.to_vec(),
        },
        None => MovingRecord::Damaged,
    })
}
