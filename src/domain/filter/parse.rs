//! Checks a filter and compiles it. All that is refused is refused here, when it is saved.

use indexmap::IndexMap;

use super::bounds::{MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_NODES};
use super::condition::{Condition, Field, Operator, Slot};
use super::fault::{BadFilter, Hint, Problem};
use super::operand::{Bound, Comparison, List, Literal, Test};
use super::operators::OPERATORS;
use crate::domain::decimal::Decimal;
use crate::domain::json::Json;

const SCALARS: &str = "a list of scalars (for other conditions use $or), or one scalar";
const TEXTS: &str = "a string or a list of strings";
const CONDITIONS: &str = "a list of conditions";

type Object = IndexMap<Box<str>, Json>;

pub(super) fn filter(source: &Json) -> Result<Condition, BadFilter> {
    // The text that is stored and read again.
    let bytes = source.to_string().len();
    if bytes > MAX_BYTES {
        return Err(BadFilter::TooLong { bytes });
    }
    let mut compiler = Compiler {
        path: String::new(),
        nodes: 0,
    };
    match compiler.condition(
        source,
        Place {
            depth: 0,
            root: true,
        },
        &mut 0,
    ) {
        Ok(condition) => Ok(condition),
        Err(problem) => Err(BadFilter::At {
            path: compiler.path,
            problem,
        }),
    }
}

struct Compiler {
    /// Where it is; at a fault it stays, and so says where that was found.
    path: String,
    nodes: usize,
}

#[derive(Clone, Copy)]
struct Place {
    /// How many objects and arrays are around.
    depth: usize,
    /// The condition is on the whole event.
    root: bool,
}

impl Place {
    /// Below a field or inside of a container, with `levels` more around.
    fn deeper(self, levels: usize) -> Result<Place, Problem> {
        let depth = self.depth.saturating_add(levels);
        if depth > MAX_DEPTH {
            Err(Problem::TooDeep)
        } else {
            Ok(Place { depth, ..self })
        }
    }
}

impl Compiler {
    /// `slots` numbers the conditions about a whole array among those that share witnesses.
    fn condition(
        &mut self,
        source: &Json,
        place: Place,
        slots: &mut Slot,
    ) -> Result<Condition, Problem> {
        self.count(1)?;
        match source {
            Json::Object(object) => {
                let inside = place.deeper(1)?;
                match object.keys().position(|key| key.starts_with('$')) {
                    None => self.fields(object, inside),
                    Some(_) => self.operators(object, inside, slots),
                }
            }
            _ if place.root => Err(Problem::NotAnObject {
                found: source.a_kind(),
            }),
            Json::Array(items) => {
                let inside = place.deeper(1)?;
                let slot = next(slots);
                let compiled = self.each(items, |this, item| this.condition(item, inside, &mut 0));
                Ok(Condition::Items(slot, compiled?))
            }
            _ => Ok(Condition::Equals(Test::Equal(literal(source)?))),
        }
    }

    fn fields(&mut self, object: &Object, place: Place) -> Result<Condition, Problem> {
        let mut fields = Vec::with_capacity(object.len());
        for (key, source) in object {
            let condition = self.under(key, |this| {
                check_key(key)?;
                // `a.b` stands for two objects, one in the other.
                let dots = key.bytes().filter(|byte| *byte == b'.').count();
                let inside = Place {
                    root: false,
                    ..place.deeper(dots)?
                };
                this.count(dots)?;
                this.condition(source, inside, &mut 0)
            })?;
            fields.push(Field {
                key: key.clone(),
                dotted: key.contains('.'),
                condition,
            });
        }
        Ok(Condition::Fields(fields.into()))
    }

    fn operators(
        &mut self,
        object: &Object,
        place: Place,
        slots: &mut Slot,
    ) -> Result<Condition, Problem> {
        let mut operators = Vec::with_capacity(object.len());
        for (name, operand) in object {
            operators.push(self.under(name, |this| {
                if !name.starts_with('$') {
                    return Err(Problem::Mixed {
                        key: name.to_string(),
                    });
                }
                let Some(name) = OPERATORS.into_iter().find(|known| **known == **name) else {
                    return Err(Problem::UnknownOperator {
                        name: name.to_string(),
                        hint: hint(name),
                    });
                };
                if place.root && !matches!(name, "$or" | "$and" | "$not") {
                    return Err(Problem::AtRoot {
                        operator: name.to_owned(),
                    });
                }
                this.operator(name, operand, place, slots)
            })?);
        }
        Ok(Condition::Operators(operators.into()))
    }

    fn operator(
        &mut self,
        name: &'static str,
        operand: &Json,
        place: Place,
        slots: &mut Slot,
    ) -> Result<Operator, Problem> {
        let refuse = |wanted| {
            Err(Problem::Operand {
                operator: name,
                found: operand.a_kind(),
                wanted,
            })
        };
        match (name, operand) {
            ("$not", _) => {
                let condition = self.condition(operand, place, &mut 0)?;
                return Ok(Operator::Not(next(slots), Box::new(condition)));
            }
            ("$or" | "$and", Json::Array(items)) => {
                self.count(1)?;
                let inside = place.deeper(1)?;
                let parts = self.each(items, |this, item| this.condition(item, inside, slots))?;
                return Ok(if name == "$or" {
                    Operator::Or(parts)
                } else {
                    Operator::And(parts)
                });
            }
            ("$or" | "$and", _) => return refuse(CONDITIONS),
            ("$eq" | "$neq", _) => self.value(operand, place)?,
            _ => self.list(operand, place)?,
        }
        let test = match (name, operand) {
            ("$eq" | "$neq", _) => Test::Equal(literal(operand)?),
            ("$gt", _) => return self.order(Comparison::Greater, name, operand),
            ("$gte", _) => return self.order(Comparison::GreaterOrEqual, name, operand),
            ("$lt", _) => return self.order(Comparison::Less, name, operand),
            ("$lte", _) => return self.order(Comparison::LessOrEqual, name, operand),
            ("$in" | "$nin", Json::String(part)) => Test::Contains(part.clone()),
            ("$in" | "$nin", Json::Array(entries)) => self.entries(name, entries)?,
            ("$in" | "$nin", Json::Object(_)) => return refuse(SCALARS),
            ("$in" | "$nin", _) => Test::Equal(literal(operand)?),
            ("$startsWith", _) => match texts(operand) {
                Some(parts) => Test::StartsWith(parts),
                None => return refuse(TEXTS),
            },
            ("$endsWith", _) => match texts(operand) {
                Some(parts) => Test::EndsWith(parts),
                None => return refuse(TEXTS),
            },
            ("$exist", Json::Bool(wanted)) => return Ok(Operator::Exist(*wanted)),
            _ => return refuse("true or false"),
        };
        Ok(match name {
            "$neq" | "$nin" => Operator::None(next(slots), test),
            _ => Operator::Some(test),
        })
    }

    fn order(
        &self,
        comparison: Comparison,
        operator: &'static str,
        operand: &Json,
    ) -> Result<Operator, Problem> {
        let bound = match operand {
            Json::Number(text) => Bound::Number(number(text)?),
            Json::String(text) => Bound::String(text.clone()),
            _ => {
                let wanted = "a number or a string";
                return Err(Problem::Operand {
                    operator,
                    found: operand.a_kind(),
                    wanted,
                });
            }
        };
        Ok(Operator::Some(Test::Order(comparison, bound)))
    }

    fn entries(&mut self, operator: &'static str, entries: &[Json]) -> Result<Test, Problem> {
        self.each(entries, |_, entry| match entry {
            Json::Array(_) | Json::Object(_) => Err(Problem::Operand {
                operator,
                found: entry.a_kind(),
                wanted: SCALARS,
            }),
            _ => literal(entry),
        })?;
        List::compile(entries.iter())
            .map(Test::In)
            .ok_or(Problem::Operand {
                operator,
                found: "array",
                wanted: SCALARS,
            })
    }

    /// Counts an operand that may be a list; its entries have a bound of their own.
    fn list(&mut self, operand: &Json, place: Place) -> Result<(), Problem> {
        self.count(1)?;
        match operand {
            Json::Array(entries) if entries.len() > MAX_ENTRIES => Err(Problem::TooManyEntries {
                entries: entries.len(),
            }),
            Json::Array(_) | Json::Object(_) => place.deeper(1).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Counts a value that is compared as it is.
    fn value(&mut self, value: &Json, place: Place) -> Result<(), Problem> {
        self.count(1)?;
        match value {
            Json::Array(items) => {
                let inside = place.deeper(1)?;
                self.each(items, |this, item| this.value(item, inside))
                    .map(|_| ())
            }
            Json::Object(fields) => {
                let inside = place.deeper(1)?;
                for (name, field) in fields {
                    self.under(name, |this| this.value(field, inside))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            Err(Problem::TooManyNodes)
        } else {
            Ok(())
        }
    }

    fn each<T>(
        &mut self,
        items: &[Json],
        mut part: impl FnMut(&mut Compiler, &Json) -> Result<T, Problem>,
    ) -> Result<Box<[T]>, Problem> {
        let length = self.path.len();
        let mut parts = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            self.path.push_str(&format!("[{n}]"));
            parts.push(part(self, item)?);
            self.path.truncate(length);
        }
        Ok(parts.into())
    }

    fn under<T>(
        &mut self,
        key: &str,
        part: impl FnOnce(&mut Compiler) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let done = part(self)?;
        self.path.truncate(length);
        Ok(done)
    }
}

fn next(slots: &mut Slot) -> Slot {
    let slot = *slots;
    *slots = slot.saturating_add(1);
    slot
}

/// Refuses paths that other matchers read in their own way.
fn check_key(key: &str) -> Result<(), Problem> {
    let Some((field, last)) = key.rsplit_once('.') else {
        return Ok(());
    };
    if let Some(operator) = OPERATORS.into_iter().find(|operator| *operator == last) {
        return Err(Problem::OperatorInKey {
            field: field.to_owned(),
            operator,
        });
    }
    if key.split('.').any(|part| part == "$") {
        Err(Problem::Wildcard)
    } else {
        Ok(())
    }
}

fn number(text: &str) -> Result<Decimal<'static>, Problem> {
    match Decimal::parse(text) {
        Ok(number) => Ok(number.into_owned()),
        Err(_) => Err(Problem::NotANumber {
            text: text.to_owned(),
        }),
    }
}

fn literal(json: &Json) -> Result<Literal, Problem> {
    Literal::compile(json).ok_or_else(|| Problem::NotANumber {
        text: json.to_string(),
    })
}

fn texts(operand: &Json) -> Option<Box<[Box<str>]>> {
    match operand {
        Json::String(text) => Some([text.clone()].into()),
        Json::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(Box::from))
            .collect(),
        _ => None,
    }
}

fn hint(name: &str) -> Hint {
    match name {
        // Near to an operator in its letters, but not in its meaning.
        "$nor" => return Hint::Instead("{\"$not\": {\"$or\": […]}}"),
        "$all" => return Hint::Instead("the list without an operator: each item must be found"),
        "$elemMatch" => return Hint::Instead("its operand alone: one element must satisfy it"),
        _ => {}
    }
    let name = name.to_lowercase();
    let allowed = if name.len() <= 4 { 1 } else { 2 };
    OPERATORS
        .into_iter()
        .map(|known| {
            (
                strsim::damerau_levenshtein(&name, &known.to_lowercase()),
                known,
            )
        })
        .min()
        .filter(|(distance, _)| *distance <= allowed)
        .map_or(Hint::List, |(_, known)| Hint::DidYouMean(known))
}
