//! Definitions of endpoints that come through an interface: the fields, and how a new endpoint or
//! a change is made of them.
//!
//! The same bounds apply as in the configuration file. A field that is not given stays unset, so
//! that it follows the configuration, also when that changes later. Which addresses may be dialled
//! is not a field here: only the operator grants them.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use url::Url;

use crate::config::policy::{
    BadRetry, ENDPOINT_MAX_IN_FLIGHT, MAX_DESCRIPTION, MAX_TYPES, check_retry,
};
use crate::config::request;
use crate::domain::endpoint::{
    Endpoint, EndpointChange, EndpointId, EndpointSpec, Ordering, Rate, TypePattern,
};
use crate::domain::event::Tenant;
use crate::domain::json::Json;
use crate::domain::retry::{RetryOverrides, RetryPolicy};
use crate::domain::shaping::{self, Around, BadShaping, Shaping};
use crate::domain::signature::{Secret, SecretKind, needs_signing_key};
use crate::domain::time::Timestamp;

/// What a request says about a field of a definition.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Given<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<T> Given<T> {
    /// The value; `None` if it is absent or `null`.
    pub fn value(self) -> Option<T> {
        match self {
            Given::Value(value) => Some(value),
            Given::Absent | Given::Null => None,
        }
    }

    /// The value as a change: `None` leaves the field as it is, `null` sets it to `default`.
    pub fn change(self, default: T) -> Option<T> {
        match self {
            Given::Absent => None,
            Given::Null => Some(default),
            Given::Value(value) => Some(value),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Given::Null)
    }

    /// Converts the value.
    pub fn try_map<U, E>(self, convert: impl FnOnce(T) -> Result<U, E>) -> Result<Given<U>, E> {
        Ok(match self {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(value) => Given::Value(convert(value)?),
        })
    }
}

/// Why a definition is refused. The message names the field as the API does.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadDefinition {
    #[error("field `url` is missing")]
    NoUrl,
    #[error("field `tenant`: an endpoint's tenant never changes")]
    TenantChanged,
    #[error("field `applied_as` is given when the endpoint is made, and never changes")]
    AppliedAsChanged,
    #[error("field `url`: an endpoint always has one")]
    UrlRemoved,
    #[error("field `secret`: an endpoint always has one; POST …/rotate makes a new one")]
    SecretRemoved,
    #[error("field `{}`: {}", .0.key, .0.problem)]
    Shaping(Box<BadShaping>),
}

impl BadDefinition {
    /// The field at fault, such as `url` or `answer.permanent[2]`.
    pub fn field(&self) -> &str {
        match self {
            BadDefinition::NoUrl | BadDefinition::UrlRemoved => "url",
            BadDefinition::TenantChanged => "tenant",
            BadDefinition::AppliedAsChanged => "applied_as",
            BadDefinition::SecretRemoved => "secret",
            BadDefinition::Shaping(bad) => &bad.key,
        }
    }
}

impl From<BadShaping> for BadDefinition {
    fn from(bad: BadShaping) -> Self {
        BadDefinition::Shaping(Box::new(bad))
    }
}

/// The fields of an endpoint that a request gives. Each one has been checked when it was read.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    pub url: Given<Url>,
    pub tenant: Given<Tenant>,
    pub types: Given<Vec<TypePattern>>,
    pub secret: Given<Secret>,
    pub headers: Given<HeaderMap>,
    pub max_in_flight: Given<usize>,
    pub rate_limit: Given<Option<Rate>>,
    pub ordering: Given<Ordering>,
    pub timeout: Given<Option<Duration>>,
    pub http2: Given<Option<bool>>,
    pub retry: Given<RetryOverrides>,
    pub description: Given<String>,
    /// The fields of [`shaping::KEYS`] that are given.
    pub shaping: Vec<(&'static str, Given<Json>)>,
    pub enabled: Given<bool>,
    /// The endpoint's id in the file from which it is applied.
    pub applied_as: Given<EndpointId>,
}

/// Keys for an endpoint that needs them and is given none.
#[derive(Clone, Debug)]
pub struct FreshKeys {
    pub secret: Secret,
    /// A signing key for Ed25519.
    pub signing_key: Secret,
}

impl Definition {
    /// A new endpoint, and whether it takes deliveries.
    ///
    /// # Errors
    /// The definition has no URL, or its keys contradict each other.
    pub fn into_spec(self, fresh: FreshKeys) -> Result<(EndpointSpec, bool), BadDefinition> {
        let Some(url) = self.url.value() else {
            return Err(BadDefinition::NoUrl);
        };
        let secret = self.secret.value().unwrap_or(fresh.secret);
        let headers = self.headers.value().unwrap_or_default();
        let mut given = shaping::Given::new();
        set_given(&mut given, self.shaping);
        let kinds = [secret.kind()];
        let shaping = shaped(given, &headers, &kinds, &fresh.signing_key)?;
        let spec = EndpointSpec {
            tenant: self.tenant.value().unwrap_or_default(),
            url,
            types: self.types.value().unwrap_or_else(|| vec![TypePattern::Any]),
            secrets: vec![secret.into()],
            headers,
            max_in_flight: self.max_in_flight.value().unwrap_or(ENDPOINT_MAX_IN_FLIGHT),
            rate_limit: self.rate_limit.value().flatten(),
            ordering: self.ordering.value().unwrap_or_default(),
            timeout: self.timeout.value().flatten(),
            http2: self.http2.value().flatten(),
            retry: self.retry.value().unwrap_or_default(),
            description: self.description.value().unwrap_or_default(),
            shaping,
            applied_as: self.applied_as.value(),
        };
        Ok((spec, self.enabled.value().unwrap_or(true)))
    }

    /// A change of `endpoint`. `null` is a field's default; lists and objects are replaced whole.
    ///
    /// # Errors
    /// The change names a tenant, has `null` where there is no default, or would leave keys that
    /// contradict each other.
    pub fn into_change(
        self,
        endpoint: &Endpoint,
        fresh: &FreshKeys,
    ) -> Result<EndpointChange, BadDefinition> {
        if self.tenant != Given::Absent {
            return Err(BadDefinition::TenantChanged);
        }
        if self.applied_as != Given::Absent
            && self.applied_as.clone().value() != endpoint.applied_as
        {
            return Err(BadDefinition::AppliedAsChanged);
        }
        if self.url.is_null() {
            return Err(BadDefinition::UrlRemoved);
        }
        if self.secret.is_null() {
            return Err(BadDefinition::SecretRemoved);
        }
        let shaping = self.reshaped(endpoint, fresh)?;
        Ok(EndpointChange {
            url: self.url.value(),
            types: self.types.change(vec![TypePattern::Any]),
            secret: self.secret.value(),
            headers: self.headers.change(HeaderMap::new()),
            max_in_flight: self.max_in_flight.change(ENDPOINT_MAX_IN_FLIGHT),
            rate_limit: self.rate_limit.change(None),
            ordering: self.ordering.change(Ordering::default()),
            timeout: self.timeout.change(None),
            http2: self.http2.change(None),
            retry: self.retry.change(RetryOverrides::default()),
            description: self.description.change(String::new()),
            shaping,
            enabled: self.enabled.change(true),
        })
    }

    /// The shaping after the change; `None` if the change cannot affect it.
    fn reshaped(
        &self,
        endpoint: &Endpoint,
        fresh: &FreshKeys,
    ) -> Result<Option<Option<Arc<Shaping>>>, BadDefinition> {
        let touches = !self.shaping.is_empty()
            || self.headers != Given::Absent
            || self.secret != Given::Absent;
        if !touches {
            return Ok(None);
        }
        let now = endpoint.shaping.as_ref();
        let mut given = now.map(|shaping| shaping.given().clone());
        let given = given.get_or_insert_default();
        set_given(given, self.shaping.clone());
        let headers = match &self.headers {
            Given::Absent => &endpoint.headers,
            Given::Null => &HeaderMap::new(),
            Given::Value(headers) => headers,
        };
        let kinds: Vec<_> = match &self.secret {
            Given::Value(secret) => vec![secret.kind()],
            _ => endpoint
                .secrets
                .iter()
                .map(|kept| kept.secret.kind())
                .collect(),
        };
        let mut shaping = shaped(std::mem::take(given), headers, &kinds, &fresh.signing_key)?;
        // A consent is for a URL, and outlives other changes.
        if let Some(shaping) = shaping.as_mut().map(Arc::make_mut)
            && shaping.consents.is_some()
            && let Some(known) = now.and_then(|now| now.consents.clone())
        {
            shaping.consents = Some(known);
        }
        Ok(Some(shaping))
    }
}

fn set_given(given: &mut shaping::Given, fields: Vec<(&'static str, Given<Json>)>) {
    for (key, value) in fields {
        if key == "signing_key" {
            given.shift_remove(shaping::EARLIER_KEYS);
        }
        match value {
            Given::Absent => {}
            Given::Null => drop(given.shift_remove(key)),
            Given::Value(value) => drop(given.insert(key.into(), value)),
        }
    }
}

/// The shaping of an endpoint with a new signing key; `None` if the endpoint has none.
///
/// # Errors
/// Only if this version of outboxd would refuse the definition in force.
pub fn with_signing_key(
    endpoint: &Endpoint,
    key: &Secret,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Arc<Shaping>>, BadDefinition> {
    let shaping = endpoint.shaping.as_ref();
    let Some(shaping) = shaping.filter(|shaping| shaping.signing_key.is_some()) else {
        return Ok(None);
    };
    let given = shaping.with_signing_key(key, now, until);
    let kinds = endpoint.secrets.iter().map(|kept| kept.secret.kind());
    let kinds: Vec<_> = kinds.collect();
    shaped(given, &endpoint.headers, &kinds, key)
}

/// Checks the shaping. If a signing key is needed and none is given, it is `fresh_key`.
fn shaped(
    mut given: shaping::Given,
    headers: &HeaderMap,
    kinds: &[SecretKind],
    fresh_key: &Secret,
) -> Result<Option<Arc<Shaping>>, BadDefinition> {
    let around = Around {
        headers,
        secrets: kinds,
        is_reserved: request::is_reserved,
    };
    let shaping = shaping::read(&given, around)?;
    let lacks_key = |shaping: &Shaping| {
        let styles = &shaping.signatures;
        shaping.signing_key.is_none() && needs_signing_key(styles, kinds.iter().copied())
    };
    if !shaping.as_ref().is_some_and(lacks_key) {
        return Ok(shaping.map(Arc::new));
    }
    given.insert("signing_key".into(), fresh_key.reveal().as_str().into());
    Ok(shaping::read(&given, around)?.map(Arc::new))
}

/// # Errors
/// What is wrong with the list.
pub fn check_types(types: &[TypePattern]) -> Result<(), String> {
    if types.is_empty() {
        return Err("an empty list would match no event; leave it out for [\"*\"]".to_owned());
    }
    if types.len() > MAX_TYPES {
        return Err(format!(
            "more than {MAX_TYPES} patterns; use prefixes such as \"order.*\""
        ));
    }
    Ok(())
}

/// # Errors
/// If it is too long.
pub fn check_description(text: &str) -> Result<(), String> {
    match text.len() <= MAX_DESCRIPTION {
        true => Ok(()),
        false => Err(format!("longer than {MAX_DESCRIPTION} bytes")),
    }
}

/// Checks overrides together with the configuration's rule.
///
/// # Errors
/// The first fault, and the key that causes it.
pub fn check_overrides(
    overrides: &RetryOverrides,
    base: &RetryPolicy,
) -> Result<(), (&'static str, BadRetry)> {
    let policy = RetryPolicy {
        first: overrides.first.unwrap_or(base.first),
        factor: overrides.factor.unwrap_or(base.factor),
        max: overrides.max.unwrap_or(base.max),
        jitter: overrides.jitter.unwrap_or(base.jitter),
        give_up_after: overrides.give_up_after.unwrap_or(base.give_up_after),
        schedule: overrides
            .schedule
            .clone()
            .unwrap_or_else(|| base.schedule.clone()),
    };
    match check_retry(&policy).first() {
        None => Ok(()),
        Some(bad) => {
            // When two keys contradict each other, the fault is reported at the one that was given.
            let by_first = *bad == BadRetry::Max && overrides.max.is_none();
            let key = if by_first { "first" } else { bad.key() };
            Err((key, *bad))
        }
    }
}
