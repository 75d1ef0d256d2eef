//! What the schemas say to people: descriptions of fields, from `words.toml`, and an example of each
//! object, from `examples.json`.

use serde_json::{Map, Value, json};

const WORDS: &str = include_str!("words.toml");
const EXAMPLES: &str = include_str!("examples.json");

/// Gives each schema its example, and each of their fields its description.
pub fn describe(schemas: &mut Map<String, Value>) {
    // Tests read both files.
    let words: toml::Table = toml::from_str(WORDS).unwrap_or_default();
    let mut examples: Map<String, Value> = serde_json::from_str(EXAMPLES).unwrap_or_default();
    for (name, schema) in schemas {
        describe_fields(schema, name, &words);
        if let Some(example) = examples.remove(name) {
            schema["examples"] = json!([example]);
        }
    }
}

/// `path` leads from the name of the schema to `schema`, without the indices of lists.
fn describe_fields(schema: &mut Value, path: &str, words: &toml::Table) {
    if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, field) in fields {
            let path = format!("{path}.{name}");
            describe_fields(field, &path, words);
            let text = words.get(&path).or_else(|| words.get(name));
            if let (Some(toml::Value::String(text)), Some(field)) = (text, field.as_object_mut()) {
                field
                    .entry("description")
                    .or_insert_with(|| Value::from(text.as_str()));
            }
        }
    }
    if let Some(items) = schema.get_mut("items") {
        describe_fields(items, path, words);
    }
    for several in ["anyOf", "oneOf", "allOf"] {
        let variants = schema.get_mut(several).and_then(Value::as_array_mut);
        for variant in variants.into_iter().flatten() {
            describe_fields(variant, path, words);
            let constant = variant["const"].as_str().and_then(|value| words.get(value));
            if let Some(toml::Value::String(text)) = constant {
                variant["description"] = Value::from(text.as_str());
            }
        }
    }
}
