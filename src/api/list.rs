//! Lists, a page at a time: `{"data": [...], "next": "cursor" | null}`.

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::problem::Problem;
use super::router::json;
use crate::outbox::{Cursor, Page};

#[derive(Serialize)]
struct Shown<'a, T> {
    data: Vec<T>,
    next: Option<&'a str>,
}

/// The answer that holds `page`, each item as `show` writes it.
pub fn page<'a, T, S: Serialize>(
    page: &'a Page<T>,
    show: impl Fn(&'a T) -> S,
) -> Result<Response, Problem> {
    let shown = Shown {
        data: page.items.iter().map(show).collect(),
        next: page.next.as_ref().map(|Cursor(text)| text.as_str()),
    };
    json(StatusCode::OK, &shown)
}
