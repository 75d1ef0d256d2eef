//! A job under way.

use serde::Serialize;

use crate::config::units::show_rate;
use crate::domain::endpoint::{EndpointId, Rate};
use crate::domain::event::Tenant;
use crate::domain::job::JobId;
use crate::domain::time::Timestamp;
use crate::outbox::JobView;

#[derive(Serialize)]
pub struct Job<'a> {
    id: JobId,
    /// `replay`, `purge` or `release`.
    kind: &'static str,
    endpoint: &'a EndpointId,
    tenant: &'a Tenant,
    status: Vec<&'static str>,
    types: Vec<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    rate: Option<String>,
    /// How many deliveries matched when the job began.
    matched: u64,
    /// How many of them the job has processed.
    done: u64,
    /// `None` for a job that was begun by a version of outboxd that did not store the time.
    created_at: Option<Timestamp>,
}

impl<'a> From<&'a JobView> for Job<'a> {
    fn from(job: &'a JobView) -> Self {
        let selection = &job.selection;
        let statuses = selection.statuses.iter();
        let created_at = job.id.created_at;
        Job {
            id: job.id,
            kind: job.work.as_str(),
            endpoint: &job.endpoint,
            tenant: &job.tenant,
            status: statuses.map(|status| status.as_str()).collect(),
            types: selection.types.iter().map(ToString::to_string).collect(),
            since: selection.since,
            until: selection.until,
            rate: job.rate.map(|per_second| show_rate(Rate { per_second })),
            matched: job.matched,
            done: job.done,
            created_at: (created_at > Timestamp::from_millis(0)).then_some(created_at),
        }
    }
}
