//! Compares the description with the router and with `docs/openapi.json`. The test
//! `tests/blackbox/openapi.rs` compares it with the responses of a daemon.

use std::collections::BTreeSet;

use super::document;

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
