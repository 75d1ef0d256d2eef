//! What a source says of a request: handshake, event, or neither.

use http::{Method, StatusCode};

use super::call::{Call, View};
use super::events::events;
use super::greet::{Greeter, answer, greet};
use super::keys::Key;
use super::source::{Source, TOKEN_PARAM};
use super::verdict::{Answer, Received, Rejection, VerifiedBy};
use super::verify::{Verified, Verifier, verify};
use crate::domain::time::Timestamp;

impl Source {
    /// All that the definition says of a request. `now` is wall time. The caller has judged the
    /// address, the rate and the size.
    pub fn receive(&self, call: &Call<'_>, now: Timestamp) -> Received {
        match judge(self, call, now) {
            Ok(received) => received,
            Err(rejection) => Received::Rejected(rejection),
        }
    }
}

fn judge(source: &Source, call: &Call<'_>, now: Timestamp) -> Result<Received, Rejection> {
    if !source.enabled {
        return Err(Rejection::Disabled);
    }
    let view = View::new(*call, source.recipe.form_json.as_deref());
    check_token(source, &view)?;
    if let Some(answer) = handshake(source, &view, now, false) {
        return answer.map(Received::Handshake);
    }
    if *call.method != Method::POST {
        let allowed = source.methods();
        if allowed.contains(call.method) {
            let detail = format!("this {} is not a handshake", call.method);
            return Err(Rejection::BadRequest(detail));
        }
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        return Err(Rejection::Method(names.join(", ")));
    }
    let verified = verified(source, &view, now)?;
    if let Some(answer) = handshake(source, &view, now, true) {
        return answer.map(Received::Handshake);
    }
    check_app(source, &view)?;
    let events = events(source, &view, verified.id, now)?;
    let mut rules = source.recipe.answers.iter();
    let rule = rules.find(|rule| rule.condition.holds(&view));
    Ok(Received::Events {
        events,
        answer: rule.map_or_else(|| Answer::empty(StatusCode::OK), answer),
        verified_by: verified.by,
    })
}

fn check_token(source: &Source, view: &View<'_>) -> Result<(), Rejection> {
    match source.has_token(view) {
        None | Some(true) => Ok(()),
        Some(false) => {
            let there = view.query().iter().any(|(name, _)| name == TOKEN_PARAM);
            Err(match there {
                true => Rejection::BadSignature("the token in the URL is wrong"),
                false => {
                    let missing = format!("the query parameter {TOKEN_PARAM} is missing");
                    Rejection::MissingSignature(missing)
                }
            })
        }
    }
}

fn handshake(
    source: &Source,
    view: &View<'_>,
    now: Timestamp,
    signed: bool,
) -> Option<Result<Answer, Rejection>> {
    let mut handshakes = source.recipe.handshakes.iter().peekable();
    handshakes.peek()?;
    let keys = source.keys.iter().flatten();
    let mut macs = keys.filter(|key| key.counts(now) && matches!(key.key, Key::Hmac(_)));
    let greeter = Greeter {
        verify_token: source.verify_token.as_deref(),
        key: macs
            .next()
            .map(|key| &key.key)
            .filter(|_| !source.verifies_nothing),
        rate_limit: source.rate_limit,
    };
    handshakes
        .filter(|handshake| handshake.signed == signed)
        .find_map(|handshake| greet(handshake, greeter, view))
}

fn verified(source: &Source, view: &View<'_>, now: Timestamp) -> Result<Verified, Rejection> {
    let by_token = source.token.is_some();
    let has_keys = source.keys.iter().any(|keys| !keys.is_empty());
    if source.verifies_nothing || !has_keys {
        // Without keys there is a token, which the definition makes sure of.
        let by = match by_token {
            true => VerifiedBy::Token,
            false => VerifiedBy::Nothing,
        };
        return Ok(Verified { by, id: None });
    }
    let verifier = Verifier {
        recipe: &source.recipe,
        keys: &source.keys,
        app_id: source.app_id.as_deref().unwrap_or_default(),
        tolerance: source.tolerance,
        now,
    };
    verify(verifier, view)
}

/// A call of another app of the same provider.
fn check_app(source: &Source, view: &View<'_>) -> Result<(), Rejection> {
    let (Some(place), Some(own)) = (&source.recipe.app_id, &source.app_id) else {
        return Ok(());
    };
    match place.read(view) {
        Some(found) if *found != **own => {
            Err(Rejection::BadAccount("the call is of another app_id"))
        }
        _ => Ok(()),
    }
}
