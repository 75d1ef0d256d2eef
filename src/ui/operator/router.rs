//! The paths of the operator's pages, and what every response has.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use tower_service::Service;

use super::guard::{LOGIN, admit};
use super::page::{BASE, view};
use super::state::Operator;
use super::{login, overview, preview, reference, send, source, source_edit, sources, status};
use crate::api::access::Arrival;
use crate::api::{Answered, Pages};
use crate::ui::base::admit::{Admitted, Refused};
use crate::ui::base::assets::assets;
use crate::ui::base::failed::Failed;
use crate::ui::base::headers::secure;
use crate::ui::base::shell::{Shell, failed_page};
use crate::ui::pages::page::shell;
use crate::ui::pages::router::{
    managing, no_such_page, operating, reading, replaying, with_secrets, wrong_method,
};

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
            secure(&mut response, &[]);
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
    if let Some(asset) = assets().answer(BASE, &request, []) {
        return asset;
    }
    let is_head = *request.method() == Method::HEAD;
    let Admitted {
        mut request,
        visit,
        cookie,
    } = match admit(operator, arrival, request).await {
        Ok(admitted) => admitted,
        Err(Refused::Answered(response)) => return *response,
        Err(Refused::Failed(failed)) => {
            return failed_page(Shell::outside(&view(), failed.title), failed);
        }
    };
    request.extensions_mut().insert(visit.clone());
    let Ok(mut response) = router.call(request).await;
    if let Some(failed) = response.extensions_mut().remove::<Failed>() {
        response = failed_page(shell(&visit, "", failed.title), failed);
    }
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    if is_head {
        *response.body_mut() = Body::empty();
    }
    response
}

fn router(operator: Arc<Operator>) -> Router {
    let api = operator.api.clone();
    let own = Router::new()
        .route(LOGIN, get(login::show).post(login::log_in))
        .route("/ui/logout", post(login::log_out))
        .route("/ui/", get(overview::show))
        .route("/ui/send", get(send::show).post(send::send))
        .route("/ui/status", get(status::show))
        .route("/ui/api", get(reference::show))
        .route("/ui/api/{object}", get(reference::object))
        .route(
            "/ui/endpoints/{id}/preview",
            get(preview::show).post(preview::render),
        )
        .merge(of_sources())
        .fallback(no_such_page)
        .method_not_allowed_fallback(wrong_method)
        .with_state(operator);
    let shared = [reading, managing, replaying, with_secrets, operating];
    let shared = shared.into_iter().map(|routes| routes(BASE));
    shared.fold(own, |all, routes| all.merge(routes.with_state(api.clone())))
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
