//! Dead letters, by endpoint and reason.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::page::shell;
use crate::api::Api;
use crate::app::{App, CAUSES_OF, DeadOfEndpoint};
use crate::clock;
use crate::domain::attempt::ErrorKind;
use crate::domain::delivery::Reason;
use crate::domain::time::Timestamp;
use crate::outbox::Cause;
use crate::ui::base::failed::Failed;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::badge::reason;
use crate::ui::views::endpoint::name_of_id;
use crate::ui::views::moment::Moment;

/// Endpoints that are shown: those with the most dead letters.
const MOST: usize = 25;

#[derive(Template)]
#[template(path = "dead.html")]
struct Page {
    shell: Shell,
    endpoints: Vec<Group>,
    more: bool,
    /// How many of each endpoint were asked for their causes.
    looked_at: usize,
    /// All of them, also those of endpoints that are gone.
    total: u64,
}

struct Group {
    id: String,
    tenant: String,
    dead: u64,
    name: Option<String>,
    causes: Vec<(String, u64)>,
    newest: Option<Moment>,
}

/// `GET …/dead`
pub async fn show(State(api): State<Arc<Api>>, visit: Visit) -> Result<Response, Failed> {
    let now = clock::now();
    let tenant = visit.view.tenant.clone();
    let of_one = tenant.is_some();
    let (endpoints, more) = api.app().health.with_dead(tenant, MOST).await?;
    let total = match of_one {
        // Those of endpoints that are gone are in the list of deliveries alone.
        true => endpoints.iter().map(|one| one.dead).sum(),
        false => api.app().monitor.status().await?.outbox.deliveries.dead,
    };
    let page = Page {
        shell: shell(&visit, "/dead", "Dead letters"),
        endpoints: endpoints
            .into_iter()
            .map(|one| group(one, api.app(), now))
            .collect(),
        looked_at: CAUSES_OF,
        more,
        total,
    };
    html(&page)
}

fn group(dead: DeadOfEndpoint, app: &App, now: Timestamp) -> Group {
    let counted = dead.causes.counted.into_iter();
    Group {
        name: name_of_id(app, &dead.id),
        id: dead.id.to_string(),
        tenant: dead.tenant.to_string(),
        dead: dead.dead,
        causes: counted.map(|(why, count)| (cause(why), count)).collect(),
        newest: dead
            .causes
            .newest
            .map(|event| Moment::new(event.timestamp(), now)),
    }
}

/// What an operator looks for first: how the last attempt failed, before that outboxd gave up.
fn cause(cause: Cause) -> String {
    let failed = match cause.failed {
        Some((ErrorKind::Status, Some(status))) => format!("answered {status}"),
        Some((kind, _)) => format!("{}: {}", kind.as_str(), kind.sentence()),
        None => return reason(cause.reason).to_owned(),
    };
    match cause.reason {
        Reason::Exhausted => failed,
        other => format!("{failed}; {}", reason(other)),
    }
}
