//! The customers' pages, at `/portal/`: one tenant's things, for those who have a link.
//!
//! The pages are those of the operator that concern a tenant. What a link does not let its holder do is
//! refused by the router; what belongs to another tenant by [`own`], before any page is asked.

mod enter;
mod guard;
mod overview;
mod own;
mod page;
pub mod router;
pub mod state;
