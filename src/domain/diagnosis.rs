//! A diagnosis of an endpoint: what a request to it goes through, step by step.

use std::time::Duration;

/// What is looked at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepName {
    /// The endpoint's definition and state.
    Endpoint,
    /// The addresses of the URL's name.
    Resolve,
    /// Which of the addresses may be dialled.
    Judge,
    /// TCP.
    Connect,
    Tls,
    /// A test event.
    Send,
}

impl StepName {
    pub const ALL: [StepName; 6] = [
        StepName::Endpoint,
        StepName::Resolve,
        StepName::Judge,
        StepName::Connect,
        StepName::Tls,
        StepName::Send,
    ];

    /// As the APIs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            StepName::Endpoint => "endpoint",
            StepName::Resolve => "resolve",
            StepName::Judge => "judge",
            StepName::Connect => "connect",
            StepName::Tls => "tls",
            StepName::Send => "send",
        }
    }
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStatus {
    Ok,
    /// Deliveries go on, but somebody should act.
    Warning,
    /// Deliveries fail or wait because of it.
    Failed,
    /// It was not asked for, does not apply, or a step before it failed.
    Skipped,
}

impl StepStatus {
    pub const ALL: [StepStatus; 4] = [
        StepStatus::Ok,
        StepStatus::Warning,
        StepStatus::Failed,
        StepStatus::Skipped,
    ];

    /// As the APIs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            StepStatus::Ok => "ok",
            StepStatus::Warning => "warning",
            StepStatus::Failed => "failed",
            StepStatus::Skipped => "skipped",
        }
    }
}

/// One step. Its texts never hold a secret, nor more of a URL than its host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub name: StepName,
    pub status: StepStatus,
    pub took: Duration,
    pub detail: String,
    /// How to fix what is wrong.
    pub hint: Option<String>,
}

impl Step {
    pub fn ok(name: StepName, took: Duration, detail: impl Into<String>) -> Step {
        Step {
            name,
            status: StepStatus::Ok,
            took,
            detail: detail.into(),
            hint: None,
        }
    }

    pub fn skipped(name: StepName, why: impl Into<String>) -> Step {
        Step {
            status: StepStatus::Skipped,
            ..Step::ok(name, Duration::ZERO, why)
        }
    }

    /// The step with this status and hint instead.
    pub fn but(self, status: StepStatus, hint: impl Into<String>) -> Step {
        Step {
            status,
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// The first step that failed.
pub fn failed(steps: &[Step]) -> Option<StepName> {
    let failed = steps.iter().find(|step| step.status == StepStatus::Failed);
    failed.map(|step| step.name)
}
