//! One request for a page: who is there, and what the page needs to know of the request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::failed::Failed;
use super::sessions::Ended;
use super::site::Site;
use super::view::View;
use crate::api::access::Caller;
use crate::api::portal_links::PortalLink;
use crate::domain::event::Tenant;

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub enum Who {
    Operator(Caller),
    /// A customer, by a link.
    Guest(Arc<PortalLink>),
}

impl Who {
    /// As the log names them.
    pub fn as_str(&self) -> &str {
        match self {
            Who::Operator(caller) => caller.as_str(),
            Who::Guest(link) => link.name(),
        }
    }
}

/// See the module. The guard of the pages puts it beside the request.
#[derive(Clone, Debug)]
pub struct Visit {
    /// `None`: nobody has logged in. Only the page for that takes such visits.
    pub who: Option<Who>,
    /// Whether there is a session, which can be ended.
    pub has_session: bool,
    /// When that ends.
    pub session: Option<Ended>,
    pub site: Site,
    /// The token for forms of this visit.
    pub form_token: String,
    /// The word in the address that stands for what was just done.
    pub said: Option<String>,
    pub view: View,
}

impl Visit {
    /// The visitor, as the log names them.
    pub fn by(&self) -> &str {
        self.who.as_ref().map_or("nobody", Who::as_str)
    }

    /// The path of the pages, without a slash at its end.
    pub fn base(&self) -> &'static str {
        self.view.kind.base
    }

    /// The path of a page.
    pub fn path(&self, below: impl std::fmt::Display) -> String {
        format!("{}{below}", self.base())
    }

    /// Whether things of this tenant are there.
    pub fn sees(&self, tenant: &Tenant) -> bool {
        self.view.tenant.as_ref().is_none_or(|own| own == tenant)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visit, Failed> {
        let visit = parts.extensions.get::<Visit>().cloned();
        visit.ok_or_else(|| Failed::internal("the request passed no guard"))
    }
}
