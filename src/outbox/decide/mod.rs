//! What the writer decides, apart from doing it.
//!
//! Everything here is a function of the store as it is, the moment, and a [`Draft`] that it
//! adds records, answers and notices to. There is no log, thread, clock or dice in it: the
//! writer brings the moment and the random bits, and commits the draft.

pub mod accept;
pub mod act;
pub mod bulk;
pub mod clean;
pub mod draft;
pub mod endpoint;
pub mod envelope;
pub mod erase;
pub mod ids;
pub mod kept_keys;
pub mod limits;
pub mod moved;
pub mod outcome;
pub mod replaced;
pub mod report;
pub mod restate;
pub mod source;
pub mod spec;
pub mod windows;

pub use draft::{Acts, Basis, DecideError, Draft};
