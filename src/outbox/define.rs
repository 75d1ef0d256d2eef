//! Endpoints as the API makes them: their definitions, kept in the log like all else.
//!
//! A definition is judged over the newest one, in the writer, and is in force before its
//! owner hears that it is stored. Deliveries are matched in the writer too, so an event
//! goes to an endpoint exactly if it was accepted after the endpoint was.

use std::sync::Arc;
use std::time::Duration;

use crate::config::request;
use crate::domain::endpoint::{
    DisabledReason, Endpoint, EndpointChange, EndpointId, EndpointNo, EndpointSpec, Ordering, Rate,
    SigningSecret, TypePattern,
};
use crate::domain::event::{EventType, NewEvent, Payload, Tenant};
use crate::domain::retry::{RetryOverrides, RetryPolicy};
use crate::domain::signature::Secret;
use crate::domain::time::Timestamp;
use crate::outbox::commit::Notice;
use crate::outbox::index::rows::{self, SpecEntry};
use crate::outbox::index::{Lane, PagesError, keys};
use crate::outbox::record::{
    EndpointDeleted, EndpointRow, EndpointSpecRow, EndpointStateRow, KeyBytes, Record, RetryRow,
    SpecRow, disabled_number,
};
use crate::outbox::settle::Acts;
use crate::outbox::view::ActRefused;
use crate::outbox::writer::{Draft, Writer, WriterError};

/// What the configuration gives to endpoints that say nothing themselves.
#[derive(Clone, Debug)]
pub struct Defaults {
    pub timeout: Duration,
    pub retry: Arc<RetryPolicy>,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            timeout: Duration::from_secs(20),
            retry: Arc::default(),
        }
    }
}

/// A stored definition says something that no definition can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an endpoint's definition is damaged")]
pub(super) struct BadSpec;

impl SpecRow {
    pub(super) fn new(spec: &EndpointSpec) -> SpecRow {
        let millis = |span: &Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let headers = spec.headers.iter();
        SpecRow {
            url: spec.url.to_string(),
            types: spec.types.iter().map(ToString::to_string).collect(),
            secrets: spec
                .secrets
                .iter()
                .map(|kept| {
                    let key = KeyBytes(kept.secret.as_bytes().to_vec());
                    (key, kept.until.map(Timestamp::as_millis))
                })
                .collect(),
            headers: headers
                .map(|(name, value)| (name.to_string(), KeyBytes(value.as_bytes().to_vec())))
                .collect(),
            max_in_flight: u32::try_from(spec.max_in_flight).unwrap_or(u32::MAX),
            rate_limit: spec.rate_limit.map(|rate| rate.per_second.to_bits()),
            ordering: match spec.ordering {
                Ordering::None => 0,
                Ordering::Key => 1,
                Ordering::Strict => 2,
            },
            timeout_ms: spec.timeout.as_ref().map(millis),
            retry: RetryRow {
                first: spec.retry.first.as_ref().map(millis),
                factor: spec.retry.factor.map(f64::to_bits),
                max: spec.retry.max.as_ref().map(millis),
                jitter: spec.retry.jitter.map(f64::to_bits),
                give_up_after: spec.retry.give_up_after.as_ref().map(millis),
                schedule: spec
                    .retry
                    .schedule
                    .as_ref()
                    .map(|delays| delays.iter().map(millis).collect()),
            },
            description: spec.description.clone(),
        }
    }

    pub(super) fn spec(&self, tenant: Tenant) -> Result<EndpointSpec, BadSpec> {
        let secrets = self.secrets.iter().map(|(key, until)| {
            Ok(SigningSecret {
                secret: Secret::from_bytes(&key.0).map_err(|_| BadSpec)?,
                until: until.map(Timestamp::from_millis),
            })
        });
        let types = self.types.iter().map(|text| TypePattern::parse(text));
        let mut headers = http::HeaderMap::new();
        for (name, value) in &self.headers {
            let value = std::str::from_utf8(&value.0).map_err(|_| BadSpec)?;
            request::add_header(&mut headers, name, value).map_err(|_| BadSpec)?;
        }
        let retry = &self.retry;
        Ok(EndpointSpec {
            tenant,
            url: request::parse_url(&self.url).map_err(|_| BadSpec)?,
            types: types.collect::<Result<_, _>>().map_err(|_| BadSpec)?,
            secrets: secrets.collect::<Result<_, BadSpec>>()?,
            headers,
            max_in_flight: self.max_in_flight as usize,
            rate_limit: self.rate_limit.map(|bits| Rate {
                per_second: f64::from_bits(bits),
            }),
            ordering: match self.ordering {
                0 => Ordering::None,
                1 => Ordering::Key,
                2 => Ordering::Strict,
                _ => return Err(BadSpec),
            },
            timeout: self.timeout_ms.map(Duration::from_millis),
            retry: RetryOverrides {
                first: retry.first.map(Duration::from_millis),
                factor: retry.factor.map(f64::from_bits),
                max: retry.max.map(Duration::from_millis),
                jitter: retry.jitter.map(f64::from_bits),
                give_up_after: retry.give_up_after.map(Duration::from_millis),
                schedule: retry
                    .schedule
                    .as_ref()
                    .map(|delays| delays.iter().copied().map(Duration::from_millis).collect()),
            },
            description: self.description.clone(),
        })
    }
}

impl Writer {
    pub(super) fn create_endpoint(
        &mut self,
        id: &EndpointId,
        spec: &EndpointSpec,
        enabled: bool,
        draft: &mut Draft,
    ) -> Acts {
        let taken = self.index.read().by_id.contains_key(id);
        if taken || draft.made.contains(id) {
            return Ok(Some(Err(ActRefused::EndpointExists)));
        }
        let now = self.now();
        draft.last_no = draft.last_no.saturating_add(1);
        let no = EndpointNo(draft.last_no);
        let by_hand = (disabled_number(DisabledReason::Manual), now.as_millis());
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
        self.push(&Record::Endpoint(row), &[])?;
        self.push_spec(no, spec, now)?;
        draft.made.insert(id.clone());
        draft.lanes.insert(no);
        self.put_in_force(no, id, spec, draft);
        if !enabled {
            draft.commit.notices.push(Notice::Held { no });
        }
        tracing::info!(endpoint = %id, tenant = %spec.tenant, "endpoint made through the API");
        Ok(Some(Ok(())))
    }

    pub(super) fn change_endpoint(
        &mut self,
        id: &EndpointId,
        change: &EndpointChange,
        draft: &mut Draft,
    ) -> Acts {
        let (no, lane, mut spec) = match self.own(id)? {
            Ok(found) => found,
            Err(refused) => return Ok(Some(Err(refused))),
        };
        if !draft.lanes.insert(no) {
            return Ok(None);
        }
        change.apply(&mut spec);
        let now = self.now();
        self.push_spec(no, &spec, now)?;
        self.put_in_force(no, id, &spec, draft);
        match change.enabled {
            Some(true) => self.switch_on(no, &lane, draft)?,
            Some(false) => self.switch_off(no, &lane, DisabledReason::Manual, draft)?,
            None => {}
        }
        tracing::info!(endpoint = %id, "endpoint changed through the API");
        Ok(Some(Ok(())))
    }

    pub(super) fn rotate_secret(
        &mut self,
        id: &EndpointId,
        secret: &Secret,
        overlap: Duration,
        draft: &mut Draft,
    ) -> Acts {
        let (no, _, mut spec) = match self.own(id)? {
            Ok(found) => found,
            Err(refused) => return Ok(Some(Err(refused))),
        };
        if !draft.lanes.insert(no) {
            return Ok(None);
        }
        let now = self.now();
        spec.rotate(secret.clone(), now, overlap);
        self.push_spec(no, &spec, now)?;
        self.put_in_force(no, id, &spec, draft);
        tracing::info!(endpoint = %id, overlap_s = overlap.as_secs(), "endpoint has a new secret");
        Ok(Some(Ok(())))
    }

    pub(super) fn delete_endpoint(&mut self, id: &EndpointId, draft: &mut Draft) -> Acts {
        let (no, lane, _) = match self.own(id)? {
            Ok(found) => found,
            Err(refused) => return Ok(Some(Err(refused))),
        };
        if !draft.lanes.insert(no) {
            return Ok(None);
        }
        let at = self.now().as_millis();
        self.push(
            &Record::EndpointDeleted(EndpointDeleted { no: no.0, at }),
            &[],
        )?;
        draft.in_force.push((no, None));
        draft.commit.notices.push(Notice::Removed { no });
        let open = lane.totals.pending + lane.totals.held;
        tracing::info!(endpoint = %id, open, "endpoint deleted; its open deliveries are dead");
        Ok(Some(Ok(())))
    }

    /// One event for this endpoint alone.
    pub(super) fn test_endpoint(&mut self, id: &EndpointId, draft: &mut Draft) -> Acts {
        let Some((no, lane)) = self.lane_named(id) else {
            return Ok(Some(Err(ActRefused::NoSuchEndpoint)));
        };
        let data = serde_json::json!({"endpoint": id, "message": "a test of this endpoint"});
        let event = NewEvent {
            tenant: lane.tenant,
            event_type: EventType::new("outboxd.test").map_err(|_| PagesError::Damaged)?,
            payload: Payload::Json(data.to_string().into()),
            key: None,
            idempotency_key: None,
            deliver_at: None,
        };
        let now = self.now();
        self.store(&event, None, now, vec![no], draft)?;
        draft.commit.notices.push(Notice::Wanted { no });
        Ok(Some(Ok(())))
    }

    /// An API endpoint with its definition.
    fn own(
        &self,
        id: &EndpointId,
    ) -> Result<Result<(EndpointNo, Lane, EndpointSpec), ActRefused>, WriterError> {
        let Some((no, lane)) = self.lane_named(id) else {
            return Ok(Err(ActRefused::NoSuchEndpoint));
        };
        Ok(match self.spec(no, &lane)? {
            Some(spec) => Ok((no, lane, spec)),
            // One that is gone from the file is nobody's to change either.
            None => Err(ActRefused::ReadOnly),
        })
    }

    fn spec(&self, no: EndpointNo, lane: &Lane) -> Result<Option<EndpointSpec>, WriterError> {
        let state = self.index.read();
        let Some(bytes) = state.entries.get(&keys::spec(no))? else {
            return Ok(None);
        };
        let entry: SpecEntry = rows::decode(&bytes)?;
        let spec = entry.spec.spec(lane.tenant.clone());
        Ok(Some(spec.map_err(|BadSpec| PagesError::Damaged)?))
    }

    fn push_spec(
        &mut self,
        no: EndpointNo,
        spec: &EndpointSpec,
        now: Timestamp,
    ) -> Result<(), WriterError> {
        let row = EndpointSpecRow {
            no: no.0,
            changed_at: now.as_millis(),
            spec: SpecRow::new(spec),
        };
        self.push(&Record::EndpointSpec(row), &[])?;
        Ok(())
    }

    /// Puts the definition in force when the frame is durable.
    fn put_in_force(
        &mut self,
        no: EndpointNo,
        id: &EndpointId,
        spec: &EndpointSpec,
        draft: &mut Draft,
    ) {
        let Defaults { timeout, retry } = &self.defaults;
        let endpoint = Arc::new(spec.endpoint(id.clone(), *timeout, retry));
        draft.in_force.push((no, Some(endpoint)));
        draft.commit.notices.push(Notice::Configured { no });
    }

    /// The API's endpoints as the index has them, for the start.
    pub(super) fn defined(&self) -> Result<Vec<(EndpointNo, Arc<Endpoint>)>, WriterError> {
        let state = self.index.read();
        let mut found = Vec::new();
        let end = keys::end_of(keys::SPECS);
        for entry in state.entries.scan(keys::SPECS, &end, false) {
            let (key, bytes) = entry?;
            let no = keys::endpoint_of(&key).ok_or(PagesError::Damaged)?;
            let Some(lane) = state.lanes.get(&no) else {
                continue;
            };
            let entry: SpecEntry = rows::decode(&bytes)?;
            match entry.spec.spec(lane.tenant.clone()) {
                Ok(spec) => {
                    let Defaults { timeout, retry } = &self.defaults;
                    let endpoint = spec.endpoint(lane.id.clone(), *timeout, retry);
                    found.push((no, Arc::new(endpoint)));
                }
                Err(error) => {
                    tracing::error!(%error, endpoint = %lane.id, "a damaged definition is left out; the endpoint's deliveries are held");
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::outbox::record;

    fn secret() -> impl Strategy<Value = SigningSecret> {
        let key = proptest::collection::vec(any::<u8>(), 24..=64);
        (key, proptest::option::of(0..1u64 << 50)).prop_map(|(key, until)| SigningSecret {
            secret: Secret::from_bytes(&key).unwrap(),
            until: until.map(Timestamp::from_millis),
        })
    }

    fn span() -> impl Strategy<Value = Duration> {
        (1..1u64 << 40).prop_map(Duration::from_millis)
    }

    fn retry() -> impl Strategy<Value = RetryOverrides> {
        use proptest::option::of;
        let schedule = proptest::collection::vec(span(), 0..4);
        (
            of(span()),
            of(1.0..9.0),
            of(span()),
            of(0.0..=1.0),
            of(span()),
            of(schedule),
        )
            .prop_map(|(first, factor, max, jitter, give_up_after, schedule)| {
                RetryOverrides {
                    first,
                    factor,
                    max,
                    jitter,
                    give_up_after,
                    schedule,
                }
            })
    }

    prop_compose! {
        fn spec()(
            path in "[a-z0-9/]{0,20}",
            types in proptest::collection::vec("\\*|[a-z]{1,5}(\\.[a-z]{1,5}){0,2}(\\.\\*)?", 1..4),
            secrets in proptest::collection::vec(secret(), 1..4),
            headers in proptest::collection::btree_map("x-[a-z]{1,8}", "[!-~]{0,20}", 0..4),
            max_in_flight in 1..65_536usize,
            rate in proptest::option::of(0.001..1e6),
            ordering in prop::sample::select(vec![Ordering::None, Ordering::Key, Ordering::Strict]),
            timeout in proptest::option::of(span()),
            retry in retry(),
            description in ".{0,40}",
        ) -> EndpointSpec {
            let mut map = http::HeaderMap::new();
            for (name, value) in &headers {
                request::add_header(&mut map, name, value).unwrap();
            }
            EndpointSpec {
                tenant: Tenant::default(),
                url: format!("https://example.com/{path}").parse().unwrap(),
                types: types.iter().map(|text| TypePattern::parse(text).unwrap()).collect(),
                secrets,
                headers: map,
                max_in_flight,
                rate_limit: rate.map(|per_second| Rate { per_second }),
                ordering,
                timeout,
                retry,
                description,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_definition_comes_back_as_it_was(spec in spec()) {
            let row = EndpointSpecRow { no: 7, changed_at: 9, spec: SpecRow::new(&spec) };
            let mut bytes = Vec::new();
            Record::EndpointSpec(row).encode(&mut bytes);
            let kind = 10;
            let Record::EndpointSpec(read) = Record::decode(kind, &bytes).unwrap() else {
                panic!("another record");
            };
            prop_assert_eq!(read.spec.spec(Tenant::default()).unwrap(), spec);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(row) = record::take::<SpecRow>(10, &bytes) {
                let _ = row.spec(Tenant::default());
            }
        }
    }

    #[test]
    fn nobody_sees_a_secret_or_header_of_a_record() {
        let row = SpecRow {
            secrets: vec![(KeyBytes(b"hush-hush-hush-hush-hush".to_vec()), None)],
            headers: vec![("authorization".into(), KeyBytes(b"Bearer hush".to_vec()))],
            ..SpecRow::new(&EndpointSpec {
                tenant: Tenant::default(),
                url: "https://example.com/".parse().unwrap(),
                types: vec![TypePattern::Any],
                secrets: Vec::new(),
                headers: http::HeaderMap::new(),
                max_in_flight: 1,
                rate_limit: None,
                ordering: Ordering::None,
                timeout: None,
                retry: RetryOverrides::default(),
                description: String::new(),
            })
        };
        let shown = format!("{row:?}");
        let numbers = format!("{:?}", b"hush".to_vec());
        assert!(!shown.contains("hush") && !shown.contains(numbers.trim_matches(['[', ']'])));
    }
}
