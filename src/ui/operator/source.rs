//! One source: its URL, what came in, what was refused and why, and what can be done to it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::sources::badge;
use super::state::Operator;
use crate::api::acted::{Way, log};
use crate::api::dto;
use crate::api::path::parse_name;
use crate::app::sources::{KnownSource, Origin};
use crate::clock;
use crate::domain::inbound::SourceId;
use crate::domain::time::Timestamp;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Form;
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::pages::acts::{Confirm, SecretPage, overlap};
use crate::ui::pages::page::{go, shell};
use crate::ui::views::badge::Badge;
use crate::ui::views::body::printable;
use crate::ui::views::moment::Moment;

type Answer = Result<Response, Failed>;

#[derive(Template)]
#[template(path = "source.html")]
struct Page {
    shell: Shell,
    id: String,
    badge: Badge,
    url: Option<String>,
    /// It can be changed and removed here.
    is_own: bool,
    accepted: u64,
    duplicate: u64,
    handshakes: u64,
    last_received: Option<Moment>,
    last_handshake: Option<Moment>,
    rejected: Vec<(String, u64)>,
    recent: Vec<Rejected>,
    definition: Vec<(String, String)>,
    tested: Option<TestedShown>,
}

struct Rejected {
    at: Moment,
    remote: String,
    reason: &'static str,
    detail: String,
}

/// What became of a sample.
struct TestedShown {
    badge: Badge,
    events: Vec<String>,
    detail: Option<String>,
}

/// `GET /ui/sources/{id}`
pub async fn show(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Answer {
    let known = operator.app().sources.find(&parse_name(&id)?)?;
    html(&page(&operator, &visit, &known))
}

fn page(operator: &Operator, visit: &Visit, known: &KnownSource) -> Page {
    let now = clock::now();
    let counts = known.tally.counts();
    let moment = |at: Timestamp| Moment::new(at, now);
    let recent = known.tally.recent_rejected().into_iter();
    Page {
        shell: shell(visit, "/sources", known.id().to_string()),
        id: known.id().to_string(),
        badge: badge(known),
        url: operator.app().sources.url_of(known),
        is_own: known.origin != Origin::File,
        accepted: counts.accepted,
        duplicate: counts.duplicate,
        handshakes: counts.handshakes,
        last_received: counts.last_received_at.map(moment),
        last_handshake: counts.last_handshake_at.map(moment),
        rejected: counts.rejected.into_iter().collect(),
        recent: recent
            .map(|call| Rejected {
                at: moment(call.at),
                remote: call.remote.to_string(),
                reason: call.reason,
                detail: printable(&call.detail),
            })
            .collect(),
        definition: definition(known),
        tested: None,
    }
}

/// The definition as the API shows it, its secrets masked.
fn definition(known: &KnownSource) -> Vec<(String, String)> {
    let shown = serde_json::to_value(dto::source::Source::in_list(known, None));
    let Ok(Value::Object(fields)) = shown else {
        return Vec::new();
    };
    let elsewhere = [
        "id",
        "url",
        "counts",
        "last_received_at",
        "last_handshake_at",
    ];
    let is_said = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    let fields = fields.into_iter();
    let fields =
        fields.filter(|(name, value)| !elsewhere.contains(&name.as_str()) && is_said(value));
    fields
        .map(|(name, value)| match value {
            Value::String(text) => (name, text),
            other => (name, other.to_string()),
        })
        .collect()
}

/// `POST /ui/sources/{id}/test`: sends a sample as the provider would.
pub async fn test(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Answer {
    let id: SourceId = parse_name(&id)?;
    let tested = operator.app().sources.test(&id, None).await?;
    log("source.test", &id.to_string(), visit.by(), Way::Page);
    let known = operator.app().sources.find(&id)?;
    let mut page = page(&operator, &visit, &known);
    let status = tested.status;
    let refused = tested
        .refused
        .map(|(reason, detail)| format!("{reason}: {detail}"));
    page.tested = Some(TestedShown {
        badge: match refused {
            None => Badge::good(format!("the provider would be answered {status}")),
            Some(_) => Badge::bad(format!("the provider would be answered {status}")),
        },
        events: tested.events.iter().map(ToString::to_string).collect(),
        detail: refused,
    });
    html(&page)
}

/// `POST /ui/sources/{id}/rotate`: a secret that was made here is shown, for once.
pub async fn rotate(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
    form: Form,
) -> Answer {
    let id: SourceId = parse_name(&id)?;
    let secret = form.text("secret").map(str::to_owned);
    let (_, made) = operator
        .app()
        .sources
        .rotate(&id, secret, overlap(&form)?)
        .await?;
    log("source.rotate", &id.to_string(), visit.by(), Way::Page);
    let back = format!("/ui/sources/{id}");
    match made {
        None => go(&back, "source-rotated"),
        Some(secret) => html(&SecretPage {
            shell: shell(&visit, "/sources", format!("New secret of {id}")),
            secret,
            label: "The new secret, shown this once: give it to the provider",
            back,
        }),
    }
}

/// `GET /ui/sources/{id}/delete`
pub async fn confirm_delete(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Answer {
    let known = operator.app().sources.find(&parse_name(&id)?)?;
    let id = known.id();
    let page = Confirm {
        shell: shell(&visit, "/sources", format!("Remove {id}?")),
        text: format!(
            "Calls to {id} are answered 404 from then on. What came in stays. It cannot be taken back."
        ),
        action: format!("/ui/sources/{id}/delete"),
        button: "Remove the source",
        back: format!("/ui/sources/{id}"),
    };
    html(&page)
}

/// `POST /ui/sources/{id}/delete`
pub async fn delete(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Answer {
    let id: SourceId = parse_name(&id)?;
    operator.app().sources.remove(&id).await?;
    log("source.delete", &id.to_string(), visit.by(), Way::Page);
    go("/ui/sources", "source-deleted")
}
