//! The keys of signatures, in the forms that Standard Webhooks gives them: `whsec_` for a
//! symmetric secret, `whsk_` for an Ed25519 signing key, `whpk_` for its public key.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use subtle::ConstantTimeEq;

const SYMMETRIC: &str = "whsec_";
const SIGNING: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// What a stored signing key begins with. No symmetric secret is as long as one.
const STORED_ED25519: u8 = 1;

/// What signs: 24 to 64 bytes for HMAC, written `whsec_` and base64, or an Ed25519 signing key,
/// written `whsk_` and the base64 of seed and public key. Never shown by `Debug`.
///
/// Nothing but the bytes. A state of HMAC kept ready would save each signature two blocks
/// of SHA-256, and cost a hundred thousand idle endpoints 14 MB; an expanded signing key would
/// halve the 50 µs of a signature, and cost each of them 64 bytes and each start 20 µs.
#[derive(Clone)]
pub struct Secret(pub(super) Key);

#[derive(Clone)]
pub(super) enum Key {
    Symmetric(Box<[u8]>),
    Ed25519(Box<Pair>),
}

/// An Ed25519 key (RFC 8032, 5.1.5).
#[derive(Clone, Copy)]
pub(super) struct Pair {
    seed: [u8; 32],
    public: [u8; 32],
}

/// Which signatures a secret can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// `whsec_`: HMAC.
    Symmetric,
    /// `whsk_`: Ed25519.
    Ed25519,
}

/// Why a secret was refused. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    #[error("a secret begins with whsec_, or with whsk_ if it is an Ed25519 signing key")]
    Prefix,
    #[error("a signing key begins with whsk_")]
    NotSigning,
    #[error("a key that begins with whpk_ is public and cannot sign: give its whsk_ key")]
    Public,
    #[error("what follows {0} is not standard base64")]
    Base64(&'static str),
    #[error("a secret holds 24 to 64 bytes, this one {0}")]
    Length(usize),
    #[error("a whsk_ key holds 64 bytes (seed and public key) or 32 (the seed), this one {0}")]
    KeyLength(usize),
    #[error("the second half of the whsk_ key is not the public key of its first half")]
    Pair,
    #[error("a stored secret has a form that this version does not know")]
    Stored,
}

impl Secret {
    /// Reads `whsec_…` or `whsk_…`; of a signing key the seed alone will do.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        if let Some(encoded) = text.strip_prefix(SYMMETRIC) {
            return Self::from_bytes(&decode(encoded, SYMMETRIC)?);
        }
        match text.strip_prefix(SIGNING) {
            Some(encoded) => Pair::read(&decode(encoded, SIGNING)?).map(Secret::ed25519),
            None if text.starts_with(PUBLIC) => Err(BadSecret::Public),
            None => Err(BadSecret::Prefix),
        }
    }

    /// Reads `whsk_…` and nothing else.
    pub fn parse_signing_key(text: &str) -> Result<Self, BadSecret> {
        match text.starts_with(SIGNING) || text.starts_with(PUBLIC) {
            true => Self::parse(text),
            false => Err(BadSecret::NotSigning),
        }
    }

    /// A symmetric secret of these bytes.
    pub fn from_bytes(key: &[u8]) -> Result<Self, BadSecret> {
        if !(24..=64).contains(&key.len()) {
            return Err(BadSecret::Length(key.len()));
        }
        Ok(Secret(Key::Symmetric(key.into())))
    }

    /// A new symmetric secret from 32 random bytes, which the caller provides.
    pub fn generate(random: [u8; 32]) -> Self {
        Secret(Key::Symmetric(random.into()))
    }

    /// A new Ed25519 signing key from 32 random bytes, which the caller provides. It fails for
    /// no bytes that are known.
    pub fn generate_ed25519(random: [u8; 32]) -> Result<Self, BadSecret> {
        Pair::from_seed(random).map(Secret::ed25519)
    }

    /// A new secret of the same kind, to replace this one.
    pub fn fresh_like(&self, random: [u8; 32]) -> Result<Self, BadSecret> {
        match self.kind() {
            SecretKind::Symmetric => Ok(Self::generate(random)),
            SecretKind::Ed25519 => Self::generate_ed25519(random),
        }
    }

    fn ed25519(pair: Pair) -> Self {
        Secret(Key::Ed25519(Box::new(pair)))
    }

    pub fn kind(&self) -> SecretKind {
        match self.0 {
            Key::Symmetric(_) => SecretKind::Symmetric,
            Key::Ed25519(_) => SecretKind::Ed25519,
        }
    }

    /// The key that receivers verify with, of a signing key.
    pub fn public_key(&self) -> Option<PublicKey> {
        match &self.0 {
            Key::Symmetric(_) => None,
            Key::Ed25519(pair) => Some(PublicKey(pair.public)),
        }
    }

    /// The whole secret in the clear: for the few answers that show a `whsec_` secret, for
    /// `keygen`, and as the key of the providers' signatures. The API never shows a `whsk_` key,
    /// but its [`Secret::public_key`].
    pub fn reveal(&self) -> String {
        match &self.0 {
            Key::Symmetric(key) => format!("{SYMMETRIC}{}", STANDARD.encode(key)),
            Key::Ed25519(pair) => format!("{SIGNING}{}", STANDARD.encode(pair.bytes())),
        }
    }

    /// The bytes of a symmetric secret as they are (24 to 64), or 65: the tag 1, the seed, the
    /// public key.
    pub fn to_stored(&self) -> Vec<u8> {
        match &self.0 {
            Key::Symmetric(key) => key.to_vec(),
            Key::Ed25519(pair) => {
                let mut stored = Vec::with_capacity(65);
                stored.push(STORED_ED25519);
                stored.extend_from_slice(&pair.bytes());
                stored
            }
        }
    }

    /// Reads what [`Secret::to_stored`] wrote. It does not calculate the public key again, which
    /// would lengthen a start with many endpoints by seconds.
    pub fn from_stored(stored: &[u8]) -> Result<Self, BadSecret> {
        match stored {
            [STORED_ED25519, pair @ ..] if pair.len() == 64 => match halves(pair) {
                Some((seed, public)) => Ok(Secret::ed25519(Pair { seed, public })),
                None => Err(BadSecret::Stored),
            },
            other => Self::from_bytes(other).map_err(|_| BadSecret::Stored),
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Key::Symmetric(a), Key::Symmetric(b)) => a.ct_eq(b).into(),
            (Key::Ed25519(a), Key::Ed25519(b)) => a.bytes().ct_eq(&b.bytes()).into(),
            _ => false,
        }
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            SecretKind::Symmetric => write!(f, "{SYMMETRIC}…"),
            SecretKind::Ed25519 => write!(f, "{SIGNING}…"),
        }
    }
}

impl Pair {
    fn from_seed(seed: [u8; 32]) -> Result<Pair, BadSecret> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| BadSecret::Pair)?;
        let public = pair.public_key().as_ref();
        let public = public.try_into().map_err(|_| BadSecret::Pair)?;
        Ok(Pair { seed, public })
    }

    /// Seed and public key, which have to fit each other, or the seed.
    fn read(key: &[u8]) -> Result<Pair, BadSecret> {
        if let Ok(seed) = key.try_into() {
            return Pair::from_seed(seed);
        }
        let (seed, public) = halves(key).ok_or(BadSecret::KeyLength(key.len()))?;
        Ed25519KeyPair::from_seed_and_public_key(&seed, &public).map_err(|_| BadSecret::Pair)?;
        Ok(Pair { seed, public })
    }

    fn bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (seed, public) = bytes.split_at_mut(32);
        seed.copy_from_slice(&self.seed);
        public.copy_from_slice(&self.public);
        bytes
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.seed).ok();
        let signature = pair.and_then(|pair| pair.sign(message).as_ref().try_into().ok());
        // ring takes every seed of 32 bytes. Were it otherwise, zeros verify nowhere.
        signature.unwrap_or([0; 64])
    }
}

fn halves(bytes: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let (seed, public) = bytes.split_at_checked(32)?;
    Some((seed.try_into().ok()?, public.try_into().ok()?))
}

fn decode(encoded: &str, prefix: &'static str) -> Result<Vec<u8>, BadSecret> {
    let decoded = STANDARD.decode(encoded);
    decoded.map_err(|_| BadSecret::Base64(prefix))
}

/// An Ed25519 public key, written `whpk_` and base64. It is no secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub(super) [u8; 32]);

/// Why a public key was refused. Does not repeat it: it may be a secret in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPublicKey {
    #[error("a public key begins with whpk_")]
    Prefix,
    #[error("this is a secret, not a public key: give the whpk_ key that belongs to it")]
    Secret,
    #[error("what follows whpk_ is not standard base64")]
    Base64,
    #[error("a public key holds 32 bytes, this one {0}")]
    Length(usize),
}

impl PublicKey {
    /// Reads `whpk_…`. Bytes that are no point of the curve are taken, and verify nothing.
    pub fn parse(text: &str) -> Result<Self, BadPublicKey> {
        let Some(encoded) = text.strip_prefix(PUBLIC) else {
            let secret = text.starts_with(SYMMETRIC) || text.starts_with(SIGNING);
            return Err(match secret {
                true => BadPublicKey::Secret,
                false => BadPublicKey::Prefix,
            });
        };
        let key = STANDARD.decode(encoded);
        let key = key.map_err(|_| BadPublicKey::Base64)?;
        let length = key.len();
        let key = key.try_into().map_err(|_| BadPublicKey::Length(length))?;
        Ok(PublicKey(key))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
