//! The engine: which delivery is attempted next, and what an attempt leads to.

mod message;

pub use crate::domain::schedule::Now;
pub use crate::domain::verdict::Outcome;
pub use message::{Command, Entry, Input, Key, LanePolicy};
