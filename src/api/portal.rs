//! `/v1/portal/links`: links that let customers in at the portal.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use super::Api;
use super::access::Caller;
use super::acted::{Way, log};
use super::fields::{Fields, body_of};
use super::portal_links::{Capabilities, MOST, Wanted};
use super::problem::{Kind, Problem};
use super::query::Query;
use super::reply::{json, no_store};
use crate::app::random_bytes;
use crate::clock;
use crate::domain::event::Tenant;
use crate::domain::http_url::{MAX_URL, parse_url};
use crate::domain::time::Timestamp;

/// The path of the calls.
pub const PATH: &str = "/v1/portal/links";
/// How long a link works if nobody says.
const LIFETIME: Duration = Duration::from_secs(3600);
const LIFETIMES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
/// The longest name of a session, in bytes.
const MAX_SESSION: usize = 128;

#[derive(Serialize)]
struct Link {
    /// For the customer; its code works once.
    url: String,
    /// A bearer token for programs.
    token: String,
    expires_at: Timestamp,
}

/// `POST /v1/portal/links`: 201 with the link.
pub async fn create(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let caller = caller(&request)?;
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let body = body_of(&api, &parts.headers, body).await?;
    let now = clock::now();
    let wanted = wanted(&body, now)?;
    let base = api.portal_base().ok_or_else(|| {
        let detail = "it is not known how customers reach the portal: set `listen.public_url`";
        Problem::new(Kind::Conflict, detail)
    })?;
    let (object, expires_at) = (
        named(&wanted.tenant, wanted.session.as_deref()),
        wanted.expires_at,
    );
    let by = caller.as_str().to_owned();
    let random = [random_bytes()?, random_bytes()?];
    let made = api.portal_links.make(wanted, caller, random, now);
    let made = made.ok_or_else(|| {
        let detail = format!(
            "there are {MOST} links that have not ended: let them expire sooner, or end some"
        );
        Problem::new(Kind::Busy, detail)
    })?;
    log("portal_link.create", &object, &by, Way::Api);
    let link = Link {
        url: format!("{base}/portal/#c={}", made.code),
        token: made.token,
        expires_at,
    };
    json(StatusCode::CREATED, &link).map(no_store)
}

/// `DELETE /v1/portal/links`: 204 when they have ended.
pub async fn end(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let caller = caller(&request)?;
    let (parts, body) = request.into_parts();
    let query = Query::parse(&parts.uri, &["tenant", "session"])?;
    Fields::parse(&body_of(&api, &parts.headers, body).await?, &[])?;
    let tenant: Tenant = query.read("tenant")?.ok_or_else(|| {
        Problem::bad_request("query parameter `tenant` is missing: name the tenant whose links end")
    })?;
    let session = query.text("session");
    api.portal_links.end(&tenant, session);
    log(
        "portal_link.delete",
        &named(&tenant, session),
        caller.as_str(),
        Way::Api,
    );
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn caller(request: &Request) -> Result<Caller, Problem> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Problem::new(Kind::Internal, "the caller is not known"))
}

/// As the log names a link.
fn named(tenant: &Tenant, session: Option<&str>) -> String {
    match session {
        Some(session) => format!("{tenant}/{session}"),
        None => tenant.to_string(),
    }
}

fn wanted(body: &[u8], now: Timestamp) -> Result<Wanted, Problem> {
    let known = [
        "tenant",
        "expires_in",
        "capabilities",
        "session",
        "return_url",
    ];
    let fields = Fields::parse(body, &known)?;
    let tenant = fields.text("tenant", str::parse::<Tenant>)?.value();
    let tenant = tenant
        .ok_or_else(|| fields.fault("tenant", "missing: name the tenant that the link is for"))?;
    let lifetime = fields.duration("expires_in", LIFETIMES)?.value();
    let capabilities = fields.texts("capabilities", capability)?.value();
    let capabilities = match capabilities.as_deref() {
        Some([]) => {
            let why = "empty: name some of \"view\", \"manage\", \"replay\" and \"secrets\"";
            return Err(fields.fault("capabilities", why));
        }
        given => given
            .unwrap_or_default()
            .iter()
            .fold(Capabilities::default(), |all, one| Capabilities {
                manage: all.manage || one.manage,
                replay: all.replay || one.replay,
                secrets: all.secrets || one.secrets,
            }),
    };
    Ok(Wanted {
        tenant,
        capabilities,
        session: fields.text("session", session)?.value(),
        return_url: fields.text("return_url", return_url)?.value(),
        expires_at: now + lifetime.unwrap_or(LIFETIME),
    })
}

/// Each of the others includes `view`.
fn capability(text: &str) -> Result<Capabilities, &'static str> {
    let view = Capabilities::default();
    match text {
        "view" => Ok(view),
        "manage" => Ok(Capabilities {
            manage: true,
            ..view
        }),
        "replay" => Ok(Capabilities {
            replay: true,
            ..view
        }),
        "secrets" => Ok(Capabilities {
            secrets: true,
            ..view
        }),
        _ => Err("not \"view\", \"manage\", \"replay\" or \"secrets\""),
    }
}

fn session(text: &str) -> Result<String, &'static str> {
    let fits = (1..=MAX_SESSION).contains(&text.len());
    match fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("not 1 to 128 visible ASCII characters without spaces, such as \"user-17\""),
    }
}

fn return_url(text: &str) -> Result<Arc<str>, String> {
    let url = parse_url(text).map_err(|bad| {
        format!("{bad}; write an http or https URL such as \"https://app.example.com/settings\"")
    })?;
    match text.len() <= MAX_URL {
        true => Ok(url.as_str().into()),
        false => Err(format!("longer than {MAX_URL} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Wanted, String> {
        wanted(body.as_bytes(), Timestamp::from_millis(0)).map_err(|bad| bad.detail.into_owned())
    }

    #[test]
    fn a_link_is_read() {
        let link = read(r#"{"tenant": "acme"}"#).unwrap();
        assert_eq!(link.capabilities, Capabilities::default());
        assert_eq!(link.expires_at.as_millis(), 3_600_000);
        assert!(link.session.is_none() && link.return_url.is_none());
        let link = read(
            r#"{"tenant": "acme", "expires_in": "7d", "capabilities": ["view", "secrets", "manage"],
                "session": "user@example.com", "return_url": "https://app.example.com/a?b=c"}"#,
        );
        let link = link.unwrap();
        let all = link.capabilities;
        assert!(all.manage && all.secrets && !all.replay);
        assert_eq!(link.session.as_deref(), Some("user@example.com"));
        assert_eq!(
            link.return_url.as_deref(),
            Some("https://app.example.com/a?b=c")
        );
    }

    #[test]
    fn faults_name_the_field_and_the_fix() {
        for (body, expected) in [
            ("{}", "field `tenant`: missing: name the tenant"),
            (r#"{"tenant": "a b"}"#, "field `tenant`"),
            (r#"{"tenant": 1}"#, "field `tenant`: not a string"),
            (
                r#"{"tenant": "a", "expires_in": "8d"}"#,
                "field `expires_in`: not from \"1s\" to \"7d\"",
            ),
            (
                r#"{"tenant": "a", "expires_in": 60}"#,
                "field `expires_in`: not a string",
            ),
            (
                r#"{"tenant": "a", "capabilities": []}"#,
                "field `capabilities`: empty: name some of",
            ),
            (
                r#"{"tenant": "a", "capabilities": ["view", "admin"]}"#,
                "field `capabilities[1]`: not \"view\"",
            ),
            (
                r#"{"tenant": "a", "session": ""}"#,
                "field `session`: not 1 to 128",
            ),
            (
                r#"{"tenant": "a", "session": "a\nb"}"#,
                "field `session`: not 1 to 128",
            ),
            (
                r#"{"tenant": "a", "return_url": "javascript:alert(1)"}"#,
                "field `return_url`",
            ),
            (
                r#"{"tenant": "a", "return_url": "//evil.example"}"#,
                "field `return_url`",
            ),
            (
                r#"{"tenant": "a", "return_url": "https://u:p@a.example/"}"#,
                "field `return_url`",
            ),
            (
                r#"{"tenant": "a", "expire": "1h"}"#,
                "unknown field `expire`",
            ),
        ] {
            let why = read(body).unwrap_err();
            assert!(why.starts_with(expected), "{body}: {why}");
        }
    }
}
