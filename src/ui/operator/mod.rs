//! The operator's pages, at `/ui/`: everything, of all tenants.

mod acts;
mod bulk;
mod dead;
mod deliveries;
mod edit;
mod endpoint;
mod endpoints;
mod event;
mod events;
mod filters;
mod guard;
mod jobs;
mod login;
mod overview;
mod page;
mod preview;
pub mod router;
mod send;
mod source;
mod source_edit;
mod sources;
pub mod state;
mod status;
mod tail;
mod tester;
