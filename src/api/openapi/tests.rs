//! Compares the description with the router and with `docs/openapi.json`. The test
//! `tests/blackbox/openapi.rs` compares it with the responses of a daemon.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::document;
use crate::api::problem::Kind;

/// The paths that the router's file names.
fn routed() -> BTreeSet<&'static str> {
    let text = include_str!("../router.rs");
    let literals = text.split("\"/").skip(1);
    let literals = literals.filter_map(|rest| rest.split('"').next());
    literals.collect()
}

#[test]
fn every_route_is_described_and_every_described_path_is_routed() {
    let document = document();
    let described = document["paths"].as_object().unwrap().keys();
    let on_api = described.filter(|path| *path != "/in/{source}");
    let described: BTreeSet<&str> = on_api.map(|path| path.trim_start_matches('/')).collect();
    assert_eq!(routed(), described);
    assert!(described.len() > 20);
}

#[test]
fn operations_have_unique_names_and_refer_to_existing_schemas() {
    let document = document();
    let mut ids = BTreeSet::new();
    for path in document["paths"].as_object().unwrap().values() {
        for (method, operation) in path.as_object().unwrap() {
            if method != "servers" {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id), "{id} is there twice");
            }
        }
    }
    let text = document.to_string();
    let mut referred = BTreeSet::new();
    for rest in text.split("#/components/schemas/").skip(1) {
        referred.insert(rest.split('"').next().unwrap());
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let known: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
    assert_eq!(referred, known);
    for (name, schema) in schemas {
        jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// Collects the fields of a schema and of what it holds, each with its path and whether it has a
/// description.
fn fields(schema: &Value, path: &str, found: &mut Vec<(String, bool)>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let is_described = field["description"]
            .as_str()
            .is_some_and(|text| text.ends_with('.'));
        found.push((path.clone(), is_described));
        fields(field, &path, found);
    }
    if schema["items"].is_object() {
        fields(&schema["items"], path, found);
    }
    for several in ["anyOf", "oneOf", "allOf"] {
        for variant in schema[several].as_array().into_iter().flatten() {
            fields(variant, path, found);
        }
    }
}

#[test]
fn every_field_has_a_description_and_every_description_a_field() {
    let document = document();
    let mut found = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        fields(schema, name, &mut found);
    }
    let missing: Vec<_> = found.iter().filter(|(_, described)| !described).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(found.len() > 400);
    let words: toml::Table = toml::from_str(include_str!("words.toml")).unwrap();
    let kinds = Kind::ALL.map(Kind::urn);
    assert!(kinds.iter().all(|kind| words.contains_key(kind)));
    let known = |key: &String| {
        let by_name = |path: &str| path.rsplit('.').next() == Some(key);
        found.iter().any(|(path, _)| path == key || by_name(path)) || kinds.contains(key)
    };
    let unused: Vec<_> = words.keys().filter(|key| !known(key)).collect();
    assert!(unused.is_empty(), "{unused:#?}");
}

#[test]
fn every_object_has_an_example_that_conforms() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let examples: Map<String, Value> = serde_json::from_str(include_str!("examples.json")).unwrap();
    let names = |map: &Map<String, Value>| map.keys().cloned().collect::<BTreeSet<String>>();
    assert_eq!(names(&examples), names(schemas));
    for (name, example) in &examples {
        let whole = json!({
            "$ref": format!("#/components/schemas/{name}"),
            "components": document["components"],
        });
        let validator: Validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&whole)
            .unwrap();
        let faults: Vec<String> = validator
            .iter_errors(example)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}

#[test]
fn the_file_in_docs_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let now = format!("{:#}\n", document());
    if std::env::var_os("WRITE_OPENAPI").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == now,
        "docs/openapi.json is out of date; src/api/openapi/mod.rs says how to write it again"
    );
}
