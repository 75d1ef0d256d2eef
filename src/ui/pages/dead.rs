//! Dead letters, by endpoint and reason.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::page::shell;
use crate::api::Api;
use crate::app::DeadOfEndpoint;
use crate::clock;
use crate::domain::time::Timestamp;
use crate::ui::base::failed::Failed;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::badge::reason;
use crate::ui::views::moment::Moment;

/// Endpoints that are shown: those with the most dead letters.
const MOST: usize = 25;

#[derive(Template)]
#[template(path = "dead.html")]
struct Page {
    shell: Shell,
    endpoints: Vec<Group>,
    more: bool,
    /// All of them, also those of endpoints that are gone.
    total: u64,
}

struct Group {
    id: String,
    tenant: String,
    dead: u64,
    reasons: Vec<(&'static str, u64)>,
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
        endpoints: endpoints.into_iter().map(|one| group(one, now)).collect(),
        more,
        total,
    };
    html(&page)
}

fn group(dead: DeadOfEndpoint, now: Timestamp) -> Group {
    let counted = dead.reasons.counted.into_iter();
    Group {
        id: dead.id.to_string(),
        tenant: dead.tenant.to_string(),
        dead: dead.dead,
        reasons: counted.map(|(why, count)| (reason(why), count)).collect(),
        newest: dead
            .reasons
            .newest
            .map(|event| Moment::new(event.timestamp(), now)),
    }
}
