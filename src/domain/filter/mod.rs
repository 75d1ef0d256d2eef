//! Event filters: which events an endpoint gets, as a partial JSON document.
//!
//! `{"data": {"amount": {"$gte": 100}}}` is the syntax of Hookdeck and Outpost, so that stored
//! filters can be taken over; `"data.amount"` is the same path in one key. The language is our
//! own small matcher and not CEL or jq because it always ends, has a closed set of operators
//! and reads like the event. What a condition means:
//!
//! - Every key of an object must hold. A plain value is `$eq`. `{}` holds for anything present.
//! - A missing path fails every operator, `$neq` and `$nin` too (unlike MongoDB); `$exist: false`
//!   holds there. `$not` inverts, also at a missing path. A `null` is present. A field of what
//!   is not an object, and of an empty array, is missing.
//! - Numbers compare by decimal value, strings by bytes. Values of different types are unequal
//!   and have no order.
//! - On an array a condition looks at the elements, and at those of arrays within: a value, a
//!   plain object or an object of operators holds if one element satisfies all of it. `$neq`,
//!   `$nin` and `$not` are about the array as a whole: no element may. So is `$exist`. `$eq`
//!   with an array also holds for an equal array. `$or: [A]` and `$and: [A]` are the same as
//!   `A`, and `$and: [{"$gt": 1}, {"$lt": 5}]` is the same as `{"$gt": 1, "$lt": 5}`.
//! - An array without an operator holds for an array in which each of its items finds an element.
//! - `$in` with a list: the value is in it. With a string: the value contains it. With another
//!   scalar: the value is that, or an array with it. `$or: []` and `$in: []` never hold,
//!   `$and: []` always does.
//! - Of a dotted key the longest part that is a literal key of the event wins, and is final.
//!
//! A filter is compiled once. Judging allocates nothing and is bounded by [`MAX_STEPS`]: a
//! filter that needs more does not match. This module never does I/O and knows no endpoint.

mod bounds;
mod condition;
mod failed;
mod fault;
mod first_failed;
mod judge;
mod operand;
mod operators;
mod parse;
#[cfg(test)]
mod tests;
mod work;

pub use bounds::{MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_NODES, MAX_STEPS};
pub use failed::{Failed, TOO_MUCH_WORK};
pub use fault::{BadFilter, Problem};

use crate::domain::json::Json;
use condition::Condition;
use work::Work;

/// A checked and compiled filter.
#[derive(Clone, Debug)]
pub struct Filter {
    source: Json,
    root: Condition,
}

impl Filter {
    /// Checks and compiles a filter that is given as JSON.
    ///
    /// # Errors
    /// The first fault, with its path inside the filter.
    pub fn parse(json: &Json) -> Result<Filter, BadFilter> {
        parse::filter(json).map(|root| Filter {
            source: json.clone(),
            root,
        })
    }

    /// Checks and compiles a filter that is given as text.
    ///
    /// # Errors
    /// The text is too long or not JSON (with line and column), or as for [`Filter::parse`].
    pub fn parse_text(text: &str) -> Result<Filter, BadFilter> {
        if text.len() > MAX_BYTES {
            return Err(BadFilter::TooLong { bytes: text.len() });
        }
        Filter::parse(&Json::parse(text.as_bytes())?)
    }

    /// The filter as it was given. Its text is accepted by [`Filter::parse_text`] again.
    pub fn source(&self) -> &Json {
        &self.source
    }

    /// Whether it holds for an event. The same as `judge(root).is_ok()`, and faster.
    pub fn matches(&self, root: &Json) -> bool {
        judge::holds(&self.root, Some(root), &mut Work::new()).unwrap_or(false)
    }

    /// Whether it holds for an event, and if not, which condition failed first.
    ///
    /// # Errors
    /// The condition that failed.
    pub fn judge(&self, root: &Json) -> Result<(), Failed> {
        let mut work = Work::new();
        let failed = match judge::holds(&self.root, Some(root), &mut work) {
            Ok(true) => return Ok(()),
            Ok(false) => first_failed::first_failed(&self.root, &self.source, root, work),
            Err(_) => None,
        };
        Err(failed.unwrap_or_else(|| Failed {
            path: String::new(),
            operator: TOO_MUCH_WORK.to_owned(),
            expected: Box::new(Json::Null),
            found: root.kind(),
        }))
    }

    /// Whether it has a condition on a field of the root, such as `headers`.
    pub fn looks_at(&self, field: &str) -> bool {
        self.root.looks_at(field)
    }
}
