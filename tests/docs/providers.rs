//! The page of providers has each preset, says of it what its file says, and its configurations work.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use crate::configs::with_files;
use crate::harness::Home;
use crate::page::{Block, Page, ROOT, read};

const PAGE: &str = "docs/providers.md";

fn presets() -> BTreeMap<String, Table> {
    let folder = Path::new(ROOT).join("src/domain/inbound/presets");
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (name, toml::from_str(&text).unwrap())
        })
        .collect()
}

fn text<'a>(table: &'a Table, key: &str) -> &'a str {
    table.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// How calls are verified.
fn verification(preset: &Table) -> String {
    let schemes = match preset.get("schemes") {
        Some(Value::Array(schemes)) => schemes.iter().filter_map(Value::as_table).collect(),
        _ => vec![preset],
    };
    let mut ways: Vec<String> = Vec::new();
    for scheme in schemes {
        let place = text(scheme, "signature");
        let way = match scheme.get("algorithm").and_then(Value::as_str) {
            Some("salesforce-account") => {
                "none; `OrganizationId` is compared with `account`".to_owned()
            }
            Some("token") => format!("the secret itself, in `{place}`"),
            None if place.is_empty() => "none; the `token` in the URL".to_owned(),
            algorithm => {
                let content = scheme.get("content").and_then(Value::as_str);
                format!(
                    "`{}` of `{}`, in `{place}`",
                    algorithm.unwrap_or("hmac-sha256"),
                    content.unwrap_or("{body}")
                )
            }
        };
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways.join("; or ")
}

fn delivery_id(preset: &Table) -> String {
    match preset.get("id") {
        Some(Value::Array(places)) => {
            let places = places.iter().filter_map(Value::as_str);
            let places: Vec<String> = places.map(|place| format!("`{place}`")).collect();
            places.join(", or ")
        }
        Some(Value::String(place)) => format!("`{place}`"),
        _ if preset.contains_key("cloudevents") => "`source` and `id` of the event".to_owned(),
        _ if preset.contains_key("repeats") => "none: each call is new".to_owned(),
        _ => "a hash of the body".to_owned(),
    }
}

/// The section of the page with that title.
fn section(page: &str, title: &str) -> String {
    let head = format!("\n## {title}\n");
    let (_, rest) = page
        .split_once(&head)
        .unwrap_or_else(|| panic!("{PAGE} has no section {title}"));
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

/// The text on one line.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_provider_has_a_section_that_says_what_its_preset_says() {
    let (page, sources) = (read(PAGE), read("docs/sources.md"));
    let presets = presets();
    assert_eq!(page.matches("\n## ").count(), presets.len());
    for (name, preset) in &presets {
        let (title, checked) = (text(preset, "title"), text(preset, "checked"));
        let section = section(&page, title);
        for row in [
            format!("| verified by | {} |", verification(preset)),
            format!("| delivery id | {} |", delivery_id(preset)),
            format!("| checked by | {checked} |"),
            format!("preset = \"{name}\""),
        ] {
            assert!(section.contains(&row), "the section {title} lacks\n{row}");
        }
        let note = on_one_line(text(preset, "note"));
        assert!(on_one_line(&section).contains(&note), "{title}: {note}");
        let row = format!("| `{name}` | {checked} |");
        assert!(sources.contains(&row), "docs/sources.md lacks {row}");
    }
}

/// The configurations of all sections in one daemon, to which each source hands its sample.
#[test]
fn a_sample_of_each_provider_is_taken_and_gets_the_type_that_its_section_names() {
    let home = Home::new();
    let page = Page {
        name: PAGE.to_owned(),
        text: read(PAGE),
    };
    let mut config = "[listen]\nhttp = \"127.0.0.1:0\"\ninbound = \"127.0.0.1:0\"\n\
                      public_url = \"https://hooks.example.com\"\n"
        .to_owned();
    let folder = home.path("files");
    std::fs::create_dir(&folder).unwrap();
    for Block { text, line, .. } in page.in_language("toml") {
        let source = text.split_once("[[source]]").unwrap().1;
        let source = format!("[[source]]{source}");
        config += &with_files(&source, &folder.join(line.to_string()));
        config += "\n";
    }
    let daemon = home.start(&config);
    let mut lacking = Vec::new();
    for preset in presets().values() {
        let title = text(preset, "title");
        let section = section(&page.text, title);
        let id = section.split("id = \"").nth(1).unwrap();
        let id = id.split('"').next().unwrap();
        let path = format!("/v1/sources/{id}/test");
        let answer = daemon.tcp.post_json(&path, "{}");
        if section.contains("public_key = ") {
            assert!(answer.problem(400).contains("private key"), "{title}");
            continue;
        }
        let taken = answer.expect(200);
        let event = taken["events"][0].as_str();
        let event = event.unwrap_or_else(|| panic!("{title}: {taken}"));
        let event = daemon.tcp.get(&format!("/v1/events/{event}")).expect(200);
        let row = format!(
            "| a sample's type | `{}` |",
            event["type"].as_str().unwrap()
        );
        if !section.contains(&row) {
            lacking.push(format!("the section {title} lacks {row}"));
        }
    }
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
}
