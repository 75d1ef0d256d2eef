//! Templates for bodies and header values: Jinja by minijinja, bounded for hostile authors.
//!
//! Tenants write templates, and a rendering runs in the daemon of all. minijinja's fuel bounds
//! steps and text, but not everything, so four layers stand around it:
//!
//! 1. `check` bounds nesting in the source before anything that recurses sees it.
//! 2. `lowering` replaces every operator by our own and refuses what it does not know.
//! 3. `value` holds lists, maps and documents; `meter` charges for comparing and printing them.
//! 4. The filters and tests are a closed list of our own, all charged before they allocate.
//!
//! There are no macros, includes, imports, recursive loops, methods or functions but `range`.
//! Numbers of the event print as they were written. Nothing here reads a clock or does I/O.
//!
//! A step is an operation, 128 bytes of text that is made or passed on, or two items that are
//! visited. Printing a document costs a step for 128 bytes, and another two for its text.
//!
//! The engine's syntax tree has no stable interface: `minijinja` is pinned to one version, and
//! the tests of this module must pass before the pin is moved.

mod bad_template;
mod call;
mod check;
mod compare;
mod environment;
mod faults;
mod filter_names;
mod filters_list;
mod filters_text;
mod limits;
mod lowering;
mod meter;
mod names;
mod number;
mod operators;
mod output;
mod predicates;
mod print;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::machinery::{self, CodeGenerator, Instructions};
use yoke::{Yoke, Yokeable};

pub use bad_template::BadTemplate;
pub use faults::{FaultKind, RenderFault};
pub use filter_names::FILTERS;
pub use limits::Limits;
pub use names::{EventFields, Names};
pub use output::Output;

use crate::domain::json;
use environment::environment;
use meter::FUEL_PER_STEP;
use output::{auto_escape, formatter};

/// A checked template. A clone is cheap.
#[derive(Clone)]
pub struct Template {
    program: Arc<Yoke<Program<'static>, Box<str>>>,
    output: Output,
}

#[derive(Yokeable)]
struct Program<'a> {
    instructions: Instructions<'a>,
    blocks: BTreeMap<&'a str, Instructions<'a>>,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template")
            .field("source", &self.source())
            .finish_non_exhaustive()
    }
}

impl Template {
    /// Compiles `source`.
    ///
    /// # Errors
    /// What is wrong, where, and how to fix it.
    pub fn parse(source: &str, output: Output) -> Result<Template, BadTemplate> {
        check::check(source)?;
        let program: Yoke<Program<'static>, Box<str>> =
            Yoke::try_attach_to_cart(Box::from(source), |source| compile(source))?;
        Ok(Template {
            program: Arc::new(program),
            output,
        })
    }

    /// The source.
    pub fn source(&self) -> &str {
        self.program.backing_cart()
    }

    /// Renders. Needs about 200 KiB of stack.
    ///
    /// # Errors
    /// The template does not fit the event, or goes over a limit.
    pub fn render(&self, names: &Names, limits: Limits) -> Result<String, RenderFault> {
        let mut environment = environment().clone();
        environment.set_fuel(Some(limits.steps.saturating_mul(FUEL_PER_STEP)));
        environment.set_formatter(formatter(self.output, limits.output));
        let program = self.program.get();
        let mut text = String::new();
        let mut out = machinery::make_string_output(&mut text);
        let rendered = machinery::eval(
            &environment,
            &program.instructions,
            names.root(),
            &program.blocks,
            &mut out,
            auto_escape(self.output),
        )
        .map(drop);
        drop(out);
        rendered.map_err(|error| faults::describe(&error, self.source(), names))?;
        if text.len() > limits.output {
            return Err(faults::too_long(None));
        }
        Ok(text)
    }
}

fn compile(source: &str) -> Result<Program<'_>, BadTemplate> {
    let tree = machinery::parse(source, "template", Default::default())
        .map_err(|error| check::syntax(&error))?;
    let tree = lowering::statement(&tree).map_err(|bad| *bad)?;
    let mut generator = CodeGenerator::new("template", source);
    generator.compile_stmt(&tree);
    let (instructions, blocks) = generator.finish();
    Ok(Program {
        instructions,
        blocks,
    })
}

/// Whether a text has tags of a template.
pub fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|tag| text.contains(tag))
}

/// Checks that a rendered text is JSON, without building it.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check_json(text: &str) -> Result<(), json::BadJson> {
    json::check(text.as_bytes())
}
