//! Reads the answer of a token server (RFC 6749, 5.1 and 5.2).

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::super::answer::End;
use crate::domain::auth::{OAuth2, bearer_header};
use crate::domain::json::Json;

/// For how long a token is good of which the server does not say it.
const USUAL_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// So that a server that says 0 is not asked for each request.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(1);
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A token is fetched anew so long before its end.
const REFRESH_BEFORE: Duration = Duration::from_secs(60);
/// The share of that span that attempts of many endpoints are spread over.
const JITTER: f64 = 0.05;
/// The longest token, in bytes.
const MAX_TOKEN: usize = 8 * 1024;
/// The longest code of an error, in bytes.
const MAX_CODE: usize = 64;
/// Codes that are shown whatever the client's id is.
const CODES: [&str; 9] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "server_error",
    "temporarily_unavailable",
];

/// A token that the server has granted.
pub(super) struct Grant {
    /// The `Authorization` header, marked sensitive.
    pub(super) header: HeaderValue,
    pub(super) lifetime: Duration,
}

impl Grant {
    /// The error is a sentence for a person that holds nothing of the answer but the status and the
    /// code of an error.
    pub(super) fn read(
        status: StatusCode,
        body: &[u8],
        end: &End,
        oauth2: &OAuth2,
    ) -> Result<Grant, String> {
        if !status.is_success() {
            return Err(refusal(status, body, end, oauth2));
        }
        match end {
            End::Read => {}
            End::Cut => return Err("the token server's answer is longer than 64 KiB".to_owned()),
            End::TimedOut => return Err("the token server's answer did not end in time".to_owned()),
            End::Broken(_) | End::Short { .. } => {
                return Err("the token server's answer broke off".to_owned());
            }
        }
        let json = Json::parse(body);
        let json = json.map_err(|_| "the token server's answer is not JSON".to_owned())?;
        let token_type = json.get("token_type").and_then(Json::as_str);
        match token_type {
            Some(named) if named.eq_ignore_ascii_case("bearer") => {}
            Some(_) => return Err("the token server's token is not of type Bearer".to_owned()),
            None => return Err("the token server's answer has no token_type".to_owned()),
        }
        let Some(token) = json.get("access_token").and_then(Json::as_str) else {
            return Err("the token server's answer has no access_token".to_owned());
        };
        let header = bearer_header(token).filter(|_| token.len() <= MAX_TOKEN);
        let Some(header) = header else {
            return Err("no header can hold the token server's access_token".to_owned());
        };
        let lifetime = lifetime(json.get("expires_in"));
        Ok(Grant { header, lifetime })
    }

    /// After what time to fetch anew: the smaller of 0.9 of the lifetime and a minute before its
    /// end, but not before half of it; `dice`, from 0 to 1, draws it forward by up to [`JITTER`].
    pub(super) fn refresh_after(&self, dice: f64) -> Duration {
        let lifetime = self.lifetime;
        let early = lifetime
            .mul_f64(0.9)
            .min(lifetime.saturating_sub(REFRESH_BEFORE));
        let share = 1.0 - JITTER * dice.clamp(0.0, 1.0);
        early.max(lifetime / 2).mul_f64(share)
    }
}

/// Seconds, as a number or in a string.
fn lifetime(expires_in: Option<&Json>) -> Duration {
    let text = match expires_in {
        Some(Json::Number(text) | Json::String(text)) => text,
        _ => return USUAL_LIFETIME,
    };
    let seconds: f64 = match text.trim().parse() {
        Ok(seconds) if f64::is_finite(seconds) => seconds,
        _ => return USUAL_LIFETIME,
    };
    let most = LONGEST_LIFETIME.as_secs_f64();
    Duration::from_secs_f64(seconds.clamp(SHORTEST_LIFETIME.as_secs_f64(), most))
}

fn refusal(status: StatusCode, body: &[u8], end: &End, oauth2: &OAuth2) -> String {
    let answered = format!("the token server answered {}", status.as_u16());
    if status.is_redirection() {
        return format!("{answered}; redirects are not followed");
    }
    let json = matches!(end, End::Read).then(|| Json::parse(body).ok());
    let json = json.flatten();
    let code = json.as_ref().and_then(|json| json.get("error")?.as_str());
    match code.filter(|code| may_be_shown(code, oauth2)) {
        Some(code) => format!("{answered} ({code})"),
        None => answered,
    }
}

/// A code of RFC 6749, 5.2, without spaces, that does not repeat what the server was sent.
fn may_be_shown(code: &str, oauth2: &OAuth2) -> bool {
    let is_code = |c: u8| c.is_ascii_graphic() && c != b'"' && c != b'\\';
    let is_short = !code.is_empty() && code.len() <= MAX_CODE;
    CODES.contains(&code) || is_short && code.bytes().all(is_code) && !oauth2.is_told_by(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::auth::Auth;
    use proptest::prelude::*;

    fn oauth2() -> OAuth2 {
        let json = br#"{"type": "oauth2", "token_url": "https://a.example/t",
            "client_id": "client", "client_secret": "HUSH"}"#;
        match Auth::parse(&Json::parse(json).unwrap()).unwrap() {
            Auth::OAuth2(oauth2) => oauth2,
            _ => unreachable!(),
        }
    }

    fn read(status: u16, body: &str) -> Result<Grant, String> {
        let status = StatusCode::from_u16(status).unwrap();
        Grant::read(status, body.as_bytes(), &End::Read, &oauth2())
    }

    #[test]
    fn a_grant_is_a_bearer_token_with_a_lifetime() {
        for (expires, seconds) in [
            ("3600", 3600.0),
            ("\"3600\"", 3600.0),
            ("3600.5", 3600.5),
            ("null", 300.0),
            ("\"soon\"", 300.0),
            ("1e400", 300.0),
            ("0", 1.0),
            ("-5", 1.0),
            ("99999999999", 86_400.0),
        ] {
            let body = format!(
                r#"{{"access_token": "T.1", "token_type": "bEARER", "expires_in": {expires}}}"#
            );
            let grant = read(200, &body).unwrap();
            assert_eq!(grant.header, "Bearer T.1");
            assert!(grant.header.is_sensitive());
            assert_eq!(grant.lifetime.as_secs_f64(), seconds, "{expires}");
        }
    }

    #[test]
    fn no_answer_is_repeated_but_its_status_and_code() {
        let long = format!(r#"{{"error": "{}"}}"#, "a".repeat(65));
        let token = format!(
            r#"{{"token_type": "bearer", "access_token": "{}"}}"#,
            "a".repeat(MAX_TOKEN + 1)
        );
        for (status, body, expected) in [
            (
                401,
                r#"{"error": "invalid_client", "error_description": "HUSH"}"#,
                "answered 401 (invalid_client)",
            ),
            (400, r#"{"error": "slow_down"}"#, "answered 400 (slow_down)"),
            (400, r#"{"error": "my-client"}"#, "answered 400"),
            (400, r#"{"error": "xHUSHx"}"#, "answered 400"),
            (400, r#"{"error": "a b"}"#, "answered 400"),
            (400, r#"{"error": 1}"#, "answered 400"),
            (400, &long, "answered 400"),
            (502, "<html>HUSH</html>", "answered 502"),
            (302, "", "answered 302; redirects are not followed"),
            (200, "<html>HUSH</html>", "'s answer is not JSON"),
            (200, "[]", "'s answer has no token_type"),
            (
                200,
                r#"{"access_token": "HUSH", "token_type": "mac"}"#,
                "'s token is not of type Bearer",
            ),
            (
                200,
                r#"{"token_type": "bearer"}"#,
                "'s answer has no access_token",
            ),
        ] {
            let detail = read(status, body).err().unwrap();
            let shown = detail
                .strip_prefix("the token server")
                .unwrap()
                .trim_start();
            assert_eq!(shown, expected, "{body}");
        }
        for body in [
            &*token,
            r#"{"token_type": "bearer", "access_token": ""}"#,
            r#"{"token_type": "bearer", "access_token": "a\nb"}"#,
            r#"{"token_type": "bearer", "access_token": "a b"}"#,
        ] {
            let detail = read(200, body).err().unwrap();
            assert_eq!(detail, "no header can hold the token server's access_token");
        }
    }

    proptest! {
        #[test]
        fn a_token_is_fetched_anew_before_its_end(seconds in 1u64..200_000, dice in 0.0..=1.0f64) {
            let body = format!(
                r#"{{"access_token": "a", "token_type": "bearer", "expires_in": {seconds}}}"#
            );
            let grant = read(200, &body).unwrap();
            let after = grant.refresh_after(dice);
            prop_assert!(after < grant.lifetime);
            prop_assert!(after >= grant.lifetime.mul_f64(0.45));
            if seconds >= 120 {
                prop_assert!(grant.lifetime - after >= REFRESH_BEFORE);
            }
        }

        #[test]
        fn no_answer_panics_or_shows_the_secret(
            status in 200u16..600,
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let status = StatusCode::from_u16(status).unwrap();
            let _ = Grant::read(status, &body, &End::Read, &oauth2());
        }
    }
}
