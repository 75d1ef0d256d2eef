//! The list of attempts, sorted by endpoint and by the time when they began.
//!
//! A delivery has the position of its last attempt in the list, and each attempt that of the one
//! before: the attempts of a delivery are found without the log. The positions within a delivery
//! increase even if the clock is set back, so the chain always leads to earlier ones.

use crate::domain::endpoint::EndpointNo;
use crate::domain::event::EventId;
use crate::outbox::record::AttemptRow;

use super::apply::ATTEMPTS_KEPT;
use super::keys;
use super::outcome::Outcome;
use super::pages::PagesError;
use super::rows::{self, AttemptEntry, DeliveryEntry};
use super::state::State;

/// How many attempts of a delivery beyond [`ATTEMPTS_KEPT`] are removed at a time.
const GO_AT_ONCE: u32 = 25;

/// The position of an attempt that began `at`, after the one at `previous`; 0: there is none.
pub fn place_after(previous: u64, at: u64) -> u64 {
    at.max(previous.saturating_add(u64::from(previous > 0)))
}

impl State {
    /// Lists an attempt of a delivery whose last one is at `previous`; returns the new position.
    /// `count`: how many attempts the delivery has had, with this one.
    pub(super) fn list_attempt(
        &mut self,
        (id, no): (EventId, EndpointNo),
        previous: u64,
        attempt: &AttemptRow<'_>,
        count: u32,
    ) -> Result<u64, PagesError> {
        let at = place_after(previous, attempt.at);
        let outcome = Outcome {
            error: attempt.error.map_or(0, |(kind, _)| kind),
            status: attempt.status.unwrap_or(0),
        };
        let entry = AttemptEntry {
            since_previous: if previous > 0 { at - previous } else { 0 },
            outcome,
        };
        self.add_outcome((id, no), at, outcome)?;
        self.entries
            .put(keys::attempt(no, at, id), rows::encode(&entry));
        if let Some(stored) = self.endpoints.get_mut(&no) {
            stored.newest_attempt = stored.newest_attempt.max(at);
        }
        if count > ATTEMPTS_KEPT && count.is_multiple_of(GO_AT_ONCE) {
            self.unlist_attempts((id, no), at, ATTEMPTS_KEPT)?;
        }
        Ok(at)
    }

    /// Removes all attempts of a delivery from the list.
    pub(super) fn unlist_all_attempts(
        &mut self,
        (id, no): (EventId, EndpointNo),
        entry: &DeliveryEntry,
    ) -> Result<(), PagesError> {
        let last = entry.attempted();
        if last > 0 && entry.row.attempt_count == 1 {
            self.entries.remove(keys::attempt(no, last, id));
            return Ok(());
        }
        self.unlist_attempts((id, no), last, 0)
    }

    /// Removes the attempts of a delivery from the list, except the last `keep`.
    fn unlist_attempts(
        &mut self,
        (id, no): (EventId, EndpointNo),
        last: u64,
        keep: u32,
    ) -> Result<(), PagesError> {
        let (mut next, mut seen) = ((last > 0).then_some(last), 0);
        while let Some(at) = next {
            let key = keys::attempt(no, at, id);
            let Some(entry) = self.attempt_entry(&key)? else {
                return Ok(());
            };
            next = previous(at, &entry);
            if seen >= keep {
                self.entries.remove(key);
            }
            seen += 1;
        }
        Ok(())
    }

    fn attempt_entry(&self, key: &[u8]) -> Result<Option<AttemptEntry>, PagesError> {
        let bytes = self.entries.get(key)?;
        let entry = bytes.map(|bytes| rows::decode(&bytes).map_err(|_| PagesError::Damaged));
        entry.transpose()
    }

    /// The attempts of a delivery that are listed: their positions and outcomes.
    pub(super) fn listed_attempts(
        &self,
        (id, no): (EventId, EndpointNo),
        last: u64,
    ) -> Result<Vec<(u64, Outcome)>, PagesError> {
        let (mut next, mut listed) = ((last > 0).then_some(last), Vec::new());
        while let Some(at) = next {
            let entry = self.attempt_entry(&keys::attempt(no, at, id))?;
            let entry = entry.ok_or(PagesError::Damaged)?;
            next = previous(at, &entry);
            listed.push((at, entry.outcome));
        }
        Ok(listed)
    }
}

/// The position of the attempt before this one.
fn previous(at: u64, entry: &AttemptEntry) -> Option<u64> {
    let is_first = entry.since_previous == 0;
    at.checked_sub(entry.since_previous).filter(|_| !is_first)
}
