//! JSON Schemas of single values, the same in the file and in the API.

use serde_json::{Value, json};

use crate::domain::auth;
use crate::domain::extras::MAX_CHANNELS;
use crate::domain::shaping::{Format, PRESETS, Verb};
use crate::domain::signature::{ALGORITHMS, ENCODINGS, MAX_STYLES, STYLE_FIELDS, STYLES};

/// A string.
pub fn text() -> Value {
    json!({"type": "string"})
}

/// A string that matches.
pub fn matching(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

pub fn flag() -> Value {
    json!({"type": "boolean"})
}

/// A whole number within bounds.
pub fn count(least: usize, most: usize) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// Such as `"5s"`.
pub fn duration() -> Value {
    matching("^[0-9]+(ms|s|m|h|d)$")
}

/// Such as `"5s"`; `""` is none.
pub fn optional_duration() -> Value {
    matching("^([0-9]+(ms|s|m|h|d))?$")
}

/// Such as `"64KiB"`.
pub fn size() -> Value {
    matching("^[0-9]+(B|KiB|MiB|GiB)$")
}

/// Such as `"64KiB"`; `""` is none.
pub fn optional_size() -> Value {
    matching("^([0-9]+(B|KiB|MiB|GiB))?$")
}

/// Such as `"50/s"`; `""` is none.
pub fn rate() -> Value {
    matching("^([0-9]+/[sm])?$")
}

/// An id in the file, a tenant, a name.
pub fn name() -> Value {
    matching("^[A-Za-z0-9_-]{1,64}$")
}

/// A pattern of event types: an exact type, a prefix that ends in `.*`, or `*`.
pub fn type_pattern() -> Value {
    matching(r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$")
}

/// One of the given words.
pub fn words(words: impl IntoIterator<Item = &'static str>) -> Value {
    json!({"enum": words.into_iter().collect::<Vec<_>>()})
}

pub fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// An object that has these keys and no others.
pub fn object(
    properties: impl IntoIterator<Item = (&'static str, Value)>,
    required: &[&str],
) -> Value {
    let properties: serde_json::Map<String, Value> = properties
        .into_iter()
        .map(|(key, shape)| (key.to_owned(), shape))
        .collect();
    let mut object =
        json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// The keys of `[retry]`, and of an endpoint's overrides of it.
pub fn retry() -> Vec<(&'static str, Value)> {
    vec![
        ("first", duration()),
        (
            "factor",
            json!({"type": "number", "minimum": 1, "maximum": 1000}),
        ),
        ("max", duration()),
        (
            "jitter",
            json!({"type": "number", "minimum": 0, "maximum": 1}),
        ),
        ("give_up_after", duration()),
        (
            "schedule",
            json!({"type": "array", "items": duration(), "maxItems": 100}),
        ),
    ]
}

/// The shaping of an endpoint: the keys that are the same in the file and in the API.
pub fn shaping() -> Vec<(&'static str, Value)> {
    let document = json!({"type": ["object", "string"]});
    let channels = json!({"type": "array", "items": text(), "maxItems": MAX_CHANNELS});
    vec![
        ("filter", document),
        ("channels", channels),
        ("format", words(Format::ALL.map(Format::as_str))),
        ("template", text()),
        ("content_type", text()),
        ("preset", words(PRESETS)),
        ("text", text()),
        ("method", words(Verb::ALL.map(Verb::as_str))),
        ("answer", answer()),
        ("signatures", signatures()),
        ("signing_key", text()),
        ("auth", auth(&[])),
        ("client_cert", text()),
        ("client_key", text()),
        ("ca", text()),
        ("cloudevents_handshake", flag()),
        ("cloudevents_source", text()),
    ]
}

/// Which responses are a success, and which are final. As JSON in a string it may hold `null`.
fn answer() -> Value {
    let status = json!({"anyOf": [
        {"type": "integer", "minimum": 300, "maximum": 599},
        {"enum": ["3xx", "4xx", "5xx"]},
    ]});
    let fields = [
        ("success", json!({"type": "object"})),
        ("permanent", list(&status)),
        ("retry_after", text()),
    ];
    json!({"anyOf": [object(fields, &[]), {"type": "string"}]})
}

fn signatures() -> Value {
    let own = |field: &'static str| match field {
        "algorithm" => (field, words(ALGORITHMS.map(|(name, _)| name))),
        "encoding" => (field, words(ENCODINGS.map(|(name, _)| name))),
        _ => (field, text()),
    };
    let own = object(STYLE_FIELDS.map(own), &["header"]);
    let named = words(STYLES.map(|(name, _)| name));
    json!({"type": "array", "minItems": 1, "maxItems": MAX_STYLES, "items": {"anyOf": [named, own]}})
}

/// How outboxd authenticates itself. `files` are keys that name files with other keys' values.
pub fn auth(files: &[&'static str]) -> Value {
    let of_type = |name: &str, keys: &[&'static str], required: &[&str]| {
        let shape = |key: &'static str| match key {
            "type" => (key, json!({"const": name})),
            "auth_method" => (key, words(auth::METHODS)),
            _ => (key, text()),
        };
        object(keys.iter().copied().map(shape), required)
    };
    let oauth2 = [&auth::OAUTH2_KEYS[..], files].concat();
    json!({"type": "object", "required": ["type"], "oneOf": [
        of_type("oauth2", &oauth2, &["type", "token_url", "client_id"]),
        of_type("basic", &["type", "username", "password"], &["type", "username", "password"]),
        of_type("bearer", &["type", "token"], &["type", "token"]),
    ]})
}

/// The keys of a source that are the same in the file and in the API.
pub fn source() -> Vec<(&'static str, Value)> {
    use crate::domain::inbound::{MAX_SECRETS, NAMES, RECIPE_KEYS, SCHEME_KEYS};
    let texts = json!({"anyOf": [text(), list(&text())]});
    let recipe = json!({
        "type": "object",
        "propertyNames": words(RECIPE_KEYS.into_iter().chain(SCHEME_KEYS)),
    });
    let secrets = json!({"anyOf": [
        text(),
        {"type": "array", "items": text(), "maxItems": MAX_SECRETS},
    ]});
    vec![
        ("preset", words(NAMES.iter().copied().chain([""]))),
        ("secrets", secrets),
        ("tenant", matching("^[A-Za-z0-9_-]{0,64}$")),
        ("type", text()),
        ("forward_headers", texts.clone()),
        ("tolerance", optional_duration()),
        ("allow_from", texts),
        ("verify_token", text()),
        ("app_id", text()),
        ("public_key", text()),
        ("account", text()),
        ("token", text()),
        ("split", text()),
        ("rate_limit", rate()),
        ("max_event_size", optional_size()),
        ("idempotency_window", optional_duration()),
        ("enabled", flag()),
        ("description", json!({"type": "string", "maxLength": 1024})),
        ("verify", json!({"anyOf": [{"const": "none"}, recipe]})),
    ]
}
