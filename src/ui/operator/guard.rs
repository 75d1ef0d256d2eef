//! What every request passes on its way to a page: its host, who it comes from, and, if it may change
//! something, which page it was sent from.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};

use super::page::{BASE, view};
use super::state::Operator;
use crate::api::access::{Access, Arrival, Caller, Peer};
use crate::app::random_bytes;
use crate::server::body::Budget;
use crate::ui::base::admit::{Admitted, OLD_FORM, Refused, judge_head, judge_origin, read_form};
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Form;
use crate::ui::base::form_token;
use crate::ui::base::site::{Site, Within};
use crate::ui::base::visit::{Visit, Who};

/// The name of the cookie, before it is adapted to the site.
pub const COOKIE: &str = "outboxd";
/// Where one logs in.
pub const LOGIN: &str = "/ui/login";
/// What a form may hold beside the body of an event, in bytes.
const FORM_ROOM: u64 = 256 * 1024;

/// Judges a request.
pub async fn admit(
    operator: &Operator,
    arrival: Arrival,
    request: Request,
) -> Result<Admitted, Refused> {
    judge_head(&request)?;
    let judge = |access: &Access| access.judge_host(arrival.peer, &request);
    operator.api.with_access(judge).map_err(Failed::from)?;
    let site = Site::of(arrival, &request, &operator.proxies);
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let headers = request.headers();
    if !reads || headers.contains_key(header::ORIGIN) {
        judge_origin(&site, headers, reads)?;
    }
    let held = site.cookie(COOKIE, headers).map(str::to_owned);
    let (caller, has_session) = caller(operator, arrival.peer, held.as_deref());
    let is_login = request.uri().path() == LOGIN;
    if caller.is_none() && !is_login {
        return Err(Refused::Answered(Box::new(way_to_login(&request))));
    }
    // Without a session the cookie is nothing but what the form's token belongs to.
    let (cookie, fresh) = match held {
        Some(held) => (held, false),
        None => {
            let random: [u8; 32] = random_bytes().map_err(Failed::from)?;
            (URL_SAFE_NO_PAD.encode(random), !is_login)
        }
    };
    let mut request = request;
    if !reads {
        let (bytes, budget) = form_room(operator);
        let form = read_form(&mut request, bytes, &budget).await?;
        // A login rides on nobody's session: who sends it has the token.
        let given = form.raw(form_token::FIELD).unwrap_or_default();
        if !is_login && (fresh || !operator.form_key.fits(&cookie, given)) {
            return Err(Failed::forbidden(OLD_FORM).into());
        }
        request.extensions_mut().insert(form);
    }
    let query = Form::of_query(request.uri());
    let session = operator.sessions.ended(&cookie).filter(|_| has_session);
    let visit = Visit {
        session,
        who: caller.map(Who::Operator),
        has_session,
        form_token: operator.form_key.token(&cookie),
        said: query.text("said").map(str::to_owned),
        site,
        view: view(),
    };
    let cookie = fresh.then(|| visit.site.set_cookie(COOKIE, &cookie, Within::Site));
    Ok(Admitted {
        request,
        visit,
        cookie,
    })
}

/// Who is there, and whether a session says so.
fn caller(operator: &Operator, peer: Peer, cookie: Option<&str>) -> (Option<Caller>, bool) {
    if peer == Peer::Unix {
        return (Some(Caller::Socket), false);
    }
    operator.api.with_access(|access| {
        if let Some(open) = access.open() {
            return (Some(open), false);
        }
        let admits = |caller: &Caller| access.still_admits(caller);
        let sessions = &operator.sessions;
        let caller = cookie.and_then(|cookie| sessions.find(cookie, Instant::now(), admits));
        let has_session = caller.is_some();
        (caller, has_session)
    })
}

/// How large a form may be.
fn form_room(operator: &Operator) -> (u64, Arc<Budget>) {
    let (ingest, budget) = operator.api.body_rules();
    // A byte may take three in a form.
    let bytes = ingest.max_event_size.saturating_mul(3);
    (bytes.saturating_add(FORM_ROOM), budget)
}

/// Leads a browser to the login, and back to the page afterwards.
fn way_to_login(request: &Request) -> Response {
    let headers = request.headers();
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|own| own == value);
    if is("sec-fetch-dest", "empty") || request.uri().path().ends_with("/stream") {
        let detail = "log in first";
        return Failed::new(StatusCode::UNAUTHORIZED, "Not logged in", detail).into_response();
    }
    // A browser that follows a link of another site does not send the cookie. It does so when the page
    // asks for itself.
    if is("sec-fetch-site", "cross-site") && is("sec-fetch-mode", "navigate") {
        return again();
    }
    let wanted = request
        .uri()
        .path_and_query()
        .map_or("", |part| part.as_str());
    let place = match *request.method() == Method::GET && wanted != format!("{BASE}/") {
        true => {
            let next: String = url::form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
            format!("{LOGIN}?next={next}")
        }
        false => LOGIN.to_owned(),
    };
    let place = HeaderValue::from_str(&place).unwrap_or(HeaderValue::from_static(LOGIN));
    (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
}

/// A page that asks for itself again.
fn again() -> Response {
    let page = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
                <meta http-equiv=\"refresh\" content=\"0\"><title>outboxd</title>\
                <p>One moment.";
    let mut response = Response::new(Body::from(page));
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
