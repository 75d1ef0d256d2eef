//! Logging in and out.

use std::sync::Arc;
use std::time::Instant;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};

use super::guard::COOKIE;
use super::page::BASE;
use super::state::Operator;
use crate::api::access::Caller;
use crate::api::problem::Problem;
use crate::app::random_bytes;
use crate::ui::base::failed::Failed;
use crate::ui::base::form::Form;
use crate::ui::base::shell::{Shell, html};
use crate::ui::base::site::Within;
use crate::ui::base::visit::Visit;
use crate::ui::pages::page::{go, shell};

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    shell: Shell,
    /// Why there is no form.
    refused: Option<String>,
    /// Why the last try failed.
    error: Option<String>,
    next: String,
}

/// `GET /ui/login`: the form; with `?code=` of a link, the login itself.
pub async fn show(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    request: Request,
) -> Result<Response, Failed> {
    let query = Form::of_query(request.uri());
    let next = next(query.text("next")).to_owned();
    if visit.who.is_some() && (!visit.has_session || query.text("code").is_none()) {
        return go(&next, "");
    }
    if !visit.site.is_private() {
        return page(&visit, StatusCode::FORBIDDEN, None, next);
    }
    let Some(code) = query.text("code") else {
        return page(&visit, StatusCode::OK, None, next);
    };
    // What only looks at links must not use them up.
    if *request.method() != Method::GET {
        return page(&visit, StatusCode::OK, None, next);
    }
    let caller = operator.api.take_login(code);
    let is_admitted = |caller: &Caller| {
        operator
            .api
            .with_access(|access| access.still_admits(caller))
    };
    match caller.filter(is_admitted) {
        Some(caller) => begin(&operator, &visit, caller, &next),
        None => {
            let why = "the link has been used or is too old; `outboxd login` prints a new one";
            page(&visit, StatusCode::FORBIDDEN, Some(why.to_owned()), next)
        }
    }
}

/// `POST /ui/login`
pub async fn log_in(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    form: Form,
) -> Result<Response, Failed> {
    let next = next(form.text("next")).to_owned();
    if visit.who.is_some() && !visit.has_session {
        return go(&next, "");
    }
    if !visit.site.is_private() {
        return page(&visit, StatusCode::FORBIDDEN, None, next);
    }
    if let Some(network) = visit.site.network
        && let Err(wait) = operator.login_rate.take(network, Instant::now())
    {
        let seconds = wait.as_secs().saturating_add(1);
        let why = format!("too many logins from this address; try again in {seconds} s");
        let mut response = page(&visit, StatusCode::TOO_MANY_REQUESTS, Some(why), next)?;
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
        return Ok(response);
    }
    let token = form.text("token").unwrap_or_default();
    match operator.api.with_access(|access| access.admin(token)) {
        Ok(caller) => begin(&operator, &visit, caller, &next),
        Err(Problem { kind, detail, .. }) => {
            page(&visit, kind.status(), Some(detail.into_owned()), next)
        }
    }
}

/// `POST /ui/logout`
pub async fn log_out(
    State(operator): State<Arc<Operator>>,
    visit: Visit,
    request: Request,
) -> Result<Response, Failed> {
    if let Some(cookie) = visit.site.cookie(COOKIE, request.headers()) {
        operator.sessions.end(cookie);
    }
    let mut response = go("/ui/login", "logged-out")?;
    set_cookie(&mut response, &visit, "");
    Ok(response)
}

fn begin(
    operator: &Operator,
    visit: &Visit,
    caller: Caller,
    next: &str,
) -> Result<Response, Failed> {
    tracing::info!(by = caller.as_str(), "logged in at the pages");
    let cookie = operator
        .sessions
        .begin(caller, random_bytes()?, Instant::now());
    let mut response = go(next, "")?;
    set_cookie(&mut response, visit, &cookie);
    Ok(response)
}

fn set_cookie(response: &mut Response, visit: &Visit, value: &str) {
    let cookie = visit.site.set_cookie(COOKIE, value, Within::Site);
    // The value is base64url, and the host's port a number: it is always a header.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

fn page(
    visit: &Visit,
    status: StatusCode,
    error: Option<String>,
    next: String,
) -> Result<Response, Failed> {
    let refused = (!visit.site.is_private()).then(|| {
        "the connection is plain HTTP and not from this machine, so anybody on the way could read the \
         token. Use HTTPS through a proxy that listen.trusted_proxies names, or a tunnel such as \
         `ssh -L 7717:127.0.0.1:7717 HOST`"
            .to_owned()
    });
    let page = Page {
        shell: shell(visit, "", "Log in"),
        refused,
        error,
        next,
    };
    let mut response = html(&page)?;
    *response.status_mut() = status;
    Ok(response)
}

/// A page to go on to: one of these pages, or the first.
fn next(wanted: Option<&str>) -> &str {
    let is_own = |path: &&str| {
        let below = path.strip_prefix(BASE);
        let is_below = below.is_some_and(|rest| rest.starts_with('/'));
        is_below
            && path
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    wanted.filter(is_own).unwrap_or("/ui/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_on_never_leads_elsewhere() {
        assert_eq!(next(Some("/ui/events?type=a.*")), "/ui/events?type=a.*");
        for other in [
            "//evil.example",
            "/ui",
            "/uix",
            "/v1/status",
            "https://evil.example/ui/",
            "/ui/\\evil",
            "/ui/ x",
            "/ui/\r\nset-cookie: a",
        ] {
            assert_eq!(next(Some(other)), "/ui/", "{other:?}");
        }
    }
}
