//! What there is when the disk dies: the log is shipped to a directory or an S3-compatible store,
//! and comes back from there. `docs/backup.md` says what is lost when.
//!
//! Frames are shipped as they are: their checksums, positions and order go with them, and a restored
//! store is recovered like one after a crash. Nothing here knows what a record says.

pub mod archive;
pub mod names;
pub mod place;
pub mod remote;
pub mod restore;

mod cover;
mod credentials;
mod error;
mod figures;
mod generation;
mod log;
mod plan;
mod retention;
mod seal;
mod shipper;
mod sweep;
#[cfg(test)]
mod tests;

pub use figures::{Figures, Shipping};
pub use shipper::{Running, Settings, Shipper, Target};
