//! The rules. Each takes sources and returns what is wrong with them, a line a fault.

use crate::imports::{circles, imports};
use crate::source::{Source, words};

pub type Rule = fn(&[Source]) -> Vec<String>;

/// Each may import what stands after it, never what stands before.
const TOP_TO_BOTTOM: [&str; 16] = [
    "cli",
    "daemon",
    "ui",
    "api",
    "inbound",
    "app",
    "otlp",
    "dispatch",
    "transport",
    "backup",
    "outbox",
    "server",
    "config",
    "stderr",
    "clock",
    "domain",
];
/// Folders that still have circles. To be deleted when the last one is gone.
const CIRCLES_ALLOWED: [&str; 0] = [];
const MAX_FILE: usize = 500;
/// What a pure module has no business with.
const IMPURE: [&str; 10] = [
    "std::fs",
    "std::env",
    "std::io",
    "std::thread",
    "std::process",
    "Instant::now",
    "tokio",
    "rand::rng",
    "SysRng",
    "tracing::",
];
/// Only these know sled: its pages, and the error of opening them.
const KNOW_SLED: [&str; 2] = ["outbox/index/pages.rs", "outbox/index/open.rs"];
/// Names that say nothing.
const EMPTY_WORDS: [&str; 9] = [
    "Manager", "Helper", "Helpers", "Util", "Utils", "Common", "Service", "Context", "Info",
];

/// The module at the top level that a file belongs to.
fn top_module(path: &str) -> &str {
    let end = path.find(['/', '.']).unwrap_or(path.len());
    &path[..end]
}

pub fn imports_point_down(sources: &[Source]) -> Vec<String> {
    let rank = |path: &str| {
        let module = top_module(path);
        TOP_TO_BOTTOM.iter().position(|name| *name == module)
    };
    let mut faults = Vec::new();
    for source in sources {
        let path = source.path.as_str();
        if path == "main.rs" {
            for (at, _) in source.code.match_indices("outboxd::") {
                if !source.code[at..].starts_with("outboxd::cli") {
                    faults.push(format!("main.rs:{} goes past cli", source.line_of(at)));
                }
            }
        } else if path != "lib.rs" && rank(path).is_none() {
            let module = top_module(path);
            faults.push(format!("{path}: the module {module} is not in the list"));
        }
    }
    for (from, to) in imports(sources) {
        for (to, names) in to {
            if rank(&to) < rank(&from) {
                let names: Vec<String> = names.into_iter().collect();
                faults.push(format!("{from} imports {to}: {}", names.join(", ")));
            }
        }
    }
    faults
}

pub fn no_circles(sources: &[Source]) -> Vec<String> {
    let imports = imports(sources);
    let allowed = |path: &str| CIRCLES_ALLOWED.iter().any(|dir| path.starts_with(dir));
    let mut faults = Vec::new();
    for circle in circles(&imports) {
        if circle.iter().all(|path| allowed(path)) {
            continue;
        }
        let mut ties = Vec::new();
        for from in &circle {
            for (to, names) in &imports[*from] {
                if circle.contains(to.as_str()) {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    ties.push(format!("{from} -> {to} ({})", names.join(", ")));
                }
            }
        }
        faults.push(ties.join("; "));
    }
    faults
}

pub fn domain_is_pure(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        if !source.path.starts_with("domain/") {
            continue;
        }
        for word in IMPURE {
            for (at, _) in source.code.match_indices(word) {
                faults.push(format!("{}:{}: {word}", source.path, source.line_of(at)));
            }
        }
    }
    faults
}

/// Tests at the end of a file are not counted.
pub fn files_are_short(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let lines = match source.text.find("#[cfg(test)]\nmod tests {") {
            Some(end) => source.text[..end].lines().count(),
            None => source.text.lines().count(),
        };
        if lines > MAX_FILE {
            faults.push(format!("{}: {lines} lines", source.path));
        }
    }
    faults
}

pub fn expects_have_reasons(sources: &[Source]) -> Vec<String> {
    // A message of some words is a reason as well as a comment is.
    let is_reason = |line: &str| {
        let said = line.split_once(".expect(\"").map(|(_, text)| text);
        line.contains("//") || said.is_some_and(|text| text.split(' ').count() > 3)
    };
    let mut faults = Vec::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, _) in source.code.match_indices(".expect(") {
            let line = source.line_of(at);
            let near = [line.checked_sub(2), line.checked_sub(1)];
            let mut near = near.iter().flatten().filter_map(|at| lines.get(*at));
            if !near.any(|line| is_reason(line)) {
                faults.push(format!("{}:{line}", source.path));
            }
        }
    }
    faults
}

pub fn one_place_knows_sled(sources: &[Source]) -> Vec<String> {
    let (mut faults, mut found) = (Vec::new(), false);
    for source in sources {
        for (at, word) in words(&source.code) {
            if word != "sled" {
                continue;
            }
            if KNOW_SLED.contains(&source.path.as_str()) {
                found = true;
            } else {
                faults.push(format!("{}:{}", source.path, source.line_of(at)));
            }
        }
    }
    if !found {
        faults.push("the place that knows sled has moved".to_owned());
    }
    faults
}

pub fn names_say_something(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let mut before = "";
        for (at, word) in words(&source.code) {
            let is_type = ["struct", "enum", "trait", "mod"].contains(&before);
            before = word;
            let empty = |end: &&str| word.ends_with(*end) || word == end.to_lowercase();
            if is_type && EMPTY_WORDS.iter().any(empty) {
                faults.push(format!("{}:{}: {word}", source.path, source.line_of(at)));
            }
        }
    }
    faults
}

pub fn files_have_docs(sources: &[Source]) -> Vec<String> {
    let without = sources
        .iter()
        .filter(|source| !source.text.starts_with("//! "));
    without.map(|source| source.path.clone()).collect()
}
