//! The keys of a JSON object, each read once and in its type.

use std::time::Duration;

use indexmap::IndexMap;

use super::fault::BadSource;
use crate::domain::event::MAX_EVENT_SIZE;
use crate::domain::json::Json;
use crate::domain::nearest::nearest;
use crate::domain::units::{BadUnit, parse_duration, parse_size, show_size};

/// Keys and their values, as they were given.
pub type Given = IndexMap<Box<str>, Json>;

/// The most items of a list.
const MAX_ITEMS: usize = 100;
/// The longest text, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// How much of an unknown word is repeated, in characters.
const SHOWN: usize = 64;

/// An object whose keys are all known.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    /// What stands before its keys in faults: empty, or such as `verify.`.
    prefix: &'a str,
    fields: &'a Given,
}

impl<'a> Table<'a> {
    /// # Errors
    /// A key that is not one of `known`.
    pub(super) fn new(
        prefix: &'a str,
        fields: &'a Given,
        known: &[&'static str],
    ) -> Result<Table<'a>, BadSource> {
        let unknown = fields.keys().find(|key| !known.contains(&&***key));
        match unknown {
            None => Ok(Table { prefix, fields }),
            Some(key) => {
                let shown: String = key.chars().take(SHOWN).collect();
                let fix = match nearest(key, known.iter().copied()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("write one of {}", known.join(", ")),
                };
                let key = format!("{prefix}{shown}");
                Err(BadSource::new(key, "this key is not known here", fix))
            }
        }
    }

    /// An object at a key of this one.
    pub(super) fn of(
        key: &'a str,
        json: &'a Json,
        known: &[&'static str],
    ) -> Result<Table<'a>, BadSource> {
        match json {
            Json::Object(fields) => Table::new(key, fields, known),
            other => {
                let key = key.trim_end_matches('.');
                Err(mistyped(key, other, "a table such as { kind = \"echo\" }"))
            }
        }
    }

    /// The full name of a key.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(super) fn fault(
        &self,
        key: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> BadSource {
        BadSource::new(self.key(key), problem, fix)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Json> {
        self.fields.get(key).filter(|value| **value != Json::Null)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn mistyped(&self, key: &str, found: &Json, wanted: &str) -> BadSource {
        mistyped(&self.key(key), found, wanted)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, BadSource> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(text) if text.len() <= MAX_TEXT => Ok(Some(text)),
            Some(_) => Err(self.fault(key, "this text is too long", "write at most 64 KiB")),
            None => Err(self.mistyped(key, value, "a string")),
        }
    }

    /// A text that is not empty.
    pub(super) fn filled(&self, key: &str) -> Result<Option<&'a str>, BadSource> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, BadSource> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(value) => Err(self.mistyped(key, value, "true or false")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u16>, BadSource> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Number(text)) if text.parse::<u16>().is_ok() => Ok(text.parse().ok()),
            Some(value) => Err(self.mistyped(key, value, "a whole number")),
        }
    }

    /// A list of texts, or one alone.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, BadSource> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(vec![text])),
            Some(Json::Array(items)) if items.len() <= MAX_ITEMS => {
                let texts = items.iter().enumerate().map(|(n, item)| {
                    let wanted = || self.mistyped(&format!("{key}[{n}]"), item, "a string");
                    item.as_str().ok_or_else(wanted)
                });
                texts.collect::<Result<_, _>>().map(Some)
            }
            Some(Json::Array(_)) => {
                Err(self.fault(key, "this list is too long", "write at most 100 items"))
            }
            Some(value) => Err(self.mistyped(key, value, "a list of strings")),
        }
    }

    /// What is read of each table of a list, or of one alone.
    pub(super) fn each<T>(
        &self,
        key: &str,
        known: &[&'static str],
        read: fn(&Table<'_>) -> Result<T, BadSource>,
    ) -> Result<Vec<T>, BadSource> {
        let items = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Json::Array(items)) => items,
            Some(one) => {
                let prefix = format!("{}.", self.key(key));
                return Ok(vec![read(&Table::of(&prefix, one, known)?)?]);
            }
        };
        if items.len() > MAX_ITEMS {
            return Err(self.fault(key, "this list is too long", "write at most 100 items"));
        }
        let read = |(n, item): (usize, &Json)| {
            let prefix = format!("{}[{n}].", self.key(key));
            read(&Table::of(&prefix, item, known)?)
        };
        items.iter().enumerate().map(read).collect()
    }

    /// What one of some words stands for.
    pub(super) fn word<T: Clone>(
        &self,
        key: &str,
        known: &[(&'static str, T)],
    ) -> Result<Option<T>, BadSource> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let found = known.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, meaning)| Some(meaning.clone()))
            .ok_or_else(|| {
                let shown: String = text.chars().take(SHOWN).collect();
                let words = || known.iter().map(|(word, _)| *word);
                let fix = match nearest(text, words()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("write one of {}", words().collect::<Vec<_>>().join(", ")),
                };
                self.fault(key, format!("{shown:?} is not known here"), fix)
            })
    }

    /// A duration; an empty text is none.
    pub(super) fn duration(&self, key: &str) -> Result<Option<Duration>, BadSource> {
        let text = self.filled(key)?;
        let read = text.map(parse_duration).transpose();
        read.map_err(|bad| self.unit(key, &bad))
    }

    /// The size of an event in bytes, 1 to [`MAX_EVENT_SIZE`]; an empty text is none.
    pub(super) fn event_size(&self, key: &str) -> Result<Option<u64>, BadSource> {
        let text = self.filled(key)?;
        let read = text.map(parse_size).transpose();
        match read.map_err(|bad| self.unit(key, &bad))? {
            Some(0) => {
                let fix = "write such as \"1MiB\"";
                Err(self.fault(key, "a size of 0 lets nothing through", fix))
            }
            Some(size) if size > MAX_EVENT_SIZE => {
                let fix = format!("write at most \"{}\"", show_size(MAX_EVENT_SIZE));
                Err(self.fault(key, "this size is too large", fix))
            }
            size => Ok(size),
        }
    }

    pub(super) fn unit(&self, key: &str, bad: &BadUnit) -> BadSource {
        self.fault(key, bad.problem(), bad.fix())
    }
}

fn mistyped(key: &str, found: &Json, wanted: &str) -> BadSource {
    BadSource::new(
        key,
        format!("this is {}", found.a_kind()),
        format!("write {wanted}"),
    )
}
