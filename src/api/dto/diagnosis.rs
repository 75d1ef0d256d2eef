//! What was found about an endpoint, step by step.

use std::borrow::Cow;

use serde::Serialize;

use crate::app;
use crate::domain::diagnosis;
use crate::domain::endpoint::EndpointId;

#[derive(Serialize)]
pub struct Diagnosis<'a> {
    endpoint: &'a EndpointId,
    /// But for its host it is masked if there is a preset.
    url: Cow<'a, str>,
    /// No step failed.
    ok: bool,
    /// The test event, if one was sent.
    event: Option<String>,
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Step<'a> {
    name: &'static str,
    status: &'static str,
    duration_ms: u64,
    detail: &'a str,
    hint: Option<&'a str>,
}

impl<'a> From<&'a app::Diagnosis> for Diagnosis<'a> {
    fn from(found: &'a app::Diagnosis) -> Self {
        Diagnosis {
            endpoint: &found.endpoint.id,
            url: found.endpoint.shown_url(),
            ok: found.is_ok(),
            event: found.event.map(|event| event.to_string()),
            steps: found.steps.iter().map(Step::from).collect(),
        }
    }
}

impl<'a> From<&'a diagnosis::Step> for Step<'a> {
    fn from(step: &'a diagnosis::Step) -> Self {
        Step {
            name: step.name.as_str(),
            status: step.status.as_str(),
            duration_ms: u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
            detail: &step.detail,
            hint: step.hint.as_deref(),
        }
    }
}
