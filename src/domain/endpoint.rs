//! An endpoint: a URL that wants events, with its subscription, secrets and policy.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::event::{EventType, RESERVED_PREFIX, Tenant};
use super::extras::Extras;
use super::identity::Identity;
use super::name::{BadName, checked_name, is_plain};
pub use super::rate::Rate;
use super::retry::{RetryOverrides, RetryPolicy};
use super::shaping::{Given, Shaping};
use super::signature::Secret;
use super::time::Timestamp;

checked_name!(
    /// An endpoint's name: `[A-Za-z0-9_-]{1,64}`, unique over all tenants.
    EndpointId,
    BadName::EndpointId,
    |text| is_plain(text, 64)
);

/// The short name of an endpoint inside this store. Given once, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointNo(pub u32);

/// Which types an endpoint wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TypePattern {
    /// `*`: all but the daemon's own.
    Any,
    /// `order.*`: all that begin with `order.`.
    Prefix(Arc<str>),
    Exact(EventType),
}

/// The text is not a type pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a type pattern is a type name, a prefix that ends in \".*\", or \"*\"")]
pub struct BadPattern;

impl TypePattern {
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if text == "*" {
            return Ok(TypePattern::Any);
        }
        let checked = |name: &str| EventType::new(name).map_err(|_| BadPattern);
        match text.strip_suffix(".*") {
            Some(prefix) => {
                checked(prefix)?;
                Ok(TypePattern::Prefix(text[..text.len() - 1].into()))
            }
            None => checked(text).map(TypePattern::Exact),
        }
    }

    /// Types that begin with `outboxd.` are matched only by patterns that begin so.
    pub fn matches(&self, event_type: &EventType) -> bool {
        match self {
            TypePattern::Any => !event_type.is_reserved(),
            TypePattern::Prefix(prefix) => {
                event_type.as_str().starts_with(&**prefix)
                    && (!event_type.is_reserved() || prefix.starts_with(RESERVED_PREFIX))
            }
            TypePattern::Exact(name) => name == event_type,
        }
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypePattern::Any => f.write_str("*"),
            TypePattern::Prefix(prefix) => write!(f, "{prefix}*"),
            TypePattern::Exact(name) => write!(f, "{name}"),
        }
    }
}

/// In which order an endpoint's deliveries go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    #[default]
    None,
    /// In order for each event key.
    Key,
    /// One at a time for the whole endpoint.
    Strict,
}

impl Ordering {
    pub const ALL: [Ordering; 3] = [Ordering::None, Ordering::Key, Ordering::Strict];

    /// As configuration and APIs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Ordering::None => "none",
            Ordering::Key => "key",
            Ordering::Strict => "strict",
        }
    }
}

/// A secret and for how long it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningSecret {
    pub secret: Secret,
    /// It signs attempts before this moment; `None`: without end.
    pub until: Option<Timestamp>,
}

impl SigningSecret {
    /// Whether an attempt at that moment is signed with it.
    pub fn signs(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| at < until)
    }
}

impl From<Secret> for SigningSecret {
    fn from(secret: Secret) -> Self {
        SigningSecret {
            secret,
            until: None,
        }
    }
}

/// Where an endpoint is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The operator's TOML file; read-only through the API.
    Toml,
    /// The HTTP API.
    Api,
}

impl Source {
    /// As the APIs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Toml => "toml",
            Source::Api => "api",
        }
    }
}

/// Everything that a delivery to this endpoint needs to know. Immutable; replaced whole.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub id: EndpointId,
    pub tenant: Tenant,
    pub url: Url,
    pub types: Vec<TypePattern>,
    /// Newest first; those that are not past their time sign. Empty: unsigned.
    pub secrets: Vec<SigningSecret>,
    /// Static headers, already checked against the ones that outboxd sets. Most endpoints
    /// have none, and share that.
    pub headers: Arc<http::HeaderMap>,
    /// At least 1.
    pub max_in_flight: usize,
    pub rate_limit: Option<Rate>,
    pub ordering: Ordering,
    /// The whole attempt, response body included.
    pub timeout: Duration,
    /// Whether HTTP/2 may be spoken; HTTP/1.1 always may.
    pub http2: bool,
    pub retry: Arc<RetryPolicy>,
    /// Networks that are not public but may be dialled for this endpoint.
    pub allow_networks: Vec<IpNet>,
    /// `enabled = false` in the TOML file wins over any state kept in the store.
    pub enabled: bool,
    pub source: Source,
    pub description: String,
    /// `None`: the envelope, signed by Standard Webhooks; a 2xx is a success.
    pub shaping: Option<Arc<Shaping>>,
    /// The endpoint's id in the file from which it was applied; never changes.
    pub applied_as: Option<EndpointId>,
}

impl Endpoint {
    /// Whether the definitions are equal. Consents and tokens obtained since do not count.
    pub fn is_same_as(&self, other: &Endpoint) -> bool {
        let of_delivery = |endpoint: &Endpoint| {
            let limits = (
                endpoint.max_in_flight,
                endpoint.rate_limit,
                endpoint.timeout,
            );
            (limits, endpoint.ordering, endpoint.http2, endpoint.enabled)
        };
        self.id == other.id
            && self.tenant == other.tenant
            && self.url == other.url
            && self.types == other.types
            && self.secrets == other.secrets
            && self.headers == other.headers
            && of_delivery(self) == of_delivery(other)
            && self.retry == other.retry
            && self.allow_networks == other.allow_networks
            && self.source == other.source
            && self.description == other.description
            && self.applied_as == other.applied_as
            && self.given() == other.given()
    }

    /// The fields from which the shaping was made.
    fn given(&self) -> Option<&Given> {
        self.shaping.as_ref().map(|shaping| shaping.given())
    }

    /// Keeps the shaping of the definition before it if that is the same: a consent that was given
    /// and tokens that were fetched stay good.
    pub fn keep_shaping_of(&mut self, old: &Endpoint) {
        // The templates of headers are kept with the shaping.
        let has_same_headers = self.headers == old.headers;
        if let (Some(new), Some(old)) = (&mut self.shaping, &old.shaping)
            && has_same_headers
            && new.given() == old.given()
        {
            *new = old.clone();
        }
    }

    /// Its URL, to be shown: that of a chat service is a secret but for its host.
    pub fn shown_url(&self) -> Cow<'_, str> {
        let has_preset = self
            .shaping
            .as_ref()
            .is_some_and(|shaping| shaping.preset.is_some());
        match has_preset {
            false => self.url.as_str().into(),
            true => format!("{}/…", self.url.origin().ascii_serialization()).into(),
        }
    }

    /// Whether an event with these extras reaches it by its channels.
    pub fn takes_channels(&self, extras: Option<&Extras>) -> bool {
        match &self.shaping {
            Some(shaping) if !shaping.channels.is_empty() => {
                extras.is_some_and(|extras| extras.shares_channel(&shaping.channels))
            }
            _ => true,
        }
    }

    /// The client certificate that it shows.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.shaping.as_ref()?.identity.as_ref()
    }

    pub fn has_filter(&self) -> bool {
        self.shaping
            .as_ref()
            .is_some_and(|shaping| shaping.filter.is_some())
    }
}

/// An endpoint as its owner defined it through the API: what was not said follows the
/// configuration, also after that changes.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSpec {
    pub tenant: Tenant,
    pub url: Url,
    pub types: Vec<TypePattern>,
    /// Newest first; at least one.
    pub secrets: Vec<SigningSecret>,
    pub headers: http::HeaderMap,
    pub max_in_flight: usize,
    pub rate_limit: Option<Rate>,
    pub ordering: Ordering,
    pub timeout: Option<Duration>,
    pub http2: Option<bool>,
    pub retry: RetryOverrides,
    pub description: String,
    pub shaping: Option<Arc<Shaping>>,
    /// The endpoint's id in the file from which it was applied; never changes.
    pub applied_as: Option<EndpointId>,
}

impl EndpointSpec {
    /// Its own rate, or else that of its preset.
    pub fn rate_limit(&self) -> Option<Rate> {
        self.rate_limit.or(preset_rate(self.shaping.as_ref()))
    }

    /// The most secrets that sign at once.
    pub const MAX_SECRETS: usize = 5;

    /// What a delivery needs to know, with the configuration's `timeout`, `http2` and `retry`
    /// for what the definition leaves open.
    pub fn endpoint(
        &self,
        id: EndpointId,
        timeout: Duration,
        http2: bool,
        retry: &Arc<RetryPolicy>,
    ) -> Endpoint {
        Endpoint {
            id,
            tenant: self.tenant.clone(),
            url: self.url.clone(),
            types: self.types.clone(),
            secrets: self.secrets.clone(),
            headers: shared(&self.headers),
            max_in_flight: self.max_in_flight.max(1),
            rate_limit: self.rate_limit(),
            ordering: self.ordering,
            timeout: self.timeout.unwrap_or(timeout),
            http2: self.http2.unwrap_or(http2),
            retry: self.retry.over(retry),
            allow_networks: Vec::new(),
            enabled: true,
            source: Source::Api,
            description: self.description.clone(),
            shaping: self.shaping.clone(),
            applied_as: self.applied_as.clone(),
        }
    }

    /// Makes `secret` the one that signs first. Those before it sign for `overlap` more,
    /// but no longer than they would have.
    pub fn rotate(&mut self, secret: Secret, now: Timestamp, overlap: Duration) {
        let until = now + overlap;
        for old in &mut self.secrets {
            old.until = Some(old.until.map_or(until, |before| before.min(until)));
        }
        self.secrets.retain(|old| old.signs(now));
        self.secrets.insert(0, secret.into());
        self.secrets.truncate(Self::MAX_SECRETS);
    }
}

/// The rate of a preset, which holds unless the endpoint has its own.
pub fn preset_rate(shaping: Option<&Arc<Shaping>>) -> Option<Rate> {
    let preset = shaping?.preset?;
    Some(preset.rate)
}

fn shared(headers: &http::HeaderMap) -> Arc<http::HeaderMap> {
    static NONE: std::sync::OnceLock<Arc<http::HeaderMap>> = std::sync::OnceLock::new();
    if headers.is_empty() {
        NONE.get_or_init(Arc::default).clone()
    } else {
        Arc::new(headers.clone())
    }
}

/// Changes to an endpoint's definition: `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointChange {
    pub url: Option<Url>,
    pub types: Option<Vec<TypePattern>>,
    /// The only secret from now on; for an overlap there is `rotate`.
    pub secret: Option<Secret>,
    pub headers: Option<http::HeaderMap>,
    pub max_in_flight: Option<usize>,
    pub rate_limit: Option<Option<Rate>>,
    pub ordering: Option<Ordering>,
    /// `Some(None)`: as the configuration says again.
    pub timeout: Option<Option<Duration>>,
    pub http2: Option<Option<bool>>,
    pub retry: Option<RetryOverrides>,
    pub description: Option<String>,
    pub shaping: Option<Option<Arc<Shaping>>>,
    pub enabled: Option<bool>,
}

impl EndpointChange {
    /// Applies the change to a definition, `enabled` excepted.
    pub fn apply(&self, spec: &mut EndpointSpec) {
        fn set<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                *to = value.clone();
            }
        }
        set(&mut spec.url, &self.url);
        set(&mut spec.types, &self.types);
        if let Some(secret) = &self.secret {
            spec.secrets = vec![secret.clone().into()];
        }
        set(&mut spec.headers, &self.headers);
        set(&mut spec.max_in_flight, &self.max_in_flight);
        set(&mut spec.rate_limit, &self.rate_limit);
        set(&mut spec.ordering, &self.ordering);
        set(&mut spec.timeout, &self.timeout);
        set(&mut spec.http2, &self.http2);
        set(&mut spec.retry, &self.retry);
        set(&mut spec.description, &self.description);
        set(&mut spec.shaping, &self.shaping);
    }
}

/// Why an endpoint takes no deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledReason {
    /// By the operator or through the API.
    Manual,
    /// It answered 410.
    Gone,
    /// Every attempt failed for five days.
    Failing,
}

impl DisabledReason {
    pub fn as_str(self) -> &'static str {
        match self {
            DisabledReason::Manual => "manual",
            DisabledReason::Gone => "gone",
            DisabledReason::Failing => "failing",
        }
    }
}

#[cfg(test)]
impl EndpointSpec {
    /// An endpoint that wants everything, with nothing else set.
    pub fn plain() -> EndpointSpec {
        EndpointSpec {
            tenant: Tenant::default(),
            url: "https://example.com/".parse().unwrap(),
            types: vec![TypePattern::Any],
            secrets: Vec::new(),
            headers: http::HeaderMap::new(),
            max_in_flight: 16,
            rate_limit: None,
            ordering: Ordering::None,
            timeout: None,
            http2: None,
            retry: RetryOverrides::default(),
            description: String::new(),
            shaping: None,
            applied_as: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        let matches = |pattern: &str, name: &str| {
            TypePattern::parse(pattern)
                .unwrap()
                .matches(&EventType::new(name).unwrap())
        };
        assert!(matches("*", "order.created") && matches("order.*", "order.created"));
        assert!(
            matches("order.*", "order.item.added") && matches("order.created", "order.created")
        );
        assert!(!matches("order.*", "orders.created") && !matches("order.*", "order"));
        assert!(!matches("order.created", "order.created.twice"));
        assert!(!matches("*", "outboxd.test") && matches("outboxd.*", "outboxd.test"));
        assert!(matches("outboxd.endpoint.*", "outboxd.endpoint.disabled"));
        for bad in ["", "*.created", "order.**", "or*", ".*", "order.*.x"] {
            assert!(TypePattern::parse(bad).is_err(), "{bad}");
        }
    }

    fn spec() -> EndpointSpec {
        EndpointSpec {
            secrets: vec![secret(0).into()],
            ..EndpointSpec::plain()
        }
    }

    fn secret(n: u8) -> Secret {
        Secret::from_bytes(&[n; 24]).unwrap()
    }

    /// Which secrets sign at that second.
    fn signing(spec: &EndpointSpec, second: u64) -> Vec<u8> {
        let at = Timestamp::from_millis(second * 1000);
        let kept = spec.secrets.iter().filter(|kept| kept.signs(at));
        kept.map(|kept| kept.secret.to_stored()[0]).collect()
    }

    #[test]
    fn old_secrets_sign_until_their_overlap_is_over_newest_first() {
        let mut spec = spec();
        let at = |second: u64| Timestamp::from_millis(second * 1000);
        let hour = Duration::from_secs(3600);
        spec.rotate(secret(1), at(100), hour);
        assert_eq!(signing(&spec, 3699), [1, 0]);
        assert_eq!(signing(&spec, 3700), [1]);
        // A longer overlap later does not bring the first one more time.
        spec.rotate(secret(2), at(200), 2 * hour);
        assert_eq!(signing(&spec, 3699), [2, 1, 0]);
        assert_eq!(signing(&spec, 7399), [2, 1]);
        spec.rotate(secret(3), at(300), Duration::ZERO);
        assert_eq!(signing(&spec, 300), [3]);
        for n in 4..20 {
            spec.rotate(secret(n), at(400), hour);
        }
        assert_eq!(signing(&spec, 401), [19, 18, 17, 16, 15]);
    }

    #[test]
    fn a_change_leaves_the_rest_as_it_is() {
        let mut changed = spec();
        let timeout = Some(Duration::from_secs(3));
        EndpointChange {
            timeout: Some(timeout),
            description: Some("new".into()),
            ..EndpointChange::default()
        }
        .apply(&mut changed);
        let expected = EndpointSpec {
            timeout,
            description: "new".into(),
            ..spec()
        };
        assert_eq!(changed, expected);
        let back = EndpointChange {
            timeout: Some(None),
            ..EndpointChange::default()
        };
        back.apply(&mut changed);
        assert_eq!(changed.timeout, None);
    }

    #[test]
    fn what_a_definition_leaves_open_follows_the_configuration() {
        let id = EndpointId::new("one").unwrap();
        let base = Arc::new(RetryPolicy::default());
        let plain = spec().endpoint(id.clone(), Duration::from_secs(9), true, &base);
        assert!(Arc::ptr_eq(&plain.retry, &base) && plain.timeout == Duration::from_secs(9));
        let day = Duration::from_secs(86_400);
        let mut own = spec();
        own.retry.first = Some(day);
        let policy = own.endpoint(id, Duration::ZERO, true, &base).retry;
        assert_eq!((policy.first, policy.max, policy.factor), (day, day, 3.0));
    }
}
