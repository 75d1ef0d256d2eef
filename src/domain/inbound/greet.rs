//! Answers to handshakes: calls by which a provider asks whether the URL is ours.
//!
//! Anybody can send one, and what it brings is sent back. So an echo is plain text that no browser
//! takes for something else, and short; and a MAC is made over a short text of a few characters alone.
//! No event may be signed over such a text where anybody can ask for its MAC: `verify` refuses it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::call::View;
use super::keys::{Key, hash};
use super::place::Place;
use super::recipe::{AnswerRule, Handshake, HandshakeKind, Reply, is_signable};
use super::verdict::{Answer, Rejection};
use super::verify::mac;
use crate::domain::cloudevents::{REQUEST_ORIGIN, RequestOrigin};
use crate::domain::hex::to_hex;
use crate::domain::json::write_string;
use crate::domain::rate::Rate;
use subtle::ConstantTimeEq;

/// The longest text that is sent back, in bytes.
const MAX_ECHO: usize = 1024;

const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// What of a source answers depend on.
#[derive(Clone, Copy)]
pub(super) struct Greeter<'a> {
    pub verify_token: Option<&'a str>,
    /// The newest that counts.
    pub key: Option<&'a Key>,
    pub rate_limit: Option<Rate>,
}

/// The answer, if the call is this handshake.
///
/// # Errors
/// It is one that cannot be answered.
pub(super) fn greet(
    handshake: &Handshake,
    greeter: Greeter<'_>,
    view: &View<'_>,
) -> Option<Result<Answer, Rejection>> {
    let fits = handshake.methods.contains(view.call.method) && handshake.condition.holds(view);
    let from = match &handshake.kind {
        HandshakeKind::Echo { from, .. }
        | HandshakeKind::Crc { from, .. }
        | HandshakeKind::PlainToken { from } => Some(from),
        HandshakeKind::Fixed(_) | HandshakeKind::CloudEvents => None,
    };
    if !fits || from.is_some_and(|place| !place.is_there(view)) {
        return None;
    }
    Some(match &handshake.kind {
        HandshakeKind::Echo {
            from,
            reply,
            verify,
        } => echo(from, reply, verify.as_ref(), greeter, view),
        HandshakeKind::Crc {
            from,
            field,
            prefix,
        } => signable(from, view).and_then(|text| {
            let signed = STANDARD.encode(signed(greeter, &text)?);
            Ok(json(&[(field, &format!("{prefix}{signed}"))]))
        }),
        HandshakeKind::PlainToken { from } => signable(from, view).and_then(|text| {
            let signed = to_hex(&signed(greeter, &text)?);
            Ok(json(&[("plainToken", &text), ("encryptedToken", &signed)]))
        }),
        HandshakeKind::Fixed(rule) => Ok(answer(rule)),
        HandshakeKind::CloudEvents => consent(greeter, view),
    })
}

/// The answer of a rule.
pub(super) fn answer(rule: &AnswerRule) -> Answer {
    let content_type = rule.content_type.iter();
    Answer {
        status: rule.status,
        headers: content_type
            .map(|value| (CONTENT_TYPE, value.clone()))
            .collect(),
        body: rule.body.clone(),
    }
}

fn bad_request(detail: &str) -> Rejection {
    Rejection::BadRequest(detail.to_owned())
}

fn echo(
    from: &Place,
    reply: &Reply,
    verify: Option<&Place>,
    greeter: Greeter<'_>,
    view: &View<'_>,
) -> Result<Answer, Rejection> {
    if let Some(place) = verify {
        let given = place.read(view).unwrap_or_default();
        let own = greeter.verify_token.unwrap_or_default();
        let same = hash(given.as_bytes()).ct_eq(&hash(own.as_bytes()));
        if !bool::from(same) || own.is_empty() {
            return Err(Rejection::BadToken);
        }
    }
    let text = from.read(view).filter(|text| text.len() <= MAX_ECHO);
    let text = text.ok_or_else(|| bad_request("what is to be sent back is over 1 KiB or empty"))?;
    match reply {
        Reply::Text => Ok(Answer::of_type("text/plain; charset=utf-8", text)),
        Reply::Json(field) => Ok(json(&[(field, &text)])),
        Reply::Header(name) => {
            let value = HeaderValue::from_str(&text);
            let value = value.map_err(|_| bad_request("what is to be sent back is no header"))?;
            let mut answer = Answer::empty(StatusCode::OK);
            answer.headers.push((name.clone(), value));
            Ok(answer)
        }
    }
}

/// A text that may be signed.
fn signable(from: &Place, view: &View<'_>) -> Result<String, Rejection> {
    let text = from.read(view);
    let text = text.filter(|text| is_signable(&[text.as_bytes()]));
    text.ok_or_else(|| bad_request("the token is not 1 to 128 of A-Z a-z 0-9 _ = . -"))
}

fn signed(greeter: Greeter<'_>, text: &str) -> Result<Vec<u8>, Rejection> {
    match greeter.key {
        Some(Key::Hmac(key)) => Ok(mac(key, &[text.as_bytes()]).as_ref().to_vec()),
        _ => Err(bad_request("there is no secret to answer with")),
    }
}

fn json(fields: &[(&str, &str)]) -> Answer {
    let mut text = String::from("{");
    for (n, (name, value)) in fields.iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        write_string(name, &mut text);
        text.push(':');
        write_string(value, &mut text);
    }
    text.push('}');
    Answer::of_type("application/json", text)
}

/// Consent to deliveries, at the rate of the source.
fn consent(greeter: Greeter<'_>, view: &View<'_>) -> Result<Answer, Rejection> {
    let origin = view.header(&REQUEST_ORIGIN).unwrap_or_default().trim();
    let origin = RequestOrigin::new(origin);
    let origin = origin.map_err(|_| bad_request("WebHook-Request-Origin is not a DNS name"))?;
    let rate = match greeter.rate_limit {
        // A cast from a float stops at the bounds of the integer.
        Some(rate) => HeaderValue::from(((rate.per_second * 60.0) as u64).max(1)),
        None => HeaderValue::from_static("*"),
    };
    let mut answer = Answer::empty(StatusCode::OK);
    answer.headers = vec![
        (http::header::ALLOW, HeaderValue::from_static("POST")),
        (ALLOWED_ORIGIN, origin.header()),
        (ALLOWED_RATE, rate),
    ];
    Ok(answer)
}
