//! Which values are the same, and which is first. All of it is charged.

use std::cmp::Ordering;

use minijinja::{Error, Value};

use super::meter::{ITEM, Meter};
use super::number::Number;
use super::print;
use super::value::{Piece, Shape, fault, undefined};

fn order_numbers(a: Number, b: Number, meter: &mut Meter) -> Result<Ordering, Error> {
    Ok(match (a.resolved(meter)?, b.resolved(meter)?) {
        (Number::Integer(a), Number::Integer(b)) => a.cmp(&b),
        (Number::Written(a), Number::Written(b)) if a == b => Ordering::Equal,
        // Adding zero makes one zero of the two.
        (a, b) => (a.as_f64() + 0.0).total_cmp(&(b.as_f64() + 0.0)),
    })
}

/// Whether two values are the same. Values of different kinds are not; numbers compare by value.
///
/// # Errors
/// The steps are used up.
pub(super) fn equal(a: Piece, b: Piece, meter: &mut Meter) -> Result<bool, Error> {
    meter.charge(ITEM / 2)?;
    Ok(match (a.shape(), b.shape()) {
        (Shape::Null, Shape::Null) => true,
        (Shape::Bool(a), Shape::Bool(b)) => a == b,
        (Shape::Number(a), Shape::Number(b)) => order_numbers(a, b, meter)?.is_eq(),
        (Shape::Text(a), Shape::Text(b)) => {
            meter.charge(a.len().min(b.len()) as u64 / 16)?;
            a == b
        }
        (Shape::List(a), Shape::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(a, b, meter)? {
                    return Ok(false);
                }
            }
            true
        }
        (Shape::Map(a), Shape::Map(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (name, a) in a.iter() {
                meter.charge(ITEM + name.len() as u64 / 4)?;
                match b.get(name) {
                    Some(b) if equal(a, b, meter)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        _ => false,
    })
}

/// Which of two values is first: numbers by value, texts by their bytes, lists item by item.
///
/// # Errors
/// They have no order, or the steps are used up.
pub(super) fn order(a: Piece, b: Piece, meter: &mut Meter) -> Result<Ordering, Error> {
    meter.charge(ITEM / 2)?;
    match (a.shape(), b.shape()) {
        (Shape::Undefined, _) | (_, Shape::Undefined) => Err(undefined()),
        (Shape::Bool(a), Shape::Bool(b)) => Ok(a.cmp(&b)),
        (Shape::Number(a), Shape::Number(b)) => order_numbers(a, b, meter),
        (Shape::Text(a), Shape::Text(b)) => {
            meter.charge(a.len().min(b.len()) as u64 / 16)?;
            Ok(a.cmp(b))
        }
        (Shape::List(a), Shape::List(b)) => {
            for (a, b) in a.iter().zip(b.iter()) {
                let found = order(a, b, meter)?;
                if found.is_ne() {
                    return Ok(found);
                }
            }
            Ok(a.len().cmp(&b.len()))
        }
        (a, b) => Err(fault(format!(
            "{} and {} have no order",
            a.kind(),
            b.kind()
        ))),
    }
}

/// Whether a text has a part, a list an item, or a map a name.
///
/// # Errors
/// The container is none, or the steps are used up.
pub(super) fn contains(container: &Value, value: &Value, meter: &mut Meter) -> Result<bool, Error> {
    if value.is_undefined() {
        return Err(undefined());
    }
    match Piece::Value(container).shape() {
        Shape::Undefined => Err(undefined()),
        Shape::Text(text) => {
            let part = print::text(value, meter)?;
            meter.charge((text.len() + part.len()) as u64 / 4)?;
            Ok(text.contains(&*part))
        }
        Shape::List(items) => {
            for item in items.iter() {
                if equal(item, Piece::Value(value), meter)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Shape::Map(fields) => Ok(match Piece::Value(value).shape() {
            Shape::Text(name) => {
                meter.charge(name.len() as u64 / 4)?;
                fields.get(name).is_some()
            }
            _ => false,
        }),
        other => Err(fault(format!(
            "`in` needs text, a list or a map, not {}",
            other.kind()
        ))),
    }
}
