//! The values of a rendering: parts of the event as they were written, and what a template makes.
//!
//! Everything that can hold others is a type of this module. So comparing and printing are done
//! here, charged and with a known depth, and never by the engine, which does not charge for all
//! of it.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, Value};
use yoke::Yoke;

use super::meter::{ITEM, Meter};
use super::number::Number;
use crate::domain::json::Json;

/// How deeply lists and maps that a template makes may nest.
pub(super) const MAX_NESTING: usize = 32;

/// A fault whose text may be shown: it names kinds, never values.
pub(super) fn fault(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail.into())
}

/// The value is undefined. Its name is found later, from the place in the source.
pub(super) fn undefined() -> Error {
    Error::from(ErrorKind::UndefinedError)
}

/// A part of a JSON document that is shared: a list, a map, or a number with its digits.
pub(super) struct Node(Yoke<&'static Json, Arc<Json>>);

impl Node {
    pub(super) fn json(&self) -> &Json {
        self.0.get()
    }

    fn part(&self, find: impl for<'a> Fn(&'a Json) -> Option<&'a Json>) -> Option<Value> {
        let part = self
            .0
            .clone()
            .try_map_project(|json, _| find(json).ok_or(()))
            .ok()?;
        Some(node_value(Node(part)))
    }

    /// The item of an array.
    pub(super) fn item(&self, n: usize) -> Option<Value> {
        self.part(|json| match json {
            Json::Array(items) => items.get(n),
            _ => None,
        })
    }

    /// The field of an object.
    pub(super) fn field(&self, name: &str) -> Option<Value> {
        self.part(|json| json.get(name))
    }
}

/// A document as a value.
pub(super) fn document(json: Arc<Json>) -> Value {
    node_value(Node(Yoke::attach_to_cart(json, |json| json)))
}

fn node_value(node: Node) -> Value {
    match node.json() {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::String(text) => Value::from(&**text),
        Json::Number(text) => match short_integer(text) {
            Some(number) => Value::from(number),
            None => Value::from_object(node),
        },
        Json::Array(_) | Json::Object(_) => Value::from_object(node),
    }
}

/// Whether a number as it was written is true. The engine asks, and does not charge: what is longer
/// than any number that is meant is not read, and true.
fn is_nonzero(text: &str) -> bool {
    let mut digits = text.bytes().take_while(|b| !matches!(b, b'e' | b'E'));
    text.len() > 1_000 || digits.any(|b| (b'1'..=b'9').contains(&b))
}

/// An integer that prints as it was written.
fn short_integer(text: &str) -> Option<i64> {
    let plain = text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if plain && text != "-0" {
        text.parse().ok()
    } else {
        None
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json().kind())
    }
}

impl Object for Node {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.json() {
            Json::Array(_) => ObjectRepr::Seq,
            Json::Object(_) => ObjectRepr::Map,
            _ => ObjectRepr::Plain,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.json() {
            Json::Array(_) => self.item(key.as_usize()?),
            _ => self.field(key.as_str()?),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.json() {
            Json::Array(items) => Enumerator::Seq(items.len()),
            Json::Object(fields) => {
                let node = self.clone();
                Enumerator::Iter(Box::new((0..fields.len()).map(move |n| {
                    match node.json() {
                        Json::Object(fields) => fields
                            .get_index(n)
                            .map(|(name, _)| Value::from(&**name))
                            .unwrap_or_default(),
                        _ => Value::UNDEFINED,
                    }
                })))
            }
            _ => Enumerator::NonEnumerable,
        }
    }

    fn is_true(self: &Arc<Self>) -> bool {
        match self.json() {
            Json::Array(items) => !items.is_empty(),
            Json::Object(fields) => !fields.is_empty(),
            Json::Number(text) => is_nonzero(text),
            _ => false,
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A list that a template makes.
pub(super) struct List {
    pub(super) items: Vec<Value>,
    depth: usize,
}

/// A map that a template makes, in the order in which it was written.
pub(super) struct Map {
    pub(super) fields: IndexMap<Box<str>, Value>,
    depth: usize,
}

fn depth_over<'a>(values: impl Iterator<Item = &'a Value>) -> Result<usize, Error> {
    let mut depth = 0;
    for value in values {
        let below = if let Some(list) = value.downcast_object_ref::<List>() {
            list.depth
        } else if let Some(map) = value.downcast_object_ref::<Map>() {
            map.depth
        } else if matches!(Piece::Value(value).shape(), Shape::Other) {
            return Err(fault(format!(
                "a list or map cannot hold a {}",
                value.kind()
            )));
        } else {
            0
        };
        depth = depth.max(below + 1);
    }
    if depth > MAX_NESTING {
        return Err(fault(format!(
            "lists and maps nest deeper than {MAX_NESTING}"
        )));
    }
    Ok(depth)
}

/// A list of `items`, which were charged.
pub(super) fn list(items: Vec<Value>) -> Result<Value, Error> {
    let depth = depth_over(items.iter())?;
    Ok(Value::from_object(List { items, depth }))
}

/// A map of `fields`, which were charged.
pub(super) fn map(fields: IndexMap<Box<str>, Value>) -> Result<Value, Error> {
    let depth = depth_over(fields.values())?;
    Ok(Value::from_object(Map { fields, depth }))
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("array")
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("object")
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.items.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Object for Map {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.fields.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let map = self.clone();
        Enumerator::Iter(Box::new((0..self.fields.len()).map(move |n| {
            map.fields
                .get_index(n)
                .map(|(name, _)| Value::from(&**name))
                .unwrap_or_default()
        })))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A value, or a part of a document that is not made a value.
#[derive(Clone, Copy)]
pub(super) enum Piece<'a> {
    Json(&'a Json),
    Value(&'a Value),
}

/// What a piece is.
pub(super) enum Shape<'a> {
    Undefined,
    Null,
    Bool(bool),
    Number(Number<'a>),
    Text(&'a str),
    List(Items<'a>),
    Map(Fields<'a>),
    /// A thing of the engine, such as `loop`.
    Other,
}

#[derive(Clone, Copy)]
pub(super) enum Items<'a> {
    Json(&'a [Json]),
    Values(&'a [Value]),
}

#[derive(Clone, Copy)]
pub(super) enum Fields<'a> {
    Json(&'a IndexMap<Box<str>, Json>),
    Values(&'a IndexMap<Box<str>, Value>),
}

impl<'a> Piece<'a> {
    pub(super) fn shape(self) -> Shape<'a> {
        match self {
            Piece::Json(json) => match json {
                Json::Null => Shape::Null,
                Json::Bool(value) => Shape::Bool(*value),
                Json::Number(text) => Shape::Number(Number::Written(text)),
                Json::String(text) => Shape::Text(text),
                Json::Array(items) => Shape::List(Items::Json(items)),
                Json::Object(fields) => Shape::Map(Fields::Json(fields)),
            },
            Piece::Value(value) => value_shape(value),
        }
    }
}

fn value_shape(value: &Value) -> Shape<'_> {
    match value.kind() {
        ValueKind::Undefined => Shape::Undefined,
        ValueKind::None => Shape::Null,
        ValueKind::Bool => Shape::Bool(value.is_true()),
        ValueKind::Number => Shape::Number(if value.is_integer() {
            i128::try_from(value.clone()).map_or(Number::Float(f64::MAX), Number::Integer)
        } else {
            Number::Float(f64::try_from(value.clone()).unwrap_or_default())
        }),
        ValueKind::String => value.as_str().map_or(Shape::Other, Shape::Text),
        _ => {
            if let Some(node) = value.downcast_object_ref::<Node>() {
                Piece::Json(node.json()).shape()
            } else if let Some(list) = value.downcast_object_ref::<List>() {
                Shape::List(Items::Values(&list.items))
            } else if let Some(map) = value.downcast_object_ref::<Map>() {
                Shape::Map(Fields::Values(&map.fields))
            } else {
                Shape::Other
            }
        }
    }
}

impl Shape<'_> {
    /// The word for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Shape::Undefined => "an undefined value",
            Shape::Null => "null",
            Shape::Bool(_) => "a boolean",
            Shape::Number(_) => "a number",
            Shape::Text(_) => "text",
            Shape::List(_) => "a list",
            Shape::Map(_) => "a map",
            Shape::Other => "`loop`",
        }
    }
}

impl<'a> Items<'a> {
    pub(super) fn len(self) -> usize {
        match self {
            Items::Json(items) => items.len(),
            Items::Values(items) => items.len(),
        }
    }

    pub(super) fn get(self, n: usize) -> Option<Piece<'a>> {
        match self {
            Items::Json(items) => items.get(n).map(Piece::Json),
            Items::Values(items) => items.get(n).map(Piece::Value),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Piece<'a>> {
        (0..self.len()).filter_map(move |n| self.get(n))
    }
}

impl<'a> Fields<'a> {
    pub(super) fn len(self) -> usize {
        match self {
            Fields::Json(fields) => fields.len(),
            Fields::Values(fields) => fields.len(),
        }
    }

    pub(super) fn get(self, name: &str) -> Option<Piece<'a>> {
        match self {
            Fields::Json(fields) => fields.get(name).map(Piece::Json),
            Fields::Values(fields) => fields.get(name).map(Piece::Value),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = (&'a str, Piece<'a>)> {
        (0..self.len()).filter_map(move |n| match self {
            Fields::Json(fields) => fields
                .get_index(n)
                .map(|(name, json)| (&**name, Piece::Json(json))),
            Fields::Values(fields) => fields
                .get_index(n)
                .map(|(name, value)| (&**name, Piece::Value(value))),
        })
    }
}

/// The field of a map as a value, charged.
pub(super) fn field(value: &Value, name: &str, meter: &mut Meter) -> Result<Option<Value>, Error> {
    match Piece::Value(value).shape() {
        Shape::Undefined => Err(undefined()),
        Shape::Map(fields) => {
            meter.charge(name.len() as u64 / 4)?;
            let Some(piece) = fields.get(name) else {
                return Ok(None);
            };
            charge_piece(piece, meter)?;
            Ok(match (piece, value.downcast_object_ref::<Node>()) {
                (Piece::Value(value), _) => Some(value.clone()),
                (Piece::Json(_), Some(node)) => node.field(name),
                (Piece::Json(_), None) => None,
            })
        }
        // `loop` has its own names, all cheap.
        Shape::Other => Ok(value
            .get_attr(name)
            .ok()
            .filter(|found| !found.is_undefined())),
        _ => Ok(None),
    }
}

/// The item of a list as a value, charged.
pub(super) fn item(value: &Value, n: usize, meter: &mut Meter) -> Result<Option<Value>, Error> {
    let Shape::List(items) = Piece::Value(value).shape() else {
        return Ok(None);
    };
    let Some(piece) = items.get(n) else {
        return Ok(None);
    };
    charge_piece(piece, meter)?;
    Ok(match (piece, value.downcast_object_ref::<Node>()) {
        (Piece::Value(value), _) => Some(value.clone()),
        (Piece::Json(_), Some(node)) => node.item(n),
        (Piece::Json(_), None) => None,
    })
}

/// Charges for making a value of a piece: texts of a document are copied, others are shared.
fn charge_piece(piece: Piece, meter: &mut Meter) -> Result<(), Error> {
    match piece {
        Piece::Json(Json::String(text)) => meter.charge_copy(text.len()),
        // It will be walked to be compared.
        Piece::Json(Json::Array(_) | Json::Object(_)) => meter.charge(ITEM / 2),
        _ => Ok(()),
    }
}

/// The items of a list or the names of a map as values, charged.
pub(super) fn items(value: &Value, meter: &mut Meter) -> Result<Vec<Value>, Error> {
    match Piece::Value(value).shape() {
        Shape::Undefined => Err(undefined()),
        Shape::List(items) => {
            let mut found = Vec::new();
            for n in 0..items.len() {
                meter.charge(ITEM)?;
                found.extend(item(value, n, meter)?);
            }
            Ok(found)
        }
        Shape::Map(fields) => {
            let mut found = Vec::new();
            for (name, _) in fields.iter() {
                meter.charge(ITEM)?;
                meter.charge_copy(name.len())?;
                found.push(Value::from(name));
            }
            Ok(found)
        }
        other => Err(fault(format!(
            "a list is needed here, not {}",
            other.kind()
        ))),
    }
}
