//! Standard Webhooks signatures, version 1.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A signing secret: 24 to 64 bytes, written `whsec_` and base64. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

/// Why a secret was refused. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    #[error("a secret begins with whsec_")]
    Prefix,
    #[error("what follows whsec_ is not standard base64")]
    Base64,
    #[error("a secret holds 24 to 64 bytes, this one {0}")]
    Length(usize),
}

impl Secret {
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let encoded = text.strip_prefix("whsec_").ok_or(BadSecret::Prefix)?;
        let key = STANDARD.decode(encoded).map_err(|_| BadSecret::Base64)?;
        Self::from_bytes(&key)
    }

    pub fn from_bytes(key: &[u8]) -> Result<Self, BadSecret> {
        if (24..=64).contains(&key.len()) {
            Ok(Secret(key.into()))
        } else {
            Err(BadSecret::Length(key.len()))
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The whole secret in the clear, for the few answers that show it.
    pub fn reveal(&self) -> String {
        format!("whsec_{}", STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_…")
    }
}
