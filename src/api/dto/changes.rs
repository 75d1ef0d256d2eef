//! The answer to a dry run of a definition.

use serde::Serialize;

#[derive(Serialize)]
pub struct Changes {
    /// The names of the fields that would change.
    pub changed: Vec<&'static str>,
}
