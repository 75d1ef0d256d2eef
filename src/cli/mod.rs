//! The commands, one file each, and what they share: reaching the daemon, its answers,
//! and how things look on a terminal.
//!
//! Client commands speak the same HTTP API as everybody else; they never touch the data
//! directory.

mod answers;
pub mod client;
pub mod deliveries;
pub mod endpoints;
pub mod events;
pub mod failure;
mod filter;
pub mod paint;
pub mod send;
pub mod status;
pub mod table;
pub mod timeline;
pub mod when;
