//! The pages that operators and customers share. The visit says whose things are there, what of them
//! may be seen and what may be done; a router says which of the pages there are.

pub mod acts;
mod bulk;
mod dead;
mod deliveries;
mod edit;
mod endpoint;
mod endpoints;
mod event;
mod events;
pub mod filters;
mod jobs;
pub mod page;
pub mod router;
mod tail;
pub mod tester;
mod why;
