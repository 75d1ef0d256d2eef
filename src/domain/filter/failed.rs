//! Which condition of a filter did not hold, for `explain`.

use crate::domain::json::Json;

/// The operator in [`Failed`] when judging, or finding the condition that failed, would have
/// taken more than [`MAX_STEPS`](super::MAX_STEPS). Such a filter does not match.
pub const TOO_MUCH_WORK: &str = "too much work";

/// The first condition that did not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// Where it looked, such as `data.amount`; empty for the whole event.
    pub path: String,
    /// Such as `$gte`; `$eq` for a plain value; or [`TOO_MUCH_WORK`].
    pub operator: String,
    /// The operand, as it stands in the filter.
    pub expected: Box<Json>,
    /// The type of what was found, or `missing`. Never the value: it may be another's secret.
    pub found: &'static str,
}
