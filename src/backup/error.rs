//! Why the log could not be shipped.

use std::path::PathBuf;

use super::names::Generation;
use super::place::PlaceError;
use crate::outbox::restored::RestoreError;
use crate::outbox::{CopyError, ReadError};

/// Why a round failed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("the log cannot be read: {0}")]
    Log(#[from] CopyError),
    #[error("cannot write {}: {source}", path.display())]
    Memory {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the index cannot be read: {0}")]
    Index(#[from] ReadError),
    #[error("a segment that is kept cannot be erased from: {0}")]
    Sweep(RestoreError),
    #[error("{0} has a generation.json that cannot be read")]
    About(Generation),
}

/// An error in one line, without what a store's answer has beyond that.
pub fn shown(error: &ShipError) -> String {
    const LONGEST: usize = 300;
    let text = error.to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}
