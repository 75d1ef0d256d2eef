//! The paths, and what every request passes on its way to them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::Method;
use tower_service::Service;

use super::access::{Access, Arrival, Caller, Peer};
use super::acted::{self, Act};
use super::problem::{Kind, Problem};
use super::{
    Api, attempts, backup, bulk, deliveries, diagnosis, endpoints, events, explain, jobs, logins,
    metrics, openapi, portal, preview, secrets, sources, stats, status, tail,
};
use crate::server::connection::{MAX_HEAD, head_size};

/// All paths of the API.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/events", get(events::list).post(events::post))
        // GET reads an event by its id; POST takes an opaque event of a type.
        .route(
            "/v1/events/{name}",
            get(events::show)
                .post(events::post_opaque)
                .delete(events::erase),
        )
        .route(
            "/v1/events/{name}/deliveries/{endpoint}",
            get(deliveries::show),
        )
        .route(
            "/v1/events/{name}/deliveries/{endpoint}/retry",
            post(deliveries::retry),
        )
        .route(
            "/v1/events/{name}/deliveries/{endpoint}/cancel",
            post(deliveries::cancel),
        )
        .route(
            "/v1/events/{name}/deliveries/{endpoint}/explain",
            get(explain::explain),
        )
        .route("/v1/deliveries", get(deliveries::list))
        .route(
            "/v1/endpoints",
            get(endpoints::list).post(endpoints::create),
        )
        .route(
            "/v1/endpoints/{id}",
            get(endpoints::show)
                .patch(endpoints::change)
                .delete(endpoints::delete),
        )
        .route("/v1/endpoints/{id}/secret", get(secrets::show))
        .route("/v1/endpoints/{id}/rotate", post(secrets::rotate))
        .route("/v1/endpoints/{id}/test", post(endpoints::test))
        .route("/v1/endpoints/{id}/diagnose", post(diagnosis::diagnose))
        .route("/v1/endpoints/{id}/render", post(preview::render))
        .route("/v1/filters/test", post(preview::test_filter))
        .route("/v1/endpoints/{id}/replay", post(bulk::replay))
        .route("/v1/endpoints/{id}/purge", post(bulk::purge))
        .route("/v1/endpoints/{id}/enable", post(endpoints::enable))
        .route("/v1/endpoints/{id}/disable", post(endpoints::disable))
        .route("/v1/sources", get(sources::list).post(sources::create))
        .route(
            "/v1/sources/{id}",
            get(sources::show)
                .patch(sources::change)
                .delete(sources::delete),
        )
        .route("/v1/sources/{id}/rotate", post(sources::rotate))
        .route("/v1/sources/{id}/test", post(sources::test))
        .route("/v1/attempts", get(attempts::list))
        .route("/v1/endpoints/{id}/stats", get(stats::of_endpoint))
        .route("/v1/stats", get(stats::of_tenant))
        .route("/v1/jobs", get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::show).delete(jobs::cancel))
        .route("/v1/tail", get(tail::tail))
        .merge(links())
        .route("/v1/backup", get(backup::backup))
        .route("/v1/status", get(status::status))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::openapi))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(api)
}

/// The paths of links that let people in at the pages.
fn links() -> Router<Arc<Api>> {
    Router::new()
        .route("/v1/logins", post(logins::create))
        .route("/v1/portal/links", post(portal::create).delete(portal::end))
}

/// What answers requests for pages, which have logins of their own.
pub trait Pages: Send + Sync {
    /// Whether a request is for a page.
    fn take(&self, request: &Request) -> bool;

    /// Answers a request for a page.
    fn answer(&self, arrival: Arrival, request: Request) -> Answered;
}

/// An answer that is on its way.
pub type Answered = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Answers one request of a connection.
pub(super) async fn answer(
    mut router: Router,
    api: Arc<Api>,
    pages: Option<Arc<dyn Pages>>,
    arrival: Arrival,
    mut request: Request,
) -> Response {
    if let Some(pages) = pages.filter(|pages| pages.take(&request)) {
        return pages.answer(arrival, request).await;
    }
    let admitted = admit(&api.rules().access, arrival.peer, &request);
    match admitted {
        Ok(caller) => {
            let act = Act::of(request.method(), request.uri().path());
            // Only the response to a read, or to a diagnosis, can take long; and a link is its maker's.
            let path = request.uri().path();
            let is_kept = acted::is_diagnosis(path) || [logins::PATH, portal::PATH].contains(&path);
            if request.method() == Method::GET || is_kept {
                request.extensions_mut().insert(caller.clone());
            }
            let Ok(response) = router.call(request).await;
            if let Some(act) = act {
                act.answered(&caller, &response);
            }
            response
        }
        Err(problem) => problem.into_response(),
    }
}

/// The one check before every path: header size, host, origin and token.
fn admit(access: &Access, peer: Peer, request: &Request) -> Result<Caller, Problem> {
    if head_size(request) > MAX_HEAD {
        return Err(Problem::new(
            Kind::HeadersTooLarge,
            format!("the request line and headers are over {MAX_HEAD} bytes"),
        ));
    }
    access.judge(peer, request)
}

async fn no_such_path(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    Problem::new(Kind::NotFound, format!("there is nothing at {path}"))
}

/// The router adds the `Allow` header.
async fn wrong_method(method: Method, request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    let detail = format!("{path} does not take {method}; the Allow header names what it takes");
    Problem::new(Kind::MethodNotAllowed, detail)
}
