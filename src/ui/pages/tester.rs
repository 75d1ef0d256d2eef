//! Trying type patterns and filters out, over an event that is typed or one that was accepted.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;

use super::page::shell;
use crate::api::Api;
use crate::api::endpoints::read_type;
use crate::app::Sample;
use crate::domain::endpoint::TypePattern;
use crate::domain::event::{EventType, NewEvent, Payload};
use crate::domain::filter::Filter;
use crate::domain::json::Json;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::{Asked, Form};
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::badge::Badge;

#[derive(Template)]
#[template(path = "try.html")]
struct Page {
    shell: Shell,
    types: String,
    filter: String,
    sample_event: String,
    sample_type: String,
    sample_data: String,
    trial: Option<Trial>,
}

/// What types and a filter say of a sample.
pub struct Trial {
    pub types: Badge,
    pub filter: Badge,
}

/// `GET …/try`
pub async fn show(
    State(_): State<Arc<Api>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    html(&page(&visit, &asked, None))
}

/// `POST …/try`: nothing is stored or sent.
pub async fn test(
    State(api): State<Arc<Api>>,
    visit: Visit,
    form: Form,
) -> Result<Response, Failed> {
    let trial = trial(&api, &visit, &form).await;
    html(&page(&visit, &form, Some(trial)))
}

fn page(visit: &Visit, form: &Form, trial: Option<Trial>) -> Page {
    let typed = |name| form.raw(name).unwrap_or_default().to_owned();
    Page {
        shell: shell(visit, "/endpoints", "Try types and filters"),
        types: typed("types"),
        filter: typed("filter"),
        sample_event: typed("sample_event"),
        sample_type: typed("sample_type"),
        sample_data: typed("sample_data"),
        trial,
    }
}

/// Judges the sample of a form by its types and its filter.
pub async fn trial(api: &Api, visit: &Visit, form: &Form) -> Trial {
    let sample = sample(visit, form);
    Trial {
        types: types(form),
        filter: match filter(form) {
            Ok(None) => Badge::plain("there is no filter: every event passes"),
            Err(why) => Badge::bad(why),
            Ok(Some(filter)) => match sample {
                Err(why) => Badge::warn(why),
                Ok(sample) => judged(api, filter, sample).await,
            },
        },
    }
}

async fn judged(api: &Api, filter: Filter, sample: Sample) -> Badge {
    match api.app().previews.judge(filter, sample).await {
        Ok(None) => Badge::good("the filter lets the sample through"),
        Ok(Some(failed)) => {
            let place = match failed.path.as_str() {
                "" => "the event",
                path => path,
            };
            Badge::warn(format!(
                "the filter keeps the sample out at {place}: {} {}, and what is there is {}",
                failed.operator, failed.expected, failed.found
            ))
        }
        Err(error) => Badge::bad(error.to_string()),
    }
}

fn types(form: &Form) -> Badge {
    let typed = form.raw("types").unwrap_or_default();
    let patterns = typed
        .split(['\n', ','])
        .map(str::trim)
        .filter(|one| !one.is_empty());
    let patterns: Result<Vec<TypePattern>, String> = patterns
        .map(|text| TypePattern::parse(text).map_err(|bad| format!("{text}: {bad}")))
        .collect();
    let patterns = match patterns {
        Ok(patterns) if patterns.is_empty() => vec![TypePattern::Any],
        Ok(patterns) => patterns,
        Err(why) => return Badge::bad(why),
    };
    let Some(text) = form.text("sample_type") else {
        return Badge::plain("type a sample type to try the patterns");
    };
    match EventType::new(text) {
        Err(bad) => Badge::bad(format!("{text}: {bad}")),
        Ok(wanted) => match patterns.iter().find(|pattern| pattern.matches(&wanted)) {
            Some(pattern) => Badge::good(format!("{pattern} matches {text}")),
            None => Badge::warn(format!("no pattern matches {text}")),
        },
    }
}

fn filter(form: &Form) -> Result<Option<Filter>, String> {
    let Some(text) = form.text("filter") else {
        return Ok(None);
    };
    let filter = Filter::parse_text(text).map_err(|fault| fault.to_string())?;
    Ok(Some(filter))
}

/// The event of a form: one that was accepted, or one of a type with data.
pub fn sample(visit: &Visit, form: &Form) -> Result<Sample, String> {
    // An event of any tenant could be named.
    let stored = form.text("sample_event");
    if let Some(id) = stored.filter(|_| visit.view.can.operate) {
        let id = id.parse().map_err(|bad| format!("the event: {bad}"))?;
        return Ok(Sample::Stored(id));
    }
    let event_type = form.text("sample_type").unwrap_or("outboxd.test");
    let event_type = read_type(event_type).map_err(|bad| format!("the sample's type: {bad}"))?;
    let data = form.text("sample_data").unwrap_or("{}");
    Json::parse(data.as_bytes()).map_err(|bad| format!("the sample's data: {bad}"))?;
    Ok(Sample::New(Box::new(NewEvent {
        tenant: visit.view.tenant.clone().unwrap_or_default(),
        event_type,
        payload: Payload::Json(Bytes::copy_from_slice(data.as_bytes())),
        key: None,
        idempotency_key: None,
        deliver_at: None,
        extras: None,
    })))
}
