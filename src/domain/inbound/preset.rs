//! Presets: providers as data. A file is a recipe, with what its documentation and samples need.

use std::sync::{Arc, OnceLock};

use http::header::HeaderName;
use indexmap::IndexMap;

use super::read::recipe;
use super::recipe::Recipe;
use super::table::Given;
use crate::domain::json::Json;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        /// As configuration and APIs write them.
        pub const NAMES: &[&str] = &[$($name),*];
        /// The files, in the order of [`NAMES`].
        const FILES: &[&str] = &[$(include_str!(concat!("presets/", $name, ".toml"))),*];
    };
}

files!(
    "github",
    "gitlab",
    "stripe",
    "shopify",
    "slack",
    "meta",
    "zalo",
    "standard_webhooks",
    "hubspot",
    "salesforce",
    "twilio",
    "zendesk",
    "square",
    "linear",
    "discord",
    "telegram",
    "cloudevents",
    "zoom",
    "twitter",
    "twitch",
    "line",
    "gitea",
    "bitbucket",
    "woocommerce",
    "haravan",
    "pagerduty",
    "intercom",
    "xero",
    "sentry",
    "okta",
    "asana",
    "dropbox",
    "monday",
    "ms_graph",
    "sendgrid",
    "trello",
    "strava",
    "nylas",
    "sepay",
    "basic",
    "bearer",
    "api_key",
    "query_token",
);

/// One provider.
#[derive(Clone, Debug)]
pub struct Preset {
    pub name: &'static str,
    /// As people call it.
    pub title: Box<str>,
    /// How the recipe was checked: `official vector`, `construction` or `not checked live`.
    pub checked: Box<str>,
    /// What its users should know.
    pub note: Box<str>,
    /// The operator chooses the secret and gives it to the provider, not the other way round.
    pub own_secret: bool,
    pub(super) recipe: Arc<Recipe>,
    pub(super) sample: SampleParts,
}

/// What a sample of a provider's calls is made of. `%NONCE%`, `%SECONDS%`, `%MILLIS%`, `%TIME%`,
/// `%NUMBER%`, `%APP_ID%`, `%ACCOUNT%` and `"%SECRET%"` stand for what is of the moment or the source.
#[derive(Clone, Debug, Default)]
pub(super) struct SampleParts {
    pub body: Box<str>,
    pub content_type: Option<Box<str>>,
    pub headers: Vec<(HeaderName, Box<str>)>,
}

/// Keys of a definition that say who the provider is.
const IDENTITY_KEYS: [&str; 5] = ["secrets", "public_key", "account", "app_id", "verify_token"];

impl Preset {
    /// The keys of a definition by which its calls are verified and handshakes answered; `token` will
    /// do if there is no other.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        let all = IDENTITY_KEYS.into_iter();
        all.filter(|key| self.recipe.uses(key))
    }

    /// Whether the provider signs the URL, so that `public_url` is needed.
    pub fn needs_url(&self) -> bool {
        self.recipe.needs_url()
    }
}

/// The preset of that name.
pub fn named(name: &str) -> Option<&'static Preset> {
    all().iter().find(|preset| preset.name == name)
}

/// All presets, in the order of [`NAMES`].
pub fn all() -> &'static [Preset] {
    static PRESETS: OnceLock<Vec<Preset>> = OnceLock::new();
    PRESETS.get_or_init(|| {
        let files = NAMES.iter().zip(FILES);
        files
            .filter_map(|(name, text)| read(name, text).ok())
            .collect()
    })
}

/// # Errors
/// What is wrong with the file, which a test excludes.
fn read(name: &'static str, text: &str) -> Result<Preset, String> {
    let file: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut given = table(file);
    let mut text = |key: &str| match given.shift_remove(key) {
        Some(Json::String(text)) => text,
        _ => Box::default(),
    };
    let (title, checked, note) = (text("title"), text("checked"), text("note"));
    let own_secret = given.shift_remove("own_secret") == Some(Json::Bool(true));
    let sample = given.shift_remove("sample").map(|sample| parts(&sample));
    Ok(Preset {
        name,
        title,
        checked,
        note,
        own_secret,
        recipe: Arc::new(recipe("", &given).map_err(|bad| format!("{}: {bad}", bad.key))?),
        sample: sample.unwrap_or_default(),
    })
}

fn parts(sample: &Json) -> SampleParts {
    let text = |key: &str| sample.get(key).and_then(Json::as_str);
    let headers = match sample.get("headers") {
        Some(Json::Object(fields)) => fields
            .iter()
            .filter_map(|(name, value)| Some((name.parse().ok()?, value.as_str()?.into())))
            .collect(),
        _ => Vec::new(),
    };
    SampleParts {
        body: text("body").unwrap_or_default().into(),
        content_type: text("content_type").map(Box::from),
        headers,
    }
}

fn table(table: toml::Table) -> Given {
    let fields = table.into_iter();
    fields
        .map(|(key, value)| (key.into(), json(value)))
        .collect::<IndexMap<_, _>>()
}

fn json(value: toml::Value) -> Json {
    match value {
        toml::Value::String(text) => Json::String(text.into()),
        toml::Value::Boolean(flag) => Json::Bool(flag),
        toml::Value::Array(items) => Json::Array(items.into_iter().map(json).collect()),
        toml::Value::Table(fields) => Json::Object(table(fields)),
        toml::Value::Integer(number) => Json::Number(number.to_string().into()),
        // Presets have neither fractions nor times.
        toml::Value::Float(_) | toml::Value::Datetime(_) => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventType;

    #[test]
    fn every_preset_can_be_read() {
        for (name, text) in NAMES.iter().zip(FILES) {
            let preset = read(name, text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!preset.title.is_empty(), "{name}");
            let ways = ["official vector", "construction", "not checked live"];
            assert!(
                ways.contains(&&*preset.checked),
                "{name}: {}",
                preset.checked
            );
            assert!(EventType::new(name).is_ok(), "{name}");
            let keys: Vec<&str> = preset.keys().collect();
            let has_none = ["monday", "strava", "query_token"].contains(name);
            assert_eq!(
                keys.iter().all(|key| *key == "verify_token"),
                has_none,
                "{name}"
            );
        }
        assert!(named("myspace").is_none());
    }
}
