//! How values are written: as JSON, or as text.
//!
//! Numbers of the event keep their digits. `true`, `false` and `null` are written as in JSON in
//! texts too, and so are lists and maps.

use std::borrow::Cow;

use minijinja::{Error, Value};

use crate::domain::json::{Json, write_string};

use super::meter::{ITEM, Meter};
use super::number::Number;
use super::value::{Piece, Shape, fault, undefined};

/// What a node of a document costs, in units: a mebibyte of any can be printed, and little more.
const NODE: u64 = 3;

/// Appends a piece as JSON. `indent` is the number of spaces for each level, if it is spread over
/// lines.
///
/// # Errors
/// The steps are used up, or the value has no JSON form.
pub(super) fn write_json(
    piece: Piece,
    indent: Option<usize>,
    out: &mut String,
    meter: &mut Meter,
) -> Result<(), Error> {
    write_level(piece, indent, 0, out, meter)
}

fn write_level(
    piece: Piece,
    indent: Option<usize>,
    level: usize,
    out: &mut String,
    meter: &mut Meter,
) -> Result<(), Error> {
    if let (Piece::Json(json), None) = (piece, indent) {
        return write_document(json, out, meter);
    }
    meter.charge(ITEM / 2)?;
    let before = out.len();
    match piece.shape() {
        Shape::Undefined => return Err(undefined()),
        Shape::Other => return Err(fault("`loop` cannot be printed, only its parts")),
        Shape::Null => out.push_str("null"),
        Shape::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Shape::Number(number) => write_number(number, out),
        Shape::Text(text) => {
            meter.charge(text.len() as u64 / 2)?;
            write_string(text, out);
            return Ok(());
        }
        Shape::List(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                separate(n, indent, level + 1, out, meter)?;
                write_level(item, indent, level + 1, out, meter)?;
            }
            if items.len() > 0 {
                new_line(indent, level, out, meter)?;
            }
            out.push(']');
            return Ok(());
        }
        Shape::Map(fields) => {
            out.push('{');
            for (n, (name, value)) in fields.iter().enumerate() {
                separate(n, indent, level + 1, out, meter)?;
                meter.charge(1 + name.len() as u64 / 2)?;
                write_string(name, out);
                out.push_str(if indent.is_some() { ": " } else { ":" });
                write_level(value, indent, level + 1, out, meter)?;
            }
            if fields.len() > 0 {
                new_line(indent, level, out, meter)?;
            }
            out.push('}');
            return Ok(());
        }
    }
    meter.charge((out.len() - before) as u64 / 2)
}

/// A part of a document, which is printed most: its nodes cost less than those of other values.
fn write_document(json: &Json, out: &mut String, meter: &mut Meter) -> Result<(), Error> {
    let length = match json {
        Json::Number(text) | Json::String(text) => text.len() as u64,
        _ => 0,
    };
    meter.charge(NODE + length / 2)?;
    match json {
        Json::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_document(item, out, meter)?;
            }
            out.push(']');
        }
        Json::Object(fields) => {
            out.push('{');
            for (n, (name, value)) in fields.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                meter.charge(1 + name.len() as u64 / 2)?;
                write_string(name, out);
                out.push(':');
                write_document(value, out, meter)?;
            }
            out.push('}');
        }
        Json::Number(text) => out.push_str(text),
        Json::String(text) => write_string(text, out),
        Json::Bool(_) | Json::Null => json.write(out),
    }
    Ok(())
}

fn separate(
    n: usize,
    indent: Option<usize>,
    level: usize,
    out: &mut String,
    meter: &mut Meter,
) -> Result<(), Error> {
    if n > 0 {
        out.push(',');
        meter.charge(1)?;
    }
    new_line(indent, level, out, meter)
}

fn new_line(
    indent: Option<usize>,
    level: usize,
    out: &mut String,
    meter: &mut Meter,
) -> Result<(), Error> {
    if let Some(width) = indent {
        meter.charge(1 + (width * level) as u64)?;
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', width * level));
    }
    Ok(())
}

/// Appends a number. A float that a template computes has a point.
pub(super) fn write_number(number: Number, out: &mut String) {
    match number {
        Number::Integer(value) => out.push_str(&value.to_string()),
        Number::Written(text) => out.push_str(text),
        Number::Float(value) if value.is_finite() => {
            let text = value.to_string();
            out.push_str(&text);
            if !text.contains('.') {
                out.push_str(".0");
            }
        }
        // Operators refuse to make one; a literal in the source can be one.
        Number::Float(_) => out.push_str("null"),
    }
}

/// A value as text: text as it is, everything else as JSON.
///
/// # Errors
/// It is undefined, or the steps are used up.
pub(super) fn text<'a>(value: &'a Value, meter: &mut Meter) -> Result<Cow<'a, str>, Error> {
    match Piece::Value(value).shape() {
        Shape::Text(text) => Ok(Cow::Borrowed(text)),
        _ => {
            let mut out = String::new();
            write_json(Piece::Value(value), None, &mut out, meter)?;
            Ok(Cow::Owned(out))
        }
    }
}
