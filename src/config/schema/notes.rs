//! What `config.example.toml` says about each key: its comment, and its default.
//!
//! The example documents all keys, which tests check, so the schema takes its descriptions from
//! it.

use std::collections::BTreeMap;

use serde_json::Value;

/// The text of the example.
pub const EXAMPLE: &str = include_str!("../../../config.example.toml");

#[derive(Clone, Debug, Default)]
pub struct Note {
    pub text: String,
    /// `None` for keys that the example gives as a sample.
    pub default: Option<Value>,
}

/// The notes by the dotted path of their keys, without indices.
pub fn notes() -> BTreeMap<String, Note> {
    let mut notes: BTreeMap<String, Note> = BTreeMap::new();
    let (mut table, mut block) = (String::new(), Vec::new());
    // Keys that follow each other share the comment before the first.
    let mut is_told = false;
    for line in EXAMPLE.lines() {
        let commented = line.strip_prefix('#');
        let said = commented.unwrap_or(line);
        if let Some(name) = said.strip_prefix('[') {
            table = name.trim_matches(['[', ']']).to_owned();
            block.clear();
        } else if let Some((key, value)) = assignment(said) {
            let path = match table.as_str() {
                "" => key.to_owned(),
                table => format!("{table}.{key}"),
            };
            let note = notes.entry(path).or_default();
            if note.text.is_empty() {
                note.text = sentence(&block);
            }
            if !said.starts_with(' ') {
                note.default = default(key, value);
            }
            is_told = true;
        } else if let Some(words) = said.strip_prefix(' ').filter(|_| commented.is_some()) {
            let continues = words.starts_with([' ', ']']);
            if std::mem::take(&mut is_told) && !continues {
                block.clear();
            }
            if !continues {
                block.push(words);
            } else {
                is_told = true;
            }
        } else {
            block.clear();
            is_told = false;
        }
    }
    notes
}

/// `key = value`; a sample has a space before it.
fn assignment(said: &str) -> Option<(&str, &str)> {
    let (key, value) = said.strip_prefix(' ').unwrap_or(said).split_once(" = ")?;
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (!key.is_empty() && key.chars().all(is_key)).then_some((key, value))
}

fn sentence(block: &[&str]) -> String {
    let text = block.join(" ");
    match text.strip_suffix(':') {
        Some(text) => format!("{text}."),
        None => text,
    }
}

fn default(key: &str, value: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("{key} = {value}")).ok()?;
    let value = serde_json::to_value(table.get(key)?).ok()?;
    match value.as_str() {
        Some(text) => Some(text.replace("VERSION", env!("CARGO_PKG_VERSION")).into()),
        None => Some(value),
    }
}
