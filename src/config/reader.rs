//! A typed reader over the spanned TOML tree: the raw side of the configuration.
//!
//! serde stops at the first fault, but a person who repairs a file wants all of them. So the
//! reader walks the tree itself: each key is taken by name and parsed, a fault is recorded
//! with its place, and the walk goes on. Keys that nothing took are unknown. The known keys
//! are thus defined once, where they are read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Lines, quoted};
use super::units::BadUnit;
use crate::domain::json::Json;
pub use crate::domain::nearest::nearest;

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

/// Collects what the walk finds.
pub(super) struct Reader<'t> {
    lines: Lines<'t>,
    faults: RefCell<Vec<(Option<usize>, Fault)>>,
    unknown: RefCell<Vec<Unknown<'t>>>,
    /// Every key that was asked for, without indices: `endpoint.retry.first`.
    asked: RefCell<BTreeSet<String>>,
}

/// A key that nobody took.
struct Unknown<'t> {
    name: &'t str,
    at: usize,
    path: String,
    endpoint: Option<&'t str>,
    siblings: Vec<&'static str>,
}

/// A table of the file, or the absence of one: then every key is absent.
#[must_use = "unknown keys are found by finish()"]
pub(super) struct Section<'t> {
    reader: &'t Reader<'t>,
    entries: Option<&'t DeTable<'t>>,
    at: Option<usize>,
    path: String,
    pattern: String,
    /// The endpoint's id, once it is known.
    pub endpoint: Option<&'t str>,
    taken: Vec<&'static str>,
}

/// A value of the file and its place.
pub(super) struct Value<'t> {
    reader: &'t Reader<'t>,
    node: &'t DeValue<'t>,
    at: usize,
    path: String,
    pattern: String,
    endpoint: Option<&'t str>,
}

impl<'t> Reader<'t> {
    pub fn new(text: &'t str) -> Self {
        Reader {
            lines: Lines::of(text),
            faults: RefCell::default(),
            unknown: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    pub fn root(&'t self, table: &'t DeTable<'t>) -> Section<'t> {
        Section {
            reader: self,
            entries: Some(table),
            at: None,
            path: String::new(),
            pattern: String::new(),
            endpoint: None,
            taken: Vec::new(),
        }
    }

    /// Notes a fault; `at` is a byte offset.
    pub fn fault(&self, at: Option<usize>, key: &str, endpoint: Option<&str>, flaw: &Flaw) {
        let place = at.map(|at| self.lines.place(at));
        let mut fault = Fault::new(place, key, &flaw.problem, &flaw.fix);
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

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.borrow().is_empty() && self.unknown.borrow().is_empty()
    }

    /// All faults, in the order of the file. `known` are the paths of all keys there are.
    pub fn finish(&self, known: &BTreeSet<String>) -> Vec<Fault> {
        for unknown in self.unknown.take() {
            let flaw = Flaw::new("unknown key", unknown.fix(known));
            self.fault(Some(unknown.at), &unknown.path, unknown.endpoint, &flaw);
        }
        let mut faults = self.faults.take();
        faults.sort_by_key(|(at, _)| *at);
        faults.into_iter().map(|(_, fault)| fault).collect()
    }
}

impl Unknown<'_> {
    fn fix(&self, known: &BTreeSet<String>) -> String {
        let elsewhere: Vec<String> = known
            .iter()
            .filter(|path| {
                path.rsplit_once('.')
                    .is_some_and(|(_, name)| name == self.name)
            })
            .map(|path| format!("{path:?}"))
            .collect();
        if !elsewhere.is_empty() {
            let place = if self.path == self.name {
                "at the top"
            } else {
                "in this table"
            };
            return format!(
                "did you mean {}? it is not a key {place}",
                elsewhere.join(" or ")
            );
        }
        match nearest(self.name, self.siblings.iter().copied()) {
            Some(name) => format!("did you mean {name:?}?"),
            None => format!("remove it; the keys here are {}", self.siblings.join(", ")),
        }
    }
}

impl<'t> Section<'t> {
    /// The value of a key, if it is there.
    pub fn get(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.taken.push(key);
        let pattern = joined(&self.pattern, key);
        self.reader.asked.borrow_mut().insert(pattern.clone());
        let node = self.entries?.get(key)?;
        Some(Value {
            reader: self.reader,
            node: node.get_ref(),
            at: node.span().start,
            path: joined(&self.path, key),
            pattern,
            endpoint: self.endpoint,
        })
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
        let items = self.take(key, Value::items)?;
        let given = items.len();
        let parsed = items
            .iter()
            .filter_map(|item| parse(item).map_err(|flaw| item.fault(&flaw)).ok())
            .collect::<Vec<T>>();
        (parsed.len() == given).then_some(parsed)
    }

    /// The table under a key; an empty one if it is absent or no table, which is noted.
    pub fn section(&mut self, key: &'static str) -> Section<'t> {
        let given = self.take(key, Value::section);
        given.unwrap_or_else(|| Section {
            reader: self.reader,
            entries: None,
            at: None,
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
                    node: node.get_ref(),
                    at: name.span().start,
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
        let at = given.map(|node| node.span().start).or(self.at);
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
        self.entries
            .is_some_and(|entries| entries.contains_key(key))
    }

    /// Whether a key is there and neither `""` nor `[]`.
    pub fn is_filled(&self, key: &str) -> bool {
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
                    at: name.span().start,
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
        self.reader
            .fault(Some(self.at), &self.path, self.endpoint, flaw);
    }

    /// A fault of the type; `expected` is such as `a duration is a string`.
    pub fn mistyped(&self, expected: &str, fix: &str) -> Flaw {
        let found = match self.node {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Flaw::new(format!("{expected}, not {found}"), fix)
    }

    pub fn text(&self) -> Result<&'t str, Flaw> {
        match self.node {
            DeValue::String(text) => Ok(text),
            _ => Err(self.mistyped("this is a string", "write it in quotes")),
        }
    }

    pub fn flag(&self) -> Result<bool, Flaw> {
        let fix = "write true or false, without quotes";
        self.node
            .as_bool()
            .ok_or_else(|| self.mistyped("this is a boolean", fix))
    }

    /// A whole number.
    pub fn integer(&self) -> Result<i64, Flaw> {
        let DeValue::Integer(digits) = self.node else {
            let fix = "write digits only, without quotes and unit";
            return Err(self.mistyped("this is a whole number", fix));
        };
        i64::from_str_radix(digits.as_str(), digits.radix())
            .map_err(|_| Flaw::new("this number is too large", "write a smaller one"))
    }

    /// A finite number, whole or not.
    pub fn decimal(&self) -> Result<f64, Flaw> {
        let read = match self.node {
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
        let DeValue::Array(items) = self.node else {
            return Err(self.mistyped("this is a list", "write it in square brackets, [ ]"));
        };
        let item = |(n, node): (usize, &'t toml::Spanned<DeValue<'t>>)| Value {
            reader: self.reader,
            node: node.get_ref(),
            at: node.span().start,
            path: format!("{}[{n}]", self.path),
            pattern: self.pattern.clone(),
            endpoint: self.endpoint,
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub fn section(&self) -> Result<Section<'t>, Flaw> {
        let DeValue::Table(table) = self.node else {
            let name = &self.pattern;
            let fix = format!("write it as a table, [{name}] or {{ … }}");
            return Err(self.mistyped("this is a table", &fix));
        };
        Ok(Section {
            reader: self.reader,
            entries: Some(table),
            at: Some(self.at),
            path: self.path.clone(),
            pattern: self.pattern.clone(),
            endpoint: self.endpoint,
            taken: Vec::new(),
        })
    }

    /// The value as JSON. Numbers keep their digits; dates and times are strings.
    pub fn json(&self) -> Result<Json, Flaw> {
        json(self.node)
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

fn json(node: &DeValue<'_>) -> Result<Json, Flaw> {
    Ok(match node {
        DeValue::String(text) => Json::String((&**text).into()),
        DeValue::Boolean(flag) => Json::Bool(*flag),
        DeValue::Datetime(moment) => Json::String(moment.to_string().into()),
        DeValue::Integer(digits) => {
            let number = i64::from_str_radix(digits.as_str(), digits.radix());
            let large = |_| Flaw::new("this number is too large", "write a smaller one");
            Json::Number(number.map_err(large)?.to_string().into())
        }
        DeValue::Float(digits) => {
            let text = digits.as_str().trim_start_matches('+');
            if !text.parse().is_ok_and(f64::is_finite) {
                let fix = "write a number such as 0.5";
                return Err(Flaw::new("this is not a finite number", fix));
            }
            Json::Number(text.into())
        }
        DeValue::Array(items) => {
            let items = items.iter().map(|item| json(item.get_ref()));
            Json::Array(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let fields = table.iter().map(|(name, value)| {
                let name: &str = name.get_ref();
                Ok((name.into(), json(value.get_ref())?))
            });
            Json::Object(fields.collect::<Result<_, Flaw>>()?)
        }
    })
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
