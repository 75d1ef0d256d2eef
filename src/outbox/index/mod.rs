//! What is open, finished and known, by key: derived from the log, never trusted over it.
//!
//! `apply` is the one way in. `overlay` keeps the newest changes in memory, `pages` the
//! rest in sled; `flush` moves them along; `open` decides whether what is on disk can be
//! used. Deleting `index/` loses nothing but the time of one start.

pub mod choice;
pub mod keys;
pub mod open;
pub mod overlay;
pub mod pages;
pub mod rows;
pub mod shown;

mod apply;
mod attempts;
mod block;
mod blocks;
mod bucket;
mod bulk;
mod check;
mod definitions;
mod endpoints;
mod ends;
mod failure;
mod flush;
mod hold;
mod layer;
mod outcome;
mod outcomes;
mod page;
mod piecewise;
mod rows_read;
mod segments;
mod sizes;
mod sources;
mod spans;
mod state;
mod stats;
mod stored_endpoint;
mod sums;
#[cfg(test)]
mod tests;
mod totals;

pub use apply::ATTEMPTS_KEPT;
pub use attempts::place_after;
pub use block::{Attribute, Place as AttributePlace};
pub use bucket::Bucket;
pub use check::Disagreement;
pub use flush::{Flusher, IndexFailure, ROUND_DEADLINE};
#[cfg(test)]
pub use hold::pieces;
pub use hold::{HOLD_ROWS, Hold, HoldsView, Index, Readers, forbid_reads_here};
pub use open::Generations;
pub use outcome::Outcome;
pub use pages::PagesError;
pub use rows_read::count_row;
pub use segments::SegmentRows;
pub use spans::Spans;
pub use state::State;
pub use stored_endpoint::StoredEndpoint;
pub use sums::Sums;
