//! Verifying a call: over the raw bytes, before anything is parsed that the signature covers.
//!
//! A header may hold several signatures, a source several secrets, and a provider may write its URL or
//! its time in two ways. All of these are tried, and compared as [`Comparison`] says. What a request
//! can make of that is bounded: by candidates here, by secrets and places where recipes are read.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use ring::{digest, hmac};
use subtle::Choice;

use super::call::View;
use super::comparison::Comparison;
use super::keys::{BASE64, BASE64_URL, Key, SchemeKey, hash};
use super::moment;
use super::place::{Place, parts};
use super::pointer::scalar;
use super::recipe::{Algorithm, Encoding, Layout, Piece, Recipe, Scheme, is_signable};
use super::soap::same_account;
use super::url_form;
use super::verdict::{Rejection, VerifiedBy};
use crate::domain::hex::{from_hex, to_hex};
use crate::domain::time::Timestamp;

/// The most signatures of one request that are looked at.
const MAX_CANDIDATES: usize = 16;
/// The same for public keys: to check one takes 50 µs, and anybody can send them.
const MAX_ASYMMETRIC: usize = 4;
/// The longest of them, encoded.
const MAX_CANDIDATE: usize = 4096;

/// What verifies the calls of a source.
#[derive(Clone, Copy)]
pub(super) struct Verifier<'a> {
    pub recipe: &'a Recipe,
    /// The keys of each scheme.
    pub keys: &'a [Vec<SchemeKey>],
    pub app_id: &'a str,
    pub tolerance: Duration,
    pub now: Timestamp,
}

/// A call that is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    pub by: VerifiedBy,
    /// The id that was signed.
    pub id: Option<String>,
}

/// Verifies a call. All schemes that read the decisive header are tried, and of several reasons to
/// refuse it the first is given.
///
/// # Errors
/// Why it is not verified.
pub(super) fn verify(verifier: Verifier<'_>, view: &View<'_>) -> Result<Verified, Rejection> {
    let mut schemes: Vec<(&Scheme, Vec<&SchemeKey>)> = Vec::new();
    for (scheme, keys) in verifier.recipe.schemes.iter().zip(verifier.keys) {
        let keys: Vec<_> = keys.iter().filter(|key| key.counts(verifier.now)).collect();
        if !keys.is_empty() {
            schemes.push((scheme, keys));
        }
    }
    let Some((first, _)) = schemes.first() else {
        return Err(Rejection::BadSignature("no secret counts any more"));
    };
    let there = schemes.iter().map(|(scheme, _)| &scheme.signature);
    let Some(decisive) = there.clone().find(|place| place.is_there(view)) else {
        let missing = first.signature.name();
        return Err(Rejection::MissingSignature(format!("{missing} is missing")));
    };
    let same = |scheme: &Scheme| match decisive.header() {
        Some(name) => scheme.signature.header() == Some(name),
        None => scheme.signature == *decisive,
    };
    let mut outcome = None;
    for (scheme, keys) in schemes.iter().filter(|(scheme, _)| same(scheme)) {
        let attempt = Attempt {
            verifier,
            scheme,
            keys,
            view,
        };
        let tried = attempt.verify();
        let better = match &outcome {
            None => true,
            Some(Ok(_)) => false,
            Some(Err(_)) => tried.is_ok(),
        };
        if better {
            outcome = Some(tried);
        }
    }
    outcome.unwrap_or(Err(Rejection::BadSignature(NO_MATCH)))
}

const NO_MATCH: &str = "no signature matches: another secret, or the request was changed";

/// One scheme and one call.
struct Attempt<'a, 'v> {
    verifier: Verifier<'a>,
    scheme: &'a Scheme,
    keys: &'a [&'a SchemeKey],
    view: &'a View<'v>,
}

/// What of a call is signed besides its body. The times and URLs are alternatives.
struct Signed<'a> {
    timestamps: Vec<Option<String>>,
    urls: Vec<Cow<'a, str>>,
    id: Option<String>,
    form: String,
}

impl Attempt<'_, '_> {
    fn verify(&self) -> Result<Verified, Rejection> {
        let number = match self.scheme.algorithm {
            Algorithm::Token => self.match_token()?,
            Algorithm::SalesforceAccount => self.match_account()?,
            _ => {
                let signed = self.signed()?;
                let comparison = self.compare(&signed)?;
                let number = comparison.matched();
                let number = number.ok_or(Rejection::BadSignature(NO_MATCH))?;
                self.check_later_timestamp()?;
                return Ok(Verified {
                    by: self.verified_by(number),
                    id: signed.id,
                });
            }
        };
        Ok(Verified {
            by: self.verified_by(number),
            id: None,
        })
    }

    fn verified_by(&self, number: u32) -> VerifiedBy {
        match self.scheme.algorithm {
            Algorithm::SalesforceAccount => VerifiedBy::Account,
            algorithm if algorithm.is_asymmetric() => VerifiedBy::PublicKey,
            _ => VerifiedBy::Secret(number),
        }
    }

    /// The signatures as they stand in the request.
    fn candidates(&self) -> Vec<String> {
        let texts: Vec<Cow<'_, str>> = match &self.scheme.signature {
            Place::Header(name) => self.view.headers(name).map(Cow::Borrowed).collect(),
            place => {
                let text = place.read(self.view);
                text.map(Cow::Owned).into_iter().collect()
            }
        };
        let texts = texts.iter().map(|text| text.trim());
        let most = match self.scheme.algorithm.is_asymmetric() {
            true => MAX_ASYMMETRIC,
            false => MAX_CANDIDATES,
        };
        let found: Vec<&str> = match &self.scheme.layout {
            Layout::Prefixed(all) => texts
                .filter_map(|text| all.iter().find_map(|prefix| after(text, prefix)))
                .take(most)
                .collect(),
            Layout::Part(name) => texts
                .flat_map(|text| parts(text, name))
                .take(most)
                .collect(),
            Layout::Version(name) => texts
                .flat_map(str::split_ascii_whitespace)
                .filter_map(|one| one.strip_prefix(&**name)?.strip_prefix(','))
                .take(most)
                .collect(),
        };
        let fits = |text: &&&str| text.len() <= MAX_CANDIDATE;
        found
            .iter()
            .filter(fits)
            .map(|text| (*text).to_owned())
            .collect()
    }

    fn decoded(&self) -> Vec<Vec<u8>> {
        let decode = |text: String| match self.scheme.encoding {
            Encoding::Hex => from_hex(&text),
            Encoding::Base64 => BASE64.decode(&text).ok(),
            Encoding::Base64Url => BASE64_URL.decode(&text).ok(),
            Encoding::Text => Some(text.into_bytes()),
        };
        self.candidates().into_iter().filter_map(decode).collect()
    }

    fn match_token(&self) -> Result<u32, Rejection> {
        const WRONG: Rejection = Rejection::BadSignature("the token is wrong");
        // Every item of a list has to hold it.
        let candidates: Vec<Vec<u8>> = match &self.scheme.signature {
            Place::Body(pointer) => {
                let found = pointer.find(self.view.document());
                let texts = found.into_iter().map(|raw| scalar(raw).unwrap_or_default());
                texts.map(String::into_bytes).collect()
            }
            _ => self.decoded(),
        };
        let mut matched = Vec::with_capacity(candidates.len());
        for candidate in &candidates {
            let offered = hash(candidate);
            let mut comparison = Comparison::new();
            for key in self.keys {
                if let Key::Token(right) = &key.key {
                    comparison.offer(&offered, right, key.number);
                }
            }
            matched.push(comparison.matched());
        }
        let all: Option<Vec<u32>> = matched.into_iter().collect();
        all.and_then(|all| all.into_iter().max()).ok_or(WRONG)
    }

    fn match_account(&self) -> Result<u32, Rejection> {
        let found = self.scheme.signature.read(self.view);
        let found = found.unwrap_or_default();
        let mut comparison = Comparison::new();
        for key in self.keys {
            if let Key::Account(own) = &key.key {
                let same = same_account(&found, own);
                comparison.note(Choice::from(u8::from(same)), key.number);
            }
        }
        let another = "the OrganizationId is not the account of the source";
        comparison.matched().ok_or(Rejection::BadAccount(another))
    }

    fn has(&self, piece: &Piece) -> bool {
        self.scheme.content.contains(piece)
    }

    fn signed(&self) -> Result<Signed<'_>, Rejection> {
        let missing = |place: &Place| {
            let name = place.name();
            Rejection::MissingSignature(format!("{name} is missing"))
        };
        let id = match (&self.scheme.message_id, self.has(&Piece::Id)) {
            (Some(place), true) => {
                let found = place.read(self.view);
                Some(found.ok_or_else(|| missing(place))?)
            }
            _ => None,
        };
        let urls = match (self.has(&Piece::Url), self.view.call.url) {
            (false, _) => vec![Cow::Borrowed("")],
            (true, Some(url)) => url_form::variants(self.verifier.recipe.url_form, url),
            (true, None) => return Err(Rejection::BadSignature("there is no public_url")),
        };
        Ok(Signed {
            timestamps: self.timestamps()?,
            urls,
            id,
            form: self.form()?,
        })
    }

    /// The signed times that are not of another time than ours.
    fn timestamps(&self) -> Result<Vec<Option<String>>, Rejection> {
        if !self.has(&Piece::Timestamp) {
            return Ok(vec![None]);
        }
        let places = self.scheme.timestamps.iter();
        let mut found = places.clone().filter_map(|place| place.read(self.view));
        let mut fresh = Vec::new();
        let mut stale = None;
        for text in found.by_ref() {
            match self.check_fresh(&text) {
                Ok(()) => fresh.push(Some(text)),
                Err(why) => stale = stale.or(Some(why)),
            }
        }
        match (fresh.is_empty(), stale) {
            (false, _) => Ok(fresh),
            (true, Some(why)) => Err(why),
            (true, None) => {
                let name = places.map(Place::name).next().unwrap_or_default();
                Err(Rejection::MissingSignature(format!("{name} is missing")))
            }
        }
    }

    fn check_fresh(&self, text: &str) -> Result<(), Rejection> {
        let Verifier { now, tolerance, .. } = self.verifier;
        moment::check(self.scheme.unit, text, now, tolerance).map_err(Rejection::Stale)
    }

    /// A time in the body needs no place of its own in what is signed.
    fn check_later_timestamp(&self) -> Result<(), Rejection> {
        if self.has(&Piece::Timestamp) || self.scheme.timestamps.is_empty() {
            return Ok(());
        }
        let mut places = self.scheme.timestamps.iter();
        match places.find_map(|place| place.read(self.view)) {
            Some(text) => self.check_fresh(&text),
            None => Err(Rejection::Stale("the body holds no timestamp".to_owned())),
        }
    }

    /// The fields of a form, sorted. A body that is not a form has its hash in the URL instead:
    /// otherwise a signature over the URL alone would do for any body.
    fn form(&self) -> Result<String, Rejection> {
        if let Some(place) = &self.verifier.recipe.body_sha256
            && place.is_there(self.view)
        {
            let given = place.read(self.view).unwrap_or_default();
            let right = to_hex(&hash(self.view.call.body));
            let mut comparison = Comparison::new();
            comparison.offer(given.to_ascii_lowercase().as_bytes(), right.as_bytes(), 1);
            let other = "the hash in the URL is not the one of the body";
            let matched = comparison.matched().map(|_| String::new());
            return matched.ok_or(Rejection::BadSignature(other));
        }
        if !self.has(&Piece::FormSorted) || self.has(&Piece::Body) {
            return Ok(sorted(self.view).unwrap_or_default());
        }
        match self.view.call.body.is_empty() {
            true => Ok(String::new()),
            false => sorted(self.view).ok_or(Rejection::BadSignature(
                "the body is neither a form nor hashed in the URL",
            )),
        }
    }

    /// Every candidate with every key, time and URL.
    fn compare(&self, signed: &Signed<'_>) -> Result<Comparison, Rejection> {
        let candidates = self.decoded();
        if candidates.is_empty() {
            let form = "the signature does not have the form of one";
            return Err(Rejection::BadSignature(form));
        }
        let mut comparison = Comparison::new();
        for timestamp in &signed.timestamps {
            for url in &signed.urls {
                for key in self.keys {
                    let secret = match &key.key {
                        Key::Plain(secret) => &**secret,
                        _ => &[],
                    };
                    let pieces = self.pieces(signed, timestamp.as_deref(), url, secret);
                    if self.verifier.recipe.signs_tokens() && is_signable(&pieces) {
                        let asked = "anybody could have this signed by a handshake";
                        return Err(Rejection::BadSignature(asked));
                    }
                    match_key(&mut comparison, key, &pieces, &candidates);
                }
            }
        }
        Ok(comparison)
    }

    fn pieces<'s>(
        &'s self,
        signed: &'s Signed<'_>,
        timestamp: Option<&'s str>,
        url: &'s str,
        secret: &'s [u8],
    ) -> Vec<&'s [u8]> {
        let call = &self.view.call;
        let piece = |piece: &'s Piece| match piece {
            Piece::Literal(text) => text.as_bytes(),
            Piece::Body => call.body,
            Piece::Timestamp => timestamp.unwrap_or_default().as_bytes(),
            Piece::Id => signed.id.as_deref().unwrap_or_default().as_bytes(),
            Piece::Method => call.method.as_str().as_bytes(),
            Piece::Url => url.as_bytes(),
            Piece::FormSorted => signed.form.as_bytes(),
            Piece::AppId => self.verifier.app_id.as_bytes(),
            Piece::Secret => secret,
        };
        self.scheme.content.iter().map(piece).collect()
    }
}

/// What a provider with this key would sign of a call; `None` if the key cannot sign.
///
/// # Errors
/// Something that is signed is missing.
pub(super) fn sign(
    verifier: Verifier<'_>,
    scheme: &Scheme,
    key: &SchemeKey,
    view: &View<'_>,
) -> Result<Option<Vec<u8>>, Rejection> {
    let attempt = Attempt {
        verifier,
        scheme,
        keys: &[],
        view,
    };
    let signed = attempt.signed()?;
    let timestamp = signed.timestamps.first().and_then(Option::as_deref);
    let url = signed.urls.first().map(Cow::as_ref).unwrap_or_default();
    let secret = match &key.key {
        Key::Plain(secret) => &**secret,
        _ => &[],
    };
    let pieces = attempt.pieces(&signed, timestamp, url, secret);
    Ok(match &key.key {
        Key::Hmac(hmac) => Some(mac(hmac, &pieces).as_ref().to_vec()),
        Key::Plain(_) => Some(plain(&pieces).as_ref().to_vec()),
        _ => None,
    })
}

/// Compares all candidates with what one key makes of the content.
fn match_key(
    comparison: &mut Comparison,
    key: &SchemeKey,
    pieces: &[&[u8]],
    candidates: &[Vec<u8>],
) {
    let number = key.number;
    let mut offer = |right: &[u8]| {
        for candidate in candidates {
            comparison.offer(candidate, right, number);
        }
    };
    match &key.key {
        Key::Hmac(hmac) => offer(mac(hmac, pieces).as_ref()),
        Key::Plain(_) => offer(plain(pieces).as_ref()),
        Key::Ed25519(public) => {
            // Nothing here is secret, but it compares all of them too.
            let content = pieces.concat();
            let public = UnparsedPublicKey::new(&ED25519, public);
            for candidate in candidates {
                let fits = public.verify(&content, candidate).is_ok();
                comparison.note(Choice::from(u8::from(fits)), number);
            }
        }
        Key::P256(public) => {
            let content = pieces.concat();
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public);
            for candidate in candidates {
                let fits = public.verify(&content, candidate).is_ok();
                comparison.note(Choice::from(u8::from(fits)), number);
            }
        }
        Key::Token(_) | Key::Account(_) => {}
    }
}

/// The HMAC of pieces.
pub(super) fn mac(key: &hmac::Key, pieces: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for piece in pieces {
        context.update(piece);
    }
    context.sign()
}

/// SHA-256 of pieces.
fn plain(pieces: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for piece in pieces {
        context.update(piece);
    }
    context.finish()
}

/// Names and values of a form by name and value, each pair once; `None` if the body is not a form.
fn sorted(view: &View<'_>) -> Option<String> {
    let mut fields: Vec<(&str, &str)> = view
        .form()?
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .collect();
    fields.sort_unstable();
    fields.dedup();
    let mut text = String::new();
    for (name, value) in fields {
        text.push_str(name);
        text.push_str(value);
    }
    Some(text)
}

/// What follows a prefix, in whatever case that is written.
fn after<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inbound::call::Call;
    use crate::domain::inbound::keys::of_secret;
    use crate::domain::inbound::preset::named;

    fn keys(scheme: &Scheme, secrets: &[&str]) -> Vec<SchemeKey> {
        let made = (1..).zip(secrets).map(|(number, text)| SchemeKey {
            key: of_secret(scheme, text).unwrap(),
            number,
            until: None,
        });
        made.collect()
    }

    /// How often a call with this header is compared, and which key matches.
    fn compared(
        preset: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> (usize, Option<u32>) {
        let recipe = &named(preset).unwrap().recipe;
        let scheme = &recipe.schemes[0];
        let keys = keys(scheme, &["secret", "other", "third"]);
        let body = body.to_owned().into();
        let mut map = http::HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let call = Call {
            method: &http::Method::POST,
            query: "",
            headers: &map,
            body: &body,
            url: None,
        };
        let all: Vec<&SchemeKey> = keys.iter().collect();
        let attempt = Attempt {
            verifier: Verifier {
                recipe,
                keys: &[],
                app_id: "app-1",
                tolerance: recipe.tolerance,
                now: Timestamp::from_millis(1_700_000_000_000),
            },
            scheme,
            keys: &all,
            view: &View::new(call, None),
        };
        let comparison = attempt.compare(&attempt.signed().unwrap()).unwrap();
        (comparison.compared(), comparison.matched())
    }

    /// The signature of Stripe by one of the secrets.
    fn stripe(secret: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        to_hex(mac(&key, &[b"1700000000.{}"]).as_ref())
    }

    #[test]
    fn every_candidate_is_compared_with_every_secret_wherever_the_match_is() {
        let wrong = "0".repeat(64);
        for (candidates, number) in [
            ([stripe("secret"), wrong.clone(), wrong.clone()], Some(1)),
            ([wrong.clone(), wrong.clone(), stripe("third")], Some(3)),
            ([stripe("third"), stripe("other"), wrong.clone()], Some(2)),
            ([wrong.clone(), wrong.clone(), wrong.clone()], None),
        ] {
            let parts: Vec<String> = candidates.iter().map(|one| format!("v1={one}")).collect();
            let header = format!("t=1700000000,{}", parts.join(","));
            let seen = compared("stripe", &[("stripe-signature", &header)], "{}");
            assert_eq!(seen, (9, number), "{header}");
        }
    }

    #[test]
    fn every_time_is_tried_with_every_secret() {
        let body = r#"{"timestamp":"1700000000001"}"#;
        let text = format!("app-1{body}1700000000000secret");
        for (signature, number) in [
            (to_hex(&hash(text.as_bytes())), Some(1)),
            ("0".repeat(64), None),
        ] {
            let headers = [
                ("x-zevent-timestamp", "1700000000000"),
                ("x-zevent-signature", &*signature),
            ];
            assert_eq!(compared("zalo", &headers, body), (6, number));
        }
    }
}
