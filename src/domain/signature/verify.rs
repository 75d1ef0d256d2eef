//! Checking a Standard Webhooks signature, as a receiver does.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use subtle::{Choice, ConstantTimeEq};

use super::keys::{Key, PublicKey, Secret};
use super::standard::{V1, V1A, signed_content, v1};
use crate::domain::time::Timestamp;

/// How far `webhook-timestamp` may be from the receiver's clock, as the standard's own
/// libraries have it.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// The most v1a signatures of one header that are looked at: checking one takes some 50 µs, and
/// anybody can send them.
const MAX_V1A: usize = 16;

/// The three headers that a receiver got, as they came.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// `webhook-id`
    pub id: &'a str,
    /// `webhook-timestamp`
    pub timestamp: &'a str,
    /// `webhook-signature`
    pub signature: &'a str,
}

/// Why a message is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    #[error("there is no secret or public key to verify with")]
    NoSecret,
    #[error("webhook-timestamp is not a number of seconds since 1970")]
    BadTimestamp,
    #[error("webhook-timestamp is {} s in the past; only {} s are allowed", by.as_secs(), tolerance.as_secs())]
    TooOld { by: Duration, tolerance: Duration },
    #[error("webhook-timestamp is {} s in the future; only {} s are allowed", by.as_secs(), tolerance.as_secs())]
    TooNew { by: Duration, tolerance: Duration },
    /// Holds the versions that the keys can check.
    #[error("webhook-signature holds no {0} signature")]
    NoSignature(&'static str),
    #[error("no signature matches: another secret, or id, timestamp or body were changed")]
    Mismatch,
}

/// Checks that one of the signatures in the header was made with one of `secrets`, or with the
/// signing key of one of `public_keys`, and that the timestamp is within `tolerance` of `now`.
///
/// Symmetric secrets check v1, public keys and the signing keys among `secrets` v1a. Other
/// versions are ignored, and so are v1a signatures after the sixteenth.
pub fn verify(
    secrets: &[Secret],
    public_keys: &[PublicKey],
    headers: Headers<'_>,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), NotVerified> {
    let symmetric = secrets.iter().filter_map(|secret| match &secret.0 {
        Key::Symmetric(key) => Some(key.as_ref()),
        Key::Ed25519(_) => None,
    });
    let symmetric: Vec<&[u8]> = symmetric.collect();
    let signing = secrets.iter().filter_map(Secret::public_key);
    let public: Vec<PublicKey> = public_keys.iter().copied().chain(signing).collect();
    let versions = match (symmetric.is_empty(), public.is_empty()) {
        (true, true) => return Err(NotVerified::NoSecret),
        (false, true) => "v1",
        (true, false) => "v1a",
        (false, false) => "v1 or v1a",
    };
    check_age(headers.timestamp, now, tolerance)?;
    let offered = |prefix: &'static str, wanted: bool| {
        let all = headers.signature.split_ascii_whitespace();
        all.filter_map(move |one| one.strip_prefix(prefix).filter(|_| wanted))
    };
    let mut v1 = offered(V1, !symmetric.is_empty()).peekable();
    let mut v1a = offered(V1A, !public.is_empty()).take(MAX_V1A).peekable();
    if v1.peek().is_none() && v1a.peek().is_none() {
        return Err(NotVerified::NoSignature(versions));
    }
    let matches = match_v1(&symmetric, v1, headers, body) | match_v1a(&public, v1a, headers, body);
    if matches.into() {
        Ok(())
    } else {
        Err(NotVerified::Mismatch)
    }
}

fn match_v1<'a>(
    keys: &[&[u8]],
    offered: impl Iterator<Item = &'a str>,
    headers: Headers<'_>,
    body: &[u8],
) -> Choice {
    let offered: Vec<Vec<u8>> = decoded(offered);
    let mut matches = Choice::from(0);
    for key in keys {
        let right = v1(key, headers.id, headers.timestamp, body);
        for signature in &offered {
            matches |= signature.as_slice().ct_eq(&right);
        }
    }
    matches
}

/// Nothing here is secret, but it compares all of them too: which one fits is nobody's business.
fn match_v1a<'a>(
    keys: &[PublicKey],
    offered: impl Iterator<Item = &'a str>,
    headers: Headers<'_>,
    body: &[u8],
) -> Choice {
    let offered: Vec<Vec<u8>> = decoded(offered);
    let mut matches = Choice::from(0);
    if offered.is_empty() {
        return matches;
    }
    let message = signed_content(headers.id, headers.timestamp, body).concat();
    for key in keys {
        let key = UnparsedPublicKey::new(&ED25519, key.as_bytes());
        for signature in &offered {
            let fits = key.verify(&message, signature).is_ok();
            matches |= Choice::from(u8::from(fits));
        }
    }
    matches
}

fn decoded<'a>(offered: impl Iterator<Item = &'a str>) -> Vec<Vec<u8>> {
    offered
        .filter_map(|text| STANDARD.decode(text).ok())
        .collect()
}

fn check_age(timestamp: &str, now: Timestamp, tolerance: Duration) -> Result<(), NotVerified> {
    // `parse` alone would take a sign.
    if !timestamp.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NotVerified::BadTimestamp);
    }
    let sent: u64 = timestamp.parse().map_err(|_| NotVerified::BadTimestamp)?;
    let past = Duration::from_secs(now.as_secs().saturating_sub(sent));
    let future = Duration::from_secs(sent.saturating_sub(now.as_secs()));
    if past > tolerance {
        Err(NotVerified::TooOld {
            by: past,
            tolerance,
        })
    } else if future > tolerance {
        Err(NotVerified::TooNew {
            by: future,
            tolerance,
        })
    } else {
        Ok(())
    }
}
