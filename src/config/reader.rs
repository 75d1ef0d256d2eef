//! A typed reader over the spanned TOML tree: the raw side of the configuration.
//!
//! serde stops at the first fault, but a person who repairs a file wants all of them. So the
//! reader walks the tree itself: each key is taken by name and parsed, a fault is recorded
//! with its place, and the walk goes on. Keys that nothing took are unknown. The known keys
//! are thus defined once, where they are read. A key that the environment gives is taken
//! from there, and what the file has for it is not looked at.

use std::cell::RefCell;
use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

pub(super) use super::fault::{At, Flaw};
use super::fault::{Fault, Lines, quoted};
use super::to_json::json;
use super::unknown::Unknown;
use super::variables::{Variable, variable_name};
use crate::domain::json::Json;
pub use crate::domain::nearest::nearest;

/// Collects what the walk finds.
pub(super) struct Reader<'t> {
    lines: Lines<'t>,
    variables: &'t [Variable<'t>],
    faults: RefCell<Vec<(At<'t>, Fault)>>,
    unknown: RefCell<Vec<Unknown<'t>>>,
    /// Every key that was asked for, without indices: `endpoint.retry.first`.
    asked: RefCell<BTreeSet<String>>,
    /// The variables that could have given a key that was asked for.
    asked_variables: RefCell<BTreeSet<String>>,
}

/// A table of the file, or the absence of one: then every key is absent.
#[must_use = "unknown keys are found by finish()"]
pub(super) struct Section<'t> {
    reader: &'t Reader<'t>,
    entries: Option<&'t DeTable<'t>>,
    at: At<'t>,
    path: String,
    pattern: String,
    /// The endpoint's id, once it is known.
    pub endpoint: Option<&'t str>,
    taken: Vec<&'static str>,
}

/// A value and its place.
pub(super) struct Value<'t> {
    reader: &'t Reader<'t>,
    content: Content<'t>,
    at: At<'t>,
    path: String,
    pattern: String,
    endpoint: Option<&'t str>,
}

#[derive(Clone, Copy)]
enum Content<'t> {
    Node(&'t DeValue<'t>),
    /// What it is depends on what is asked of it.
    Variable(&'t Variable<'t>),
}

impl<'t> Reader<'t> {
    pub fn new(text: &'t str, variables: &'t [Variable<'t>]) -> Self {
        Reader {
            lines: Lines::of(text),
            variables,
            faults: RefCell::default(),
            unknown: RefCell::default(),
            asked: RefCell::default(),
            asked_variables: RefCell::default(),
        }
    }

    pub fn root(&'t self, table: &'t DeTable<'t>) -> Section<'t> {
        Section {
            reader: self,
            entries: Some(table),
            at: At::Nowhere,
            path: String::new(),
            pattern: String::new(),
            endpoint: None,
            taken: Vec::new(),
        }
    }

    /// Notes a fault.
    pub fn fault(&self, at: At<'t>, key: &str, endpoint: Option<&str>, flaw: &Flaw) {
        let Flaw { problem, fix } = flaw;
        let mut fault = match at {
            At::Nowhere => Fault::new(None, key, problem, fix),
            At::File(offset) => Fault::new(Some(self.lines.place(offset)), key, problem, fix),
            At::Variable(name, _) => Fault::of_variable(name, key, problem, fix),
        };
        fault.endpoint = endpoint.map(str::to_owned);
        self.faults.borrow_mut().push((at, fault));
    }

    /// How many faults there are so far, unknown keys not counted.
    pub fn count(&self) -> usize {
        self.faults.borrow().len()
    }

    /// Every key that was asked for, without indices.
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }

    /// Every variable that could have given a key that was asked for.
    pub fn asked_variables(&self) -> BTreeSet<String> {
        self.asked_variables.borrow().clone()
    }

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.borrow().is_empty() && self.unknown.borrow().is_empty()
    }

    /// All faults, in the order of the file, then those of the environment. `known` are the paths of all keys there are.
    pub fn finish(&self, known: &BTreeSet<String>) -> Vec<Fault> {
        for unknown in self.unknown.take() {
            let flaw = Flaw::new("unknown key", unknown.fix(known));
            self.fault(unknown.at, &unknown.path, unknown.endpoint, &flaw);
        }
        let mut faults = self.faults.take();
        faults.sort_by_key(|(at, _)| *at);
        faults.into_iter().map(|(_, fault)| fault).collect()
    }
}

impl<'t> Section<'t> {
    /// The value of a key, if it is there: in the environment, else in the file.
    pub fn get(&mut self, key: &'static str) -> Option<Value<'t>> {
        let written = self.written(key);
        if !self.is_in_list() {
            let name = variable_name(&joined(&self.path, key));
            self.reader.asked_variables.borrow_mut().insert(name);
        }
        let Some(variable) = self.variable(key) else {
            return written;
        };
        Some(Value {
            reader: self.reader,
            content: Content::Variable(variable),
            at: At::Variable(variable.name, 0),
            path: joined(&self.path, key),
            pattern: joined(&self.pattern, key),
            endpoint: self.endpoint,
        })
    }

    /// The value that the file has for a key.
    fn written(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.taken.push(key);
        let pattern = joined(&self.pattern, key);
        self.reader.asked.borrow_mut().insert(pattern.clone());
        let node = self.entries?.get(key)?;
        Some(Value {
            reader: self.reader,
            content: Content::Node(node.get_ref()),
            at: self.at.moved(node.span().start),
            path: joined(&self.path, key),
            pattern,
            endpoint: self.endpoint,
        })
    }

    /// Whether it is an entry of a list, or in one: the environment gives such lists whole.
    fn is_in_list(&self) -> bool {
        self.path != self.pattern
    }

    /// The variable that gives a key.
    fn variable(&self, key: &str) -> Option<&'t Variable<'t>> {
        if self.is_in_list() {
            return None;
        }
        let name = variable_name(&joined(&self.path, key));
        self.reader
            .variables
            .iter()
            .find(|given| given.name == name)
    }

    /// The parsed value of a key; `None` if it is absent, or faulty, which is noted.
    pub fn take<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value<'t>) -> Result<T, Flaw>,
    ) -> Option<T> {
        let value = self.get(key)?;
        parse(&value).map_err(|flaw| value.fault(&flaw)).ok()
    }

    /// The parsed entries of a list; `None` if it is absent, or anything in it is faulty.
    pub fn each<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Value<'t>) -> Result<T, Flaw>,
    ) -> Option<Vec<T>> {
        let items = self.take(key, Value::strings)?;
        let given = items.len();
        let parsed = items
            .iter()
            .filter_map(|item| parse(item).map_err(|flaw| item.fault(&flaw)).ok())
            .collect::<Vec<T>>();
        (parsed.len() == given).then_some(parsed)
    }

    /// The table under a key; an empty one if it is absent or no table, which is noted. The
    /// environment gives its keys one by one.
    pub fn section(&mut self, key: &'static str) -> Section<'t> {
        let given = self
            .written(key)
            .and_then(|value| value.section().map_err(|flaw| value.fault(&flaw)).ok());
        given.unwrap_or_else(|| Section {
            reader: self.reader,
            entries: None,
            at: At::Nowhere,
            path: joined(&self.path, key),
            pattern: joined(&self.pattern, key),
            endpoint: self.endpoint,
            taken: Vec::new(),
        })
    }

    /// The names and values of a table whose names are free, such as headers.
    pub fn free_entries(&mut self, key: &'static str) -> Vec<(&'t str, Value<'t>)> {
        let Some(section) = self.take(key, Value::section) else {
            return Vec::new();
        };
        let entries = section.entries.into_iter().flat_map(|table| table.iter());
        entries
            .map(|(name, node)| {
                let value = Value {
                    reader: self.reader,
                    content: Content::Node(node.get_ref()),
                    at: section.at.moved(name.span().start),
                    path: joined(&section.path, name.get_ref()),
                    pattern: section.pattern.clone(),
                    endpoint: self.endpoint,
                };
                (&**name.get_ref(), value)
            })
            .collect()
    }

    /// Notes a fault of a key: where it stands, or else where its table does.
    pub fn fault(&self, key: &str, flaw: &Flaw) {
        let given = self.entries.and_then(|entries| entries.get(key));
        let at = match (self.variable(key), given) {
            (Some(variable), _) => At::Variable(variable.name, 0),
            (None, Some(node)) => self.at.moved(node.span().start),
            (None, None) => self.at,
        };
        self.reader
            .fault(at, &joined(&self.path, key), self.endpoint, flaw);
    }

    /// Notes a key that must be there and is not.
    pub fn require(&self, key: &str, fix: &str) {
        if !self.has(key) {
            self.fault(key, &Flaw::new("this key is missing", fix));
        }
    }

    /// Whether a key is there, faulty or not.
    pub fn has(&self, key: &str) -> bool {
        let written = self
            .entries
            .is_some_and(|entries| entries.contains_key(key));
        written || self.variable(key).is_some()
    }

    /// Whether a key is there and neither `""` nor `[]`.
    pub fn is_filled(&self, key: &str) -> bool {
        if let Some(variable) = self.variable(key) {
            return variable.is_filled();
        }
        let given = self.entries.and_then(|entries| entries.get(key));
        given.is_some_and(|node| match node.get_ref() {
            DeValue::String(text) => !text.is_empty(),
            DeValue::Array(items) => !items.is_empty(),
            _ => true,
        })
    }

    /// Notes each key that was not taken.
    pub fn finish(self) {
        for name in self.entries.into_iter().flat_map(|entries| entries.keys()) {
            let known = self.taken.contains(&&**name.get_ref());
            if !known {
                self.reader.unknown.borrow_mut().push(Unknown {
                    name: name.get_ref(),
                    at: self.at.moved(name.span().start),
                    path: joined(&self.path, name.get_ref()),
                    endpoint: self.endpoint,
                    siblings: self.taken.clone(),
                });
            }
        }
    }
}

impl<'t> Value<'t> {
    pub fn fault(&self, flaw: &Flaw) {
        self.reader.fault(self.at, &self.path, self.endpoint, flaw);
    }

    /// The value in TOML.
    fn node(&self) -> Result<&'t DeValue<'t>, Flaw> {
        match self.content {
            Content::Node(node) => Ok(node),
            Content::Variable(variable) => variable.typed(),
        }
    }

    /// A fault of the type; `expected` is such as `a duration is a string`.
    pub fn mistyped(&self, expected: &str, fix: &str) -> Flaw {
        let found = match self.node() {
            Err(flaw) => return flaw,
            Ok(DeValue::String(text)) if text.is_empty() => "an empty string",
            Ok(DeValue::String(_)) => "a string",
            Ok(DeValue::Integer(_)) => "an integer",
            Ok(DeValue::Float(_)) => "a float",
            Ok(DeValue::Boolean(_)) => "a boolean",
            Ok(DeValue::Datetime(_)) => "a date or time",
            Ok(DeValue::Array(_)) => "a list",
            Ok(DeValue::Table(_)) => "a table",
        };
        Flaw::new(format!("{expected}, not {found}"), fix)
    }

    pub fn text(&self) -> Result<&'t str, Flaw> {
        self.text_of("this is a string", "write it in quotes")
    }

    /// The text of a value that is written as a string; `expected` as in `mistyped`.
    pub fn text_of(&self, expected: &str, fix: &str) -> Result<&'t str, Flaw> {
        match self.content {
            Content::Variable(variable) => variable.text(),
            Content::Node(DeValue::String(text)) => Ok(text),
            Content::Node(_) => Err(self.mistyped(expected, fix)),
        }
    }

    pub fn flag(&self) -> Result<bool, Flaw> {
        let fix = "write true or false, without quotes";
        self.node()?
            .as_bool()
            .ok_or_else(|| self.mistyped("this is a boolean", fix))
    }

    /// A whole number.
    pub fn integer(&self) -> Result<i64, Flaw> {
        let DeValue::Integer(digits) = self.node()? else {
            let fix = "write digits only, without quotes and unit";
            return Err(self.mistyped("this is a whole number", fix));
        };
        i64::from_str_radix(digits.as_str(), digits.radix())
            .map_err(|_| Flaw::new("this number is too large", "write a smaller one"))
    }

    /// A finite number, whole or not.
    pub fn decimal(&self) -> Result<f64, Flaw> {
        let read = match self.node()? {
            DeValue::Integer(_) => self.integer()? as f64,
            DeValue::Float(digits) => digits.as_str().parse().unwrap_or(f64::NAN),
            _ => {
                let fix = "write a number such as 0.5, without quotes";
                return Err(self.mistyped("this is a number", fix));
            }
        };
        let endless = || Flaw::new("this is not a finite number", "write a number such as 0.5");
        read.is_finite().then_some(read).ok_or_else(endless)
    }

    pub fn items(&self) -> Result<Vec<Value<'t>>, Flaw> {
        self.entries(self.node()?)
    }

    /// The entries of a list of strings, which a variable may also give between commas.
    pub fn strings(&self) -> Result<Vec<Value<'t>>, Flaw> {
        match self.content {
            Content::Node(node) => self.entries(node),
            Content::Variable(variable) => self.entries(variable.strings()?),
        }
    }

    /// The entries of a list of tables; `expected` as in `mistyped`.
    pub fn tables(&self, expected: &str) -> Result<Vec<Value<'t>>, Flaw> {
        let name = &self.pattern;
        let fix = match self.content {
            Content::Node(_) => format!("write [[{name}]] with two brackets above each {name}"),
            Content::Variable(_) => "write a list of inline tables, [{ … }, { … }]".to_owned(),
        };
        self.items().map_err(|_| self.mistyped(expected, &fix))
    }

    fn entries(&self, node: &'t DeValue<'t>) -> Result<Vec<Value<'t>>, Flaw> {
        let DeValue::Array(items) = node else {
            return Err(self.mistyped("this is a list", "write it in square brackets, [ ]"));
        };
        let item = |(n, node): (usize, &'t toml::Spanned<DeValue<'t>>)| Value {
            reader: self.reader,
            content: Content::Node(node.get_ref()),
            at: self.at.moved(node.span().start),
            path: format!("{}[{n}]", self.path),
            pattern: self.pattern.clone(),
            endpoint: self.endpoint,
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub fn section(&self) -> Result<Section<'t>, Flaw> {
        let DeValue::Table(table) = self.node()? else {
            let name = &self.pattern;
            let fix = format!("write it as a table, [{name}] or {{ … }}");
            return Err(self.mistyped("this is a table", &fix));
        };
        Ok(Section {
            reader: self.reader,
            entries: Some(table),
            at: self.at,
            path: self.path.clone(),
            pattern: self.pattern.clone(),
            endpoint: self.endpoint,
            taken: Vec::new(),
        })
    }

    /// The value as JSON. Numbers keep their digits; dates and times are strings.
    pub fn json(&self) -> Result<Json, Flaw> {
        json(self.node()?)
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Result<T, Flaw> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let names = words.iter().map(|(word, _)| *word);
        let all: Vec<String> = names.clone().map(|word| format!("{word:?}")).collect();
        let fix = match nearest(text, names) {
            Some(word) => format!("did you mean {word:?}? it is one of {}", all.join(", ")),
            None => format!("write one of {}", all.join(", ")),
        };
        Err(Flaw::new(
            format!("{} is not known here", quoted(text)),
            fix,
        ))
    }
}

/// `path.key`; a key that is not a bare TOML key is quoted.
fn joined(path: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = if !key.is_empty() && key.len() <= 64 && key.chars().all(bare) {
        key.to_owned()
    } else {
        quoted(key)
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
