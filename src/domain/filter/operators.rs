//! The names of the operators.

/// All operators. The set is closed: adding one changes what stored filters may mean.
pub(super) const OPERATORS: [&str; 14] = [
    "$eq",
    "$neq",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$startsWith",
    "$endsWith",
    "$exist",
    "$or",
    "$and",
    "$not",
];
