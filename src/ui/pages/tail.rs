//! The live tail: a page, and the stream that its script follows.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::filters::Filters;
use super::page::shell;
use crate::api::Api;
use crate::api::problem::Problem;
use crate::api::tail::{Audience, stream as stream_of};
use crate::clock;
use crate::dispatch::tail::Wanted;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::{Asked, Form};
use crate::ui::base::sessions::Ended;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::{Visit, Who};

/// After this long the browser asks anew, and the session is looked at again.
const LONGEST: Duration = Duration::from_secs(3600);
/// More than that nobody reads, and making it would cost more than delivering it.
const MOST_PER_SECOND: u32 = 100;
const NAMES: [&str; 4] = ["tenant", "endpoint", "type", "source"];
/// Those that customers have.
const FOR_CUSTOMERS: [&str; 2] = ["endpoint", "type"];

#[derive(Template)]
#[template(path = "tail.html")]
struct Page {
    shell: Shell,
    filters: Vec<(&'static str, String)>,
    /// Where the script listens.
    stream: String,
    faults: Vec<String>,
}

/// `GET …/tail`
pub async fn show(
    State(_): State<Arc<Api>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let (_, faults) = wanted(&asked, &visit);
    let names = match visit.view.can.operate {
        true => &NAMES[..],
        false => &FOR_CUSTOMERS[..],
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for name in names {
        if let Some(value) = asked.text(name) {
            query.append_pair(name, value);
        }
    }
    let page = Page {
        shell: shell(&visit, "/tail", "Live tail"),
        filters: names
            .iter()
            .map(|name| (*name, asked.text(name).unwrap_or_default().to_owned()))
            .collect(),
        stream: visit.path(format_args!("/tail/stream?{}", query.finish())),
        faults,
    };
    html(&page)
}

/// `GET …/tail/stream`: as `GET /v1/tail`, for those who are let in at the pages.
pub async fn stream(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let (wanted, faults) = wanted(&asked, &visit);
    if let Some(fault) = faults.into_iter().next() {
        return Err(Problem::bad_request(fault).into());
    }
    let tail = &api.app().tail;
    let session = visit.session;
    match visit.who {
        None => Err(Failed::forbidden("log in first")),
        Some(Who::Operator(caller)) => {
            let ended = until(session, caller.refused());
            Ok(stream_of(tail, wanted, Audience::Operator, ended)?)
        }
        Some(Who::Guest(link)) => {
            let place = link.tail_place().ok_or_else(too_many)?;
            let ended = async move {
                until(session, link.ended()).await;
                drop(place);
            };
            Ok(stream_of(tail, wanted, Audience::Tenant, ended)?)
        }
    }
}

/// Waits until the session ends, or what admitted its visitor.
async fn until(session: Option<Ended>, refused: impl Future<Output = ()>) {
    let session_ended = async {
        match session {
            Some(session) => session.wait().await,
            // A page that is open to everybody has none, and so has a token.
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = refused => {}
        () = session_ended => {}
        () = tokio::time::sleep(LONGEST) => {}
    }
}

fn too_many() -> Failed {
    let detail = "too many live tails are open with this link; close one";
    Failed::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", detail)
}

fn wanted(asked: &Form, visit: &Visit) -> (Wanted, Vec<String>) {
    let mut filters = Filters::new(asked, clock::now(), visit.view.tenant.as_ref());
    let wanted = Wanted {
        tenant: filters.tenant(),
        endpoint: filters.read("endpoint"),
        event_type: filters.pattern("type"),
        source: asked
            .text("source")
            .filter(|_| visit.view.can.operate)
            .map(str::to_owned),
        most_per_second: Some(MOST_PER_SECOND),
    };
    (wanted, filters.faults)
}
