//! The parts that schemas of several nouns share. Later versions may add fields to responses; a
//! request has no fields but those listed.

use serde_json::{Map, Value, json};

use crate::api::problem::Kind;
use crate::config::schema::shapes::{list, matching, retry, text};

pub fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// A response with one of two bodies.
pub fn either(words: &str, schemas: [&str; 2]) -> Value {
    let schemas = schemas.map(reference);
    json!({
        "description": words,
        "content": {"application/json": {"schema": {"anyOf": schemas}}},
    })
}

/// Schemas by their names in `components`.
pub type Named = Vec<(&'static str, Value)>;
/// The fields of an object.
pub type Properties = Vec<(&'static str, Value)>;

/// A response: all fields but `optional` are always present; later versions may add others.
pub fn answer(properties: Properties, optional: &[&str]) -> Value {
    let required: Vec<&str> = properties.iter().map(|(key, _)| *key).collect();
    let required: Vec<&str> = required
        .into_iter()
        .filter(|key| !optional.contains(key))
        .collect();
    let properties: Map<String, Value> = properties
        .into_iter()
        .map(|(key, shape)| (key.to_owned(), shape))
        .collect();
    json!({"type": "object", "properties": properties, "required": required})
}

/// The same, or `null`.
pub fn nullable(schema: Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some(kind) if schema.get("enum").is_none() => {
            let kind = kind.to_owned();
            let mut schema = schema;
            schema["type"] = json!([kind, "null"]);
            schema
        }
        _ => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

/// Fields of a request, each of which may be `null` for its default.
pub fn open(fields: Properties) -> Properties {
    fields
        .into_iter()
        .map(|(key, shape)| (key, nullable(shape)))
        .collect()
}

/// A moment.
pub fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// A whole number from 0.
pub fn number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// A list of strings.
pub fn texts() -> Value {
    list(&text())
}

/// An object whose values are strings.
pub fn strings() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

/// An event's id.
pub fn event_id() -> Value {
    matching("^evt_[0-9A-HJKMNP-TV-Z]{26}$")
}

/// An event's type.
pub fn event_type() -> Value {
    json!({"type": "string", "maxLength": 128,
        "pattern": r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"})
}

/// A key, of an order or for idempotency.
pub fn key() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 256})
}

/// The schema of every error.
pub fn problems() -> Named {
    let types = Kind::ALL.map(|kind| json!({"const": kind.urn()}));
    let problem = answer(
        vec![
            ("type", json!({"type": "string", "oneOf": types})),
            ("title", text()),
            ("status", json!({"type": "integer"})),
            ("detail", text()),
        ],
        &[],
    );
    vec![("Problem", problem)]
}

/// A retry rule as it is in force.
pub fn retry_rule() -> Value {
    answer(retry(), &[])
}
