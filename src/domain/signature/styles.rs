//! Which signatures an endpoint gets: the key `signatures` of its definition.

use std::fmt;

use http::HeaderName;

use super::keys::SecretKind;
use super::names;
use super::templates::{self, BadTemplate};
use crate::domain::json::Json;

/// The most styles of one endpoint.
pub const MAX_STYLES: usize = 10;

/// One way to sign a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Style {
    /// Standard Webhooks with HMAC-SHA256.
    V1,
    /// Standard Webhooks with Ed25519.
    V1a,
    /// v1, in `svix-id`, `svix-timestamp` and `svix-signature` too.
    Svix,
    GitHub,
    Stripe,
    Shopify,
    Slack,
    Own(Box<OwnStyle>),
}

/// A signature in a header of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnStyle {
    pub header: HeaderName,
    pub algorithm: Algorithm,
    pub encoding: Encoding,
    /// The template of what is signed.
    pub content: Box<str>,
    /// The template of the header's value.
    pub format: Box<str>,
}

/// How a style of one's own signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA256, the default.
    Sha256,
    /// HMAC-SHA1, for receivers that know nothing else.
    Sha1,
    /// HMAC-SHA512.
    Sha512,
    /// With the keys that `v1a` signs with.
    Ed25519,
}

/// How a style of one's own writes its signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// In lower case, the default.
    Hex,
    /// Standard base64 with padding.
    Base64,
}

/// The named styles.
pub const STYLES: [(&str, Style); 7] = [
    ("v1", Style::V1),
    ("v1a", Style::V1a),
    ("svix", Style::Svix),
    ("github", Style::GitHub),
    ("stripe", Style::Stripe),
    ("shopify", Style::Shopify),
    ("slack", Style::Slack),
];
/// Those of own styles.
pub const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("sha256", Algorithm::Sha256),
    ("sha1", Algorithm::Sha1),
    ("sha512", Algorithm::Sha512),
    ("ed25519", Algorithm::Ed25519),
];
/// Those of own styles.
pub const ENCODINGS: [(&str, Encoding); 2] = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];
/// The fields of an own style.
pub const STYLE_FIELDS: [&str; 5] = ["header", "algorithm", "encoding", "content", "format"];
const DEFAULT_CONTENT: &str = "{{ body }}";
const DEFAULT_FORMAT: &str = "{{ signatures[0] }}";

/// Why `signatures` was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}`: {problem}")]
pub struct BadStyle {
    /// Such as `signatures[1].header`.
    pub path: String,
    pub problem: StyleProblem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StyleProblem {
    #[error("this is {0}, not a list such as [\"v1\"]")]
    NotList(&'static str),
    #[error("the list is empty: name a style, or leave it out for \"v1\"")]
    Empty,
    #[error("there are more than {MAX_STYLES} styles")]
    TooMany,
    #[error("there is no style {0:?}: {NAMES}")]
    Unknown(String),
    #[error("this is {0}: {NAMES}")]
    NotStyle(&'static str),
    #[error("there is no field {0:?}: write header, algorithm, encoding, content and format")]
    UnknownField(String),
    #[error("the field is missing: write the name of the header, such as \"x-signature\"")]
    NoHeader,
    #[error("this is {0}, not a string")]
    NotText(&'static str),
    #[error("this is not a header name: write letters, digits and hyphens")]
    HeaderName,
    #[error("outboxd sets this header itself: write another name")]
    Reserved,
    #[error("there is no algorithm {0:?}: write sha256, sha1, sha512 (HMAC) or ed25519")]
    Algorithm(String),
    #[error("there is no encoding {0:?}: write hex or base64")]
    Encoding(String),
    #[error("{0}")]
    Template(#[from] BadTemplate),
    #[error("this style is there twice: remove one")]
    Twice,
    #[error("another style sets the header {0} too: write another name")]
    SameHeader(HeaderName),
}

const NAMES: &str = "write \"v1\", \"v1a\", \"svix\", \"github\", \"stripe\", \"shopify\", \
                     \"slack\", or an object with a header, algorithm, encoding, content and format";

impl Style {
    /// Reads the list `signatures`. `reserved` says which headers nobody but outboxd may set.
    /// Whether the templates are syntactically right is for others to check: see
    /// [`OwnStyle::templates`].
    pub fn parse_list(
        json: &Json,
        reserved: impl Fn(&HeaderName) -> bool,
    ) -> Result<Vec<Style>, BadStyle> {
        let at_list = |problem| BadStyle {
            path: "signatures".to_owned(),
            problem,
        };
        let Json::Array(items) = json else {
            return Err(at_list(StyleProblem::NotList(json.a_kind())));
        };
        if items.is_empty() {
            return Err(at_list(StyleProblem::Empty));
        }
        if items.len() > MAX_STYLES {
            return Err(at_list(StyleProblem::TooMany));
        }
        let mut styles: Vec<Style> = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let at = |(field, problem): Fault| BadStyle {
                path: match field {
                    Some(field) => format!("signatures[{n}].{field}"),
                    None => format!("signatures[{n}]"),
                },
                problem,
            };
            let style = Style::parse(item, &reserved).map_err(at)?;
            if styles.contains(&style) {
                return Err(at((None, StyleProblem::Twice)));
            }
            if let Some(name) = style.clash(&styles) {
                let field = style.own().map(|_| "header");
                return Err(at((field, StyleProblem::SameHeader(name))));
            }
            styles.push(style);
        }
        Ok(styles)
    }

    fn parse(json: &Json, reserved: impl Fn(&HeaderName) -> bool) -> Result<Style, Fault> {
        match json {
            Json::String(name) => {
                let style = STYLES.into_iter().find(|(known, _)| *known == &**name);
                let style = style.map(|(_, style)| style);
                style.ok_or_else(|| (None, StyleProblem::Unknown(shortened(name))))
            }
            Json::Object(_) => {
                let own = OwnStyle::parse(json, reserved)?;
                Ok(Style::Own(Box::new(own)))
            }
            other => Err((None, StyleProblem::NotStyle(other.a_kind()))),
        }
    }

    /// As [`Style::parse_list`] reads it.
    pub fn list_to_json(styles: &[Style]) -> Json {
        Json::Array(styles.iter().map(Style::to_json).collect())
    }

    pub fn to_json(&self) -> Json {
        match self {
            Style::Own(own) => own.to_json(),
            named => Json::from(named.name().unwrap_or_default()),
        }
    }

    fn name(&self) -> Option<&'static str> {
        let mut named = STYLES.iter();
        named
            .find(|(_, style)| style == self)
            .map(|(name, _)| *name)
    }

    pub fn own(&self) -> Option<&OwnStyle> {
        match self {
            Style::Own(own) => Some(own),
            _ => None,
        }
    }

    /// The headers that it sets.
    pub fn headers(&self) -> Vec<HeaderName> {
        match self {
            Style::V1 | Style::V1a => vec![names::WEBHOOK_SIGNATURE],
            Style::Svix => vec![
                names::WEBHOOK_SIGNATURE,
                names::SVIX_ID,
                names::SVIX_TIMESTAMP,
                names::SVIX_SIGNATURE,
            ],
            Style::GitHub => vec![names::GITHUB],
            Style::Stripe => vec![names::STRIPE],
            Style::Shopify => vec![names::SHOPIFY],
            Style::Slack => vec![names::SLACK_TIMESTAMP, names::SLACK_SIGNATURE],
            Style::Own(own) => vec![own.header.clone()],
        }
    }

    /// A header that one of the others sets too. The standard's versions share theirs.
    fn clash(&self, others: &[Style]) -> Option<HeaderName> {
        let taken: Vec<HeaderName> = others.iter().flat_map(Style::headers).collect();
        let mut ours = self.headers().into_iter();
        ours.find(|name| *name != names::WEBHOOK_SIGNATURE && taken.contains(name))
    }

    /// The kind of keys that it signs with.
    pub fn key(&self) -> SecretKind {
        match self {
            Style::V1a => SecretKind::Ed25519,
            Style::Own(own) if own.algorithm == Algorithm::Ed25519 => SecretKind::Ed25519,
            _ => SecretKind::Symmetric,
        }
    }
}

/// `"github"`, or `the style of x-signature`.
impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Style::Own(own) => write!(f, "the style of {}", own.header),
            named => write!(f, "{:?}", named.name().unwrap_or_default()),
        }
    }
}

/// The field of a style, if it is one's, and what is wrong with it.
type Fault = (Option<&'static str>, StyleProblem);

impl OwnStyle {
    fn parse(json: &Json, reserved: impl Fn(&HeaderName) -> bool) -> Result<OwnStyle, Fault> {
        if let Json::Object(fields) = json
            && let Some(name) = fields.keys().find(|name| !STYLE_FIELDS.contains(&&***name))
        {
            return Err((None, StyleProblem::UnknownField(shortened(name))));
        }
        let text = |field: &'static str| match json.get(field) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(&**text)),
            Some(other) => Err((Some(field), StyleProblem::NotText(other.a_kind()))),
        };
        let in_header = |problem| (Some("header"), problem);
        let header = text("header")?.ok_or_else(|| in_header(StyleProblem::NoHeader))?;
        let header = HeaderName::from_bytes(header.as_bytes())
            .map_err(|_| in_header(StyleProblem::HeaderName))?;
        if reserved(&header) {
            return Err(in_header(StyleProblem::Reserved));
        }
        let name = text("algorithm")?.unwrap_or("sha256");
        let algorithm = named(&ALGORITHMS, name)
            .ok_or_else(|| (Some("algorithm"), StyleProblem::Algorithm(shortened(name))))?;
        let name = text("encoding")?.unwrap_or("hex");
        let encoding = named(&ENCODINGS, name)
            .ok_or_else(|| (Some("encoding"), StyleProblem::Encoding(shortened(name))))?;
        let own = OwnStyle {
            header,
            algorithm,
            encoding,
            content: text("content")?.unwrap_or(DEFAULT_CONTENT).into(),
            format: text("format")?.unwrap_or(DEFAULT_FORMAT).into(),
        };
        for (field, template) in own.templates() {
            let checked = templates::check(template, field == "content");
            checked.map_err(|bad| (Some(field), bad.into()))?;
        }
        Ok(own)
    }

    fn to_json(&self) -> Json {
        let algorithm = ALGORITHMS.iter().find(|(_, one)| *one == self.algorithm);
        let encoding = ENCODINGS.iter().find(|(_, one)| *one == self.encoding);
        let values = [
            self.header.as_str(),
            algorithm.map_or("", |(name, _)| name),
            encoding.map_or("", |(name, _)| name),
            &self.content,
            &self.format,
        ];
        let fields = STYLE_FIELDS.into_iter().zip(values);
        Json::Object(
            fields
                .map(|(name, value)| (name.into(), Json::from(value)))
                .collect(),
        )
    }

    /// Both templates with the names of their fields. They are plain text: nothing is escaped
    /// in what they print.
    pub fn templates(&self) -> [(&'static str, &str); 2] {
        [("content", &self.content), ("format", &self.format)]
    }
}

fn named<T: Copy>(all: &[(&str, T)], name: &str) -> Option<T> {
    let found = all.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value)
}

/// What others wrote, short enough for a message.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// An endpoint's keys do not go with its signatures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    #[error(
        "a secret that begins with whsk_ cannot make the signature {style}: use a whsec_ secret, \
         or signatures of Ed25519 alone, such as [\"v1a\"]"
    )]
    Asymmetric { style: String },
    #[error("the signature {style} needs a secret: give one that begins with whsec_")]
    NoSecret { style: String },
}

/// Checks that the secrets of an endpoint can make its signatures. No styles are `v1` if there
/// are secrets, and else nothing.
pub fn check(
    styles: &[Style],
    secrets: impl IntoIterator<Item = SecretKind>,
) -> Result<(), BadKeys> {
    let (mut symmetric, mut asymmetric) = (false, false);
    for kind in secrets {
        match kind {
            SecretKind::Symmetric => symmetric = true,
            SecretKind::Ed25519 => asymmetric = true,
        }
    }
    let default = [Style::V1];
    let in_effect = if styles.is_empty() { &default } else { styles };
    let mut needing = in_effect.iter();
    let Some(style) = needing.find(|style| style.key() == SecretKind::Symmetric) else {
        return Ok(());
    };
    let style = style.to_string();
    if asymmetric {
        return Err(BadKeys::Asymmetric { style });
    }
    if !symmetric && !styles.is_empty() {
        return Err(BadKeys::NoSecret { style });
    }
    Ok(())
}

/// Whether a signing key beside the secrets is needed: something is signed with Ed25519, and no
/// secret can do it.
pub fn needs_signing_key(styles: &[Style], secrets: impl IntoIterator<Item = SecretKind>) -> bool {
    let mut styles = styles.iter();
    let mut secrets = secrets.into_iter();
    styles.any(|style| style.key() == SecretKind::Ed25519)
        && !secrets.any(|kind| kind == SecretKind::Ed25519)
}
