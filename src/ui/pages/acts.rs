//! What can be done to one endpoint, event or delivery. Each act is what the API does, logged by the
//! same function, and ends with the page that shows the result.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::page::{go, shell};
use crate::api::Api;
use crate::api::acted::{Way, log};
use crate::api::path::{self, parse_name};
use crate::api::problem::Problem;
use crate::app::MAX_OVERLAP;
use crate::domain::diagnosis::StepStatus;
use crate::domain::endpoint::{EndpointId, Source};
use crate::domain::event::EventId;
use crate::domain::units::parse_duration;
use crate::domain::when;
use crate::outbox::TestEvent;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Form;
use crate::ui::base::names::Names;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;
use crate::ui::views::badge::Badge;
use crate::ui::views::delivery;

type Answer = Result<Response, Failed>;

/// A question before something that cannot be taken back.
#[derive(Template)]
#[template(path = "confirm.html")]
pub struct Confirm {
    pub shell: Shell,
    pub text: String,
    /// Where the answer goes.
    pub action: String,
    pub button: &'static str,
    pub back: String,
}

/// The page of an endpoint.
fn of_endpoint(visit: &Visit, id: &EndpointId) -> String {
    visit.path(format_args!("/endpoints/{id}"))
}

/// `POST …/endpoints/{id}/enable`
pub async fn enable(State(api): State<Arc<Api>>, visit: Visit, Names(id): Names<String>) -> Answer {
    let id: EndpointId = parse_name(&id)?;
    api.app().endpoints.enable(id.clone()).await?;
    log("endpoint.enable", id.as_str(), visit.by(), Way::Page);
    go(&of_endpoint(&visit, &id), "enabled")
}

/// `POST …/endpoints/{id}/disable`
pub async fn disable(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Answer {
    let id: EndpointId = parse_name(&id)?;
    api.app().endpoints.disable(id.clone()).await?;
    log("endpoint.disable", id.as_str(), visit.by(), Way::Page);
    go(&of_endpoint(&visit, &id), "disabled")
}

/// `POST …/endpoints/{id}/test`: leads to the delivery of the test event.
pub async fn test(State(api): State<Arc<Api>>, visit: Visit, Names(id): Names<String>) -> Answer {
    let id: EndpointId = parse_name(&id)?;
    let event = api
        .app()
        .endpoints
        .test(id.clone(), TestEvent::default())
        .await?;
    log("endpoint.test", id.as_str(), visit.by(), Way::Page);
    go(
        &delivery::path(visit.base(), &event.to_string(), id.as_str()),
        "tested",
    )
}

#[derive(Template)]
#[template(path = "secret.html")]
pub struct SecretPage {
    pub shell: Shell,
    pub secret: String,
    /// What the secret is.
    pub label: &'static str,
    pub back: String,
}

/// `POST …/endpoints/{id}/secret`: shows the secret; of a key of Ed25519 its public part alone.
pub async fn secret(State(api): State<Arc<Api>>, visit: Visit, Names(id): Names<String>) -> Answer {
    let id: EndpointId = parse_name(&id)?;
    own(&api, &visit, &id).await?;
    let secret = api.app().endpoints.secret(id.clone()).await?;
    log("endpoint.secret", id.as_str(), visit.by(), Way::Page);
    let (label, text) = match secret.public_key() {
        Some(key) => ("The public key", key.to_string()),
        None => ("The signing secret", secret.reveal()),
    };
    let page = SecretPage {
        shell: shell(&visit, "/endpoints", format!("Secret of {id}")),
        secret: text,
        label,
        back: of_endpoint(&visit, &id),
    };
    html(&page)
}

/// Refuses what a customer may not do with an endpoint that the operator has set up.
async fn own(api: &Api, visit: &Visit, id: &EndpointId) -> Result<(), Failed> {
    let (endpoint, _) = api.app().endpoints.find(id.clone()).await?;
    match endpoint.source == Source::Toml && !visit.view.sight.setup {
        true => Err(Failed::forbidden(
            "this endpoint was set up by the operator, who keeps its secret",
        )),
        false => Ok(()),
    }
}

/// `POST …/endpoints/{id}/rotate`
pub async fn rotate(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
    form: Form,
) -> Answer {
    let id: EndpointId = parse_name(&id)?;
    own(&api, &visit, &id).await?;
    let overlap = overlap(&form)?;
    api.app().endpoints.rotate(id.clone(), overlap).await?;
    log("endpoint.rotate", id.as_str(), visit.by(), Way::Page);
    go(&of_endpoint(&visit, &id), "rotated")
}

/// How long the secrets before a new one count; `None` if the form does not say.
pub fn overlap(form: &Form) -> Result<Option<std::time::Duration>, Failed> {
    let Some(text) = form.text("overlap") else {
        return Ok(None);
    };
    let span = parse_duration(text).map_err(|bad| format!("{}; {}", bad.problem(), bad.fix()));
    let span = span.and_then(|span| match span <= MAX_OVERLAP {
        true => Ok(span),
        false => Err(format!("at most {}", when::span(MAX_OVERLAP))),
    });
    let span = span.map_err(|why| Problem::bad_request(format!("overlap: {why}")))?;
    Ok(Some(span))
}

#[derive(Template)]
#[template(path = "diagnosis.html")]
struct DiagnosisPage {
    shell: Shell,
    id: String,
    verdict: Badge,
    steps: Vec<StepShown>,
}

struct StepShown {
    name: &'static str,
    badge: Badge,
    took: String,
    detail: String,
    hint: Option<String>,
}

/// `POST …/endpoints/{id}/diagnose`: looks how far a request comes, and sends nothing.
pub async fn diagnose(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Answer {
    let id: EndpointId = parse_name(&id)?;
    let known = api.app().endpoints.find(id.clone()).await?;
    let found = api.app().doctor.diagnose(known, false, |_| {}).await;
    let steps = found.steps.iter();
    let page = DiagnosisPage {
        shell: shell(&visit, "/endpoints", format!("Diagnosis of {id}")),
        id: id.to_string(),
        verdict: match found.is_ok() {
            true => Badge::good("a request would get there"),
            false => Badge::bad("a request would not get there"),
        },
        steps: steps
            .map(|step| StepShown {
                name: step.name.as_str(),
                badge: match step.status {
                    StepStatus::Failed => Badge::bad(step.status.as_str()),
                    StepStatus::Ok => Badge::good(step.status.as_str()),
                    _ => Badge::warn(step.status.as_str()),
                },
                took: when::span(step.took),
                detail: step.detail.to_string(),
                hint: step.hint.as_ref().map(ToString::to_string),
            })
            .collect(),
    };
    html(&page)
}

/// `GET …/endpoints/{id}/delete`
pub async fn confirm_delete(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Answer {
    let id: EndpointId = parse_name(&id)?;
    let (_, state) = api.app().endpoints.find(id.clone()).await?;
    let open = state.pending.saturating_add(state.held);
    let page = Confirm {
        shell: shell(&visit, "/endpoints", format!("Delete {id}?")),
        text: format!(
            "Nothing reaches {id} from then on, and it cannot be brought back. {open} open deliveries \
             become dead."
        ),
        action: format!("{}/delete", of_endpoint(&visit, &id)),
        button: "Delete the endpoint",
        back: of_endpoint(&visit, &id),
    };
    html(&page)
}

/// `POST …/endpoints/{id}/delete`
pub async fn delete(State(api): State<Arc<Api>>, visit: Visit, Names(id): Names<String>) -> Answer {
    let id: EndpointId = parse_name(&id)?;
    api.app().endpoints.delete(id.clone()).await?;
    log("endpoint.delete", id.as_str(), visit.by(), Way::Page);
    go(&visit.path("/endpoints"), "deleted")
}

/// `GET …/events/{id}/erase`
pub async fn confirm_erase(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(id): Names<String>,
) -> Answer {
    let id: EventId = parse_name(&id)?;
    api.app().events.show(id, |_| ()).await?;
    let page = Confirm {
        shell: shell(&visit, "/events", "Erase the event?"),
        text: format!(
            "Nobody can read the body, headers and attempts of {id} from then on; what is pending is \
             cancelled. The bytes are gone from the disk within 24 hours. It cannot be taken back."
        ),
        action: visit.path(format_args!("/events/{id}/erase")),
        button: "Erase the event",
        back: visit.path(format_args!("/events/{id}")),
    };
    html(&page)
}

/// `POST …/events/{id}/erase`
pub async fn erase(State(api): State<Arc<Api>>, visit: Visit, Names(id): Names<String>) -> Answer {
    let id: EventId = parse_name(&id)?;
    api.app().events.erase(id).await?;
    log("event.erase", &id.to_string(), visit.by(), Way::Page);
    go(&visit.path("/events"), "erased")
}

/// `POST …/events/{id}/deliveries/{endpoint}/retry`
pub async fn retry(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(names): Names<(String, String)>,
) -> Answer {
    let (event, endpoint) = path::delivery(names)?;
    api.app().deliveries.retry(event, endpoint.clone()).await?;
    log(
        "delivery.retry",
        &format!("{event}/{endpoint}"),
        visit.by(),
        Way::Page,
    );
    go(
        &delivery::path(visit.base(), &event.to_string(), endpoint.as_str()),
        "retried",
    )
}

/// `POST …/events/{id}/deliveries/{endpoint}/cancel`
pub async fn cancel(
    State(api): State<Arc<Api>>,
    visit: Visit,
    Names(names): Names<(String, String)>,
) -> Answer {
    let (event, endpoint) = path::delivery(names)?;
    api.app().deliveries.cancel(event, endpoint.clone()).await?;
    log(
        "delivery.cancel",
        &format!("{event}/{endpoint}"),
        visit.by(),
        Way::Page,
    );
    go(
        &delivery::path(visit.base(), &event.to_string(), endpoint.as_str()),
        "cancelled",
    )
}
