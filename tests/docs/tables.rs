//! Tables of the pages agree with what they are tables of.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::page::{pages, quoted, read};

/// What `outboxd config schema` prints.
pub fn schema() -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    let printed = command.env_clear().args(["config", "schema"]).output();
    serde_json::from_slice(&printed.unwrap().stdout).unwrap()
}

/// A key of the configuration, by its path, such as `listen.http` or `endpoint.retry.first`.
fn keys_of(node: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    for (key, value) in node["properties"].as_object().into_iter().flatten() {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        let items = &value["items"];
        if value["properties"].is_object() {
            keys_of(value, &path, found);
        } else if items["properties"].is_object() {
            // A list of tables with a default is a key of its own.
            if value["default"].is_array() {
                found.insert(path.clone(), value.clone());
            }
            keys_of(items, &path, found);
        } else {
            found.insert(path, value.clone());
        }
    }
}

/// What a key takes, in the words of the page.
fn kind(value: &Value) -> Vec<&str> {
    let pattern = value["pattern"].as_str().unwrap_or_default();
    if pattern.contains("(ms|s|m|h|d)") {
        vec!["duration"]
    } else if pattern.contains("(B|KiB") {
        vec!["size"]
    } else if pattern.contains("/[sm]") {
        vec!["rate"]
    } else if value["enum"].is_array() {
        vec!["string"]
    } else {
        match value["type"].as_str() {
            Some("array") => vec!["list"],
            Some("object") => vec!["table"],
            Some(simple) => vec![simple],
            None => vec!["table", "list", "table or string"],
        }
    }
}

/// The keys that a reload does not change.
fn keys_of_a_restart() -> BTreeSet<String> {
    let source = read("src/config/restart.rs");
    let source = source.split("#[cfg(test)]").next().unwrap();
    let names = source.split('"').skip(1).step_by(2);
    let mut names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 15, "{names:?}");
    // One comparison is about both files.
    names.insert("listen.inbound_key_file".to_owned());
    names
}

#[test]
fn the_page_of_the_configuration_has_every_key() {
    let mut keys = BTreeMap::new();
    keys_of(&schema(), "", &mut keys);
    let restarts = keys_of_a_restart();
    let page = read("docs/configuration.md");
    let mut shown = BTreeSet::new();
    let mut table = String::new();
    let mut rows_follow = false;
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let name = title.trim_matches(['`', '[', ']']);
            table = match name {
                "Top level" => String::new(),
                name => format!("{name}."),
            };
        }
        // Tables within tables follow a line that names them.
        if line.starts_with("Each of `tokens`") {
            table = "auth.tokens.".to_owned();
        } else if line.contains("`[endpoint.retry]`") {
            table = "endpoint.retry.".to_owned();
        }
        if line.starts_with("| key |") {
            rows_follow = true;
            continue;
        }
        if !line.starts_with('|') {
            rows_follow = false;
        }
        if !rows_follow || line.starts_with("| ---") {
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let key = format!("{table}{}", cells[0].trim_matches('`'));
        let known = keys
            .get(&key)
            .unwrap_or_else(|| panic!("there is no key {key}"));
        assert!(kind(known).contains(&cells[1]), "{key}: {}", cells[1]);
        let default = match known.get("default") {
            _ if key == "delivery.user_agent" => "`\"outboxd/VERSION\"`".to_owned(),
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        assert_eq!(cells[2], default, "{key}");
        let root = key.split('.').next().unwrap();
        let restart = restarts.contains(&key) || restarts.contains(root);
        assert_eq!(
            cells[4],
            if restart { "restart" } else { "reload" },
            "{key}"
        );
        assert!(shown.insert(key), "{line}");
    }
    let missing: Vec<&String> = keys.keys().filter(|key| !shown.contains(*key)).collect();
    assert!(
        missing.is_empty(),
        "docs/configuration.md lacks {missing:?}"
    );
}

#[test]
fn the_page_of_the_api_has_every_problem() {
    let description = read("docs/openapi.json");
    let urn = "urn:outboxd:problem:";
    let ends = |c: char| !c.is_ascii_lowercase() && c != '-';
    let after = description.split(urn).skip(1);
    let known: BTreeSet<&str> = after.map(|text| text.split(ends).next().unwrap()).collect();
    let page = read("docs/api.md");
    let table = page.split("| `urn:outboxd:problem:…` |").nth(1).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let first = rows.map(|row| row.split('|').nth(1).unwrap());
    let shown: BTreeSet<&str> = first.flat_map(quoted).collect();
    assert_eq!(shown, known);
    assert!(known.len() >= 25, "{known:?}");
}

/// `/v1/endpoints/{id}/secret` as `/v1/endpoints/{}/secret`.
fn nameless(path: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in path.chars() {
        inside = inside && c != '}';
        if !inside {
            out.push(c);
        }
        inside = inside || c == '{';
    }
    out
}

#[test]
fn every_call_that_is_named_exists() {
    let description: Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let mut known = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            known.insert(format!("{} {}", method.to_uppercase(), nameless(path)));
        }
    }
    let mut checked = 0;
    for page in pages() {
        // These speak of what does not exist, and of other products.
        if ["docs/svix.md", "docs/portal.md", "docs/ui.md"].contains(&&*page.name) {
            continue;
        }
        for (number, line) in page.prose() {
            for text in quoted(line) {
                let Some((method, rest)) = text.split_once(' ') else {
                    continue;
                };
                let path = rest.split(['?', ' ']).next().unwrap();
                let is_call = ["GET", "POST", "PATCH", "DELETE", "PUT"].contains(&method);
                if !is_call || !path.starts_with("/v1") || path.contains('…') {
                    continue;
                }
                checked += 1;
                let call = format!("{method} {}", nameless(path));
                assert!(known.contains(&call), "{}:{number}: {call}", page.name);
            }
        }
    }
    assert!(checked > 30, "only {checked} calls were found");
}

#[test]
fn the_page_of_receivers_has_the_programs_as_they_are() {
    let page = read("docs/receivers.md");
    let mut found = 0;
    let folder = std::path::Path::new(crate::page::ROOT).join("docs/examples/receivers");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let program = read(&format!("docs/examples/receivers/{name}"));
        let is_shown = page.contains(&format!("({}/{name})", "examples/receivers"));
        assert!(
            is_shown && page.contains(&format!("\n{program}```\n")),
            "{name}"
        );
        found += 1;
    }
    assert_eq!(found, 7);
}
