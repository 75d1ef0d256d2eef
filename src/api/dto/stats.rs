//! Counts over time.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::attempt::ErrorKind;
use crate::domain::counts::Counts;
use crate::domain::time::Timestamp;
use crate::outbox::Steps;

#[derive(Serialize)]
pub struct Stats {
    since: Timestamp,
    until: Timestamp,
    step_s: u64,
    data: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    at: Timestamp,
    accepted: u64,
    delivered: u64,
    /// Failed attempts by kind; only the kinds that occurred.
    failed: BTreeMap<&'static str, u64>,
    p50_ms: Option<u64>,
    p95_ms: Option<u64>,
}

impl Stats {
    pub fn new(steps: Steps, counts: &[Counts]) -> Stats {
        let starts = (steps.since_min..).step_by(steps.step_min.max(1) as usize);
        Stats {
            since: moment(steps.since_min),
            until: moment(steps.until_min),
            step_s: u64::from(steps.step_min) * 60,
            data: starts
                .zip(counts)
                .map(|(start, counts)| Step::new(start, counts))
                .collect(),
        }
    }
}

impl Step {
    fn new(start: u32, counts: &Counts) -> Step {
        let failed = ErrorKind::ALL.map(|kind| (kind.as_str(), counts.failed(kind)));
        let took = |hundredths| {
            let took = counts.percentile(hundredths)?;
            u64::try_from(took.as_millis()).ok()
        };
        Step {
            at: moment(start),
            accepted: counts.accepted(),
            delivered: counts.delivered(),
            failed: failed.into_iter().filter(|(_, count)| *count > 0).collect(),
            p50_ms: took(50),
            p95_ms: took(95),
        }
    }
}

fn moment(minute: u32) -> Timestamp {
    Timestamp::from_millis(u64::from(minute) * 60_000)
}
