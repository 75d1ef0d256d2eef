//! A source: the definition by which a provider's calls are verified and understood.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use subtle::ConstantTimeEq;

use super::call::{View, first};
use super::forward;
use super::keys::{SchemeKey, SourceSecret, hash};
use super::place::Place;
use super::pointer::Pointer;
use super::preset;
use super::recipe::{Algorithm, Recipe};
use super::table::Given;
use crate::domain::event::Tenant;
use crate::domain::hex::to_hex;
use crate::domain::json::Json;
use crate::domain::name::{BadName, checked_name, is_plain};
use crate::domain::rate::Rate;
use crate::domain::template::Template;
use crate::domain::units::{show_duration, show_rate, show_size};

checked_name!(
    /// A source's name, the last part of its URL: `[A-Za-z0-9_-]{1,64}`.
    SourceId,
    BadName::SourceId,
    |text| is_plain(text, 64)
);

/// The preset of a source that has a recipe of its own, or none.
pub const CUSTOM: &str = "custom";
/// The most secrets of a source.
pub const MAX_SECRETS: usize = 5;
/// The longest secret or token, in bytes.
pub(super) const MAX_SECRET: usize = 4096;
/// Where a stored definition has secrets that count until a moment: pairs of a text and milliseconds
/// since 1970.
pub const EARLIER_SECRETS: &str = "earlier_secrets";
/// The key of a stored definition that marks a source made by `endpoints apply`.
pub(super) const APPLIED: &str = "applied";
/// The parameter of the URL's query that holds a source's token.
pub(super) const TOKEN_PARAM: &str = "token";
/// What stands for a value that is not shown.
const MASK: &str = "…";

/// A checked definition. Made by [`read`](super::read()).
#[derive(Clone)]
pub struct Source {
    pub id: SourceId,
    pub tenant: Tenant,
    /// The name of the preset, or [`CUSTOM`].
    pub preset: &'static str,
    pub enabled: bool,
    pub description: Box<str>,
    /// Of calls.
    pub rate_limit: Option<Rate>,
    /// In bytes; `None`: as the daemon has it.
    pub max_event_size: Option<u64>,
    /// For how long a delivery id is known.
    pub idempotency_window: Duration,
    /// Empty: every address may call.
    pub allow_from: Vec<IpNet>,
    /// Newest first.
    pub secrets: Vec<SourceSecret>,
    /// As it was given, without the secrets.
    pub(super) given: Given,
    pub(super) recipe: Arc<Recipe>,
    /// Of each scheme of the recipe.
    pub(super) keys: Vec<Vec<SchemeKey>>,
    pub(super) event_type: Option<Template>,
    pub(super) forward: Vec<Box<str>>,
    pub(super) tolerance: Duration,
    pub(super) verify_token: Option<Box<str>>,
    pub(super) app_id: Option<Box<str>>,
    pub(super) account: Option<Box<str>>,
    pub(super) token: Option<Box<str>>,
    pub(super) split: Option<Pointer>,
    pub(super) verifies_nothing: bool,
    /// Whether the source was made by `endpoints apply`.
    pub applied: bool,
}

impl Source {
    /// Whether the provider signs the URL, so that `public_url` is needed.
    pub fn needs_url(&self) -> bool {
        !self.verifies_nothing && self.recipe.needs_url()
    }

    /// Whether nothing verifies it, as its definition says.
    pub fn verifies_nothing(&self) -> bool {
        self.verifies_nothing && self.token.is_none()
    }

    /// Whether an address may call.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allow_from.is_empty() || self.allow_from.iter().any(|net| net.contains(&address))
    }

    /// The methods that it answers, for `Allow`.
    pub fn methods(&self) -> Vec<Method> {
        let mut all = vec![Method::POST];
        for handshake in &self.recipe.handshakes {
            for method in &handshake.methods {
                if !all.contains(method) {
                    all.push(method.clone());
                }
            }
        }
        all
    }

    /// Whether a parameter of the query holds a secret, so that it is masked wherever a URL is shown.
    pub fn is_secret_param(&self, name: &str) -> bool {
        let of_scheme = |place: &Place| matches!(place, Place::Query(own) if **own == *name);
        name == TOKEN_PARAM || self.token_places().any(of_scheme)
    }

    /// Whether a header holds a secret.
    pub(super) fn is_secret_header(&self, name: &str) -> bool {
        let mut places = self.token_places();
        places.any(|place| place.header().is_some_and(|own| own.as_str() == name))
    }

    /// Whether templates do not see a header or parameter of that name.
    pub(super) fn hides(&self, name: &str) -> bool {
        let credentials = [
            "authorization",
            "cookie",
            "proxy-authorization",
            "x-hook-secret",
        ];
        credentials.contains(&name) || self.is_secret_header(name) || self.is_secret_param(name)
    }

    fn token_places(&self) -> impl Iterator<Item = &Place> {
        let schemes = self.recipe.schemes.iter();
        let tokens = schemes.filter(|scheme| scheme.algorithm == Algorithm::Token);
        tokens.map(|scheme| &scheme.signature)
    }

    /// Whether the URL has the source's token. `None`: the source has none.
    pub(super) fn has_token(&self, view: &View<'_>) -> Option<bool> {
        let own = hash(self.token.as_deref()?.as_bytes());
        let given = first(view.query(), TOKEN_PARAM).unwrap_or_default();
        Some(hash(given.as_bytes()).ct_eq(&own).into())
    }

    /// The definition as it is stored, secrets in the clear. [`super::read_stored`] reads it.
    pub fn definition(&self) -> Given {
        let mut given = self.given.clone();
        let lasting = self.secrets.iter().filter(|one| one.until.is_none());
        let lasting: Vec<Json> = lasting.map(|one| Json::from(&*one.text)).collect();
        if !lasting.is_empty() {
            given.insert("secrets".into(), Json::Array(lasting));
        }
        let earlier = self.secrets.iter().filter_map(|one| {
            let until = one.until?.as_millis().to_string();
            Some(Json::Array(vec![
                Json::from(&*one.text),
                Json::Number(until.into()),
            ]))
        });
        let earlier: Vec<Json> = earlier.collect();
        if !earlier.is_empty() {
            given.insert(EARLIER_SECRETS.into(), Json::Array(earlier));
        }
        if self.applied {
            given.insert(APPLIED.into(), Json::Bool(true));
        }
        given
    }

    /// A secret for a provider that takes ours, or for a recipe of one's own, of 32 random bytes;
    /// `None` if the provider makes it.
    pub fn fresh_secret(&self, random: [u8; 32]) -> Option<String> {
        let takes_ours = preset::named(self.preset).is_none_or(|preset| preset.own_secret);
        takes_ours.then(|| to_hex(&random))
    }

    /// Whether the URL that the provider gets holds the source's token.
    pub fn has_url_token(&self) -> bool {
        self.token.is_some()
    }

    /// All keys as reads show them: those that are secret are masked.
    pub fn shown(&self) -> Json {
        let text = |text: &Option<Box<str>>| Json::from(text.as_deref().unwrap_or_default());
        let mask = |text: &Option<Box<str>>| Json::from(if text.is_some() { MASK } else { "" });
        let given = |key: &str| self.given.get(key).cloned();
        let or_empty = |json: Option<Json>| json.unwrap_or_else(|| Json::from(""));
        let list = |items: &mut dyn Iterator<Item = String>| {
            Json::Array(items.map(|item| Json::from(&*item)).collect())
        };
        let size = self.max_event_size.map(show_size).unwrap_or_default();
        let rate = self.rate_limit.map(show_rate).unwrap_or_default();
        let tolerance = match self.recipe.uses("tolerance") {
            true => show_duration(self.tolerance),
            false => String::new(),
        };
        let fields = [
            ("id", Json::from(self.id.as_str())),
            ("preset", Json::from(self.preset)),
            ("tenant", Json::from(self.tenant.as_str())),
            ("enabled", Json::Bool(self.enabled)),
            ("description", Json::from(&*self.description)),
            (
                "secrets",
                list(&mut self.secrets.iter().map(|_| MASK.to_owned())),
            ),
            ("type", or_empty(given("type"))),
            (
                "forward_headers",
                list(&mut self.forward.iter().map(|one| one.to_string())),
            ),
            ("tolerance", Json::from(&*tolerance)),
            (
                "allow_from",
                list(&mut self.allow_from.iter().map(IpNet::to_string)),
            ),
            ("verify_token", mask(&self.verify_token)),
            ("app_id", text(&self.app_id)),
            ("public_key", or_empty(given("public_key"))),
            ("account", text(&self.account)),
            ("token", mask(&self.token)),
            ("split", or_empty(given("split"))),
            ("rate_limit", Json::from(&*rate)),
            ("max_event_size", Json::from(&*size)),
            (
                "idempotency_window",
                Json::from(&*show_duration(self.idempotency_window)),
            ),
            (
                "verify",
                given("verify").unwrap_or(Json::Object(Given::new())),
            ),
        ];
        Json::Object(
            fields
                .map(|(key, value)| (key.into(), value))
                .into_iter()
                .collect(),
        )
    }

    pub(super) fn forwarded(&self, view: &View<'_>) -> Vec<(http::HeaderName, http::HeaderValue)> {
        if self.forward.is_empty() {
            return Vec::new();
        }
        view.note_read();
        let is_secret = |name: &http::HeaderName| self.is_secret_header(name.as_str());
        forward::forwarded(view.call.headers, &self.forward, is_secret)
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        self.id == other.id && self.definition() == other.definition()
    }
}

impl fmt::Debug for Source {
    /// Without its secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("id", &self.id)
            .field("preset", &self.preset)
            .field("tenant", &self.tenant)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}
