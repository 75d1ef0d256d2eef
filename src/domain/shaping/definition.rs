//! The keys of a definition that shape requests, checked and made into a [`Shaping`].
//!
//! The configuration file, the API and the store give the same JSON, so that there is one reader
//! and one set of faults.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::checked::{EARLIER_KEYS, Given, Shaping};
use super::consent::Consents;
use super::expiry::earlier_key;
use super::format::{Format, Verb};
use super::pace::Pace;
use super::preset::{self, Preset};
use super::problem::{BadShaping, Problem};
use crate::domain::answer_rule::AnswerRule;
use crate::domain::auth::{Auth, BadAuth};
use crate::domain::cloudevents;
use crate::domain::content::is_json_type;
use crate::domain::extras::{self, Channel};
use crate::domain::filter::Filter;
use crate::domain::identity::{Authorities, BadAuthorities, BadIdentity, Identity};
use crate::domain::json::Json;
use crate::domain::nearest::nearest;
use crate::domain::signature::{self, Secret, SecretKind, Style};
use crate::domain::template::{Output, Template, is_template};
use crate::domain::time::Timestamp;

/// The keys that shape requests.
pub const KEYS: [&str; 17] = [
    "filter",
    "channels",
    "format",
    "template",
    "content_type",
    "preset",
    "text",
    "method",
    "answer",
    "signatures",
    "signing_key",
    "auth",
    "client_cert",
    "client_key",
    "ca",
    "cloudevents_handshake",
    "cloudevents_source",
];

/// The rest of the definition, as far as these keys have to fit it.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Static headers; their values may be templates.
    pub headers: &'a HeaderMap,
    /// Of the secrets, which sign newest first.
    pub secrets: &'a [SecretKind],
    /// Headers that no endpoint may set.
    pub is_reserved: fn(&HeaderName) -> bool,
}

/// Checks what was given. `None`: nothing shapes these requests.
///
/// # Errors
/// The first key that is wrong, and why.
pub fn read(given: &Given, around: Around<'_>) -> Result<Option<Shaping>, BadShaping> {
    let given: Given = given
        .iter()
        .filter(|(_, value)| **value != Json::Null)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let header_templates = header_templates(around.headers)?;
    let kinds = around.secrets.iter().copied();
    if given.is_empty() && header_templates.is_empty() {
        // A key of Ed25519 does not make the default signature.
        signature::check(&[], kinds).map_err(bad("signatures"))?;
        return Ok(None);
    }
    let reader = Reader { given: &given };
    let preset = reader.word("preset", &preset::NAMES)?;
    let preset = preset.and_then(preset::named);
    let (signatures, own_templates) = signatures(&reader, around)?;
    let content_type = content_type(&reader, preset)?;
    let format = format(&reader, preset)?;
    let shaping = Shaping {
        filter: filter(&reader)?,
        channels: channels(&reader)?,
        template: template(&reader, preset, format, content_type.as_ref())?,
        text: text(&reader, preset)?,
        format,
        content_type,
        preset,
        method: method(&reader)?,
        header_templates,
        answer: answer(&reader, preset)?,
        signing_key: signing_key(&reader)?,
        earlier_keys: earlier_keys(&reader),
        signatures,
        own_templates,
        pace: Pace::default(),
        auth: auth(&reader, around)?,
        identity: identity(&reader)?,
        authorities: authorities(&reader)?,
        consents: consents(&reader)?,
        cloudevents_source: source(&reader)?,
        given,
    };
    check_keys(&shaping, around)?;
    Ok(Some(shaping))
}

struct Reader<'a> {
    given: &'a Given,
}

fn bad<P: Into<Problem>>(key: &str) -> impl Fn(P) -> BadShaping + '_ {
    move |problem| BadShaping {
        key: key.to_owned(),
        problem: problem.into(),
    }
}

fn conflict(key: &str, why: &'static str) -> BadShaping {
    bad(key)(Problem::Conflict(why))
}

impl<'a> Reader<'a> {
    fn get(&self, key: &str) -> Option<&'a Json> {
        self.given.get(key)
    }

    fn mistyped(&self, key: &str, found: &Json, wanted: &'static str) -> BadShaping {
        let found = found.a_kind();
        bad(key)(Problem::Type { found, wanted })
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, BadShaping> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let text = value.as_str();
        text.map(Some)
            .ok_or_else(|| self.mistyped(key, value, "a string"))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, BadShaping> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(value) => Err(self.mistyped(key, value, "true or false")),
        }
    }

    /// One of some words.
    fn word(&self, key: &str, known: &[&'static str]) -> Result<Option<&'static str>, BadShaping> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let found = known.iter().copied().find(|word| *word == text);
        found.map(Some).ok_or_else(|| {
            let all = || known.iter().map(|word| format!("{word:?}"));
            let hint = match nearest(text, known.iter().copied()) {
                Some(word) => format!("did you mean {word:?}?"),
                None => format!("write one of {}", all().collect::<Vec<_>>().join(", ")),
            };
            let given = text.chars().take(64).collect();
            bad(key)(Problem::Unknown { given, hint })
        })
    }
}

/// A filter is JSON, or JSON in a string.
fn filter(reader: &Reader<'_>) -> Result<Option<Filter>, BadShaping> {
    let Some(json) = reader.get("filter") else {
        return Ok(None);
    };
    let read = match json {
        Json::String(text) => Filter::parse_text(text),
        json => Filter::parse(json),
    };
    read.map(Some).map_err(|fault| {
        let key = match fault.path() {
            "" => "filter".to_owned(),
            path => format!("filter.{path}"),
        };
        bad(&key)(fault)
    })
}

fn channels(reader: &Reader<'_>) -> Result<Vec<Channel>, BadShaping> {
    let Some(value) = reader.get("channels") else {
        return Ok(Vec::new());
    };
    let wanted = "a list of names such as [\"eu\"]";
    let Json::Array(items) = value else {
        return Err(reader.mistyped("channels", value, wanted));
    };
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let name = item.as_str();
        names.push(name.ok_or_else(|| reader.mistyped("channels", item, wanted))?);
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    extras::read_channels(names).map_err(bad("channels"))
}

fn format(reader: &Reader<'_>, preset: Option<&Preset>) -> Result<Format, BadShaping> {
    let given = reader.word("format", &Format::ALL.map(Format::as_str))?;
    let given = given.and_then(|word| Format::ALL.into_iter().find(|one| one.as_str() == word));
    let has_template = reader.get("template").is_some() || preset.is_some();
    match given {
        None if has_template => Ok(Format::Template),
        None => Ok(Format::Standard),
        Some(Format::Template) if !has_template => Err(conflict(
            "format",
            "the format is \"template\", and there is none; give a `template` or a `preset`",
        )),
        Some(format) if format != Format::Template && has_template => Err(conflict(
            "format",
            "a `template` or `preset` makes the body; remove one of them, or write \"template\"",
        )),
        Some(format) => Ok(format),
    }
}

fn content_type(
    reader: &Reader<'_>,
    preset: Option<&Preset>,
) -> Result<Option<HeaderValue>, BadShaping> {
    let given = reader.text("content_type")?;
    let of_preset = preset.map(|preset| preset.content_type.as_str());
    let is_templated = preset.is_some() || reader.get("template").is_some();
    if given.is_some() && !is_templated {
        return Err(conflict(
            "content_type",
            "only a `template` has a content type of its own; remove it, or give a template",
        ));
    }
    let Some(text) = given.or(of_preset) else {
        return Ok(None);
    };
    let fits = |c: char| c.is_ascii() && !c.is_ascii_control();
    let is_type = text.len() <= 256 && text.chars().all(fits);
    let (essence, _) = text.split_once(';').unwrap_or((text, ""));
    let parts = essence.trim().split_once('/');
    let is_name = |name: &str| {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !name.is_empty() && name.bytes().all(token)
    };
    let is_type = is_type && parts.is_some_and(|(top, sub)| is_name(top) && is_name(sub));
    let value = HeaderValue::from_str(text).ok().filter(|_| is_type);
    value
        .map(Some)
        .ok_or_else(|| bad("content_type")(Problem::ContentType))
}

/// Whether a body of this type is JSON, so that printed values are JSON values.
pub fn is_json(content_type: Option<&HeaderValue>) -> bool {
    match content_type.and_then(|value| value.to_str().ok()) {
        Some(text) => is_json_type(text),
        None => true,
    }
}

fn template(
    reader: &Reader<'_>,
    preset: Option<&Preset>,
    format: Format,
    content_type: Option<&HeaderValue>,
) -> Result<Option<Template>, BadShaping> {
    let output = match is_json(content_type) {
        true => Output::Json,
        false => Output::Text,
    };
    match reader.text("template")? {
        _ if format != Format::Template => Ok(None),
        Some(source) => Template::parse(source, output)
            .map(Some)
            .map_err(bad("template")),
        None => Ok(preset.map(|preset| preset.template.clone())),
    }
}

fn text(
    reader: &Reader<'_>,
    preset: Option<&'static Preset>,
) -> Result<Option<Template>, BadShaping> {
    let given = reader.text("text")?;
    let Some(preset) = preset else {
        return match given {
            None => Ok(None),
            Some(_) => Err(conflict(
                "text",
                "this is the message of a `preset`, and there is none; give one",
            )),
        };
    };
    match given {
        None => Ok(Some(preset.text.clone())),
        Some(source) => Template::parse(source, preset.escape.output())
            .map(Some)
            .map_err(bad("text")),
    }
}

fn method(reader: &Reader<'_>) -> Result<Verb, BadShaping> {
    let word = reader.word("method", &Verb::ALL.map(Verb::as_str))?;
    let named = Verb::ALL
        .into_iter()
        .find(|verb| word == Some(verb.as_str()));
    Ok(named.unwrap_or_default())
}

fn answer(reader: &Reader<'_>, preset: Option<&Preset>) -> Result<Option<AnswerRule>, BadShaping> {
    let Some(given) = reader.get("answer") else {
        return Ok(preset.map(|preset| preset.answer.clone()));
    };
    let written = match given {
        Json::String(text) => Json::parse(text.as_bytes()).ok(),
        _ => None,
    };
    let given = written.as_ref().unwrap_or(given);
    let rule = AnswerRule::parse(given).map_err(|fault| {
        let key = match fault.path().as_str() {
            "" => "answer".to_owned(),
            path => format!("answer.{path}"),
        };
        bad(&key)(fault)
    })?;
    Ok((!rule.is_default()).then_some(rule))
}

/// The styles, and the templates of own ones by their text.
type Styles = (Vec<Style>, Vec<(Box<str>, Template)>);

fn signatures(reader: &Reader<'_>, around: Around<'_>) -> Result<Styles, BadShaping> {
    let Some(given) = reader.get("signatures") else {
        return Ok(Styles::default());
    };
    let mut templates = Vec::new();
    let styles = Style::parse_list(given, around.is_reserved).map_err(|fault| BadShaping {
        key: fault.path,
        problem: Problem::Style(fault.problem),
    })?;
    for (n, style) in styles.iter().enumerate() {
        for (name, source) in style.own().into_iter().flat_map(|own| own.templates()) {
            let parsed = Template::parse(source, Output::Text);
            let parsed = parsed.map_err(bad(&format!("signatures[{n}].{name}")))?;
            templates.push((source.into(), parsed));
        }
    }
    Ok((styles, templates))
}

fn signing_key(reader: &Reader<'_>) -> Result<Option<Secret>, BadShaping> {
    let text = reader.text("signing_key")?;
    text.map(|text| Secret::parse_signing_key(text).map_err(bad("signing_key")))
        .transpose()
}

/// As [`Shaping::with_signing_key`] wrote them.
fn earlier_keys(reader: &Reader<'_>) -> Vec<(Secret, Timestamp)> {
    let Some(Json::Array(items)) = reader.get(EARLIER_KEYS) else {
        return Vec::new();
    };
    let read = |item: &Json| {
        let (key, until) = earlier_key(item)?;
        Some((Secret::parse_signing_key(key).ok()?, until))
    };
    items.iter().filter_map(read).collect()
}

fn auth(reader: &Reader<'_>, around: Around<'_>) -> Result<Option<Arc<Auth>>, BadShaping> {
    let Some(given) = reader.get("auth") else {
        return Ok(None);
    };
    let refused = |fault: BadAuth| BadShaping {
        key: fault.path.clone(),
        problem: Problem::Auth(fault.problem, fault.fix),
    };
    let auth = Auth::parse(given).map_err(refused)?;
    Auth::check_headers(around.headers).map_err(refused)?;
    Ok(Some(Arc::new(auth)))
}

fn identity(reader: &Reader<'_>) -> Result<Option<Arc<Identity>>, BadShaping> {
    let pair = (reader.text("client_cert")?, reader.text("client_key")?);
    let (cert, key) = match pair {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => {
            return Err(conflict(
                "client_cert",
                "`client_key` is missing; give both",
            ));
        }
        (None, Some(_)) => {
            return Err(conflict(
                "client_key",
                "`client_cert` is missing; give both",
            ));
        }
    };
    let identity = Identity::parse(cert.as_bytes(), key.as_bytes());
    let refused = |fault: BadIdentity| bad(fault.key())(Problem::Identity(fault, fault.fix()));
    Ok(Some(Arc::new(identity.map_err(refused)?)))
}

fn authorities(reader: &Reader<'_>) -> Result<Option<Arc<Authorities>>, BadShaping> {
    let Some(text) = reader.text("ca")? else {
        return Ok(None);
    };
    let refused = |fault: BadAuthorities| bad("ca")(Problem::Authorities(fault, fault.fix()));
    let authorities = Authorities::parse(text.as_bytes()).map_err(refused)?;
    Ok(Some(Arc::new(authorities)))
}

fn consents(reader: &Reader<'_>) -> Result<Option<Arc<Consents>>, BadShaping> {
    let is_wanted = reader.flag("cloudevents_handshake")?.unwrap_or(false);
    Ok(is_wanted.then(Arc::default))
}

fn source(reader: &Reader<'_>) -> Result<Option<Box<str>>, BadShaping> {
    let Some(text) = reader.text("cloudevents_source")? else {
        return Ok(None);
    };
    let checked = cloudevents::check_source(text);
    checked.map_err(|fault| bad("cloudevents_source")(Problem::Source(fault)))?;
    Ok(Some(text.into()))
}

/// The static headers whose values are templates.
fn header_templates(headers: &HeaderMap) -> Result<Vec<(HeaderName, Template)>, BadShaping> {
    let mut templates = Vec::new();
    for (name, value) in headers {
        let Some(source) = value.to_str().ok().filter(|text| is_template(text)) else {
            continue;
        };
        let template = Template::parse(source, Output::Text);
        let template = template.map_err(bad(&format!("headers.{name}")))?;
        templates.push((name.clone(), template));
    }
    Ok(templates)
}

/// Whether the styles have the keys that they need, and no other header is theirs.
fn check_keys(shaping: &Shaping, around: Around<'_>) -> Result<(), BadShaping> {
    let styles = &shaping.signatures;
    let kinds = around.secrets.iter().copied();
    signature::check(styles, kinds).map_err(bad("signatures"))?;
    let own = styles.iter().flat_map(Style::headers);
    for name in own {
        let is_auths = name == AUTHORIZATION && shaping.auth.is_some();
        if is_auths {
            return Err(conflict(
                "signatures",
                "a style sets the header authorization, and so does `auth`; write another name",
            ));
        }
        if around.headers.contains_key(&name) || name == CONTENT_TYPE {
            return Err(bad("signatures")(Problem::Header(name)));
        }
    }
    if styles.iter().any(|style| style.own().is_some()) {
        try_own_styles(shaping)?;
    }
    Ok(())
}

/// Signs a message by sample keys: own styles print the same names for every event, so that one that
/// cannot be rendered is found here.
fn try_own_styles(shaping: &Shaping) -> Result<(), BadShaping> {
    let secret = Secret::generate([1; 32]);
    let key = Secret::generate_ed25519([1; 32]).ok();
    let sample = Shaping {
        signatures: shaping
            .signatures
            .iter()
            .filter(|style| style.own().is_some())
            .cloned()
            .collect(),
        signing_key: key,
        ..shaping.clone()
    };
    let signed = sample.sign(&[&secret], "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV", 1, b"{}");
    let unsigned = signed.map(drop).map_err(|fault| fault.to_string());
    unsigned.map_err(|why| bad("signatures")(Problem::Unsignable(why)))
}
