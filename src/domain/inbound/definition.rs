//! Reads the definition of a source. The configuration file, the API and the store give the same JSON,
//! so that there is one reader and one set of faults.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::credentials::{keys, secrets};
use super::fault::BadSource;
use super::forward::may_be_sent;
use super::keys::{SchemeKey, SourceSecret};
use super::pointer::Pointer;
use super::preset::{self, Preset};
use super::read::recipe;
use super::recipe::{Algorithm, Piece, Recipe};
use super::source::{APPLIED, CUSTOM, EARLIER_SECRETS, MAX_SECRET, MAX_SECRETS, Source, SourceId};
use super::table::{Given, Table};
use crate::domain::event::{SOURCE_WINDOW, Tenant};
use crate::domain::json::Json;
use crate::domain::rate::Rate;
use crate::domain::template::{Output, Template};
use crate::domain::time::Timestamp;
use crate::domain::units::parse_rate;

/// The keys of a definition besides its id.
pub const KEYS: [&str; 19] = [
    "preset",
    "secrets",
    "tenant",
    "type",
    "forward_headers",
    "tolerance",
    "allow_from",
    "verify_token",
    "app_id",
    "public_key",
    "account",
    "token",
    "split",
    "rate_limit",
    "max_event_size",
    "idempotency_window",
    "enabled",
    "description",
    "verify",
];

/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 1024;

/// Checks a definition as it was written in the configuration or for the API.
///
/// # Errors
/// The first key that is wrong, and how to fix it.
pub fn read(id: SourceId, given: &Given) -> Result<Source, BadSource> {
    make(id, &Table::new("", given, &KEYS)?, given, Vec::new())
}

/// Reads what [`Source::definition`] gave.
///
/// # Errors
/// As [`read`].
pub fn read_stored(id: SourceId, given: &Given) -> Result<Source, BadSource> {
    let mut given = given.clone();
    let earlier = given.shift_remove(EARLIER_SECRETS);
    let applied = given.shift_remove(APPLIED) == Some(Json::Bool(true));
    let pair = |item: &Json| {
        let Json::Array(pair) = item else {
            return None;
        };
        let [Json::String(text), Json::Number(until)] = pair.as_slice() else {
            return None;
        };
        Some(SourceSecret {
            text: text.clone(),
            until: Some(Timestamp::from_millis(until.parse().ok()?)),
        })
    };
    let earlier = match &earlier {
        Some(Json::Array(items)) => items.iter().filter_map(pair).collect(),
        _ => Vec::new(),
    };
    let source = make(id, &Table::new("", &given, &KEYS)?, &given, earlier)?;
    Ok(Source { applied, ..source })
}

impl Source {
    /// The source with another newest secret; the earlier ones count for `overlap` longer.
    ///
    /// # Errors
    /// The secret does not have the form of one here.
    pub fn rotated(
        &self,
        secret: &str,
        now: Timestamp,
        overlap: Duration,
    ) -> Result<Source, BadSource> {
        let until = now + overlap;
        let mut secrets = vec![SourceSecret {
            text: secret.into(),
            until: None,
        }];
        for earlier in &self.secrets {
            let until = earlier.until.map_or(until, |before| before.min(until));
            let counts = until > now && *earlier.text != *secret;
            if counts && secrets.len() < MAX_SECRETS {
                secrets.push(SourceSecret {
                    text: earlier.text.clone(),
                    until: Some(until),
                });
            }
        }
        self.with_secrets(secrets)
    }

    /// When the first of the secrets that count for a while only is past its time.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.secrets.iter().filter_map(|one| one.until).min()
    }

    /// The source without the secrets that are past their time.
    ///
    /// # Errors
    /// Only if this version of outboxd would refuse the definition in force.
    pub fn without_expired(&self, now: Timestamp) -> Result<Source, BadSource> {
        let left = self.secrets.iter().filter(|one| one.counts(now));
        self.with_secrets(left.cloned().collect())
    }

    fn with_secrets(&self, secrets: Vec<SourceSecret>) -> Result<Source, BadSource> {
        let mut changed = self.clone();
        changed.secrets = secrets;
        read_stored(self.id.clone(), &changed.definition())
    }
}

/// What verifies, and the preset that says so.
struct Basis {
    preset: &'static str,
    recipe: Arc<Recipe>,
    verifies_nothing: bool,
}

fn make(
    id: SourceId,
    table: &Table<'_>,
    given: &Given,
    earlier: Vec<SourceSecret>,
) -> Result<Source, BadSource> {
    let basis = basis(table)?;
    let recipe = &basis.recipe;
    check_relevance(table, recipe)?;
    let mut secrets = secrets(table)?;
    secrets.extend(earlier);
    secrets.truncate(MAX_SECRETS);
    let account = account(table)?;
    let keys = keys(table, recipe, &secrets, account)?;
    let token = bounded(table, "token", MAX_SECRET)?;
    if !basis.verifies_nothing {
        check_verified(table, &basis, &keys, token.is_some())?;
    }
    let mut given = given.clone();
    given.shift_remove("secrets");
    Ok(Source {
        id,
        tenant: tenant(table)?,
        preset: basis.preset,
        enabled: table.flag("enabled")?.unwrap_or(true),
        description: bounded(table, "description", MAX_DESCRIPTION)?.unwrap_or_default(),
        rate_limit: rate_limit(table)?,
        max_event_size: table
            .event_size("max_event_size")?
            .or(recipe.max_event_size),
        idempotency_window: duration(table, "idempotency_window")?.unwrap_or(SOURCE_WINDOW),
        allow_from: networks(table)?,
        secrets,
        event_type: event_type(table)?,
        forward: forward(table, recipe)?,
        tolerance: duration(table, "tolerance")?.unwrap_or(recipe.tolerance),
        verify_token: bounded(table, "verify_token", MAX_SECRET)?,
        app_id: app_id(table, recipe, basis.verifies_nothing)?,
        account: account.map(Box::from),
        token,
        split: split(table)?,
        verifies_nothing: basis.verifies_nothing,
        keys,
        recipe: basis.recipe,
        applied: false,
        given,
    })
}

fn basis(table: &Table<'_>) -> Result<Basis, BadSource> {
    let words: Vec<(&'static str, &'static Preset)> =
        preset::all().iter().map(|one| (one.name, one)).collect();
    let preset = match table.filled("preset")? {
        None => None,
        Some(_) => table.word("preset", &words)?,
    };
    let own = match table.get("verify") {
        None => None,
        Some(Json::Object(fields)) if fields.is_empty() => None,
        Some(Json::Object(fields)) => Some(recipe("verify.", fields)?),
        Some(Json::String(text)) if &**text == "none" => {
            return Ok(Basis {
                preset: preset.map_or(CUSTOM, |preset| preset.name),
                recipe: match preset {
                    Some(preset) => preset.recipe.clone(),
                    None => Arc::new(recipe("verify.", &Given::new())?),
                },
                verifies_nothing: true,
            });
        }
        Some(_) => {
            let problem = "this is neither a recipe nor \"none\"";
            let fix = "write a table such as { signature = \"header:x-signature\" }, or \"none\"";
            return Err(table.fault("verify", problem, fix));
        }
    };
    let (name, recipe) = match (preset, own) {
        (Some(_), Some(_)) => {
            let problem = "a preset has a recipe of its own";
            return Err(table.fault("verify", problem, "remove preset or verify"));
        }
        (Some(preset), None) => (preset.name, preset.recipe.clone()),
        (None, Some(own)) => (CUSTOM, Arc::new(own)),
        (None, None) => {
            let problem = "nothing says how its calls are verified";
            let fix = "name a preset such as \"github\", write a recipe in verify, or \
                       verify = \"none\"";
            return Err(table.fault("preset", problem, fix));
        }
    };
    Ok(Basis {
        preset: name,
        recipe,
        verifies_nothing: false,
    })
}

/// A key without effect is a mistake that nobody would notice.
fn check_relevance(table: &Table<'_>, recipe: &Recipe) -> Result<(), BadSource> {
    for key in KEYS {
        let is_filled = match table.get(key) {
            None => false,
            Some(Json::String(text)) => !text.is_empty(),
            Some(Json::Array(items)) => !items.is_empty(),
            Some(_) => true,
        };
        if is_filled && !recipe.uses(key) {
            let problem = "this has no effect here: the provider does not use it";
            return Err(table.fault(key, problem, "remove it, or name the right preset"));
        }
    }
    Ok(())
}

fn check_verified(
    table: &Table<'_>,
    basis: &Basis,
    keys: &[Vec<SchemeKey>],
    has_token: bool,
) -> Result<(), BadSource> {
    let recipe = &basis.recipe;
    let has_key = keys.iter().any(|keys| !keys.is_empty());
    let token_will_do = recipe.schemes.is_empty() || recipe.optional_secrets;
    if has_key || (has_token && token_will_do) {
        return Ok(());
    }
    let (key, what) = if recipe.has_algorithm(Algorithm::is_secret) {
        ("secrets", "give the secret that the provider signs with")
    } else if recipe.has_algorithm(Algorithm::is_asymmetric) {
        ("public_key", "give the key that the provider shows")
    } else if recipe.schemes.is_empty() {
        ("token", "give a token and add ?token=… to the URL")
    } else {
        ("account", "give the OrganizationId")
    };
    let or_token = match token_will_do && key != "token" {
        true => ", or a token for the URL",
        false => "",
    };
    let fix = format!("{what}{or_token}, or write verify = \"none\"");
    Err(table.fault(key, "nothing verifies its calls", fix))
}

fn account<'a>(table: &Table<'a>) -> Result<Option<&'a str>, BadSource> {
    let Some(text) = table.filled("account")? else {
        return Ok(None);
    };
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match plain && matches!(text.len(), 15 | 18) {
        true => Ok(Some(text)),
        false => {
            let fix = "write its 15 or 18 letters and digits, such as \"00D000000000062EAA\"";
            Err(table.fault("account", "this is not an OrganizationId", fix))
        }
    }
}

fn bounded(table: &Table<'_>, key: &str, most: usize) -> Result<Option<Box<str>>, BadSource> {
    match table.filled(key)? {
        Some(text) if text.len() > most => {
            let fix = format!("write at most {most} bytes");
            Err(table.fault(key, "this text is too long", fix))
        }
        text => Ok(text.map(Box::from)),
    }
}

fn tenant(table: &Table<'_>) -> Result<Tenant, BadSource> {
    let Some(text) = table.filled("tenant")? else {
        return Ok(Tenant::default());
    };
    let fix = "write a name such as \"default\"";
    Tenant::new(text).map_err(|bad| table.fault("tenant", bad.to_string(), fix))
}

fn rate_limit(table: &Table<'_>) -> Result<Option<Rate>, BadSource> {
    let read = table.filled("rate_limit")?.map(parse_rate).transpose();
    read.map_err(|bad| table.unit("rate_limit", &bad))
}

fn duration(table: &Table<'_>, key: &str) -> Result<Option<Duration>, BadSource> {
    match table.duration(key)? {
        Some(span) if span < Duration::from_secs(1) => {
            Err(table.fault(key, "this is too short", "write at least \"1s\""))
        }
        span => Ok(span),
    }
}

fn networks(table: &Table<'_>) -> Result<Vec<IpNet>, BadSource> {
    let texts = table.texts("allow_from")?.unwrap_or_default();
    let read = |(n, text): (usize, &str)| {
        let fault = |problem: &str, fix: String| {
            let key = format!("allow_from[{n}]");
            Err(table.fault(&key, problem, fix))
        };
        match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(network), _) => Ok(network.trunc()),
            (Err(_), Ok(address)) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                let fix = format!("write \"{address}/{bits}\" for this one address");
                fault("this address lacks its prefix length", fix)
            }
            (Err(_), Err(_)) => {
                let fix = "write one such as \"192.0.2.0/24\" or \"2001:db8::/32\"".to_owned();
                fault("this is not a network", fix)
            }
        }
    };
    texts.into_iter().enumerate().map(read).collect()
}

fn event_type(table: &Table<'_>) -> Result<Option<Template>, BadSource> {
    let Some(text) = table.filled("type")? else {
        return Ok(None);
    };
    let read = Template::parse(text, Output::Text).map(Some);
    read.map_err(|bad| table.fault("type", bad.what(), bad.fix.clone()))
}

fn forward(table: &Table<'_>, recipe: &Recipe) -> Result<Vec<Box<str>>, BadSource> {
    let texts = table.texts("forward_headers")?.unwrap_or_default();
    if texts.is_empty() {
        return Ok(recipe.forward.clone());
    }
    let secret = |name: &str| {
        let tokens = recipe.schemes.iter();
        let mut tokens = tokens.filter(|scheme| scheme.algorithm == Algorithm::Token);
        tokens.any(|scheme| {
            let header = scheme.signature.header();
            header.is_some_and(|own| own.as_str() == name)
        })
    };
    let read = |(n, text): (usize, &str)| {
        let name = text.to_ascii_lowercase();
        let fault = |problem: &str, fix: &str| {
            let key = format!("forward_headers[{n}]");
            Err(table.fault(&key, problem, fix))
        };
        let bare = name.trim_end_matches('*');
        let is_name = bare.is_empty() || http::HeaderName::from_bytes(bare.as_bytes()).is_ok();
        if !is_name || name.is_empty() {
            let fix = "write letters, digits and hyphens, such as \"x-team\", or \"*\"";
            fault("this is not a header name", fix)
        } else if bare == name && (!may_be_sent(&name) || secret(&name)) {
            fault("this header is never sent on", "remove it")
        } else {
            Ok(name.into())
        }
    };
    texts.into_iter().enumerate().map(read).collect()
}

fn app_id(
    table: &Table<'_>,
    recipe: &Recipe,
    verifies_nothing: bool,
) -> Result<Option<Box<str>>, BadSource> {
    let given = bounded(table, "app_id", 256)?;
    if given.is_none() && recipe.has_piece(&Piece::AppId) && !verifies_nothing {
        let fix = "give the id of the app, which the provider signs";
        return Err(table.fault("app_id", "this key is missing", fix));
    }
    Ok(given)
}

/// `/` is the whole body.
fn split(table: &Table<'_>) -> Result<Option<Pointer>, BadSource> {
    let Some(text) = table.filled("split")? else {
        return Ok(None);
    };
    let pointer = match text {
        "/" => Pointer::parse(""),
        text => Pointer::parse(text),
    };
    pointer.map(Some).ok_or_else(|| {
        let fix = "write one such as \"/entry\", or \"/\" if the body itself is the array";
        table.fault("split", "this is not a JSON pointer", fix)
    })
}
