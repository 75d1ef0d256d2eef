//! The signatures of Standard Webhooks: `v1` of symmetric secrets, `v1a` of signing keys.

use std::fmt::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::keys::{Key, Secret};

/// What a signature of HMAC-SHA256 begins with.
pub(super) const V1: &str = "v1,";
/// What a signature of Ed25519 begins with.
pub(super) const V1A: &str = "v1a,";

/// One signature; written `v1,` or `v1a,` and base64.
#[derive(Clone, Copy)]
pub enum Signature {
    V1([u8; 32]),
    V1a([u8; 64]),
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, bytes) = match self {
            Signature::V1(bytes) => (V1, bytes.as_slice()),
            Signature::V1a(bytes) => (V1A, bytes.as_slice()),
        };
        let mut text = [0; 88];
        // 64 bytes are 88 characters of ASCII, 32 are 44.
        let written = STANDARD
            .encode_slice(bytes, &mut text)
            .map_err(|_| fmt::Error)?;
        let text = text.get(..written).ok_or(fmt::Error)?;
        f.write_str(version)?;
        f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
    }
}

impl Secret {
    /// Signs one message: v1 with a symmetric secret, v1a with a signing key. `timestamp` is in
    /// seconds since 1970, as it stands in the header.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> Signature {
        self.sign_text(id, &timestamp.to_string(), body)
    }

    fn sign_text(&self, id: &str, timestamp: &str, body: &[u8]) -> Signature {
        match &self.0 {
            Key::Symmetric(key) => Signature::V1(v1(key, id, timestamp, body)),
            Key::Ed25519(pair) => {
                let message = signed_content(id, timestamp, body).concat();
                Signature::V1a(pair.sign(&message))
            }
        }
    }
}

/// The value of `webhook-signature`: one signature for each secret, in their order, with
/// a space between. Empty without secrets.
pub fn header_value<'a>(
    secrets: impl IntoIterator<Item = &'a Secret>,
    id: &str,
    timestamp: u64,
    body: &[u8],
) -> String {
    let timestamp = timestamp.to_string();
    let mut value = String::with_capacity(96);
    for secret in secrets {
        if !value.is_empty() {
            value.push(' ');
        }
        // A `String` takes whatever is written to it.
        let _ = write!(value, "{}", secret.sign_text(id, &timestamp, body));
    }
    value
}

/// HMAC-SHA256 with the bytes of a symmetric secret.
pub(super) fn v1(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new((&block(key)).into());
    for part in signed_content(id, timestamp, body) {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// What is signed, in pieces: the body may be large.
pub(super) fn signed_content<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

/// HMAC pads a key with zeros up to its block (RFC 2104), so this is the same key.
fn block(key: &[u8]) -> [u8; 64] {
    let mut block = [0; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    block
}
