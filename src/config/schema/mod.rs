//! The JSON Schema (2020-12) of the configuration file, for editors and for programs that write
//! such files.
//!
//! A schema checks one key at a time: only `check` finds faults that involve several keys or files
//! on disk. Tests compare the schema with the reader: the reader refuses whatever the schema
//! refuses, and every key that the reader accepts is here, with its type.

mod notes;
pub mod shapes;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::policy::{MAX_IN_FLIGHT, MAX_TYPES};
use super::sections::{MAX_BATCH_EVENTS, MAX_PER_ENDPOINT, MAX_THREADS};
use crate::domain::endpoint::{EndpointSpec, Ordering};
use notes::{Note, notes};
use shapes::{
    auth, count, duration, flag, list, matching, name, object, optional_duration, rate, retry,
    shaping, size, source, text, type_pattern, words,
};

/// The schema of the whole file.
pub fn schema() -> Value {
    let mut schema = object(root(), &[]);
    let notes = notes();
    annotate(&mut schema, "", &|path| notes.get(path).cloned());
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["$id"] = json!("urn:outboxd:config");
    schema["title"] = json!("The configuration of outboxd");
    schema
}

fn root() -> Vec<(&'static str, Value)> {
    let endpoint = object(endpoint(), &["id", "url"]);
    let source = object(source_of_file(), &["id"]);
    vec![
        ("data_dir", filled()),
        ("listen", object(listen(), &[])),
        ("auth", object([("tokens", tokens())], &[])),
        ("ingest", object(ingest(), &[])),
        ("outbox", object(outbox(), &[])),
        ("retention", object(retention(), &[])),
        ("delivery", object(delivery(), &[])),
        ("retry", object(retry(), &[])),
        ("endpoint", list(&endpoint)),
        ("source", list(&source)),
        ("log", object(log(), &[])),
        ("metrics", object(metrics(), &[])),
        ("otlp", object(otlp(), &[])),
        ("portal", object(portal(), &[])),
        ("backup", object(backup(), &[])),
    ]
}

/// A string that is not empty.
fn filled() -> Value {
    json!({"type": "string", "minLength": 1})
}

fn listen() -> Vec<(&'static str, Value)> {
    vec![
        ("http", text()),
        ("unix", text()),
        ("unix_mode", matching("^0*[0-7]{1,3}$")),
        ("hosts", list(&filled())),
        ("inbound", text()),
        ("inbound_cert_file", text()),
        ("inbound_key_file", text()),
        ("public_url", text()),
        ("trusted_proxies", list(&filled())),
        ("ui", flag()),
    ]
}

fn tokens() -> Value {
    let token = [
        ("name", name()),
        ("token_file", filled()),
        ("scope", words(["ingest", "admin"])),
    ];
    list(&object(token, &["name", "token_file", "scope"]))
}

fn ingest() -> Vec<(&'static str, Value)> {
    vec![
        ("max_event_size", size()),
        ("max_batch_events", count(1, MAX_BATCH_EVENTS)),
        ("max_batch_size", size()),
        ("rate_limit", rate()),
        ("idempotency_window", duration()),
    ]
}

fn outbox() -> Vec<(&'static str, Value)> {
    let share = json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1});
    vec![
        ("max_size", size()),
        ("endpoint_share", share),
        ("min_free_disk", size()),
        ("cache_size", size()),
        ("segment_size", size()),
    ]
}

fn retention() -> Vec<(&'static str, Value)> {
    vec![
        ("delivered", duration()),
        ("dead", duration()),
        ("held", duration()),
        ("max_size", size()),
    ]
}

fn delivery() -> Vec<(&'static str, Value)> {
    vec![
        ("max_in_flight", count(1, MAX_IN_FLIGHT)),
        ("connect_timeout", duration()),
        ("timeout", duration()),
        ("response_body_limit", size()),
        ("allow_networks", list(&filled())),
        ("allow_http", flag()),
        ("proxy", text()),
        ("ca_file", text()),
        ("threads", count(0, MAX_THREADS)),
        ("http2", flag()),
        ("connection_max_age", duration()),
        ("user_agent", filled()),
    ]
}

fn log() -> Vec<(&'static str, Value)> {
    vec![("level", filled()), ("format", words(["text", "json"]))]
}

fn metrics() -> Vec<(&'static str, Value)> {
    vec![("per_endpoint", count(0, MAX_PER_ENDPOINT))]
}

fn otlp() -> Vec<(&'static str, Value)> {
    vec![
        ("endpoint", text()),
        ("headers", json!({"type": "object"})),
        ("timeout", duration()),
        (
            "sample_ratio",
            json!({"type": "number", "minimum": 0, "maximum": 1}),
        ),
    ]
}

fn portal() -> Vec<(&'static str, Value)> {
    vec![
        ("name", text()),
        ("logo_file", text()),
        ("accent", text()),
        ("frame_ancestors", list(&filled())),
        ("refresh_url", text()),
    ]
}

fn backup() -> Vec<(&'static str, Value)> {
    vec![
        ("to", text()),
        ("interval", duration()),
        ("retain", duration()),
        ("key_file", text()),
        ("endpoint", text()),
        ("region", text()),
        ("credentials_file", text()),
    ]
}

fn endpoint() -> Vec<(&'static str, Value)> {
    let types = json!({"type": "array", "items": type_pattern(), "minItems": 1,
        "maxItems": MAX_TYPES});
    let several = |items: Value| json!({"type": "array", "items": items, "maxItems": EndpointSpec::MAX_SECRETS});
    let mut keys = shaping();
    let files = ["client_secret_file", "private_key_file"];
    keys.retain(|(key, _)| *key != "auth");
    keys.extend([
        ("auth", auth(&files)),
        ("signing_key_file", filled()),
        ("client_cert_file", filled()),
        ("client_key_file", filled()),
        ("ca_file", filled()),
        ("id", name()),
        ("url", filled()),
        ("tenant", name()),
        ("types", types),
        ("secret", filled()),
        ("secret_file", text()),
        ("secrets", several(filled())),
        ("secret_files", several(filled())),
        (
            "headers",
            json!({"type": "object", "additionalProperties": text()}),
        ),
        ("max_in_flight", count(1, MAX_IN_FLIGHT)),
        ("rate_limit", rate()),
        ("ordering", words(Ordering::ALL.map(Ordering::as_str))),
        ("timeout", optional_duration()),
        ("http2", flag()),
        ("retry", object(retry(), &[])),
        ("allow_networks", list(&filled())),
        ("enabled", flag()),
    ]);
    keys
}

fn source_of_file() -> Vec<(&'static str, Value)> {
    let mut keys = source();
    keys.extend([
        ("id", name()),
        ("secret_files", list(&filled())),
        ("token_file", filled()),
        ("verify_token_file", filled()),
    ]);
    keys
}

/// Adds the description and the default of each key to its schema. Only global keys have a default:
/// that of an endpoint's or a source's key depends on the global one or on the preset.
fn annotate(schema: &mut Value, path: &str, note: &impl Fn(&str) -> Option<Note>) {
    if let Some(items) = schema.get_mut("items") {
        annotate(items, path, note);
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    let is_global = !["endpoint", "source"].contains(&path.split('.').next().unwrap_or_default());
    for (key, shape) in properties {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        annotate(shape, &path, note);
        let (Some(note), Some(shape)) = (note(&path), shape.as_object_mut()) else {
            continue;
        };
        describe(shape, note, is_global);
    }
}

fn describe(shape: &mut Map<String, Value>, note: Note, is_global: bool) {
    if !note.text.is_empty() {
        shape.insert("description".to_owned(), note.text.into());
    }
    if let (Some(default), true) = (note.default, is_global) {
        shape.insert("default".to_owned(), default);
    }
}
