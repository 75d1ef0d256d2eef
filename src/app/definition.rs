//! Endpoints as their owners define them: the fields that an interface reads, and what a new
//! endpoint and a change are made of.
//!
//! The same bounds hold as in the configuration file. What is not given stays open, so
//! that it follows the configuration, also after that changes. Which addresses may be
//! dialled is not a field here: only the operator grants them.

use std::time::Duration;

use http::HeaderMap;
use url::Url;

use crate::config::policy::{
    BadRetry, ENDPOINT_MAX_IN_FLIGHT, MAX_DESCRIPTION, MAX_TYPES, check_retry,
};
use crate::domain::endpoint::{EndpointChange, EndpointSpec, Ordering, Rate, TypePattern};
use crate::domain::event::Tenant;
use crate::domain::retry::{RetryOverrides, RetryPolicy};
use crate::domain::signature::Secret;

/// What a request says about a field of a definition.
#[derive(Clone, Debug, PartialEq)]
pub enum Given<T> {
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

    /// As a change: `None` leaves the field as it is, `null` makes it `default`.
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

/// Why a definition is not one of an endpoint. Names the field as the APIs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDefinition {
    #[error("field `url` is missing")]
    NoUrl,
    #[error("field `tenant`: an endpoint's tenant never changes")]
    TenantChanged,
    #[error("field `url`: an endpoint always has one")]
    UrlRemoved,
    #[error("field `secret`: an endpoint always has one; POST …/rotate makes a new one")]
    SecretRemoved,
}

/// What a request says about an endpoint. Whoever reads it has checked each field.
#[derive(Debug)]
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
    pub enabled: Given<bool>,
}

impl Definition {
    /// A new endpoint, and whether it takes deliveries. `secret` is for one that brings
    /// none.
    ///
    /// # Errors
    /// Without a URL.
    pub fn into_spec(self, secret: Secret) -> Result<(EndpointSpec, bool), BadDefinition> {
        let Some(url) = self.url.value() else {
            return Err(BadDefinition::NoUrl);
        };
        let spec = EndpointSpec {
            tenant: self.tenant.value().unwrap_or_default(),
            url,
            types: self.types.value().unwrap_or_else(|| vec![TypePattern::Any]),
            secrets: vec![self.secret.value().unwrap_or(secret).into()],
            headers: self.headers.value().unwrap_or_default(),
            max_in_flight: self.max_in_flight.value().unwrap_or(ENDPOINT_MAX_IN_FLIGHT),
            rate_limit: self.rate_limit.value().flatten(),
            ordering: self.ordering.value().unwrap_or_default(),
            timeout: self.timeout.value().flatten(),
            http2: self.http2.value().flatten(),
            retry: self.retry.value().unwrap_or_default(),
            description: self.description.value().unwrap_or_default(),
        };
        Ok((spec, self.enabled.value().unwrap_or(true)))
    }

    /// A change. `null` is a field's default; lists and objects are replaced whole.
    ///
    /// # Errors
    /// With a tenant, and with `null` where there is no default.
    pub fn into_change(self) -> Result<EndpointChange, BadDefinition> {
        if self.tenant != Given::Absent {
            return Err(BadDefinition::TenantChanged);
        }
        if self.url.is_null() {
            return Err(BadDefinition::UrlRemoved);
        }
        if self.secret.is_null() {
            return Err(BadDefinition::SecretRemoved);
        }
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
            enabled: self.enabled.change(true),
        })
    }
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

/// Whether overrides make sense over the configuration's rule.
///
/// # Errors
/// The first thing that is wrong, and the key that is at fault for it.
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
            // Of two that do not fit each other, the one that was given is at fault.
            let by_first = *bad == BadRetry::Max && overrides.max.is_none();
            let key = if by_first { "first" } else { bad.key() };
            Err((key, *bad))
        }
    }
}
