//! The operator's pages.

mod acting;
pub mod browser;
mod guard;
mod login;
mod reading;
mod showcase;
