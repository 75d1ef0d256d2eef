//! What is not in force, kept for the reload that may need it.

use std::collections::HashMap;
use std::sync::Arc;

use super::known::KnownSource;
use super::tally::Tally;
use crate::domain::inbound::SourceId;

/// See the module.
#[derive(Default)]
pub struct Aside {
    /// Counts of sources that are gone from the file, and are not of the API.
    pub retired: HashMap<SourceId, Arc<Tally>>,
    /// Sources of the API whose ids the file has.
    pub shadowed: HashMap<SourceId, Arc<KnownSource>>,
}

/// Tells that the source of the API is not in force.
pub fn warn_of_shadowed(id: &str) {
    tracing::error!(
        source = id,
        "the configuration file has a source of the same id; the one made by the API is left out"
    );
}
