//! The sources as text: comments, literals and tests are blanked out.

use std::fs;
use std::path::{Path, PathBuf};

pub struct Source {
    /// Below `src`, with forward slashes.
    pub path: String,
    pub text: String,
    /// The same lines with comments, literals and tests blanked out.
    pub code: String,
}

impl Source {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        Source {
            path: path.into(),
            code: without_tests(&without_literals(&text)),
            text,
        }
    }

    /// The line at an offset of the code, from 1.
    pub fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

/// All of `src` but tests.
pub fn sources() -> Vec<Source> {
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
        .map(|(path, text)| Source::new(path, text))
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
pub fn block_end(code: &str) -> usize {
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

/// The words of `code` with where they begin.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.split(move |c| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
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
