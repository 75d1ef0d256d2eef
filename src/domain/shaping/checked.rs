//! The shaping part of a definition, once it is checked.

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use indexmap::IndexMap;

use super::consent::Consents;
use super::format::{Format, Verb};
use super::pace::Pace;
use super::preset::Preset;
use crate::domain::answer_rule::AnswerRule;
use crate::domain::auth::Auth;
use crate::domain::extras::Channel;
use crate::domain::filter::Filter;
use crate::domain::identity::{Authorities, Identity};
use crate::domain::json::Json;
use crate::domain::signature::{self, Keys, Message, NotSigned, Secret, Style, Variables};
use crate::domain::template::{Limits, Names, RenderFault, Template};
use crate::domain::time::Timestamp;

/// Of the templates of a signature.
const SIGNATURE_LIMITS: Limits = Limits {
    steps: 10_000,
    output: 16 << 10,
};

/// What was given of [`KEYS`](super::KEYS), secrets included; a key that is `null` is not there.
pub type Given = IndexMap<Box<str>, Json>;

/// What [`Given`] has besides: the signing keys before a rotation. No client can give it.
pub const EARLIER_KEYS: &str = "earlier_signing_keys";
/// The most of them.
pub const MAX_EARLIER_KEYS: usize = 4;

/// The shaping part of an endpoint's definition, checked.
#[derive(Clone, Default)]
pub struct Shaping {
    /// As it was given, secrets included.
    pub(crate) given: Given,
    pub filter: Option<Filter>,
    /// Empty: events of any channel, and of none.
    pub channels: Vec<Channel>,
    pub format: Format,
    /// Of the body, if the format is a template.
    pub(crate) template: Option<Template>,
    /// Of the message that a preset's body carries.
    pub(crate) text: Option<Template>,
    pub(crate) content_type: Option<HeaderValue>,
    pub preset: Option<&'static Preset>,
    pub method: Verb,
    /// Static headers whose values are templates.
    pub(crate) header_templates: Vec<(HeaderName, Template)>,
    /// `None`: a 2xx is a success.
    pub answer: Option<AnswerRule>,
    /// Empty: `v1`.
    pub signatures: Vec<Style>,
    /// For `v1a`, beside a symmetric secret.
    pub signing_key: Option<Secret>,
    /// Those before it, newest first, and until when each signs too.
    pub earlier_keys: Vec<(Secret, Timestamp)>,
    /// Those of own styles, by their text.
    pub(crate) own_templates: Vec<(Box<str>, Template)>,
    /// How fast its templates are.
    pub pace: Pace,
    pub auth: Option<Arc<Auth>>,
    /// The client certificate that the receiver, and the token server, may ask for.
    pub identity: Option<Arc<Identity>>,
    /// Whom this endpoint trusts in addition to the system's roots and `delivery.ca_file`.
    pub authorities: Option<Arc<Authorities>>,
    /// Of the receiver, if it is to be asked for before the first delivery.
    pub consents: Option<Arc<Consents>>,
    pub(crate) cloudevents_source: Option<Box<str>>,
}

impl Shaping {
    /// What it was made of, secrets included.
    pub fn given(&self) -> &Given {
        &self.given
    }

    /// The headers with the signatures of an attempt: by `secrets`, newest first.
    ///
    /// # Errors
    /// An own style makes no header of this body.
    pub fn sign(
        &self,
        secrets: &[&Secret],
        id: &str,
        timestamp: u64,
        body: &[u8],
    ) -> Result<Vec<(HeaderName, HeaderValue)>, NotSigned<RenderFault>> {
        let signs = |until: &Timestamp| timestamp < until.as_secs();
        let earlier = self.earlier_keys.iter().filter(|(_, until)| signs(until));
        let signing_keys: Vec<&Secret> = self
            .signing_key
            .iter()
            .chain(earlier.map(|(key, _)| key))
            .collect();
        let keys = Keys {
            secrets,
            signing_keys: &signing_keys,
        };
        let message = Message {
            id,
            timestamp,
            body,
        };
        let render = |source: &str, variables: &Variables<'_>| {
            let mut known = self.own_templates.iter();
            let known = known.find(|(text, _)| **text == *source);
            let names = signature_names(variables);
            match known {
                Some((_, template)) => template.render(&names, SIGNATURE_LIMITS),
                None => Ok(String::new()),
            }
        };
        signature::headers_for(&self.signatures, keys, message, render)
    }

    /// What is given of the same definition with a new signing key, `key`. The one before it signs
    /// too until then.
    pub fn with_signing_key(&self, key: &Secret, now: Timestamp, until: Timestamp) -> Given {
        let mut given = self.given.clone();
        let old = self.signing_key.iter().map(|old| (old, until));
        let earlier = self.earlier_keys.iter();
        let earlier = earlier.map(|(old, before)| (old, (*before).min(until)));
        let kept = old.chain(earlier).filter(|(_, until)| *until > now);
        let spelled = kept.take(MAX_EARLIER_KEYS).map(|(key, until)| {
            let until = Json::Number(until.as_millis().to_string().into());
            Json::Array(vec![key.reveal().as_str().into(), until])
        });
        given.insert(EARLIER_KEYS.into(), Json::Array(spelled.collect()));
        given.insert("signing_key".into(), key.reveal().as_str().into());
        given
    }

    /// Whether rendering runs a template, which may take milliseconds.
    pub fn has_templates(&self) -> bool {
        self.template.is_some() || !self.header_templates.is_empty()
    }
}

fn signature_names(variables: &Variables<'_>) -> Names {
    let timestamp = Json::Number(variables.timestamp.to_string().into());
    let names = Names::new()
        .with_text("id", variables.id)
        .with_json("timestamp", Arc::new(timestamp))
        .with_text("body", variables.body);
    match variables.signatures {
        Some(signatures) => names.with_list("signatures", signatures),
        None => names,
    }
}

impl PartialEq for Shaping {
    fn eq(&self, other: &Shaping) -> bool {
        self.given == other.given
    }
}

impl fmt::Debug for Shaping {
    /// Names the keys alone: some values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.given.keys().map(|key| &**key).collect();
        f.debug_struct("Shaping").field("keys", &keys).finish()
    }
}
