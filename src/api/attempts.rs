//! Attempts, listed.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::Api;
use super::dto::attempt::Attempt;
use super::problem::Problem;
use super::query::{Query, malformed};
use super::reply;
use crate::domain::attempt::ErrorKind;
use crate::outbox::{AttemptFilter, StatusFilter};

const LIST: [&str; 9] = [
    "endpoint",
    "tenant",
    "type",
    "kind",
    "status_code",
    "since",
    "until",
    "limit",
    "cursor",
];

/// `GET /v1/attempts`: newest first.
pub async fn list(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &LIST)?;
    let (limit, cursor) = (query.limit()?, query.cursor()?);
    let filter = AttemptFilter {
        endpoint: query.read("endpoint")?,
        tenant: query.read("tenant")?,
        event_type: query.pattern("type")?,
        kind: query.text("kind").map(kind).transpose()?,
        status: query.text("status_code").map(status_code).transpose()?,
        since: query.time("since")?,
        until: query.time("until")?,
    };
    let show = |page: &_| reply::page(page, Attempt::from);
    let deliveries = &api.app.deliveries;
    deliveries.attempts(filter, cursor, limit, show).await?
}

fn kind(text: &str) -> Result<ErrorKind, Problem> {
    let known = ErrorKind::ALL.into_iter();
    let found = known.clone().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| {
        let names: Vec<&str> = known.map(ErrorKind::as_str).collect();
        malformed("kind", format!("not one of {}", names.join(", ")))
    })
}

fn status_code(text: &str) -> Result<StatusFilter, Problem> {
    // Digits alone: a number may have a sign.
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse().ok(),
        false => None,
    };
    match (text.strip_suffix("xx").map(number), number(text)) {
        (Some(Some(hundreds @ 1..=9)), _) => Ok(StatusFilter::Class(hundreds)),
        (None, Some(status @ 100..=999)) => Ok(StatusFilter::Exact(status)),
        _ => Err(malformed(
            "status_code",
            "not a status such as 503, or a class of them such as 5xx",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_number_or_a_class() {
        assert_eq!(status_code("503").unwrap(), StatusFilter::Exact(503));
        assert_eq!(status_code("5xx").unwrap(), StatusFilter::Class(5));
        for bad in ["", "5", "xx", "50x", "0xx", "1000", "-1", "+503", "+5xx"] {
            assert!(
                status_code(bad).unwrap_err().detail.contains("503"),
                "{bad}"
            );
        }
        assert_eq!(kind("dns").unwrap(), ErrorKind::Dns);
        assert!(kind("DNS").unwrap_err().detail.contains("dns, connect"));
    }
}
