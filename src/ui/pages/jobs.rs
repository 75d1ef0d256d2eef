//! Jobs under way: replays, purges and releases; how far they are, and their end.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::filters::ROWS;
use super::page::{go, shell};
use crate::api::Api;
use crate::api::acted;
use crate::api::path::parse_name;
use crate::clock;
use crate::domain::endpoint::Rate;
use crate::domain::job::JobId;
use crate::domain::time::Timestamp;
use crate::domain::units::show_rate;
use crate::outbox::{ActRefused, JobView, ReadError};
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Asked;
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::moment::Moment;

#[derive(Template)]
#[template(path = "jobs.html")]
struct ListPage {
    shell: Shell,
    jobs: Vec<JobShown>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "job.html")]
struct Page {
    shell: Shell,
    id: String,
    /// `None`: it has ended.
    job: Option<JobShown>,
}

struct JobShown {
    id: String,
    kind: &'static str,
    endpoint: String,
    tenant: String,
    statuses: String,
    types: String,
    since: Option<Moment>,
    until: Option<Moment>,
    rate: String,
    matched: u64,
    done: u64,
    created: Option<Moment>,
}

impl JobShown {
    fn new(job: &JobView, now: Timestamp) -> JobShown {
        let selection = &job.selection;
        let statuses: Vec<&str> = selection.statuses.iter().map(|one| one.as_str()).collect();
        let types: Vec<String> = selection.types.iter().map(ToString::to_string).collect();
        let moment = |at| Moment::new(at, now);
        let created = Some(job.id.created_at).filter(|at| at.as_millis() > 0);
        let rate = job.rate.map(|per_second| show_rate(Rate { per_second }));
        JobShown {
            id: job.id.to_string(),
            kind: job.work.as_str(),
            endpoint: job.endpoint.to_string(),
            tenant: job.tenant.to_string(),
            statuses: statuses.join(", "),
            types: types.join(", "),
            since: selection.since.map(moment),
            until: selection.until.map(moment),
            rate: rate.unwrap_or_default(),
            matched: job.matched,
            done: job.done.min(job.matched),
            created: created.map(moment),
        }
    }
}

/// `GET …/jobs`
pub async fn list(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let after: Option<JobId> = asked.text("after").and_then(|id| id.parse().ok());
    let (jobs, more) = api.app().bulk.jobs(after, ROWS).await?;
    let now = clock::now();
    let last = jobs.last().filter(|_| more);
    let page = ListPage {
        shell: shell(&visit, "/jobs", "Jobs"),
        next: last.map(|job| visit.path(format_args!("/jobs?after={}", job.id))),
        jobs: jobs.iter().map(|job| JobShown::new(job, now)).collect(),
    };
    html(&page)
}

/// `GET …/jobs/{id}`: a job that has ended has no more than that to say.
pub async fn show(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Result<Response, Failed> {
    let id: JobId = parse_name(&id)?;
    let job = match api.app().bulk.job(id).await {
        Ok(job) if visit.sees(&job.tenant) => Some(JobShown::new(&job, clock::now())),
        // One of another tenant is as if it had ended.
        Ok(_) => None,
        Err(crate::app::Error::Read(ReadError::NoSuchJob)) => None,
        Err(error) => return Err(error.into()),
    };
    let page = Page {
        shell: shell(&visit, "/jobs", id.to_string()),
        id: id.to_string(),
        job,
    };
    html(&page)
}

/// `POST …/jobs/{id}/cancel`
pub async fn cancel(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Result<Response, Failed> {
    let id: JobId = parse_name(&id)?;
    let job = api.app().bulk.job(id).await;
    if job.is_ok_and(|job| !visit.sees(&job.tenant)) {
        return go(&visit.path(format_args!("/jobs/{id}")), "");
    }
    match api.app().bulk.cancel(id).await {
        Ok(()) => acted::log("job.cancel", &id.to_string(), visit.by(), acted::Way::Page),
        // It ended by itself meanwhile: its page says so.
        Err(crate::app::Error::Act(ActRefused::NoSuchJob)) => {
            return go(&visit.path(format_args!("/jobs/{id}")), "");
        }
        Err(error) => return Err(error.into()),
    }
    // Customers have no list of jobs.
    let place = match visit.view.can.operate {
        true => visit.path("/jobs"),
        false => visit.path(format_args!("/jobs/{id}")),
    };
    go(&place, "job-cancelled")
}
