//! What is around every page: its head, the list of pages, messages, the foot.
//!
//! Templates extend `layout.html` and have a field `shell`. They print values, which askama escapes,
//! and never use `safe`: what is markup has a type that says so.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderValue};

use super::assets::assets;
use super::failed::Failed;
use super::view::{Can, Link, View};
use super::visit::Visit;

/// See the module.
#[derive(Debug)]
pub struct Shell {
    /// The path of the pages, without a slash at its end.
    pub base: &'static str,
    pub product: String,
    pub title: String,
    /// The path of the entry that the page belongs to.
    pub here: &'static str,
    /// What was just done.
    pub said: Option<&'static str>,
    pub form_token: String,
    /// Who is there, and whether they are let in.
    pub by: String,
    pub is_inside: bool,
    pub has_session: bool,
    pub can: Can,
    /// Tenants are named.
    pub tenants: bool,
    pub return_url: Option<Arc<str>>,
    pub style: String,
    pub script: String,
    pub icon: String,
    pub logo: Option<String>,
    pub brand_style: Option<String>,
    /// The list of pages; see [`nav`](Self::nav).
    pub links: &'static [Link],
    /// What the way to the first page is called.
    pub home: &'static str,
}

impl Shell {
    pub fn new(visit: &Visit, title: impl Into<String>) -> Shell {
        Shell {
            form_token: visit.form_token.clone(),
            by: visit.by().to_owned(),
            is_inside: visit.who.is_some(),
            has_session: visit.has_session,
            ..Shell::outside(&visit.view, title)
        }
    }

    /// The frame of a page for somebody who was not let in at all.
    pub fn outside(view: &View, title: impl Into<String>) -> Shell {
        let (assets, base, brand) = (assets(), view.kind.base, &view.brand);
        Shell {
            base,
            product: brand.name.clone(),
            title: title.into(),
            here: "",
            said: None,
            form_token: String::new(),
            by: String::new(),
            is_inside: false,
            has_session: false,
            can: view.can,
            tenants: view.sight.tenants,
            return_url: view.return_url.clone(),
            style: assets.style(base),
            script: assets.script(base),
            icon: assets.icon(base),
            logo: brand.logo.as_ref().map(|logo| logo.path(base)),
            brand_style: brand.style.as_ref().map(|style| style.path(base)),
            links: view.kind.nav,
            home: view.kind.home,
        }
    }

    /// The entries of the list of pages; none for somebody who is not logged in.
    pub fn nav(&self) -> &'static [Link] {
        match self.is_inside {
            false => &[],
            true => self.links,
        }
    }
}

/// A rendered page.
pub fn html(template: &impl Template) -> Result<Response, Failed> {
    let text = template.render().map_err(|error| {
        tracing::error!(%error, "a page could not be rendered");
        Failed::internal("the page could not be rendered; see the log")
    })?;
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

#[derive(Template)]
#[template(path = "failed.html")]
struct FailedPage {
    shell: Shell,
    failed: Failed,
}

/// The page of a failure.
pub fn failed_page(shell: Shell, failed: Failed) -> Response {
    let page = FailedPage { shell, failed };
    let mut response = html(&page).unwrap_or_else(IntoResponse::into_response);
    *response.status_mut() = page.failed.status;
    if let Some(seconds) = page.failed.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
