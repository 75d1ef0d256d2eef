//! What is wrong with a configuration, and where.
//!
//! A fault never repeats a secret: values of keys that hold one are not quoted at all, and
//! anything that looks like a signing secret is removed from every text here, since people
//! paste secrets where a file name belongs.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::units::BadUnit;

/// One thing to correct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// From 1; `None` for a fault of the whole file or of the environment.
    pub line: Option<usize>,
    /// In characters, from 1.
    pub column: Option<usize>,
    /// The environment's variable that is at fault, in place of line and column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// The dotted path, such as `endpoint[2].retry.first`, counted from 0; empty for the
    /// whole file.
    pub key: String,
    /// The endpoint's id, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    pub problem: String,
    pub fix: String,
}

/// Every fault of one configuration, in the order of the file, then those of the
/// environment; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    pub list: Vec<Fault>,
}

/// What is wrong with one value, and what to write instead.
#[derive(Clone, Debug)]
pub(super) struct Flaw {
    pub problem: String,
    pub fix: String,
}

impl Flaw {
    pub fn new(problem: impl Into<String>, fix: impl Into<String>) -> Flaw {
        Flaw {
            problem: problem.into(),
            fix: fix.into(),
        }
    }
}

impl From<BadUnit> for Flaw {
    fn from(bad: BadUnit) -> Flaw {
        Flaw::new(bad.problem(), bad.fix())
    }
}

/// Where a value stands: a byte offset in the file, or a variable and an offset in its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At<'t> {
    /// In neither: it is about the whole, or about what is not there.
    Nowhere,
    File(usize),
    Variable(&'t str, usize),
}

impl At<'_> {
    /// Another offset in the same text.
    pub fn moved(self, offset: usize) -> Self {
        match self {
            At::Nowhere | At::File(_) => At::File(offset),
            At::Variable(name, _) => At::Variable(name, offset),
        }
    }
}

/// Where in a text something stands: line and column from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

/// A text that can tell the place of any byte in it.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub fn of(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0)
            .chain(breaks.map(|(at, _)| at + 1))
            .collect();
        Lines { text, starts }
    }

    /// The place of a byte offset; past the end is the end.
    pub fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.wrapping_sub(1)).copied().unwrap_or(0);
        let before = self.text.as_bytes().get(start..offset).unwrap_or_default();
        // Bytes that continue a character count no column.
        let characters = before.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        Place {
            line,
            column: characters + 1,
        }
    }
}

impl Fault {
    /// A fault at a place in the file, or of the whole.
    pub(super) fn new(place: Option<Place>, key: &str, problem: &str, fix: &str) -> Fault {
        Fault {
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            variable: None,
            key: shown(key),
            endpoint: None,
            problem: shown(problem),
            fix: shown(fix),
        }
    }

    /// A fault of a value from the environment.
    pub(super) fn of_variable(variable: &str, key: &str, problem: &str, fix: &str) -> Fault {
        Fault {
            variable: Some(shown(variable)),
            ..Fault::new(None, key, problem, fix)
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match &self.path {
            Some(path) => shown(&path.display().to_string()),
            None => "configuration".to_owned(),
        };
        for (n, fault) in self.list.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            f.write_str(fault.variable.as_deref().unwrap_or(&file))?;
            if let (Some(line), Some(column)) = (fault.line, fault.column) {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": ")?;
            if !fault.key.is_empty() {
                f.write_str(&fault.key)?;
                if let Some(id) = &fault.endpoint {
                    write!(f, " (endpoint {id:?})")?;
                }
                write!(f, ": ")?;
            }
            write!(f, "{}; fix: {}", fault.problem, fault.fix)?;
        }
        Ok(())
    }
}

/// The TOML parser's words for a key that is given twice.
pub(super) const DUPLICATE: &str = "duplicate key";

/// What to write instead of what is not TOML, by the parser's words.
pub(super) fn syntax_fix(message: &str) -> &'static str {
    if message == DUPLICATE {
        "remove one of the two, or join them"
    } else if message.contains("must be quoted") {
        "put the value in quotes, such as \"5s\""
    } else if message.starts_with("unclosed") {
        "close it"
    } else {
        "write it as TOML has it, see https://toml.io"
    }
}

/// A value as a fault may quote it: short, on one line. Not for keys that hold secrets.
pub(super) fn quoted(value: &str) -> String {
    const MOST: usize = 60;
    match value.char_indices().nth(MOST) {
        None => format!("{value:?}"),
        Some((cut, _)) => format!("{:?}…", &value[..cut]),
    }
}

/// The text on one line, without control characters and signing secrets.
fn shown(text: &str) -> String {
    const MARK: &str = "whsec_";
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split(MARK);
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=-_".contains(c);
        plain.push_str("whsec_…");
        plain.push_str(part.trim_start_matches(base64));
    }
    if plain.contains(char::is_control) {
        plain.replace(char::is_control, "\u{fffd}")
    } else {
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = Lines::of("a = 1\nüü = 2\n");
        let place = |line, column| Place { line, column };
        assert_eq!(text.place(0), place(1, 1));
        assert_eq!(text.place(4), place(1, 5));
        assert_eq!(text.place(6), place(2, 1));
        assert_eq!(text.place(11), place(2, 4));
        assert_eq!(text.place(999), place(3, 1));
        assert_eq!(Lines::of("").place(7), place(1, 1));
    }

    #[test]
    fn texts_show_no_secret_and_stay_on_one_line() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(shown(secret), "whsec_…");
        assert_eq!(shown(&format!("/etc/{secret}: none")), "/etc/whsec_…: none");
        assert_eq!(
            shown("whsec_ab whsec_cd\n\u{1b}[31m"),
            "whsec_… whsec_…\u{fffd}\u{fffd}[31m"
        );
        assert_eq!(quoted(&"ü".repeat(70)), format!("\"{}\"…", "ü".repeat(60)));
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
    }
}
