//! The style that matters, held by a test: which way imports point, how long files and
//! functions are, what is never called, and where sled may be known.
//!
//! It reads the sources as text, with comments and literals blanked out. What is under
//! `#[cfg(test)]` or in a `tests` file is not judged.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Each may import what stands after it, never what stands before.
const ROOF_TO_FLOOR: [&str; 10] = [
    "cli",
    "daemon",
    "api",
    "app",
    "dispatch",
    "transport",
    "outbox",
    "config",
    "clock",
    "domain",
];
const MAX_FILE: usize = 500;
const MAX_FUNCTION: usize = 70;

/// Called nowhere, but for the files named with it.
const BANNED: [(&str, &[&str]); 19] = [
    (".unwrap()", &[]),
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("dbg!", &[]),
    ("panic!(", &[]),
    ("#[allow", &[]),
    ("#![allow", &[]),
    ("unsafe ", &[]),
    ("SystemTime::now", &["clock.rs"]),
    ("Timestamp::now", &[]),
    ("Zoned::now", &[]),
    ("Utc::now", &[]),
    ("print!(", &[]),
    ("println!", &[]),
    ("eprint!", &[]),
    ("eprintln!", &["main.rs"]),
    ("process::exit", &[]),
    ("thread::sleep", &[]),
    ("anyhow", &["main.rs"]),
];
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

struct Source {
    /// Below `src`, with forward slashes.
    path: String,
    text: String,
    /// The same lines with comments, literals and tests blanked out.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    assert!(files.len() > 50, "where are the sources?");
    let below = |file: &Path| file.strip_prefix(&root).unwrap().display().to_string();
    let of_tests = |path: &str| path.ends_with("tests.rs") || path.contains("/tests/");
    files
        .iter()
        .map(|file| (below(file), fs::read_to_string(file).unwrap()))
        .filter(|(path, _)| !of_tests(path))
        .map(|(path, text)| Source {
            code: without_tests(&without_literals(&text)),
            path,
            text,
        })
        .collect()
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, files),
            false if path.extension().is_some_and(|end| end == "rs") => files.push(path),
            false => {}
        }
    }
}

/// Blanks comments, strings and characters out; line ends stay.
fn without_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            let blanked = chars[at..end].iter();
            out.extend(blanked.map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` if none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let look = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let find = |from: usize, wanted: &str| {
        let wanted: Vec<char> = wanted.chars().collect();
        (from..chars.len())
            .find(|at| chars[*at..].starts_with(&wanted))
            .map_or(chars.len(), |found| found + wanted.len())
    };
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match look(0) {
        '/' if look(1) == '/' => find(at, "\n") - 1,
        '/' if look(1) == '*' => find(at + 2, "*/"),
        'r' if !in_word && (look(1) == '"' || look(1) == '#') => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            match look(1 + hashes) {
                '"' => find(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes))),
                _ => at,
            }
        }
        '"' => quoted_end(chars, at, '"'),
        '\'' if look(1) == '\\' => quoted_end(chars, at, '\''),
        '\'' if look(2) == '\'' => at + 3,
        _ => at,
    }
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

/// Blanks out what `#[cfg(test)]` stands before.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    while let Some(start) = code.find("#[cfg(test)]") {
        let rest = &code[start..];
        let item_end = rest.find([';', '{']).unwrap_or(rest.len() - 1);
        let end = match rest[item_end..].starts_with('{') {
            true => item_end + block_end(&rest[item_end..]),
            false => item_end + 1,
        };
        let blank: String = rest[..end].chars().filter(|c| *c == '\n').collect();
        code.replace_range(start..start + end, &blank);
    }
    code
}

/// The length of the block in braces that `code` begins with.
fn block_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Fails with all faults at once.
fn hold(rule: &str, faults: &str) {
    assert!(faults.is_empty(), "{rule}:\n{faults}");
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The words of `code` with where they begin.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.split(move |c| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
}

#[test]
fn imports_point_down() {
    let rank = |module: &str| ROOF_TO_FLOOR.iter().position(|name| *name == module);
    let mut faults = String::new();
    for source in sources() {
        let own = source.path.trim_end_matches(".rs").split('/').next();
        let own = own.unwrap();
        if own == "lib" {
            continue;
        }
        if own == "main" {
            for (at, _) in source.code.match_indices("outboxd::") {
                let named = &source.code[at + "outboxd::".len()..];
                if !named.starts_with("cli") {
                    writeln!(faults, "main.rs:{}", line_of(&source.code, at)).unwrap();
                }
            }
            continue;
        }
        let own_rank = rank(own).unwrap_or_else(|| panic!("{own} is not in the list"));
        for (at, _) in source.code.match_indices("crate::") {
            let named = &source.code[at + "crate::".len()..];
            let (line, path) = (line_of(&source.code, at), &source.path);
            match words(named).next().and_then(|(_, word)| rank(word)) {
                _ if named.starts_with('{') => {
                    writeln!(faults, "{path}:{line}: one `use crate::x` a module").unwrap();
                }
                Some(other) if other >= own_rank => {}
                _ => writeln!(faults, "{path}:{line}: {own} imports upwards").unwrap(),
            }
        }
    }
    hold("imports point down the list only", &faults);
}

#[test]
fn domain_does_nothing_but_decide() {
    let mut faults = String::new();
    for source in sources() {
        if !source.path.starts_with("domain/") {
            continue;
        }
        for word in IMPURE {
            for (at, _) in source.code.match_indices(word) {
                let line = line_of(&source.code, at);
                writeln!(faults, "{}:{line}: {word}", source.path).unwrap();
            }
        }
    }
    hold("domain has no I/O, no clock, no dice", &faults);
}

#[test]
fn files_are_short() {
    let mut faults = String::new();
    for source in sources() {
        // The blanked code of tests has no lines but empty ones at the end.
        let lines = match source.text.find("#[cfg(test)]\nmod tests {") {
            Some(end) => source.text[..end].lines().count(),
            None => source.text.lines().count(),
        };
        if lines > MAX_FILE {
            writeln!(faults, "{}: {lines} lines", source.path).unwrap();
        }
    }
    hold("a file has 500 lines at most, tests not counted", &faults);
}

#[test]
fn functions_are_short() {
    let mut faults = String::new();
    for source in sources() {
        for (at, word) in words(&source.code) {
            if word != "fn" {
                continue;
            }
            let rest = &source.code[at..];
            // No body: a declaration, or the type of a function.
            let Some(open) = rest.find(['{', ';']) else {
                continue;
            };
            if rest[open..].starts_with(';') {
                continue;
            }
            let body = &rest[..open + block_end(&rest[open..])];
            let lines = body.lines().count();
            if lines > MAX_FUNCTION {
                let line = line_of(&source.code, at);
                writeln!(faults, "{}:{line}: {lines} lines", source.path).unwrap();
            }
        }
    }
    hold("a function has 70 lines at most", &faults);
}

#[test]
fn nothing_banned_is_called() {
    let mut faults = String::new();
    for source in sources() {
        for (call, files) in BANNED {
            if files.contains(&source.path.as_str()) {
                continue;
            }
            for (at, _) in source.code.match_indices(call) {
                let before = source.code[..at].chars().next_back();
                let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
                if in_word && !call.starts_with('.') {
                    continue;
                }
                let line = line_of(&source.code, at);
                writeln!(faults, "{}:{line}: {call}", source.path).unwrap();
            }
        }
    }
    hold("banned calls", &faults);
}

#[test]
fn every_expect_says_why_it_cannot_fail() {
    let mut faults = String::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, _) in source.code.match_indices(".expect(") {
            let line = line_of(&source.code, at);
            let near = [line.checked_sub(2), line.checked_sub(1)];
            let mut near = near.iter().flatten().filter_map(|at| lines.get(*at));
            // A message of some words is a reason as well as a comment is.
            let is_reason = |line: &str| {
                let said = line.split_once(".expect(\"").map(|(_, text)| text);
                line.contains("//") || said.is_some_and(|text| text.split(' ').count() > 3)
            };
            if !near.any(|line| is_reason(line)) {
                writeln!(faults, "{}:{line}", source.path).unwrap();
            }
        }
    }
    hold(
        "an expect, or a comment on or above its line, says why it holds",
        &faults,
    );
}

#[test]
fn one_place_knows_sled() {
    let mut faults = String::new();
    let mut found = false;
    for source in sources() {
        for (at, word) in words(&source.code) {
            if word != "sled" {
                continue;
            }
            if KNOW_SLED.contains(&source.path.as_str()) {
                found = true;
                continue;
            }
            writeln!(faults, "{}:{}", source.path, line_of(&source.code, at)).unwrap();
        }
    }
    hold("sled is known in one place", &faults);
    assert!(found, "the place that knows sled has moved");
}

#[test]
fn names_say_what_they_name() {
    let mut faults = String::new();
    for source in sources() {
        let mut before = "";
        for (at, word) in words(&source.code) {
            let is_type = ["struct", "enum", "trait", "mod"].contains(&before);
            before = word;
            let empty = |end: &&str| word.ends_with(*end) || word == end.to_lowercase();
            if is_type && EMPTY_WORDS.iter().any(empty) {
                let line = line_of(&source.code, at);
                writeln!(faults, "{}:{line}: {word}", source.path).unwrap();
            }
        }
    }
    hold("names that say nothing", &faults);
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut faults = String::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            writeln!(faults, "{}", source.path).unwrap();
        }
    }
    hold("a file begins with its `//!` doc", &faults);
}

#[test]
fn literals_and_tests_are_not_taken_for_code() {
    let text = r##"fn a() { '{'; "}"; r#""}"#; '\''; } // }
/* .unwrap() */ fn b<'a>(x: &'a str) {}
#[cfg(test)]
mod tests { fn c() { x.unwrap() } }
"##;
    let code = without_tests(&without_literals(text));
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(!code.contains("unwrap") && !code.contains('"'), "{code}");
    assert!(code.contains("fn b<'a>(x: &'a str) {}"), "{code}");
    assert_eq!(code.matches('{').count(), code.matches('}').count());
    assert_eq!(block_end("{ {} } x"), 6);
}
