//! Says which condition failed first, for `explain`. It may allocate: only people ask for it.

use super::condition::{Condition, Field, Operator};
use super::failed::Failed;
use super::judge;
use super::work::{Exhausted, Work};
use crate::domain::json::Json;

/// The first condition that does not hold for `root`, when the filter does not. None: to find it
/// takes too much work.
///
/// Of several conditions the last needs no look: if the others hold, it is the one.
pub(super) fn first_failed(
    condition: &Condition,
    source: &Json,
    root: &Json,
    work: Work,
) -> Option<Failed> {
    let mut search = Search {
        path: String::new(),
        work,
    };
    search
        .condition(condition, source, Some(root))
        .unwrap_or(None)
}

struct Search {
    path: String,
    work: Work,
}

type Found = Result<Option<Failed>, Exhausted>;

impl Search {
    /// Of a condition that does not hold.
    fn condition(&mut self, condition: &Condition, source: &Json, value: Option<&Json>) -> Found {
        match condition {
            Condition::Equals(_) => Ok(self.failed("$eq", source, value)),
            Condition::Fields(fields) => self.fields(fields, source, value),
            Condition::Items(_, items) => self.items(items, source, value),
            Condition::Operators(operators) => self.operators(operators, source, value),
        }
    }

    /// Of an array the first element stands for all: none holds, so neither does that.
    fn fields(&mut self, fields: &[Field], source: &Json, value: Option<&Json>) -> Found {
        if fields.is_empty() {
            return Ok(self.failed("$exist", &Json::Bool(true), value));
        }
        if let Some(first) = value.and_then(first_element) {
            return self.fields(fields, source, Some(first));
        }
        let Json::Object(sources) = source else {
            return Ok(None);
        };
        for (n, (field, source)) in fields.iter().zip(sources.values()).enumerate() {
            let length = self.path.len();
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&field.key);
            let holds = match value {
                _ if n + 1 == fields.len() => false,
                Some(Json::Object(object)) => judge::field_holds(field, object, &mut self.work)?,
                _ => judge::missing(&field.condition, &mut self.work)?,
            };
            if !holds {
                return self.condition(&field.condition, source, field_value(field, value));
            }
            self.path.truncate(length);
        }
        Ok(None)
    }

    fn items(&mut self, items: &[Condition], source: &Json, value: Option<&Json>) -> Found {
        if let (Some(Json::Array(elements)), Json::Array(sources)) = (value, source) {
            for (n, (item, source)) in items.iter().zip(sources).enumerate() {
                if n + 1 == items.len() || !judge::is_found(item, elements, &mut self.work)? {
                    return Ok(self.failed("$eq", source, value));
                }
            }
        }
        Ok(self.failed("$eq", source, value))
    }

    /// The first operator that does not hold together with those before it.
    fn operators(&mut self, operators: &[Operator], source: &Json, value: Option<&Json>) -> Found {
        let Json::Object(sources) = source else {
            return Ok(None);
        };
        for (n, (operator, (name, operand))) in operators.iter().zip(sources).enumerate() {
            let holds = match value {
                _ if n + 1 == operators.len() => false,
                Some(value) => {
                    let until = operators.get(..=n).unwrap_or(operators);
                    judge::all_hold(until, value, &mut self.work)?
                }
                None => judge::operator_missing(operator, &mut self.work)?,
            };
            if holds {
                continue;
            }
            if let (Operator::And(parts), Json::Array(sources)) = (operator, operand) {
                for (part, source) in parts.iter().zip(sources) {
                    if !judge::holds(part, value, &mut self.work)? {
                        return self.condition(part, source, value);
                    }
                }
            }
            return Ok(self.failed(name, operand, value));
        }
        Ok(None)
    }

    fn failed(&self, operator: &str, expected: &Json, value: Option<&Json>) -> Option<Failed> {
        Some(Failed {
            path: self.path.clone(),
            operator: operator.to_owned(),
            expected: Box::new(expected.clone()),
            found: value.map_or("missing", Json::kind),
        })
    }
}

fn first_element(value: &Json) -> Option<&Json> {
    match value {
        Json::Array(items) => items.first(),
        _ => None,
    }
}

/// What a field's condition is judged on, where it is in doubt in the first element.
fn field_value<'a>(field: &Field, value: Option<&'a Json>) -> Option<&'a Json> {
    let Some(Json::Object(object)) = value else {
        return None;
    };
    if !field.dotted {
        return object.get(&*field.key);
    }
    let (mut object, mut path) = (object, &*field.key);
    loop {
        let (mut value, rest) = judge::longest_key(path, object)?;
        let Some(rest) = rest else { return Some(value) };
        while let Some(first) = first_element(value) {
            value = first;
        }
        let Json::Object(below) = value else {
            return None;
        };
        (object, path) = (below, rest);
    }
}
