//! Single things as pages show them, to operators and customers alike: [`sight`] says what they may see.

pub mod attempt;
pub mod badge;
pub mod body;
pub mod chart;
pub mod delivery;
pub mod endpoint;
pub mod field;
pub mod moment;
pub mod schema;
pub mod sight;
pub mod stats;
