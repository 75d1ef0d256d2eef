//! One request for a page: who is there, and what the page needs to know of the request.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::failed::Failed;
use super::site::Site;
use crate::api::access::Caller;

/// See the module. The guard of the pages puts it beside the request.
#[derive(Clone, Debug)]
pub struct Visit {
    /// `None`: nobody has logged in. Only the page for that takes such visits.
    pub caller: Option<Caller>,
    /// Whether there is a session, which can be ended.
    pub has_session: bool,
    pub site: Site,
    /// The token for forms of this visit.
    pub form_token: String,
    /// The word in the address that stands for what was just done.
    pub said: Option<String>,
}

impl Visit {
    /// The caller, as the log names them.
    pub fn by(&self) -> &str {
        self.caller.as_ref().map_or("nobody", Caller::as_str)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visit, Failed> {
        let visit = parts.extensions.get::<Visit>().cloned();
        visit.ok_or_else(|| Failed::internal("the request passed no guard"))
    }
}
