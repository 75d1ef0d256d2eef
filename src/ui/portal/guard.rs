//! What every request passes on its way to a page: who it comes from, which page it was sent from,
//! and whose things it names.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use super::own;
use super::page::{BASE, ENTER, HOME, view};
use super::state::{Look, Portal};
use crate::api::portal_links::PortalLink;
use crate::app::random_bytes;
use crate::clock;
use crate::ui::base::admit::{Admitted, OLD_FORM, Refused, judge_head, judge_origin, read_form};
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Form;
use crate::ui::base::form_token;
use crate::ui::base::site::{Site, Within};
use crate::ui::base::visit::{Visit, Who};

/// The name of the cookie, before it is adapted to the site.
pub const COOKIE: &str = "outboxd-portal";
/// What a form may hold, in bytes.
const FORM_ROOM: u64 = 512 * 1024;
/// What the form for a link may hold.
const ENTER_ROOM: u64 = 8 * 1024;

/// Judges a request whose site is known.
pub async fn admit(
    portal: &Portal,
    look: &Look,
    site: Site,
    request: Request,
) -> Result<Admitted, Refused> {
    judge_head(&request)?;
    let mut request = request;
    let path = request.uri().path().to_owned();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let bearer = bearer(request.headers())?.map(str::to_owned);
    // A program that shows a token is not a browser that was led astray. Without an origin it may act.
    let may_lack_origin = reads || bearer.is_some();
    if !may_lack_origin || request.headers().contains_key(header::ORIGIN) {
        judge_origin(&site, request.headers(), may_lack_origin)?;
    }
    let held = site.cookie(COOKIE, request.headers()).map(str::to_owned);
    let link = match &bearer {
        Some(token) => Some(of_token(portal, token)?),
        None => held.as_deref().and_then(|cookie| of_cookie(portal, cookie)),
    };
    let is_entrance = path == HOME || path == ENTER;
    if link.is_none() && !is_entrance {
        return Err(Refused::Answered(Box::new(way_in(&request))));
    }
    let form_key = &portal.form_key;
    let cookie = held.unwrap_or_default();
    if !reads {
        let room = match path == ENTER {
            true => ENTER_ROOM,
            false => FORM_ROOM,
        };
        let (_, budget) = portal.api.body_rules();
        let form = read_form(&mut request, room, &budget).await?;
        // Who enters has the code; who shows a token is not a browser.
        let given = form.raw(form_token::FIELD).unwrap_or_default();
        let is_bound = path != ENTER && bearer.is_none();
        if is_bound && !form_key.fits(&cookie, given) {
            return Err(Failed::forbidden(OLD_FORM).into());
        }
        request.extensions_mut().insert(form);
    }
    if let Some(link) = &link {
        let below = path.strip_prefix(BASE).unwrap_or_default();
        own::judge(&portal.api, &link.wanted.tenant, below).await?;
    }
    let query = Form::of_query(request.uri());
    let session = match bearer {
        Some(_) => None,
        None => portal.sessions.ended(&cookie),
    };
    let visit = Visit {
        session,
        has_session: link.is_some() && bearer.is_none(),
        form_token: form_key.token(&cookie),
        said: query.text("said").map(str::to_owned),
        site,
        view: view(look, link.as_ref()),
        who: link.map(Who::Guest),
    };
    Ok(Admitted {
        request,
        visit,
        cookie: None,
    })
}

/// The token of an `Authorization` header, if there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Failed> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let value = value.to_str().unwrap_or_default().trim();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(unknown_token()),
    }
}

fn unknown_token() -> Failed {
    let detail = "the token is not one of a link that is in force; make a new link";
    Failed::new(StatusCode::UNAUTHORIZED, "Unauthorized", detail)
}

fn of_token(portal: &Portal, token: &str) -> Result<Arc<PortalLink>, Failed> {
    let link = portal.api.portal_links().of_token(token);
    link.filter(|link| is_valid(portal, link))
        .ok_or_else(unknown_token)
}

fn of_cookie(portal: &Portal, cookie: &str) -> Option<Arc<PortalLink>> {
    let admits = |link: &Arc<PortalLink>| is_valid(portal, link);
    portal.sessions.find(cookie, Instant::now(), admits)
}

/// Whether a link is in force.
pub fn is_valid(portal: &Portal, link: &PortalLink) -> bool {
    let now = clock::now();
    portal.api.with_access(|access| link.is_valid(access, now))
}

/// Begins a session. Returns its `Set-Cookie`.
pub fn begin(
    portal: &Portal,
    visit: &Visit,
    headers: &HeaderMap,
    link: Arc<PortalLink>,
) -> Result<HeaderValue, Failed> {
    let cookie = portal.sessions.begin(link, random_bytes()?, Instant::now());
    Ok(set_cookie(portal, visit, headers, &cookie))
}

/// `Set-Cookie` for a session; an empty value ends it.
pub fn set_cookie(portal: &Portal, visit: &Visit, headers: &HeaderMap, value: &str) -> HeaderValue {
    // Browsers that say nothing of frames get the cookie that works in both.
    let place = headers.get("sec-fetch-dest").map(HeaderValue::as_bytes);
    let is_framed = place.is_none_or(|place| place == b"iframe" || place == b"frame");
    let may_be_framed = visit.site.https && !portal.look().frame_ancestors.is_empty();
    let within = match may_be_framed && is_framed {
        true => Within::Frames,
        false => Within::Links,
    };
    let cookie = visit.site.set_cookie(COOKIE, value, within);
    // The value is base64url, and the host's port a number: it is always a header.
    HeaderValue::from_str(&cookie).unwrap_or(HeaderValue::from_static(""))
}

/// Leads a browser without a session to the page for links.
fn way_in(request: &Request) -> Response {
    let headers = request.headers();
    let is_script = headers
        .get("sec-fetch-dest")
        .is_some_and(|place| place == "empty");
    if is_script || request.uri().path().ends_with("/stream") {
        let detail = "the link has ended";
        return Failed::new(StatusCode::UNAUTHORIZED, "Not let in", detail).into_response();
    }
    let place = HeaderValue::from_static("/portal/?said=ended");
    (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_read_or_refused() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            bearer(&headers).map(|token| token.map(str::to_owned)).ok()
        };
        assert_eq!(read("Bearer abc"), Some(Some("abc".to_owned())));
        assert_eq!(read("bearer  abc "), Some(Some("abc".to_owned())));
        assert_eq!(read("Basic abc"), None);
        assert_eq!(bearer(&HeaderMap::new()).ok(), Some(None));
    }
}
