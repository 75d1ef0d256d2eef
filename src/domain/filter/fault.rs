//! What is wrong with a filter that is refused.

use super::bounds::{MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_NODES};
use super::operators::OPERATORS;
use crate::domain::json::BadJson;

/// A filter that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    #[error("the filter has {bytes} bytes; shorten it to at most {MAX_BYTES}")]
    TooLong { bytes: usize },
    #[error("the filter is not JSON: {0}")]
    NotJson(#[from] BadJson),
    #[error("{}: {problem}", shown(path))]
    At {
        /// Inside the filter, such as `data.amount.$gte` or `$or[1].type`; empty for the root.
        path: String,
        problem: Problem,
    },
}

/// What is wrong at one place of a filter, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(
        "it is {found}; the filter, and each part of $or, $and and $not around it, must be an object such as {{\"data\": {{\"status\": \"paid\"}}}}"
    )]
    NotAnObject { found: &'static str },
    #[error(
        "{operator} cannot compare the whole event; put it under a field, as in {{\"data\": {{\"amount\": {{\"{operator}\": …}}}}}}"
    )]
    AtRoot { operator: String },
    #[error("{name} is not an operator; {hint}")]
    UnknownOperator { name: String, hint: Hint },
    #[error(
        "operators and fields stand in one object with {key:?}; write {{\"$and\": [{{the operators}}, {{the fields}}]}}"
    )]
    Mixed { key: String },
    #[error("the operand of {operator} is {found}; write {wanted}")]
    Operand {
        operator: &'static str,
        found: &'static str,
        wanted: &'static str,
    },
    #[error(
        "the key ends its path with the operator {operator}; write {{\"{field}\": {{\"{operator}\": …}}}}"
    )]
    OperatorInKey {
        field: String,
        operator: &'static str,
    },
    #[error(
        "the key has the wildcard $; leave it out, a condition on an array looks at each element"
    )]
    Wildcard,
    #[error("{text} is not a JSON number; write digits such as -12.50 or 1e3")]
    NotANumber { text: String },
    #[error(
        "the filter is nested deeper than {MAX_DEPTH} here; flatten it (each part of a dotted key counts)"
    )]
    TooDeep,
    #[error(
        "the filter has more than {MAX_NODES} values, and this is the first too many; merge conditions with $in, or split the filter over endpoints"
    )]
    TooManyNodes,
    #[error("the list has {entries} entries; shorten it to at most {MAX_ENTRIES}")]
    TooManyEntries { entries: usize },
}

/// What to write instead of an unknown operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    DidYouMean(&'static str),
    Instead(&'static str),
    /// Nothing is near: the operators are listed.
    List,
}

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hint::DidYouMean(operator) => write!(f, "did you mean {operator}?"),
            Hint::Instead(other) => write!(f, "write {other}"),
            Hint::List => write!(
                f,
                "the operators are {}; a field whose name begins with $ is reached with a dotted \
                 key, such as \"data.$type\"",
                OPERATORS.join(", ")
            ),
        }
    }
}

impl BadFilter {
    /// What is wrong and how to fix it, without the place.
    pub fn reason(&self) -> String {
        match self {
            BadFilter::At { problem, .. } => problem.to_string(),
            whole => whole.to_string(),
        }
    }

    /// Where it is wrong, inside the filter; empty for the whole.
    pub fn path(&self) -> &str {
        match self {
            BadFilter::At { path, .. } => path,
            BadFilter::TooLong { .. } | BadFilter::NotJson(_) => "",
        }
    }
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "the filter" } else { path }
}
