//! The paths of the operator's pages, and what every response has.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use tower_service::Service;

use super::guard::{Admitted, LOGIN, Refused, admit};
use super::page::{BASE, KIND, shell};
use super::state::Operator;
use super::{
    acts, bulk, dead, deliveries, edit, endpoint, endpoints, event, events, jobs, login, overview,
    preview, send, source, source_edit, sources, status, tail, tester,
};
use crate::api::access::Arrival;
use crate::api::{Answered, Pages};
use crate::ui::base::assets::assets;
use crate::ui::base::failed::Failed;
use crate::ui::base::headers::secure;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::visit::Visit;

#[derive(Template)]
#[template(path = "failed.html")]
struct FailedPage {
    shell: Shell,
    failed: Failed,
}

/// What answers requests for the operator's pages.
pub fn pages(operator: Arc<Operator>) -> Arc<dyn Pages> {
    let router = router(operator.clone());
    Arc::new(OperatorPages { operator, router })
}

struct OperatorPages {
    operator: Arc<Operator>,
    router: Router,
}

impl Pages for OperatorPages {
    fn take(&self, request: &Request) -> bool {
        is_below(request.uri().path()) || leads_here(request)
    }

    fn answer(&self, arrival: Arrival, request: Request) -> Answered {
        let (operator, router) = (self.operator.clone(), self.router.clone());
        Box::pin(async move {
            let mut response = match is_below(request.uri().path()) {
                true => answer(&operator, router, arrival, request).await,
                false => way_here(),
            };
            secure(&mut response);
            response
        })
    }
}

fn is_below(path: &str) -> bool {
    let below = path.strip_prefix(BASE);
    below.is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a browser has gone to the daemon without naming a page.
fn leads_here(request: &Request) -> bool {
    let wants_page = || {
        let accept = request.headers().get(header::ACCEPT);
        accept.is_some_and(|kinds| {
            kinds
                .to_str()
                .is_ok_and(|kinds| kinds.contains("text/html"))
        })
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        BASE => reads,
        "/" => reads && wants_page(),
        _ => false,
    }
}

fn way_here() -> Response {
    let place = HeaderValue::from_static("/ui/");
    (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
}

async fn answer(
    operator: &Operator,
    mut router: Router,
    arrival: Arrival,
    request: Request,
) -> Response {
    if let Some(asset) = assets().answer(BASE, &request) {
        return asset;
    }
    let is_head = *request.method() == Method::HEAD;
    let Admitted {
        mut request,
        visit,
        cookie,
    } = match admit(operator, arrival, request).await {
        Ok(admitted) => admitted,
        Err(Refused::Answered(response)) => return response,
        Err(Refused::Failed(failed)) => {
            let shell = Shell::outside(&KIND, failed.title);
            return failed_page(FailedPage { shell, failed });
        }
    };
    request.extensions_mut().insert(visit.clone());
    let Ok(mut response) = router.call(request).await;
    if let Some(failed) = response.extensions_mut().remove::<Failed>() {
        let page = FailedPage {
            shell: shell(&visit, "", failed.title),
            failed,
        };
        response = failed_page(page);
    }
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    if is_head {
        *response.body_mut() = Body::empty();
    }
    response
}

fn failed_page(page: FailedPage) -> Response {
    let mut response = html(&page).unwrap_or_else(IntoResponse::into_response);
    *response.status_mut() = page.failed.status;
    if let Some(seconds) = page.failed.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn router(operator: Arc<Operator>) -> Router {
    Router::new()
        .route(LOGIN, get(login::show).post(login::log_in))
        .route("/ui/logout", post(login::log_out))
        .route("/ui/", get(overview::show))
        .route("/ui/dead", get(dead::show))
        .route("/ui/deliveries", get(deliveries::list))
        .route("/ui/jobs", get(jobs::list))
        .route("/ui/jobs/{id}", get(jobs::show))
        .route("/ui/jobs/{id}/cancel", post(jobs::cancel))
        .route("/ui/send", get(send::show).post(send::send))
        .route("/ui/status", get(status::show))
        .route("/ui/tail", get(tail::show))
        .route("/ui/tail/stream", get(tail::stream))
        .route("/ui/try", get(tester::show).post(tester::test))
        .merge(of_endpoints())
        .merge(of_events())
        .merge(of_sources())
        .fallback(no_such_page)
        .method_not_allowed_fallback(wrong_method)
        .with_state(operator)
}

fn of_endpoints() -> Router<Arc<Operator>> {
    Router::new()
        .route("/ui/endpoints", get(endpoints::list).post(edit::create))
        .route("/ui/endpoints/new", get(edit::new))
        .route("/ui/endpoints/{id}", get(endpoint::show))
        .route(
            "/ui/endpoints/{id}/edit",
            get(edit::show).post(edit::change),
        )
        .route("/ui/endpoints/{id}/enable", post(acts::enable))
        .route("/ui/endpoints/{id}/disable", post(acts::disable))
        .route("/ui/endpoints/{id}/test", post(acts::test))
        .route("/ui/endpoints/{id}/secret", post(acts::secret))
        .route("/ui/endpoints/{id}/rotate", post(acts::rotate))
        .route("/ui/endpoints/{id}/diagnose", post(acts::diagnose))
        .route(
            "/ui/endpoints/{id}/delete",
            get(acts::confirm_delete).post(acts::delete),
        )
        .route(
            "/ui/endpoints/{id}/preview",
            get(preview::show).post(preview::render),
        )
        .route(
            "/ui/endpoints/{id}/replay",
            get(bulk::replay).post(bulk::replay_now),
        )
        .route(
            "/ui/endpoints/{id}/purge",
            get(bulk::purge).post(bulk::purge_now),
        )
}

fn of_events() -> Router<Arc<Operator>> {
    Router::new()
        .route("/ui/events", get(events::list))
        .route("/ui/events/{id}", get(event::show))
        .route("/ui/events/{id}/body", get(event::body))
        .route("/ui/events/{id}/why", get(event::why))
        .route(
            "/ui/events/{id}/erase",
            get(acts::confirm_erase).post(acts::erase),
        )
        .route(
            "/ui/events/{id}/deliveries/{endpoint}",
            get(deliveries::show),
        )
        .route(
            "/ui/events/{id}/deliveries/{endpoint}/retry",
            post(acts::retry),
        )
        .route(
            "/ui/events/{id}/deliveries/{endpoint}/cancel",
            post(acts::cancel),
        )
}

fn of_sources() -> Router<Arc<Operator>> {
    Router::new()
        .route("/ui/sources", get(sources::list).post(source_edit::create))
        .route("/ui/sources/new", get(source_edit::new))
        .route("/ui/sources/{id}", get(source::show))
        .route(
            "/ui/sources/{id}/edit",
            get(source_edit::show).post(source_edit::change),
        )
        .route("/ui/sources/{id}/test", post(source::test))
        .route("/ui/sources/{id}/rotate", post(source::rotate))
        .route(
            "/ui/sources/{id}/delete",
            get(source::confirm_delete).post(source::delete),
        )
}

async fn no_such_page(_: Visit) -> Failed {
    Failed::not_found("there is no such page")
}

async fn wrong_method(_: Visit) -> Failed {
    let detail = "this address takes no such request; go back and try it from its page";
    Failed::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", detail)
}
