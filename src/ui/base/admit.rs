//! What the guards of all pages do alike.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header;
use http::{HeaderMap, StatusCode};

use super::failed::Failed;
use super::form::Form;
use super::site::Site;
use super::visit::Visit;
use crate::server::body::{Budget, Limit};
use crate::server::connection::{MAX_HEAD, head_size};

/// A request that may go on to a page.
pub struct Admitted {
    pub request: Request,
    pub visit: Visit,
    /// A cookie that the response sets.
    pub cookie: Option<String>,
}

/// Why a request does not go on to a page.
pub enum Refused {
    Failed(Failed),
    /// Another response: a way to the login.
    Answered(Box<Response>),
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        Refused::Failed(failed)
    }
}

/// Why a request whose form's token does not fit is refused.
pub const OLD_FORM: &str = "the form is not one that was made for this browser: its page is too old, or \
                            cookies are blocked; load the page again";

/// # Errors
/// 431 if the head of a request is too large.
pub fn judge_head(request: &Request) -> Result<(), Failed> {
    if head_size(request) <= MAX_HEAD {
        return Ok(());
    }
    let detail = format!("the request line and headers are over {MAX_HEAD} bytes");
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Err(Failed::new(status, "Headers too large", detail))
}

/// Judges which page a request comes from: only the pages' own may change anything, or read in the
/// background.
pub fn judge_origin(site: &Site, headers: &HeaderMap, reads: bool) -> Result<(), Failed> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) if origin.to_str().is_ok_and(|origin| site.is_origin(origin)) => {
            Ok(())
        }
        (None, _) if reads => Ok(()),
        (None, _) => Err(Failed::forbidden(
            "the request has no Origin header, so it cannot be told which page it comes from",
        )),
        _ => Err(Failed::forbidden(
            "the request comes from a page of another origin (scheme, host and port)",
        )),
    }
}

/// Takes the form out of a request.
pub async fn read_form(
    request: &mut Request,
    bytes: u64,
    budget: &Arc<Budget>,
) -> Result<Form, Failed> {
    let limit = Limit {
        bytes,
        key: "what a form may hold",
    };
    let body = std::mem::replace(request.body_mut(), Body::empty());
    Form::read(request.headers(), body, limit, budget).await
}
