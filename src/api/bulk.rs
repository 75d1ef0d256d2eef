//! Many deliveries of one endpoint at once: replay and purge.
//!
//! A request says which; the outbox counts them, and does the work after it has answered.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::Api;
use super::fields::{Fields, body_of};
use super::path::{PathParams, parse_name};
use super::problem::Problem;
use super::query::Query;
use super::reply::{self, json};
use crate::app::bulk::Work;
use crate::domain::delivery::Status;
use crate::domain::endpoint::{EndpointId, Rate};
use crate::domain::job::JobId;
use crate::domain::time::Timestamp;
use crate::outbox::{Begun, Selection};

/// What a request chooses.
#[derive(Debug)]
pub struct Chosen {
    pub selection: Selection,
    pub rate: Option<Rate>,
    dry_run: bool,
}

#[derive(Serialize)]
struct Matched {
    matched: u64,
}

/// The answer to a request that began.
#[derive(Serialize)]
struct Began {
    matched: u64,
    job: Option<JobId>,
}

impl From<Begun> for Began {
    fn from(Begun { matched, job }: Begun) -> Self {
        Began { matched, job }
    }
}

/// `POST /v1/endpoints/{id}/replay`: 202, or 200 for a dry run.
pub async fn replay(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (endpoint, chosen) = chosen(&api, &id, request, Work::Replay).await?;
    if chosen.dry_run {
        return counted(&api, endpoint, chosen.selection).await;
    }
    let Chosen {
        selection, rate, ..
    } = chosen;
    let begun = api.app.bulk.replay(endpoint, selection, rate).await?;
    json(StatusCode::ACCEPTED, &Began::from(begun))
}

/// `POST /v1/endpoints/{id}/purge`: 202, or 200 for a dry run.
pub async fn purge(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (endpoint, chosen) = chosen(&api, &id, request, Work::Purge).await?;
    if chosen.dry_run {
        return counted(&api, endpoint, chosen.selection).await;
    }
    let begun = api.app.bulk.purge(endpoint, chosen.selection).await?;
    json(StatusCode::ACCEPTED, &Began::from(begun))
}

async fn counted(
    api: &Api,
    endpoint: EndpointId,
    selection: Selection,
) -> Result<Response, Problem> {
    let matched = api.app.bulk.count(endpoint, selection).await?;
    reply::dry_run(&Matched { matched })
}

async fn chosen(
    api: &Api,
    id: &str,
    request: Request,
    work: Work,
) -> Result<(EndpointId, Chosen), Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let endpoint = parse_name(id)?;
    let body = body_of(api, &parts.headers, body).await?;
    Ok((endpoint, Chosen::read(&body, work)?))
}

impl Chosen {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 that names the field and says what is allowed.
    pub fn read(body: &[u8], work: Work) -> Result<Chosen, Problem> {
        let all = ["status", "since", "until", "types", "dry_run", "rate"];
        let known = match work {
            Work::Replay => &all[..],
            // It goes as fast as it can.
            Work::Purge => all.split_last().map_or(&[][..], |(_, rest)| rest),
        };
        let fields = Fields::parse(body, known)?;
        let time = |name| Ok::<_, Problem>(fields.text(name, str::parse::<Timestamp>)?.value());
        let (since, until) = in_order(time("since")?, time("until")?)?;
        let status = fields.text("status", |text| status(work, text))?.value();
        let rate = match work {
            Work::Replay => fields.rate("rate")?.value().flatten(),
            Work::Purge => None,
        };
        Ok(Chosen {
            selection: Selection {
                statuses: status.map_or_else(|| work.default_statuses(), |status| vec![status]),
                types: fields.patterns("types")?.value().unwrap_or_default(),
                since,
                until,
            },
            rate,
            dry_run: fields.flag("dry_run")?.value().unwrap_or(false),
        })
    }
}

/// An empty range is a mistake in a request that changes deliveries; in that of a list the answer
/// is an empty list.
fn in_order(
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<(Option<Timestamp>, Option<Timestamp>), Problem> {
    match (since, until) {
        (Some(since), Some(until)) if since > until => Err(Problem::bad_request(format!(
            "field `since` ({since}) is after field `until` ({until}): no delivery can be in between; swap them"
        ))),
        range => Ok(range),
    }
}

fn status(work: Work, text: &str) -> Result<Status, &'static str> {
    let status = Status::ALL.into_iter().find(|one| one.as_str() == text);
    match (work, status) {
        (work, Some(status)) if work.takes(status) => Ok(status),
        (Work::Replay, Some(_)) => Err(
            "not \"dead\" or \"delivered\"; what is pending goes out by itself, and what is held when the endpoint is enabled",
        ),
        (Work::Replay, None) => Err("not \"dead\" or \"delivered\""),
        (Work::Purge, _) => Err("not \"pending\", \"held\" or \"dead\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_is_read() {
        let body = br#"{"status": "delivered", "since": "2026-01-01T00:00:00Z", "until": null,
            "types": ["a.*"], "rate": "20/s", "dry_run": true}"#;
        let chosen = Chosen::read(body, Work::Replay).unwrap();
        assert_eq!(chosen.selection.statuses, [Status::Delivered]);
        assert_eq!(
            chosen.selection.since.unwrap().to_string(),
            "2026-01-01T00:00:00.000Z"
        );
        assert_eq!(
            (chosen.selection.until, chosen.selection.types.len()),
            (None, 1)
        );
        assert_eq!(chosen.rate, Some(Rate { per_second: 20.0 }));
        assert!(chosen.dry_run);
        let nothing = Chosen::read(b"", Work::Purge).unwrap();
        assert_eq!(
            nothing.selection.statuses,
            [Status::Pending, Status::Held, Status::Dead]
        );
        assert!(!nothing.dry_run && nothing.rate.is_none());
        assert_eq!(
            Chosen::read(b"{}", Work::Replay)
                .unwrap()
                .selection
                .statuses,
            [Status::Dead]
        );
    }

    #[test]
    fn faults_name_the_field() {
        for (work, body, expected) in [
            (
                Work::Replay,
                r#"{"status": "held"}"#,
                "`status`: not \"dead\"",
            ),
            (Work::Replay, r#"{"status": "late"}"#, "`status`"),
            (
                Work::Purge,
                r#"{"status": "delivered"}"#,
                "`status`: not \"pending\"",
            ),
            (Work::Purge, r#"{"rate": "1/s"}"#, "unknown field `rate`"),
            (Work::Replay, r#"{"rate": "fast"}"#, "`rate`"),
            (Work::Replay, r#"{"since": "yesterday"}"#, "`since`"),
            (
                Work::Purge,
                r#"{"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}"#,
                "is after field `until`",
            ),
            (Work::Replay, r#"{"types": ["*.a"]}"#, "`types[0]`"),
            (
                Work::Replay,
                r#"{"dry-run": true}"#,
                "did you mean `dry_run`?",
            ),
        ] {
            let detail = Chosen::read(body.as_bytes(), work).unwrap_err().detail;
            assert!(detail.contains(expected), "{body}: {detail}");
        }
    }
}
