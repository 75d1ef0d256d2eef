//! Standard Webhooks signatures, version 1: HMAC-SHA256 over `id.timestamp.body`.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
//!
//! Checking takes the same time whatever is wrong with a signature, and no error repeats
//! a secret or the signature that would have been right.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use super::time::Timestamp;

/// How far `webhook-timestamp` may be from the receiver's clock, as the standard's own
/// libraries have it.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// What a version 1 signature begins with.
const VERSION: &str = "v1,";

/// A signing secret: 24 to 64 bytes, written `whsec_` and base64. Never shown by `Debug`.
///
/// Nothing but the bytes: a state of HMAC kept ready would save each signature two blocks
/// of SHA-256, and cost a hundred thousand idle endpoints 14 MB.
#[derive(Clone)]
pub struct Secret {
    key: Box<[u8]>,
}

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
        if !(24..=64).contains(&key.len()) {
            return Err(BadSecret::Length(key.len()));
        }
        Ok(Secret { key: key.into() })
    }

    /// A new secret from 32 random bytes, which the caller provides.
    pub fn generate(random: [u8; 32]) -> Self {
        Secret { key: random.into() }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.key
    }

    /// The whole secret in the clear, for the few answers that show it.
    pub fn reveal(&self) -> String {
        format!("whsec_{}", STANDARD.encode(&self.key))
    }

    /// Signs one message. `timestamp` is in seconds since 1970, as it stands in the header.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> Signature {
        self.sign_text(id, &timestamp.to_string(), body)
    }

    /// HMAC pads a key with zeros up to its block (RFC 2104), so this is the same key.
    fn block(&self) -> [u8; 64] {
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(&self.key) {
            *to = *from;
        }
        block
    }

    fn sign_text(&self, id: &str, timestamp: &str, body: &[u8]) -> Signature {
        let mut mac = Hmac::<Sha256>::new((&self.block()).into());
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        Signature(mac.finalize().into_bytes().into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.key.ct_eq(&other.key).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_…")
    }
}

/// One signature; written `v1,` and base64.
#[derive(Clone, Copy)]
pub struct Signature([u8; 32]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 44];
        // 32 bytes are always 44 characters of ASCII.
        let written = STANDARD
            .encode_slice(self.0, &mut text)
            .map_err(|_| fmt::Error)?;
        let text = text.get(..written).ok_or(fmt::Error)?;
        f.write_str(VERSION)?;
        f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
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
    use fmt::Write;
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
    #[error("there is no secret to verify with")]
    NoSecret,
    #[error("webhook-timestamp is not a number of seconds since 1970")]
    BadTimestamp,
    #[error("webhook-timestamp is {} s in the past; only {} s are allowed", by.as_secs(), tolerance.as_secs())]
    TooOld { by: Duration, tolerance: Duration },
    #[error("webhook-timestamp is {} s in the future; only {} s are allowed", by.as_secs(), tolerance.as_secs())]
    TooNew { by: Duration, tolerance: Duration },
    #[error("webhook-signature holds no v1 signature")]
    NoSignature,
    #[error("no signature matches: another secret, or id, timestamp or body were changed")]
    Mismatch,
}

/// Checks that one of the signatures in the header was made with one of `secrets`, and
/// that the timestamp is within `tolerance` of `now`. Other versions than v1 are ignored.
pub fn verify(
    secrets: &[Secret],
    headers: Headers<'_>,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), NotVerified> {
    if secrets.is_empty() {
        return Err(NotVerified::NoSecret);
    }
    check_age(headers.timestamp, now, tolerance)?;
    let signatures = headers.signature.split_ascii_whitespace();
    let mut offered = signatures
        .filter_map(|one| one.strip_prefix(VERSION))
        .peekable();
    if offered.peek().is_none() {
        return Err(NotVerified::NoSignature);
    }
    let offered: Vec<Vec<u8>> = offered
        .filter_map(|text| STANDARD.decode(text).ok())
        .collect();
    let mut matches = Choice::from(0);
    for secret in secrets {
        let right = secret.sign_text(headers.id, headers.timestamp, body);
        for signature in &offered {
            matches |= signature.as_slice().ct_eq(&right.0);
        }
    }
    if matches.into() {
        Ok(())
    } else {
        Err(NotVerified::Mismatch)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = b"{\"test\": 2432232314}";
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const AT: u64 = 1_614_265_330;

    fn now() -> Timestamp {
        Timestamp::from_millis(AT * 1000)
    }

    fn check(signature: &str) -> Result<(), NotVerified> {
        let headers = Headers {
            id: ID,
            timestamp: "1614265330",
            signature,
        };
        let secret = Secret::parse(SECRET).unwrap();
        verify(&[secret], headers, BODY, now(), DEFAULT_TOLERANCE)
    }

    #[test]
    fn the_official_vector_signs_and_verifies() {
        let secret = Secret::parse(SECRET).unwrap();
        assert_eq!(secret.sign(ID, AT, BODY).to_string(), SIGNED);
        assert_eq!(header_value(&[secret], ID, AT, BODY), SIGNED);
        assert_eq!(check(SIGNED), Ok(()));
    }

    #[test]
    fn secrets_keep_their_bounds_and_their_silence() {
        assert_eq!(Secret::parse("MfKQ9r8G"), Err(BadSecret::Prefix));
        assert_eq!(Secret::parse("whsec_***"), Err(BadSecret::Base64));
        assert_eq!(Secret::parse("whsec_"), Err(BadSecret::Length(0)));
        for (length, good) in [(23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(
                Secret::from_bytes(&vec![7; length]).is_ok(),
                good,
                "{length}"
            );
        }
        let secret = Secret::parse(SECRET).unwrap();
        assert_eq!(secret.reveal(), SECRET);
        assert_eq!(format!("{secret:?}"), "whsec_…");
    }

    #[test]
    fn a_generated_secret_is_the_one_that_is_shown() {
        let secret = Secret::generate(std::array::from_fn(|i| i as u8));
        let read = Secret::parse(&secret.reveal()).unwrap();
        assert!(read == secret);
        assert_eq!(
            read.sign(ID, AT, BODY).to_string(),
            secret.sign(ID, AT, BODY).to_string()
        );
    }

    #[test]
    fn any_v1_signature_may_match_and_other_versions_are_ignored() {
        let other = Secret::from_bytes(&[9; 32]).unwrap();
        let wrong = other.sign(ID, AT, BODY).to_string();
        assert_eq!(check(&format!("{wrong} {SIGNED}")), Ok(()));
        assert_eq!(check(&format!("v1a,zzz v2,{SIGNED} {SIGNED}")), Ok(()));
        assert_eq!(check(&wrong), Err(NotVerified::Mismatch));
        assert_eq!(check("v1,not-base64 v1,AAAA"), Err(NotVerified::Mismatch));
        let asymmetric = SIGNED.replace("v1,", "v1a,");
        for none in ["", " ", "v2,AAAA", &SIGNED[3..], &asymmetric] {
            assert_eq!(check(none), Err(NotVerified::NoSignature), "{none}");
        }
    }

    #[test]
    fn during_a_rotation_either_secret_verifies() {
        let (new, old) = (Secret::generate([1; 32]), Secret::parse(SECRET).unwrap());
        let value = header_value(&[new.clone(), old.clone()], ID, AT, BODY);
        assert_eq!(value, format!("{} {SIGNED}", new.sign(ID, AT, BODY)));
        let headers = Headers {
            id: ID,
            timestamp: "1614265330",
            signature: &value,
        };
        for secret in [new, old] {
            assert_eq!(
                verify(&[secret], headers, BODY, now(), DEFAULT_TOLERANCE),
                Ok(())
            );
        }
        let none = verify(&[], headers, BODY, now(), DEFAULT_TOLERANCE);
        assert_eq!(none, Err(NotVerified::NoSecret));
    }

    #[test]
    fn the_timestamp_is_a_number_near_now() {
        let secret = [Secret::parse(SECRET).unwrap()];
        let at = |timestamp: &str, now_s: u64| {
            let sent: u64 = timestamp.parse().unwrap_or(0);
            let signature = secret[0].sign(ID, sent, BODY).to_string();
            let headers = Headers {
                id: ID,
                timestamp,
                signature: &signature,
            };
            let now = Timestamp::from_millis(now_s * 1000);
            verify(&secret, headers, BODY, now, DEFAULT_TOLERANCE)
        };
        assert_eq!(at("1000", 1300), Ok(()));
        assert_eq!(at("1300", 1000), Ok(()));
        assert!(
            matches!(at("1000", 1301), Err(NotVerified::TooOld { by, .. }) if by.as_secs() == 301)
        );
        assert!(
            matches!(at("1301", 1000), Err(NotVerified::TooNew { by, .. }) if by.as_secs() == 301)
        );
        for bad in [
            "",
            "+1000",
            "-1000",
            "1e3",
            "1000.0",
            " 1000",
            "99999999999999999999999",
        ] {
            assert_eq!(at(bad, 1000), Err(NotVerified::BadTimestamp), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_signed_verifies_and_a_flipped_bit_does_not(
            key in proptest::collection::vec(any::<u8>(), 24..=64),
            id in "[ -~]{1,64}",
            body in proptest::collection::vec(any::<u8>(), 1..300),
            at in 0u64..4_000_000_000,
            flip: prop::sample::Index,
        ) {
            let secrets = [Secret::from_bytes(&key).unwrap()];
            let (now, tolerance) = (Timestamp::from_millis(at * 1000), DEFAULT_TOLERANCE);
            let (timestamp, signature) = (at.to_string(), header_value(&secrets, &id, at, &body));
            let headers = Headers { id: &id, timestamp: &timestamp, signature: &signature };
            prop_assert_eq!(verify(&secrets, headers, &body, now, tolerance), Ok(()));
            let mut forged = body.clone();
            let bit = flip.index(forged.len() * 8);
            forged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(
                verify(&secrets, headers, &forged, now, tolerance),
                Err(NotVerified::Mismatch)
            );
        }

        #[test]
        fn no_header_makes_it_panic_or_pass(signature in ".{0,200}", timestamp in ".{0,30}") {
            let secrets = [Secret::generate([5; 32])];
            let headers = Headers { id: ID, timestamp: &timestamp, signature: &signature };
            prop_assert!(verify(&secrets, headers, BODY, now(), DEFAULT_TOLERANCE).is_err());
        }
    }
}
