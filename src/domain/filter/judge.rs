//! Judges a compiled filter against a value: no allocation, bounded work.
//!
//! An array is judged by its witnesses: itself, its elements, and those of arrays among them.
//! A condition holds for an array if it holds for one witness, where conditions about the
//! array as a whole have the same result for each witness. So the operators of one object are
//! satisfied by one element together, and `$or: [A]` is the same as `A`.

use indexmap::IndexMap;

use super::condition::{Condition, Field, Operator, Results};
use super::work::{Exhausted, Work};
use crate::domain::json::Json;

/// Whether a condition holds for a value, or for a missing one.
pub(super) fn holds(
    condition: &Condition,
    value: Option<&Json>,
    work: &mut Work,
) -> Result<bool, Exhausted> {
    let Some(value) = value else {
        return missing(condition, work);
    };
    match condition {
        Condition::Equals(test) => some_witness(value, &mut |witness| test.holds(witness, work)),
        Condition::Fields(fields) => {
            some_witness(value, &mut |witness| fields_at(fields, witness, work))
        }
        Condition::Items(_, items) => all_found(items, value, work),
        Condition::Operators(operators) => all_hold(operators, value, work),
    }
}

/// Whether operators hold together for a value that is present.
pub(super) fn all_hold(
    operators: &[Operator],
    value: &Json,
    work: &mut Work,
) -> Result<bool, Exhausted> {
    let mut results = Results::default();
    // Those about the whole first: if one fails, no element needs to be looked at.
    for operator in operators.iter().filter(|operator| operator.is_whole()) {
        if !operator_at(operator, value, value, &mut results, work)? {
            return Ok(false);
        }
    }
    some_witness(value, &mut |witness| {
        for operator in operators {
            if !operator_at(operator, value, witness, &mut results, work)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// Whether `value`, or a value in it if it is an array, satisfies `test`.
fn some_witness<F>(value: &Json, test: &mut F) -> Result<bool, Exhausted>
where
    F: FnMut(&Json) -> Result<bool, Exhausted>,
{
    if test(value)? {
        return Ok(true);
    }
    if let Json::Array(items) = value {
        for item in items {
            if some_witness(item, test)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Judges one of the conditions that share a witness of `whole`.
fn condition_at(
    condition: &Condition,
    whole: &Json,
    witness: &Json,
    results: &mut Results,
    work: &mut Work,
) -> Result<bool, Exhausted> {
    match condition {
        Condition::Equals(test) => test.holds(witness, work),
        Condition::Fields(fields) => fields_at(fields, witness, work),
        Condition::Items(slot, items) => match results.get(*slot) {
            Some(known) => work.spend(1).map(|()| known),
            None => {
                let found = all_found(items, whole, work)?;
                results.set(*slot, found);
                Ok(found)
            }
        },
        Condition::Operators(operators) => {
            work.spend(1)?;
            for operator in operators {
                if !operator_at(operator, whole, witness, results, work)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

fn operator_at(
    operator: &Operator,
    whole: &Json,
    witness: &Json,
    results: &mut Results,
    work: &mut Work,
) -> Result<bool, Exhausted> {
    match operator {
        Operator::Some(test) => test.holds(witness, work),
        Operator::Exist(wanted) => work.spend(1).map(|()| *wanted),
        Operator::None(slot, _) | Operator::Not(slot, _) if results.get(*slot).is_some() => {
            work.spend(1)?;
            Ok(results.get(*slot).unwrap_or(false))
        }
        Operator::None(slot, test) => {
            let none = !some_witness(whole, &mut |witness| test.holds(witness, work))?;
            results.set(*slot, none);
            Ok(none)
        }
        Operator::Not(slot, condition) => {
            work.spend(1)?;
            let not = !holds(condition, Some(whole), work)?;
            results.set(*slot, not);
            Ok(not)
        }
        Operator::Or(conditions) => {
            work.spend(1)?;
            for condition in conditions {
                if condition_at(condition, whole, witness, results, work)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Operator::And(conditions) => {
            work.spend(1)?;
            for condition in conditions {
                if !condition_at(condition, whole, witness, results, work)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

/// Whether a plain object holds for one value. Of an array that is not empty the elements are
/// judged and not the array, except that `{}` holds for anything.
fn fields_at(fields: &[Field], value: &Json, work: &mut Work) -> Result<bool, Exhausted> {
    work.spend(1)?;
    match value {
        _ if fields.is_empty() => Ok(true),
        Json::Array(items) if !items.is_empty() => Ok(false),
        Json::Object(found) => {
            for field in fields {
                if !field_holds(field, found, work)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => all_missing(fields, work),
    }
}

pub(super) fn field_holds(
    field: &Field,
    object: &IndexMap<Box<str>, Json>,
    work: &mut Work,
) -> Result<bool, Exhausted> {
    if field.dotted {
        path_holds(&field.key, &field.condition, object, work)
    } else {
        work.spend(4 + field.key.len() / 8)?;
        holds(&field.condition, object.get(&*field.key), work)
    }
}

/// The condition on a path with dots, as if its parts were nested objects; but the longest part
/// that is a literal key wins.
fn path_holds(
    path: &str,
    condition: &Condition,
    object: &IndexMap<Box<str>, Json>,
    work: &mut Work,
) -> Result<bool, Exhausted> {
    work.spend(path_cost(path))?;
    match longest_key(path, object) {
        None => missing(condition, work),
        Some((value, None)) => holds(condition, Some(value), work),
        Some((value, Some(rest))) => some_witness(value, &mut |witness| match witness {
            Json::Object(object) => path_holds(rest, condition, object, work),
            Json::Array(items) if !items.is_empty() => work.spend(1).map(|()| false),
            _ => missing(condition, work),
        }),
    }
}

/// The value of the longest part of a path that is a key of `object`, and the rest of the path.
pub(super) fn longest_key<'a, 'b>(
    path: &'a str,
    object: &'b IndexMap<Box<str>, Json>,
) -> Option<(&'b Json, Option<&'a str>)> {
    if let Some(value) = object.get(path) {
        return Some((value, None));
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let value = object.get(path.get(..dot)?)?;
        Some((value, path.get(dot + 1..)))
    })
}

/// Each part of the path may be looked up, from the longest on.
fn path_cost(path: &str) -> usize {
    let parts = 1 + path.bytes().filter(|byte| *byte == b'.').count();
    parts.saturating_mul(4 + path.len() / 8)
}

/// Whether each item finds an element of `value`.
fn all_found(items: &[Condition], value: &Json, work: &mut Work) -> Result<bool, Exhausted> {
    work.spend(1)?;
    let Json::Array(elements) = value else {
        return Ok(false);
    };
    for item in items {
        if !is_found(item, elements, work)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn is_found(
    item: &Condition,
    elements: &[Json],
    work: &mut Work,
) -> Result<bool, Exhausted> {
    for element in elements {
        if holds(item, Some(element), work)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a condition holds where there is nothing.
pub(super) fn missing(condition: &Condition, work: &mut Work) -> Result<bool, Exhausted> {
    work.spend(1)?;
    match condition {
        Condition::Equals(_) | Condition::Items(..) => Ok(false),
        Condition::Fields(fields) => Ok(!fields.is_empty() && all_missing(fields, work)?),
        Condition::Operators(operators) => {
            for operator in operators {
                if !operator_missing(operator, work)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

fn all_missing(fields: &[Field], work: &mut Work) -> Result<bool, Exhausted> {
    for field in fields {
        if !missing(&field.condition, work)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn operator_missing(operator: &Operator, work: &mut Work) -> Result<bool, Exhausted> {
    work.spend(1)?;
    match operator {
        Operator::Some(_) | Operator::None(..) => Ok(false),
        Operator::Exist(wanted) => Ok(!wanted),
        Operator::Not(_, condition) => Ok(!missing(condition, work)?),
        Operator::Or(conditions) => {
            for condition in conditions {
                if missing(condition, work)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Operator::And(conditions) => {
            for condition in conditions {
                if !missing(condition, work)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}
