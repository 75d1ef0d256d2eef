//! The paths of the shared pages, by what a visitor has to be able to do.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use http::StatusCode;

use super::{
    acts, bulk, dead, deliveries, edit, endpoint, endpoints, event, events, jobs, tail, tester,
};
use crate::api::Api;
use crate::ui::base::failed::Failed;
use crate::ui::base::visit::Visit;

type Routes = Router<Arc<Api>>;

/// Pages that show something.
pub fn reading(base: &str) -> Routes {
    let at = |below: &str| format!("{base}{below}");
    Router::new()
        .route(&at("/dead"), get(dead::show))
        .route(&at("/deliveries"), get(deliveries::list))
        .route(&at("/endpoints"), get(endpoints::list))
        .route(&at("/endpoints/{id}"), get(endpoint::show))
        .route(&at("/events"), get(events::list))
        .route(&at("/events/{id}"), get(event::show))
        .route(&at("/events/{id}/body"), get(event::body))
        .route(&at("/events/{id}/why"), get(event::why))
        .route(
            &at("/events/{id}/deliveries/{endpoint}"),
            get(deliveries::show),
        )
        .route(&at("/jobs/{id}"), get(jobs::show))
        .route(&at("/tail"), get(tail::show))
        .route(&at("/tail/stream"), get(tail::stream))
}

/// Pages for those who manage endpoints.
pub fn managing(base: &str) -> Routes {
    let at = |below: &str| format!("{base}{below}");
    Router::new()
        .route(&at("/endpoints"), post(edit::create))
        .route(&at("/endpoints/new"), get(edit::new))
        .route(
            &at("/endpoints/{id}/edit"),
            get(edit::show).post(edit::change),
        )
        .route(&at("/endpoints/{id}/enable"), post(acts::enable))
        .route(&at("/endpoints/{id}/disable"), post(acts::disable))
        .route(&at("/endpoints/{id}/test"), post(acts::test))
        .route(
            &at("/endpoints/{id}/delete"),
            get(acts::confirm_delete).post(acts::delete),
        )
}

/// Pages for those who may have deliveries attempted again, or not at all.
pub fn replaying(base: &str) -> Routes {
    let at = |below: &str| format!("{base}{below}");
    Router::new()
        .route(
            &at("/endpoints/{id}/replay"),
            get(bulk::replay).post(bulk::replay_now),
        )
        .route(
            &at("/events/{id}/deliveries/{endpoint}/retry"),
            post(acts::retry),
        )
        .route(
            &at("/events/{id}/deliveries/{endpoint}/cancel"),
            post(acts::cancel),
        )
        .route(&at("/jobs/{id}/cancel"), post(jobs::cancel))
}

/// Pages for those who may have signing secrets.
pub fn with_secrets(base: &str) -> Routes {
    let at = |below: &str| format!("{base}{below}");
    Router::new()
        .route(&at("/endpoints/{id}/secret"), post(acts::secret))
        .route(&at("/endpoints/{id}/rotate"), post(acts::rotate))
}

/// Pages for the operator.
pub fn operating(base: &str) -> Routes {
    let at = |below: &str| format!("{base}{below}");
    Router::new()
        .route(&at("/endpoints/{id}/diagnose"), post(acts::diagnose))
        .route(
            &at("/endpoints/{id}/purge"),
            get(bulk::purge).post(bulk::purge_now),
        )
        .route(
            &at("/events/{id}/erase"),
            get(acts::confirm_erase).post(acts::erase),
        )
        .route(&at("/jobs"), get(jobs::list))
        .route(&at("/try"), get(tester::show).post(tester::test))
}

/// What is at any other path.
pub async fn no_such_page(_: Visit) -> Failed {
    Failed::not_found("there is no such page")
}

/// What is at a path for another method.
pub async fn wrong_method(_: Visit) -> Failed {
    let detail = "this address takes no such request; go back and try it from its page";
    Failed::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", detail)
}
