//! The configuration in effect, as TOML or JSON, for people and scripts to read.
//!
//! Secrets, tokens and the values of headers are never shown: in TOML a comment says
//! that they are set, so that the rest can be read back as it stands.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::units::{show_duration, show_rate, show_size};
use super::{Auth, Backup, Config, DeliveryLimits, LogFormat, Otlp, OutboxLimits, Portal, Scope};
use crate::domain::endpoint::{Endpoint, Rate};
use crate::domain::inbound::{self, Source};
use crate::domain::json::Json;
use crate::domain::retry::RetryPolicy;
use crate::domain::shaping::{KEYS, Shaping};
use crate::domain::signature::SecretKind;

/// Replaces what is hidden.
const MASK: &str = "…";

/// A key's value in both forms; `toml` is `None` where it would show a secret.
struct Shown {
    toml: Option<String>,
    json: Value,
    /// What a comment says in place of the value.
    remark: String,
}

type Keys = Vec<(&'static str, Shown)>;

/// Valid TOML that gives the same configuration, but for what is masked.
pub fn to_toml(config: &Config) -> String {
    let mut out = String::new();
    write_keys(&mut out, &[("data_dir", path(Some(&config.data_dir)))]);
    for (name, keys) in tables(config) {
        heading(&mut out, &format!("[{name}]"));
        write_keys(&mut out, &keys);
    }
    for endpoint in &config.endpoints {
        heading(&mut out, "[[endpoint]]");
        write_keys(&mut out, &endpoint_keys(endpoint));
        heading(&mut out, "[endpoint.retry]");
        write_keys(&mut out, &retry_keys(&endpoint.retry));
    }
    for source in &config.sources {
        heading(&mut out, "[[source]]");
        if source.verifies_nothing() {
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "# outboxd does not verify the calls of this source: anyone who knows its URL can send events"
            );
        }
        write_keys(&mut out, &source_keys(source));
    }
    out
}

/// The same keys as in TOML; units as texts.
pub fn to_json(config: &Config) -> Value {
    let object = |keys: Keys| -> Map<String, Value> {
        keys.into_iter()
            .map(|(key, shown)| (key.to_owned(), shown.json))
            .collect()
    };
    let mut all = object(vec![("data_dir", path(Some(&config.data_dir)))]);
    for (name, keys) in tables(config) {
        all.insert(name.to_owned(), Value::Object(object(keys)));
    }
    let endpoints = config.endpoints.iter().map(|endpoint| {
        let mut keys = object(endpoint_keys(endpoint));
        keys.insert(
            "retry".to_owned(),
            Value::Object(object(retry_keys(&endpoint.retry))),
        );
        Value::Object(keys)
    });
    all.insert("endpoint".to_owned(), endpoints.collect());
    let sources = config.sources.iter();
    let sources = sources.map(|source| Value::Object(object(source_keys(source))));
    all.insert("source".to_owned(), sources.collect());
    Value::Object(all)
}

fn heading(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n{text}"); // Writing to a String cannot fail.
}

fn write_keys(out: &mut String, keys: &[(&'static str, Shown)]) {
    for (key, shown) in keys {
        // Writing to a String cannot fail.
        let _ = match &shown.toml {
            Some(value) => writeln!(out, "{key} = {value}"),
            None => writeln!(out, "# {key} = {}", shown.remark),
        };
    }
}

fn tables(config: &Config) -> Vec<(&'static str, Keys)> {
    let Config {
        listen,
        ingest,
        outbox,
        retention,
        delivery,
        log,
        ..
    } = config;
    let address = |at: Option<SocketAddr>| at.map(|at| at.to_string()).unwrap_or_default();
    let cert = listen.inbound_cert.as_ref();
    let format = match log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    vec![
        (
            "listen",
            vec![
                ("http", text(&address(listen.http))),
                ("unix", path(listen.unix.as_deref())),
                ("unix_mode", text(&format!("{:04o}", listen.unix_mode))),
                ("hosts", list(&listen.hosts)),
                ("inbound", text(&address(listen.inbound))),
                ("inbound_cert_file", path(cert.map(|files| &*files.cert))),
                ("inbound_key_file", path(cert.map(|files| &*files.key))),
                (
                    "public_url",
                    text(listen.public_url.as_deref().unwrap_or_default()),
                ),
                ("trusted_proxies", list(&listen.trusted_proxies)),
                ("ui", plain(listen.ui)),
            ],
        ),
        ("auth", vec![("tokens", tokens(&config.auth))]),
        (
            "ingest",
            vec![
                ("max_event_size", size(ingest.max_event_size)),
                ("max_batch_events", plain(ingest.max_batch_events)),
                ("max_batch_size", size(ingest.max_batch_size)),
                ("rate_limit", rate(ingest.rate_limit)),
                ("idempotency_window", duration(ingest.idempotency_window)),
            ],
        ),
        ("outbox", outbox_keys(outbox)),
        (
            "retention",
            vec![
                ("delivered", duration(retention.delivered)),
                ("dead", duration(retention.dead)),
                ("held", duration(retention.held)),
                ("max_size", size(retention.max_size)),
            ],
        ),
        ("delivery", delivery_keys(delivery)),
        ("retry", retry_keys(&config.retry)),
        (
            "log",
            vec![("level", text(&log.level)), ("format", text(format))],
        ),
        (
            "metrics",
            vec![("per_endpoint", plain(config.metrics.per_endpoint))],
        ),
        ("otlp", otlp_keys(&config.otlp)),
        ("portal", portal_keys(&config.portal)),
        ("backup", backup_keys(&config.backup)),
    ]
}

fn outbox_keys(outbox: &OutboxLimits) -> Keys {
    vec![
        ("max_size", size(outbox.max_size)),
        ("endpoint_share", decimal(outbox.endpoint_share)),
        ("min_free_disk", size(outbox.min_free_disk)),
        ("cache_size", size(outbox.cache_size)),
        ("segment_size", size(outbox.segment_size)),
    ]
}

fn delivery_keys(delivery: &DeliveryLimits) -> Keys {
    let proxy = delivery
        .proxy
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    vec![
        ("max_in_flight", plain(delivery.max_in_flight)),
        ("connect_timeout", duration(delivery.connect_timeout)),
        ("timeout", duration(delivery.timeout)),
        ("response_body_limit", size(delivery.response_body_limit)),
        ("allow_networks", list(&delivery.allow_networks)),
        ("allow_http", plain(delivery.allow_http)),
        ("proxy", text(&proxy)),
        ("ca_file", path(delivery.ca_file.as_deref())),
        ("threads", plain(delivery.threads)),
        ("http2", plain(delivery.http2)),
        ("connection_max_age", duration(delivery.connection_max_age)),
        ("user_agent", text(&delivery.user_agent)),
    ]
}

fn otlp_keys(otlp: &Otlp) -> Keys {
    vec![
        (
            "endpoint",
            text(otlp.endpoint.as_deref().unwrap_or_default()),
        ),
        ("headers", headers(&otlp.headers)),
        ("timeout", duration(otlp.timeout)),
        ("sample_ratio", decimal(otlp.sample_ratio)),
    ]
}

fn portal_keys(portal: &Portal) -> Keys {
    let accent = portal.accent.as_ref().map(ToString::to_string);
    let logo = portal.logo.as_ref().map(|logo| logo.path.as_path());
    let refresh_url = portal.refresh_url.as_deref();
    vec![
        ("name", text(&portal.name)),
        ("logo_file", path(logo)),
        ("accent", text(accent.as_deref().unwrap_or_default())),
        ("frame_ancestors", list(&portal.frame_ancestors)),
        ("refresh_url", text(refresh_url.unwrap_or_default())),
    ]
}

fn backup_keys(backup: &Backup) -> Keys {
    let to = backup.to.as_ref().map(ToString::to_string);
    let s3 = &backup.s3;
    vec![
        ("to", text(to.as_deref().unwrap_or_default())),
        ("interval", duration(backup.interval)),
        ("retain", duration(backup.retain)),
        (
            "key_file",
            match backup.key {
                Some(_) => hidden("(set, not shown)", json!(MASK)),
                None => text(""),
            },
        ),
        ("endpoint", text(s3.endpoint.as_deref().unwrap_or_default())),
        ("region", text(s3.region.as_deref().unwrap_or_default())),
        ("credentials_file", path(s3.credentials_file.as_deref())),
    ]
}

fn retry_keys(retry: &RetryPolicy) -> Keys {
    let schedule: Vec<String> = retry
        .schedule
        .iter()
        .map(|span| show_duration(*span))
        .collect();
    vec![
        ("first", duration(retry.first)),
        ("factor", decimal(retry.factor)),
        ("max", duration(retry.max)),
        ("jitter", decimal(retry.jitter)),
        ("give_up_after", duration(retry.give_up_after)),
        ("schedule", list(&schedule)),
    ]
}

fn endpoint_keys(endpoint: &Endpoint) -> Keys {
    let mut keys = own_keys(endpoint);
    for key in KEYS {
        let shaping = endpoint.shaping.as_ref();
        if let Some(json) = shaping.and_then(|shaping| shaping.shown(key)) {
            keys.push((key, given(key, &json)));
        }
    }
    keys
}

/// The keys of a source. A source with a recipe of its own has no preset.
fn source_keys(source: &Source) -> Keys {
    let shown = source.shown();
    let key = |name: &'static str| Some((name, source_key(name, shown.get(name)?)));
    let names = ["id"].into_iter().chain(inbound::KEYS);
    names
        .filter(|name| *name != "preset" || source.preset != inbound::CUSTOM)
        .filter_map(key)
        .collect()
}

fn source_key(name: &str, json: &Json) -> Shown {
    let value = serde_json::from_str(&json.to_string()).unwrap_or(Value::Null);
    let is_secret = ["secrets", "verify_token", "token"].contains(&name);
    let is_empty = match json {
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        _ => false,
    };
    match is_secret && !is_empty {
        true => hidden("(set, not shown)", value),
        false => shown(toml_value(json), value),
    }
}

/// A value as it was given, secrets masked.
fn given(key: &str, json: &Json) -> Shown {
    let value = serde_json::from_str(&json.to_string()).unwrap_or(Value::Null);
    match Shaping::is_masked(key) {
        true => hidden("(set, not shown)", value),
        false => shown(toml_value(json), value),
    }
}

/// As TOML, on one line. `null` has no form there, and a key with it was not given.
fn toml_value(json: &Json) -> String {
    match json {
        Json::String(text) => toml_string(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        // JSON in a string is the same.
        Json::Object(_) if has_no_toml_form(json) => toml_string(&json.to_string()),
        Json::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{} = {}", toml_string(name), toml_value(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        // TOML's integers have 64 bits.
        Json::Number(digits) if is_wide(digits) => toml_string(digits),
        other => other.to_string(),
    }
}

/// Whether it holds `null` or an integer of more than 64 bits.
fn has_no_toml_form(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::Array(items) => items.iter().any(has_no_toml_form),
        Json::Object(fields) => fields.values().any(has_no_toml_form),
        Json::Number(digits) => is_wide(digits),
        Json::Bool(_) | Json::String(_) => false,
    }
}

/// Whether a number has no form in TOML that keeps its digits.
fn is_wide(digits: &str) -> bool {
    let is_integer = digits.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_integer && digits.parse::<i64>().is_err()
}

/// A URL that is a secret is not shown, so that the rest can be read back.
fn shown_url(endpoint: &Endpoint) -> Shown {
    match endpoint.shown_url() {
        Cow::Borrowed(url) => text(url),
        Cow::Owned(url) => hidden(&format!("(set, not shown) {url}"), json!(url)),
    }
}

fn own_keys(endpoint: &Endpoint) -> Keys {
    vec![
        ("id", text(endpoint.id.as_str())),
        ("url", shown_url(endpoint)),
        ("tenant", text(endpoint.tenant.as_str())),
        ("types", list(&endpoint.types)),
        ("secret", secret(endpoint)),
        ("headers", headers(&endpoint.headers)),
        ("max_in_flight", plain(endpoint.max_in_flight)),
        ("rate_limit", rate(endpoint.rate_limit)),
        ("ordering", text(endpoint.ordering.as_str())),
        ("timeout", duration(endpoint.timeout)),
        ("http2", plain(endpoint.http2)),
        ("allow_networks", list(&endpoint.allow_networks)),
        ("enabled", plain(endpoint.enabled)),
    ]
}

fn secret(endpoint: &Endpoint) -> Shown {
    if endpoint.secrets.is_empty() {
        return hidden("(none: requests are not signed)", Value::Null);
    }
    let prefix = match endpoint.secrets.first().map(|kept| kept.secret.kind()) {
        Some(SecretKind::Ed25519) => "whsk_",
        _ => "whsec_",
    };
    hidden("(set, not shown)", json!(format!("{prefix}{MASK}")))
}

fn headers(headers: &http::HeaderMap) -> Shown {
    let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    if names.is_empty() {
        return Shown {
            toml: Some("{}".to_owned()),
            json: json!({}),
            remark: String::new(),
        };
    }
    let masked: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!(MASK)))
        .collect();
    hidden(
        &format!("(set, values not shown) {}", names.join(", ")),
        Value::Object(masked),
    )
}

fn tokens(auth: &Auth) -> Shown {
    let scope = |scope| match scope {
        Scope::Ingest => "ingest",
        Scope::Admin => "admin",
    };
    let tokens = &auth.tokens;
    if tokens.is_empty() {
        return list::<String>(&[]);
    }
    let names: Vec<String> = tokens
        .iter()
        .map(|token| format!("{} ({})", token.name, scope(token.scope)))
        .collect();
    let json = tokens
        .iter()
        .map(|token| json!({"name": token.name, "scope": scope(token.scope)}));
    hidden(
        &format!("(set, not shown) {}", names.join(", ")),
        json.collect(),
    )
}

fn hidden(remark: &str, json: Value) -> Shown {
    Shown {
        toml: None,
        json,
        remark: remark.to_owned(),
    }
}

fn shown(toml: String, json: Value) -> Shown {
    Shown {
        toml: Some(toml),
        json,
        remark: String::new(),
    }
}

fn text(text: &str) -> Shown {
    shown(toml_string(text), json!(text))
}

fn path(path: Option<&Path>) -> Shown {
    text(&path.map(Path::to_string_lossy).unwrap_or_default())
}

fn plain<T: ToString + serde::Serialize>(value: T) -> Shown {
    shown(value.to_string(), json!(value))
}

/// A TOML float has a point or an exponent always, as `Debug` writes it.
fn decimal(value: f64) -> Shown {
    shown(format!("{value:?}"), json!(value))
}

fn duration(span: Duration) -> Shown {
    text(&show_duration(span))
}

fn size(bytes: u64) -> Shown {
    text(&show_size(bytes))
}

fn rate(rate: Option<Rate>) -> Shown {
    text(&rate.map(show_rate).unwrap_or_default())
}

fn list<T: ToString>(items: &[T]) -> Shown {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    let quoted: Vec<String> = items.iter().map(|item| toml_string(item)).collect();
    shown(format!("[{}]", quoted.join(", ")), json!(items))
}

/// A basic string (TOML 1.0, "String").
fn toml_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c)); // To a String: cannot fail.
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
