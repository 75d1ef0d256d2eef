//! Replays and purges of many deliveries: chosen, counted, and only then begun.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value};

use super::page::{go, shell};
use crate::api::Api;
use crate::api::acted::{Way, log};
use crate::api::bulk::Chosen;
use crate::api::path::parse_name;
use crate::api::problem::Problem;
use crate::app::bulk::Work;
use crate::clock;
use crate::domain::delivery::Status;
use crate::domain::endpoint::EndpointId;
use crate::domain::time::Timestamp;
use crate::domain::when;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::{Asked, Form};
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;

#[derive(Template)]
#[template(path = "bulk.html")]
struct Page {
    shell: Shell,
    id: String,
    is_replay: bool,
    /// The statuses that may be chosen, the chosen one marked.
    statuses: Vec<(&'static str, bool)>,
    since: String,
    until: String,
    types: String,
    rate: String,
    fault: Option<String>,
    /// How many deliveries match; `None`: nobody has asked yet.
    matched: Option<u64>,
}

/// `GET …/endpoints/{id}/replay`: the choice; with `?count=` how many deliveries it is.
pub async fn replay(
    api: State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    count(api, visit, parse_name(&id)?, asked, Work::Replay).await
}

/// `GET …/endpoints/{id}/purge`
pub async fn purge(
    api: State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    count(api, visit, parse_name(&id)?, asked, Work::Purge).await
}

async fn count(
    State(api): State<Arc<Api>>,
    visit: Visit,
    id: EndpointId,
    asked: Form,
    work: Work,
) -> Result<Response, Failed> {
    api.app().endpoints.find(id.clone()).await?;
    let mut page = page(&visit, &id, &asked, work);
    if asked.is_ticked("count") {
        match chosen(&asked, work, clock::now()) {
            Ok(chosen) => {
                let counted = api.app().bulk.count(id, chosen.selection).await;
                page.matched = Some(counted?);
            }
            Err(problem) => page.fault = Some(problem.detail.into_owned()),
        }
    }
    answer(&page)
}

fn answer(page: &Page) -> Result<Response, Failed> {
    let mut response = html(page)?;
    if page.fault.is_some() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

/// `POST …/endpoints/{id}/replay`
pub async fn replay_now(
    api: State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
    form: Form,
) -> Result<Response, Failed> {
    begin(api, visit, parse_name(&id)?, form, Work::Replay).await
}

/// `POST …/endpoints/{id}/purge`
pub async fn purge_now(
    api: State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
    form: Form,
) -> Result<Response, Failed> {
    begin(api, visit, parse_name(&id)?, form, Work::Purge).await
}

async fn begin(
    State(api): State<Arc<Api>>,
    visit: Visit,
    id: EndpointId,
    form: Form,
    work: Work,
) -> Result<Response, Failed> {
    let chosen = match chosen(&form, work, clock::now()) {
        Ok(chosen) => chosen,
        Err(problem) => {
            let mut page = page(&visit, &id, &form, work);
            page.fault = Some(problem.detail.into_owned());
            return answer(&page);
        }
    };
    let bulk = &api.app().bulk;
    let (begun, action, said) = match work {
        Work::Replay => {
            let begun = bulk
                .replay(id.clone(), chosen.selection, chosen.rate)
                .await?;
            (begun, "endpoint.replay", "replaying")
        }
        Work::Purge => {
            let begun = bulk.purge(id.clone(), chosen.selection).await?;
            (begun, "endpoint.purge", "purging")
        }
    };
    log(action, id.as_str(), visit.by(), Way::Page);
    match begun.job {
        Some(job) => go(&visit.path(format_args!("/jobs/{job}")), said),
        None => go(&visit.path(format_args!("/endpoints/{id}")), "nothing"),
    }
}

fn page(visit: &Visit, id: &EndpointId, form: &Form, work: Work) -> Page {
    let verb = match work {
        Work::Replay => "Replay",
        Work::Purge => "Purge",
    };
    let typed = |name| form.text(name).unwrap_or_default().to_owned();
    let taken = Status::ALL.into_iter().filter(|status| work.takes(*status));
    Page {
        shell: shell(visit, "/endpoints", format!("{verb} deliveries of {id}")),
        id: id.to_string(),
        is_replay: work == Work::Replay,
        statuses: taken
            .map(|status| {
                (
                    status.as_str(),
                    form.text("status") == Some(status.as_str()),
                )
            })
            .collect(),
        since: typed("since"),
        until: typed("until"),
        types: typed("types"),
        rate: typed("rate"),
        fault: None,
        matched: None,
    }
}

/// What a form chooses, read as the API reads it.
fn chosen(form: &Form, work: Work, now: Timestamp) -> Result<Chosen, Problem> {
    let mut body = Map::new();
    for name in ["since", "until"] {
        if let Some(text) = form.text(name) {
            let at = when::parse_past(text, now);
            let at = at.map_err(|why| Problem::bad_request(format!("{name}: {why}")).at(name))?;
            body.insert(name.to_owned(), at.to_string().into());
        }
    }
    if let Some(types) = form.text("types") {
        let types = types.split([',', ' ', '\n']).filter(|one| !one.is_empty());
        body.insert("types".to_owned(), types.map(str::trim).collect());
    }
    for name in ["status", "rate"] {
        let is_taken = name == "status" || work == Work::Replay;
        if let Some(text) = form.text(name).filter(|_| is_taken) {
            body.insert(name.to_owned(), text.into());
        }
    }
    Chosen::read(Value::Object(body).to_string().as_bytes(), work)
}
