//! The compiled form of a filter.

use super::operand::Test;

/// What must hold for the value at one path.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// A plain value or one operator that looks at one value.
    Equals(Test),
    /// A plain object: all fields must hold.
    Fields(Box<[Field]>),
    /// An array without operator: each must hold for some element.
    Items(Slot, Box<[Condition]>),
    /// An object of operators: all must hold.
    Operators(Box<[Operator]>),
}

/// A condition on a field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) key: Box<str>,
    /// The key has a dot, so that it may be a path.
    pub(super) dotted: bool,
    pub(super) condition: Condition,
}

#[derive(Clone, Debug)]
pub(super) enum Operator {
    /// One element is enough.
    Some(Test),
    /// `$neq`, `$nin`: present, and no element may.
    None(Slot, Test),
    Exist(bool),
    Or(Box<[Condition]>),
    And(Box<[Condition]>),
    Not(Slot, Box<Condition>),
}

/// The number of a condition that is about an array as a whole, among those that are judged
/// together; its result is kept in [`Results`] so that it is computed once and not per element.
pub(super) type Slot = u8;

/// Results of conditions about one array as a whole.
#[derive(Default)]
pub(super) struct Results {
    known: u64,
    holds: u64,
}

impl Results {
    pub(super) fn get(&self, slot: Slot) -> Option<bool> {
        let bit = 1_u64.checked_shl(slot.into())?;
        (self.known & bit != 0).then_some(self.holds & bit != 0)
    }

    /// Keeps a result. Past the 64th it is not kept; computing it again costs steps.
    pub(super) fn set(&mut self, slot: Slot, holds: bool) {
        let bit = 1_u64.checked_shl(slot.into()).unwrap_or(0);
        self.known |= bit;
        if holds {
            self.holds |= bit;
        }
    }
}

impl Operator {
    /// About an array as a whole, not about its elements.
    pub(super) fn is_whole(&self) -> bool {
        matches!(
            self,
            Operator::None(..) | Operator::Exist(_) | Operator::Not(..)
        )
    }
}

impl Condition {
    /// Whether it looks at this field of the root, if it stands at the root.
    pub(super) fn looks_at(&self, name: &str) -> bool {
        match self {
            Condition::Equals(_) | Condition::Items(..) => false,
            Condition::Fields(fields) => fields.iter().any(|field| field.looks_at(name)),
            Condition::Operators(operators) => operators.iter().any(|operator| match operator {
                Operator::Some(_) | Operator::None(..) | Operator::Exist(_) => false,
                Operator::Or(conditions) | Operator::And(conditions) => {
                    conditions.iter().any(|condition| condition.looks_at(name))
                }
                Operator::Not(_, condition) => condition.looks_at(name),
            }),
        }
    }
}

impl Field {
    fn looks_at(&self, name: &str) -> bool {
        match self.key.strip_prefix(name) {
            Some(rest) => rest.is_empty() || rest.starts_with('.'),
            None => false,
        }
    }
}
