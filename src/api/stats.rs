//! Counts of accepted events and of attempts, over time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use super::Api;
use super::dto::stats::Stats;
use super::path::{PathParams, parse_name};
use super::problem::Problem;
use super::query::{Query, malformed};
use super::reply::json;
use crate::clock;
use crate::config::units::parse_duration;
use crate::domain::event::Tenant;
use crate::domain::time::Timestamp;
use crate::outbox::{StatsOf, Steps};

/// How long minutes are kept; quarters of an hour are kept for a week.
const MINUTES_BACK: u32 = 120;
const WEEK: u32 = 7 * 24 * 60;
const QUARTER: u32 = 15;
/// How many minutes a first step may begin too early: a request takes time to arrive.
const GRACE: u32 = 2;
/// The most steps of one answer.
const MAX_STEPS: usize = 1000;

/// `GET /v1/endpoints/{id}/stats`
pub async fn of_endpoint(
    State(api): State<Arc<Api>>,
    PathParams(id): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &["since", "until", "step"])?;
    let steps = steps(&query, clock::now())?;
    answer(&api, StatsOf::Endpoint(parse_name(&id)?), steps).await
}

/// `GET /v1/stats`: of all tenants, or of one.
pub async fn of_tenant(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let query = Query::parse(request.uri(), &["tenant", "since", "until", "step"])?;
    let steps = steps(&query, clock::now())?;
    let tenant = query.read::<Tenant>("tenant")?;
    let of = tenant.map_or(StatsOf::All, StatsOf::Tenant);
    answer(&api, of, steps).await
}

async fn answer(api: &Api, of: StatsOf, steps: Steps) -> Result<Response, Problem> {
    let counts = api.app.stats.read(of, steps).await?;
    json(StatusCode::OK, &Stats::new(steps, &counts))
}

/// The steps that a request asks for, with defaults. No step begins before the kept counts.
fn steps(query: &Query, now: Timestamp) -> Result<Steps, Problem> {
    let step = query.text("step").map(step).transpose()?;
    let (since, until) = (query.time("since")?, query.time("until")?);
    let now = minute_of(now).saturating_add(1);
    let until = until.map_or(now, |until| {
        // The minute in which the range ends is included.
        let whole = until.as_millis().is_multiple_of(60_000);
        minute_of(until).saturating_add(u32::from(!whole))
    });
    let since = since.map(minute_of);
    let step = step.unwrap_or(
        match since.is_none_or(|since| since >= first_kept(1, now)) {
            true => 1,
            false => QUARTER,
        },
    );
    let first = first_kept(step, now);
    // The first whole step that is kept, or the step that contains `since`.
    let since_min = match since {
        Some(since) => since - since % step,
        None => first.next_multiple_of(step),
    };
    let is_quarters = step.is_multiple_of(QUARTER);
    let is_longer_than_kept = !is_quarters && step > MINUTES_BACK;
    if is_longer_than_kept || since_min.saturating_add(GRACE) < first {
        return Err(match is_quarters {
            true => malformed(
                "since",
                "quarters of an hour are kept for 7d, and the first step would begin before",
            ),
            false => malformed(
                "step",
                "minutes are kept for 2h, and the first step would begin before: ask for a later `since`, or for a `step` of 15m or a multiple of it",
            ),
        });
    }
    if since.unwrap_or(since_min) >= until {
        let why = "not before `until`: no step is in between";
        return Err(malformed("since", why));
    }
    let steps = Steps {
        since_min,
        until_min: until.div_ceil(step).saturating_mul(step),
        step_min: step,
    };
    match steps.count() <= MAX_STEPS {
        true => Ok(steps),
        false => Err(malformed(
            "step",
            format!("more than {MAX_STEPS} steps: ask for a longer `step`, or for less time"),
        )),
    }
}

/// The first minute for which there are counts of steps of this length.
fn first_kept(step: u32, now: u32) -> u32 {
    now.saturating_sub(match step.is_multiple_of(QUARTER) {
        true => WEEK,
        false => MINUTES_BACK,
    })
}

/// A step in minutes.
fn step(text: &str) -> Result<u32, Problem> {
    let span = parse_duration(text).map_err(|bad| malformed("step", bad))?;
    let minutes = u32::try_from(span.as_secs() / 60).unwrap_or(0);
    let is_whole = Duration::from_secs(u64::from(minutes) * 60) == span;
    match is_whole && (1..=WEEK).contains(&minutes) {
        true => Ok(minutes),
        false => Err(malformed(
            "step",
            "not a number of minutes such as 1m, 15m or 1h, up to 7d",
        )),
    }
}

fn minute_of(at: Timestamp) -> u32 {
    u32::try_from(at.as_secs() / 60).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-08T12:34:56Z";

    fn asked(query: &str) -> Result<(String, String, u32), String> {
        let uri = format!("/v1/stats?{query}").parse().unwrap();
        let query = Query::parse(&uri, &["since", "until", "step"]).unwrap();
        let steps = steps(&query, NOW.parse().unwrap()).map_err(|problem| problem.detail)?;
        let shown = |minute: u32| Timestamp::from_millis(u64::from(minute) * 60_000).to_string();
        Ok((
            shown(steps.since_min),
            shown(steps.until_min),
            steps.step_min,
        ))
    }

    #[test]
    fn the_default_is_the_last_two_hours_in_minutes() {
        let of = |since: &str, until: &str, step| {
            let whole = |time: &str| format!("2026-01-{time}:00.000Z");
            Ok((whole(since), whole(until), step))
        };
        assert_eq!(asked(""), of("08T10:35", "08T12:35", 1));
        assert_eq!(asked("step=15m"), of("01T12:45", "08T12:45", 15));
        let (since, _, _) = asked("step=119m").unwrap();
        assert!(*since >= *"2026-01-08T10:35", "{since}");
        assert_eq!(
            asked("since=2026-01-08T00:07:01Z"),
            of("08T00:00", "08T12:45", 15)
        );
        assert_eq!(
            asked("since=2026-01-08T12:00:00Z"),
            of("08T12:00", "08T12:35", 1)
        );
        assert_eq!(
            asked("since=2026-01-08T00:00:00Z&until=2026-01-08T03:00:00Z&step=1h"),
            of("08T00:00", "08T03:00", 60)
        );
    }

    #[test]
    fn a_faulty_range_is_refused_with_the_fix() {
        for (query, named) in [
            ("step=90s", "`step`: not a number of minutes"),
            ("step=0s", "`step`"),
            ("step=121m", "minutes are kept for 2h"),
            ("step=5", "`step`"),
            (
                "step=1m&since=2026-01-08T00:00:00Z",
                "minutes are kept for 2h",
            ),
            (
                "since=2026-01-08T12:00:00Z&until=2026-01-08T11:00:00Z",
                "`since`: not before",
            ),
            ("since=2020-01-01T00:00:00Z", "kept for 7d"),
            ("step=7d&since=2007-11-01T00:00:00Z", "kept for 7d"),
            ("step=119m&since=2026-01-08T10:40:00Z", "kept for 2h"),
            (
                "since=2026-01-08T10:35:00Z&until=2026-01-09T10:35:00Z&step=1m",
                "more than 1000 steps",
            ),
        ] {
            let detail = asked(query).unwrap_err();
            assert!(detail.contains(named), "{query}: {detail}");
        }
    }
}
