//! What the outbox answers about what it holds: one event or delivery, lists, and what is
//! pending at an endpoint.
//!
//! A commit waits for each read that holds the index's lock, so no read holds it for as
//! long as it likes: it takes a piece, remembers where it is, and lets go (`range`, and
//! [`Hold::is_spent`](crate::outbox::index::Hold::is_spent)). The log is read without the lock.

mod asked;
mod attempt_lists;
mod attempts;
mod dead;
mod endpoints;
mod event;
mod jobs;
mod list;
mod merge;
mod parts;
mod queue;
mod range;
mod records;
mod reliably;
mod sources;
mod stats;
#[cfg(test)]
mod tests;
mod troubled;

#[cfg(test)]
pub(super) use asked::PURGE_WAIT;
pub use dead::{Cause, DeadCauses};
pub(super) use records::{ATTEMPTS_KEPT, attempts_since};
