//! Operands in compiled form, and the tests of one value against them.

use std::cmp::Ordering;

use super::bounds::MAX_BYTES;
use super::work::{Exhausted, Work};
use crate::domain::decimal::Decimal;
use crate::domain::json::Json;

/// A test of one value. Of an array it knows only equality as a whole; the elements are
/// brought to it one by one.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Equal(Literal),
    Order(Comparison, Bound),
    In(List),
    Contains(Box<str>),
    StartsWith(Box<[Box<str>]>),
    EndsWith(Box<[Box<str>]>),
}

/// A value of the filter. Fields keep no order: objects are equal without it.
#[derive(Clone, Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Number(Decimal<'static>),
    String(Box<str>),
    Array(Box<[Literal]>),
    Object(Box<[(Box<str>, Literal)]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Clone, Debug)]
pub(super) enum Bound {
    Number(Decimal<'static>),
    String(Box<str>),
}

/// The list of `$in`, sorted by type and value.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    null: bool,
    yes: bool,
    no: bool,
    numbers: Box<[Decimal<'static>]>,
    strings: Box<[Box<str>]>,
}

impl Test {
    pub(super) fn holds(&self, value: &Json, work: &mut Work) -> Result<bool, Exhausted> {
        match (self, value) {
            (Test::Equal(literal), value) => literal.equals(value, work),
            (Test::Order(comparison, Bound::Number(bound)), Json::Number(text)) => {
                work.spend(2 + text.len() / 16)?;
                Ok(Decimal::parse(text).is_ok_and(|number| comparison.admits(number.cmp(bound))))
            }
            (Test::Order(comparison, Bound::String(bound)), Json::String(text)) => {
                work.spend(1 + text.len().min(bound.len()) / 64)?;
                Ok(comparison.admits(text.as_bytes().cmp(bound.as_bytes())))
            }
            (Test::In(list), value) => list.has(value, work),
            (Test::Contains(part), Json::String(text)) => {
                work.spend(2 + text.len() / 8)?;
                Ok(text.contains(&**part))
            }
            (Test::StartsWith(parts), Json::String(text)) => {
                work.spend(1 + parts.len() / 2 + affix_bytes(parts, text) / 64)?;
                Ok(parts.iter().any(|part| text.starts_with(&**part)))
            }
            (Test::EndsWith(parts), Json::String(text)) => {
                work.spend(1 + parts.len() / 2 + affix_bytes(parts, text) / 64)?;
                Ok(parts.iter().any(|part| text.ends_with(&**part)))
            }
            _ => work.spend(1).map(|()| false),
        }
    }
}

/// No more bytes than this are compared, if there are few parts; many parts are short.
fn affix_bytes(parts: &[Box<str>], text: &str) -> usize {
    match parts {
        [part] => part.len().min(text.len()),
        _ => parts.len().saturating_mul(text.len()).min(MAX_BYTES),
    }
}

impl Comparison {
    fn admits(self, order: Ordering) -> bool {
        match self {
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
        }
    }
}

impl Literal {
    /// None: a number in it is not a JSON number. The caller bounds the depth.
    pub(super) fn compile(json: &Json) -> Option<Literal> {
        Some(match json {
            Json::Null => Literal::Null,
            Json::Bool(value) => Literal::Bool(*value),
            Json::Number(text) => Literal::Number(Decimal::parse(text).ok()?.into_owned()),
            Json::String(text) => Literal::String(text.clone()),
            Json::Array(items) => {
                Literal::Array(items.iter().map(Literal::compile).collect::<Option<_>>()?)
            }
            Json::Object(fields) => {
                let compiled = fields
                    .iter()
                    .map(|(name, value)| Some((name.clone(), Literal::compile(value)?)));
                Literal::Object(compiled.collect::<Option<_>>()?)
            }
        })
    }

    fn equals(&self, value: &Json, work: &mut Work) -> Result<bool, Exhausted> {
        work.spend(1)?;
        match (self, value) {
            (Literal::Null, Json::Null) => Ok(true),
            (Literal::Bool(a), Json::Bool(b)) => Ok(a == b),
            (Literal::Number(a), Json::Number(b)) => {
                work.spend(1 + b.len() / 16)?;
                Ok(Decimal::parse(b).is_ok_and(|b| *a == b))
            }
            (Literal::String(a), Json::String(b)) => {
                if a.len() == b.len() {
                    work.spend(a.len() / 64)?;
                }
                Ok(a == b)
            }
            (Literal::Array(a), Json::Array(b)) if a.len() == b.len() => {
                for (a, b) in a.iter().zip(b) {
                    if !a.equals(b, work)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Literal::Object(a), Json::Object(b)) if a.len() == b.len() => {
                for (name, a) in a {
                    work.spend(6 + name.len() / 8)?;
                    match b.get(name) {
                        Some(b) if a.equals(b, work)? => {}
                        _ => return Ok(false),
                    }
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl List {
    /// None: an entry is not a scalar, or a number that is none.
    pub(super) fn compile<'a>(entries: impl Iterator<Item = &'a Json>) -> Option<List> {
        let (mut list, mut numbers, mut strings) = (List::default(), Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Json::Null => list.null = true,
                Json::Bool(true) => list.yes = true,
                Json::Bool(false) => list.no = true,
                Json::Number(text) => numbers.push(Decimal::parse(text).ok()?.into_owned()),
                Json::String(text) => strings.push(text.clone()),
                Json::Array(_) | Json::Object(_) => return None,
            }
        }
        numbers.sort_unstable();
        strings.sort_unstable();
        list.numbers = numbers.into();
        list.strings = strings.into();
        Some(list)
    }

    fn has(&self, value: &Json, work: &mut Work) -> Result<bool, Exhausted> {
        work.spend(1)?;
        match value {
            Json::Null => Ok(self.null),
            Json::Bool(true) => Ok(self.yes),
            Json::Bool(false) => Ok(self.no),
            Json::Number(text) => {
                work.spend(1 + 2 * halvings(self.numbers.len()) + text.len() / 16)?;
                Ok(Decimal::parse(text).is_ok_and(|number| {
                    self.numbers
                        .binary_search_by(|entry| entry.cmp(&number))
                        .is_ok()
                }))
            }
            Json::String(text) => {
                work.spend(1 + halvings(self.strings.len()) + text.len().min(MAX_BYTES) / 64)?;
                Ok(self
                    .strings
                    .binary_search_by(|entry| (**entry).cmp(text))
                    .is_ok())
            }
            Json::Array(_) | Json::Object(_) => Ok(false),
        }
    }
}

/// How often a list can be halved.
fn halvings(length: usize) -> usize {
    (usize::BITS - length.leading_zeros()) as usize
}
