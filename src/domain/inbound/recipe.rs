//! A recipe: all that is known of how a provider calls, as data. Presets are recipes under a name,
//! and a source may have one of its own.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::call::View;
use super::expression::Expression;
use super::place::Place;

/// The longest text that a handshake makes a MAC of, in bytes.
const MAX_SIGNED: usize = 128;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// The first whose signature is there decides, with those that read the same header.
    pub schemes: Vec<Scheme>,
    pub url_form: UrlForm,
    /// Where the URL holds the hash of a body that is not a form.
    pub body_sha256: Option<Place>,
    /// The field of a form that holds the JSON.
    pub form_json: Option<Box<str>>,
    /// Has to be the source's `app_id`, where it is there.
    pub app_id: Option<Place>,
    pub id: Expression,
    pub event_type: Expression,
    /// The same of one element, when a call is split.
    pub split_id: Expression,
    pub split_type: Expression,
    pub handshakes: Vec<Handshake>,
    /// The first that fits; 200 without a body if none does.
    pub answers: Vec<AnswerRule>,
    /// Headers that are sent on unless the source names others.
    pub forward: Vec<Box<str>>,
    pub tolerance: Duration,
    /// In bytes.
    pub max_event_size: Option<u64>,
    /// `token` alone may verify a source.
    pub optional_secrets: bool,
    /// Its calls carry CloudEvents.
    pub cloudevents: bool,
    /// Calls that look the same may be different events: without an id none is a duplicate.
    pub repeats: bool,
}

/// One way in which calls are verified.
#[derive(Clone, Debug)]
pub(super) struct Scheme {
    pub algorithm: Algorithm,
    pub key: KeyForm,
    /// What is signed. Empty for tokens.
    pub content: Vec<Piece>,
    pub signature: Place,
    pub layout: Layout,
    pub encoding: Encoding,
    /// Each that is there is tried.
    pub timestamps: Vec<Place>,
    pub unit: TimeUnit,
    /// `{id}` of the content.
    pub message_id: Option<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    HmacSha1,
    HmacSha256,
    HmacSha512,
    /// A hash without a key; the secret is part of the content.
    Sha256,
    Ed25519,
    /// ECDSA over P-256 with SHA-256, signatures in ASN.1.
    EcdsaP256,
    /// The secret itself is sent.
    Token,
    /// The OrganizationId of a Salesforce message is the source's `account`.
    SalesforceAccount,
}

impl Algorithm {
    pub(super) const NAMES: [(&str, Algorithm); 8] = [
        ("hmac-sha256", Algorithm::HmacSha256),
        ("hmac-sha1", Algorithm::HmacSha1),
        ("hmac-sha512", Algorithm::HmacSha512),
        ("sha256", Algorithm::Sha256),
        ("ed25519", Algorithm::Ed25519),
        ("ecdsa-p256", Algorithm::EcdsaP256),
        ("token", Algorithm::Token),
        ("salesforce-account", Algorithm::SalesforceAccount),
    ];

    /// Whether `public_key` verifies, and no secret.
    pub(super) fn is_asymmetric(self) -> bool {
        matches!(self, Algorithm::Ed25519 | Algorithm::EcdsaP256)
    }

    /// Whether a secret verifies.
    pub(super) fn is_secret(self) -> bool {
        !self.is_asymmetric() && self != Algorithm::SalesforceAccount
    }

    /// Whether something is signed.
    pub(super) fn has_content(self) -> bool {
        !matches!(self, Algorithm::Token | Algorithm::SalesforceAccount)
    }
}

/// How a secret becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyForm {
    /// The bytes of the text.
    Text,
    /// Base64, after `whsec_` if that is there.
    Whsec,
    Base64,
    Hex,
}

impl KeyForm {
    pub(super) const NAMES: [(&str, KeyForm); 4] = [
        ("text", KeyForm::Text),
        ("whsec", KeyForm::Whsec),
        ("base64", KeyForm::Base64),
        ("hex", KeyForm::Hex),
    ];
}

/// A piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(Box<str>),
    Body,
    Timestamp,
    Id,
    Method,
    Url,
    /// The fields of a form by name, names and values one after another.
    FormSorted,
    AppId,
    Secret,
}

impl Piece {
    pub(super) const NAMES: [(&str, Piece); 8] = [
        ("body", Piece::Body),
        ("timestamp", Piece::Timestamp),
        ("id", Piece::Id),
        ("method", Piece::Method),
        ("url", Piece::Url),
        ("form_sorted", Piece::FormSorted),
        ("app_id", Piece::AppId),
        ("secret", Piece::Secret),
    ];
}

/// How signatures stand in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One, after the first of these that fits; `""` always does.
    Prefixed(Vec<Box<str>>),
    /// `name=signature` in a list with commas, as often as it likes.
    Part(Box<str>),
    /// `name,signature` in a list with spaces, as often as it likes.
    Version(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// In either case.
    Hex,
    Base64,
    Base64Url,
    /// As it is, for tokens.
    Text,
}

impl Encoding {
    pub(super) const NAMES: [(&str, Encoding); 4] = [
        ("hex", Encoding::Hex),
        ("base64", Encoding::Base64),
        ("base64url", Encoding::Base64Url),
        ("text", Encoding::Text),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeUnit {
    Seconds,
    Milliseconds,
    Rfc3339,
}

impl TimeUnit {
    pub(super) const NAMES: [(&str, TimeUnit); 3] = [
        ("s", TimeUnit::Seconds),
        ("ms", TimeUnit::Milliseconds),
        ("rfc3339", TimeUnit::Rfc3339),
    ];
}

/// How the provider writes the URL that it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UrlForm {
    Whole,
    /// With the port of its scheme or without it: both are tried.
    AnyPort,
    /// With some percent-codes decoded, as HubSpot has it.
    HubSpot,
}

impl UrlForm {
    pub(super) const NAMES: [(&str, UrlForm); 3] = [
        ("whole", UrlForm::Whole),
        ("any-port", UrlForm::AnyPort),
        ("hubspot", UrlForm::HubSpot),
    ];
}

/// Whether a call is of a kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    /// There has to be a text, and
    pub when: Option<Place>,
    /// it has to be this one, if there is one here.
    pub is: Option<Box<str>>,
    /// There must be none.
    pub unless: Option<Place>,
    /// The body has to be empty.
    pub empty: bool,
}

impl Condition {
    pub(super) fn holds(&self, view: &View<'_>) -> bool {
        let when = self.when.as_ref().is_none_or(|place| {
            let found = place.read(view);
            match &self.is {
                None => found.is_some(),
                Some(text) => found.as_deref() == Some(text),
            }
        });
        let unless = self.unless.as_ref();
        let absent = unless.is_none_or(|place| place.read(view).is_none());
        when && absent && (!self.empty || view.call.body.is_empty())
    }
}

/// A call that is answered and not stored.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    pub methods: Vec<Method>,
    pub condition: Condition,
    /// The provider signs it, and it is verified first.
    pub signed: bool,
    pub kind: HandshakeKind,
}

#[derive(Clone, Debug)]
pub(super) enum HandshakeKind {
    /// Sends a text back.
    Echo {
        from: Place,
        reply: Reply,
        /// Where the source's `verify_token` has to be.
        verify: Option<Place>,
    },
    /// `{"field": "prefix" + base64(HMAC-SHA256(secret, text))}`, as X asks for.
    Crc {
        from: Place,
        field: Box<str>,
        prefix: Box<str>,
    },
    /// `{"plainToken": text, "encryptedToken": hex(HMAC-SHA256(secret, text))}`, as Zoom asks for.
    PlainToken { from: Place },
    /// Always the same.
    Fixed(AnswerRule),
    /// Consent to deliveries (CloudEvents HTTP webhook specification, 4).
    CloudEvents,
}

/// Whether a handshake may make a MAC of a text: 1 to 128 of `A-Z a-z 0-9 _ = . -`. What is signed of
/// an event is never such a text where anybody may ask for the MAC.
pub(super) fn is_signable(pieces: &[&[u8]]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"_=.-".contains(byte);
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut bytes = pieces.iter().flat_map(|piece| piece.iter());
    (1..=MAX_SIGNED).contains(&length) && bytes.all(fits)
}

/// How a text is sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text,
    /// As this field of a JSON object.
    Json(Box<str>),
    /// In this header.
    Header(HeaderName),
}

/// What a call is answered with.
#[derive(Clone, Debug)]
pub(super) struct AnswerRule {
    pub condition: Condition,
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    pub body: Bytes,
}

impl Recipe {
    /// Whether the scheme signs the URL.
    pub(super) fn needs_url(&self) -> bool {
        self.has_piece(&Piece::Url)
    }

    pub(super) fn has_piece(&self, piece: &Piece) -> bool {
        self.schemes
            .iter()
            .any(|scheme| scheme.content.contains(piece))
    }

    pub(super) fn has_algorithm(&self, fits: fn(Algorithm) -> bool) -> bool {
        self.schemes.iter().any(|scheme| fits(scheme.algorithm))
    }

    /// Whether a key of a definition has an effect. The others have one with every recipe.
    pub(super) fn uses(&self, key: &str) -> bool {
        match key {
            "secrets" => self.has_algorithm(Algorithm::is_secret),
            "public_key" => self.has_algorithm(Algorithm::is_asymmetric),
            "account" => self.has_algorithm(|one| one == Algorithm::SalesforceAccount),
            "verify_token" => self.has_verify_token(),
            "app_id" => self.app_id.is_some() || self.has_piece(&Piece::AppId),
            "tolerance" => self.schemes.iter().any(|one| !one.timestamps.is_empty()),
            _ => true,
        }
    }

    /// Whether a handshake makes a MAC over a text of anybody.
    pub(super) fn signs_tokens(&self) -> bool {
        self.handshakes.iter().any(|handshake| {
            !handshake.signed && matches!(handshake.kind, HandshakeKind::Crc { .. })
        })
    }

    /// Whether a handshake asks for the source's `verify_token`.
    fn has_verify_token(&self) -> bool {
        self.handshakes.iter().any(|handshake| {
            matches!(&handshake.kind, HandshakeKind::Echo { verify, .. } if verify.is_some())
        })
    }
}
