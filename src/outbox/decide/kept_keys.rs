//! Idempotency keys that outlive their events.

use crate::domain::time::Timestamp;
use crate::outbox::decide::{Basis, DecideError, Draft};
use crate::outbox::index::keys;
use crate::outbox::index::rows::{self, KeyRow};
use crate::outbox::record::{Idempotency, KeyKept, Record};

/// Adds a `KeyKept` for each key that is within its window, and forgets the others.
pub fn keep_keys(
    basis: &Basis<'_>,
    names: Vec<(String, String)>,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let mut past = Vec::new();
    for (tenant, key) in &names {
        let found = basis.state.entries.get(&keys::idempotency(tenant, key))?;
        let Some(bytes) = found else { continue };
        let row: KeyRow<'_> = rows::decode(&bytes)?;
        let accepted_at = Timestamp::from_millis(row.accepted_at);
        if basis.is_past(key, accepted_at) {
            past.push((tenant.as_str(), key.as_str()));
            continue;
        }
        let kept = KeyKept {
            accepted_at: row.accepted_at,
            tenant,
            idempotency: Idempotency {
                key,
                content: row.content,
            },
            id: row.id,
            event_type: row.event_type,
            deliveries: row.deliveries,
        };
        draft.push(&Record::KeyKept(kept), &[])?;
    }
    if !past.is_empty() {
        draft.push(&Record::KeysForgotten(past), &[])?;
    }
    Ok(())
}
