//! Outcomes of attempts.

use std::sync::Arc;

use crate::domain::delivery::{Next, Status};
use crate::domain::endpoint::{Endpoint, EndpointNo};
use crate::outbox::decide::report::{self, Death};
use crate::outbox::decide::{Basis, DecideError, Draft, bulk, endpoint};
use crate::outbox::index::StoredEndpoint;
use crate::outbox::record::{self, AttemptRow, Attempted, EndpointStateRow, NextRow, Record};
use crate::outbox::request::{Notice, Outcome};

/// How many characters of an error's text are kept while room is short.
const SHORT_TEXT: usize = 100;

/// Whether the outcome has to wait for the next batch, because this one changes the same delivery
/// or endpoint.
pub fn must_wait(outcome: &Outcome, draft: &Draft) -> bool {
    let changes_endpoint = outcome.disable.is_some() || outcome.unrendered_by.is_some();
    draft.touched.contains(&(outcome.event, outcome.no))
        || (changes_endpoint && draft.touched_endpoints.contains(&outcome.no))
}

/// Adds an outcome to the draft.
pub fn store(basis: &Basis<'_>, outcome: &Outcome, draft: &mut Draft) -> Result<(), DecideError> {
    let (event, no) = (outcome.event, outcome.no);
    draft.outcomes += 1;
    draft.tell(Notice::Stored { no, event });
    let Some(stored) = basis.state.endpoints.get(&no) else {
        tracing::debug!(%event, endpoint = no.0, "an attempt ended at an endpoint that is no longer kept");
        return Ok(());
    };
    draft.touched_endpoints.insert(no);
    let Some(row) = basis.state.delivery_row(event, no)? else {
        tracing::debug!(%event, endpoint = %stored.id, "an attempt ended of a delivery that is no longer kept");
        // The engine holds the endpoint, so what the answer says about it still applies.
        return disable(basis, outcome, stored, draft);
    };
    push_attempt(basis, outcome, row.last_attempt, draft)?;
    draft.touched.insert((event, no));
    if let Some(endpoint) = &outcome.unrendered_by
        && !is_in_force(basis, no, endpoint)
    {
        bulk::release_one(basis, no, event, draft)?;
    }
    disable(basis, outcome, stored, draft)?;
    let pending = row.status == record::status_number(Status::Pending);
    if let Next::Dead { reason } = outcome.next
        && pending
        && stored.deleted.is_none()
    {
        let death = Death {
            event,
            no,
            reason,
            attempt_count: row.attempt_count.saturating_add(1),
        };
        report::dead(basis, death, draft)?;
    }
    Ok(())
}

/// Whether the endpoint's definition is still the one that could not render the delivery. A change
/// releases only the deliveries that were held before it.
fn is_in_force(basis: &Basis<'_>, no: EndpointNo, endpoint: &Arc<Endpoint>) -> bool {
    let now = basis.endpoints.get(no);
    now.is_none_or(|now| Arc::ptr_eq(now, endpoint))
}

/// Adds the attempt's record. While room is short the response body is left out and a long
/// error text is cut.
fn push_attempt(
    basis: &Basis<'_>,
    outcome: &Outcome,
    previous: u64,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let mut attempt = AttemptRow::new(&outcome.attempt);
    let mut response: &[u8] = &outcome.attempt.response_body;
    if basis.limits.is_tight() {
        (attempt.response, response) = (0, &[]);
        attempt.error = attempt.error.map(|(kind, text)| (kind, shortened(text)));
    }
    let attempted = Attempted {
        id: outcome.event.0,
        endpoint: outcome.no.0,
        ended_at: outcome.ended_at.as_millis(),
        attempt,
        next: NextRow::new(outcome.next, outcome.exact),
        previous,
    };
    draft.push(&Record::Attempted(attempted), response)?;
    Ok(())
}

fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(SHORT_TEXT);
    end.and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// Disables the endpoint if the outcome requires it.
fn disable(
    basis: &Basis<'_>,
    outcome: &Outcome,
    stored: &StoredEndpoint,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let (event, no) = (outcome.event, outcome.no);
    let Some(reason) = outcome.disable else {
        return Ok(());
    };
    if stored.state.disabled.is_some() || stored.deleted.is_some() {
        return Ok(());
    }
    let ended_at = outcome.ended_at.as_millis();
    let state = EndpointStateRow {
        disabled: Some((record::disabled_number(reason), ended_at)),
        ..stored.state.after_attempt(ended_at, false)
    };
    endpoint::push_state(no, stored, state, draft)?;
    draft.tell(Notice::Held { no, reason });
    report::disabled(basis, stored, reason, Some(event), draft)?;
    let id = stored.id.clone();
    draft.log(move || {
        tracing::warn!(endpoint = %id, %event, reason = reason.as_str(), "endpoint disabled; its deliveries are held until it is enabled");
    });
    Ok(())
}
