//! What can stand behind `is`.

use minijinja::{Error, Value};

use super::call::Call;
use super::compare::{contains, equal, order};
use super::meter::Meter;
use super::number::Number;
use super::value::{Piece, Shape, fault, undefined};

type Test = fn(&mut Call<'_, '_, '_>) -> Result<bool, Error>;

/// The tests by name.
pub(super) const TESTS: &[(&str, Test)] = &[
    ("defined", |call| Ok(!call.first()?.is_undefined())),
    ("undefined", |call| Ok(call.first()?.is_undefined())),
    ("none", |call| {
        kind(call, |shape| matches!(shape, Shape::Null))
    }),
    ("null", |call| {
        kind(call, |shape| matches!(shape, Shape::Null))
    }),
    ("boolean", |call| {
        kind(call, |shape| matches!(shape, Shape::Bool(_)))
    }),
    ("true", |call| {
        kind(call, |shape| matches!(shape, Shape::Bool(true)))
    }),
    ("false", |call| {
        kind(call, |shape| matches!(shape, Shape::Bool(false)))
    }),
    ("number", |call| {
        kind(call, |shape| matches!(shape, Shape::Number(_)))
    }),
    ("integer", |call| kind(call, is_integer)),
    ("float", |call| {
        kind(call, |shape| {
            matches!(shape, Shape::Number(_)) && !is_integer(shape)
        })
    }),
    ("string", |call| {
        kind(call, |shape| matches!(shape, Shape::Text(_)))
    }),
    ("mapping", |call| {
        kind(call, |shape| matches!(shape, Shape::Map(_)))
    }),
    ("sequence", |call| {
        kind(call, |shape| matches!(shape, Shape::List(_)))
    }),
    ("iterable", |call| {
        kind(call, |shape| {
            matches!(shape, Shape::List(_) | Shape::Map(_))
        })
    }),
    ("odd", |call| Ok(first_whole(call)?.rem_euclid(2) == 1)),
    ("even", |call| Ok(first_whole(call)?.rem_euclid(2) == 0)),
    ("divisibleby", |call| {
        let (value, by) = (first_whole(call)?, call.second()?);
        let by = whole(&by, &mut call.meter())?;
        Ok(value.checked_rem(by) == Some(0))
    }),
    ("eq", is_equal),
    ("equalto", is_equal),
    ("ne", |call| is_equal(call).map(|equal| !equal)),
    ("lt", |call| Ok(ordered(call)?.is_lt())),
    ("le", |call| Ok(ordered(call)?.is_le())),
    ("gt", |call| Ok(ordered(call)?.is_gt())),
    ("ge", |call| Ok(ordered(call)?.is_ge())),
    ("in", |call| {
        let (value, container) = (call.first()?, call.second()?);
        contains(&container, &value, &mut call.meter())
    }),
    ("containing", |call| {
        let (container, value) = (call.first()?, call.second()?);
        contains(&container, &value, &mut call.meter())
    }),
    ("startingwith", |call| {
        texts(call, |text, part| text.starts_with(part))
    }),
    ("endingwith", |call| {
        texts(call, |text, part| text.ends_with(part))
    }),
];

pub(super) fn is_test(name: &str) -> bool {
    TESTS.iter().any(|(found, _)| *found == name)
}

/// All tests, for messages.
pub(super) fn test_names() -> String {
    TESTS
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn kind(call: &mut Call, is: fn(&Shape) -> bool) -> Result<bool, Error> {
    let value = call.first()?;
    if value.is_undefined() {
        return Err(undefined());
    }
    let shape = Piece::Value(&value).shape();
    if let Shape::Number(Number::Written(text)) = &shape {
        call.meter().charge(text.len() as u64 / 2)?;
    }
    Ok(is(&shape))
}

fn is_integer(shape: &Shape) -> bool {
    match shape {
        Shape::Number(Number::Integer(_)) => true,
        Shape::Number(Number::Written(text)) => {
            text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
        }
        _ => false,
    }
}

fn first_whole(call: &mut Call) -> Result<i128, Error> {
    let value = call.first()?;
    whole(&value, &mut call.meter())
}

fn whole(value: &Value, meter: &mut Meter) -> Result<i128, Error> {
    match Piece::Value(value).shape() {
        Shape::Undefined => Err(undefined()),
        Shape::Number(number) => match number.resolved(meter)? {
            Number::Integer(value) => Ok(value),
            _ => Err(fault("an integer is needed here")),
        },
        other => Err(fault(format!(
            "an integer is needed here, not {}",
            other.kind()
        ))),
    }
}

fn both(call: &mut Call) -> Result<(Value, Value), Error> {
    let (a, b) = (call.first()?, call.second()?);
    if a.is_undefined() || b.is_undefined() {
        return Err(undefined());
    }
    Ok((a, b))
}

fn is_equal(call: &mut Call) -> Result<bool, Error> {
    let (a, b) = both(call)?;
    equal(Piece::Value(&a), Piece::Value(&b), &mut call.meter())
}

fn ordered(call: &mut Call) -> Result<std::cmp::Ordering, Error> {
    let (a, b) = both(call)?;
    order(Piece::Value(&a), Piece::Value(&b), &mut call.meter())
}

fn texts(call: &mut Call, test: fn(&str, &str) -> bool) -> Result<bool, Error> {
    let (text, part) = both(call)?;
    match (text.as_str(), part.as_str()) {
        (Some(text), Some(part)) => {
            call.meter().charge(part.len() as u64 / 16)?;
            Ok(test(text, part))
        }
        _ => Err(fault("two texts are needed here")),
    }
}
