//! The paths of the portal, what each of them demands of a link, and what every response has.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use tower_service::Service;

use super::enter;
use super::guard::admit;
use super::page::{BASE, ENTER, HOME, view};
use super::state::{Look, Portal};
use crate::api::access::{Access, Arrival};
use crate::api::{Answered, Pages};
use crate::server::remote::Remote;
use crate::ui::base::admit::{Admitted, Refused};
use crate::ui::base::assets::assets;
use crate::ui::base::failed::Failed;
use crate::ui::base::headers::secure;
use crate::ui::base::shell::{Shell, failed_page};
use crate::ui::base::site::Site;
use crate::ui::base::view::Can;
use crate::ui::base::visit::Visit;
use crate::ui::pages::page::shell;
use crate::ui::pages::router::{
    managing, no_such_page, reading, replaying, with_secrets, wrong_method,
};

/// The portal, as listeners serve it.
#[derive(Clone)]
pub struct PortalPages {
    portal: Arc<Portal>,
    router: Router,
}

impl PortalPages {
    pub fn new(portal: Arc<Portal>) -> PortalPages {
        let router = router(portal.clone());
        PortalPages { portal, router }
    }

    /// Whether a path is one of the portal's.
    pub fn has(path: &str) -> bool {
        let below = path.strip_prefix(BASE);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers a request that came to the public listener, where any `Host` is taken.
    pub async fn answer_public(self, request: Request, remote: Remote) -> Response {
        let site = Site::of_remote(remote, &request);
        self.respond(Ok(site), request).await
    }

    async fn respond(self, site: Result<Site, Failed>, request: Request) -> Response {
        let look = self.portal.look();
        let https = site.as_ref().is_ok_and(|site| site.https);
        let mut response = match site {
            Ok(site) => answer(&self.portal, &look, self.router, site, request).await,
            Err(failed) => {
                let shell = Shell::outside(&view(&look, None), failed.title);
                failed_page(shell, failed)
            }
        };
        let frames = match https {
            true => &look.frame_ancestors[..],
            false => &[],
        };
        secure(&mut response, frames);
        response
    }
}

impl Pages for PortalPages {
    fn take(&self, request: &Request) -> bool {
        PortalPages::has(request.uri().path())
    }

    fn answer(&self, arrival: Arrival, request: Request) -> Answered {
        let pages = self.clone();
        let judge = |access: &Access| access.judge_host(arrival.peer, &request);
        let judged = self.portal.api.with_access(judge).map_err(Failed::from);
        let site = judged.map(|()| Site::of(arrival, &request, &self.portal.proxies));
        Box::pin(async move { pages.respond(site, request).await })
    }
}

async fn answer(
    portal: &Portal,
    look: &Look,
    mut router: Router,
    site: Site,
    request: Request,
) -> Response {
    let brand = &look.brand;
    let own = [&brand.logo, &brand.style].into_iter().flatten();
    if let Some(asset) = assets().answer(BASE, &request, own) {
        return asset;
    }
    if request.uri().path() == BASE {
        let place = HeaderValue::from_static(HOME);
        return (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response();
    }
    let is_head = *request.method() == Method::HEAD;
    let admitted = admit(portal, look, site, request).await;
    let Admitted {
        mut request, visit, ..
    } = match admitted {
        Ok(admitted) => admitted,
        Err(Refused::Answered(response)) => return framed(*response, look),
        Err(Refused::Failed(failed)) => {
            return failed_page(Shell::outside(&view(look, None), failed.title), failed);
        }
    };
    request.extensions_mut().insert(visit.clone());
    let Ok(mut response) = router.call(request).await;
    if let Some(failed) = response.extensions_mut().remove::<Failed>() {
        response = failed_page(shell(&visit, "", failed.title), failed);
    }
    if is_head {
        *response.body_mut() = Body::empty();
    }
    response
}

/// A failure that no visit belongs to, as a page.
fn framed(mut response: Response, look: &Look) -> Response {
    match response.extensions_mut().remove::<Failed>() {
        Some(failed) => failed_page(Shell::outside(&view(look, None), failed.title), failed),
        None => response,
    }
}

fn router(portal: Arc<Portal>) -> Router {
    let api = portal.api.clone();
    let own = Router::new()
        .route(HOME, get(enter::home))
        .route(ENTER, get(enter::show).post(enter::enter))
        .route("/portal/logout", post(enter::leave))
        .fallback(no_such_page)
        .method_not_allowed_fallback(wrong_method)
        .with_state(portal);
    let manage = managing(BASE).route_layer(from_fn(|request, next| {
        demand(request, next, |can| can.manage, "manage")
    }));
    let replay = replaying(BASE).route_layer(from_fn(|request, next| {
        demand(request, next, |can| can.replay, "replay")
    }));
    let secrets = with_secrets(BASE).route_layer(from_fn(|request, next| {
        demand(request, next, |can| can.secrets, "secrets")
    }));
    let shared = [reading(BASE), manage, replay, secrets];
    let shared = shared.into_iter();
    shared.fold(own, |all, routes| all.merge(routes.with_state(api.clone())))
}

/// Refuses a request whose link does not have a capability.
async fn demand(
    request: Request,
    next: Next,
    has: impl FnOnce(&Can) -> bool,
    name: &'static str,
) -> Response {
    let visit = request.extensions().get::<Visit>();
    if visit.is_some_and(|visit| has(&visit.view.can)) {
        return next.run(request).await;
    }
    let detail = format!("this link does not let you do that: it lacks the capability `{name}`");
    Failed::forbidden(detail).into_response()
}
