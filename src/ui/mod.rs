//! Pages for people, rendered here and served as HTML; `docs/ui.md` has what they are for.
//!
//! A page asks the [`app`](crate::app) like the API does, and shows the answer; it decides nothing.
//! Nothing here keeps state but sessions, in memory. Scripts are not needed but for the live tail.
//!
//! `base/` is what pages of any kind share: who is there, which requests are theirs, how a page is
//! framed. `views/` shows single things. `operator/` is the operator's pages, at `/ui/`.

mod base;
mod operator;
mod views;

pub use operator::router::pages;
pub use operator::state::Operator;
