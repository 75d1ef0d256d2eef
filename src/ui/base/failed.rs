//! What a page shows when a request failed.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::api::problem::Problem;
use crate::app;

/// A failure, on its way to become a page: the router has it rendered.
#[derive(Clone, Debug)]
pub struct Failed {
    pub status: StatusCode,
    pub title: &'static str,
    pub detail: String,
    /// Seconds after which trying again may help.
    pub retry_after: Option<u64>,
}

impl Failed {
    pub fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Failed {
        Failed {
            status,
            title,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// 404
    pub fn not_found(detail: impl Into<String>) -> Failed {
        Failed::new(StatusCode::NOT_FOUND, "Not found", detail)
    }

    /// 403
    pub fn forbidden(detail: impl Into<String>) -> Failed {
        Failed::new(StatusCode::FORBIDDEN, "Forbidden", detail)
    }

    /// 500, which the log says more about.
    pub fn internal(detail: impl Into<String>) -> Failed {
        Failed::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error", detail)
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Failed {
            status: problem.kind.status(),
            title: problem.kind.title(),
            detail: problem.detail.clone().into_owned(),
            retry_after: problem.retry_after,
        }
    }
}

impl From<app::Error> for Failed {
    fn from(error: app::Error) -> Self {
        Problem::from(error).into()
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
