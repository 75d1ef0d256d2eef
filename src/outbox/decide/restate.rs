//! Endpoints' numbers, names and states: brought in line with the configuration, and written again so that neither damage nor cleaning takes them away.

use std::collections::{BTreeSet, HashSet};

use crate::domain::endpoint::{DisabledReason, Endpoint, EndpointNo};
use crate::domain::time::Timestamp;
use crate::outbox::decide::{Basis, DecideError, Draft, endpoint, report};
use crate::outbox::index::{State, StoredEndpoint};
use crate::outbox::record::{
    EndpointDeleted, EndpointRow, EndpointStateRow, Record, disabled_number,
};

/// About what one endpoint's name and state take in the log, in bytes.
const STATE_BYTES: u64 = 96;

/// The endpoints to write again in a segment of `len` bytes: the record that gives a number
/// its endpoint may be hit by damage, and without another one like it all deliveries under
/// that number would belong to no known endpoint. No more than an eighth of the segment is
/// spent on it, those with something open first.
pub fn to_restate(state: &State, len: u64) -> Vec<EndpointNo> {
    let most = usize::try_from(len / 8 / STATE_BYTES).unwrap_or(usize::MAX);
    let is_idle = |stored: &StoredEndpoint| stored.totals.pending + stored.totals.held == 0;
    let endpoints = state.endpoints.iter();
    let mut wanted: Vec<(bool, EndpointNo)> = endpoints
        .map(|(no, stored)| (is_idle(stored), *no))
        .collect();
    if wanted.len() > most {
        wanted.sort_unstable();
        wanted.truncate(most);
    }
    wanted.into_iter().map(|(_, no)| no).collect()
}

/// The endpoints to write again before old segments go: those that stand there, and those
/// that are failing, whose count of failures stands in attempts.
pub fn to_keep(state: &State, mut wanted: BTreeSet<EndpointNo>) -> BTreeSet<EndpointNo> {
    let failing = state.endpoints.iter();
    let failing = failing.filter(|(_, stored)| stored.state.failing.is_some());
    wanted.extend(failing.map(|(no, _)| *no));
    wanted
}

/// Adds an endpoint's name and state, as they are; its definition too if `spec`.
pub fn push(
    basis: &Basis<'_>,
    no: EndpointNo,
    spec: bool,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let Some(stored) = basis.state.endpoints.get(&no) else {
        return Ok(());
    };
    endpoint::push_state(no, stored, stored.state, draft)?;
    if let Some(at) = stored.deleted {
        let deleted = EndpointDeleted { no: no.0, at };
        draft.push(&Record::EndpointDeleted(deleted), &[])?;
    }
    match spec {
        true => endpoint::keep(basis, no, draft),
        false => Ok(()),
    }
}

/// Adds that the endpoint is disabled, by the operator, unless it is. No operational event says so.
pub fn push_disabled(
    basis: &Basis<'_>,
    no: EndpointNo,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let Some(stored) = basis.state.endpoints.get(&no) else {
        return Ok(());
    };
    if stored.deleted.is_some() || stored.state.disabled.is_some() {
        return Ok(());
    }
    let reason = disabled_number(DisabledReason::Manual);
    let state = EndpointStateRow {
        disabled: Some((reason, basis.now.as_millis())),
        ..stored.state
    };
    endpoint::push_state(no, stored, state, draft)
}

/// Adds the highest numbers ever given, whose owners may be gone.
pub fn push_highest(basis: &Basis<'_>, draft: &mut Draft) -> Result<(), DecideError> {
    let meta = &basis.state.meta;
    let last_no = EndpointNo(meta.last_no);
    if last_no.0 > 0 && !basis.state.endpoints.contains_key(&last_no) {
        draft.push(&Record::EndpointForgotten(last_no.0), &[])?;
    }
    draft.push(&Record::LastId(meta.last_id), &[])?;
    Ok(())
}

/// An endpoint of the configuration that was switched on or off there.
pub struct Switched {
    stored: StoredEndpoint,
    state: EndpointStateRow,
}

/// What became of an endpoint of the configuration.
pub struct Configured {
    pub no: EndpointNo,
    /// Whether it stopped or started to take deliveries.
    pub turned: Option<Turned>,
    pub switched: Option<Switched>,
}

/// How an endpoint was turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    Off,
    On { at: Timestamp },
}

/// Brings one endpoint of the configuration in line.
pub fn configure(
    basis: &Basis<'_>,
    configured: &Endpoint,
    draft: &mut Draft,
) -> Result<Configured, DecideError> {
    let known = basis.state.endpoint_named(&configured.id);
    let no = match known {
        Some((no, _)) => no,
        None => {
            draft.last_no = draft.last_no.saturating_add(1);
            EndpointNo(draft.last_no)
        }
    };
    let old = known.map(|(_, stored)| stored);
    let state = configured_state(
        old.map(|stored| stored.state),
        configured.enabled,
        basis.now,
    );
    if old.is_none_or(|stored| stored.state != state || stored.tenant != configured.tenant) {
        let row = EndpointRow {
            no: no.0,
            id: configured.id.as_str(),
            tenant: configured.tenant.as_str(),
            state,
        };
        draft.push(&Record::Endpoint(row), &[])?;
    }
    let is_switched = |stored: &&StoredEndpoint| {
        stored.state.off_in_file.is_some() != state.off_in_file.is_some()
    };
    let switched = old.filter(is_switched).map(|stored| Switched {
        stored: stored.clone(),
        state,
    });
    let was_off = old.is_some_and(|stored| stored.state.is_holding());
    let turned = match (was_off, state.is_holding()) {
        (false, true) => Some(Turned::Off),
        (true, false) => Some(Turned::On { at: basis.now }),
        _ => None,
    };
    Ok(Configured {
        no,
        turned,
        switched,
    })
}

/// The endpoints of the file that are not among those in force and not known to be gone.
pub fn missing(state: &State, in_force: &HashSet<EndpointNo>) -> Vec<EndpointNo> {
    let endpoints = state.endpoints.iter();
    endpoints
        .filter(|(no, stored)| !in_force.contains(no) && stored.deleted.is_none())
        .filter(|(_, stored)| stored.state.missing.is_none())
        .map(|(no, _)| *no)
        .collect()
}

/// Adds that an endpoint is gone from the file.
pub fn push_missing(
    basis: &Basis<'_>,
    no: EndpointNo,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let Some(stored) = basis.state.endpoints.get(&no) else {
        return Ok(());
    };
    let missing = Some(basis.now.as_millis());
    let state = EndpointStateRow {
        missing,
        ..stored.state
    };
    endpoint::push_state(no, stored, state, draft)?;
    let id = stored.id.clone();
    draft.log(move || {
        tracing::warn!(endpoint = %id, "endpoint is gone from the configuration; its open deliveries are held until it is back");
    });
    Ok(())
}

/// Reports endpoints that were switched on or off in the file.
pub fn report_switched(
    basis: &Basis<'_>,
    switched: &[Switched],
    draft: &mut Draft,
) -> Result<(), DecideError> {
    for Switched { stored, state } in switched {
        if state.off_in_file.is_some() {
            report::disabled(basis, stored, DisabledReason::Manual, None, draft)?;
        } else if !state.is_holding() {
            report::enabled(basis, stored, draft)?;
        }
    }
    Ok(())
}

fn configured_state(
    old: Option<EndpointStateRow>,
    enabled: bool,
    now: Timestamp,
) -> EndpointStateRow {
    let old = old.unwrap_or_default();
    let off_in_file = match (enabled, old.off_in_file) {
        (true, _) => None,
        (false, since) => since.or(Some(now.as_millis())),
    };
    let state = EndpointStateRow {
        off_in_file,
        missing: None,
        ..old
    };
    let released = old.is_holding() && !state.is_holding();
    EndpointStateRow {
        released_at: if released {
            now.as_millis()
        } else {
            old.released_at
        },
        ..state
    }
}
