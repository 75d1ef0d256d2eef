//! Pages for people, rendered here and served as HTML; `docs/ui.md` and `docs/portal.md` have what they
//! are for.
//!
//! A page asks the [`app`](crate::app) like the API does, and shows the answer; it decides nothing.
//! Nothing here keeps state but sessions, in memory. Scripts are not needed but for the live tail.
//!
//! `base/` is what pages of any kind share: who is there, which requests are theirs, how a page is
//! framed. `views/` shows single things, `pages/` are pages that operators and customers share.
//! `operator/` is the operator's pages, at `/ui/`; `portal/` the customers', at `/portal/`.

mod base;
mod operator;
mod pages;
mod portal;
mod views;

use axum::extract::Request;
use std::sync::Arc;

use crate::api::access::Arrival;
use crate::api::{Answered, Pages};

pub use operator::router::pages;
pub use operator::state::Operator;
pub use portal::router::PortalPages;
pub use portal::state::Portal;

/// Several kinds of pages on one listener.
pub struct AllPages(pub Vec<Arc<dyn Pages>>);

impl Pages for AllPages {
    fn take(&self, request: &Request) -> bool {
        self.0.iter().any(|pages| pages.take(request))
    }

    fn answer(&self, arrival: Arrival, request: Request) -> Answered {
        match self.0.iter().find(|pages| pages.take(&request)) {
            Some(pages) => pages.answer(arrival, request),
            None => Box::pin(async {
                axum::response::IntoResponse::into_response(http::StatusCode::NOT_FOUND)
            }),
        }
    }
}
