//! Records of one step that many deliveries of an endpoint take.

use crate::domain::delivery::Reason;
use crate::domain::endpoint::EndpointNo;
use crate::outbox::decide::{DecideError, Draft};
use crate::outbox::record::{Moved, MovedStep, Record, StepRow, reason_number};

/// Adds that these deliveries, which are accepted in this draft, are held for the backlog.
pub fn push_held(no: EndpointNo, ids: Vec<u128>, draft: &mut Draft) -> Result<(), DecideError> {
    let reason = reason_number(Reason::Backlog);
    push_moved(no, MovedStep::Take(StepRow::Hold { reason }), ids, draft)
}

/// Adds that these deliveries take the step; nothing if there are none.
pub fn push_moved(
    no: EndpointNo,
    step: MovedStep,
    ids: Vec<u128>,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    if !ids.is_empty() {
        let endpoint = no.0;
        draft.expect_deliveries(ids.len());
        let moved = Moved {
            endpoint,
            step,
            ids,
        };
        draft.push(&Record::Moved(moved), &[])?;
    }
    Ok(())
}
