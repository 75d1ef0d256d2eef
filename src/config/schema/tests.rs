//! The schema and the reader, walked both ways.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::Value;

use super::super::load::{parse, read_keys};
use super::notes::{EXAMPLE, notes};
use super::schema;
use crate::config::{Environment, Fault};

fn validator() -> Validator {
    let schema = schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn json(text: &str) -> Value {
    let table: toml::Table = toml::from_str(text).unwrap_or_else(|e| panic!("{e}\nin\n{text}"));
    serde_json::to_value(table).unwrap()
}

/// The faults of the reader.
fn faults(text: &str) -> Vec<Fault> {
    match parse(text, &Environment::default()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.list,
    }
}

/// Every path that the schema names, without what is inside of `auth`, `answer` and the like, which
/// the reader takes whole.
fn named(schema: &Value, path: &str, whole: &BTreeSet<String>, into: &mut BTreeSet<String>) {
    if let Some(items) = schema.get("items") {
        named(items, path, whole, into);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, shape) in properties.into_iter().flatten() {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        into.insert(path.clone());
        let is_read_inside = whole
            .iter()
            .any(|known| known.starts_with(&format!("{path}.")));
        if is_read_inside {
            named(shape, &path, whole, into);
        }
    }
}

#[test]
fn the_schema_names_the_keys_that_the_reader_takes_and_no_others() {
    let (known, mut in_schema) = (read_keys(), BTreeSet::new());
    named(&schema(), "", &known, &mut in_schema);
    let lacks: Vec<_> = known.difference(&in_schema).collect();
    assert!(lacks.is_empty(), "src/config/schema/ lacks {lacks:?}");
    let more: Vec<_> = in_schema.difference(&known).collect();
    assert!(more.is_empty(), "the reader does not know {more:?}");
    assert!(known.len() > 100, "{known:?}");
}

#[test]
fn the_example_fits_as_it_is_and_uncommented() {
    let validator = validator();
    let uncommented: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect();
    let examples = ["stripe-in", "order-to-slack"].map(|name| {
        std::fs::read_to_string(format!(
            "{}/docs/examples/{name}.toml",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
    });
    for text in [EXAMPLE, &uncommented.join("\n")]
        .into_iter()
        .chain(examples.iter().map(String::as_str))
    {
        let faults: Vec<String> = validator
            .iter_errors(&json(text))
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

/// A file with one key, in what it needs to be sound otherwise.
fn file(path: &str, value: &str) -> String {
    let endpoint = "[[endpoint]]\nid = \"e\"\nurl = \"https://example.com\"\n";
    let source = "[[source]]\nid = \"s\"\nverify = \"none\"\n";
    let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
    let without = |table: &str, key: &str| {
        let kept = table
            .lines()
            .filter(|line| !line.starts_with(&format!("{key} =")));
        kept.map(|line| format!("{line}\n")).collect::<String>()
    };
    match table {
        "endpoint" => format!("{}{key} = {value}\n", without(endpoint, key)),
        "endpoint.retry" => format!("{endpoint}retry.{key} = {value}\n"),
        "source" => format!("{}{key} = {value}\n", without(source, key)),
        "auth.tokens" => {
            let token = "name = \"a\"\ntoken_file = \"/nonexistent\"\nscope = \"admin\"\n";
            format!("[[auth.tokens]]\n{}{key} = {value}\n", without(token, key))
        }
        "" => format!("{key} = {value}\n"),
        table => format!("[{table}]\n{key} = {value}\n"),
    }
}

/// Values of every type, and texts of every form.
const PROBES: [&str; 26] = [
    "\"\"",
    "\"5s\"",
    "\"0ms\"",
    "\"1d\"",
    "\"64KiB\"",
    "\"4MiB\"",
    "\"50/s\"",
    "\"600/m\"",
    "\"text\"",
    "\"json\"",
    "\"none\"",
    "\"order.*\"",
    "\"a b\"",
    "\"*\"",
    "\"0660\"",
    "\"9999\"",
    "0",
    "1",
    "-1",
    "1.5",
    "100000000",
    "true",
    "[]",
    "[\"a\"]",
    "[1]",
    "{ }",
];

#[test]
fn what_the_schema_refuses_the_reader_refuses() {
    let validator = validator();
    let (mut refused, mut taken) = (0, 0);
    for path in read_keys() {
        for probe in PROBES {
            let text = file(&path, probe);
            let fits = validator.is_valid(&json(&text));
            let faults = faults(&text);
            let at = faults.iter().filter(|fault| {
                let key = fault.key.replace("[0]", "");
                key == path
                    || key.starts_with(&format!("{path}["))
                    || path.starts_with(&format!("{key}."))
            });
            // The schema must not be stricter than the reader.
            assert!(
                fits || !faults.is_empty(),
                "the schema refuses what is good:\n{text}"
            );
            // And it knows the type of each value.
            let words = [
                ", not a string",
                ", not an integer",
                ", not a float",
                ", not a boolean",
                ", not a list",
                ", not a table",
                ", not an empty string",
            ];
            for fault in at {
                let is_of_type = words.iter().any(|word| fault.problem.contains(word));
                assert!(
                    !(fits && is_of_type),
                    "the schema takes what is mistyped:\n{text}{fault:?}"
                );
            }
            match fits {
                true => taken += 1,
                false => refused += 1,
            }
        }
    }
    assert!(refused > 1000 && taken > 300, "{refused} {taken}");
}

#[test]
fn an_unknown_key_is_refused_in_every_table() {
    let validator = validator();
    let known = read_keys();
    let tables = known
        .iter()
        .filter(|path| known.iter().any(|key| key.starts_with(&format!("{path}."))));
    let tables: Vec<&str> = tables.map(String::as_str).chain([""]).collect();
    assert!(tables.len() > 10, "{tables:?}");
    for table in tables {
        let path = if table.is_empty() {
            "no_such_key".to_owned()
        } else {
            format!("{table}.no_such_key")
        };
        let text = file(&path, "1");
        let told = faults(&text);
        assert!(
            told.iter()
                .any(|fault| fault.problem == "unknown key" || fault.key.contains("no_such_key")),
            "{text}{told:?}"
        );
        assert!(!validator.is_valid(&json(&text)), "{text}");
    }
    for inside in ["endpoint.auth", "endpoint.answer", "source.verify"] {
        let text = file(inside, "{ no_such_key = 1 }");
        assert!(
            !faults(&text).is_empty() && !validator.is_valid(&json(&text)),
            "{text}"
        );
    }
}

#[test]
fn what_is_inside_of_a_key_is_described_as_it_is_read() {
    let validator = validator();
    for (path, value, good) in [
        (
            "endpoint.auth",
            "{ type = \"basic\", username = \"u\", password = \"p\" }",
            true,
        ),
        (
            "endpoint.auth",
            "{ type = \"basic\", username = \"u\" }",
            false,
        ),
        (
            "endpoint.auth",
            "{ type = \"bearer\", token = \"t\" }",
            true,
        ),
        (
            "endpoint.auth",
            "{ type = \"bearer\", token = \"t\", scope = \"s\" }",
            false,
        ),
        (
            "endpoint.auth",
            "{ type = \"oauth2\", token_url = \"https://example.com\", client_id = \"c\", client_secret = \"s\", auth_method = \"client_secret_post\" }",
            true,
        ),
        (
            "endpoint.auth",
            "{ type = \"oauth2\", token_url = \"https://example.com\", client_id = \"c\", client_secret = \"s\", auth_method = \"x\" }",
            false,
        ),
        ("endpoint.auth", "{ type = \"none\" }", false),
        (
            "endpoint.answer",
            "{ success = { body = { ok = true } }, permanent = [400, \"4xx\"], retry_after = \"a.b\" }",
            true,
        ),
        (
            "endpoint.answer",
            "'{\"success\": {\"status\": 200}}'",
            true,
        ),
        ("endpoint.answer", "{ permanent = [200] }", false),
        ("endpoint.answer", "{ permanent = [\"2xx\"] }", false),
        (
            "endpoint.filter",
            "{ data = { amount = { \"$gte\" = 100 } } }",
            true,
        ),
        ("endpoint.filter", "[1]", false),
        ("endpoint.signatures", "[]", false),
        ("endpoint.signatures", "[\"v9\"]", false),
        ("endpoint.signatures", "[{ algorithm = \"sha256\" }]", false),
        (
            "endpoint.signatures",
            "[{ header = \"x-s\", algorithm = \"md5\" }]",
            false,
        ),
        (
            "endpoint.signatures",
            "[{ header = \"x-s\", encoding = \"base64\", content = \"{{ body }}\" }]\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
            true,
        ),
        ("endpoint.preset", "\"slack\"", true),
        ("endpoint.preset", "\"slak\"", false),
        ("endpoint.method", "\"GET\"", false),
        ("endpoint.ordering", "\"key\"", true),
        ("endpoint.headers", "{ x-team = \"a\" }", true),
        ("endpoint.headers", "{ x-team = 1 }", false),
        ("endpoint.types", "[]", false),
        ("source.preset", "\"githb\"", false),
        (
            "source.verify",
            "{ signature = \"header:x-signature\" }",
            false,
        ),
        ("retry.schedule", "[\"5s\", \"5m\"]", true),
        ("retry.schedule", "[\"5\"]", false),
        ("outbox.endpoint_share", "0", false),
        ("outbox.endpoint_share", "1", true),
        ("delivery.threads", "64", true),
        ("delivery.threads", "65", false),
        ("ingest.max_batch_events", "1000000", true),
        ("ingest.max_batch_events", "1000001", false),
    ] {
        let text = file(path, value);
        let faults = faults(&text);
        assert_eq!(faults.is_empty(), good, "{text}{faults:?}");
        // That nothing but the recipe's secret is missing is more than a schema knows.
        if good || path != "source.verify" {
            assert_eq!(validator.is_valid(&json(&text)), good, "{text}");
        }
    }
}

/// Keys that a comment at the head of their group explains.
const EXPLAINED_ELSEWHERE: [&str; 8] = [
    "endpoint.retry.factor",
    "endpoint.retry.first",
    "endpoint.retry.give_up_after",
    "endpoint.retry.jitter",
    "endpoint.retry.max",
    "endpoint.retry.schedule",
    "source.description",
    "source.enabled",
];

#[test]
fn every_key_has_words_and_global_ones_their_default() {
    let notes = notes();
    // Tables, and what the example says of a whole group of keys at its head.
    let known = read_keys();
    let is_table = |path: &str| known.iter().any(|key| key.starts_with(&format!("{path}.")));
    let untold: Vec<&String> = known
        .iter()
        .filter(|path| !is_table(path) && !path.starts_with("auth.tokens."))
        .filter(|path| notes.get(*path).is_none_or(|note| note.text.is_empty()))
        .collect();
    assert_eq!(
        untold, EXPLAINED_ELSEWHERE,
        "keys without a comment in the example"
    );
    let schema = schema();
    let timeout = &schema["properties"]["delivery"]["properties"]["timeout"];
    assert_eq!(timeout["default"], "20s");
    assert_eq!(
        timeout["description"],
        "To connect, and for the whole attempt with the response body."
    );
    let agent = &schema["properties"]["delivery"]["properties"]["user_agent"];
    assert_eq!(
        agent["default"],
        format!("outboxd/{}", env!("CARGO_PKG_VERSION"))
    );
    let endpoint = &schema["properties"]["endpoint"]["items"]["properties"];
    assert_eq!(endpoint["timeout"].get("default"), None);
    assert!(
        endpoint["channels"]["description"]
            .as_str()
            .unwrap()
            .contains("share a channel")
    );
}
