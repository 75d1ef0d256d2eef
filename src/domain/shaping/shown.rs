//! A definition as it is read back: secrets masked.

use super::checked::Shaping;
use crate::domain::json::Json;

/// What stands for a value that is not shown.
const MASK: &str = "…";
/// Keys that are only written.
const HIDDEN: [&str; 4] = ["signing_key", "client_cert", "client_key", "ca"];

impl Shaping {
    /// Whether the value of a key is not shown, or not all of it.
    pub fn is_masked(key: &str) -> bool {
        key == "auth" || HIDDEN.contains(&key)
    }

    /// The value of a key as it was given; secrets are masked.
    pub fn shown(&self, key: &str) -> Option<Json> {
        let given = self.given.get(key)?;
        Some(match key {
            key if HIDDEN.contains(&key) => MASK.into(),
            "auth" => self.auth.as_ref()?.shown(),
            _ => given.clone(),
        })
    }

    /// The public key that `v1a` signatures are verified with, if the endpoint has a key of its own
    /// for them.
    pub fn public_key(&self) -> Option<String> {
        let key = self.signing_key.as_ref()?.public_key()?;
        Some(key.to_string())
    }
}
