//! The live tail: a page, and the stream that its script follows.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::filters::Filters;
use super::guard::COOKIE;
use super::page::shell;
use super::state::Operator;
use crate::api;
use crate::api::problem::Problem;
use crate::clock;
use crate::dispatch::tail::Wanted;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::{Asked, Form};
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;

/// After this long the browser asks anew, and the session is looked at again.
const LONGEST: Duration = Duration::from_secs(3600);
const NAMES: [&str; 4] = ["tenant", "endpoint", "type", "source"];

#[derive(Template)]
#[template(path = "tail.html")]
struct Page {
    shell: Shell,
    filters: Vec<(&'static str, String)>,
    /// Where the script listens.
    stream: String,
    faults: Vec<String>,
}

/// `GET /ui/tail`
pub async fn show(
    State(_): State<Arc<Operator>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let (_, faults) = wanted(&asked);
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for name in NAMES {
        if let Some(value) = asked.text(name) {
            query.append_pair(name, value);
        }
    }
    let page = Page {
        shell: shell(&visit, "/tail", "Live tail"),
        filters: NAMES
            .map(|name| (name, asked.text(name).unwrap_or_default().to_owned()))
            .to_vec(),
        stream: format!("/ui/tail/stream?{}", query.finish()),
        faults,
    };
    html(&page)
}

/// `GET /ui/tail/stream`: as `GET /v1/tail`, for those who are let in at the pages, until the session
/// ends.
pub async fn stream(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    headers: HeaderMap,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let (wanted, faults) = wanted(&asked);
    if let Some(fault) = faults.into_iter().next() {
        return Err(Problem::bad_request(fault).into());
    }
    let caller = visit.caller.clone();
    let caller = caller.ok_or_else(|| Failed::forbidden("log in first"))?;
    let cookie = visit.site.cookie(COOKIE, &headers);
    let session = cookie.and_then(|cookie| operator.sessions.ended(cookie));
    let ended = async move {
        let session_ended = async {
            match session {
                Some(session) => session.wait().await,
                // A page that is open to everybody has none.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = caller.refused() => {}
            () = session_ended => {}
            () = tokio::time::sleep(LONGEST) => {}
        }
    };
    Ok(api::tail::stream(&operator.app().tail, wanted, ended)?)
}

fn wanted(asked: &Form) -> (Wanted, Vec<String>) {
    let mut filters = Filters::new(asked, clock::now());
    let wanted = Wanted {
        tenant: filters.read("tenant"),
        endpoint: filters.read("endpoint"),
        event_type: filters.pattern("type"),
        source: asked.text("source").map(str::to_owned),
    };
    (wanted, filters.faults)
}
