//! A JSON Schema of the API's description in words: what a value may be, and the fields of an object.

use serde_json::Value;

/// How deep fields of fields are listed.
const DEPTH: usize = 4;

/// A field, with the names of those that it is in before a dot each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: Vec<Word>,
    pub required: bool,
    pub words: String,
}

/// A word of what a value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    /// It names a schema.
    pub is_name: bool,
}

/// What a value may be, word by word.
pub fn words(schema: &Value) -> Vec<Word> {
    let kind = kind(schema);
    let words = kind.split(' ').filter(|word| !word.is_empty());
    words
        .map(|word| Word {
            // What is not a schema is in lower case or in quotes.
            is_name: word.starts_with(|c: char| c.is_ascii_uppercase()),
            text: word.to_owned(),
        })
        .collect()
}

/// The same as a text.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return name_of(name).to_owned();
    }
    if let Some(fixed) = schema.get("const") {
        return fixed.to_string();
    }
    if !constants(schema).is_empty() {
        return "one of these".to_owned();
    }
    if let Some(choices) = schema["enum"].as_array() {
        return joined(choices.iter().map(Value::to_string));
    }
    let types = types(schema).into_iter().map(|name| match name {
        "array" => format!("list of {}", kind(&schema["items"])),
        "string" => of_text(schema),
        "integer" | "number" => of_number(name, schema),
        other => other.to_owned(),
    });
    let variants = variants(schema).filter(|one| is_more_than_rules(one));
    let all: Vec<String> = types.chain(variants.map(kind)).collect();
    match all.is_empty() {
        true => "any value".to_owned(),
        false => joined(all.into_iter()),
    }
}

/// The fields of an object, those of its parts and of all that it may be instead.
pub fn fields(schema: &Value) -> Vec<Field> {
    let mut all = Vec::new();
    gather(schema, "", DEPTH, &mut all);
    all
}

/// The name in a reference such as `#/components/schemas/Event`.
pub fn name_of(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}

fn gather(schema: &Value, before: &str, depth: usize, all: &mut Vec<Field>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    for (own, value) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{before}{own}");
        let inside = format!("{name}.");
        let field = Field {
            kind: words(value),
            required: is_required(own),
            words: value["description"].as_str().unwrap_or_default().to_owned(),
            name,
        };
        // What an object may be instead has some of its fields as well.
        if !all.iter().any(|known| known.name == field.name) {
            all.push(field);
        }
        all.extend(constants(value));
        gather(value, &inside, depth, all);
        if value["items"].is_object() {
            gather(&value["items"], &inside, depth, all);
        }
    }
    for variant in variants(schema) {
        gather(variant, before, depth, all);
    }
}

/// The values that have words of their own.
fn constants(schema: &Value) -> Vec<Field> {
    let described = variants(schema).filter(|one| one["description"].is_string());
    let constants = described.filter_map(|one| {
        Some(Field {
            name: one["const"].as_str()?.to_owned(),
            kind: Vec::new(),
            required: false,
            words: one["description"].as_str()?.to_owned(),
        })
    });
    constants.collect()
}

fn variants(schema: &Value) -> impl Iterator<Item = &Value> {
    let any = ["anyOf", "oneOf", "allOf"].map(|name| schema[name].as_array());
    any.into_iter().flatten().flatten()
}

/// Whether it says what a value is, and not only which fields go together.
fn is_more_than_rules(schema: &Value) -> bool {
    ["type", "$ref", "const", "enum", "anyOf", "oneOf"]
        .iter()
        .any(|name| schema.get(name).is_some())
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn of_text(schema: &Value) -> String {
    let said = ["format", "pattern"].map(|name| schema[name].as_str());
    let bounds = range(&schema["minLength"], &schema["maxLength"]);
    let bounds = bounds.map(|bounds| format!("{bounds} characters"));
    let said = said.into_iter().flatten().map(str::to_owned);
    let said: Vec<String> = said.chain(bounds).collect();
    match said.is_empty() {
        true => "string".to_owned(),
        false => format!("string ({})", said.join(", ")),
    }
}

fn of_number(name: &str, schema: &Value) -> String {
    match range(&schema["minimum"], &schema["maximum"]) {
        Some(range) => format!("{name} ({range})"),
        None => name.to_owned(),
    }
}

fn range(least: &Value, most: &Value) -> Option<String> {
    match (least.is_null(), most.is_null()) {
        (true, true) => None,
        (false, true) => Some(format!("at least {least}")),
        (true, false) => Some(format!("at most {most}")),
        (false, false) => Some(format!("{least} to {most}")),
    }
}

fn joined(all: impl Iterator<Item = String>) -> String {
    let mut known: Vec<String> = Vec::new();
    for one in all.filter(|one| !one.is_empty()) {
        if !known.contains(&one) {
            known.push(one);
        }
    }
    known.join(" or ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_says_what_a_value_may_be() {
        for (schema, words) in [
            (json!({}), "any value"),
            (json!({"$ref": "#/components/schemas/Event"}), "Event"),
            (json!({"const": "basic"}), "\"basic\""),
            (
                json!({"type": "string", "oneOf": [{"const": "a", "description": "A."}]}),
                "one of these",
            ),
            (json!({"enum": ["a", 2]}), "\"a\" or 2"),
            (json!({"type": ["string", "null"]}), "string or null"),
            (
                json!({"type": "string", "format": "date-time"}),
                "string (date-time)",
            ),
            (
                json!({"type": "string", "maxLength": 9}),
                "string (at most 9 characters)",
            ),
            (
                json!({"type": "integer", "minimum": 1, "maximum": 5}),
                "integer (1 to 5)",
            ),
            (
                json!({"type": "array", "items": {"type": "number"}}),
                "list of number",
            ),
            (
                json!({"type": "object", "anyOf": [{"required": ["a"]}, {"type": "null"}]}),
                "object or null",
            ),
        ] {
            assert_eq!(kind(&schema), words, "{schema}");
        }
    }

    #[test]
    fn fields_have_those_of_their_objects_and_of_each_variant() {
        let schema = json!({
            "required": ["auth"],
            "properties": {"auth": {"description": "How.", "oneOf": [
                {"required": ["type"], "properties": {"type": {"const": "basic"}}},
                {"properties": {"type": {"const": "bearer"}, "token": {"type": "string"}}},
            ]}},
        });
        let found = fields(&schema);
        let names: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.required))
            .collect();
        assert_eq!(
            names,
            [("auth", true), ("auth.type", true), ("auth.token", false)]
        );
        assert_eq!(found[0].words, "How.");
    }

    proptest! {
        #[test]
        fn no_schema_panics(text in "\\PC*", depth in 0_usize..20) {
            let mut schema = json!({"type": text, "minimum": text});
            for _ in 0..depth {
                schema = json!({"properties": {"a": schema.clone()}, "anyOf": [schema]});
                if schema.to_string().len() > 100_000 {
                    break;
                }
            }
            let _ = (kind(&schema), fields(&schema));
        }
    }
}
