//! The operator's pages, at `/ui/`: everything, of all tenants.

mod guard;
mod login;
mod overview;
mod page;
mod preview;
mod reference;
pub mod router;
mod send;
mod source;
mod source_edit;
mod sources;
pub mod state;
mod status;
