//! Coming in by a link, and leaving.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderMap};

use super::guard::{COOKIE, begin, is_valid, set_cookie};
use super::overview;
use super::page::HOME;
use super::state::Portal;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Form;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::pages::page::{go, shell};

/// The longest link that is looked at, in bytes.
const MAX_LINK: usize = 4096;

#[derive(Template)]
#[template(path = "enter.html")]
struct Page {
    shell: Shell,
    /// Why there is no form.
    refused: bool,
    /// Why the last try failed.
    error: Option<&'static str>,
    /// Where an expired link leads.
    refresh_url: Option<String>,
}

/// `GET /portal/`: the overview, or for those who are not let in the page for links.
pub async fn home(State(portal): State<Arc<Portal>>, visit: Visit) -> Result<Response, Failed> {
    match visit.view.tenant.clone() {
        Some(tenant) => overview::show(&portal.api, &visit, tenant).await,
        None => page(&portal, &visit, StatusCode::OK, None),
    }
}

/// `GET /portal/enter`: the page for links, also for those who are let in.
pub async fn show(State(portal): State<Arc<Portal>>, visit: Visit) -> Result<Response, Failed> {
    page(&portal, &visit, StatusCode::OK, None)
}

/// `POST /portal/enter`: a code for a session.
pub async fn enter(
    State(portal): State<Arc<Portal>>,
    visit: Visit,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Failed> {
    if !visit.site.is_private() {
        return page(&portal, &visit, StatusCode::FORBIDDEN, None);
    }
    let typed = form.text("code").unwrap_or_default();
    let link = portal.api.portal_links().take(code(typed));
    let Some(link) = link.filter(|link| is_valid(&portal, link)) else {
        let why =
            "The link was used before, has expired, or is not whole. Each link opens one session.";
        return page(&portal, &visit, StatusCode::FORBIDDEN, Some(why));
    };
    tracing::info!(by = link.name(), "came in at the portal");
    // The session before, of whatever tenant, ends.
    if let Some(cookie) = visit.site.cookie(COOKIE, &headers) {
        portal.sessions.end(cookie);
    }
    let cookie = begin(&portal, &visit, &headers, link)?;
    let mut response = go(HOME, "")?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// The code of a link, which may be given whole.
fn code(typed: &str) -> &str {
    let typed = typed.get(..MAX_LINK).unwrap_or(typed);
    match typed.rsplit_once("#c=") {
        Some((_, code)) => code,
        None => typed,
    }
}

/// `POST /portal/logout`
pub async fn leave(
    State(portal): State<Arc<Portal>>,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    if let Some(cookie) = visit.site.cookie(COOKIE, &headers) {
        portal.sessions.end(cookie);
    }
    let mut response = go(HOME, "logged-out")?;
    let cookie = set_cookie(&portal, &visit, &headers, "");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

fn page(
    portal: &Portal,
    visit: &Visit,
    status: StatusCode,
    error: Option<&'static str>,
) -> Result<Response, Failed> {
    let page = Page {
        shell: shell(visit, "", "Open a link"),
        refused: !visit.site.is_private(),
        error,
        refresh_url: portal.look().refresh_url.clone(),
    };
    let mut response = html(&page)?;
    *response.status_mut() = status;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_or_the_whole_link_may_be_pasted() {
        assert_eq!(code("abc"), "abc");
        assert_eq!(code("https://hooks.example/portal/#c=abc"), "abc");
        assert_eq!(code(""), "");
    }
}
