//! What is around every page: its head, the list of pages, messages, the foot.
//!
//! Templates extend `layout.html` and have a field `shell`. They print values, which askama escapes,
//! and never use `safe`: what is markup has a type that says so.

use askama::Template;
use axum::body::Body;
use axum::response::Response;
use http::header::{self, HeaderValue};

use super::assets::assets;
use super::failed::Failed;
use super::visit::Visit;

/// A kind of pages: where they are, and what they are called.
#[derive(Debug)]
pub struct Kind {
    pub product: &'static str,
    /// Their path, without a slash at its end.
    pub base: &'static str,
    pub nav: &'static [Link],
}

/// An entry of the list of pages.
#[derive(Debug)]
pub struct Link {
    /// Below the base.
    pub path: &'static str,
    pub label: &'static str,
}

/// See the module.
#[derive(Debug)]
pub struct Shell {
    pub kind: &'static Kind,
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
    pub style: String,
    pub script: String,
    pub icon: String,
}

impl Shell {
    pub fn new(kind: &'static Kind, visit: &Visit, title: impl Into<String>) -> Shell {
        Shell {
            form_token: visit.form_token.clone(),
            by: visit.by().to_owned(),
            is_inside: visit.caller.is_some(),
            has_session: visit.has_session,
            ..Shell::outside(kind, title)
        }
    }

    /// The frame of a page for somebody who was not let in at all.
    pub fn outside(kind: &'static Kind, title: impl Into<String>) -> Shell {
        let assets = assets();
        Shell {
            kind,
            title: title.into(),
            here: "",
            said: None,
            form_token: String::new(),
            by: String::new(),
            is_inside: false,
            has_session: false,
            style: assets.style(kind.base),
            script: assets.script(kind.base),
            icon: assets.icon(kind.base),
        }
    }

    /// The entries of the list of pages; none for somebody who is not logged in.
    pub fn nav(&self) -> &'static [Link] {
        match self.is_inside {
            false => &[],
            true => self.kind.nav,
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
