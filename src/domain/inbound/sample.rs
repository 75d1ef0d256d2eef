//! A request such as the provider would send, for trying a source.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::call::{Call, View};
use super::keys::{Key, SchemeKey, hash};
use super::moment;
use super::place::Place;
use super::preset::{self, SampleParts};
use super::recipe::{Algorithm, Encoding, Layout, Piece, Scheme};
use super::source::{Source, TOKEN_PARAM};
use super::verify::{Verifier, sign};
use crate::domain::hex::to_hex;
use crate::domain::json::{self, Json};
use crate::domain::time::Timestamp;

/// A request that the source takes.
#[derive(Clone, Debug)]
pub struct Sample {
    pub method: Method,
    /// Without `?`.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why no sample can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSample {
    #[error("the provider signs with a private key, which is not known here")]
    PrivateKey,
    #[error("no secret of the source counts any more")]
    NoSecret,
    #[error("the provider signs the URL, and there is no public_url")]
    NoUrl,
    #[error("the signature or something that is signed is in the body, which cannot be made up")]
    Body,
}

/// What stands for what is of the moment or the source.
struct Fill<'a> {
    source: &'a Source,
    nonce: [u8; 16],
    now: Timestamp,
}

impl Source {
    /// A request such as the provider would send now, signed with the newest secret. `body` takes the
    /// place of the provider's example. `url` is the source's own, without a query.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub fn sample(
        &self,
        body: Option<Bytes>,
        nonce: [u8; 16],
        now: Timestamp,
        url: Option<&str>,
    ) -> Result<Sample, NoSample> {
        let fill = Fill {
            source: self,
            nonce,
            now,
        };
        let generic = SampleParts {
            body: r#"{"id":"%NONCE%","test":true}"#.into(),
            content_type: Some("application/json".into()),
            headers: Vec::new(),
        };
        let parts = preset::named(self.preset).map_or(&generic, |preset| &preset.sample);
        let mut sample = Sample {
            method: Method::POST,
            query: String::new(),
            headers: HeaderMap::new(),
            body: match &body {
                Some(body) => body.clone(),
                None => fill.text(&parts.body).into(),
            },
        };
        for (name, value) in &parts.headers {
            set(&mut sample.headers, name, &fill.text(value));
        }
        let content_type = match (&body, &parts.content_type) {
            (None, Some(content_type)) => content_type,
            (Some(body), _) if json::check(body).is_ok() => "application/json",
            _ => "application/octet-stream",
        };
        set(&mut sample.headers, &CONTENT_TYPE, content_type);
        if let Some(token) = &self.token {
            add_param(&mut sample.query, TOKEN_PARAM, token);
        }
        match self.signing_scheme(now)? {
            Some((scheme, key)) => self.signed(sample, scheme, key, &fill, url),
            None => Ok(sample),
        }
    }

    /// The scheme and key that sign. `None`: nothing is signed.
    fn signing_scheme(&self, now: Timestamp) -> Result<Option<(&Scheme, &SchemeKey)>, NoSample> {
        let pairs = self.recipe.schemes.iter().zip(&self.keys);
        let mut with_keys = pairs.filter(|(_, keys)| !keys.is_empty()).peekable();
        if self.verifies_nothing || with_keys.peek().is_none() {
            return Ok(None);
        }
        let mut only_private = true;
        for (scheme, keys) in with_keys {
            if scheme.algorithm == Algorithm::SalesforceAccount {
                return Ok(None);
            }
            only_private &= scheme.algorithm.is_asymmetric();
            let key = keys.iter().find(|key| key.counts(now));
            if let Some(key) = key.filter(|_| scheme.algorithm.is_secret()) {
                return Ok(Some((scheme, key)));
            }
        }
        Err(match only_private {
            true => NoSample::PrivateKey,
            false => NoSample::NoSecret,
        })
    }

    fn signed(
        &self,
        mut sample: Sample,
        scheme: &Scheme,
        key: &SchemeKey,
        fill: &Fill<'_>,
        url: Option<&str>,
    ) -> Result<Sample, NoSample> {
        if let Key::Token(_) = key.key {
            let number = usize::try_from(key.number).unwrap_or_default();
            let secret = self.secrets.get(number.wrapping_sub(1));
            let secret = secret.ok_or(NoSample::NoSecret)?;
            if let Place::Body(pointer) = &scheme.signature {
                let has_place = !pointer.find(&sample.body).is_empty();
                return has_place.then_some(sample).ok_or(NoSample::Body);
            }
            return put(sample, scheme, secret.text.as_bytes());
        }
        for place in scheme.message_id.iter() {
            if let Place::Header(name) = place {
                set(
                    &mut sample.headers,
                    name,
                    &format!("msg_{}", to_hex(&fill.nonce)),
                );
            }
        }
        if let Some(place) = scheme.timestamps.first() {
            let text = moment::write(scheme.unit, fill.now);
            match place {
                Place::Header(name) => set(&mut sample.headers, name, &text),
                Place::Part(name, part) => {
                    set(&mut sample.headers, name, &format!("{part}={text}"));
                }
                _ => {}
            }
        }
        if let Some(Place::Query(name)) = &self.recipe.body_sha256
            && !is_form(&sample.headers)
        {
            let hashed = to_hex(&hash(&sample.body));
            add_param(&mut sample.query, name, &hashed);
        }
        let url = self.whole_url(scheme, &sample, url)?;
        let call = Call {
            method: &sample.method,
            query: &sample.query,
            headers: &sample.headers,
            body: &sample.body,
            url: url.as_deref(),
        };
        let verifier = Verifier {
            recipe: &self.recipe,
            keys: &self.keys,
            app_id: self.app_id.as_deref().unwrap_or_default(),
            tolerance: self.tolerance,
            now: fill.now,
        };
        let view = View::new(call, self.recipe.form_json.as_deref());
        let signature = sign(verifier, scheme, key, &view);
        drop(view);
        match signature {
            Ok(Some(signature)) => put(sample, scheme, &signature),
            Ok(None) => Err(NoSample::PrivateKey),
            Err(_) => Err(NoSample::Body),
        }
    }

    fn whole_url(
        &self,
        scheme: &Scheme,
        sample: &Sample,
        url: Option<&str>,
    ) -> Result<Option<String>, NoSample> {
        let whole = url.map(|url| match sample.query.as_str() {
            "" => url.to_owned(),
            query => format!("{url}?{query}"),
        });
        match whole.is_none() && scheme.content.contains(&Piece::Url) {
            true => Err(NoSample::NoUrl),
            false => Ok(whole),
        }
    }
}

impl Fill<'_> {
    fn text(&self, text: &str) -> String {
        let number = u128::from_be_bytes(self.nonce) >> 84;
        let source = self.source;
        let mut secrets = source.secrets.iter().filter(|one| one.counts(self.now));
        let secret = secrets.next().map_or("", |one| &one.text);
        let secret = Json::from(secret).to_string();
        text.replace("%NONCE%", &to_hex(&self.nonce))
            .replace("%NUMBER%", &number.to_string())
            .replace("%SECONDS%", &self.now.as_secs().to_string())
            .replace("%MILLIS%", &self.now.as_millis().to_string())
            .replace("%TIME%", &self.now.to_string())
            .replace("%APP_ID%", source.app_id.as_deref().unwrap_or_default())
            .replace("%ACCOUNT%", source.account.as_deref().unwrap_or_default())
            .replace("\"%SECRET%\"", &secret)
    }
}

/// Puts a signature, or a token, where the scheme has it.
fn put(mut sample: Sample, scheme: &Scheme, signature: &[u8]) -> Result<Sample, NoSample> {
    let encoded = match scheme.encoding {
        Encoding::Hex => to_hex(signature),
        Encoding::Base64 => STANDARD.encode(signature),
        Encoding::Base64Url => URL_SAFE.encode(signature),
        Encoding::Text => String::from_utf8(signature.to_vec()).map_err(|_| NoSample::Body)?,
    };
    let text = match &scheme.layout {
        Layout::Prefixed(all) => {
            let prefix = all.first().map(AsRef::as_ref).unwrap_or_default();
            format!("{prefix}{encoded}")
        }
        Layout::Part(name) => format!("{name}={encoded}"),
        Layout::Version(name) => format!("{name},{encoded}"),
    };
    match &scheme.signature {
        Place::Header(name) => {
            let before = sample
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            let is_list = matches!(scheme.layout, Layout::Part(_));
            let text = match before.filter(|_| is_list) {
                Some(before) => format!("{before},{text}"),
                None => text,
            };
            set(&mut sample.headers, name, &text);
            Ok(sample)
        }
        Place::Query(name) => {
            add_param(&mut sample.query, name, &text);
            Ok(sample)
        }
        _ => Err(NoSample::Body),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let form = "application/x-www-form-urlencoded";
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes() == form.as_bytes())
}

/// What cannot stand in a header is left out; nothing then verifies.
fn set(headers: &mut HeaderMap, name: &HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name.clone(), value);
    }
}

fn add_param(query: &mut String, name: &str, value: &str) {
    let mut params = url::form_urlencoded::Serializer::new(String::new());
    params.append_pair(name, value);
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(&params.finish());
}
