//! What the operators of templates do.
//!
//! The engine's own do not charge for everything, share lists lazily and show values in messages.
//! So `lowering` turns operators into calls of these.

use std::cmp::Ordering;

use indexmap::IndexMap;
use minijinja::{Error, Value};

use super::call::Call;
use super::compare::{contains, equal, order};
use super::meter::{ITEM, Meter};
use super::number::Number;
use super::print;
use super::value::{self, Items, Piece, Shape, fault, field, items, list, undefined};

/// The most items of `range`.
pub(super) const MAX_RANGE: i128 = 1_000;

type Operator = fn(&mut Call<'_, '_, '_>) -> Result<Value, Error>;

/// The operators by the names that `lowering` gives them. No template can spell these.
pub(super) const OPERATORS: &[(&str, Operator)] = &[
    ("+", add),
    ("-", |call| arithmetic(call, "-")),
    ("*", multiply),
    ("/", |call| arithmetic(call, "/")),
    ("//", |call| arithmetic(call, "//")),
    ("%", |call| arithmetic(call, "%")),
    ("**", |call| arithmetic(call, "**")),
    ("neg!", negate),
    ("~", concatenate),
    ("==", |call| Ok(Value::from(compared_equal(call)?))),
    ("!=", |call| Ok(Value::from(!compared_equal(call)?))),
    ("<", |call| Ok(Value::from(compared(call)?.is_lt()))),
    ("<=", |call| Ok(Value::from(compared(call)?.is_le()))),
    (">", |call| Ok(Value::from(compared(call)?.is_gt()))),
    (">=", |call| Ok(Value::from(compared(call)?.is_ge()))),
    ("in!", |call| {
        let (value, container) = (call.first()?, call.second()?);
        Ok(Value::from(contains(
            &container,
            &value,
            &mut call.meter(),
        )?))
    }),
    ("[]", |call| {
        let (value, key) = (call.first()?, call.second()?);
        lookup(&value, &key, &mut call.meter())
    }),
    ("[:]", slice),
    ("[,]", |call| {
        let items = call.take_all();
        call.meter().charge(ITEM * items.len() as u64)?;
        defined(&items)?;
        list(items)
    }),
    ("{}", make_map),
    ("range!", range),
    ("iterate!", iterate),
    ("unpack!", unpack),
    ("print!", print_value),
];

fn defined(values: &[Value]) -> Result<(), Error> {
    if values.iter().any(Value::is_undefined) {
        return Err(undefined());
    }
    Ok(())
}

fn number<'a>(value: &'a Value, operator: &str, meter: &mut Meter) -> Result<Number<'a>, Error> {
    match Piece::Value(value).shape() {
        Shape::Undefined => Err(undefined()),
        Shape::Number(number) => match number.resolved(meter)? {
            Number::Written(_) => Err(fault(format!(
                "`{operator}` cannot calculate with a number of that many digits"
            ))),
            number => Ok(number),
        },
        other => Err(fault(format!(
            "`{operator}` needs numbers, not {}",
            other.kind()
        ))),
    }
}

fn no_result(operator: &str) -> Error {
    fault(format!(
        "`{operator}` has no result: it is too large, or a division by zero"
    ))
}

fn integer_result(operator: &str, a: i128, b: i128) -> Option<Value> {
    let value = match operator {
        "+" => a.checked_add(b)?,
        "-" => a.checked_sub(b)?,
        "*" => a.checked_mul(b)?,
        // As in Python, the quotient is rounded down and the remainder has the divisor's sign.
        "//" | "%" => {
            let (quotient, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
            let down = rest != 0 && (rest < 0) != (b < 0);
            match operator {
                "//" => quotient - i128::from(down),
                _ => rest + if down { b } else { 0 },
            }
        }
        "**" => a.checked_pow(u32::try_from(b).ok()?)?,
        _ => return None,
    };
    Some(integer(value))
}

/// An integer as a value.
pub(super) fn integer(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::from(value), Value::from)
}

/// A float as a value.
///
/// # Errors
/// It is infinite or not a number.
pub(super) fn float(value: f64, operator: &str) -> Result<Value, Error> {
    if value.is_finite() {
        Ok(Value::from(value))
    } else {
        Err(no_result(operator))
    }
}

fn calculate(operator: &str, a: &Value, b: &Value, meter: &mut Meter) -> Result<Value, Error> {
    let (a, b) = (number(a, operator, meter)?, number(b, operator, meter)?);
    if let (Number::Integer(a), Number::Integer(b)) = (a, b) {
        let whole = operator != "/" && (operator != "**" || b >= 0);
        if whole {
            return integer_result(operator, a, b).ok_or_else(|| no_result(operator));
        }
    }
    let (a, b) = (a.as_f64(), b.as_f64());
    let value = match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        "//" => (a / b).floor(),
        "%" => a - b * (a / b).floor(),
        _ => a.powf(b),
    };
    float(value, operator)
}

fn arithmetic(call: &mut Call, operator: &str) -> Result<Value, Error> {
    let (a, b) = (call.first()?, call.second()?);
    calculate(operator, &a, &b, &mut call.meter())
}

fn negate(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    match number(&value, "-", &mut call.meter())? {
        Number::Integer(value) => value
            .checked_neg()
            .map(integer)
            .ok_or_else(|| no_result("-")),
        number => float(-number.as_f64(), "-"),
    }
}

fn add(call: &mut Call) -> Result<Value, Error> {
    let (a, b) = (call.first()?, call.second()?);
    match (Piece::Value(&a).shape(), Piece::Value(&b).shape()) {
        (Shape::Text(_), Shape::Text(_)) => concatenate_values(call, &a, &b),
        (Shape::List(_), Shape::List(_)) => {
            let mut meter = call.meter();
            let mut all = items(&a, &mut meter)?;
            all.extend(items(&b, &mut meter)?);
            list(all)
        }
        _ => add_values(&a, &b, &mut call.meter()),
    }
}

/// The sum of two numbers.
pub(super) fn add_values(a: &Value, b: &Value, meter: &mut Meter) -> Result<Value, Error> {
    calculate("+", a, b, meter)
}

fn multiply(call: &mut Call) -> Result<Value, Error> {
    let (a, b) = (call.first()?, call.second()?);
    let (text, times) = match (Piece::Value(&a).shape(), Piece::Value(&b).shape()) {
        (Shape::Text(text), Shape::Number(times)) | (Shape::Number(times), Shape::Text(text)) => {
            (text, times)
        }
        _ => return calculate("*", &a, &b, &mut call.meter()),
    };
    let Number::Integer(times) = times.resolved(&mut call.meter())? else {
        return Err(fault("`*` needs text and an integer"));
    };
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    call.meter()
        .charge(text.len().saturating_mul(times) as u64)?;
    Ok(Value::from(text.repeat(times)))
}

fn concatenate(call: &mut Call) -> Result<Value, Error> {
    let (a, b) = (call.first()?, call.second()?);
    concatenate_values(call, &a, &b)
}

/// Of a text that is safe and one that is not, the latter is escaped, as Jinja does.
fn concatenate_values(call: &mut Call, a: &Value, b: &Value) -> Result<Value, Error> {
    if a.is_safe() != b.is_safe() && call.is_escaped() {
        let (a, b) = (call.escaped(a)?, call.escaped(b)?);
        return Ok(Value::from_safe_string(a + &b));
    }
    let mut meter = call.meter();
    let (left, right) = (print::text(a, &mut meter)?, print::text(b, &mut meter)?);
    meter.charge((left.len() + right.len()) as u64)?;
    let both = [&*left, &*right].concat();
    Ok(if a.is_safe() && b.is_safe() {
        Value::from_safe_string(both)
    } else {
        Value::from(both)
    })
}

fn compared_equal(call: &mut Call) -> Result<bool, Error> {
    let (a, b) = (call.first()?, call.second()?);
    defined(&[a.clone(), b.clone()])?;
    equal(Piece::Value(&a), Piece::Value(&b), &mut call.meter())
}

fn compared(call: &mut Call) -> Result<Ordering, Error> {
    let (a, b) = (call.first()?, call.second()?);
    defined(&[a.clone(), b.clone()])?;
    order(Piece::Value(&a), Piece::Value(&b), &mut call.meter())
}

/// `value.key` and `value[key]`. What is not there is undefined.
///
/// # Errors
/// `value` is undefined, or the steps are used up.
pub(super) fn lookup(value: &Value, key: &Value, meter: &mut Meter) -> Result<Value, Error> {
    let shape = Piece::Value(value).shape();
    match Piece::Value(key).shape() {
        Shape::Undefined => Err(undefined()),
        Shape::Text(name) => Ok(field(value, name, meter)?.unwrap_or_default()),
        Shape::Number(number) => {
            let Number::Integer(place) = number.resolved(meter)? else {
                return Ok(Value::UNDEFINED);
            };
            let len = match shape {
                Shape::Undefined => return Err(undefined()),
                Shape::List(items) => items.len(),
                Shape::Text(text) => {
                    meter.charge_copy(text.len())?;
                    text.chars().count()
                }
                _ => return Ok(Value::UNDEFINED),
            };
            let place = if place < 0 {
                place + len as i128
            } else {
                place
            };
            let Ok(place) = usize::try_from(place) else {
                return Ok(Value::UNDEFINED);
            };
            if let Shape::Text(text) = shape {
                return Ok(text.chars().nth(place).map(Value::from).unwrap_or_default());
            }
            Ok(value::item(value, place, meter)?.unwrap_or_default())
        }
        _ => Ok(Value::UNDEFINED),
    }
}

fn bound(value: &Value, name: &str, meter: &mut Meter) -> Result<Option<i64>, Error> {
    match Piece::Value(value).shape() {
        Shape::Null => Ok(None),
        Shape::Number(number) => match number.resolved(meter)? {
            Number::Integer(value) => Ok(Some(i64::try_from(value).unwrap_or(if value < 0 {
                i64::MIN
            } else {
                i64::MAX
            }))),
            _ => Err(fault(format!("the {name} of a slice is an integer"))),
        },
        Shape::Undefined => Err(undefined()),
        _ => Err(fault(format!("the {name} of a slice is an integer"))),
    }
}

/// The places of `[start:stop:step]`, as in Python.
fn places(len: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> Vec<usize> {
    let len = len as i64;
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |place: i64| {
        let place = if place < 0 {
            place.saturating_add(len)
        } else {
            place
        };
        place.clamp(low, high)
    };
    let mut at = start.map_or(if step > 0 { low } else { high }, clamp);
    let stop = stop.map_or(if step > 0 { high } else { low }, clamp);
    let mut found = Vec::new();
    while if step > 0 { at < stop } else { at > stop } {
        found.extend(usize::try_from(at));
        at = at.saturating_add(step);
    }
    found
}

fn slice(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let (start, stop, step) = (call.second()?, call.third()?, call.fourth()?);
    let mut meter = call.meter();
    let (start, stop, step) = (
        bound(&start, "start", &mut meter)?,
        bound(&stop, "stop", &mut meter)?,
        bound(&step, "step", &mut meter)?.unwrap_or(1),
    );
    if step == 0 {
        return Err(fault("the step of a slice is not 0"));
    }
    match Piece::Value(&value).shape() {
        Shape::Undefined => Err(undefined()),
        Shape::Text(text) => {
            // Twelve bytes for each character, for the time of the call.
            meter.charge(text.len() as u64)?;
            let chars: Vec<char> = text.chars().collect();
            let found: String = places(chars.len(), start, stop, step)
                .into_iter()
                .filter_map(|n| chars.get(n))
                .collect();
            Ok(Value::from(found))
        }
        Shape::List(items) => {
            meter.charge(items.len() as u64)?;
            let mut found = Vec::new();
            for n in places(items.len(), start, stop, step) {
                meter.charge(ITEM)?;
                found.extend(value::item(&value, n, &mut meter)?);
            }
            list(found)
        }
        other => Err(fault(format!("{} has no slices", other.kind()))),
    }
}

fn make_map(call: &mut Call) -> Result<Value, Error> {
    let parts = call.take_all();
    let mut meter = call.meter();
    defined(&parts)?;
    let mut fields = IndexMap::new();
    for pair in parts.chunks(2) {
        let [name, value] = pair else { continue };
        meter.charge(4 * ITEM)?;
        let name = match Piece::Value(name).shape() {
            Shape::Text(_) | Shape::Number(_) => print::text(name, &mut meter)?,
            other => return Err(fault(format!("a map's name is text, not {}", other.kind()))),
        };
        meter.charge(name.len() as u64)?;
        fields.insert(name.as_ref().into(), value.clone());
    }
    value::map(fields)
}

fn range(call: &mut Call) -> Result<Value, Error> {
    let arguments = call.take_all();
    let mut meter = call.meter();
    let mut numbers = Vec::new();
    for value in &arguments {
        match number(value, "range", &mut meter)? {
            Number::Integer(value) => numbers.push(value),
            _ => return Err(fault("`range` needs integers")),
        }
    }
    let (start, stop, step) = match *numbers {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] if step != 0 => (start, stop, step),
        _ => {
            return Err(fault(
                "`range` needs a stop, or start and stop, or a step that is not 0",
            ));
        }
    };
    let mut found = Vec::new();
    let mut at = start;
    while if step > 0 { at < stop } else { at > stop } {
        if found.len() as i128 == MAX_RANGE {
            return Err(fault(format!("`range` has more than {MAX_RANGE} items")));
        }
        meter.charge(ITEM)?;
        found.push(integer(at));
        let Some(next) = at.checked_add(step) else {
            break;
        };
        at = next;
    }
    list(found)
}

/// What a loop goes over; with a second argument, the number of names that take an item apart.
fn iterate(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let names = call.optional(1).map(|names| names.as_usize().unwrap_or(0));
    let mut meter = call.meter();
    let shape = Piece::Value(&value).shape();
    let found = match shape {
        Shape::Undefined => return Err(undefined()),
        Shape::List(found) => found,
        Shape::Map(fields) => {
            for (name, _) in fields.iter() {
                meter.charge(4)?;
                meter.charge_copy(name.len())?;
            }
            if names.is_some() {
                return Err(fault(
                    "a loop over a map gives names: write `|items` for pairs",
                ));
            }
            return Ok(value);
        }
        other => {
            return Err(fault(format!(
                "a loop needs a list or a map, not {}",
                other.kind()
            )));
        }
    };
    for item in found.iter() {
        meter.charge(4)?;
        if let (Items::Json(_), Shape::Text(text)) = (found, item.shape()) {
            meter.charge_copy(text.len())?;
        }
        if let Some(names) = names {
            check_names(item, names)?;
        }
    }
    Ok(value)
}

fn check_names(item: Piece, names: usize) -> Result<(), Error> {
    match item.shape() {
        Shape::Undefined => Err(undefined()),
        Shape::List(items) if items.len() == names => Ok(()),
        other => Err(fault(format!(
            "{names} names take a list of {names} items apart, not {}",
            other.kind()
        ))),
    }
}

fn unpack(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let names = call.second()?.as_usize().unwrap_or(0);
    check_names(Piece::Value(&value), names)?;
    Ok(value)
}

/// Lists, maps and numbers as text, because the engine charges much for printing objects.
fn print_value(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    if value.as_object().is_none() {
        return Ok(value);
    }
    let mut out = String::new();
    print::write_json(Piece::Value(&value), None, &mut out, &mut call.meter())?;
    Ok(if call.is_escaped() {
        Value::from(out)
    } else {
        Value::from_safe_string(out)
    })
}
