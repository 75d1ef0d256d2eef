//! Definitions of endpoints made through the API, between the domain's form and the one that
//! is stored.

use std::sync::Arc;
use std::time::Duration;

use crate::config::request;
use crate::domain::endpoint::{
    EndpointId, EndpointSpec, Ordering, Rate, SigningSecret, TypePattern,
};
use crate::domain::event::Tenant;
use crate::domain::json::Json;
use crate::domain::retry::RetryOverrides;
use crate::domain::shaping::{self, Around, Shaping};
use crate::domain::signature::Secret;
use crate::domain::time::Timestamp;
use crate::outbox::record::{KeyBytes, RetryRow, SpecRow};

/// The key of the stored JSON that is not about shaping: the name under which the endpoint was
/// applied.
const APPLIED_AS: &str = "applied_as";

/// A stored definition says something that no definition can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an endpoint's definition is damaged")]
pub struct BadSpec;

impl SpecRow {
    pub fn new(spec: &EndpointSpec) -> SpecRow {
        let millis = |span: &Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let headers = spec.headers.iter();
        SpecRow {
            url: spec.url.to_string(),
            types: spec.types.iter().map(ToString::to_string).collect(),
            secrets: spec
                .secrets
                .iter()
                .map(|kept| {
                    let key = KeyBytes(kept.secret.to_stored());
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
            http2: spec.http2,
            shaping: KeyBytes(spelled(spec)),
        }
    }

    pub fn spec(&self, tenant: Tenant) -> Result<EndpointSpec, BadSpec> {
        let secrets = self.secrets.iter().map(|(key, until)| {
            Ok(SigningSecret {
                secret: Secret::from_stored(&key.0).map_err(|_| BadSpec)?,
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
        let secrets = secrets.collect::<Result<Vec<_>, BadSpec>>()?;
        let mut given = read_given(&self.shaping.0)?;
        let applied_as = read_applied_as(&mut given)?;
        let shaping = read_shaping(&given, &headers, &secrets)?;
        Ok(EndpointSpec {
            tenant,
            url: request::parse_url(&self.url).map_err(|_| BadSpec)?,
            types: types.collect::<Result<_, _>>().map_err(|_| BadSpec)?,
            secrets,
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
            http2: self.http2,
            shaping,
            applied_as,
        })
    }
}

impl SpecRow {
    /// When the first of the secrets that sign for a while only is past its time.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let untils = self.secrets.iter().filter_map(|(_, until)| *until);
        let first = untils.min().map(Timestamp::from_millis);
        let keys = self.given_with_earlier_keys();
        let of_keys = keys.as_ref().and_then(shaping::next_expiry);
        first.into_iter().chain(of_keys).min()
    }

    /// Takes out the secrets that are past their time.
    pub fn expire(&mut self, now: Timestamp) {
        self.secrets
            .retain(|(_, until)| until.is_none_or(|until| until > now.as_millis()));
        if let Some(mut given) = self.given_with_earlier_keys() {
            shaping::expire(&mut given, now);
            self.shaping = KeyBytes(Json::Object(given).to_string().into_bytes());
        }
    }

    /// The stored JSON, if it may have signing keys from before a rotation. Most have none, and are
    /// not parsed.
    fn given_with_earlier_keys(&self) -> Option<shaping::Given> {
        let name = shaping::EARLIER_KEYS.as_bytes();
        let mut parts = self.shaping.0.windows(name.len());
        match parts.any(|part| part == name) {
            true => read_given(&self.shaping.0).ok(),
            false => None,
        }
    }
}

/// The shaping and the name under which the endpoint was applied, as JSON. Empty if there is
/// neither: the shaping may be in the headers only.
fn spelled(spec: &EndpointSpec) -> Vec<u8> {
    let shaping = spec.shaping.as_deref();
    let mut given = shaping.map_or_else(shaping::Given::new, |shaping| shaping.given().clone());
    if let Some(id) = &spec.applied_as {
        given.insert(APPLIED_AS.into(), id.as_str().into());
    }
    match given.is_empty() {
        true => Vec::new(),
        false => Json::Object(given).to_string().into_bytes(),
    }
}

fn read_given(text: &[u8]) -> Result<shaping::Given, BadSpec> {
    match text {
        [] => Ok(shaping::Given::new()),
        text => match Json::parse(text) {
            Ok(Json::Object(given)) => Ok(given),
            _ => Err(BadSpec),
        },
    }
}

fn read_applied_as(given: &mut shaping::Given) -> Result<Option<EndpointId>, BadSpec> {
    let id = given.shift_remove(APPLIED_AS);
    let read = |id: Json| EndpointId::new(id.as_str().ok_or(BadSpec)?).map_err(|_| BadSpec);
    id.map(read).transpose()
}

fn read_shaping(
    given: &shaping::Given,
    headers: &http::HeaderMap,
    secrets: &[SigningSecret],
) -> Result<Option<Arc<Shaping>>, BadSpec> {
    let kinds: Vec<_> = secrets.iter().map(|kept| kept.secret.kind()).collect();
    let around = Around {
        headers,
        secrets: &kinds,
        is_reserved: request::is_reserved,
    };
    let shaping = shaping::read(given, around).map_err(|_| BadSpec)?;
    Ok(shaping.map(Arc::new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::outbox::record::{self, EndpointSpecRow, Record};

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
            headers in proptest::collection::btree_map("x-[a-z]{1,8}", "[!-z~]{0,20}", 0..4),
            max_in_flight in 1..65_536usize,
            rate in proptest::option::of(0.001..1e6),
            ordering in prop::sample::select(vec![Ordering::None, Ordering::Key, Ordering::Strict]),
            timeout in proptest::option::of(span()),
            http2 in proptest::option::of(any::<bool>()),
            retry in retry(),
            description in ".{0,40}",
            applied_as in proptest::option::of("[a-z]{1,9}"),
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
                http2,
                retry,
                description,
                shaping: None,
                applied_as: applied_as.map(|id| EndpointId::new(&id).unwrap()),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_definition_comes_back_as_it_was(spec in spec()) {
            let row = EndpointSpecRow { no: 7, changed_at: 9, spec: SpecRow::new(&spec) };
            let mut head = Vec::new();
            let record = Record::EndpointSpec(row);
            record.encode(&mut head);
            let body = record.own_body();
            let read = Record::decode(record.kind(), &head, body.as_deref()).unwrap();
            let Some(Record::EndpointSpec(read)) = read else {
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
    fn secrets_past_their_time_go_and_the_others_stay() {
        let at = Timestamp::from_millis;
        let key = |n: u8| KeyBytes(vec![n; 24]);
        let keys = |text: &str| {
            KeyBytes(format!(r#"{{"signing_key":"a"{text},"applied_as":"x"}}"#).into_bytes())
        };
        let full = SpecRow {
            secrets: vec![(key(3), None), (key(2), Some(90)), (key(1), Some(70))],
            shaping: keys(r#","earlier_signing_keys":[["b",80]]"#),
            ..SpecRow::new(&EndpointSpec::plain())
        };
        let mut row = full.clone();
        assert_eq!(row.next_expiry(), Some(at(70)));
        row.expire(at(69));
        assert_eq!(row, full);
        row.expire(at(70));
        assert_eq!(row.secrets, full.secrets[..2]);
        assert_eq!(
            (row.next_expiry(), &row.shaping),
            (Some(at(80)), &full.shaping)
        );
        row.expire(at(1000));
        assert_eq!(row.secrets, full.secrets[..1]);
        assert_eq!((row.next_expiry(), row.shaping), (None, keys("")));
    }

    #[test]
    fn nobody_sees_a_secret_or_header_of_a_record() {
        let row = SpecRow {
            secrets: vec![(KeyBytes(b"hush-hush-hush-hush-hush".to_vec()), None)],
            headers: vec![("authorization".into(), KeyBytes(b"Bearer hush".to_vec()))],
            ..SpecRow::new(&EndpointSpec::plain())
        };
        let shown = format!("{row:?}");
        let numbers = format!("{:?}", b"hush".to_vec());
        assert!(!shown.contains("hush") && !shown.contains(numbers.trim_matches(['[', ']'])));
    }
}
