//! Signatures of the requests that receivers get, and the checking of them.
//!
//! The standard ones follow Standard Webhooks: `v1` is HMAC-SHA256 and `v1a` Ed25519, both over
//! `id.timestamp.body`, both in `webhook-signature`. Receivers that were written for GitHub,
//! Stripe, Shopify or Slack, or for a sender of one's own, find the signature that they know
//! beside it or instead of it ([`Style`]).
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
//!
//! Checking takes the same time whatever is wrong with a signature, and no error repeats
//! a secret or the signature that would have been right.

mod headers;
mod keys;
mod names;
mod standard;
mod styles;
mod templates;
#[cfg(test)]
mod tests;
mod verify;

pub use headers::{Keys, Message, NotSigned, headers_for};
pub use keys::{BadPublicKey, BadSecret, PublicKey, Secret, SecretKind};
pub use standard::{Signature, header_value};
pub use styles::{
    ALGORITHMS, Algorithm, BadKeys, BadStyle, ENCODINGS, Encoding, MAX_STYLES, OwnStyle,
    STYLE_FIELDS, STYLES, Style, StyleProblem, check, needs_signing_key,
};
pub use templates::{BadTemplate, Variables};
pub use verify::{DEFAULT_TOLERANCE, Headers, NotVerified, verify};
