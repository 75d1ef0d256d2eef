//! The operator's pages.

mod acting;
mod browser;
mod guard;
mod login;
mod reading;
