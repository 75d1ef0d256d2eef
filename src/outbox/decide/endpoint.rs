//! Endpoints: made, changed, switched on and off, deleted.
//!
//! A definition is judged over the newest one, in the writer, and is in force before the
//! request that made it is answered. Deliveries are matched in the writer too, so an event
//! goes to an endpoint exactly if it was accepted after the endpoint was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::endpoint::{
    DisabledReason, Endpoint, EndpointChange, EndpointId, EndpointNo, EndpointSpec,
};
use crate::domain::event::{EventId, EventType, NewEvent, Payload};
use crate::domain::shaping::Shaping;
use crate::domain::signature::Secret;
use crate::outbox::decide::spec::BadSpec;
use crate::outbox::decide::{Acts, Basis, DecideError, Draft, accept, bulk, replaced, report};
use crate::outbox::index::rows::{self, SpecEntry};
use crate::outbox::index::{PagesError, State, StoredEndpoint, keys};
use crate::outbox::record::{
    EndpointDeleted, EndpointRow, EndpointSpecRow, EndpointStateRow, Record, SpecRow,
    disabled_number,
};
use crate::outbox::request::Notice;
use crate::outbox::rules::Defaults;
use crate::outbox::views::{ActRefused, TestEvent};

/// The type of a test event that brings none.
const TEST_EVENT: &str = "outboxd.test";

pub fn enable(basis: &Basis<'_>, id: &EndpointId, draft: &mut Draft) -> Acts {
    let Some((no, stored)) = in_force(basis, id) else {
        return Ok(Some(Err(ActRefused::NoSuchEndpoint)));
    };
    if stored.state.off_in_file.is_some() {
        return Ok(Some(Err(ActRefused::DisabledInFile)));
    }
    if !draft.touched_endpoints.insert(no) {
        return Ok(None);
    }
    switch_on(basis, no, stored, draft)?;
    Ok(Some(Ok(())))
}

pub fn disable(
    basis: &Basis<'_>,
    id: &EndpointId,
    reason: DisabledReason,
    draft: &mut Draft,
) -> Acts {
    let Some((no, stored)) = in_force(basis, id) else {
        return Ok(Some(Err(ActRefused::NoSuchEndpoint)));
    };
    if !draft.touched_endpoints.insert(no) {
        return Ok(None);
    }
    switch_off(basis, no, stored, reason, draft)?;
    Ok(Some(Ok(())))
}

/// Adds what enabling takes. One that is enabled gets its next probe now.
fn switch_on(
    basis: &Basis<'_>,
    no: EndpointNo,
    stored: &StoredEndpoint,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    if stored.state.disabled.is_none() {
        draft.tell(Notice::Wanted { no });
        return Ok(());
    }
    let now = basis.now;
    let state = EndpointStateRow {
        disabled: None,
        failing: None,
        released_at: now.as_millis(),
        ..stored.state
    };
    push_state(no, stored, state, draft)?;
    if !state.is_holding() {
        draft.tell(Notice::Released { no, at: now });
    }
    report::enabled(basis, stored, draft)?;
    let id = stored.id.clone();
    draft.log(move || {
        tracing::info!(endpoint = %id, "endpoint enabled; its held deliveries are released");
    });
    Ok(())
}

/// Adds what disabling takes; nothing if it is disabled.
fn switch_off(
    basis: &Basis<'_>,
    no: EndpointNo,
    stored: &StoredEndpoint,
    reason: DisabledReason,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    if stored.state.disabled.is_some() {
        return Ok(());
    }
    let disabled = Some((disabled_number(reason), basis.now.as_millis()));
    let state = EndpointStateRow {
        disabled,
        ..stored.state
    };
    push_state(no, stored, state, draft)?;
    draft.tell(Notice::Held { no, reason });
    report::disabled(basis, stored, reason, None, draft)?;
    let id = stored.id.clone();
    draft.log(move || {
        tracing::info!(endpoint = %id, reason = reason.as_str(), "endpoint disabled; its deliveries are held");
    });
    Ok(())
}

pub fn create(
    basis: &Basis<'_>,
    id: &EndpointId,
    spec: &EndpointSpec,
    enabled: bool,
    draft: &mut Draft,
) -> Acts {
    if basis.state.by_id.contains_key(id) || draft.made.contains(id) {
        return Ok(Some(Err(ActRefused::EndpointExists)));
    }
    if let Some(name) = &spec.applied_as
        && is_applied(basis, draft, name)
    {
        return Ok(Some(Err(ActRefused::AppliedAlready)));
    }
    draft.last_no = draft.last_no.saturating_add(1);
    let no = EndpointNo(draft.last_no);
    let by_hand = (
        disabled_number(DisabledReason::Manual),
        basis.now.as_millis(),
    );
    let state = EndpointStateRow {
        disabled: (!enabled).then_some(by_hand),
        ..EndpointStateRow::default()
    };
    let row = EndpointRow {
        no: no.0,
        id: id.as_str(),
        tenant: spec.tenant.as_str(),
        state,
    };
    draft.push(&Record::Endpoint(row), &[])?;
    push_spec(basis, no, spec, draft)?;
    draft.made.insert(id.clone());
    draft.touched_endpoints.insert(no);
    put_in_force(basis, no, id, spec, draft);
    if !enabled {
        let reason = DisabledReason::Manual;
        draft.tell(Notice::Held { no, reason });
    }
    let (id, tenant) = (id.clone(), spec.tenant.clone());
    draft.log(move || tracing::info!(endpoint = %id, %tenant, "endpoint made through the API"));
    Ok(Some(Ok(())))
}

/// Whether an endpoint was applied under this name, in force or in the same batch.
fn is_applied(basis: &Basis<'_>, draft: &Draft, name: &EndpointId) -> bool {
    let in_force = basis.endpoints.from(None);
    let is_dropped = |no| {
        draft
            .in_force
            .iter()
            .any(|(other, now)| *other == no && now.is_none())
    };
    let made = draft
        .in_force
        .iter()
        .filter_map(|(no, now)| Some((*no, now.as_ref()?)));
    in_force
        .filter(|(no, _)| !is_dropped(*no))
        .chain(made)
        .any(|(_, known)| known.applied_as.as_ref() == Some(name))
}

pub fn change(
    basis: &Basis<'_>,
    id: &EndpointId,
    change: &EndpointChange,
    over: &Arc<Endpoint>,
    draft: &mut Draft,
) -> Acts {
    let (no, stored, mut spec) = match own(basis, id)? {
        Ok(found) => found,
        Err(refused) => return Ok(Some(Err(refused))),
    };
    if !draft.touched_endpoints.insert(no) {
        return Ok(None);
    }
    if !is_still(basis, no, over) {
        return Ok(Some(Err(ActRefused::ChangedMeanwhile)));
    }
    change.apply(&mut spec);
    push_spec(basis, no, &spec, draft)?;
    bulk::begin_release(basis, no, spec.rate_limit(), draft)?;
    put_in_force(basis, no, id, &spec, draft);
    match change.enabled {
        Some(true) => switch_on(basis, no, stored, draft)?,
        Some(false) => switch_off(basis, no, stored, DisabledReason::Manual, draft)?,
        None => {}
    }
    let id = id.clone();
    draft.log(move || tracing::info!(endpoint = %id, "endpoint changed through the API"));
    Ok(Some(Ok(())))
}

/// Whether the definition in force is the very one that a change was decided over.
fn is_still(basis: &Basis<'_>, no: EndpointNo, over: &Arc<Endpoint>) -> bool {
    let now = basis.endpoints.get(no);
    now.is_some_and(|now| Arc::ptr_eq(now, over))
}

pub fn rotate(
    basis: &Basis<'_>,
    id: &EndpointId,
    (secret, shaping): (&Secret, Option<&Arc<Shaping>>),
    overlap: Duration,
    over: &Arc<Endpoint>,
    draft: &mut Draft,
) -> Acts {
    let (no, _, mut spec) = match own(basis, id)? {
        Ok(found) => found,
        Err(refused) => return Ok(Some(Err(refused))),
    };
    if !draft.touched_endpoints.insert(no) {
        return Ok(None);
    }
    if !is_still(basis, no, over) {
        return Ok(Some(Err(ActRefused::ChangedMeanwhile)));
    }
    spec.rotate(secret.clone(), basis.now, overlap);
    if shaping.is_some() {
        spec.shaping = shaping.cloned();
    }
    push_spec(basis, no, &spec, draft)?;
    put_in_force(basis, no, id, &spec, draft);
    let (id, overlap_s) = (id.clone(), overlap.as_secs());
    draft.log(move || tracing::info!(endpoint = %id, overlap_s, "endpoint has a new secret"));
    Ok(Some(Ok(())))
}

pub fn delete(basis: &Basis<'_>, id: &EndpointId, draft: &mut Draft) -> Acts {
    let (no, stored, _) = match own(basis, id)? {
        Ok(found) => found,
        Err(refused) => return Ok(Some(Err(refused))),
    };
    if !draft.touched_endpoints.insert(no) {
        return Ok(None);
    }
    let at = basis.now.as_millis();
    replaced::endpoint(basis, no, draft)?;
    draft.push(
        &Record::EndpointDeleted(EndpointDeleted { no: no.0, at }),
        &[],
    )?;
    draft.in_force.push((no, None));
    draft.tell(Notice::Removed { no });
    let (id, open) = (id.clone(), stored.totals.pending + stored.totals.held);
    draft.log(move || {
        tracing::info!(endpoint = %id, open, "endpoint deleted; its open deliveries are dead");
    });
    Ok(Some(Ok(())))
}

/// One event for this endpoint alone. Returns its id.
pub fn test(
    basis: &Basis<'_>,
    id: &EndpointId,
    test: &TestEvent,
    draft: &mut Draft,
) -> Result<Result<EventId, ActRefused>, DecideError> {
    let Some((no, stored)) = in_force(basis, id) else {
        return Ok(Err(ActRefused::NoSuchEndpoint));
    };
    let own_type = EventType::new(TEST_EVENT).map_err(|_| PagesError::Damaged)?;
    let data = test.data.clone().unwrap_or_else(|| sample(basis, no, id));
    let event = NewEvent {
        tenant: stored.tenant.clone(),
        event_type: test.event_type.clone().unwrap_or(own_type),
        payload: Payload::Json(data),
        key: None,
        idempotency_key: None,
        deliver_at: None,
        extras: None,
    };
    let event = accept::store_own(basis, &event, |_| vec![no], draft)?;
    draft.tell(Notice::Wanted { no });
    Ok(Ok(event))
}

/// The data of a test event that brings none.
fn sample(basis: &Basis<'_>, no: EndpointNo, id: &EndpointId) -> Bytes {
    let endpoint = basis.endpoints.get(no);
    let shaping = endpoint.and_then(|endpoint| endpoint.shaping.as_ref());
    match shaping.and_then(|shaping| shaping.preset) {
        Some(preset) => preset.sample.clone().into(),
        None => {
            let sample = serde_json::json!({"endpoint": id, "message": "a test of this endpoint"});
            sample.to_string().into()
        }
    }
}

/// An endpoint that is in force: neither deleted nor gone from the file.
fn in_force<'a>(basis: &Basis<'a>, id: &EndpointId) -> Option<(EndpointNo, &'a StoredEndpoint)> {
    let (no, stored) = basis.state.endpoint_named(id)?;
    let there = stored.deleted.is_none() && basis.endpoints.get(no).is_some();
    there.then_some((no, stored))
}

/// An API endpoint, its number and its definition.
type Own<'a> = (EndpointNo, &'a StoredEndpoint, EndpointSpec);

fn own<'a>(basis: &Basis<'a>, id: &EndpointId) -> Result<Result<Own<'a>, ActRefused>, DecideError> {
    let Some((no, stored)) = in_force(basis, id) else {
        return Ok(Err(ActRefused::NoSuchEndpoint));
    };
    let Some(bytes) = basis.state.entries.get(&keys::spec(no))? else {
        // One that is gone from the file is nobody's to change either.
        return Ok(Err(ActRefused::ReadOnly));
    };
    let entry: SpecEntry = rows::decode(&bytes)?;
    let spec = entry.spec.spec(stored.tenant.clone());
    let spec = spec.map_err(|BadSpec| PagesError::Damaged)?;
    Ok(Ok((no, stored, spec)))
}

/// Adds an endpoint's name and new state.
pub fn push_state(
    no: EndpointNo,
    stored: &StoredEndpoint,
    state: EndpointStateRow,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    let row = EndpointRow {
        no: no.0,
        id: stored.id.as_str(),
        tenant: stored.tenant.as_str(),
        state,
    };
    draft.push(&Record::Endpoint(row), &[])?;
    Ok(())
}

fn push_spec(
    basis: &Basis<'_>,
    no: EndpointNo,
    spec: &EndpointSpec,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    push_row(basis, no, basis.now.as_millis(), SpecRow::new(spec), draft)
}

fn push_row(
    basis: &Basis<'_>,
    no: EndpointNo,
    changed_at: u64,
    spec: SpecRow,
    draft: &mut Draft,
) -> Result<(), DecideError> {
    replaced::endpoint(basis, no, draft)?;
    draft.expires_at(spec.next_expiry());
    let row = EndpointSpecRow {
        no: no.0,
        changed_at,
        spec,
    };
    draft.push(&Record::EndpointSpec(row), &[])?;
    Ok(())
}

/// Adds an endpoint's definition as it stands, if it has one.
pub fn keep(basis: &Basis<'_>, no: EndpointNo, draft: &mut Draft) -> Result<(), DecideError> {
    match basis.state.entries.get(&keys::spec(no))? {
        Some(bytes) => {
            let entry: SpecEntry = rows::decode(&bytes)?;
            push_row(basis, no, entry.changed_at, entry.spec, draft)
        }
        None => Ok(()),
    }
}

/// Adds an endpoint's definition without the secrets that are past their time, if there are any.
/// Signing skips those by itself, so what is in force stays as it is.
pub fn expire(basis: &Basis<'_>, no: EndpointNo, draft: &mut Draft) -> Result<(), DecideError> {
    let Some(bytes) = basis.state.entries.get(&keys::spec(no))? else {
        return Ok(());
    };
    let mut entry: SpecEntry = rows::decode(&bytes)?;
    if entry.spec.next_expiry().is_none_or(|at| at > basis.now) {
        return Ok(());
    }
    entry.spec.expire(basis.now);
    push_row(basis, no, entry.changed_at, entry.spec, draft)?;
    let id = basis
        .state
        .endpoints
        .get(&no)
        .map(|stored| stored.id.clone());
    draft.log(move || {
        let id = id.as_ref().map_or("", EndpointId::as_str);
        tracing::info!(
            endpoint = id,
            "secrets of the endpoint are past their time, and forgotten"
        );
    });
    Ok(())
}

/// Puts the definition in force when the batch is durable.
fn put_in_force(
    basis: &Basis<'_>,
    no: EndpointNo,
    id: &EndpointId,
    spec: &EndpointSpec,
    draft: &mut Draft,
) {
    let endpoint = basis.defaults.endpoint(spec, id);
    draft.in_force.push((no, Some(endpoint)));
    draft.tell(Notice::Configured { no });
}

/// The API's endpoints as the index has them, for the start.
pub fn defined(
    state: &State,
    defaults: &Defaults,
) -> Result<Vec<(EndpointNo, Arc<Endpoint>)>, DecideError> {
    let mut found = Vec::new();
    let end = keys::end_of(keys::SPECS);
    for entry in state.entries.scan(keys::SPECS, &end, false) {
        let (key, bytes) = entry?;
        let no = keys::endpoint_of(&key).ok_or(PagesError::Damaged)?;
        let Some(stored) = state.endpoints.get(&no) else {
            continue;
        };
        let entry: SpecEntry = rows::decode(&bytes)?;
        match entry.spec.spec(stored.tenant.clone()) {
            Ok(spec) => {
                found.push((no, defaults.endpoint(&spec, &stored.id)));
            }
            Err(error) => {
                tracing::error!(%error, endpoint = %stored.id, "a damaged definition is left out; the endpoint's deliveries are held");
            }
        }
    }
    Ok(found)
}
