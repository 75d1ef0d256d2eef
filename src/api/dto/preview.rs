//! What a filter says, and what an endpoint would be sent.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::explanation::FailedCondition;
use crate::app::Preview;
use crate::domain::filter::Failed;
use crate::domain::shaping::Verb;

/// What stands for a value that is not shown.
const MASK: &str = "…";

/// What a filter says of an event.
#[derive(Serialize)]
pub struct Tested<'a> {
    matches: bool,
    /// The condition that does not hold.
    failed: Option<FailedCondition<'a>>,
}

impl<'a> From<Option<&'a Failed>> for Tested<'a> {
    fn from(failed: Option<&'a Failed>) -> Self {
        Tested {
            matches: failed.is_none(),
            failed: failed.map(FailedCondition::from),
        }
    }
}

/// A request that is not sent.
#[derive(Serialize)]
pub struct Rendered<'a> {
    method: &'a str,
    url: Cow<'a, str>,
    headers: BTreeMap<&'a str, Cow<'a, str>>,
    #[serde(flatten)]
    body: Body<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Body<'a> {
    Body(Cow<'a, str>),
    BodyBase64(String),
}

impl<'a> From<&'a Preview> for Rendered<'a> {
    fn from(preview: &'a Preview) -> Self {
        let Preview {
            endpoint,
            outgoing,
            headers,
        } = preview;
        let shaping = endpoint.shaping.as_ref();
        let is_rendered = |name| outgoing.rendered.iter().any(|(own, _)| own == name);
        let shown = headers.iter().map(|(name, value)| {
            // Static values are often credentials, and so are those of headers named so.
            let is_static = endpoint.headers.contains_key(name) && !is_rendered(name);
            let is_secret = is_static || names_a_secret(name.as_str());
            let value = match is_secret {
                true => MASK.into(),
                false => String::from_utf8_lossy(value.as_bytes()),
            };
            (name.as_str(), value)
        });
        let mut headers: BTreeMap<_, _> = shown.collect();
        if shaping.is_some_and(|shaping| shaping.auth.is_some()) {
            headers.insert("authorization", MASK.into());
        }
        Rendered {
            method: shaping
                .map_or(Verb::Post, |shaping| shaping.method)
                .as_str(),
            url: endpoint.shown_url(),
            headers,
            body: body(preview),
        }
    }
}

fn names_a_secret(name: &str) -> bool {
    let words = [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "api-key",
        "apikey",
    ];
    words.iter().any(|word| name.contains(word))
}

/// What a preset takes from the URL is a secret in the body, too.
fn body(preview: &Preview) -> Body<'_> {
    let Ok(text) = std::str::from_utf8(&preview.outgoing.body) else {
        return Body::BodyBase64(STANDARD.encode(&preview.outgoing.body));
    };
    let shaping = preview.endpoint.shaping.as_ref();
    let params = shaping.and_then(|shaping| shaping.preset);
    let params = params.map_or(&[][..], |preset| &preset.params);
    let mut text = Cow::Borrowed(text);
    for (name, value) in preview.endpoint.url.query_pairs() {
        if value.len() >= SHORTEST_SECRET && params.iter().any(|param| *param == name) {
            text = text.replace(&*value, MASK).into();
        }
    }
    Body::Body(text)
}

/// The value of a parameter that is shorter is no secret, in bytes.
const SHORTEST_SECRET: usize = 16;
