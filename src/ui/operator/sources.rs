//! The list of sources.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::state::Operator;
use crate::app::sources::KnownSource;
use crate::clock;
use crate::domain::event::Tenant;
use crate::domain::inbound::SourceId;
use crate::domain::time::Timestamp;
use crate::outbox::Page as Listed;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Asked;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::pages::filters::{Filters, ROWS};
use crate::ui::pages::page::shell;
use crate::ui::views::badge::Badge;
use crate::ui::views::moment::Moment;

const PATH: &str = "/ui/sources";

#[derive(Template)]
#[template(path = "sources.html")]
struct Page {
    shell: Shell,
    faults: Vec<String>,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    id: String,
    tenant: String,
    badge: Badge,
    accepted: u64,
    rejected: u64,
    last: Option<Moment>,
}

/// `GET /ui/sources`
pub async fn list(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Asked(asked): Asked,
) -> Result<Response, Failed> {
    let now = clock::now();
    let mut filters = Filters::new(&asked, now, None);
    let tenant: Option<Tenant> = filters.read("tenant");
    let after: Option<SourceId> = filters.read("cursor");
    let shown = move |page: Listed<Arc<KnownSource>>| {
        let rows: Vec<Row> = page.items.iter().map(|known| row(known, now)).collect();
        (rows, page.next)
    };
    let (rows, next) = operator
        .app()
        .sources
        .list(tenant, after, ROWS, shown)
        .await?;
    let page = Page {
        shell: shell(&visit, "/sources", "Sources"),
        next: filters.next(PATH, &["tenant"], next.as_ref()),
        faults: filters.faults,
        rows,
    };
    html(&page)
}

fn row(known: &KnownSource, now: Timestamp) -> Row {
    let counts = known.tally.counts();
    Row {
        id: known.id().to_string(),
        tenant: known.source.tenant.to_string(),
        badge: badge(known),
        accepted: counts.accepted,
        rejected: counts.rejected.values().sum(),
        last: counts.last_received_at.map(|at| Moment::new(at, now)),
    }
}

/// How a source does, in a word.
pub fn badge(known: &KnownSource) -> Badge {
    let counts = known.tally.counts();
    match (known.source.enabled, counts.accepted) {
        (false, _) => Badge::warn("disabled"),
        (true, _) if known.source.verifies_nothing() => Badge::warn("verifies nothing"),
        (true, 0) if !counts.rejected.is_empty() => Badge::bad("every call was refused"),
        (true, 0) => Badge::plain("nothing has come in"),
        (true, _) => Badge::good("receiving"),
    }
}
