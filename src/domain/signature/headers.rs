//! The headers that carry an attempt's signatures.
//!
//! Every secret that still signs does so, newest first, where a format has room for several
//! signatures (v1, v1a, svix, Stripe, and styles of one's own through `signatures`). GitHub,
//! Shopify and Slack have room for one, and there the newest secret signs: a receiver changes to
//! it when it is ready, what it refused until then is sent again, and a secret that was
//! replaced because others know it is worth nothing from that moment.
//!
//! The key of the providers' signatures is the secret's whole string as it is shown, since a
//! receiver that was written for them pastes it as it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderName, HeaderValue};
use ring::hmac;

use super::keys::{Key, Pair, Secret};
use super::names;
use super::standard::header_value;
use super::styles::{Algorithm, Encoding, OwnStyle, Style};
use super::templates::{self, Variables};
use crate::domain::hex::to_hex;

/// The longest value that a style of one's own may make, in bytes.
const MAX_VALUE: usize = 8 * 1024;

/// What signs an attempt, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    pub secrets: &'a [&'a Secret],
    /// Sign with Ed25519 if none of the secrets can. Symmetric ones are not used.
    pub signing_keys: &'a [&'a Secret],
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `webhook-id`
    pub id: &'a str,
    /// `webhook-timestamp`, in seconds since 1970.
    pub timestamp: u64,
    pub body: &'a [u8],
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned<E> {
    #[error("there is no key to make the signature {style} with")]
    NoKey { style: String },
    #[error("the signature of {header}: `{field}` cannot be rendered: {source}")]
    Template {
        header: HeaderName,
        field: &'static str,
        source: E,
    },
    #[error(
        "the signature of {header}: the body can only be printed in `{field}` as it is, at most {} times",
        templates::MAX_BODIES
    )]
    Body {
        header: HeaderName,
        field: &'static str,
    },
    #[error(
        "the signature's header {header} would not be visible ASCII, would begin or end with a \
         space, or would be longer than {MAX_VALUE} bytes"
    )]
    Value { header: HeaderName },
}

/// The headers with the signatures of one attempt; `webhook-id` and `webhook-timestamp` are not
/// among them. No styles are `v1` if there are secrets, and else nothing; who knows that there
/// are none calls [`header_value`] alone.
///
/// `render` renders a template as plain text: nothing is escaped.
pub fn headers_for<E: std::error::Error + 'static>(
    styles: &[Style],
    keys: Keys<'_>,
    message: Message<'_>,
    render: impl Fn(&str, &Variables<'_>) -> Result<String, E>,
) -> Result<Vec<(HeaderName, HeaderValue)>, NotSigned<E>> {
    let signer = Signer::new(keys, message);
    let Message {
        id,
        timestamp,
        body,
    } = message;
    let default = [Style::V1];
    let styles = match styles {
        [] if keys.secrets.is_empty() => return Ok(Vec::new()),
        [] => &default,
        given => given,
    };
    let v1 = signer.v1(styles)?;
    let mut headers = Vec::with_capacity(styles.len() + 3);
    let mut set = |name: HeaderName, text: &str| {
        let value = value(name.clone(), text)?;
        headers.push((name, value));
        Ok(())
    };
    let standard = signer.standard(styles, &v1)?;
    if !standard.is_empty() {
        set(names::WEBHOOK_SIGNATURE, &standard)?;
    }
    for style in styles {
        match style {
            Style::V1 | Style::V1a => {}
            Style::Svix => {
                set(names::SVIX_ID, id)?;
                set(names::SVIX_TIMESTAMP, &timestamp.to_string())?;
                set(names::SVIX_SIGNATURE, &v1)?;
            }
            Style::GitHub => set(names::GITHUB, &github(&signer.newest(style)?, body))?,
            Style::Shopify => set(names::SHOPIFY, &shopify(&signer.newest(style)?, body))?,
            Style::Slack => {
                let signed = slack(&signer.newest(style)?, timestamp, body);
                set(names::SLACK_TIMESTAMP, &timestamp.to_string())?;
                set(names::SLACK_SIGNATURE, &signed)?;
            }
            Style::Stripe => {
                let signed = stripe(&signer.shown(style)?, timestamp, body);
                set(names::STRIPE, &signed)?;
            }
            Style::Own(own) => set(own.header.clone(), &signer.own(own, style, &render)?)?,
        }
    }
    Ok(headers)
}

struct Signer<'a> {
    symmetric: Vec<&'a Secret>,
    signing: Vec<&'a Secret>,
    message: Message<'a>,
}

impl<'a> Signer<'a> {
    fn new(keys: Keys<'a>, message: Message<'a>) -> Self {
        let of = |secrets: &[&'a Secret], symmetric: bool| -> Vec<&'a Secret> {
            let all = secrets.iter().copied();
            all.filter(|secret| matches!(secret.0, Key::Symmetric(_)) == symmetric)
                .collect()
        };
        let mut signing = of(keys.secrets, false);
        if signing.is_empty() {
            signing = of(keys.signing_keys, false);
        }
        Signer {
            symmetric: of(keys.secrets, true),
            signing,
            message,
        }
    }

    /// The v1 signatures; empty if no style wants them.
    fn v1<E>(&self, styles: &[Style]) -> Result<String, NotSigned<E>> {
        let wanted = |style: &&Style| matches!(style, Style::V1 | Style::Svix);
        match styles.iter().find(wanted) {
            None => Ok(String::new()),
            Some(style) => self.signed_by(&self.symmetric, style),
        }
    }

    /// The value of `webhook-signature`: the versions in the order of the styles.
    fn standard<E>(&self, styles: &[Style], v1: &str) -> Result<String, NotSigned<E>> {
        let mut parts: Vec<String> = Vec::with_capacity(2);
        for style in styles {
            match style {
                Style::V1 | Style::Svix if !parts.iter().any(|part| part == v1) => {
                    parts.push(v1.to_owned());
                }
                Style::V1a => parts.push(self.signed_by(&self.signing, style)?),
                _ => {}
            }
        }
        Ok(parts.join(" "))
    }

    fn signed_by<E>(&self, keys: &[&Secret], style: &Style) -> Result<String, NotSigned<E>> {
        if keys.is_empty() {
            return Err(no_key(style));
        }
        let Message {
            id,
            timestamp,
            body,
        } = self.message;
        Ok(header_value(keys.iter().copied(), id, timestamp, body))
    }

    /// The symmetric secrets as receivers have them, at least one.
    fn shown<E>(&self, style: &Style) -> Result<Vec<String>, NotSigned<E>> {
        match self.symmetric.is_empty() {
            true => Err(no_key(style)),
            false => Ok(self.symmetric.iter().map(|one| one.reveal()).collect()),
        }
    }

    fn newest<E>(&self, style: &Style) -> Result<String, NotSigned<E>> {
        let newest = self.symmetric.first();
        newest.map(|one| one.reveal()).ok_or_else(|| no_key(style))
    }

    fn own<E: std::error::Error + 'static>(
        &self,
        own: &OwnStyle,
        style: &Style,
        render: impl Fn(&str, &Variables<'_>) -> Result<String, E>,
    ) -> Result<String, NotSigned<E>> {
        let Message {
            id,
            timestamp,
            body,
        } = self.message;
        let rendered = |field, template: &str, signatures| {
            let variables = Variables::new(id, timestamp, signatures);
            render(template, &variables).map_err(|source| NotSigned::Template {
                header: own.header.clone(),
                field,
                source,
            })
        };
        let bad_body = |field| NotSigned::Body {
            header: own.header.clone(),
            field,
        };
        let content = rendered("content", &own.content, None)?;
        let content = templates::fill(&content, body).map_err(|_| bad_body("content"))?;
        let signatures = self.sign_own(own, &content);
        if signatures.is_empty() {
            return Err(no_key(style));
        }
        let formatted = rendered("format", &own.format, Some(&signatures))?;
        let pieces = templates::fill(&formatted, body).map_err(|_| bad_body("format"))?;
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let value = (length <= MAX_VALUE).then(|| pieces.concat());
        let text = value.and_then(|value| String::from_utf8(value).ok());
        text.ok_or_else(|| NotSigned::Value {
            header: own.header.clone(),
        })
    }

    /// Encoded, newest first.
    fn sign_own(&self, own: &OwnStyle, content: &[&[u8]]) -> Vec<String> {
        let algorithm = match own.algorithm {
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
            Algorithm::Ed25519 => {
                let content = content.concat();
                let signed = pairs(&self.signing).map(|pair| pair.sign(&content));
                return signed.map(|one| encode(own.encoding, &one)).collect();
            }
        };
        let signed = self
            .symmetric
            .iter()
            .map(|secret| mac(algorithm, &secret.reveal(), content));
        signed
            .map(|one| encode(own.encoding, one.as_ref()))
            .collect()
    }
}

fn pairs<'a>(secrets: &'a [&Secret]) -> impl Iterator<Item = &'a Pair> {
    secrets.iter().filter_map(|secret| match &secret.0 {
        Key::Ed25519(pair) => Some(&**pair),
        Key::Symmetric(_) => None,
    })
}

/// `X-Hub-Signature-256`:
/// <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>
pub(super) fn github(key: &str, body: &[u8]) -> String {
    format!("sha256={}", to_hex(sha256(key, &[body]).as_ref()))
}

/// `X-Shopify-Hmac-Sha256`:
/// <https://shopify.dev/docs/apps/build/webhooks/subscribe/https>
pub(super) fn shopify(key: &str, body: &[u8]) -> String {
    STANDARD.encode(sha256(key, &[body]))
}

/// `X-Slack-Signature`:
/// <https://docs.slack.dev/authentication/verifying-requests-from-slack>
pub(super) fn slack(key: &str, timestamp: u64, body: &[u8]) -> String {
    let begin = format!("v0:{timestamp}:");
    let signed = sha256(key, &[begin.as_bytes(), body]);
    format!("v0={}", to_hex(signed.as_ref()))
}

/// `Stripe-Signature`: <https://docs.stripe.com/webhooks#verify-manually>
pub(super) fn stripe(keys: &[String], timestamp: u64, body: &[u8]) -> String {
    let begin = format!("{timestamp}.");
    let signed = keys
        .iter()
        .map(|key| sha256(key, &[begin.as_bytes(), body]));
    signed.fold(format!("t={timestamp}"), |value, one| {
        value + ",v1=" + &to_hex(one.as_ref())
    })
}

fn sha256(key: &str, content: &[&[u8]]) -> hmac::Tag {
    mac(hmac::HMAC_SHA256, key, content)
}

fn mac(algorithm: hmac::Algorithm, key: &str, content: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key.as_bytes()));
    for piece in content {
        context.update(piece);
    }
    context.sign()
}

fn encode(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex => to_hex(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
    }
}

fn no_key<E>(style: &Style) -> NotSigned<E> {
    NotSigned::NoKey {
        style: style.to_string(),
    }
}

/// Visible ASCII and spaces inside, as endpoints' own headers have it.
fn value<E>(header: HeaderName, text: &str) -> Result<HeaderValue, NotSigned<E>> {
    let visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let read = HeaderValue::from_str(text).ok();
    read.filter(|_| visible && text.trim() == text)
        .ok_or(NotSigned::Value { header })
}
