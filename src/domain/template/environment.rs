//! The engine with our filters, tests and operators, and nothing of its own.

use std::sync::OnceLock;

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, UndefinedBehavior, Value};

use super::call::Call;
use super::{filters_list, filters_text, operators, predicates};

type Filter = fn(&mut Call<'_, '_, '_>) -> Result<Value, Error>;

pub(super) fn filters() -> impl Iterator<Item = (&'static str, Filter)> {
    filters_text::FILTERS
        .iter()
        .chain(filters_list::FILTERS)
        .copied()
}

/// The environment of all templates, made once. Its clones share the filters.
pub(super) fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(new_environment)
}

fn new_environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(false);
    environment.set_recursion_limit(100);
    let operators = operators::OPERATORS.iter().copied();
    for (name, filter) in filters().chain(operators) {
        environment.add_filter(
            name,
            move |state: &mut State, given: Rest<ValueOrKwargs>| {
                let mut call = Call::new(state, given)?;
                let found = filter(&mut call)?;
                call.check_used()?;
                Ok::<Value, Error>(found)
            },
        );
    }
    for (name, test) in predicates::TESTS.iter().copied() {
        environment.add_test(
            name,
            move |state: &mut State, given: Rest<ValueOrKwargs>| {
                let mut call = Call::new(state, given)?;
                let found = test(&mut call)?;
                call.check_used()?;
                Ok::<bool, Error>(found)
            },
        );
    }
    environment
}
