//! Every link leads somewhere.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use crate::page::{Page, ROOT, pages};

/// Where the links of a line lead.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, part) in line.split("](").enumerate() {
        if number > 0 && !in_code {
            found.extend(part.split_once(')').map(|(target, _)| target));
        }
        in_code ^= part.matches('`').count() % 2 == 1;
    }
    found
}

/// `docs/../README.md` as `README.md`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(out.pop(), "{} leads out", path.display()),
            other => out.push(other),
        }
    }
    out
}

/// Why the target does not exist.
fn fault(page: &Page, target: &str, anchors: &HashMap<String, Vec<String>>) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = Path::new(&page.name).parent().unwrap();
    let path = match file {
        "" => PathBuf::from(&page.name),
        file => plain(&folder.join(file)),
    };
    let name = path.display().to_string();
    if !Path::new(ROOT).join(&path).exists() {
        return Some(format!("there is no {name}"));
    }
    let known = anchors.get(&name);
    let is_known = anchor.is_empty() || known.is_some_and(|all| all.iter().any(|a| a == anchor));
    (!is_known).then(|| format!("{name} has no heading #{anchor}"))
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let anchors: HashMap<String, Vec<String>> = pages
        .iter()
        .map(|page| (page.name.clone(), page.anchors()))
        .collect();
    let (mut faults, mut checked) = (Vec::new(), 0);
    for page in &pages {
        for (number, line) in page.prose() {
            let reference = line
                .starts_with('[')
                .then(|| line.split_once("]: "))
                .flatten();
            let references = reference.map(|(_, target)| target);
            for target in targets(line).into_iter().chain(references) {
                if target.starts_with("https://") {
                    continue;
                }
                checked += 1;
                if let Some(fault) = fault(page, target, &anchors) {
                    faults.push(format!("{}:{number}: {target}: {fault}", page.name));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 150, "only {checked} links were found");
}

#[test]
fn the_index_has_every_page() {
    let index = pages()
        .into_iter()
        .find(|page| page.name == "docs/README.md");
    let index = index.expect("docs/README.md is there").text;
    for page in pages() {
        let Some(name) = page.name.strip_prefix("docs/") else {
            continue;
        };
        let listed = name.starts_with("decisions/") || name == "README.md";
        assert!(listed || index.contains(&format!("({name}")), "{name}");
    }
    let decisions = crate::page::read("docs/decisions/README.md");
    for page in pages() {
        let decision = page.name.strip_prefix("docs/decisions/");
        if let Some(name) = decision.filter(|name| *name != "README.md") {
            assert!(decisions.contains(&format!("({name})")), "{name}");
        }
    }
}
