//! How outboxd authenticates itself to a receiver: OAuth 2.0 client credentials (RFC 6749, 4.4),
//! Basic (RFC 7617), or a token that does not change (RFC 6750, 2.1).
//!
//! A definition is checked here once. The fetching of tokens is `transport`'s. Neither `Debug` nor
//! [`Auth::shown`] ever shows a secret, and no fault repeats one.

mod fields;
mod oauth2;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};

pub use self::fields::BadAuth;
use self::fields::{Fields, MASK, object};
pub use self::oauth2::{Algorithm, AssertionKey, ClientAuth, KEYS as OAUTH2_KEYS, METHODS, OAuth2};
use super::json::Json;
use super::nearest::nearest;

const TYPES: [&str; 3] = ["oauth2", "basic", "bearer"];

/// How outboxd authenticates itself to a receiver, checked.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    OAuth2(OAuth2),
    Basic {
        username: Box<str>,
        password: Box<str>,
    },
    Bearer {
        token: Box<str>,
    },
}

impl Auth {
    /// Reads the `auth` of an endpoint, with the contents of files in place of their names.
    ///
    /// # Errors
    /// The path of what is wrong, what is wrong with it, and how to fix it.
    pub fn parse(json: &Json) -> Result<Auth, BadAuth> {
        let fields = Fields::new(json)?;
        match fields.filled("type")? {
            "oauth2" => OAuth2::read(&fields).map(Auth::OAuth2),
            "basic" => basic(&fields),
            "bearer" => bearer(&fields),
            other => {
                let known = format!("write one of {}", TYPES.join(", "));
                let fix = nearest(other, TYPES.into_iter())
                    .map_or(known, |meant| format!("did you mean {meant:?}?"));
                Err(fields.bad("type", "this type is unknown", &fix))
            }
        }
    }

    /// As reads show it: with `…` for each secret.
    pub fn shown(&self) -> Json {
        match self {
            Auth::OAuth2(oauth2) => oauth2.shown(),
            Auth::Basic { username, .. } => object([
                ("type", Some("basic")),
                ("username", Some(username)),
                ("password", Some(MASK)),
            ]),
            Auth::Bearer { .. } => object([("type", Some("bearer")), ("token", Some(MASK))]),
        }
    }

    /// The `Authorization` header of each request, marked sensitive. `None` for OAuth 2.0, where it
    /// has a token that comes from elsewhere.
    pub fn header(&self) -> Option<HeaderValue> {
        match self {
            Auth::OAuth2(_) => None,
            Auth::Basic { username, password } => basic_header(username, password),
            Auth::Bearer { token } => bearer_header(token),
        }
    }

    /// Refuses static headers that this would contradict.
    ///
    /// # Errors
    /// There is an `authorization` header.
    pub fn check_headers(headers: &HeaderMap) -> Result<(), BadAuth> {
        match headers.contains_key(AUTHORIZATION) {
            false => Ok(()),
            true => Err(BadAuth {
                path: "headers.authorization".to_owned(),
                problem: "auth sets this header".to_owned(),
                fix: "remove it, or auth".to_owned(),
            }),
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Auth({})", self.shown())
    }
}

fn basic(fields: &Fields) -> Result<Auth, BadAuth> {
    fields.only(&["type", "username", "password"])?;
    let (username, password) = (fields.required("username")?, fields.required("password")?);
    if username.contains(':') {
        // RFC 7617, 2.
        return Err(fields.bad("username", "this holds a colon", "remove it"));
    }
    if username.is_empty() && password.is_empty() {
        return Err(fields.bad(
            "username",
            "this and the password are empty",
            "fill them in",
        ));
    }
    Ok(Auth::Basic {
        username: username.into(),
        password: password.into(),
    })
}

fn bearer(fields: &Fields) -> Result<Auth, BadAuth> {
    fields.only(&["type", "token"])?;
    let token = fields.filled("token")?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = "this holds a space or a character that is not ASCII";
        let fix = "write the token alone, without \"Bearer \"";
        return Err(fields.bad("token", problem, fix));
    }
    Ok(Auth::Bearer {
        token: token.into(),
    })
}

/// `Basic` credentials (RFC 7617, 2), marked sensitive.
pub fn basic_header(username: &str, password: &str) -> Option<HeaderValue> {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    sensitive(format!("Basic {encoded}"))
}

/// A bearer token (RFC 6750, 2.1), marked sensitive. `None` if no header can hold it.
pub fn bearer_header(token: &str) -> Option<HeaderValue> {
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    sensitive(format!("Bearer {token}")).filter(|_| is_token)
}

fn sensitive(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()?;
    value.set_sensitive(true);
    Some(value)
}
