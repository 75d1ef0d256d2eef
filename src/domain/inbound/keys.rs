//! The keys that verify, made of a source's secrets and public key once.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::{digest, hmac};

use super::recipe::{Algorithm, KeyForm, Scheme};
use crate::domain::hex::from_hex;
use crate::domain::time::Timestamp;

/// Padding or none, whatever the sender writes.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
pub(super) const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// What a SubjectPublicKeyInfo of P-256 begins with (RFC 5480, 2.1.1); the point follows.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A secret and until when it counts.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceSecret {
    pub text: Box<str>,
    /// It verifies what comes before this moment; `None`: without end.
    pub until: Option<Timestamp>,
}

impl SourceSecret {
    /// Whether it verifies what comes at that moment.
    pub fn counts(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl std::fmt::Debug for SourceSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let until = self.until;
        f.debug_struct("SourceSecret")
            .field("until", &until)
            .finish_non_exhaustive()
    }
}

/// A key of one scheme.
#[derive(Clone)]
pub(super) enum Key {
    Hmac(hmac::Key),
    /// Part of what is hashed.
    Plain(Box<[u8]>),
    /// Compared as hashes, which are of one length.
    Token([u8; 32]),
    Ed25519([u8; 32]),
    P256([u8; 65]),
    Account(Box<str>),
}

/// A key of a scheme, and which secret it was made of.
#[derive(Clone)]
pub(super) struct SchemeKey {
    pub key: Key,
    /// From 1, newest first; 0 for a key that is not a secret.
    pub number: u32,
    pub until: Option<Timestamp>,
}

impl SchemeKey {
    pub(super) fn counts(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The key that a secret is in a scheme; `None` if it does not have the form of one.
pub(super) fn of_secret(scheme: &Scheme, text: &str) -> Option<Key> {
    let bytes = match scheme.key {
        KeyForm::Text => text.as_bytes().to_vec(),
        KeyForm::Whsec => {
            let encoded = text.strip_prefix("whsec_").unwrap_or(text);
            BASE64.decode(encoded).ok()?
        }
        KeyForm::Base64 => BASE64.decode(text).ok()?,
        KeyForm::Hex => from_hex(text)?,
    };
    if bytes.is_empty() {
        return None;
    }
    let hmac = |algorithm| Some(Key::Hmac(hmac::Key::new(algorithm, &bytes)));
    match scheme.algorithm {
        Algorithm::HmacSha1 => hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        Algorithm::HmacSha256 => hmac(hmac::HMAC_SHA256),
        Algorithm::HmacSha512 => hmac(hmac::HMAC_SHA512),
        Algorithm::Sha256 => Some(Key::Plain(bytes.into())),
        Algorithm::Token => Some(Key::Token(hash(&bytes))),
        Algorithm::Ed25519 | Algorithm::EcdsaP256 | Algorithm::SalesforceAccount => None,
    }
}

/// A public key: hex, base64 after `whpk_` or alone, or PEM.
pub(super) fn of_public_key(algorithm: Algorithm, text: &str) -> Option<Key> {
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    let text: String = lines.map(str::trim).collect();
    let encoded = text.strip_prefix("whpk_").unwrap_or(&text);
    let bytes = from_hex(encoded).or_else(|| BASE64.decode(encoded).ok())?;
    match algorithm {
        Algorithm::Ed25519 => bytes.try_into().ok().map(Key::Ed25519),
        Algorithm::EcdsaP256 => {
            let point = bytes.strip_prefix(&P256_SPKI).unwrap_or(&bytes);
            let is_point = point.first() == Some(&4);
            point.try_into().ok().filter(|_| is_point).map(Key::P256)
        }
        _ => None,
    }
}

/// SHA-256, so that texts of any length are compared in the same time.
pub(super) fn hash(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    // SHA-256 has 32 bytes.
    digest.as_ref().try_into().unwrap_or([0; 32])
}
