//! The documents match the code: the files, commands, requests and keys that they name exist, their
//! configurations are valid, and their links lead somewhere.

#[path = "../harness/mod.rs"]
mod harness;

mod configs;
mod links;
mod log;
mod page;
mod providers;
mod run;
mod tables;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use page::{ROOT, pages, quoted, read};

#[test]
fn the_map_names_files_that_are_there() {
    let mut missing = BTreeSet::new();
    let mut found = 0;
    for page in pages() {
        let is_map = page.name == "ARCHITECTURE.md"
            || page.name == "CONTRIBUTING.md"
            || page.name.starts_with("docs/internals/")
            || page.name.starts_with("docs/decisions/");
        if !is_map {
            continue;
        }
        for name in quoted(&page.text) {
            let is_path = !name.contains([' ', '(', '<', '$', '…'])
                && (name.ends_with(".rs") || name.ends_with('/') && name.contains('/'));
            // Of the data directory, of the fuzzer, and of URLs.
            let elsewhere = ["log/", "index/", "corpus/", "artifacts/"];
            if !is_path || name.starts_with(['/']) || elsewhere.contains(&name) {
                continue;
            }
            let places = ["", "src", "src/outbox", "src/cli", "src/domain/engine"];
            let mut places = places.iter().map(|place| Path::new(ROOT).join(place));
            if places.any(|place| place.join(name).exists()) {
                found += 1;
            } else {
                missing.insert(format!("{}: {name}", page.name));
            }
        }
    }
    assert!(missing.is_empty(), "these are not there: {missing:#?}");
    assert!(found > 200, "only {found} paths were found");
}

#[test]
fn the_map_has_every_folder_of_the_sources() {
    let map = read("ARCHITECTURE.md");
    for entry in std::fs::read_dir(Path::new(ROOT).join("src")).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            let name = format!("src/{}/", entry.file_name().to_str().unwrap());
            assert!(map.contains(&name), "ARCHITECTURE.md is silent on {name}");
        }
    }
}

/// The names of metrics in `text`, without the suffixes of histograms.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| {
        let is_ours = word.starts_with("outboxd_") || word.starts_with("process_");
        is_ours && !word.ends_with('_')
    });
    names
        .map(|name| {
            let ends = ["_bucket", "_sum", "_count"];
            let stem = ends.iter().find_map(|end| name.strip_suffix(end));
            stem.unwrap_or(name)
        })
        .collect()
}

/// `docs/metrics.md` has exactly the metrics of `/metrics`: `tests/blackbox/metrics.rs` compares
/// them.
#[test]
fn dashboard_and_alerts_use_metrics_that_exist() {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let known: BTreeSet<&str> = rows.filter_map(|row| quoted(row).next()).collect();
    for (file, least) in [
        ("contrib/grafana/outboxd.json", 30),
        ("contrib/prometheus/outboxd.rules.yml", 15),
        ("contrib/prometheus/outboxd.rules.test.yml", 15),
        ("docs/operating.md", 7),
    ] {
        let text = read(file);
        let used = metrics_in(&text);
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} uses {unknown:?}");
        assert!(used.len() >= least, "only {used:?} were found in {file}");
    }
    let dashboard = read("contrib/grafana/outboxd.json");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let charts = panels.iter().filter(|panel| panel["type"] != "row");
    for panel in charts {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            assert!(!metrics_in(expression).is_empty(), "{expression}");
            assert!(
                expression.contains("instance=~\"$instance\""),
                "{expression}"
            );
        }
    }
}

/// The lines of a configuration that say something.
fn said(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn the_example_of_a_source_is_what_the_pages_show_in_eight_lines() {
    let example = read("docs/examples/stripe-in.toml");
    let example = said(&example);
    assert!(example.len() <= 8, "{example:?}");
    for name in ["README.md", "docs/sources.md"] {
        let text = read(name);
        let shown = text.split("```toml\n").skip(1);
        let mut shown = shown.map(|rest| said(rest.split("```").next().unwrap_or_default()));
        assert!(shown.any(|lines| lines == example), "{name}");
    }
}

#[test]
fn the_readme_is_one_and_a_half_screens() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 120, "the README has {lines} lines");
    assert!(read("ARCHITECTURE.md").lines().count() < 300);
}

/// The lines of the block that `key` begins, such as `content: |` in YAML, without its indentation.
fn block(text: &str, key: &str) -> String {
    let mut lines = text.lines().skip_while(|line| line.trim() != key);
    let head = lines.next().expect("the file has the block");
    let indentation = head.len() - head.trim_start().len();
    let inside =
        |line: &&str| line.trim().is_empty() || line.len() - line.trim_start().len() > indentation;
    lines
        .take_while(inside)
        .map(|line| line.trim().to_owned() + "\n")
        .collect()
}

#[test]
fn the_configurations_for_containers_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    let token = token.to_str().unwrap();
    for (name, key, mounted) in [
        (
            "contrib/compose.yaml",
            "content: |",
            "/run/secrets/app-token",
        ),
        (
            "contrib/kubernetes.yaml",
            "outboxd.toml: |",
            "/etc/outboxd-tokens/app",
        ),
    ] {
        let config = block(&read(name), key);
        assert!(config.contains(mounted), "{name}: {config}");
        let file = dir.path().join("outboxd.toml");
        std::fs::write(&file, config.replace(mounted, token)).unwrap();
        let check = Command::new(env!("CARGO_BIN_EXE_outboxd"))
            .args(["check", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "{name}: {said}");
    }
}
